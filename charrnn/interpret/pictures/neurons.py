"""The picture of view `neurons`: a row for each feature, its unit and its controls on one scale.

The scale goes from chance to perfect: AUC from 0.5 to 1, ρ from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from charrnn.interpret.neurons import MEMORY, NOT_THERE, Finding, NeuronsReport, strength
from charrnn.interpret.svg import Picture, Point, visible

_WIDTH = 860
_LEFT, _RIGHT = 214, 600  # of the scale
_ROW = 24
_HEAD = 126
_GAP = 84  # between models
_FOOT = 30
_INK, _PALE, _GRID = "#333333", "#666666", "#dddddd"
_UNIT, _SHIFTED, _LAST, _UNTRAINED, _PROBE = "#0072b2", "#767676", "#d55e00", "#009e73", "#000000"
_SMALL = 'font-size="11"'
_NAMES = (
    ("unit", "unit, held half"),
    ("shifted", "shifted labels, best of all"),
    ("last", "last characters alone"),
    ("untrained", "untrained networks"),
    ("probe", "all units together"),
)


def draw_neurons(reports: Mapping[str, NeuronsReport]) -> str:
    """Return the findings of one or several models as SVG, one below the other."""
    rows = sum(max(len(report.findings), 1) for report in reports.values())
    height = _HEAD + _ROW * rows + _GAP * (len(reports) - 1) + _FOOT
    title = f"Which features live in which units: {', '.join(reports)}"
    picture = Picture(_WIDTH, height, title)
    picture.text((16, 22), title, more='font-weight="bold" font-size="14"')
    _draw_legend(picture)
    y = float(_HEAD)
    for name, report in reports.items():
        _draw_report(picture, name, report, y)
        y += _ROW * max(len(report.findings), 1) + _GAP
    half = next(iter(reports.values())).margin / 2
    words = (
        f"A memory neuron is right of grey, orange and green by {half:g} of AUC or {2 * half:g} of "
        "ρ. A character neuron is right of grey alone."
    )
    picture.text((16, height - 10), words, color=_PALE, more=_SMALL)
    return picture.as_svg()


def _draw_legend(picture: Picture) -> None:
    x = 22.0
    for kind, words in _NAMES:
        _draw_mark(picture, kind, (x, 43))
        picture.text((x + 11, 47), words, more=_SMALL)
        x += 34 + 6.2 * len(words)


def _draw_report(picture: Picture, name: str, report: NeuronsReport, y: float) -> None:
    """Add the findings of a model, with the scale above them."""
    heading = f"{name}: {report.units:,} units, {report.places:,} held-out characters"
    picture.text((16, y - 46), heading, more='font-weight="bold"')
    bottom = y + _ROW * max(len(report.findings), 1) - 6
    for step in range(6):
        x = _x(step / 5)
        picture.line((x, y - 8), (x, bottom))
        picture.text((x, y - 26), f"{0.5 + step / 10:g}", "middle", _PALE, _SMALL)
        picture.text((x, y - 13), f"{step / 5:g}", "middle", _PALE, _SMALL)
    for words, place in (("AUC", y - 26), ("ρ", y - 13)):
        picture.text((_LEFT - 14, place), words, "end", _PALE, _SMALL)
    picture.text((_RIGHT + 18, y - 13), "score", color=_PALE, more=_SMALL)
    picture.text((_RIGHT + 100, y - 13), "verdict", color=_PALE, more=_SMALL)
    if not report.findings:
        picture.text((16, y + 8), "the text has none of the features", color=_PALE)
    for number, finding in enumerate(report.findings):
        _draw_finding(picture, finding, y + 8 + _ROW * number)


def _draw_finding(picture: Picture, finding: Finding, y: float) -> None:
    """Add the row of a feature."""
    is_memory = finding.verdict == MEMORY
    color = _PALE if finding.verdict == NOT_THERE else _INK
    weight = 'font-weight="bold"' if is_memory else ""
    name = visible(finding.feature)
    picture.text((16, y + 4), name if len(name) < 20 else name[:18] + "…", color=color, more=weight)
    picture.text((_LEFT - 14, y + 4), finding.best.unit, "end", color, weight)
    picture.line((_LEFT, y), (_RIGHT, y))
    scores = {
        "probe": finding.probe,
        "shifted": finding.shifted,
        "untrained": finding.untrained,
        "last": max(finding.last_1, finding.last_3),
        "unit": finding.best.held,
    }
    for kind, score in scores.items():
        _draw_mark(picture, kind, (_x(strength(finding, score)), y))
    words = f"{'AUC' if finding.is_yes_no else 'ρ'} {finding.best.held:.3f}"
    picture.text((_RIGHT + 18, y + 4), words, color=color, more=weight)
    picture.text((_RIGHT + 100, y + 4), finding.verdict, color=color, more=weight)


def _draw_mark(picture: Picture, kind: str, place: Point) -> None:
    """Add the mark of a score or of a control: each has a shape of its own."""
    x, y = place
    if kind == "unit":
        picture.dot(place, 5.5, _UNIT)
    elif kind == "probe":
        picture.dot(place, 4.5, "none", f'stroke="{_PROBE}" stroke-width="1.5"')
    elif kind == "shifted":
        picture.line((x - 4, y - 4), (x + 4, y + 4), _SHIFTED, 'stroke-width="2"')
        picture.line((x - 4, y + 4), (x + 4, y - 4), _SHIFTED, 'stroke-width="2"')
    elif kind == "last":
        picture.line((x, y - 8), (x, y + 8), _LAST, 'stroke-width="3"')
    else:
        picture.area(((x, y - 6), (x + 6, y + 5), (x - 6, y + 5)), _UNTRAINED)


def _x(share: float) -> float:
    """Return where a strength lies; below chance is drawn as chance."""
    return _LEFT + min(max(share, 0.0), 1.0) * (_RIGHT - _LEFT)
