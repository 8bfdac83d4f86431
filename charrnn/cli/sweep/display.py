"""How a sweep is shown: each trial is a row of a table; what is tried, how far it came, its loss.

On a terminal the table is redrawn in place, else each trial that comes to a rung is a line, or each
report a JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from charrnn.checkpoint.run_store import named_run
from charrnn.cli.console import Output, is_screen, make_table, print_line
from charrnn.cli.formatting import UNITS, LossUnit, format_duration, one_line
from charrnn.cli.inputs import name_for_shell
from charrnn.cli.train import display
from charrnn.cli.train.display import Silent
from charrnn.cli.train.panel import describe_news
from charrnn.errors import counted
from charrnn.metrics import without_nan
from charrnn.tasks.sweep import (
    LongerStarted,
    SweepFinished,
    SweepReport,
    SweepStarted,
    TrialEnded,
    TrialStarted,
)
from charrnn.tasks.sweep_trials import Trial
from charrnn.training.reports import Incident, Progress

_ROWS_BESIDE = 6  # of a terminal, besides those of the trials
_LOOKS = {"failed": "red", "finished": "green", "training": "bold"}


def make_display(*, quiet: bool, as_json: bool) -> Silent:
    """Choose by the flags, then by whether stderr is a terminal."""
    if as_json:
        return _JsonLines()
    if quiet:
        return Silent()
    console = Output(stderr=True)
    return _LiveTable(console) if is_screen(console) else _PlainLines(console)


class _JsonLines(Silent):
    """Writes each report as one JSON object on stdout."""

    def show(self, report: SweepReport) -> None:
        """Write one line and flush it."""
        record = _make_record(report)
        if record is None:
            display.JsonLines().show(report)  # type: ignore[arg-type]
            return
        sys.stdout.write(json.dumps(without_nan(record)) + "\n")
        sys.stdout.flush()


def _make_record(report: SweepReport) -> dict[str, Any] | None:
    """Return a report of the sweep itself as JSON has it; None for one of a run."""
    if isinstance(report, SweepStarted):
        values = {k: v for k, v in vars(report).items() if k not in ("corpus", "trials", "path")}
        trials = [asdict(trial) for trial in report.trials]
        return {"event": "sweep", "sweep": str(report.path), **values, "trials": trials}
    if isinstance(report, TrialStarted):
        return {"event": "trial", "rung": report.rung, **asdict(report.trial)}
    if isinstance(report, TrialEnded):
        return {"event": "trialended", "rung": report.rung, **asdict(report.trial)}
    if isinstance(report, LongerStarted):
        return {"event": "longer", "run": report.name}
    if isinstance(report, SweepFinished):
        longer = report.longer
        return {
            "event": "sweepfinished",
            "sweep": str(report.path),
            "best": report.best.name,
            "settings": report.best.settings,
            "val_nats": report.best.val_nats,
            "seconds": report.seconds,
            "command": report.command,
            "trials": [trial.name for trial in report.trials],
            "longer": longer and {"run": str(longer.path), "val_nats": longer.val_nats},
        }
    return None


class _PlainLines(Silent):
    """Shows a line for each trial that comes to a rung, and at the end the table."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started: SweepStarted | None = None
        self._name = ""  # of the trial in training
        self._longer: Any = None  # the display of the run with the best settings

    def show(self, report: SweepReport) -> None:
        """Write the lines that `report` is worth, if any."""
        if isinstance(report, SweepStarted):
            self._started = report
            for line in _describe_start(report):
                self._line(line)
        elif isinstance(report, TrialStarted):
            self._name = report.trial.name
        elif isinstance(report, TrialEnded):
            self._show_trials(report.trials)
            self._show_trial(report.trial, report.rung, report.trials)
        elif isinstance(report, LongerStarted):
            self.close()
            self._begin_longer()
        elif isinstance(report, SweepFinished) and report.longer is None:
            self.close()
            self._show_end(report)
        elif isinstance(report, SweepFinished):
            self._show_longer(report)
        elif self._longer is not None:
            self._longer.show(report)
        elif isinstance(report, Incident):
            for line in describe_news(report, self._unit):
                self._line(f"{self._name}: {line}")
        else:
            self._show_progress(report)

    def close(self) -> None:
        """Leave the screen in order."""
        if self._longer is not None:
            self._longer.close()

    @property
    def _unit(self) -> LossUnit:
        return UNITS[self._started.task if self._started else "text"]

    def _line(self, line: str) -> None:
        print_line(self._console, line)

    def _show_trials(self, trials: Sequence[Trial]) -> None:
        """Take all trials as they are now."""

    def _show_progress(self, report: SweepReport) -> None:
        """Take a report of the run in training."""

    def _show_trial(self, trial: Trial, rung: int, trials: Sequence[Trial]) -> None:
        """Write the line of a trial that came to a rung, or failed."""
        what = f"{trial.name} ({_describe_settings(trial)})"
        nats = trial.score_at(rung)
        if nats is None:
            self._line(f"{what} failed: {trial.error}")
            return
        assert self._started is not None
        scores = [score for each in trials if (score := each.score_at(rung)) is not None]
        place = sum(score < nats for score in scores) + 1
        share = _format_share(self._started.shares[rung])
        self._line(
            f"{what}, {share}: {self._unit.of(nats):.3f} {self._unit.name}, place {place} of "
            f"{len(scores)}"
        )

    def _show_end(self, report: SweepFinished) -> None:
        """Write the table, the best trial, and what to type next."""
        assert self._started is not None
        self._console.print(_make_table(self._started, report.trials), crop=False)
        best = report.best
        score = f"{self._unit.of(best.val_nats or 0.0):.3f} {self._unit.name}"
        time = format_duration(report.seconds)
        self._line(f"best of {counted(len(report.trials), 'trial')} in {time}: {score}")
        self._line(f"best:   {best.name} ({_describe_settings(best)})")
        self._line(f"table:  {report.path / 'results.csv'}")
        name = name_for_shell(named_run(best.name, report.path.parent))
        is_text = self._started.task == "text"
        self._line(f"next:   charrnn {f'sample {name}' if is_text else f'predict {name} FILE'}")
        self._line(f"longer: {report.command}")

    def _begin_longer(self) -> None:
        self._longer = display.make_display(quiet=False, as_json=False)

    def _show_longer(self, report: SweepFinished) -> None:
        longer = report.longer
        assert longer is not None
        if longer.reason == "before":
            self._line(f"{longer.run!r} is trained already")
        nats = longer.val_nats
        if nats is not None and report.best.val_nats is not None:
            now, before = (self._unit.of(each) for each in (nats, report.best.val_nats))
            self._line(f"{longer.run}: {now:.3f} {self._unit.name}, its trial {before:.3f}")


