"""What a person sees while a model learns: a live panel, or plain lines off a terminal.

Both take the reports of a run one by one and write to stderr. Text from the model or the corpus
is shown as text: no escape sequence and no markup of it reaches the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from charrnn.cli.formatting import (
    draw_curve,
    format_count,
    format_duration,
    format_threads,
    one_line,
    sanitize,
)
from charrnn.cli.train.summary import show_line, show_summary
from charrnn.metrics import bits_per_char
from charrnn.storage import format_bytes
from charrnn.tasks.recorder import RunFinished, Written
from charrnn.tasks.train import Opened, Reading, RunReport
from charrnn.text.corpus import Corpus
from charrnn.training.reports import Evaluation, Incident, Progress, Started

_SAMPLE_LINES = 8
_ECHO_LINE = Text("")  # where the terminal writes ^C without moving what is above


@dataclass
class LatestReports:
    """The newest report of each kind, and the losses so far."""

    reading: Reading | None = None
    opened: Opened | None = None
    started: Started | None = None
    progress: Progress | None = None
    evaluation: Evaluation | None = None
    written: Written | None = None
    train_nats: list[float] = field(default_factory=list)

    def take(self, report: RunReport) -> None:
        """Remember one report."""
        if isinstance(report, Reading):
            self.reading = report
        elif isinstance(report, Opened):
            self.opened = report
        elif isinstance(report, Started):
            self.started = report
        elif isinstance(report, Progress):
            self.progress = report
            if report.is_milestone:
                self.train_nats.append(report.train_nats)
        elif isinstance(report, Evaluation):
            self.evaluation = report
        elif isinstance(report, Written):
            self.written = report


class LivePanel:
    """A panel that is drawn anew with every report, and replaced by a summary at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._newest = LatestReports()
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def show(self, report: RunReport) -> None:
        """Draw the panel as it is after `report`."""
        self._newest.take(report)
        if isinstance(report, RunFinished):
            self.close()
            show_summary(self._console, report)
        else:
            self._live.start()
            for line in describe_news(report):
                show_line(self._console, line)
            panel = _draw_panel(self._newest, self._console.width)
            self._live.update(Group(panel, _ECHO_LINE), refresh=True)

    def close(self) -> None:
        """Take the panel off the screen."""
        self._live.stop()


