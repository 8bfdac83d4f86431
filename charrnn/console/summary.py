"""The last words of a run: how good the model is, what would make it better, what to type next."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.text import Text

from charrnn.checkpoint.folder import RunFolder
from charrnn.config import RunConfig
from charrnn.console.advice import Outcome, judge_run
from charrnn.console.figures import format_duration
from charrnn.console.streams import is_screen
from charrnn.console.visible import make_visible
from charrnn.metrics import bits_per_char
from charrnn.runs.keeper import Kept
from charrnn.training.outlook import expected_gains
from charrnn.training.reports import Finished

_ENDINGS = {
    "length": "trained",
    "patience": "stopped early, as it no longer got better:",
    "stopped": "stopped as asked:",
}


def show_summary(console: Console, report: Kept) -> None:
    """Write the end of a run."""
    finished = report.finished
    duration = format_duration(finished.elapsed_seconds)
    show_line(console, f"{_ENDINGS[finished.reason]} {finished.step:,} steps in {duration}")
    if finished.best_weights is not None:
        show_line(console, _describe_best(finished))
    if finished.reason != "stopped":
        for line in judge_run(_outcome(finished), report.baselines_bpc):
            show_line(console, line)
    show_line(console, f"model: {report.run.model}", is_copied=True)
    show_line(
        console, f"next:  charrnn sample {name_for_shell(report.run)} --temp 0.8", is_copied=True
    )


def show_line(console: Console, line: str, *, is_copied: bool = False) -> None:
    """Write one line as it is: no markup, no highlighting, no escape sequences.

    On a terminal it is wrapped between words, unless a person will want to copy it.
    """
    if line:
        is_whole = is_copied or not is_screen(console)
        console.print(Text(make_visible(line)), soft_wrap=is_whole, highlight=False)


def _outcome(finished: Finished) -> Outcome:
    return Outcome(
        train_nats=finished.best_train_nats,
        val_nats=finished.best_val_nats,
        compared_nats=finished.best_val_compared_nats,
        got_worse=finished.got_worse,
        outlook=expected_gains(finished.epochs),
    )


def _describe_best(finished: Finished) -> str:
    nats, windowed = finished.best_val_nats, finished.best_val_windowed_nats
    by_windows = f" ({windowed:.4f} in windows of 256 characters)" if windowed is not None else ""
    return (
        f"best model, of step {finished.best_step:,}: {bits_per_char(nats):.3f} bits per character "
        f"on held-out text = {nats:.4f} nats{by_windows}"
    )


def name_for_shell(run: RunFolder) -> str:
    """Give the run as a shell takes it: its name, or its path outside checkpoints/."""
    is_usual = run.path.parent == Path(RunConfig().checkpoints)
    return shlex.quote(run.name if is_usual else str(run.path))
