"""charrnn sweep: settings to try in, a table of the trials, and at its end the best one.

A trial is a row of the table: what is tried, how far it came, its held-out loss. On a terminal the
table is redrawn in place, else each trial that comes to a rung is a line.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from charrnn.checkpoint.run_store import named_run
from charrnn.cli.console import Output, is_screen, make_table, print_line
from charrnn.cli.formatting import UNITS, LossUnit, format_duration, one_line
from charrnn.cli.inputs import name_for_shell
from charrnn.cli.options import Command, Option, given_settings, read_config, settings_options
from charrnn.cli.signals import Stopped, StopSignal
from charrnn.config import LENGTHS, RunConfig, TextConfig, TrainConfig
from charrnn.config.sweep import SweepConfig
from charrnn.errors import ConfigError, counted
from charrnn.metrics import without_nan

if TYPE_CHECKING:
    from charrnn.checkpoint.run_folder import RunFolder
    from charrnn.tasks.sweep import SweepFinished, SweepReport, SweepStarted
    from charrnn.tasks.sweep_trials import Trial

_EXAMPLES = """
charrnn sweep book.txt --over hidden_size=128,256,512 --over dropout=0,0.2
charrnn sweep book.txt --over learning_rate=1e-3..1e-2:log --then-train 1h
charrnn sweep book.txt --over cell=lstm,gru --strategy grid --budget 10m
charrnn sweep book.txt --over hidden_size=64..512:log:4 --steps 3000 --eta 4
"""
_COMMON = (
    *("over", "budget", "steps", "strategy", "trials", "then_train", "name"),
    *("seed", "encoding", "config", "quiet", "as_json"),
)
_NO_SETTINGS = {"corpus", "config", "quiet", "as_json"}
_ROWS_BESIDE = 6  # of a terminal, besides those of the trials
_LOOKS = {"failed": "red", "finished": "green", "training": "bold"}


@click.command("sweep", cls=Command, examples=_EXAMPLES, common=_COMMON)
@click.argument("corpus", nargs=-1, type=click.Path())
@settings_options(SweepConfig, section="Sweep")
@settings_options(TrainConfig, skipped=("budget", "length_history"))
@settings_options(TextConfig, section="Text")
@settings_options(RunConfig, section="Run", skipped=("resume", "on_unfinished", "overwrite"))
@click.option(
    "--config",
    cls=Option,
    section="Run",
    metavar="FILE.toml",
    callback=read_config,
    is_eager=True,
    expose_value=False,
    envvar="CHARRNN_CONFIG",
    help="TOML file of settings, as in hidden_size = 256; options and the environment override it",
)
@click.option(
    "--quiet",
    "-q",
    cls=Option,
    section="Run",
    is_flag=True,
    envvar="CHARRNN_QUIET",
    help="show errors only",
)
@click.option(
    "--json",
    "as_json",
    cls=Option,
    section="Run",
    is_flag=True,
    envvar="CHARRNN_JSON",
    help="print the reports on stdout, one JSON object per line",
)
@click.pass_context
def command(
    ctx: click.Context, /, corpus: tuple[str, ...], quiet: bool, as_json: bool, **_: Any
) -> None:
    """Try settings side by side, and train on with the best.

    CORPUS: as for `charrnn train`. --over says what to try, once for each setting: values, or a
    range LOW..HIGH that ends with :log to go by ratios and with :5 for five values. Each trial is
    an ordinary run, NAME-01 and so on. With the strategy halving the best third goes on at 1/9 and
    at 1/3 of a run, exactly as if it had never been stopped. The same command continues a sweep.

    Every other option of `charrnn train` holds for all trials. The folder of the sweep,
    checkpoints/NAME, has results.csv and best.toml, for charrnn train --config.
    """
    given = given_settings(ctx, rivals=LENGTHS)
    names = {item.name for item in fields(SweepConfig)}
    config = SweepConfig(**{name: value for name, value in given.items() if name in names})
    settings = {k: v for k, v in given.items() if k not in names | _NO_SETTINGS}
    run: RunFolder | None = None
    last: SweepReport | None = None
    closed: OSError | None = None
    with StopSignal() as stop:
        # torch loads here, with the signals caught.
        from charrnn.tasks.sweep import SweepFinished, run_sweep
        from charrnn.tasks.train import Opened, Reading
        from charrnn.training.distributed import init_world
        from charrnn.training.reports import Finished

        stop.is_loaded = True
        with init_world() as world:
            if world.world_size > 1:
                raise ConfigError("a sweep trains run after run; start it without torchrun")
        display = _make_display(quiet=quiet, as_json=as_json)
        with closing(display):
            for last in run_sweep(config, corpus, settings, should_stop=stop.is_set):
                stop.is_polled = not isinstance(last, Reading | Finished)
                if isinstance(last, Opened):
                    run = last.run
                try:
                    display.show(last)
                except OSError as error:
                    if as_json:  # nobody reads the results: save, then say so
                        closed = error
                        stop.note(signal.SIGTERM)
                    display = _Silent()  # a closed terminal does not end a sweep
    if closed is not None:
        raise closed
    is_over = isinstance(last, SweepFinished) and (
        config.then_train is None or last.longer is not None
    )
    if not is_over:
        raise Stopped(stop.number or signal.SIGTERM, run, is_one_of_several=True)


# ── what is shown ──


def _make_display(*, quiet: bool, as_json: bool) -> _Silent:
    """Choose by the flags, then by whether stderr is a terminal."""
    if as_json:
        return _JsonLines()
    if quiet:
        return _Silent()
    console = Output(stderr=True)
    return _LiveTable(console) if is_screen(console) else _PlainLines(console)


class _Silent:
    """Shows nothing: for --quiet, and once the terminal is closed."""

    def show(self, report: SweepReport) -> None:
        """Show one report."""

    def close(self) -> None:
        """Leave the screen in order, however the sweep ends."""


class _JsonLines(_Silent):
    """Writes each report as one JSON object on stdout."""

    def show(self, report: SweepReport) -> None:
        """Write one line and flush it."""
        from charrnn.cli.train.display import JsonLines

        record = _make_record(report)
        if record is None:
            JsonLines().show(report)  # type: ignore[arg-type]
            return
        sys.stdout.write(json.dumps(without_nan(record)) + "\n")
        sys.stdout.flush()


def _make_record(report: SweepReport) -> dict[str, Any] | None:
    """Return a report of the sweep itself as JSON has it; None for one of a run."""
    from charrnn.tasks.sweep import (
        LongerStarted,
        SweepFinished,
        SweepStarted,
        TrialEnded,
        TrialStarted,
    )

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


class _PlainLines(_Silent):
    """Shows a line for each trial that comes to a rung, and at the end the table."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started: SweepStarted | None = None
        self._name = ""  # of the trial in training
        self._longer: Any = None  # the display of the run with the best settings

    def show(self, report: SweepReport) -> None:
        """Write the lines that `report` is worth, if any."""
        from charrnn.tasks.sweep import (
            LongerStarted,
            SweepFinished,
            SweepStarted,
            TrialEnded,
            TrialStarted,
        )
        from charrnn.training.reports import Incident

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
            from charrnn.cli.train.panel import describe_news

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
        from charrnn.cli.train.display import make_display

        self._longer = make_display(quiet=False, as_json=False)

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
        from charrnn.tasks.sweep import SweepStarted, TrialStarted

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
        from charrnn.training.reports import Progress

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
