"""Streamed text broken between words, as a terminal alone would break it anywhere.

Our own, as rich and textwrap need the whole paragraph, and rich takes 25 ms to import. `charrnn
sample` and `charrnn write` show what a model writes by it.
"""

from charrnn.text.columns import char_columns, text_columns

_TAB_COLUMNS = 8


class WordWrap:
    """Break streamed text between words; wide characters break anywhere.

    column: where the cursor is.
    """

    def __init__(self, column: int = 0) -> None:
        self.column = column
        self._word = ""

    def feed(self, text: str, width: int) -> str:
        """Return what can be written on a terminal of `width` columns: all but the last word."""
        written = []
        for char in text:
            columns = char_columns(char)
            if char not in "\n\t " and columns <= 1:  # 0: a combining mark stays with its word
                self._word += char
                continue
            written.append(self.end(width))
            if char == "\n":
                self.column = 0
                written.append(char)
                continue
            if char == "\t":
                columns = _TAB_COLUMNS - self.column % _TAB_COLUMNS
                char = " " * columns
            written.append(self._put(char, columns, width))
        return "".join(written)

    def end(self, width: int) -> str:
        """Return what is left to write: the last word, cut where no line could hold it."""
        word = self._word
        self._word = ""
        columns = text_columns(word)
        if columns <= width:
            return self._put(word, columns, width)
        return "".join(self._put(char, char_columns(char), width) for char in word)

    def _put(self, text: str, columns: int, width: int) -> str:
        """Return `text`, after a newline if it does not fit; a space becomes that newline."""
        if self.column + columns <= width:
            self.column += columns
            return text
        is_space = text.isspace()
        self.column = 0 if is_space else columns
        return "\n" if is_space else "\n" + text  # no line begins with the space before it
