"""Surprisal in bits as a person reads it: six levels, the same on a terminal and on a page.

It knows nothing of either; what stands here is which characters are shown how.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.text import Text

from charrnn.cli.console import Output, make_stdout
from charrnn.cli.formatting import one_line, sanitize
from charrnn.generation.scoring import Line

BOUNDS_BITS = (1, 2, 4, 7, 10)
LABELS = ("under 1", "1–2", "2–4", "4–7", "7–10", "10 or more")
COLOURS = (  # of letters and of what is behind them; the lowest level is left as it is
    ("", ""),
    ("#1a1a1a", "#fff1c2"),
    ("#1a1a1a", "#ffd27f"),
    ("#1a1a1a", "#ff9d57"),
    ("#ffffff", "#d9432f"),
    ("#ffffff", "#8b0a2a"),
)
_SIGNS = {ord("\n"): "\u2424", ord("\t"): "\u2409"}


def level_of(bits: float) -> int:
    """Give the level, 0 to 5, of a surprisal."""
    return sum(bits >= bound for bound in BOUNDS_BITS)


def show_character(char: str) -> str:
    """Give a sign for a control character, newline and tab among them; others as they are."""
    return sanitize(char).translate(_SIGNS)


_LEAST_COLUMNS = 20
_STYLES = [f"{letters} on {behind}" if behind else "" for letters, behind in COLOURS]
_BASE = "\u25cc"  # what a mark stands on that has no character before it
_MOST_DIGIT = 9


@dataclass(frozen=True)
class _Cell:
    """What is seen of a character, with the marks upon it, and what they cost together."""

    shown: str
    columns: int
    bits: float


def show_map(lines: Iterable[Line]) -> None:
    """Write every character with what it costs, a line at a time."""
    console = make_stdout(_LEAST_COLUMNS)
    has_colours = bool(console.color_system) and not console.no_color
    _write(console, _legend(has_colours))
    for line in lines:
        for row in _rows(_cells(line), console.width):
            if has_colours:
                _write(console, _colour(row))
            else:
                _write(console, Text("".join(cell.shown for cell in row)))
                _write(console, Text("".join(map(_mark, row)).rstrip()))


def show_lines(lines: Iterable[Line]) -> None:
    """Write one row a line: number, bits per character, and what of it a terminal has room for."""
    console = make_stdout(_LEAST_COLUMNS)
    _write(console, Text(f"{'line':>8} {'bpc':>8}  text", style="bold"))
    for line in lines:
        text = one_line(line.text.removesuffix("\n"))
        row = Text(f"{line.number:>8,} {line.bpc:>8.3f}  {text}")
        if console.file.isatty():
            row.truncate(console.width, overflow="ellipsis")
        _write(console, row)


def show_figures(rows: Sequence[tuple[str, str]]) -> None:
    """Write a text's figures, each a name and a value."""
    console, width = make_stdout(_LEAST_COLUMNS), max(len(name) for name, _ in rows)
    for name, value in rows:
        _write(console, Text.assemble((name.ljust(width), "dim"), "  ", one_line(value)))


def _write(console: Output, text: Text) -> None:
    console.print(text, soft_wrap=True)


def _legend(has_colours: bool) -> Text:
    if not has_colours:
        return Text("below each character its whole bits: blank under 1, + from 10 on")
    levels = zip(LABELS, _STYLES, strict=True)
    return Text(" ").join([Text("bits:"), *(Text(f" {a} ", style=b) for a, b in levels)])


def _cells(line: Line) -> list[_Cell]:
    """Give what is seen of each character; a mark of no width joins what stands before it."""
    cells: list[_Cell] = []
    for char, bits in zip(line.text, line.bits.tolist(), strict=True):
        shown = show_character(char)
        columns = cell_len(shown)
        if columns:
            cells.append(_Cell(shown, columns, bits))
        elif cells:
            base = cells[-1]
            cells[-1] = _Cell(base.shown + shown, base.columns, base.bits + bits)
        else:
            cells.append(_Cell(_BASE + shown, 1, bits))
    return cells


def _rows(cells: Iterable[_Cell], width: int) -> Iterator[list[_Cell]]:
    """Break cells into rows of at most `width` columns."""
    row: list[_Cell] = []
    room = width
    for cell in cells:
        if row and cell.columns > room:
            yield row
            row, room = [], width
        row.append(cell)
        room -= cell.columns
    if row:
        yield row


def _colour(row: list[_Cell]) -> Text:
    pieces = groupby(row, key=lambda cell: level_of(cell.bits))
    return Text.assemble(
        *(("".join(cell.shown for cell in cells), _STYLES[level]) for level, cells in pieces)
    )


def _mark(cell: _Cell) -> str:
    """Give the whole bits of a cell as one character, as wide as the cell."""
    whole = int(cell.bits)
    digit = " " if whole < 1 else str(whole) if whole <= _MOST_DIGIT else "+"
    return digit.ljust(cell.columns)
