"""The picture of view `guesses`: Karpathy's columns of guesses, and bars of surprise below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from charrnn.interpret.colors import CURVES, MAGNITUDE, letter_color, mix
from charrnn.interpret.guesses import SPACE, GuessesReport, guess_cells
from charrnn.interpret.pictures.text import (
    CELL,
    COLUMNS,
    GUTTER,
    LETTER_HEIGHT,
    draw_cells,
    placed,
    seen,
    short_name,
)
from charrnn.interpret.svg import Picture
from charrnn.text.columns import TextCell, iter_rows, make_cells

MAX_BITS = 10.0  # higher bars are cut

_BIT_HEIGHT = 4  # pixels
_BARS_HEIGHT = 8 + int(MAX_BITS) * _BIT_HEIGHT
_GAP = 16  # between blocks
_TOP = 66
_MAX_STEPS = 20  # of colour, so that neighbours of one colour are one shape
_SURPRISE, _UNCERTAINTY = CURVES[1], "#000000"
_WHITE = "#ffffff"
_SMALL = 'font-size="11"'


def draw_guesses(reports: Mapping[str, GuessesReport]) -> str:
    """Return the guesses of one or several models as SVG, block by block one below the other."""
    rows = [*iter_rows(guess_cells(reports, seen), COLUMNS)]
    each = LETTER_HEIGHT + 4 + _GAP + sum(_height(report) for report in reports.values())
    top = _TOP + 16 * len(reports) + 12
    title = f"What the model expects at each character: {', '.join(reports)}"
    picture = Picture(GUTTER + COLUMNS * CELL + 16, top + each * len(rows), title)
    _draw_head(picture, reports, title)
    y = float(top)
    for row in rows:
        picture.text((GUTTER - 8, y + 13), f"text from {row[0].start:,}", "end", more=_SMALL)
        draw_cells(picture, row, [_WHITE] * len(row), y)
        y += LETTER_HEIGHT + 4
        for name, report in reports.items():
            _draw_model(picture, row, report, name if len(reports) > 1 else "", y)
            y += _height(report)
        y += _GAP
    return picture.as_svg()


def _draw_model(
    picture: Picture, row: Sequence[TextCell], report: GuessesReport, name: str, y: float
) -> None:
    """Add a model's guesses below a row of the text, the true one outlined, then the bars."""
    for number in range(report.probabilities.shape[1]):
        label = f"{short_name(name)}  1st" if not number and name else _ordinal(number + 1)
        picture.text((GUTTER - 8, y + 13), label, "end", more=_SMALL)
        cells = [_guess_cell(report, cell, number) for cell in row]
        shares = [float(report.probabilities[cell.start, number]) for cell in row]
        colors = [mix(MAGNITUDE, round(share * _MAX_STEPS) / _MAX_STEPS) for share in shares]
        draw_cells(picture, cells, colors, y)
        for (x, cell), color in zip(placed(cells), colors, strict=True):
            if report.ranks[cell.start] == number + 1:
                more = f'stroke="{letter_color(color)}" stroke-width="1.5"'
                width = CELL * cell.columns - 2
                picture.rect((x + 1, y + 1), width, LETTER_HEIGHT - 2, "none", more)
        y += LETTER_HEIGHT
    _draw_bars(picture, row, report, y + _BARS_HEIGHT - 4)


def _draw_bars(
    picture: Picture, row: Sequence[TextCell], report: GuessesReport, bottom: float
) -> None:
    """Add a bar for the surprise at each place, and a line for what was expected."""
    picture.text((GUTTER - 8, bottom), "surprise", "end", more=_SMALL)
    for x, cell in placed(row):
        width = CELL * cell.columns
        height = _BIT_HEIGHT * min(float(report.surprise_bits[cell.start]), MAX_BITS)
        picture.rect((x + 1, bottom - height), width - 2, height, _SURPRISE)
        level = bottom - _BIT_HEIGHT * min(float(report.entropy_bits[cell.start]), MAX_BITS)
        picture.line((x, level), (x + width, level), _UNCERTAINTY, 'stroke-width="1.5"')


def _draw_head(picture: Picture, reports: Mapping[str, GuessesReport], title: str) -> None:
    """Add the title, the averages, and what the colours mean."""
    picture.text((16, 22), title, more='font-weight="bold" font-size="14"')
    x = 16.0
    for step in range(6):
        color = mix(MAGNITUDE, step / 5)
        picture.rect((x, 32), 40, 18, color, 'stroke="#dddddd"' if not step else "")
        picture.text((x + 20, 45), f"{step * 20}%", "middle", letter_color(color), _SMALL)
        x += 40
    picture.rect((x + 13, 33), 12, 16, "none", 'stroke="#333333" stroke-width="1.5"')
    picture.text((x + 30, 45), "what came", more=_SMALL)
    picture.rect((x + 98, 36), 7, 14, _SURPRISE)
    picture.text((x + 110, 45), f"surprise −log₂ p, up to {MAX_BITS:g} bits", more=_SMALL)
    picture.line((x + 274, 43), (x + 292, 43), _UNCERTAINTY, 'stroke-width="1.5"')
    picture.text((x + 298, 45), "uncertainty: the surprise it expects", more=_SMALL)
    for number, (name, report) in enumerate(reports.items()):
        words = f"{name}: {report.described}"
        picture.text((16, _TOP + 2 + 16 * number), words, more=_SMALL)


def _guess_cell(report: GuessesReport, cell: TextCell, number: int) -> TextCell:
    """Return a guess in the column of a place."""
    symbol = report.guesses[cell.start][number].replace(" ", SPACE)
    return cell._replace(shown=make_cells([seen(symbol)], joins_marks=False)[0].shown)


def _height(report: GuessesReport) -> int:
    """Return the pixels of a row of one model."""
    guesses: int = report.probabilities.shape[1]
    return LETTER_HEIGHT * guesses + _BARS_HEIGHT + 4


def _ordinal(number: int) -> str:
    """Return a rank as a word.

    >>> _ordinal(2), _ordinal(11), _ordinal(23)
    ('2nd', '11th', '23rd')
    """
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number in (11, 12, 13) else suffix}"
