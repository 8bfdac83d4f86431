"""What decided on a class: each character on the colour of what leaving it out costs."""

from __future__ import annotations

from collections.abc import Mapping

from charrnn.interpret.colors import letter_color, signed_color
from charrnn.interpret.decision import FULL_BITS, DecisionReport
from charrnn.interpret.pictures.text import (
    CELL,
    COLUMNS,
    GUTTER,
    LETTER_HEIGHT,
    draw_cells,
    seen,
    short_name,
)
from charrnn.interpret.svg import Picture
from charrnn.text.columns import iter_rows, make_cells

_BAR = 240  # pixels of a probability of 1
_GAP = 6


def draw_decision(reports: Mapping[str, DecisionReport]) -> str:
    """Return the classes and the text of each model as SVG."""
    laid_out = {
        name: [*iter_rows(make_cells(map(seen, report.pieces)), COLUMNS)]
        for name, report in reports.items()
    }
    height = 60.0
    for name, report in reports.items():
        rows = len(laid_out[name])
        height += 40 + 20 * len(report.classes) + rows * (LETTER_HEIGHT + _GAP)
    title = "What the decision rests on: what leaving out each character costs"
    picture = Picture(GUTTER + COLUMNS * CELL + 16, height, title)
    picture.text((16, 22), title, more='font-weight="bold" font-size="14"')
    _draw_scale(picture)
    y = 66.0
    for name, report in reports.items():
        y = _draw_classes(picture, name, report, y) + 10
        for row in laid_out[name]:
            colors = [
                signed_color(float(report.gains_bits[cell.stop - 1]) / FULL_BITS) for cell in row
            ]
            draw_cells(picture, row, colors, y)
            y += LETTER_HEIGHT + _GAP
        y += 30
    return picture.as_svg()


def _draw_scale(picture: Picture) -> None:
    x = 16.0
    for step in range(-4, 5):
        color = signed_color(step / 4)
        picture.rect((x, 34), 44, 18, color, 'stroke="#dddddd"' if not step else "")
        words = f"{step / 4 * FULL_BITS:g}".replace("-", "−")
        picture.text((x + 22, 47), words, "middle", letter_color(color), 'font-size="11"')
        x += 44
    words = "bits of log₂ p(class) lost without it: orange speaks for the class, blue against it"
    picture.text((x + 10, 47), words, more='font-size="11"')


def _draw_classes(picture: Picture, name: str, report: DecisionReport, y: float) -> float:
    """Add the likeliest classes as bars, and return the y below them."""
    picture.text((16, y + 14), short_name(name), more='font-weight="bold"')
    for label, probability in zip(report.classes, report.probabilities.tolist(), strict=True):
        picture.rect((GUTTER, y + 3), max(probability * _BAR, 1), 13, "#17603f")
        words = f"{100 * probability:.1f} %  {label}"
        picture.text((GUTTER + max(probability * _BAR, 1) + 8, y + 14), words)
        y += 20
    return y
