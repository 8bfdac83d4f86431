"""Which way a run is shown: a live panel, plain lines, JSON lines, or nothing."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Protocol

from rich.console import Console

from charrnn.cli.console import Output, is_screen
from charrnn.cli.formatting import format_duration
from charrnn.cli.train.panel import (
    LatestReports,
    LivePanel,
    describe_news,
    format_corpus,
    format_model,
    format_speed,
    format_time,
)
from charrnn.cli.train.summary import show_line, show_summary
from charrnn.metrics import bits_per_char, without_nan
from charrnn.storage import format_bytes
from charrnn.tasks.recorder import RunFinished, Written
from charrnn.tasks.train import Opened, Reading, RunReport
from charrnn.training.reports import Evaluation, Finished, Incident, Progress, Snapshot, Started


class Display(Protocol):
    """Shows the reports of a run, one after another."""

    def show(self, report: RunReport) -> None:
        """Show one report."""

    def close(self) -> None:
        """Leave the screen in order; to be called however the run ends."""


def make_display(*, quiet: bool, as_json: bool) -> Display:
    """Choose by the flags, then by whether stderr is a terminal."""
    if as_json:
        return JsonLines()
    if quiet:
        return Silent()
    console = Output(stderr=True)
    return Lasting(LivePanel(console) if is_screen(console) else PlainLines(console))


class Lasting:
    """Shows a run as long as there is something to show it on; a lost terminal loses no run."""

    def __init__(self, display: Display) -> None:
        self.shown = display

    def show(self, report: RunReport) -> None:
        """Show one report, if that is still possible."""
        try:
            self.shown.show(report)
        except OSError:
            self.shown = Silent()

    def close(self) -> None:
        """Leave the screen in order, if it is still there."""
        with suppress(OSError):
            self.shown.close()


class Silent:
    """Shows nothing."""

    def show(self, report: RunReport) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class JsonLines(Silent):
    """Writes each report but the snapshots as one JSON object on stdout."""

    def show(self, report: RunReport) -> None:
        """Write one line and flush it."""
        values = _plain_values(report)
        if values is not None:
            sys.stdout.write(json.dumps(without_nan(values)) + "\n")
            sys.stdout.flush()


def _plain_values(report: RunReport) -> dict[str, Any] | None:
    """Give a report without its arrays; `event` names its kind."""
    if isinstance(report, Snapshot | Finished):  # what Finished says is said once more by Kept
        return None
    event = {"event": type(report).__name__.lower()}
    if isinstance(report, Opened):
        corpus = report.corpus
        sizes = {"chars": corpus.chars, "vocab_size": corpus.vocab.size}
        return event | {
            "run": str(report.run.path),
            "corpus": corpus.name,
            **sizes,
            **_origin(report),
        }
    if isinstance(report, Reading | Started | Progress | Incident | Written):
        return event | asdict(report)
    if isinstance(report, Evaluation):
        return event | {k: v for k, v in vars(report).items() if k != "weights"}
    assert isinstance(report, RunFinished)
    left_out = ("best_weights", "snapshot")
    finished = {k: v for k, v in vars(report.finished).items() if k not in left_out}
    model = {"model": str(report.run.model), "baselines_bpc": report.baselines_bpc}
    return {"event": "finished"} | model | finished


def _origin(report: Opened) -> dict[str, Any]:
    """Give where the run's weights come from, and what it keeps."""
    inherited = report.inherited and report.inherited.as_json()
    damaged = [str(each.path) for each in report.damaged]
    names = ("room_bytes", "resumed_step", "is_found")
    return {n: getattr(report, n) for n in names} | {"init_from": inherited, "damaged": damaged}


_SILENCE_SECONDS = 30.0


class PlainLines:
    """Shows a run as lines of text."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._newest = LatestReports()
        self._said_at_seconds = 0.0

    def show(self, report: RunReport) -> None:
        """Write the line that `report` is worth, if any."""
        self._newest.take(report)
        for line in describe_news(report):
            show_line(self._console, line)
        if isinstance(report, Opened):
            time = format_duration(report.budget_seconds) if report.budget_seconds else "no limit"
            corpus = format_corpus(report.corpus)
            room = format_bytes(report.room_bytes)
            show_line(self._console, f"{corpus}, time {time} → {report.run.path} (up to {room})")
        elif isinstance(report, Started):
            show_line(self._console, format_model(report))
        elif isinstance(report, Evaluation):
            self._say_evaluation(report)
        elif isinstance(report, Progress):
            self._say_progress(report)
        elif isinstance(report, RunFinished):
            show_summary(self._console, report)

    def close(self) -> None:
        """Do nothing: every line is whole."""

    def _say_evaluation(self, report: Evaluation) -> None:
        self._said_at_seconds = report.elapsed_seconds
        best = " (best)" if report.is_best else f", best {bits_per_char(report.best_val_nats):.3f}"
        show_line(
            self._console,
            f"step {report.step:,} · {format_duration(report.elapsed_seconds)} · "
            f"train {bits_per_char(report.train_nats):.3f}, "
            f"val {bits_per_char(report.val_nats):.3f} bpc{best}",
        )

    def _say_progress(self, report: Progress) -> None:
        if report.elapsed_seconds - self._said_at_seconds < _SILENCE_SECONDS:
            return
        self._said_at_seconds = report.elapsed_seconds
        show_line(
            self._console,
            f"{format_time(self._newest)} · train {bits_per_char(report.train_nats):.3f} bpc, "
            f"{format_speed(report.chars_per_second)}",
        )
