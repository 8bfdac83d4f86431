"""A sweep: settings are tried as trials, each an ordinary run, and the best of them go on.

Successive halving (Jamieson and Talwalkar 2016): every trial is trained for a share of its time,
the best third goes on, and again. A trial is stopped and resumed, not shortened: it is a run of its
whole number of steps, so its learning rate and, at its end, its weights are those of the same run
without a sweep, bit for bit. What is compared are averaged weights, which a learning rate that is
still high disturbs little.

`charrnn sweep` and `charrnn.sweep` call `run_sweep`. sweep_runs.py plans and trains their
runs, sweep_trials.py decides which go on.
"""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from charrnn.checkpoint.run_folder import format_toml
from charrnn.checkpoint.run_store import check_name, claim_run, name_after, named_run
from charrnn.config import RunConfig, as_dict
from charrnn.config.sweep import DEFAULT_SWEEP_BUDGET, SweepConfig, draw_trials
from charrnn.config.train import LENGTHS
from charrnn.data.corpus import Corpus
from charrnn.errors import CheckpointError, ConfigError, located
from charrnn.storage import write_atomically
from charrnn.tasks import train_request
from charrnn.tasks.fit import Result
from charrnn.tasks.sweep_runs import OF_THE_RUN, SweepRuns
from charrnn.tasks.sweep_trials import (
    BEST,
    SweepState,
    Trial,
    next_trial,
    read_sweep,
    remove_leftovers,
    save_sweep,
    shares_of,
    whole_runs,
)
from charrnn.tasks.train import Reading, RunReport, open_text
from charrnn.tasks.train_request import Text, TrainRequest


@dataclass(frozen=True)
class SweepStarted:
    """The trials are known.

    counts: how many are trained up to each rung (R,); shares: the share of a run that is (R,).
    whole_runs: what that costs, in runs of full length. trial_seconds: of one to its end; None
    where steps say how long. is_found: the same command has begun this sweep before. notes: what
    makes the comparison worse than it could be.
    """

    path: Path
    trials: tuple[Trial, ...]
    counts: tuple[int, ...]
    shares: tuple[float, ...]
    whole_runs: float
    trial_seconds: float | None
    task: str
    corpus: Corpus = field(repr=False)
    is_found: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrialStarted:
    """A trial is trained up to a rung next."""

    trial: Trial
    rung: int


@dataclass(frozen=True)
class TrialEnded:
    """A trial came to a rung, or failed. trials: all of them now, the best first."""

    trial: Trial
    rung: int
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class SweepFinished:
    """Every trial is scored. trials: those that came furthest first, of these the best.

    best: of those that came to their end. command: trains a run with its settings for longer.
    longer: what came of that where it was asked for.
    """

    path: Path
    trials: tuple[Trial, ...]
    best: Trial
    command: str
    longer: Result | None = None

    @property
    def seconds(self) -> float:
        """How long the trials trained, all together."""
        return sum(trial.seconds for trial in self.trials)


@dataclass(frozen=True)
class LongerStarted:
    """The run with the best settings comes next."""

    name: str


SweepReport = RunReport | SweepStarted | TrialStarted | TrialEnded | SweepFinished | LongerStarted


def run_sweep(
    config: SweepConfig,
    corpus: Sequence[str],
    settings: Mapping[str, Any],
    *,
    texts: Sequence[Text] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[SweepReport, None, None]:
    """Train trials and compare them; yield what happens, and SweepFinished unless stopped.

    The same command continues a sweep that was stopped or killed, and trains nothing twice. The
    arguments are those of `start_run`; settings are the same for all trials.

    Raises:
        CharRNNError: as `start_run`; or settings do not go with a sweep; or no trial came to its
            end. A trial that diverges or does not fit into memory is left out; one that did not
            fit is tried again when the sweep continues.
    """
    drawn = _check_settings(config, corpus, settings, texts)
    with ExitStack() as held:
        request = train_request.read_request(corpus, settings, texts=texts)
        yield Reading(request.corpus_paths)
        text = open_text(request)
        if not len(text.val):
            raise ConfigError(
                "nothing of this text is held out, so trials cannot be compared; give a "
                "--val-fraction above 0, or a longer text"
            )
        about = _describe(config, settings, request, text)
        path = _open_folder(request, text, about, held)
        runs = SweepRuns(config, corpus, settings, texts, path, should_stop)
        state = read_sweep(path)
        is_found = state is not None
        if state is None:
            state = runs.plan(drawn, request, text, about)
        else:
            _check_same(path, state, about)
            state = runs.retry(state, request, text)
        save_sweep(path, state)
        yield SweepStarted(
            path,
            state.trials,
            state.counts,
            tuple(shares_of(len(state.counts), config.eta)),
            whole_runs(state.counts, config.eta),
            runs.trial_seconds(state.counts),
            request.task,
            text,
            is_found,
            tuple(runs.notes(state)),
        )
        while (due := next_trial(state.trials, state.counts)) is not None:
            trial, rung = runs.read(due[0]), due[1]
            if trial.score_at(rung) is None:  # else the sweep was killed before it kept the score
                yield TrialStarted(trial, rung)
                trial = yield from runs.train(trial, rung)
            if trial.score_at(rung) is None and not trial.error:
                return  # stopped; what it has learned is in its run
            state = state.with_trial(trial)
            save_sweep(path, state)
            yield TrialEnded(trial, rung, tuple(state.ranked))
        finished = _write_best(path, state, runs, request, config.then_train)
        yield finished
        if config.then_train is not None:
            name = f"{path.name}-best"
            yield LongerStarted(name)
            longer = yield from runs.train_longer(finished.best, name, request, text)
            if longer is not None:
                yield replace(finished, longer=longer)


def _check_settings(
    config: SweepConfig, corpus: Sequence[str], settings: Mapping[str, Any], texts: Sequence[Text]
) -> list[dict[str, Any]]:
    """Return the settings of each trial, all checked; refuse what does not go with a sweep."""
    for name in ("resume", "overwrite"):
        if settings.get(name):
            flag = "--" + name
            raise ConfigError(f"a sweep finds its runs by itself; leave {flag} out")
    for name in ("teachers", "distill_from"):
        if settings.get(name):
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"a sweep compares trials that have no teachers; leave {flag} out")
    if "-" in (*corpus, settings.get("val_file")):
        raise ConfigError("standard input cannot be read once for each trial; give a file")
    given = [name for name in LENGTHS if settings.get(name) is not None]
    if given and config.budget is not None:
        raise ConfigError(
            f"budget is of the whole sweep, and {given[0]} of each trial; give one of them"
        )
    for axis in config.axes:
        if settings.get(axis.name) is not None:
            flag = "--" + axis.name.replace("_", "-")
            raise ConfigError(
                f"--over already says the {axis.name} of each trial; leave {flag} out"
            )
    _, train, _ = train_request.split_settings(settings)
    drawn = draw_trials(config, train.seed)
    for trial in drawn:
        tried = " ".join(f"{name}={value}" for name, value in trial.items())
        with located(f"trial {tried}"):
            train_request.split_settings({**settings, **trial})
    return drawn


