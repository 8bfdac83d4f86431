"""Output through rich: lines, tables and progress bars, safe to look at and whole in a pipe.

Left to itself, rich takes a file for a terminal where FORCE_COLOR asks for colours, folds tables
that go into a pipe, and ends the program with 1 where nobody reads the output any more.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from charrnn.cli.formatting import one_line

_PIPE_COLUMNS = 10_000  # no line in a pipe is folded
_TABLE_COLUMNS = 50  # on a narrower terminal a table is broken by the terminal, not by rich
_PATIENCE_SECONDS = 2.0  # work that takes less needs no progress bar


class Output(Console):
    """A console that leaves a closed pipe to whoever writes."""

    def on_broken_pipe(self) -> None:
        """Raise what main.py maps to an exit code."""
        raise BrokenPipeError


def make_stdout(min_columns: int = 0) -> Output:
    """Return stdout, as wide as its terminal but for tables that need `min_columns`.

    Where it is not a terminal, a line takes any length.
    """
    console = Output()
    is_terminal = console.file.isatty()
    console.width = max(console.width, min_columns) if is_terminal else _PIPE_COLUMNS
    return console


def is_screen(console: Console) -> bool:
    """Return whether `console` writes to a terminal that obeys cursor movements."""
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal


def print_line(console: Console, line: str | Text, style: str = "") -> None:
    """Print one line whole, for the terminal to wrap; a str is made safe to look at first."""
    console.print(Text(one_line(line), style) if isinstance(line, str) else line, soft_wrap=True)


def print_note(line: str, style: str = "") -> None:
    """Print one line on stderr."""
    print_line(Output(stderr=True), line, style)


def make_table(*headings: str, padding: int = 1) -> Table:
    """Return a table with these columns; ">" before a heading aligns it right and keeps it whole.

    padding: spaces after each column, besides one that separates it from the next.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, padding, 0, 0),
        collapse_padding=True,
        header_style="bold",
    )
    for heading in headings:
        is_figure = heading.startswith(">")  # of which half would be another figure
        table.add_column(
            heading.removeprefix(">"),
            justify="right" if is_figure else "left",
            overflow="ellipsis" if is_figure else "fold",
            no_wrap=is_figure,
            min_width=3,
        )
    return table


def print_values(values: Iterable[tuple[str, Any]]) -> None:
    """Print a table of names and values on stdout, without lines and headings."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values:
        table.add_row(format_cell(name), format_cell(value))
    print_table(table)


def format_cell(value: Any) -> Text:
    """Return a value as text that rich shows as it is: no markup, no control characters.

    >>> format_cell(1234567).plain, format_cell(0.5).plain, format_cell(None).plain
    ('1,234,567', '0.5000', '-')
    """
    if value in (None, {}):
        return Text("-")
    if isinstance(value, float):
        return Text(f"{value:.4f}" if abs(value) < 1e4 else f"{value:,.0f}")
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}")
    if isinstance(value, dict):
        value = ", ".join(f"{key} {format_cell(each)}" for key, each in value.items())
    elif isinstance(value, list):
        value = ", ".join(map(str, value))
    return Text(one_line(str(value)))


def print_table(table: Table) -> None:
    """Print a table on stdout, whole: what is wider than the terminal, the terminal breaks."""
    make_stdout(_TABLE_COLUMNS).print(table, crop=False)  # cropped, figures would be lost


def print_whole_table(console: Console, table: Table, columns: int = 80) -> None:
    """Print a table that needs so many columns, also on a narrower terminal, which breaks it."""
    width = console.width
    console.width = max(width, columns)
    console.print(table, crop=False)
    console.width = width


@contextmanager
def progress_bar(label: str, *, is_bytes: bool = False) -> Iterator[Callable[..., None]]:
    """Yield a function that takes what is done, the total (None: unknown) and a new label, if any.

    The bar appears on a terminal alone, once the work has taken two seconds. is_bytes: bytes of a
    download are counted.
    """
    from rich import progress  # 7 ms that a command without a bar saves

    columns = [progress.TextColumn("{task.description}", markup=False), progress.BarColumn()]
    if is_bytes:
        columns += [progress.DownloadColumn(), progress.TransferSpeedColumn()]
    else:
        columns += [progress.TimeRemainingColumn()]
    console = Output(stderr=True)
    is_hidden = not is_screen(console)
    bar = progress.Progress(*columns, console=console, transient=True, disable=is_hidden)
    task = bar.add_task(one_line(label), total=None)
    start_seconds = time.monotonic()

    def show(done: float, total: int | None, label: str = label) -> None:
        bar.update(task, description=one_line(label), completed=done, total=total)
        # Started late, as a started bar moves the cursor even while nothing is visible.
        if time.monotonic() - start_seconds > _PATIENCE_SECONDS:
            bar.start()

    try:
        yield show
    finally:
        bar.stop()
