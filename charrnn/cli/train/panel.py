"""What a person sees while a model learns: a live panel, and lines of news that stay above it.

`LivePanel` takes the reports of a run one by one and redraws itself on stderr; its last frame stays
there. The plain lines of display.py share its words: `describe_news` and the `format_` functions.
Text from the model or the corpus is shown as text: no escape sequence and no markup of it reaches
the terminal.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli import formatting
from charrnn.cli.formatting import UNITS, LossUnit, describe_scores, format_duration, one_line
from charrnn.cli.train.summary import describe_trouble, show_line, show_summary
from charrnn.data.corpus import Corpus
from charrnn.errors import counted
from charrnn.storage import format_bytes
from charrnn.tasks.recorder import RunFinished, Written
from charrnn.tasks.train import Opened, Reading, RunReport
from charrnn.text.ngrams import RowCounts
from charrnn.training.reports import Evaluation, Finished, Incident, Progress, Started

_FRAME_COLUMNS = 4  # a border and a blank at each side
_FRAME_ROWS = 2
_GAP = "  "  # between two figures
_MANY_ROWS = 2  # for each n-gram: one in 27 finds its bucket full then
_MAX_NEW_CHARACTERS = 40  # of those that are named
_ECHO_LINE = Text("")  # where the terminal writes ^C without moving what is above


class LivePanel:
    """A panel that is redrawn with every report; its last frame stays above the summary."""

    # The newest report of each kind, under the name of its class.
    reading: Reading | None = None
    opened: Opened | None = None
    started: Started | None = None
    progress: Progress | None = None
    evaluation: Evaluation | None = None
    written: Written | None = None

    def __init__(self, console: Console) -> None:
        self._console = console
        self._train_nats: list[float] = []  # of the milestones, those before a resume too
        self._live: Live | None = None  # while the panel is on the screen

    def show(self, report: RunReport) -> None:
        """Draw the panel as it is after `report`."""
        if isinstance(report, RunFinished):
            self._show_end(report.finished)
            self.close()
            show_summary(self._console, report, self.opened)
            return
        name = type(report).__name__.lower()
        if hasattr(self, name):  # snapshots and incidents are not kept
            setattr(self, name, report)
        if isinstance(report, Opened) and report.resumed_step is not None:
            self._train_nats = [*_read_train_nats(report.run)]
        if isinstance(report, Progress) and report.is_milestone:
            self._train_nats.append(report.train_nats)
        if self._live is None:
            # A refresh with every report is enough: four a second, and no thread beside training.
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        for line in describe_news(report, self._unit):
            show_line(self._console, line)
        self._live.update(Group(self._make_panel(), _ECHO_LINE), refresh=True)

    def close(self) -> None:
        """Leave the last frame on the screen; of a text that was only read, nothing."""
        live, self._live = self._live, None  # one that is started again would erase what is above
        if live is None:
            return
        live.transient = self.progress is None
        with suppress(OSError):  # the screen may be gone
            live.update(self._make_panel())
            live.stop()

    def _show_end(self, finished: Finished) -> None:
        """Bring the figures of the bar to the last step."""
        if self.progress is None:
            return
        is_full = finished.reason == "length"  # a budget may end some steps early
        self.progress = replace(
            self.progress,
            step=finished.step,
            total_steps=finished.step if is_full else self.progress.total_steps,
            epoch=finished.epochs,
            elapsed_seconds=finished.elapsed_seconds,
        )

    def _make_panel(self) -> Panel:
        """Return what is known so far in a frame, from top to bottom."""
        title = "charrnn"
        if self.opened is None:
            names = self.reading.corpus_paths if self.reading else []
            heading = one_line(f"reading {', '.join(names)} …")
        else:
            room = format_bytes(self.opened.room_bytes)
            title += f" → {self.opened.run.path} (disk: up to {room})"
            heading = one_line(format_corpus(self.opened.corpus)) + "\n"
            heading += format_model(self.started) if self.started else ""
        parts: list[RenderableType] = [Text(heading), self._make_bar(), self._make_figures()]
        if len(self._train_nats) > 1:
            curve = formatting.format_curve(self._train_nats, max(10, self._columns - 32))
            first, *_, last = map(self._unit.of, self._train_nats)
            ends = f"  {first:.2f} → {last:.2f} {self._unit.name.split()[0]}"
            parts.append(Text.assemble(("train loss  ", "dim"), curve, ends))
        if self.written:
            parts += self._make_sample(self.written, above=parts)
        return Panel(Group(*parts), title=Text(one_line(title)), title_align="left")

    @property
    def _unit(self) -> LossUnit:
        return UNITS[self.started.plan.model.task if self.started else "text"]

    @property
    def _columns(self) -> int:
        return self._console.width - _FRAME_COLUMNS

    def _make_sample(self, written: Written, above: list[RenderableType]) -> list[Text]:
        """Return what the model writes, in as many rows as are free below those `above`."""
        options = self._console.options.update_width(self._columns)
        taken = len(self._console.render_lines(Group(*above), options)) + _FRAME_ROWS
        does = describe_scores(written.scores) if written.scores else "it writes"
        heading = Text(f"\n{does}, at step {written.step:,}:", "dim")
        free = self._console.height - taken - 2 - 1  # the heading's, the echo's
        sample = Text(formatting.sanitize(written.text).strip("\n"))  # no markup in a Text
        return [heading, *sample.wrap(self._console, self._columns)[:free]] if free > 0 else []

    def _make_bar(self) -> Table:
        """Return the progress bar with the time beside it; empty until the steps are known."""
        progress = self.progress
        total = progress.total_steps if progress else None
        done = progress.step / total if progress and total else 0.0
        time = format_time(progress, self.opened) if progress else ""
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(ratio=1)
        grid.add_column(justify="right")
        grid.add_row(ProgressBar(total=1.0, completed=done), time)
        return grid

    def _make_figures(self) -> Text:
        """Return two rows of figures: the losses, and what the machine does."""
        progress = self.progress
        if progress is None:
            return Text("")
        unit = self._unit
        losses: list[tuple[str, float | None]]
        losses = [(name_train_loss(self.started), progress.train_nats)]
        if evaluation := self.evaluation:
            losses += [("val", evaluation.val_nats), ("best val", evaluation.best_val_nats)]
        told = {n: f"{unit.of(nats):.3f}" for n, nats in losses if nats is not None}
        machine = {
            "speed": format_speed(progress.chars_per_second, unit),
            "learning rate": f"{progress.learning_rate:.1e}",
            "gradient": f"{progress.gradient_norm:.2f}",
            "memory": format_bytes(progress.memory_bytes),
        }
        rows = _make_rows(told, self._columns, f" {unit.name}") + _make_rows(machine, self._columns)
        return Text("\n").join(rows)


def _make_rows(figures: dict[str, str], width: int, unit: str = "") -> list[Text]:
    """Return figures in as few rows as hold each of them whole. unit: follows the last one."""
    parts = [Text.assemble((f"{name} ", "dim"), value) for name, value in figures.items()]
    parts[-1].append(unit, "dim")
    rows = [Text()]
    for part in parts:
        if rows[-1] and rows[-1].cell_len + len(_GAP) + part.cell_len > width:
            rows.append(Text())
        rows[-1].append(_GAP if rows[-1] else "").append_text(part)
    return rows


def _read_train_nats(run: RunFolder) -> Iterator[float]:
    """Yield the training losses of the milestones that a resumed run has behind it."""
    for record in run.read_metrics():
        nats = record.get("train_nats")
        if record.get("event") == "progress" and isinstance(nats, float) and math.isfinite(nats):
            yield nats


def format_corpus(corpus: Corpus) -> str:
    """Return the name and size of the text that is trained on."""
    chars = counted(corpus.chars, "character")
    return f"{corpus.name}: {chars}, {counted(corpus.vocab.size, 'token')}"


def format_model(started: Started) -> str:
    """Return in one line what is trained, and on what."""
    plan = started.plan
    model = plan.model
    threads = formatting.format_threads(started.threads, started.processes)
    lanes = f"{counted(plan.batch_size, 'lane')} × {counted(plan.seq_len, 'character')}"
    if model.task != "text":
        lanes = f"{counted(plan.batch_size, 'text')} of up to {counted(plan.seq_len, 'token')}"
    kind = f"{model.task}: " * (model.task != "text") + "bidirectional " * model.bidirectional
    return (
        f"{kind}{formatting.describe_network(model)}, dropout {model.dropout:g}, "
        f"{formatting.format_parameters(started.parameters, model.num_ngram_parameters)} · "
        f"{lanes} · {started.device} {started.precision}, {threads}"
    )


def name_train_loss(started: Started | None) -> str:
    """Return what to call the loss of the steps: held-out text is scored without dropout."""
    return "train (with dropout)" if started and started.plan.model.dropout else "train"


def format_time(progress: Progress, opened: Opened | None) -> str:
    """Return how far a run is and when it will end."""
    budget = opened.budget_seconds if opened else None
    total = progress.total_steps
    time = format_duration(progress.elapsed_seconds)
    if budget is not None:
        time += f" of {format_duration(budget)}"
    elif total and 0 < progress.step < total:
        rest = progress.elapsed_seconds / progress.step * (total - progress.step)
        time += f", {format_duration(rest)} to go"
    steps = f"step {progress.step:,}" + (f"/{total:,}" if total else "")
    return f"{steps} · epoch {progress.epoch:.1f} · {time}"


def format_speed(chars_per_second: float, unit: LossUnit = UNITS["text"]) -> str:
    """Return the speed with its unit; a dash means not measured yet (0).

    >>> format_speed(12_345), format_speed(0)
    ('12.3k chars/s', '- chars/s')
    """
    counted = {"text": "texts", "token": "tokens"}.get(unit.name.split()[-1], "chars")
    speed = formatting.format_count(chars_per_second) if chars_per_second else "-"
    return f"{speed} {counted}/s"


def describe_news(report: RunReport, unit: LossUnit = UNITS["text"]) -> Iterator[str]:
    """Yield the lines of a report that stay on the screen, whatever is drawn there.

    unit: of losses.
    """
    if isinstance(report, Opened):
        yield from _describe_opening(report)
    elif isinstance(report, Started):
        if report.micro_batches > 1:
            yield f"memory is short: each window is trained in {report.micro_batches} micro-batches"
        if report.plan.machine_speed is not None and not report.resumed_from_step:
            units = report.plan.model.hidden_size
            yield f"chosen by this machine's speed: {units} units; --hidden-size {units} fixes them"
        if report.row_counts is not None:
            yield from _describe_rows(report.row_counts, report.plan.model.ngram_rows)
    elif isinstance(report, Incident):
        yield _describe_incident(report, unit)


def _describe_opening(opened: Opened) -> Iterator[str]:
    """Yield how the text was read, and what is unusual about a run."""
    yield from opened.corpus.notes
    for state in opened.damaged:
        lost = state.step - (opened.resumed_step or 0)
        # Only the best model has the step of the state that the run continues from.
        instead = (
            f"continuing from the state {counted(lost, 'step')} earlier"
            if lost
            else "the next evaluation replaces it"
        )
        yield f"{state.reason}; {instead}"
    if opened.is_found:
        yield (
            f"continuing {opened.run.name!r} from step {opened.resumed_step:,} "
            "(same command, unfinished; --on-unfinished new starts over)"
        )
    if initial := opened.initial_model:
        line = f"starting from the weights of {initial.model_name}"
        if new := initial.new_characters:
            more = " …" if len(new) > _MAX_NEW_CHARACTERS else ""
            line += f"; {counted(len(new), 'character')} {_be(len(new))} new to it: "
            line += f"{new[:_MAX_NEW_CHARACTERS]!r}{more}"
        if count := initial.new_clusters:
            line += f"; {counted(count, 'grapheme')} of several characters {_be(count)} new to it"
        if initial.has_new_bytes:
            line += "; so are the bytes of rare characters"
        line += "; without its n-grams" * initial.are_ngrams_dropped
        yield line + "; without n-grams, as it has none" * initial.lacks_ngrams
    if opened.teachers:
        names = ", ".join(opened.teachers)
        write = "it writes" if len(opened.teachers) == 1 else "they write together"
        yield f"learning from {names}, too: a part of the lanes reads what {write}"


def _describe_rows(counts: RowCounts, rows: int) -> Iterator[str]:
    """Yield what became of the n-grams of a text, where the table was not made for it."""
    if counts.taken:
        lacking = max(0, counts.frequent - counts.known - counts.added)
        yield (
            f"of about {counts.frequent:,} frequent n-grams of this text {counts.known:,} had a "
            f"row, {counts.added:,} took a free one and {lacking:,} found none; the table keeps "
            f"its {rows:,} rows"
        )
    elif rows > _MANY_ROWS * counts.frequent:
        yield (
            f"about {counts.frequent:,} n-grams are frequent in this text (4 times or more), so "
            f"most of --ngram-rows {rows:,} stay empty; fewer do as well"
        )


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _describe_incident(incident: Incident, unit: LossUnit) -> str:
    """Return in one line what happened and what was done about it."""
    step = f"step {incident.step:,}"
    if incident.kind == "rollback":
        return (
            f"{step}: the loss became NaN or infinite; back to step {incident.back_to_step:,}, "
            f"continuing at {incident.rate_factor:g} of the learning rate"
        )
    if incident.kind == "memory":
        parts = f"{incident.micro_batches} micro-batches"
        return f"{step}: memory was short; each window is now trained in {parts}"
    if incident.kind == "graph":
        return f"{step}: no CUDA graph of a step ({incident.reason}); continuing without one"
    if incident.kind == "dropped":
        return f"{step}: the gradient overflowed; this step was skipped"
    if incident.trouble:
        return f"{step}: the model is {describe_trouble(incident.trouble, unit)}"
    # metrics.jsonl has the position in the text
    before, after = map(unit.of, (incident.level_nats, incident.train_nats))
    return f"{step}: the loss jumped from {before:.2f} to {after:.2f} {unit.name}"
