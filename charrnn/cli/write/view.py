"""The screen of a session: the text, with what the model adds in a colour of its own, and notes.

Everything is written line by line, nothing is drawn over, so that it works on any terminal. Control
characters of the text become visible.
"""

import time
from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from charrnn.cli.console import Output
from charrnn.cli.formatting import format_character, one_line, sanitize
from charrnn.cli.word_wrap import WordWrap
from charrnn.cli.write.autosave import SavedText
from charrnn.errors import counted
from charrnn.text.columns import text_columns

_MODEL_STYLE = "cyan"
_NOTE_STYLE = "dim"
_ERROR_STYLE = "red"
_MIN_ROOM = 20  # columns for new text in the line that the model continues
_MAX_BAR_COLUMNS = 30
_OTHER_COLUMNS = 20  # of a row with a bar


class View:
    """The terminal of a session, as wide as it is at the moment."""

    def __init__(self) -> None:
        self._console = Output(highlight=False)
        self._wrap = WordWrap()

    def format_offer(self, saved: SavedText, model: str) -> str:
        """Return the question whether to continue an earlier text, with this model."""
        written = time.localtime(saved.written_seconds)
        day = time.strftime("%Y-%m-%d", written)
        day = "today" if day == time.strftime("%Y-%m-%d") else day
        # A name that older versions gave to each file says nothing.
        by = "" if saved.is_by(model) or saved.is_by("writing") else f", written with {saved.model}"
        chars = counted(len(saved.text), "character")
        facts = f"({day} {time.strftime('%H:%M', written)}, {chars}{by})?"
        width = self._console.width
        room = max(_MIN_ROOM, width - len(f"Continue “” {facts} [Y/n] "))
        end = fit_end(sanitize(" ".join(saved.text.split())), room)
        wrap = WordWrap()
        return wrap.feed(f"Continue “{end}” {facts}", width) + wrap.end(width)

    def begin(self, text: str) -> None:
        """Show the end of the line that the model continues."""
        room = max(self._console.width - _MIN_ROOM, self._console.width // 2)
        shown = fit_end(sanitize(text.rpartition("\n")[2]).expandtabs(4), room)  # the last line
        self._wrap = WordWrap(text_columns(shown))
        self._write(shown, _NOTE_STYLE)

    def show(self, piece: str) -> None:
        """Show what the model adds, word by word."""
        self._write(self._wrap.feed(sanitize(piece), self._console.width), _MODEL_STYLE)

    def end(self) -> None:
        """Show the last word, and begin a new line unless one has just begun."""
        self._write(self._wrap.end(self._console.width), _MODEL_STYLE)
        if self._wrap.column:
            self._write("\n")
        self._wrap = WordWrap()

    def note(self, text: str) -> None:
        """Show a line about the session."""
        self._console.print(Text(one_line(text), style=_NOTE_STYLE))

    def complain(self, text: str) -> None:
        """Show in a line what could not be done."""
        self._console.print(Text(one_line(text), style=_ERROR_STYLE))

    def show_all(self, pieces: Iterable[tuple[str, bool]]) -> None:
        """Show a text by its pieces, each with whether the model wrote it."""
        parts = ((sanitize(text), _MODEL_STYLE if is_models else "") for text, is_models in pieces)
        whole = Text.assemble(*parts)
        if whole.plain.endswith("\n"):
            whole.right_crop(1)  # print ends the line itself
        self._console.print(whole)

    def show_next_chars(self, chars: Sequence[tuple[str, float]]) -> None:
        """Show characters with their probabilities, each with a bar."""
        room = min(_MAX_BAR_COLUMNS, max(1, self._console.width - _OTHER_COLUMNS))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style=_MODEL_STYLE, min_width=4)
        table.add_column(justify="right")
        table.add_column(style=_NOTE_STYLE, no_wrap=True)
        for char, probability in chars:
            name = "space" if char == " " else format_character(char)
            table.add_row(Text(name), f"{probability:.1%}", "█" * round(probability * room))
        self._console.print(table)

    def show_help(self, rows: Iterable[tuple[str, str]], note: str) -> None:
        """Show what can be typed, each with what it does, and a note below."""
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="bold")
        table.add_column()
        for row in rows:
            table.add_row(*map(Text, row))
        self._console.print(table)
        self.note(note)

    def _write(self, shown: str, style: str = "") -> None:
        if shown:
            self._console.out(shown, style=style, end="", highlight=False)
            self._console.file.flush()  # words appear as they come, not when their line ends


def fit_end(line: str, columns: int) -> str:
    """Return the end of a line that fits into `columns`, after a … where it was cut.

    >>> fit_end("abcd", 3)
    '…cd'
    """
    if text_columns(line) <= columns:
        return line
    start = len(line)
    room = columns - 1
    while room >= (width := text_columns(line[start - 1])):
        start -= 1
        room -= width
    return "…" + line[start:]