def _draw_panel(newest: LatestReports, width: int) -> Panel:
    parts: list[RenderableType] = [_describe_run(newest), _draw_bar(newest), _draw_figures(newest)]
    if len(newest.train_nats) > 1:
        curve = draw_curve(newest.train_nats, max(10, width - 40))
        ends = f"{newest.train_nats[0]:.2f} → {newest.train_nats[-1]:.2f}"
        parts.append(Text.assemble(("train loss  ", "dim"), curve, f"  {ends} nats"))
    if newest.written:
        lines = sanitize(newest.written.text).strip("\n").splitlines()[:_SAMPLE_LINES]
        parts.append(Text(f"\nit writes, at step {newest.written.step:,}:", "dim"))
        parts.append(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"))
    run = ""
    if newest.opened:
        run = f" → {newest.opened.run.path} (up to {format_bytes(newest.opened.room_bytes)})"
    return Panel(Group(*parts), title=Text(one_line(f"charrnn{run}")), title_align="left")


def _describe_run(newest: LatestReports) -> Text:
    if newest.opened is None:
        names = newest.reading.corpus_paths if newest.reading else []
        return Text(one_line(f"reading {', '.join(names)} …"))
    return Text(one_line(format_corpus(newest.opened.corpus)) + "\n" + format_model(newest.started))


def format_corpus(corpus: Corpus) -> str:
    """Say which text is trained on, and how large it is."""
    return f"{corpus.name}: {corpus.chars:,} characters, {corpus.vocab.size:,} tokens"


def format_model(started: Started | None) -> str:
    """Say in one line what is trained, and on what."""
    if started is None:
        return ""
    model, plan = started.plan.model, started.plan
    shape = f"{model.cell} {model.num_layers}×{model.hidden_size}, dropout {model.dropout:g}"
    threads = format_threads(started.threads, started.processes)
    return (
        f"{shape}, {started.parameters:,} parameters · {plan.batch_size} lanes × {plan.seq_len} "
        f"characters · {started.device} {started.precision}, {threads}"
    )


def format_time(newest: LatestReports) -> str:
    """Say how far a run is and when it will end."""
    progress = newest.progress
    budget = newest.opened.budget_seconds if newest.opened else None
    if progress is None:
        return ""
    elapsed, total = progress.elapsed_seconds, progress.total_steps
    steps = f"step {progress.step:,}" + (f"/{total:,}" if total else "")
    if budget is not None:
        left = f"{format_duration(elapsed)} of {format_duration(budget)}"
    elif total and progress.step:
        rest = elapsed / progress.step * (total - progress.step)
        left = f"{format_duration(elapsed)}, {format_duration(rest)} to go"
    else:
        left = format_duration(elapsed)
    return f"{steps} · epoch {progress.epoch:.1f} · {left}"


def format_speed(chars_per_second: float) -> str:
    """Give 12.3k chars/s, with a dash for what is not yet measured (0)."""
    return f"{format_count(chars_per_second) if chars_per_second else '-'} chars/s"


def _draw_bar(newest: LatestReports) -> Table:
    progress = newest.progress
    total = progress.total_steps if progress else None
    done = progress.step / total if progress and total else 0.0
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right")
    grid.add_row(ProgressBar(total=1.0, completed=done), format_time(newest))
    return grid


def _draw_figures(newest: LatestReports) -> Text:
    progress, evaluation = newest.progress, newest.evaluation
    if progress is None:
        return Text("")
    losses = [("train", progress.train_nats)]
    if evaluation:
        losses += [("val", evaluation.val_nats), ("best val", evaluation.best_val_nats)]
    bpc = [(name, f"{bits_per_char(nats):.3f}") for name, nats in losses]
    machine = [
        ("speed", format_speed(progress.chars_per_second)),
        ("learning rate", f"{progress.learning_rate:.1e}"),
        ("gradient", f"{progress.gradient_norm:.2f}"),
        ("memory", format_bytes(progress.memory_bytes)),
    ]
    return Text("\n").join([_join(bpc).append(" bits per character", "dim"), _join(machine)])


def _join(figures: list[tuple[str, str]]) -> Text:
    return Text("   ").join(Text.assemble((f"{name} ", "dim"), value) for name, value in figures)


_SHOWN_NEW_CHARACTERS = 40


def describe_news(report: RunReport) -> Iterator[str]:
    """Yield the lines that are to stay on the screen, whatever is drawn there."""
    if isinstance(report, Opened):
        yield from _describe_opening(report)
    elif isinstance(report, Started) and report.micro_batches > 1:
        yield f"memory is short: the lanes of a window are read in {report.micro_batches} parts"
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
            f"from step {report.resumed_step:,} (--on-unfinished new starts another)"
        )
    if report.inherited is not None:
        yield f"starts from the weights of {report.inherited.model_name}{_describe_new(report)}"


def _describe_new(report: Opened) -> str:
    assert report.inherited is not None
    new = report.inherited.new_characters
    shown = repr(new[:_SHOWN_NEW_CHARACTERS]) + (" …" if len(new) > _SHOWN_NEW_CHARACTERS else "")
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
        parts = f"in {report.micro_batches} parts"
        return f"{step}: memory was short; the lanes are read {parts} from here on"
    if report.kind == "graph":
        return f"{step}: no CUDA graph of a step could be made ({report.reason}); goes on without"
    where = f"at character {report.position:,} of every {report.lane_length:,}"
    if report.kind == "dropped":
        return f"{step}: loss or gradient is not a number {where}; the step was dropped"
    jump = f"the loss jumped from {report.level_nats:.2f} to {report.train_nats:.2f} nats"
    return f"{step}: {jump} {where}"
