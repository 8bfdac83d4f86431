"""Surprisal in bits as six levels of colour, the same on a terminal and on a web page.

A seventh colour marks characters that the model never saw, whose cost is not the model's own.
"""

from collections.abc import Iterable
from itertools import groupby

from rich.cells import cell_len
from rich.text import Text

from charrnn.cli.console import make_stdout, print_line
from charrnn.cli.formatting import format_character, one_line
from charrnn.generation.scoring import Line
from charrnn.text.columns import TextCell, iter_rows, make_cells

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
_END_SIGN = "\u220e"  # as ends a proof
_MIN_COLUMNS = 20
_MAX_DIGIT = 9


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


def show_map(lines: Iterable[Line]) -> None:
    """Print every character coloured by its bits; without colours, above a row of digits."""
    console = make_stdout(_MIN_COLUMNS)
    has_colours = bool(console.color_system) and not console.no_color
    print_line(console, _make_legend(has_colours))
    for line in lines:
        costs = _Costs(line)
        cells = make_cells(map(format_character, characters_of(line)), cell_len)
        for row in iter_rows(cells, console.width):
            if has_colours:
                pieces = groupby(row, key=costs.level)
                parts = (("".join(c.shown for c in each), _STYLES[i]) for i, each in pieces)
                print_line(console, Text.assemble(*parts))
            else:
                print_line(console, Text("".join(cell.shown for cell in row)))
                print_line(console, Text("".join(map(costs.digit, row)).rstrip()))


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


class _Costs:
    """What the cells of a line cost: a mark adds its bits to its letter."""

    def __init__(self, line: Line) -> None:
        self._bits = line.all_bits.tolist()
        self._levels = levels_of(line)

    def level(self, cell: TextCell) -> int:
        """Return the level of a cell."""
        if UNSEEN in self._levels[cell.start : cell.stop]:
            return UNSEEN
        return level_of(self._bits_of(cell))

    def digit(self, cell: TextCell) -> str:
        """Return the whole bits of a cell as one character, padded to the cell's width."""
        whole = int(self._bits_of(cell))
        digit = " " if whole < 1 else str(whole) if whole <= _MAX_DIGIT else "+"
        digit = "?" if self.level(cell) == UNSEEN else digit
        return digit.ljust(cell.columns)

    def _bits_of(self, cell: TextCell) -> float:
        return float(sum(self._bits[cell.start : cell.stop]))
