"""The attention of an encoder–decoder as a grid: a row for each token that is written."""

from __future__ import annotations

from collections.abc import Mapping

from charrnn.interpret.attention import AttentionReport
from charrnn.interpret.colors import MAGNITUDE, mix
from charrnn.interpret.svg import Picture

_CELL = 22
_LEFT, _TOP = 120, 74
_LEGEND = 40
_LEAST_SHOWN = 0.05  # of a weight whose number is written into its cell


def draw_attention(reports: Mapping[str, AttentionReport]) -> str:
    """Return the picture of each model's weights, one grid below the other, as SVG."""
    widest = max(len(report.source) for report in reports.values())
    width = max(_LEFT + widest * _CELL + 110, 420)
    heights = [_TOP + len(report.target) * _CELL + _LEGEND for report in reports.values()]
    title = "Attention: where the decoder looks while it writes each token"
    picture = Picture(width, sum(heights), title)
    top = 0.0
    for (name, report), height in zip(reports.items(), heights, strict=True):
        _draw(picture, top, f"{name}: where it looks while it writes", report)
        top += height
    return picture.as_svg()


def _draw(picture: Picture, top: float, title: str, report: AttentionReport) -> None:
    picture.text((12, top + 22), title, more='font-weight="bold"')
    picture.text((_LEFT, top + 44), "it reads →", color="#666666")
    picture.text((_LEFT - 34, top + 62), "it writes ↓", "end", "#666666")
    for column, symbol in enumerate(report.source):
        x = _LEFT + column * _CELL
        picture.text((x + _CELL / 2, top + _TOP - 8), _shown(symbol), "middle")
    for row, symbol in enumerate(report.target):
        y = top + _TOP + row * _CELL
        picture.text((_LEFT - 10, y + 15), _shown(symbol), "end")
        for column, weight in enumerate(report.weights[row].tolist()):
            x = _LEFT + column * _CELL
            picture.rect((x + 1, y + 1), _CELL - 2, _CELL - 2, mix(MAGNITUDE, weight))
            if weight >= _LEAST_SHOWN:
                ink = "#ffffff" if weight > 0.55 else "#000000"
                words = f"{100 * weight:.0f}"
                picture.text((x + 11, y + 15), words, "middle", ink, 'font-size="9"')
        right = _LEFT + len(report.source) * _CELL
        picture.text((right + 8, y + 15), f"{report.bits[row]:.2f} bits", color="#666666")
    if not report.weights.size:
        picture.text((_LEFT, top + _TOP + 14), "this model has no attention")
    y = top + _TOP + len(report.target) * _CELL + 20
    picture.text((_LEFT, y), "numbers: percent of the look; each row sums to 100", color="#666666")


def _shown(symbol: str) -> str:
    return "␣" if symbol == " " else symbol
