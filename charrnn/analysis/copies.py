"""Which spans of a text stand in a corpus word for word, and where the longest comes from.

Spans are as long as they can be and exact: what is found is compared token by token. Models and
screens are not known here.

N = characters of the text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from charrnn.analysis.suffix_array import SuffixArray
from charrnn.text.vocab import Vocab

LEAST_SPAN = 20  # characters

Stands = Callable[[int, int], bool]


class Span(NamedTuple):
    """Characters of a text from `start` up to `stop`."""

    start: int
    stop: int


@dataclass(frozen=True)
class Copied:
    """What of `text` stands in the corpus in spans of `least` characters or more.

    spans: from left to right, none within another, though two may overlap. longest: the text of
    the first of the longest; empty where there is none. line: where that stands first in the
    corpus, whose lines count from 1; None where there is none.
    """

    text: str
    least: int
    spans: tuple[Span, ...]
    longest: str
    line: int | None

    @property
    def merged(self) -> tuple[Span, ...]:
        """The parts of the text that are copied: spans that overlap are one."""
        merged: list[Span] = []
        for start, stop in self.spans:
            if merged and start < merged[-1].stop:
                start = merged.pop().start
            merged.append(Span(start, stop))
        return tuple(merged)

    @property
    def chars(self) -> int:
        """How many characters of the text are copied."""
        return sum(stop - start for start, stop in self.merged)

    @property
    def share(self) -> float:
        """The part of the text's characters that is copied, from 0 to 1."""
        return self.chars / max(1, len(self.text))

    def as_json(self) -> dict[str, Any]:
        """Give it as plain values, without the text."""
        longest = {"text": self.longest, "characters": len(self.longest), "line": self.line}
        return {
            "least": self.least,
            "share": self.share,
            "spans": [list(span) for span in self.spans],
            "longest": longest if self.spans else None,
        }


def find_copied(text: str, corpus: SuffixArray, vocab: Vocab, least: int = LEAST_SPAN) -> Copied:
    """Find what of `text` stands in `corpus`, in ids of `vocab`, for `least` characters or more.

    Raises:
        VocabError: the text has characters that the vocabulary does not know.
    """
    ids = vocab.encode(text)
    starts = np.append(np.flatnonzero(vocab.starts_character[ids]), len(ids))  # (N + 1,)
    packed, bounds = corpus.pack(ids), (starts * corpus.token_bytes).tolist()

    def run(start: int, stop: int) -> bytes:
        return packed[bounds[start] : bounds[stop]]

    spans = tuple(_iter_spans(lambda *span: run(*span) in corpus, len(text), least))
    if not spans:
        return Copied(text, least, (), "", None)
    longest = max(spans, key=lambda span: span.stop - span.start)
    place = int(corpus.positions_of(run(*longest)).min())
    line = 1 + vocab.decode(corpus.ids[:place]).count("\n")
    return Copied(text, least, spans, text[slice(*longest)], line)


def _iter_spans(stands: Stands, size: int, least: int) -> Iterator[Span]:
    """Yield the spans of 0 … size for which `stands`, `least` or longer, that none other holds.

    What stands does so without its ends too, so both ends can be bisected: the next span is the
    one that starts first of those that reach beyond the last.
    """
    start = stop = 0
    while (beyond := max(start + least, stop + 1)) <= size:
        last = beyond - least
        start = bisect_left(range(last + 1), True, lo=start, key=lambda at: stands(at, beyond))
        if start <= last:
            stop = _last_stop(stands, start, beyond, size)
            yield Span(start, stop)


def _last_stop(stands: Stands, start: int, stop: int, size: int) -> int:
    """Give the last place up to which `start` stands, as it does up to `stop`."""
    step = 1
    while stop + step <= size and stands(start, stop + step):
        stop += step
        step *= 2
    ends = range(min(stop + step, size + 1))
    return bisect_left(ends, True, lo=stop, key=lambda at: not stands(start, at)) - 1


class KnownLines:
    """The lines of a corpus, each once: about 120 bytes a line besides its characters."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Take the lines of texts, each of which begins with a line of its own."""
        self._lines = frozenset(line for text in texts for line in text.split("\n") if line)

    def __contains__(self, line: str) -> bool:
        """Tell whether `line`, with its newline or without, stands in the corpus as a whole."""
        return line.removesuffix("\n") in self._lines

    def iter_new(self, pieces: Iterable[str]) -> Iterator[str]:
        """Yield the lines of a text that comes in pieces, but those of the corpus, as they end.

        Each has its newline; the last may have none, and is judged as it is.
        """
        begun: list[str] = []
        for piece in pieces:
            *ends, rest = piece.split("\n")
            for end in ends:
                line = "".join([*begun, end])
                begun.clear()
                if line not in self:
                    yield line + "\n"
            begun.append(rest)
        last = "".join(begun)
        if last and last not in self:
            yield last
