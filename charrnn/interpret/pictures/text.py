"""The picture of view `text`: characters on the colours of a unit's values, others below them.

Also how a text is laid out in a picture, as other views need it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from charrnn.interpret.colors import letter_color, signed_color
from charrnn.interpret.svg import Picture, visible
from charrnn.interpret.text import TextReport, line_ends
from charrnn.text.columns import TextCell, iter_rows, make_cells, text_columns

CELL = 9  # pixels of a column
LETTER_HEIGHT = 18
GUTTER = 120  # for names, left of the text
COLUMNS = 80

_TRACK_HEIGHT = 11
_GAP = 8  # between rows
_TOP = 76  # of the rows, below a line for each model
_LINE = 16
_STRONG = 0.5  # of the scale: from there a line says the sign too
_STEPS = 20  # of colour between 0 and 1, so that neighbours of one colour are one shape
_NAME_CHARS = 18
_SIGNS = {"\n": "↵", "\t": "⇥"}  # as browsers have no glyph for the terminal's
_WHITE = "#ffffff"
_SMALL = 'font-size="11"'


def draw_text(reports: Mapping[str, TextReport]) -> str:
    """Return the texts of one or several models as SVG, row by row one below the other."""
    symbols = next(iter(reports.values())).symbols
    rows = [*iter_rows(make_cells(map(seen, symbols)), COLUMNS, line_ends(symbols))]
    each = sum(_height(report) for report in reports.values()) + _GAP
    width = GUTTER + COLUMNS * CELL + 16
    top = _TOP + _LINE * len(reports)
    picture = Picture(width, top + each * len(rows) + _GAP, _title(reports))
    _draw_head(picture, reports)
    scales = shared_scales(reports)
    y = float(top)
    for row in rows:
        for name, report in reports.items():
            own_name = name if len(reports) > 1 else ""
            _draw_row(picture, row, report, scales[name], own_name, y)
            y += _height(report)
        y += _GAP
    return picture.as_svg()


def seen(symbol: str) -> str:
    """Return what a picture shows of a token."""
    return _SIGNS.get(symbol) or visible(symbol)


def shared_scales(reports: Mapping[str, TextReport]) -> dict[str, list[float]]:
    """Return by model the value that has the strongest colour, for each of its units.

    Values of ReLUs have no highest; those of all models share the largest scale.
    """
    free = [scale for report in reports.values() for scale in report.scales if scale != 1]
    largest = max(free, default=1.0)
    return {
        name: [1.0 if scale == 1 else largest for scale in report.scales]
        for name, report in reports.items()
    }


def draw_cells(
    picture: Picture, cells: Sequence[TextCell], backgrounds: Sequence[str], y: float
) -> None:
    """Add a row of characters on backgrounds, one of each cell; y: of the row's upper edge."""
    draw_strip(picture, cells, backgrounds, y, LETTER_HEIGHT)
    letters = [letter_color(background) for background in backgrounds]
    for color in sorted(set(letters)):
        places, words = [], ""
        for (x, cell), own in zip(placed(cells), letters, strict=True):
            if own != color or cell.shown.isspace():
                continue
            if _has_places(cell):
                at = [i for i, char in enumerate(cell.shown) if not char.isspace()]
                places += [x + 0.5 + CELL * i for i in at]
                words += "".join(cell.shown[i] for i in at)
            else:
                picture.letters([x + 0.5], y + 14, cell.shown, color)
        if words:
            picture.letters(places, y + 14, words, color)


def draw_strip(
    picture: Picture, cells: Sequence[TextCell], colors: Sequence[str], y: float, height: float
) -> None:
    """Add coloured rectangles, one for neighbours of one colour."""
    for color, run in groupby(zip(placed(cells), colors, strict=True), key=lambda pair: pair[1]):
        inside = [pair[0] for pair in run]
        if color != _WHITE:
            width = CELL * sum(cell.columns for _, cell in inside)
            picture.rect((inside[0][0], y), width, height, color)


def placed(cells: Iterable[TextCell]) -> list[tuple[float, TextCell]]:
    """Return the cells of a row, each with the x of its left edge."""
    found = []
    x = float(GUTTER)
    for cell in cells:
        found.append((x, cell))
        x += CELL * cell.columns
    return found


