"""Every error that charrnn raises on purpose, and the exit code that each one ends a command with.

    CharRNNError                one line on stderr
    ├─ ConfigError        2     a setting out of range, or two that clash
    ├─ CorpusError        3     missing, empty, undecodable or too short text
    ├─ VocabError         3     characters that the model does not know
    ├─ CheckpointError    4     not ours, damaged, truncated, of another version
    ├─ DivergedError      5     the loss stopped being a number
    ├─ OutOfMemoryError   6     with the setting to lower
    ├─ StorageError       7     disk full, no permission: what was being written
    ├─ RunLockedError     8     another process trains this run
    └─ ProcessLostError   9     another process of the same training has ended

A message says what happened (with the value), what was expected, and what to do next.
"""

from __future__ import annotations


class CharRNNError(Exception):
    """The root of the tree; never raised itself."""

    exit_code = 1


class ConfigError(CharRNNError):
    """A setting is out of its range, unknown, or clashes with another."""

    exit_code = 2


class CorpusError(CharRNNError):
    """The text is missing, empty, cannot be decoded, or is too short."""

    exit_code = 3


class VocabError(CharRNNError):
    """The text holds characters that the vocabulary cannot write."""

    exit_code = 3


class CheckpointError(CharRNNError):
    """A file is not a charrnn model, is damaged, or comes from another version."""

    exit_code = 4


class DivergedError(CharRNNError):
    """The loss stopped being a finite number."""

    exit_code = 5


class OutOfMemoryError(CharRNNError):
    """The machine has not enough memory for these sizes."""

    exit_code = 6


class StorageError(CharRNNError):
    """A file could not be written."""

    exit_code = 7


class RunLockedError(CharRNNError):
    """Another process trains this run."""

    exit_code = 8


class ProcessLostError(CharRNNError):
    """Another of the processes that train together has ended."""

    exit_code = 9
