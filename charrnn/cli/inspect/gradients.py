"""The view `gradients` on a terminal: curves, half-lives, and which losses teach a place."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from charrnn.cli.console import make_table, print_line, print_whole_table
from charrnn.cli.formatting import one_line
from charrnn.cli.inspect.braille import BrailleChart
from charrnn.interpret.colors import CURVES
from charrnn.interpret.gradients import GradientsReport
from charrnn.interpret.pictures.gradients import (
    DISTANCES,
    by_distance,
    chosen_reaches,
    size_axis,
    within,
)
from charrnn.interpret.svg import Axis, Point

_COLUMNS = 100  # of a chart, also on a wider terminal
_ROWS = 12
_SHOWN_BACK = (0, 10, 40, 160)
_SHOWN_EXPONENTS = 5
_UNKNOWN = "–"
_DASHES = ((1, 0), (8, 6), (2, 4), (12, 3))  # points that are drawn, points that are not


def show_gradients(reports: Mapping[str, GradientsReport], console: Console) -> None:
    """Print how far back the losses of one or several models reach."""
    _show_curves(reports, console)
    _show_reaches(reports, console)
    _show_exponents(reports, console)
    for name, report in reports.items():
        _show_jacobian(name, report, console)
        _show_later(name, report, console)
        for note in report.notes:
            print_line(console, f"{name}: {note}")


def dashed(points: list[Point], number: int) -> list[Point]:
    """Return a curve's points with gaps that tell it from the others without colours."""
    drawn, left_out = _DASHES[number % len(_DASHES)]
    return [
        point if i % (drawn + left_out) < drawn else (point[0], math.nan)
        for i, point in enumerate(points)
    ]


def _show_curves(reports: Mapping[str, GradientsReport], console: Console) -> None:
    lines = chosen_reaches(reports)
    up = size_axis([each.size[1] for _, each in lines], "")
    longest = max(each.reach_chars for each in reports.values())
    across = Axis("k, characters back", 0, longest)
    chart = BrailleChart(across, up, min(console.width - 1, _COLUMNS), _ROWS)
    print_line(
        console, "Gradient of a loss by the state k characters before, nats per unit", "bold"
    )
    for number, (_, each) in enumerate(lines):
        chart.curve(dashed(within(each.size[1], up), number), CURVES[number % 7])
    for line in chart.lines():
        console.print(line, soft_wrap=True)
    signs = ("───", "╴╴╴", "···", "──╴")
    for number, (label, _) in enumerate(lines):
        sign = Text(f"  {signs[number % len(signs)]} ", CURVES[number % 7])
        print_line(console, sign + Text(one_line(label)))
    places = next(iter(reports.values())).places
    print_line(console, f"  median over {places} places of the held-out text")
    lengths = {report.seq_len: name for name, report in reports.items() if report.seq_len}
    for seq_len, name in lengths.items():
        whose = f" of {name}" if len(lengths) > 1 else ""
        print_line(console, f"  training{whose} cut gradients after {seq_len} characters (seq_len)")


def _show_reaches(reports: Mapping[str, GradientsReport], console: Console) -> None:
    longest = min(each.reach_chars for each in reports.values())
    shown = [k for k in _SHOWN_BACK if k <= longest]
    has_bound = any(each.bound for report in reports.values() for each in report.reaches)
    headings = ["gradient by", *(f">g({k})" for k in shown), ">factor", ">half-life"]
    table = make_table(*headings, ">untrained", *([">bound"] if has_bound else []), padding=0)
    for name, report in reports.items():
        for each in report.reaches:
            sizes = [_known(each.size[1, k], ".1e") for k in shown]
            factors = [_factor(each.factor), _chars(each.half_life_chars)]
            bound = [_factor(each.bound) if each.bound else ""] if has_bound else []
            untrained = _factor(each.untrained_factor)
            label = f"{one_line(name)} {each.array}"
            table.add_row(Text(label), *sizes, *factors, untrained, *bound)
    console.print()
    print_whole_table(console, table)
    print_line(console, "factor: with each character further back; half-life in characters")


def _show_exponents(reports: Mapping[str, GradientsReport], console: Console) -> None:
    console.print()
    print_line(console, "Lyapunov exponents of the state, nats a character", "bold")
    print_line(console, "below 0 a small change of the state dies out; above 0 it grows (chaos)")
    table = make_table(
        "model", *(f">λ{n + 1}" for n in range(_SHOWN_EXPONENTS)), ">half-life of λ1"
    )
    for name, report in reports.items():
        for label, spectrum in (
            (name, report.spectrum),
            (f"{name}, untrained", report.untrained_spectrum),
        ):
            shown = [_known(value, ".3f") for value in spectrum.exponents_nats[:_SHOWN_EXPONENTS]]
            shown += [""] * (_SHOWN_EXPONENTS - len(shown))
            table.add_row(Text(one_line(label)), *shown, _chars(spectrum.half_lives_chars[0]))
    print_whole_table(console, table)


def _show_jacobian(name: str, report: GradientsReport, console: Console) -> None:
    if not report.jacobian:
        return
    console.print()
    print_line(console, f"{name}: lengths of small changes of the state, 1 before", "bold")
    for span, values in report.jacobian.items():
        largest = " ".join(f"{value:.2g}" for value in values[:5])
        longer = int((values > 1).sum())
        what = f"  after {span:>3}: the longest {largest}; {longer} of {len(values)} above 1"
        print_line(console, what)


def _show_later(name: str, report: GradientsReport, console: Console) -> None:
    later = report.later
    row = later.sends[later.at]
    console.print()
    if not row.any():
        print_line(console, f"{name}: no loss after place {later.start + later.at} of the text")
        return
    before = one_line("".join(later.symbols[: later.at])[-20:])
    here = one_line(later.symbols[later.at])
    after = one_line("".join(later.symbols[later.at + 1 :]))
    title = f"{name}: which later losses teach {later.array} at place {later.start + later.at}"
    print_line(console, title, "bold")
    print_line(console, Text(f"  {before}") + Text(f"[{here}]", "bold") + Text(after))
    sums = by_distance(row[later.at :])
    total = sum(sums)
    for (first, last), size in zip(DISTANCES, sums, strict=True):
        label = f"{first}" if first == last else f"{first}–{last}" if last < 100 else f"{first}+"
        bar = "█" * round(30 * size / total)
        print_line(console, f"  {label:>5} characters later {size / total:>5.0%} {bar}")


def _chars(count: float) -> str:
    """Return a number of characters; "never" where nothing fades, "–" where it is not known."""
    if math.isnan(count):
        return _UNKNOWN
    return "never" if math.isinf(count) else f"{count:,.1f}"


def _known(value: float, form: str) -> str:
    """Return a figure, or "–" where too few places have one: records may end before."""
    return _UNKNOWN if math.isnan(value) else format(value, form)


def _factor(value: float) -> str:
    return _UNKNOWN if math.isnan(value) else f"×{value:.3f}"