class _LiveTable(_PlainLines):
    """Shows the trials as a table that is redrawn; the best come first."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live: Live | None = None
        self._trials: Sequence[Trial] = ()
        self._share = 0.0  # of the steps of the trial in training

    def show(self, report: SweepReport) -> None:
        """Draw the table as it is after `report`."""
        if isinstance(report, SweepStarted):
            self._trials = report.trials
        if isinstance(report, TrialStarted):
            self._share = 0.0
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
        super().show(report)
        if self._live is not None and self._started is not None:
            self._live.update(self._draw(self._started), refresh=True)

    def close(self) -> None:
        """Take the table off the screen: at the end it is written once more."""
        live, self._live = self._live, None
        if live is not None:
            with suppress(OSError):  # the screen may be gone
                live.stop()
        super().close()

    def _show_trials(self, trials: Sequence[Trial]) -> None:
        self._trials = trials

    def _show_trial(self, trial: Trial, rung: int, trials: Sequence[Trial]) -> None:
        if trial.error:
            super()._show_trial(trial, rung, trials)

    def _show_progress(self, report: SweepReport) -> None:
        if isinstance(report, Progress) and report.total_steps:
            self._share = report.step / report.total_steps

    def _draw(self, started: SweepStarted) -> Group:
        """Return the rows that there is room for, the trial in training among them."""
        room = max(self._console.height - _ROWS_BESIDE, 3)
        shown = [*self._trials[:room]]
        running = next((each for each in self._trials if each.name == self._name), None)
        if running is not None and running not in shown:
            shown[-1] = running
        rest = len(self._trials) - len(shown)
        table = _make_table(started, shown, self._name, self._share)
        return Group(table, Text(f"and {counted(rest, 'trial')} more" if rest else ""), Text(""))


def _describe_start(report: SweepStarted) -> Iterator[str]:
    """Yield the lines that come before the trials."""
    yield from report.corpus.notes
    names = " × ".join(report.trials[0].settings)
    verb = "continuing" if report.is_found else "trying"
    yield f"{verb} {counted(len(report.trials), 'trial')} of {names} → {report.path}"
    plan = ", ".join(
        f"{count} {_format_share(share)}"
        for count, share in zip(report.counts, report.shares, strict=True)
    )
    cost = f"{plan}: the cost of {report.whole_runs:.1f} whole runs"
    if report.trial_seconds is not None:
        total = format_duration(report.trial_seconds * report.whole_runs)
        cost += f" of {format_duration(report.trial_seconds)}, {total} in all"
    yield cost
    yield from report.notes
    for trial in report.trials:
        if trial.error and not report.is_found:
            yield f"{trial.name} ({_describe_settings(trial)}) failed: {trial.error}"


def _describe_settings(trial: Trial) -> str:
    return ", ".join(f"{name} {_format_value(value)}" for name, value in trial.settings.items())


def _format_value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _format_share(share: float) -> str:
    """Return how far a trial is trained, in words.

    >>> _format_share(1 / 9), _format_share(1.0)
    ('to 1/9', 'to the end')
    """
    return "to the end" if share == 1 else f"to 1/{round(1 / share)}"


def _make_table(
    started: SweepStarted, trials: Sequence[Trial], running: str = "", done: float = 0.0
) -> Table:
    """Return a row for each trial. running: the one in training; done: its share of a run."""
    names = list(trials[0].settings) if trials else []
    unit = UNITS[started.task]
    table = make_table("run", *(f">{name}" for name in names), f">{unit.short}", ">time", "")
    for trial in trials:
        tried = [one_line(_format_value(trial.settings[name])) for name in names]
        nats = trial.val_nats
        score = "" if nats is None else f"{unit.of(nats):.3f}"
        time = format_duration(trial.seconds) if trial.seconds else ""
        state = _describe_state(started, trial, trial.name == running, done)
        look = next((look for word, look in _LOOKS.items() if state.startswith(word)), "")
        table.add_row(trial.name, *tried, score, time, Text(state, look))
    return table


def _describe_state(started: SweepStarted, trial: Trial, is_running: bool, done: float) -> str:
    if trial.error:
        return "failed"
    if is_running:
        return f"training {done:.0%}"
    if trial.is_finished:
        return "finished"
    if not trial.scores:
        return "waiting"
    return _format_share(started.shares[len(trial.scores) - 1])
