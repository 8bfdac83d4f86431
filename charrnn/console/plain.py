"""What a run says where there is no terminal: one line an evaluation, and at least every 30 s.

Lines go to the console's stream (stderr). It draws nothing and remembers little.
"""

from __future__ import annotations

from rich.console import Console

from charrnn.console.dashboard import Newest, format_corpus, format_model, format_speed, format_time
from charrnn.console.figures import format_duration
from charrnn.console.incidents import describe_news
from charrnn.console.summary import show_line, show_summary
from charrnn.metrics import bits_per_char
from charrnn.runs.keeper import Kept
from charrnn.runs.training import Opened, RunReport
from charrnn.storage import format_bytes
from charrnn.training.reports import Evaluation, Progress, Started

_SILENCE_SECONDS = 30.0


class PlainLines:
    """Shows a run as lines of text."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._newest = Newest()
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
        elif isinstance(report, Kept):
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
