"""The view `links` as a picture: the text, coloured by what a prediction has to do with it."""

from __future__ import annotations

from collections.abc import Mapping

from charrnn.interpret.colors import MAGNITUDE, letter_color, mix, signed_color
from charrnn.interpret.links import SCALES, Links, LinksReport, scale_share
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
from charrnn.text.columns import iter_rows, make_cells

METHODS = {
    "gradient": "Gradient: how much the score changes with each character that was read",
    "ablate": "Ablation: how many bits less it is expected if a character is replaced by others",
    "ig": "Integrated gradients: what each character adds to the score",
}
"""What the figures of each method are."""

_BAR = 30  # pixels of the strongest
_HEADING = 24
_TOP = 84
_SMALL = 'font-size="11"'
_BOLD = 'font-weight="bold"'


def draw_links(reports: Mapping[str, LinksReport]) -> str:
    """Return the texts of one or several models as SVG, each with a bar below each character."""
    count = sum(
        len(report.links) * (_HEADING + _row_height(report) * _rows_of(report))
        for report in reports.values()
    )
    width = GUTTER + COLUMNS * CELL + 16
    picture = Picture(width, _TOP + count + 8, f"What a prediction rests on: {', '.join(reports)}")
    report = next(iter(reports.values()))
    picture.text((16, 22), "What a prediction rests on", more=f'{_BOLD} font-size="14"')
    picture.text((16, 41), f"{METHODS[report.method]}.", more=_SMALL)
    _draw_scale(picture, report)
    y = float(_TOP)
    for name, report in reports.items():
        for links in report.links:
            _draw_heading(picture, name, report, links, y)
            y += _HEADING
            y = _draw_rows(picture, report, links, y)
    return picture.as_svg()


def link_color(strength: float, method: str) -> str:
    """Return the background of a character: magnitudes green, others orange above 0, blue below."""
    share = scale_share(strength, method)
    return mix(MAGNITUDE, share) if method == "gradient" else signed_color(share)


def scale_steps(method: str) -> list[float]:
    """Return strengths along the scale, by a factor of about 3; with both signs, of 10."""
    low, _ = SCALES[method]
    if method == "gradient":
        return [low * factor for factor in (1, 10**0.5, 10, 10**1.5, 100, 10**2.5, 1000)]
    steps = [low * factor for factor in (1, 10, 100, 1000)]
    return [*(-step for step in reversed(steps)), *steps]


def _draw_scale(picture: Picture, report: LinksReport) -> None:
    x = 16.0
    for step in scale_steps(report.method):
        color = link_color(step, report.method)
        picture.rect((x, 52), 44, 18, color, 'stroke="#dddddd"' if color == "#ffffff" else "")
        picture.text(
            (x + 22, 65), f"{step:.2g}".replace("-", "−"), "middle", letter_color(color), _SMALL
        )
        x += 44
    factor = 3 if report.method == "gradient" else 10
    note = f"{report.unit}; each step is a factor of {factor}, the same for all models"
    picture.text((x + 12, 65), note, more=_SMALL)


def _draw_heading(picture: Picture, name: str, report: LinksReport, links: Links, y: float) -> None:
    """Add what is predicted, and how strongly."""
    what = "the next character is" if links.kind == "true" else "the likeliest is"
    gap = "" if links.gap is None else f"; the parts miss the whole by {links.gap:.1e}"
    symbol = "a space" if links.symbol == " " else f"“{seen(links.symbol)}”"
    words = f"{what} {symbol}, expected with {links.probability:.1%}{gap}"
    picture.text((16, y + 16), short_name(name), more=_BOLD)
    picture.text((GUTTER, y + 16), f"after place {report.at} {words}", more=_SMALL)


def _draw_rows(picture: Picture, report: LinksReport, links: Links, y: float) -> float:
    """Add the text in rows, bars below each; return where they end."""
    is_signed = report.method != "gradient"
    for row in iter_rows(make_cells(map(seen, report.symbols)), COLUMNS):
        strengths = [float(links.strengths[cell.start : cell.stop].sum()) for cell in row]
        colors = [link_color(strength, report.method) for strength in strengths]
        draw_cells(picture, row, colors, y)
        base = y + LETTER_HEIGHT + 3
        if is_signed:
            base += _BAR
            stop = placed(row)[-1][0] + CELL * row[-1].columns
            picture.line((GUTTER, base), (stop, base))
        for (x, cell), strength in zip(placed(row), strengths, strict=True):
            share = scale_share(strength, report.method)
            top = base if share < 0 or not is_signed else base - _BAR * share
            if share:
                height = _BAR * abs(share)
                color = (
                    MAGNITUDE[-1] if not is_signed else signed_color(0.75 if share > 0 else -0.75)
                )
                picture.rect((x + 1, top), CELL * cell.columns - 2, height, color)
        y += _row_height(report)
    return y


def _rows_of(report: LinksReport) -> int:
    return sum(1 for _ in iter_rows(make_cells(map(seen, report.symbols)), COLUMNS))


def _row_height(report: LinksReport) -> int:
    return LETTER_HEIGHT + _BAR * (1 if report.method == "gradient" else 2) + 12
