"""How a run is shown: a live panel on a terminal, else plain lines, or JSON lines, or nothing.

`charrnn train` makes one display and shows it every report. The panel and the words that lines
share with it are in panel.py; summary.py writes the end of both.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console

from charrnn.cli.console import Output, is_screen
from charrnn.cli.formatting import UNITS, describe_scores, format_duration
from charrnn.cli.train import panel
from charrnn.cli.train.panel import LivePanel
from charrnn.cli.train.summary import show_line, show_summary
from charrnn.metrics import without_nan
from charrnn.storage import format_bytes
from charrnn.tasks.recorder import RunFinished, Written
from charrnn.tasks.train import Opened, RunReport
from charrnn.training.reports import (
    Evaluation,
    Finished,
    KeptWeights,
    Progress,
    Snapshot,
    Started,
)

_MAX_SILENCE_SECONDS = 30.0  # of training


def make_display(*, quiet: bool, as_json: bool) -> Display:
    """Choose by the flags, then by whether stderr is a terminal."""
    if as_json:
        return JsonLines()
    if quiet:
        return Silent()
    console = Output(stderr=True)  # stdout is for results
    return LivePanel(console) if is_screen(console) else PlainLines(console)


class Silent:
    """Shows nothing: for --quiet, and once the terminal is closed."""

    def show(self, report: RunReport) -> None:
        """Show one report."""

    def close(self) -> None:
        """Leave the screen in order, however the run ends."""


class JsonLines(Silent):
    """Writes each report but those of weights as one JSON object on stdout."""

    def show(self, report: RunReport) -> None:
        """Write one line and flush it: a program that reads along needs it at once."""
        record = _make_record(report)
        if record is not None:
            sys.stdout.write(json.dumps(without_nan(record)) + "\n")  # JSON has no NaN, no inf
            sys.stdout.flush()


def _make_record(report: RunReport) -> dict[str, Any] | None:
    """Return a report without its arrays; `event` names its kind (docs/file-format.md)."""
    if isinstance(
        report, Snapshot | KeptWeights | Finished
    ):  # RunFinished repeats what Finished says
        return None
    record: dict[str, Any] = {"event": type(report).__name__.lower()}
    if isinstance(report, RunFinished):
        record = {"event": "finished", "model": str(report.run.model)}
        record["baselines_bpc"] = report.baselines_bpc
        if report.classification:  # of labels
            record["classification"] = report.classification
        if report.scores:
            record["scores"] = report.scores
        arrays = ("best_weights", "snapshot")  # vars, as asdict would copy them
        record |= {k: v for k, v in vars(report.finished).items() if k not in arrays}
        trouble = report.finished.trouble
        return record | {"trouble": trouble and asdict(trouble)}
    if isinstance(report, Opened):
        return record | {
            "run": str(report.run.path),
            "corpus": report.corpus.name,
            "chars": report.corpus.chars,
            "vocab_size": report.corpus.vocab.size,
            "held_out": report.corpus.held_out,
            "notes": list(report.corpus.notes),
            "room_bytes": report.room_bytes,
            "resumed_step": report.resumed_step,
            "is_found": report.is_found,
            "init_from": report.initial_model and report.initial_model.as_json(),
            "distill_from": list(report.teachers),
            "damaged": [str(each.path) for each in report.damaged],
        }
    if isinstance(report, Evaluation):
        return record | {k: v for k, v in vars(report).items() if k != "weights"}
    return record | asdict(report)


class PlainLines(Silent):
    """Shows a run as lines of text."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._opened: Opened | None = None
        self._train = panel.name_train_loss(None)
        self._unit = UNITS["text"]
        self._evaluation: Evaluation | None = None  # of a task, until its scores are there
        self._shown_at_seconds = 0.0  # training time of the newest line

    def show(self, report: RunReport) -> None:
        """Write the lines that `report` is worth, if any."""
        for line in panel.describe_news(report, self._unit):
            show_line(self._console, line)
        if isinstance(report, RunFinished):
            show_summary(self._console, report, self._opened)
        else:
            show_line(self._console, self._format(report))

    def _format(self, report: RunReport) -> str:
        """Return the line of a report; "" for one that has none."""
        if isinstance(report, Opened):
            self._opened = report
            budget = report.budget_seconds
            time = "" if budget is None else f", time {format_duration(budget)}"
            room = format_bytes(report.room_bytes)
            corpus = panel.format_corpus(report.corpus)
            return f"{corpus}{time} → {report.run.path} (disk: up to {room})"
        if isinstance(report, Started):
            self._train = panel.name_train_loss(report)
            self._unit = UNITS[report.plan.model.task]
            return panel.format_model(report)
        if isinstance(report, Evaluation):
            self._shown_at_seconds = report.elapsed_seconds
            if self._unit is UNITS["text"]:
                return self._format_evaluation(report)
            self._evaluation = report
        if isinstance(report, Written) and self._evaluation is not None:
            scores = describe_scores(report.scores)
            return self._format_evaluation(self._evaluation) + (scores and f" · {scores}")
        if isinstance(report, Progress):
            # Where evaluations are far apart, a line now and then shows that the run is alive.
            if report.elapsed_seconds - self._shown_at_seconds < _MAX_SILENCE_SECONDS:
                return ""
            self._shown_at_seconds = report.elapsed_seconds
            return (
                f"{panel.format_time(report, self._opened)} · "
                f"{self._train} {self._unit.of(report.train_nats):.3f} {self._unit.short}, "
                f"{panel.format_speed(report.chars_per_second, self._unit)}"
            )
        return ""

    def _format_evaluation(self, report: Evaluation) -> str:
        """Return the line of an evaluation: the losses, the held-out one if there is any."""
        unit = self._unit
        line = (
            f"step {report.step:,} · {format_duration(report.elapsed_seconds)} · "
            f"{self._train} {unit.of(report.train_nats):.3f}"
        )
        if report.val_nats is None or report.best_val_nats is None:
            return f"{line} {unit.short}"
        best = " (best)" if report.is_best else f", best {unit.of(report.best_val_nats):.3f}"
        return f"{line}, val {unit.of(report.val_nats):.3f} {unit.short}{best}"


Display = Silent | LivePanel
"""Shows the reports of a run, one after another."""
