"""Text that comes in pieces, broken between words at the terminal's edge.

A terminal breaks lines within words. Here a word is held back until it is whole, and begins a line
where it does not fit; one that is wider than the terminal is broken anywhere, as are wide (Chinese)
characters, each of which is a word of its own.
"""

from __future__ import annotations

from rich.cells import cell_len

_TAB_COLUMNS = 8


class Flow:
    """Where the cursor stands in a line, and the word that is not yet whole."""

    def __init__(self, column: int = 0) -> None:
        self.column = column
        self._word = ""

    def feed(self, text: str, width: int) -> str:
        """Give what `text` lets be written, on a terminal of so many columns."""
        return "".join(self._take(char, width) for char in text)

    def end(self, width: int) -> str:
        """Give what is left to write: the last word."""
        word, self._word = self._word, ""
        columns = cell_len(word)
        if columns <= width:
            return self._put(word, columns, width)
        return "".join(self._put(char, cell_len(char), width) for char in word)

    def _take(self, char: str, width: int) -> str:
        columns = cell_len(char)
        if char == "\n":
            written = self.end(width) + char
            self.column = 0
            return written
        if char == "\t":
            written, next_stop = self.end(width), _TAB_COLUMNS - self.column % _TAB_COLUMNS
            return written + self._put(" " * next_stop, next_stop, width)
        if char == " " or columns > 1:
            return self.end(width) + self._put(char, columns, width)
        self._word += char
        return ""

    def _put(self, text: str, columns: int, width: int) -> str:
        """Give `text`, of so many columns, after a break if it does not fit; a space gives way."""
        if self.column + columns <= width:
            self.column += columns
            return text
        self.column = 0 if text.isspace() else columns
        return "\n" if text.isspace() else "\n" + text