def _describe(
    config: SweepConfig, settings: Mapping[str, Any], request: TrainRequest, text: Corpus
) -> dict[str, Any]:
    """Return what a sweep is recognised by, as plain JSON."""
    given = {name: value for name, value in settings.items() if name not in OF_THE_RUN}
    asked = {name: value for name, value in as_dict(config).items() if name != "then_train"}
    about = {
        "corpus": request.corpus_paths,
        "sha256": text.sha256,
        "task": request.task,
        "settings": given,
        "sweep": asked,
    }
    plain: dict[str, Any] = json.loads(json.dumps(about, default=str))
    return plain


def _open_folder(
    request: TrainRequest, text: Corpus, about: Mapping[str, Any], held: ExitStack
) -> Path:
    """Return the sweep's folder, locked: that of the same command, or a new one."""
    checkpoints = Path(request.run.checkpoints)
    name = request.run.name
    if name is None:
        stem = f"{name_after(text.name)}-sweep"
        names = itertools.chain([stem], (f"{stem}{number}" for number in itertools.count(2)))
        name = next(each for each in names if _is_usable(checkpoints / each, about))
    else:
        check_name(name)
        if named_run(name, checkpoints).has_model:
            raise ConfigError(f"{name!r} is the name of a run; give the sweep another --name")
    folder = held.enter_context(claim_run(checkpoints, name, text.name)).path
    remove_leftovers(folder)
    return folder


def _is_usable(folder: Path, about: Mapping[str, Any]) -> bool:
    """Return whether a folder is free, or that of the same sweep."""
    with suppress(CheckpointError):
        found = read_sweep(folder)
        is_free = not folder.exists() or all(path.name[0] == "." for path in folder.iterdir())
        return is_free if found is None else found.about == about
    return False


def _check_same(path: Path, state: SweepState, about: Mapping[str, Any]) -> None:
    """Refuse to continue a sweep of other settings."""
    if state.about == about:
        return
    before = _flat(state.about)
    now = _flat(about)
    name = next(each for each in now | before if now.get(each) != before.get(each))
    raise ConfigError(
        f"the sweep of {path} has {name} {before.get(name)!r}, not {now.get(name)!r}; repeat its "
        "command to continue it, or give another --name"
    )


def _flat(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a sweep by name."""
    flat = {name: value for name, value in about.items() if not isinstance(value, dict)}
    flat |= about.get("settings", {})
    flat |= about.get("sweep", {})
    return flat


def _write_best(
    path: Path, state: SweepState, runs: SweepRuns, request: TrainRequest, then_train: str | None
) -> SweepFinished:
    """Write the best settings; return what the sweep found."""
    best = state.best
    if best is None:
        first = next(trial.error for trial in state.trials if trial.error)
        raise ConfigError(f"no trial came to its end; the first that failed: {first}")
    content = {"corpus": request.corpus_paths} | runs.settings_of_longer(best)
    where = path / BEST
    write_atomically(where, f"# the best settings of a sweep\n{format_toml(content)}")
    time = then_train or DEFAULT_SWEEP_BUDGET
    command = f"charrnn train --config {shlex.quote(str(where))} --budget {time}"
    if request.run.checkpoints != RunConfig().checkpoints:
        command += f" --checkpoints {shlex.quote(request.run.checkpoints)}"
    return SweepFinished(path, tuple(state.ranked), best, command)
