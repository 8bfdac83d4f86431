"""The view `training` as a picture: losses, rates, gradients, groups of weights, snapshots."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from charrnn.interpret.colors import CURVES, DASHES, signed_color
from charrnn.interpret.pictures.text import seen
from charrnn.interpret.svg import Axis, Chart, Picture, Point, join_pictures
from charrnn.interpret.training import KINDS, Figures, SnapshotFigures, TrainingReport

ACROSS = {"step": "steps", "chars": "characters read", "seconds": "seconds"}
"""What losses are drawn against: a report's field, and its name on an axis."""

_TRAIN_DASH = "2 3"
_PALE = "#666666"
_SMALL_WIDTH, _SMALL_HEIGHT, _PER_ROW = 320, 230, 4  # of the charts of groups, in pixels
_SHOWN_CHARS = 64  # of a unit's values at each snapshot
_MOST_WALLS = 5  # incidents that are marked


def draw_training(reports: Mapping[str, TrainingReport]) -> str:
    """Return losses against steps, characters and seconds, and what else was recorded."""
    pictures: list[Picture] = [draw_losses(reports, by) for by in ACROSS]
    pictures.append(_draw_gradient_norms(reports))
    pictures.append(_draw_rates(reports))
    if any(each.snapshots for each in reports.values()):
        pictures.append(_draw_snapshots(reports))
    if any(each.snapshots and each.snapshots.births for each in reports.values()):
        pictures.append(_draw_births(reports))
    for name, report in reports.items():
        if report.snapshots is not None:
            units = report.snapshots.units
            pictures += [_draw_unit(f"{name} {unit}", report.snapshots, unit) for unit in units]
    if len(pictures) % 2:
        pictures.append(Picture(640, 0, ""))  # the groups begin a row of their own
    pictures += _draw_groups(reports)
    return join_pictures(pictures, "How the network was trained", columns=2)


