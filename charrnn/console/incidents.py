"""What a person should know of a run besides its figures: how it began, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.runs.training import Opened, RunReport
from charrnn.training.reports import Incident, Started

_SHOWN_CHARACTERS = 40


def describe_news(report: RunReport) -> Iterator[str]:
    """Yield the lines that are to stay on the screen, whatever is drawn there."""
    if isinstance(report, Opened):
        yield from _describe_opening(report)
    elif isinstance(report, Started) and report.slices > 1:
        yield f"memory is short: the lanes of a window are read in {report.slices} parts"
    elif isinstance(report, Incident):
        yield _describe_incident(report)


def _describe_opening(report: Opened) -> Iterator[str]:
    for state in report.damaged:
        lost = state.step - (report.resumed_step or 0)
        instead = (
            f"goes on from the state of {lost:,} steps before"
            if lost
            else ("the next evaluation takes its place")
        )
        yield f"{state.reason}; {instead}"
    if report.is_found:
        yield (
            f"goes on with the run {report.run.name!r} of this very command, which did not end, "
            f"from step {report.resumed_step:,} (--unfinished new starts another)"
        )
    if report.inherited is not None:
        yield f"starts from the weights of {report.inherited.model_name}{_describe_new(report)}"


def _describe_new(report: Opened) -> str:
    assert report.inherited is not None
    new = report.inherited.new_characters
    shown = repr(new[:_SHOWN_CHARACTERS]) + (" …" if len(new) > _SHOWN_CHARACTERS else "")
    characters = f"; {len(new):,} characters are new to it: {shown}" if new else ""
    return characters + ("; rare ones are new as bytes" if report.inherited.has_new_bytes else "")


def _describe_incident(report: Incident) -> str:
    """Say in one line what happened, where in the text, and what was done about it."""
    step = f"step {report.step:,}"
    if report.kind == "rollback":
        return (
            f"{step}: the loss is no longer a number; back to step {report.back_to_step:,}, and on "
            f"at {report.rate_factor:g} of the learning rate"
        )
    if report.kind == "memory":
        return f"{step}: memory was short; the lanes are read in {report.slices} parts from here on"
    if report.kind == "graph":
        return f"{step}: no CUDA graph of a step could be made ({report.reason}); goes on without"
    where = f"at character {report.position:,} of every {report.lane_length:,}"
    if report.kind == "dropped":
        return f"{step}: loss or gradient is not a number {where}; the step was dropped"
    jump = f"the loss jumped from {report.level_nats:.2f} to {report.train_nats:.2f} nats"
    return f"{step}: {jump} {where}"
