"""Every error that charrnn raises on purpose, and the exit code that it ends a command with.

A message says what happened (with the value), what was expected, and what to do next. It names the
options of the command line, which shows it in one line; `str` of an error has Python's parameters.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from charrnn.wording import in_python


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which has a plural in -s.

    >>> counted(1, "step"), counted(2_380, "step")
    ('1 step', '2,380 steps')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


class CharRNNError(Exception):
    """The base class of all; never raised itself."""

    exit_code = 1  # as of any other error; 2 and up are ours, 130 and 143 mean a signal

    @property
    def message(self) -> str:
        """The message as it was written, for the command line and for longer messages."""
        return super().__str__()

    def __str__(self) -> str:
        """Return the message as a Python program needs it: `resume="s1"` for --resume s1."""
        return in_python(self.message)


class ConfigError(CharRNNError):
    """A setting is out of its range, unknown, or clashes with another."""

    exit_code = 2


class CorpusError(CharRNNError):
    """The text is missing, empty, cannot be decoded, or is too short."""

    exit_code = 3


class DownloadError(CorpusError):
    """A text cannot be downloaded; `reason` says why in a few words."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class VocabError(CharRNNError):
    """The text holds characters that the vocabulary cannot write."""

    exit_code = 3  # to a script this is a fault of the text too


class CheckpointError(CharRNNError):
    """A file is not ours, is damaged or cut short, or comes from another version."""

    exit_code = 4


class DivergedError(CharRNNError):
    """The loss stopped being a finite number."""

    exit_code = 5


class OutOfMemoryError(CharRNNError):
    """The machine has too little memory for these sizes; names the setting to lower."""

    exit_code = 6


class StorageError(CharRNNError):
    """A file could not be written: the disk is full, or permission is missing."""

    exit_code = 7


class RunLockedError(CharRNNError):
    """Another process is training this run."""

    exit_code = 8


class ProcessLostError(CharRNNError):
    """Another of the processes that train together has ended."""

    exit_code = 9


class ExportError(CharRNNError):
    """What was exported does not do what the model does."""

    exit_code = 10


EXTRAS = {
    "serve": "starlette uvicorn",
    "export": "onnx onnxruntime",
    "hub": "huggingface_hub tokenizers",
    "tensorboard": "tensorboardX",
    "grapheme": "regex",
    "png": "resvg-py",
}
"""The packages of each extra. They are named and not the extra, as another project on PyPI has our
name: `pip install 'charrnn[serve]'` outside a clone would install that one."""


def missing_extra(what: str, package: str, extra: str) -> ConfigError:
    """Return the error of a part that needs a package which only an extra installs.

    >>> print(missing_extra("charrnn serve", "starlette", "serve").message)
    charrnn serve needs starlette; install it by pip install starlette uvicorn
    """
    return ConfigError(f"{what} needs {package}; install it by pip install {EXTRAS[extra]}")


@contextmanager
def located(place: str) -> Iterator[None]:
    """Let the message of an error within the block begin with its place, such as a file's line."""
    try:
        yield
    except CharRNNError as error:
        raise type(error)(f"{place}: {error.message}" if place else error.message) from error
