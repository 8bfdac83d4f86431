"""What stdout and stderr are written through, and whether there is a screen at their end.

Left to itself, rich takes a file for a terminal where FORCE_COLOR asks for colours, folds tables
that go into a pipe, and ends the program with 1 where nobody reads it any more.
"""

from __future__ import annotations

from rich.console import Console

_UNFOLDED_COLUMNS = 10_000


class Output(Console):
    """A console that leaves a closed pipe to whoever writes."""

    def on_broken_pipe(self) -> None:
        """Say that nobody reads."""
        raise BrokenPipeError


def make_stdout(least_columns: int) -> Output:
    """Give stdout, as wide as its terminal but for tables that need `least_columns`.

    Where it is no terminal, a line takes any length.
    """
    console = Output()
    is_terminal = console.file.isatty()
    console.width = max(console.width, least_columns) if is_terminal else _UNFOLDED_COLUMNS
    return console


def is_screen(console: Console) -> bool:
    """Tell whether `console` writes to a terminal that can be drawn on, coloured or not."""
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal
