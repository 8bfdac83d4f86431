"""The view `training` on a terminal: curves of the loss, evaluations, groups of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from charrnn.cli.console import make_table, print_line
from charrnn.cli.formatting import format_duration, one_line
from charrnn.cli.inspect.braille import BrailleChart, sparkline
from charrnn.interpret.colors import CURVES
from charrnn.interpret.pictures.training import ACROSS, across_axis, loss_axis
from charrnn.interpret.training import Figures, TrainingReport

_COLUMNS = 100  # of a chart, also on a wider terminal
_ROWS = 14
_MOST_EVALUATIONS = 10  # in the table
_MOST_SNAPSHOTS = 12
_UNIT_CELLS = 60  # of a unit's values


def show_training(reports: Mapping[str, TrainingReport], console: Console) -> None:
    """Print how one or several models were trained."""
    show_losses(reports, console)
    for name, report in reports.items():
        _show_evaluations(name, report, console)
        _show_incidents(report, console)
        _show_groups(name, report, console)
        _show_snapshots(name, report, console)
        for note in report.notes:
            print_line(console, f"{one_line(name)}: {note}")


def show_losses(
    reports: Mapping[str, TrainingReport],
    console: Console,
    by: str = "step",
    *,
    has_baselines: bool = True,
) -> None:
    """Print the losses of all models against one measure of effort, a key of ACROSS.

    has_baselines: whether all have the text that simpler models were measured on.
    """
    across = across_axis(reports, by)
    chart = BrailleChart(across, loss_axis(reports), min(console.width - 1, _COLUMNS), _ROWS)
    for number, report in enumerate(reports.values()):
        color = CURVES[number % 7]
        milestones = report.milestones
        chart.dots(zip(getattr(milestones, by), milestones.train_bpc, strict=True), color)
        found = report.evaluations
        points = list(zip(getattr(found, by), found.val_bpc, strict=True))
        chart.curve(points, color)
        if len(reports) > 1 and points:  # without colours the numbers tell the curves apart
            chart.sign(points[-1], str(number + 1), color)
    print_line(console, f"Loss against {ACROSS[by]}, bits per character", "bold")
    for line in chart.lines():
        console.print(line, soft_wrap=True)
    for number, name in enumerate(reports):
        mark = f"{number + 1} " * (len(reports) > 1)
        sign = Text(f"  {mark}─── ", CURVES[number % 7])
        print_line(console, sign + Text(f"{one_line(name)}, held-out text (dots: training text)"))
    first = next(iter(reports.values()))
    if first.baselines_bpc and has_baselines:
        known = ", ".join(f"{name} {bpc:.2f}" for name, bpc in first.baselines_bpc.items())
        print_line(console, f"  on the same text: {known} bits per character")


def _show_evaluations(name: str, report: TrainingReport, console: Console) -> None:
    found = report.evaluations
    if not len(found.step):
        return
    headings = (">step", ">time", ">characters", ">train", ">held out", ">gap", ">rate", ">clipped")
    table = make_table(*headings, padding=0)
    for row in _spread(len(found.step), _MOST_EVALUATIONS):
        is_best = report.best_step == int(found.step[row])
        table.add_row(
            f"{found.step[row]:,.0f}",
            format_duration(found.seconds[row]) if math.isfinite(found.seconds[row]) else "",
            _figure(found.chars[row], ",.0f"),
            _figure(found.train_bpc[row], ".3f"),
            _figure(found.val_bpc[row], ".3f") + " best" * is_best,
            _figure(found.gap_bpc[row], "+.3f"),
            _figure(found.learning_rate[row], ".2g"),
            _figure(found.clipped[row], ".0%"),
        )
    console.print()
    print_line(console, f"{one_line(name)}: evaluations, bits per character", "bold")
    console.print(table)
    print_line(console, "train: the mean on the way, with dropout; clipped: share of the steps")


def _show_incidents(report: TrainingReport, console: Console) -> None:
    for each in report.incidents:
        back = "" if each.back_to_step is None else f", back to step {each.back_to_step:,}"
        print_line(console, f"step {each.step:,}: {each.kind}{back}")


def _show_groups(name: str, report: TrainingReport, console: Console) -> None:
    if not report.groups:
        return
    headings = (
        "weights",
        ">norm",
        ">gradient",
        ">update",
        ">decay",
        ">update/norm",
        "along the run",
    )
    table = make_table(*headings, padding=0)
    shares = {group: kinds["update"] / kinds["weight"] for group, kinds in report.groups.items()}
    largest = max(float(np.nanmax(each, initial=0.0)) for each in shares.values()) or 1.0
    halfway = len(report.evaluations.step) // 2  # at the end the learning rate is near 0
    for group, kinds in report.groups.items():
        sizes = [_figure(kinds[kind][halfway], ".2e") for kind in ("gradient", "update", "decay")]
        share = shares[group]
        shown = [float(share[row]) for row in _spread(len(share), _MOST_EVALUATIONS)]
        line = sparkline([value for value in shown if math.isfinite(value)], 0, largest)
        norm = _figure(kinds["weight"][halfway], ".3g")
        table.add_row(group, norm, *sizes, _figure(share[halfway], ".1e"), line)
    console.print()
    step = f"step {report.evaluations.step[halfway]:,.0f}"
    print_line(console, f"{one_line(name)}: groups of weights, halfway at {step}", "bold")
    console.print(table)
    print_line(console, "along the run: update/norm at evaluations, all groups on one scale")


def _show_snapshots(name: str, report: TrainingReport, console: Console) -> None:
    found = report.snapshots
    if found is None:
        return
    shown = _spread(len(found.step), _MOST_SNAPSHOTS)
    births = [f">{birth.unit} {birth.feature}" for birth in found.births]
    table = make_table(">step", ">bits per character", *births, padding=1)
    for row in shown:
        scores = [f"{birth.scores[row]:.3f}" for birth in found.births]
        table.add_row(f"{found.step[row]:,}", f"{found.loss_bpc[row]:.3f}", *scores)
    console.print()
    title = f"{one_line(name)}: the weights along the way, on the text in view"
    print_line(console, title, "bold")
    console.print(table)
    signs = [one_line(symbol)[:1] or " " for symbol in found.symbols]
    cells = [max(cell_len(sign), 1) for sign in signs]  # 2 of a Chinese character
    ends = np.cumsum(cells)
    count = int((ends <= min(max(console.width - 10, 10), _UNIT_CELLS)).sum())
    for unit, values in found.units.items():
        print_line(console, f"{unit} at each character, by step (from −1 to 1)", "bold")
        print_line(console, f"{'':>8} {''.join(signs[:count])}")
        for row in shown:
            bars = sparkline(np.nan_to_num(values[row, :count]).tolist(), -1, 1)
            line = "".join(bar * wide for bar, wide in zip(bars, cells[:count], strict=True))
            print_line(console, f"{found.step[row]:>8,} {line}")


def _spread(count: int, most: int) -> Sequence[int]:
    """Return at most so many numbers below `count`, the first and the last among them."""
    if count <= most:
        return range(count)
    return sorted({round(n * (count - 1) / (most - 1)) for n in range(most)})


def _figure(value: float | Figures, form: str) -> str:
    """Return a figure, or nothing where it is not known."""
    number = float(value)
    return format(number, form) if math.isfinite(number) else ""
