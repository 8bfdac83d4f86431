"""The view `gradients` as a picture: how fast the gradient fades, and what later losses teach."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from charrnn.interpret.colors import CURVES, DASHES, MAGNITUDE, mix
from charrnn.interpret.gradients import GradientsReport, LaterLosses, Reach
from charrnn.interpret.pictures.text import seen
from charrnn.interpret.svg import Axis, Chart, Picture, join_pictures
from charrnn.interpret.trace import Array

DISTANCES = ((0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, 31), (32, 10_000))
"""Groups of later losses, by how many characters lie between: first and last."""

_UNTRAINED_DASH = "1 5"
_GRAY = "#666666"
_LOWEST = 1e-10  # of the logarithmic axes; a gradient below teaches nothing
_HIGHEST = 1e10


def draw_gradients(reports: Mapping[str, GradientsReport]) -> str:
    """Return curves of the gradient, Lyapunov exponents, and the losses that teach a state."""
    lines = chosen_reaches(reports)
    pictures: list[Picture] = [
        _draw_reach(reports, lines, is_relative=False),
        _draw_reach(reports, lines, is_relative=True),
        _draw_spectrum(reports),
        *(_draw_jacobian(name, each.jacobian) for name, each in reports.items() if each.jacobian),
    ]
    highest = max(each.later.sends.sum(1).max() for each in reports.values())
    pictures += [_draw_later(name, each.later, highest) for name, each in reports.items()]
    return join_pictures(pictures, "How far back a loss teaches", columns=2)


def chosen_reaches(reports: Mapping[str, GradientsReport]) -> list[tuple[str, Reach]]:
    """Return the curves to draw, by name: of one model each layer's memory, else the highest's."""
    if len(reports) > 1:
        return [
            (f"{name} {each.reaches[-1].array}", each.reaches[-1]) for name, each in reports.items()
        ]
    (report,) = reports.values()
    kind = report.reaches[-1].array[0]
    return [(each.array, each) for each in report.reaches if each.array[0] == kind]


def size_axis(curves: list[Array], name: str) -> Axis:
    """Return a logarithmic axis for sizes of gradients, whole powers of ten."""
    known = np.concatenate(curves)
    known = known[np.isfinite(known) & (known > 0)]
    top = math.ceil(math.log10(known.max())) if len(known) else 0
    bottom = math.floor(math.log10(known.min())) if len(known) else 0
    high = min(max(10.0**top, 1.0), _HIGHEST)
    return Axis(name, min(max(10.0**bottom, _LOWEST), high / 1000), high, log=True)


def within(values: Array, axis: Axis) -> list[tuple[float, float]]:
    """Return points (k, value), NaN where the axis ends."""
    is_seen = (values >= axis.low) & (values <= axis.high)
    return list(enumerate(np.where(is_seen, values, np.nan).tolist()))


def _draw_reach(
    reports: Mapping[str, GradientsReport], lines: list[tuple[str, Reach]], *, is_relative: bool
) -> Chart:
    """Return the curves of g(k), or of g(k) / g(0)."""
    if is_relative:
        sizes = [(each.relative, each.untrained_relative) for _, each in lines]
        title, name = "Gradient, as a share of that at 0 characters", "g(k) / g(0)"
    else:
        sizes = [(each.size, each.untrained) for _, each in lines]
        title, name = "Gradient of a loss by the state k characters before", "g(k), nats per unit"
    up = size_axis([size[1] for size, _ in sizes], name)
    longest = max(each.reach_chars for each in reports.values())
    chart = Chart(Axis("k, characters back", 0, longest), up, title)
    for number, ((label, reach), (size, untrained)) in enumerate(zip(lines, sizes, strict=True)):
        color, dash = CURVES[number % 7], DASHES[number % 6]
        low, high = (list(enumerate(row.clip(up.low, up.high).tolist())) for row in size[::2])
        chart.band(low, high, color)
        chart.curve(within(untrained, up), color, _UNTRAINED_DASH)
        chart.curve(within(size[1], up), color, dash, label)
        if reach.bound is not None:
            powers = size[1, 0] * reach.bound ** np.arange(len(untrained), dtype=float)
            chart.curve(
                within(powers, up), _GRAY, "4 2", f"{label}: at most {reach.bound:.2f}^k g(0)"
            )
    chart.curve([], _GRAY, _UNTRAINED_DASH, "before training")
    for seq_len in sorted({each.seq_len for each in reports.values() if each.seq_len}):
        if seq_len < longest:
            chart.wall(seq_len, f"training cut here ({seq_len})")
    return chart


def _draw_spectrum(reports: Mapping[str, GradientsReport]) -> Chart:
    """Return the leading Lyapunov exponents."""
    every = [each.spectrum.exponents_nats for each in reports.values()]
    every += [each.untrained_spectrum.exponents_nats for each in reports.values()]
    known = np.concatenate(every)
    known = known[np.isfinite(known)]
    low = min(float(known.min(initial=0)) * 1.1, -0.2)
    high = max(float(known.max(initial=0)) * 1.3, -0.5 * low)  # room for the legend
    count = max(map(len, every))
    ticks = [(float(n), str(n)) for n in range(1, count + 1)]
    across = Axis("direction, the longest-lived first", 0.5, count + 0.5, ticks=ticks)
    chart = Chart(
        across,
        Axis("λ, nats a character", low, high),
        "Lyapunov exponents of the state (below 0: it forgets)",
    )
    chart.level(0, "")
    for number, (name, report) in enumerate(reports.items()):
        color = CURVES[number % 7]
        for spectrum, dash, label in (
            (report.untrained_spectrum, _UNTRAINED_DASH, ""),
            (report.spectrum, DASHES[number % 6], name),
        ):
            points = list(enumerate(spectrum.exponents_nats.tolist(), 1))
            chart.curve(points, color, dash, label)
            chart.dots(points, color, 3.5)
    chart.curve([], _GRAY, _UNTRAINED_DASH, "before training")
    return chart


def _draw_jacobian(name: str, jacobian: dict[int, Array]) -> Chart:
    """Return the singular values of the product of Jacobians."""
    count = max(map(len, jacobian.values()))
    up = Axis("singular value", _LOWEST, 10_000, log=True)
    title = f"{name}: what becomes of a small change of the state"
    chart = Chart(Axis("direction, the longest first", 1, count), up, title)
    chart.level(1, "as long as before")
    for number, (span, values) in enumerate(jacobian.items()):
        points = [(n + 1, value) for n, value in within(values, up)]
        label = f"after {span} character{'s' * (span > 1)}"
        chart.curve(points, CURVES[number % 7], DASHES[number % 6], label)
    return chart


def _draw_later(name: str, later: LaterLosses, highest: float) -> Chart:
    """Return a bar for each state, stacked from what the losses after it send there."""
    count = len(later.symbols)
    ticks = [(s + 0.5, seen(symbol)[:2]) for s, symbol in enumerate(later.symbols)]
    title = f"{name}: which later losses teach {later.array} at each character"
    up = Axis("sum of ‖∂ℓ/∂s‖, nats per unit", 0, 1.05 * highest or 1)
    chart = Chart(Axis("the state after this character", 0, count, ticks=ticks), up, title)
    for s, row in enumerate(later.sends):
        below = 0.0
        for color, part in zip(group_colors(), by_distance(row[s:]), strict=True):
            x, top = chart.place((s + 0.08, below + part))
            right, bottom = chart.place((s + 0.92, below))
            if bottom - top >= 0.1:
                chart.rect((x, top), right - x, bottom - top, color)
            below += part
    _, foot = chart.place((0, 0))
    middle, _ = chart.place((later.at + 0.5, 0))
    chart.area([(middle - 4, foot + 26), (middle + 4, foot + 26), (middle, foot + 20)], CURVES[1])
    _name_groups(chart)
    return chart


def by_distance(losses: Array) -> list[float]:
    """Return the sums of each group of later losses; losses[k] is k characters later."""
    return [float(losses[first : last + 1].sum()) for first, last in DISTANCES]


def group_colors() -> list[str]:
    """Return a colour for each group: dark for the next loss, pale for those far away."""
    last = len(DISTANCES) - 1
    return [mix(MAGNITUDE, 1 - 0.8 * n / last) for n in range(len(DISTANCES))]


def _name_groups(chart: Chart) -> None:
    """Add the legend of the groups, in a row below the title."""
    x, y = 64.0, 27.0
    for color, (first, last) in zip(group_colors(), DISTANCES, strict=True):
        label = f"{first}" if first == last else f"{first}–{last}" if last < 100 else f"{first}+"
        chart.rect((x, y), 10, 10, color)
        chart.text((x + 14, y + 9), label)
        x += 26 + 7 * len(label)
    chart.text((x, y + 9), "characters later")
