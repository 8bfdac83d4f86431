"""What of a text occurs in a corpus word for word: spans of characters, and whole lines.

`find_copies` finds spans as long as they can be, compared token by token, and where the longest
comes from. `KnownLines` leaves out the lines that the corpus has too.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from charrnn.analysis.suffix_array import SuffixArray
from charrnn.text.vocab import END, Vocab

LEAST_SPAN = 20  # characters


class Span(NamedTuple):
    """Characters of a text from `start` up to `stop`."""

    start: int
    stop: int


@dataclass(frozen=True)
class CopyReport:
    """What of `text` occurs in the corpus in spans of `least` characters or more."""

    text: str
    least: int
    spans: tuple[Span, ...]  # from left to right, none within another, though two may overlap
    longest: str  # the text of the first of the longest spans
    line: int | None  # from 1, in which that first begins; None without spans
    file: str | None = None  # that the line is of; else it is of the corpus as a whole

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
        """The number of characters that are copied."""
        return sum(stop - start for start, stop in self.merged)

    @property
    def share(self) -> float:
        """The share of the text's characters that is copied, from 0 to 1."""
        return self.chars / max(1, len(self.text))

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values, without the text."""
        longest = {"text": self.longest, "characters": len(self.longest), "line": self.line}
        longest["file"] = self.file
        return {
            "least": self.least,
            "share": self.share,
            "spans": [list(span) for span in self.spans],
            "longest": longest if self.spans else None,
        }


def find_copies(
    text: str, corpus: SuffixArray, vocab: Vocab, least: int = LEAST_SPAN
) -> CopyReport:
    r"""Find what of `text` occurs in `corpus`, in ids of `vocab`, for `least` characters or more.

    Raises:
        VocabError: the text has characters that the vocabulary does not know.

    >>> vocab = Vocab("\nabc")
    >>> find_copies("aabcc", SuffixArray(vocab.encode("b\nabc")), vocab, least=2).longest
    'abc'
    """
    ids = vocab.encode(text)
    # Bisect in characters, compare in packed tokens: bounds[i] is where character i begins.
    starts = np.append(np.flatnonzero(vocab.starts_character[ids]), len(ids))  # (N + 1,)
    packed = corpus.pack(ids)
    bounds = (starts * corpus.token_bytes).tolist()

    def occurs(start: int, stop: int) -> bool:
        return packed[bounds[start] : bounds[stop]] in corpus

    spans = tuple(_iter_spans(occurs, len(text), least))
    if not spans:
        return CopyReport(text, least, (), "", None)
    longest = max(spans, key=lambda span: span.stop - span.start)
    run = packed[bounds[longest.start] : bounds[longest.stop]]
    position = int(corpus.positions_of(run).min())
    before = vocab.decode(corpus.ids[:position])
    # An END ends a line too, but for the one that goes before all records.
    line = 1 + before.count("\n") + max(0, before.count(END) - 1)
    return CopyReport(text, least, spans, text[slice(*longest)], line)


def _iter_spans(occurs: Callable[[int, int], bool], size: int, least: int) -> Iterator[Span]:
    """Yield the spans of 0 … size that occur, `least` or longer, and that no other one holds."""
    # What occurs does so without its ends too, so both ends can be bisected. The next span is the
    # one that starts first of those that reach beyond the last.
    start = stop = 0
    while (beyond := max(start + least, stop + 1)) <= size:
        last = beyond - least
        start = bisect_left(range(last + 1), True, lo=start, key=lambda at: occurs(at, beyond))
        if start <= last:
            # Double the step while the longer span occurs, then bisect for its last stop.
            stop = beyond
            step = 1
            while stop + step <= size and occurs(start, stop + step):
                stop += step
                step *= 2
            ends = range(min(stop + step, size + 1))
            stop = bisect_left(ends, True, lo=stop, key=lambda at: not occurs(start, at)) - 1
            yield Span(start, stop)


class KnownLines:
    r"""The lines of a corpus, each once: about 120 bytes a line besides its characters.

    >>> "".join(KnownLines(["ada\nbo"]).iter_new(["ada\nbob\n"]))
    'bob\n'
    """

    def __init__(self, texts: Iterable[str]) -> None:
        """Take the lines of texts, each of which begins with a line of its own."""
        self._lines = frozenset(line for text in texts for line in text.split("\n") if line)

    def __contains__(self, line: str) -> bool:
        """Return whether `line`, with its newline or without, is a whole line of the corpus."""
        return line.removesuffix("\n") in self._lines

    def iter_new(self, pieces: Iterable[str]) -> Iterator[str]:
        """Yield the lines of a text in pieces that the corpus lacks, each as soon as it ends.

        Each has its newline; the last may have none, and is compared as it is.
        """
        begun: list[str] = []  # of a line that has not ended: joined once, however many pieces
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
