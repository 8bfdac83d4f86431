"""Examples as ids: what encodes sources and targets, and the rows of ids that come of it.

S = tokens, R = examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import TextConfig
from charrnn.data.draw import Ints
from charrnn.data.label_table import describe_labels
from charrnn.data.labels import Labels
from charrnn.data.records import BLOCK_CHARS, Example, Found
from charrnn.data.restore import simplify
from charrnn.errors import counted
from charrnn.text.reader import BadBytes
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.vocab import END, Ids, Vocab

_UNIT_NOUNS = {"char": "character", "grapheme": "grapheme", "space": "token"}

Read = Callable[[Found, dict[str, BadBytes]], Iterable[Example]]


class ExampleFile(NamedTuple):
    """A file of examples.

    read: returns them, as often as it is called, and fills what is found besides: rows that are
    left out, and bytes that are not in the encoding. given, weight: as those of a `Source`.
    """

    read: Read
    given: str = ""
    weight: int = 1


class Rows:
    """The ids of sequences that are added some at a time, and where each ends.

    They grow as bytes, in place: a list of arrays would be in memory twice once it is joined.
    """

    def __init__(self, dtype: np.dtype[Any], first: Sequence[int] = ()) -> None:
        self.dtype = dtype
        self._ids = bytearray(np.array(first, dtype).tobytes())
        self._ends = bytearray()
        self._first = len(first)

    def add(self, ids: Ids, ends: Ints) -> None:
        """Add sequences by their joined ids (S,) and where each ends in these (R,)."""
        before = len(self._ids) // self.dtype.itemsize
        self._ids += ids.astype(self.dtype, copy=False).tobytes()
        self._ends += (ends + before).astype(np.int64).tobytes()

    @property
    def ids(self) -> Ids:
        """(S,) all ids."""
        return np.frombuffer(self._ids, self.dtype)

    @property
    def ends(self) -> Ints:
        """(R,) int64, where each sequence ends."""
        return np.frombuffer(self._ends, np.int64)

    def clear(self) -> None:
        """Let go of all ids."""
        self._ids = bytearray()
        self._ends = bytearray()

    @property
    def longest(self) -> int:
        """The most tokens that a sequence has, with its END."""
        return int(np.diff(self.ends, prepend=self._first).max(initial=0))


@dataclass(frozen=True)
class Coder:
    """Makes ids of examples. target_vocab: None of tags, which are numbers of the only column."""

    vocab: Vocab  # or a TokenVocab, with source_unit "space"
    target_vocab: Vocab | None
    labels: Labels
    config: TextConfig

    def encode(self, files: Iterable[ExampleFile]) -> tuple[Rows, Rows]:
        """Return the ids of the sources, with one END before all, and those of the targets.

        Raises:
            VocabError, KeyError: a token or a tag is not known.
        """
        sources = Rows(self.vocab.dtype, [self.vocab.end])
        if self.target_vocab is not None:
            targets = Rows(self.target_vocab.dtype)
        else:
            index_of = _TagNumbers(self.labels, is_simple=self.config.restore is not None)
            targets = Rows(np.min_scalar_type(len(self.labels) - 1))
        for file in files:
            for texts, wanted in iter_blocks(file.read(Found(), {})):
                ids = _encode(self.vocab, texts)
                sources.add(ids, ends := _ends_of(ids, self.vocab.end))
                if self.target_vocab is not None:
                    of_targets = _encode(self.target_vocab, wanted)
                    targets.add(of_targets, _ends_of(of_targets, self.target_vocab.end))
                    continue
                numbers = [index_of[tag] for tag in chain.from_iterable(wanted)]
                assert len(numbers) == sum(map(len, texts)), "each character has a tag"
                # Each byte of a character that is spelled has the tag of the character.
                starts = self.vocab.starts_character[ids[ids != self.vocab.end]]
                assert starts.sum() == len(numbers), "each character has a first token"
                tags = np.array(numbers, targets.dtype)[np.cumsum(starts) - 1]
                targets.add(tags, ends - np.arange(1, len(ends) + 1))
        return sources, targets

    def describe(self, sources: Rows, targets: Rows) -> str:
        """Return how many kinds of tokens each side has, and how long its longest is, in words."""
        task = self.config.task
        unit = self.config.source_unit if task == "seq2seq" else "char"
        of_source = _count_kinds(self.vocab, unit)
        if self.target_vocab is None:
            return f"{of_source}; longest {sources.longest - 1:,}; {describe_labels(self.labels)}"
        of_target = _count_kinds(self.target_vocab, self.config.target_unit)
        return (
            f"source {of_source}, target {of_target}; longest source {sources.longest - 1:,}, "
            f"longest target {targets.longest - 1:,}"
        )


class _TagNumbers(dict[str, int]):
    """The number of each tag; is_simple: of one that is not known, that of a simpler one."""

    def __init__(self, labels: Labels, *, is_simple: bool) -> None:
        super().__init__(labels.columns[0].index_of)
        self._known = frozenset(self)
        self._is_simple = is_simple

    def __missing__(self, tag: str) -> int:
        if not self._is_simple:
            raise KeyError(tag)
        self[tag] = number = self[simplify(tag, self._known)]
        return number


def iter_blocks(examples: Iterable[Example]) -> Iterator[tuple[list[str], list[Any]]]:
    """Yield sources and their targets, of about BLOCK_CHARS together."""
    sources: list[str] = []
    targets: list[Any] = []
    chars = 0
    for each in examples:
        sources.append(each.source)
        targets.append(each.target)
        chars += len(each.source) + len(each.target)
        if chars >= BLOCK_CHARS:
            yield sources, targets
            sources = []
            targets = []
            chars = 0
    if sources:
        yield sources, targets


def _encode(vocab: Vocab, texts: list[str]) -> Ids:
    """Return the ids (S,) of texts, an END after each."""
    end = f" {END} " if isinstance(vocab, TokenVocab) else END
    return vocab.encode(end.join([*texts, ""]))


def _ends_of(ids: Ids, end: int) -> Ints:
    return np.flatnonzero(ids == end).astype(np.int64) + 1


def _count_kinds(vocab: Vocab, unit: str) -> str:
    """Return how many different tokens a vocabulary has, without bytes and END, in words."""
    kinds = vocab.size - vocab.has_end - 256 * vocab.has_bytes
    return counted(kinds, _UNIT_NOUNS[unit])