def short_name(name: str, length: int = _NAME_CHARS) -> str:
    """Return a name that fits left of the text.

    >>> short_name("shakespeare-of-1623"), short_name("shakes")
    ('shakespeare-of-16…', 'shakes')
    """
    return name if len(name) <= length else name[: length - 1] + "…"


def _has_places(cell: TextCell) -> bool:
    """Return whether each character of a cell has a column: no mark, none wide, none rare."""
    return text_columns(cell.shown) == len(cell.shown) and max(cell.shown) < "\U00010000"


def _draw_row(
    picture: Picture,
    row: Sequence[TextCell],
    report: TextReport,
    scales: Sequence[float],
    name: str,
    y: float,
) -> None:
    """Add a row of the text on the first unit's colours, and a strip for each other."""
    for number, unit in enumerate(report.units):
        values = [float(report.values[number, cell.stop - 1]) / scales[number] for cell in row]
        colors = [_color(value) for value in values]
        if number == 0:
            draw_cells(picture, row, colors, y)
            _draw_signs(picture, row, values, y)
            label = f"{short_name(name, _NAME_CHARS - len(unit) - 1)} {unit}".strip()
            picture.text((GUTTER - 8, y + 13), label, "end", more=_SMALL)
            y += LETTER_HEIGHT + 1
        else:
            draw_strip(picture, row, colors, y, _TRACK_HEIGHT - 2)
            picture.text((GUTTER - 8, y + 8), unit, "end", more='font-size="9"')
            y += _TRACK_HEIGHT


def _draw_signs(
    picture: Picture, row: Sequence[TextCell], values: Sequence[float], y: float
) -> None:
    """Add a line below strong positive values and above strong negative ones."""
    signs = [(value > 0) - (value < 0) if abs(value) >= _STRONG else 0 for value in values]
    keys = [(sign, letter_color(_color(value))) for sign, value in zip(signs, values, strict=True)]
    for (sign, color), run in groupby(
        zip(placed(row), keys, strict=True), key=lambda pair: pair[1]
    ):
        if sign:
            inside = [pair[0] for pair in run]
            height = y + (LETTER_HEIGHT - 1 if sign > 0 else 1)
            stop = inside[-1][0] + CELL * inside[-1][1].columns
            picture.line((inside[0][0], height), (stop, height), color, 'stroke-width="1.5"')


def _draw_head(picture: Picture, reports: Mapping[str, TextReport]) -> None:
    """Add the title, what is seen, and the scale."""
    picture.text((16, 22), _title(reports), more='font-weight="bold" font-size="14"')
    for number, (name, report) in enumerate(reports.items()):
        words = f"{name}: {report.described_units}"
        picture.text((16, 66 + _LINE * number), words, more=_SMALL)
    first = 0 if all(low >= 0 for report in reports.values() for low in report.lows) else -4
    x = 16.0
    for step in range(first, 5):
        color = _color(step / 4)
        picture.rect((x, 32), 44, 18, color, 'stroke="#dddddd"' if color == _WHITE else "")
        words = f"{step / 4:g}".replace("-", "−")
        picture.text((x + 22, 45), words, "middle", letter_color(color), _SMALL)
        if abs(step) >= 2:
            y = 49 if step > 0 else 33
            picture.line((x, y), (x + 44, y), letter_color(color), 'stroke-width="1.5"')
        x += 44
    picture.text((x + 12, 45), _scale_note(reports, first == 0), more=_SMALL)


def _title(reports: Mapping[str, TextReport]) -> str:
    what = "How much units change at each character" if _is_diff(reports) else "Units over a text"
    return f"{what}: {', '.join(reports)}"


def _scale_note(reports: Mapping[str, TextReport], is_share: bool) -> str:
    largest = max(max(scales) for scales in shared_scales(reports).values())
    note = "A line below: 0.5 or more"
    note += "" if is_share else "; above: −0.5 or less"
    if largest != 1:
        note += f"; 1 of a ReLU stands for {largest:.3g}, the 99th percentile"
    return note + "."


def _is_diff(reports: Mapping[str, TextReport]) -> bool:
    return any(report.is_diff for report in reports.values())


def _color(value: float) -> str:
    """Return the background of a share of the scale, in steps; white where there is no value."""
    return signed_color(round(value * _STEPS) / _STEPS) if math.isfinite(value) else _WHITE


def _height(report: TextReport) -> int:
    """Return the pixels of a row of one model."""
    return LETTER_HEIGHT + 1 + _TRACK_HEIGHT * (len(report.units) - 1)
