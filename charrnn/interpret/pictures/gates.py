"""The picture of view `gates`: Karpathy's scatter for each gate, and time constants."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charrnn.interpret.colors import CURVES
from charrnn.interpret.gates import GatesReport, Saturation, TimeConstants
from charrnn.interpret.svg import Axis, Chart, Picture

_PANEL_WIDTH, _PANEL_HEIGHT = 250, 264
_TOP = 64
_HEADING = 24
_SMALL = 'font-size="11"'
_UNTRAINED = "#999999"
_SHARES = [(0.0, "0"), (0.25, "¼"), (0.5, "½"), (0.75, "¾"), (1.0, "1")]
_TAU_EDGES = np.geomspace(0.1, 1000, 33)  # tokens
_TAU_TICKS = [(0.1, "0.1"), (1.0, "1"), (10.0, "10"), (100.0, "100"), (1000.0, "1,000")]


def draw_gates(reports: Mapping[str, GatesReport]) -> str:
    """Return the gates of one or several models as SVG: a row of charts for each layer."""
    rows = [
        (name, number, report, layer)
        for number, (name, report) in enumerate(reports.items())
        for layer in dict.fromkeys(each.layer for each in report.saturations)
    ]
    widest = max(len(_panels(report, layer, "", 1)) for _, _, report, layer in rows)
    top_share = max([_largest_share(report) for report in reports.values()], default=1.0)
    title = f"How open gates are: {', '.join(reports)}"
    height = _TOP + len(rows) * (_HEADING + _PANEL_HEIGHT)
    picture = Picture(max(widest * _PANEL_WIDTH, 3 * _PANEL_WIDTH), height, title)
    picture.text((16, 22), title, more='font-weight="bold" font-size="14"')
    tokens = next(iter(reports.values())).tokens
    picture.text(
        (16, 41),
        f"A dot is a unit, measured on {tokens:,} held-out tokens: right is mostly above 0.9, up "
        "is mostly below 0.1; in the corner at 0 it mixes. Grey: before training.",
        more=_SMALL,
    )
    y = float(_TOP)
    for name, number, report, layer in rows:
        picture.text((16, y + 14), f"{name}, layer {layer}", more='font-weight="bold"')
        color = CURVES[number % len(CURVES)]
        for column, chart in enumerate(_panels(report, layer, color, top_share)):
            picture.put(chart, (column * _PANEL_WIDTH, y + _HEADING))
        y += _HEADING + _PANEL_HEIGHT
    return picture.as_svg()


def _panels(report: GatesReport, layer: int, color: str, top_share: float) -> list[Chart]:
    """Return the charts of a layer."""
    scatters = [_scatter(each, color) for each in report.saturations if each.layer == layer]
    constants = [each for each in report.time_constants if each.layer == layer]
    return [*scatters, *(_histogram(each, color, top_share) for each in constants)]


def _scatter(saturation: Saturation, color: str) -> Chart:
    """Return how often each unit is at either end of its range."""
    across = Axis(f"{saturation.right_means}: share of time", 0, 1, ticks=_SHARES)
    up = Axis(f"{saturation.left_means}: share", 0, 1, ticks=_SHARES)
    chart = Chart(across, up, saturation.name, _PANEL_WIDTH, _PANEL_HEIGHT)
    chart.path([chart.place((0, 1)), chart.place((1, 0))], _UNTRAINED, 'stroke-dasharray="4 3"')
    pairs = zip(saturation.untrained_right, saturation.untrained_left, strict=True)
    chart.dots(pairs, _UNTRAINED, 1.5)
    chart.dots(zip(saturation.right, saturation.left, strict=True), color)
    x, y = chart.place((1, 1))
    for number, words in enumerate(saturation.figures):
        chart.text((x, y + 12 + 14 * number), words, "end", more=_SMALL)
    return chart


def _histogram(constants: TimeConstants, color: str, top_share: float) -> Chart:
    """Return how many units have which time constant."""
    across = Axis(
        f"time constant of {constants.gate}, tokens", 0.1, 1000, log=True, ticks=_TAU_TICKS
    )
    up = Axis("share of units", 0, top_share * 1.35)  # room for the legend
    name = f"how long layer {constants.layer} remembers"
    chart = Chart(across, up, name, _PANEL_WIDTH, _PANEL_HEIGHT)
    for tau, shade, words in (
        (constants.untrained, _UNTRAINED, "before training"),
        (constants.tau, color, "trained"),
    ):
        chart.bars(_TAU_EDGES.tolist(), _shares(tau).tolist(), shade, words)
    return chart


def _largest_share(report: GatesReport) -> float:
    """Return the highest bar of a model's histograms."""
    taus = [tau for each in report.time_constants for tau in (each.tau, each.untrained)]
    return max((float(_shares(tau).max()) for tau in taus), default=0.0)


def _shares(tau: np.ndarray) -> np.ndarray:
    """Return the share of units in each bin; those beyond the axis are in its end bins."""
    inside = tau.clip(_TAU_EDGES[0], _TAU_EDGES[-1])
    counts: np.ndarray = np.histogram(inside, _TAU_EDGES)[0] / len(tau)
    return counts
