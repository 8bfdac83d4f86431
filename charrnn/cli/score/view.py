"""Surprisal in bits as six levels of colour, the same on a terminal and on a web page.

A seventh colour marks characters that the model never saw, whose cost is not the model's own.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from charrnn.cli.console import make_stdout, print_line
from charrnn.cli.formatting import one_line, sanitize
from charrnn.generation.scoring import Line

BOUNDS_BITS = (1, 2, 4, 7, 10)
LABELS = ("under 1", "1–2", "2–4", "4–7", "7–10", "10 or more", "never seen")
UNSEEN = 6  # the level of a character that the model never saw
COLOURS = (  # of letters and of their background; the lowest level has none
    ("", ""),
    ("#1a1a1a", "#fff1c2"),
    ("#1a1a1a", "#ffd27f"),
    ("#1a1a1a", "#ff9d57"),
    ("#ffffff", "#d9432f"),
    ("#ffffff", "#8b0a2a"),
    ("#ffffff", "#5a3d9a"),
)
_STYLES = [f"{letters} on {background}" if background else "" for letters, background in COLOURS]
_SIGNS = {ord("\n"): "\u2424", ord("\t"): "\u2409"}  # which sanitize keeps
_END_SIGN = "\u220e"  # as ends a proof
_MIN_COLUMNS = 20
_CIRCLE = "\u25cc"  # what Unicode draws below a mark that has no letter
_MAX_DIGIT = 9


class _Cell(NamedTuple):
    """A visible character with the combining marks on it, and their bits together."""

    shown: str
    columns: int
    bits: float
    level: int


def level_of(bits: float) -> int:
    """Return the level, 0 to 5, of a surprisal.

    >>> level_of(0.5), level_of(1.0), level_of(12.0)
    (0, 1, 5)
    """
    return sum(bits >= bound for bound in BOUNDS_BITS)


def levels_of(line: Line) -> list[int]:
    """Return the level of each character of a line, and of its end."""
    levels = [*map(level_of, line.all_bits.tolist())]
    for at in line.unseen:
        levels[at] = UNSEEN
    return levels


def characters_of(line: Line) -> str:
    """Return the characters of a line, and a sign for the end of a record that follows it."""
    return line.text + _END_SIGN * (line.end_bits is not None)


def format_character(char: str) -> str:
    r"""Return a symbol for a control character, also for newline and tab; others unchanged.

    >>> format_character("\n"), format_character("a")
    ('␤', 'a')
    """
    return sanitize(char).translate(_SIGNS)


def show_map(lines: Iterable[Line]) -> None:
    """Print every character coloured by its bits; without colours, above a row of digits."""
    console = make_stdout(_MIN_COLUMNS)
    has_colours = bool(console.color_system) and not console.no_color
    print_line(console, _make_legend(has_colours))
    for line in lines:
        for row in _iter_rows(_make_cells(line), console.width):
            if has_colours:
                pieces = groupby(row, key=lambda cell: cell.level)
                parts = (("".join(c.shown for c in cells), _STYLES[i]) for i, cells in pieces)
                print_line(console, Text.assemble(*parts))
            else:
                print_line(console, Text("".join(cell.shown for cell in row)))
                print_line(console, Text("".join(map(_format_digit, row)).rstrip()))


def show_lines(lines: Iterable[Line]) -> None:
    """Print one row per line: number, bits per character, and the text that a terminal can show."""
    console = make_stdout(_MIN_COLUMNS)
    has_colours = bool(console.color_system) and not console.no_color
    print_line(console, f"{'line':>8} {'bpc':>8}  text", "bold")
    for line in lines:
        row = Text(f"{line.number:>8,} {line.bpc:>8.3f}  ") + _mark_unseen(line, has_colours)
        if console.file.isatty():  # a pipe gets the line whole
            row.truncate(console.width, overflow="ellipsis")
        print_line(console, row)


def _mark_unseen(line: Line, has_colours: bool) -> Text:
    """Return a line with the characters marked that the model never saw."""
    marked = Text()
    done = 0
    for at in line.unseen:
        char = one_line(line.text[at])
        marked.append(one_line(line.text[done:at]))
        marked.append(char if has_colours else f"⟦{char}⟧", _STYLES[UNSEEN])
        done = at + 1
    return marked.append(one_line(line.text[done:].removesuffix("\n")))


def _make_legend(has_colours: bool) -> Text:
    if not has_colours:
        what = "blank under 1, + for 10 or more, ? never seen"
        return Text(f"below each character its whole bits: {what}")
    levels = zip(LABELS, _STYLES, strict=True)
    return Text(" ").join([Text("bits:"), *(Text(f" {a} ", style=b) for a, b in levels)])


def _make_cells(line: Line) -> list[_Cell]:
    """Return the visible characters of a line; a mark of no width joins the one before it."""
    cells: list[_Cell] = []
    parts = (characters_of(line), line.all_bits.tolist(), levels_of(line))
    for char, bits, level in zip(*parts, strict=True):
        shown = format_character(char)
        columns = cell_len(shown)  # 2 of an ideograph, 0 of a combining mark
        if columns:
            cells.append(_Cell(shown, columns, bits, level))
        elif cells:  # a mark adds its bits to its letter
            base = cells[-1]
            whole = base.bits + bits
            highest = UNSEEN if UNSEEN in (base.level, level) else level_of(whole)
            cells[-1] = _Cell(base.shown + shown, base.columns, whole, highest)
        else:
            cells.append(_Cell(_CIRCLE + shown, 1, bits, level))
    return cells


def _iter_rows(cells: Iterable[_Cell], width: int) -> Iterator[list[_Cell]]:
    """Break cells into rows of at most `width` columns; rich would break only between words."""
    row: list[_Cell] = []
    room = width
    for cell in cells:
        if row and cell.columns > room:
            yield row
            row = []
            room = width
        row.append(cell)
        room -= cell.columns
    if row:
        yield row


def _format_digit(cell: _Cell) -> str:
    """Return the whole bits of a cell as one character, padded to the cell's width."""
    whole = int(cell.bits)
    digit = " " if whole < 1 else str(whole) if whole <= _MAX_DIGIT else "+"
    digit = "?" if cell.level == UNSEEN else digit
    return digit.ljust(cell.columns)
