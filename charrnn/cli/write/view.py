"""A session of writing together on a terminal: what the model adds, in a colour of its own.

All of it goes to the terminal that the session is typed at, line by line, so that it works on any:
nothing is drawn over. Nothing of the text reaches it but as visible characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from charrnn.cli.console import Output
from charrnn.cli.formatting import one_line, sanitize
from charrnn.cli.score.view import show_character

_MODELS = "cyan"
_NOTE = "dim"
_COMPLAINT = "red"
_ROOM = 20  # columns that the line which goes on leaves for what is new
_BAR = "█"
_BAR_COLUMNS = 30
_OTHER_COLUMNS = 20  # of a row with a bar


class View:
    """The terminal of a session, as wide as it is at the moment."""

    def __init__(self) -> None:
        self._console = Output(highlight=False)
        self._flow = WordWrap()

    def begin(self, text: str) -> None:
        """Show the end of the line that the model goes on with."""
        room = max(self._console.width - _ROOM, self._console.width // 2)
        shown = fit_end(sanitize(text.rpartition("\n")[2]).expandtabs(4), room)
        self._flow = WordWrap(cell_len(shown))
        self._write(shown, _NOTE)

    def show(self, piece: str) -> None:
        """Show what the model adds, word by word."""
        self._write(self._flow.feed(sanitize(piece), self._console.width), _MODELS)

    def end(self) -> None:
        """Show the last word, and begin a new line unless one has just begun."""
        self._write(self._flow.end(self._console.width), _MODELS)
        if self._flow.column:
            self._write("\n")
        self._flow = WordWrap()

    def note(self, text: str) -> None:
        """Say something about the session, in a line."""
        self._console.print(Text(one_line(text), style=_NOTE))

    def complain(self, text: str) -> None:
        """Say what could not be done, in a line."""
        self._console.print(Text(one_line(text), style=_COMPLAINT))

    def show_whole(self, pieces: Iterable[tuple[str, bool]]) -> None:
        """Show a text by its pieces, each with whether the model wrote it."""
        parts = ((sanitize(text), _MODELS if is_models else "") for text, is_models in pieces)
        whole = Text.assemble(*parts)
        if whole.plain.endswith("\n"):
            whole.right_crop(1)
        self._console.print(whole)

    def show_chances(self, chances: Sequence[tuple[str, float]]) -> None:
        """Show characters with their probabilities, each with a bar."""
        room = min(_BAR_COLUMNS, max(1, self._console.width - _OTHER_COLUMNS))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style=_MODELS, min_width=4)
        table.add_column(justify="right")
        table.add_column(style=_NOTE, no_wrap=True)
        for name, share in chances:
            char = "space" if name == " " else show_character(name)
            table.add_row(Text(char), f"{share:.1%}", _BAR * round(share * room))
        self._console.print(table)

    def show_help(self, rows: Iterable[tuple[str, str]], below: str) -> None:
        """Show what can be typed, each with what it does, and what else there is to know."""
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="bold")
        table.add_column()
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)
        self._console.print(Text(one_line(below), style=_NOTE))

    def _write(self, shown: str, style: str = "") -> None:
        if shown:
            self._console.out(shown, style=style, end="", highlight=False)
            self._console.file.flush()


def fit_end(line: str, columns: int) -> str:
    """Give the end of a line that takes no more than so many columns, a … where it was cut."""
    if cell_len(line) <= columns:
        return line
    kept = len(line)
    room = columns - 1
    while room >= (width := cell_len(line[kept - 1])):
        kept, room = kept - 1, room - width
    return "…" + line[kept:]


_TAB_COLUMNS = 8


class WordWrap:
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