def loss_axis(reports: Mapping[str, TrainingReport], name: str = "bits per character") -> Axis:
    """Return an axis that has the losses of all models from their first evaluation on."""
    losses = [each.evaluations.val_bpc for each in reports.values()]
    losses += [each.evaluations.train_bpc for each in reports.values()]
    losses += [
        each.milestones.train_bpc[len(each.milestones.step) // 20 :] for each in reports.values()
    ]
    losses.append(np.array([v for each in reports.values() for v in each.baselines_bpc.values()]))
    known = np.concatenate(losses)
    known = known[np.isfinite(known)]
    if not len(known):
        return Axis(name, 0, 1)
    low, high = float(known.min()), float(known.max())
    room = 0.08 * (high - low) or 0.1
    return Axis(name, max(low - room, 0.0), high + room)


def across_axis(reports: Mapping[str, TrainingReport], by: str) -> Axis:
    """Return an axis of steps, characters or seconds up to the end of the longest run."""
    ends = [
        getattr(part, by)
        for each in reports.values()
        for part in (each.milestones, each.evaluations)
    ]
    known = np.concatenate(ends)
    return Axis(ACROSS[by], 0, float(np.nanmax(known)) if np.isfinite(known).any() else 1.0)


def _points(x: Figures, y: Figures) -> list[Point]:
    return list(zip(x.tolist(), y.tolist(), strict=True))


def draw_losses(reports: Mapping[str, TrainingReport], by: str) -> Chart:
    """Return the losses of all models against one measure of effort, a key of ACROSS."""
    chart = Chart(across_axis(reports, by), loss_axis(reports), f"Loss against {ACROSS[by]}")
    for number, (name, report) in enumerate(reports.items()):
        color = CURVES[number % 7]
        found = report.evaluations
        where = getattr(found, by)
        if len(reports) == 1:
            chart.band(_points(where, found.train_bpc), _points(where, found.val_bpc), color)
        milestones = report.milestones
        chart.curve(_points(getattr(milestones, by), milestones.train_bpc), color, _TRAIN_DASH)
        chart.curve(_points(where, found.val_bpc), color, DASHES[number % 6], f"{name}, held out")
        if by == "step":
            walls = [each.step for each in report.incidents]
            for step in walls[:_MOST_WALLS]:
                chart.wall(step, "")
    chart.curve([], _PALE, _TRAIN_DASH, "training text")
    first = next(iter(reports.values()))
    for name, bpc in first.baselines_bpc.items():
        chart.level(bpc, name)
    return chart


def _draw_gradient_norms(reports: Mapping[str, TrainingReport]) -> Chart:
    """Return the norm of the gradient at each milestone, and where it was clipped."""
    norms = np.concatenate([each.milestones.gradient_norm for each in reports.values()])
    up = _log_axis("gradient norm before clipping", norms)
    chart = Chart(across_axis(reports, "step"), up, "Size of the gradient")
    for number, (name, report) in enumerate(reports.items()):
        found = report.milestones
        share = _last(report.evaluations.clipped)
        clipped = "" if share is None else f", {share:.0%} of the last steps clipped"
        label = f"{name}{clipped}"
        points = _points(found.step, found.gradient_norm)
        chart.curve(points, CURVES[number % 7], DASHES[number % 6], label)
    limits = {each.clip_grad_norm for each in reports.values() if each.clip_grad_norm}
    for limit in sorted(limits):
        if up.low < limit < up.high:
            chart.level(limit, f"clipped to {limit:g}")
    return chart


def _draw_rates(reports: Mapping[str, TrainingReport]) -> Chart:
    """Return the learning rate at each milestone."""
    rates = np.concatenate([each.milestones.learning_rate for each in reports.values()])
    high = float(np.nanmax(rates)) if np.isfinite(rates).any() else 0.0
    chart = Chart(
        across_axis(reports, "step"), Axis("learning rate", 0, 1.1 * high or 1), "Learning rate"
    )
    for number, (name, report) in enumerate(reports.items()):
        points = _points(report.milestones.step, report.milestones.learning_rate)
        chart.curve(points, CURVES[number % 7], DASHES[number % 6], name)
    return chart


def _draw_groups(reports: Mapping[str, TrainingReport]) -> list[Picture]:
    """Return a sheet of small charts, one for each group of each model, all on one scale."""
    every = [
        v for each in reports.values() for kinds in each.groups.values() for v in kinds.values()
    ]
    if not every:
        return []
    up = _log_axis("norm", np.concatenate(every))
    across = across_axis(reports, "step")
    charts = []
    for name, report in reports.items():
        for group, kinds in report.groups.items():
            title = f"{name}: {group}" if len(reports) > 1 else group
            chart = Chart(across, up, title, _SMALL_WIDTH, _SMALL_HEIGHT)
            for number, kind in enumerate(KINDS):
                points = _points(report.evaluations.step, kinds[kind])
                chart.curve(points, CURVES[number], DASHES[number])
            charts.append(chart)
    rows = -(-len(charts) // _PER_ROW)
    sheet = Picture(
        _PER_ROW * _SMALL_WIDTH, 40 + rows * _SMALL_HEIGHT, "Norms of groups of weights"
    )
    sheet.text((64, 26), "Norms of groups of weights", more='font-weight="bold"')
    for number, kind in enumerate(KINDS):
        x = 280.0 + 120 * number
        more = f'stroke-dasharray="{DASHES[number]}" stroke-width="2"'
        sheet.line((x, 22), (x + 28, 22), CURVES[number], more)
        sheet.text((x + 34, 26), kind)
    for number, each in enumerate(charts):
        row, column = divmod(number, _PER_ROW)
        sheet.put(each, (column * _SMALL_WIDTH, 40 + row * _SMALL_HEIGHT))
    return [sheet]


def _draw_snapshots(reports: Mapping[str, TrainingReport]) -> Chart:
    """Return the loss on the text in view against the snapshots' steps, on a logarithm."""
    found = {name: each.snapshots for name, each in reports.items() if each.snapshots}
    losses = np.concatenate([each.loss_bpc for each in found.values()])
    last = max(int(each.step.max()) for each in found.values())
    up = Axis("bits per character of the text in view", 0, 1.1 * float(losses.max()))
    across = Axis("step + 1", 1, last + 1, log=True)
    chart = Chart(across, up, "What the weights along the way make of the text in view")
    for number, (name, each) in enumerate(found.items()):
        points = _points(each.step.astype(np.float64) + 1, each.loss_bpc)
        chart.curve(points, CURVES[number % 7], DASHES[number % 6], name)
        chart.dots(points, CURVES[number % 7])
    return chart


def _draw_births(reports: Mapping[str, TrainingReport]) -> Chart:
    """Return how well found units tell their features, against the snapshots' steps."""
    found = [(name, each.snapshots) for name, each in reports.items() if each.snapshots]
    last = max(int(each.step.max()) for _, each in found)
    across = Axis("step + 1", 1, last + 1, log=True)
    title = "When each memory neuron came about"
    chart = Chart(across, Axis("AUC (chance ½), or ρ (chance 0)", 0, 1), title)
    number = 0
    for name, each in found:
        for birth in each.births:
            words = f"{birth.unit}: {birth.feature}"
            points = _points(each.step.astype(np.float64) + 1, birth.scores)
            label = f"{name} {words}" if len(reports) > 1 else words
            chart.curve(points, CURVES[number % 7], DASHES[number % 7], label)
            number += 1
    return chart


def _draw_unit(title: str, snapshots: SnapshotFigures, unit: str) -> Picture:
    """Return the values of a unit: a row for each snapshot, a column for each character."""
    values = snapshots.units[unit][:, :_SHOWN_CHARS]
    left, top, cell, row = 80.0, 46.0, 8.5, 14.0
    rows, columns = values.shape
    height = top + row * rows + 12
    picture = Picture(640, height, f"{title} at each snapshot, blue −1, white 0, orange 1")
    picture.text((left, 20), f"{title}, by step", more='font-weight="bold"')
    for column, symbol in enumerate(snapshots.symbols[:columns]):
        picture.text((left + cell * (column + 0.5), top - 6), seen(symbol)[:1], "middle")
    for number, (step, each) in enumerate(zip(snapshots.step.tolist(), values, strict=True)):
        y = top + row * number
        picture.text((left - 8, y + 11), f"{step:,}", "end")
        for column, value in enumerate(each.tolist()):
            color = signed_color(value if np.isfinite(value) else 0.0)
            picture.rect((left + cell * column, y), cell, row - 1, color)
    return picture


def _log_axis(name: str, values: Figures) -> Axis:
    """Return a logarithmic axis of whole powers of ten around the values above 0."""
    known = values[np.isfinite(values) & (values > 0)]
    if not len(known):
        return Axis(name, 0.1, 10, log=True)
    low = float(np.floor(np.log10(known.min())))
    high = float(np.ceil(np.log10(known.max()) + 1e-9))
    return Axis(name, 10.0**low, 10.0 ** max(high, low + 1), log=True)


def _last(values: Figures) -> float | None:
    """Return the last value; None where it is not known."""
    return float(values[-1]) if len(values) and np.isfinite(values[-1]) else None
