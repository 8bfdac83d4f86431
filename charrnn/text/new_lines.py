"""Lines that a corpus does not have: what is left of a text without those that it does.

It is for corpora of names and the like, where a line is a thing of its own. An empty line copies
nothing, and always stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


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
