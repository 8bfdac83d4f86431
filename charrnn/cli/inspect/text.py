"""View `text` on a terminal: characters on the colours of a unit's values, others as bars below.

Also how a text is laid out there, as other views need it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from charrnn.cli.console import print_line
from charrnn.cli.formatting import format_character, one_line
from charrnn.cli.inspect.braille import sparkline
from charrnn.interpret.colors import NEGATIVE, POSITIVE, letter_color, signed_color
from charrnn.interpret.pictures.text import shared_scales, short_name
from charrnn.interpret.text import TextReport, line_ends
from charrnn.text.columns import TextCell, iter_rows, make_cells

MIN_ROOM = 10  # columns of text, however narrow the terminal

_STRONG = 0.5  # of the scale: from there a line says the sign too
_WEAK = 0.05  # of the scale: below it there is no colour, as a terminal may be dark
_STEPS = 20  # of colour between 0 and 1
_NAME_COLUMNS = 12  # of a model's name beside a row
_MAX_DIGIT = 9
_BAR_COLORS = (NEGATIVE[3], POSITIVE[3])  # seen on dark and on light terminals


def show_text(reports: Mapping[str, TextReport], console: Console) -> None:
    """Print the texts of one or several models, row by row one below the other."""
    is_colored = has_colors(console)
    for name, report in reports.items():
        heading = Text(one_line(name), "bold")
        print_line(console, heading.append(f"  {report.described_units}", "not bold"))
    scales = shared_scales(reports)
    print_line(console, _legend(reports, is_colored=is_colored))
    print_line(console, "")
    names = {name: _row_name(name, reports) for name in reports}
    gutter = _gutter(reports, names)
    symbols = next(iter(reports.values())).symbols
    cells = make_cells(map(format_character, symbols), cell_len)
    for row in iter_rows(cells, max(console.width - gutter, MIN_ROOM), line_ends(symbols)):
        for name, report in reports.items():
            print_beside(
                console, names[name], _first_unit(row, report, scales[name], is_colored), gutter
            )
            for number in range(1, len(report.units)):
                bars = _track(row, report, scales[name], number)
                print_beside(console, report.units[number], [bars], gutter)
        if gutter:
            print_line(console, "")


def has_colors(console: Console) -> bool:
    """Return whether a console shows colours."""
    return bool(console.color_system) and not console.no_color


def print_beside(console: Console, label: str, lines: Sequence[Text], gutter: int) -> None:
    """Print lines with a label left of the first; gutter: columns of labels, 0 for none."""
    for line in lines:
        start = label + " " * (gutter - cell_len(label)) if gutter else ""
        print_line(console, Text.assemble((start, "dim"), line))
        label = ""


def _row_name(name: str, reports: Mapping[str, TextReport]) -> str:
    """Return what stands beside a model's rows: its name where there are several, and its unit."""
    unit = reports[name].units[0]
    return f"{short_name(one_line(name), _NAME_COLUMNS)} {unit}" if len(reports) > 1 else unit


def _gutter(reports: Mapping[str, TextReport], names: Mapping[str, str]) -> int:
    """Return the columns of the labels, 0 where there is one unit only."""
    labels = [*names.values()]
    labels += [unit for report in reports.values() for unit in report.units[1:]]
    return max(map(cell_len, labels)) + 1 if len(labels) > 1 else 0


def _first_unit(
    row: Sequence[TextCell], report: TextReport, scales: Sequence[float], is_colored: bool
) -> list[Text]:
    """Return a row coloured by the first unit, or above a row of digits and one of signs."""
    values = [float(report.values[0, cell.stop - 1]) / scales[0] for cell in row]
    pairs = [*zip(row, values, strict=True)]
    if is_colored:
        return [_joined((cell.shown, _style(value)) for cell, value in pairs)]
    text = "".join(cell.shown for cell in row)
    digits = ""
    signs = ""
    for cell, value in pairs:
        digit = _digit(value)
        digits += digit.ljust(cell.columns)
        signs += ("−" if value < 0 and digit != " " else " ").ljust(cell.columns)
    below = [Text(line) for line in (digits.rstrip(), signs.rstrip()) if line]
    return [Text(text), *below]


def _track(
    row: Sequence[TextCell], report: TextReport, scales: Sequence[float], number: int
) -> Text:
    """Return the values of a unit as bars, each as wide as its character."""
    low = -1.0 if report.lows[number] < 0 else 0.0
    bars = []
    for cell in row:
        value = float(report.values[number, cell.stop - 1]) / scales[number]
        bar = sparkline([value], low, 1) if math.isfinite(value) else " "
        bars.append((bar * cell.columns, _BAR_COLORS[value > 0]))
    return _joined(bars)


def _joined(pieces: Iterable[tuple[str, str]]) -> Text:
    """Return pieces and their styles as one text; neighbours of one style become one piece."""
    runs = groupby(pieces, key=lambda piece: piece[1])
    return Text.assemble(*(("".join(text for text, _ in run), style) for style, run in runs))


def _style(value: float) -> str:
    """Return the style of a share of the scale; strong values have a line that says the sign."""
    if not abs(value) >= _WEAK:  # also where there is no value
        return ""
    line = "" if abs(value) < _STRONG else "underline " if value > 0 else "overline "
    return line + _letters_on(round(value * _STEPS))


@cache
def _letters_on(step: int) -> str:
    color = signed_color(step / _STEPS)
    return f"{letter_color(color)} on {color}"


def _digit(value: float) -> str:
    """Return the tenths of a share of the scale without its sign, blank for none."""
    # The sum makes a float32 of 0.9, which is a little less, nine tenths.
    tenths = min(int(abs(value) * 10 + 1e-5), _MAX_DIGIT) if math.isfinite(value) else 0
    return str(tenths) if tenths else " "


def _legend(reports: Mapping[str, TextReport], *, is_colored: bool) -> Text:
    """Return what the colours mean, or the digits."""
    what = "change" if _is_diff(reports) else "value"
    largest = max(max(scales) for scales in shared_scales(reports).values())
    unbounded = "" if largest == 1 else f"; 1 of a ReLU stands for {largest:.3g}"
    if not is_colored:
        return Text(f"below each character its {what} in tenths, − for negative{unbounded}")
    has_negative = any(low < 0 for report in reports.values() for low in report.lows)
    shares = [-1, -0.5, 0, 0.5, 1] if has_negative else [0, 0.25, 0.5, 0.75, 1]
    boxes = [Text(f" {share:g} ".replace("-", "−"), _style(share)) for share in shares]
    lines = "underlined ≥ 0.5" + ", overlined ≤ −0.5" * has_negative
    return Text("").join([Text(f"{what}: "), *boxes, Text(f" {lines}{unbounded}")])


def _is_diff(reports: Mapping[str, TextReport]) -> bool:
    return any(report.is_diff for report in reports.values())
