"""A sweep: settings are tried as trials, each an ordinary run, and the best of them go on.

Successive halving (Jamieson and Talwalkar 2016): every trial is trained for a share of its time,
the best third goes on, and again. A trial is stopped and resumed, not shortened: it is a run of its
whole number of steps, so its learning rate and, at its end, its weights are those of the same run
without a sweep, bit for bit. What is compared are averaged weights, which a learning rate that is
still high disturbs little.

`charrnn sweep` and `charrnn.sweep` call `run_sweep`. sweep_trials.py decides which trials go on.
"""

from __future__ import annotations

import itertools
import json
import math
import shlex
import statistics
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from charrnn.checkpoint.model_file import read_model_header
from charrnn.checkpoint.run_folder import format_toml
from charrnn.checkpoint.run_store import (
    check_name,
    claim_run,
    name_after,
    named_run,
    read_last_state,
)
from charrnn.config import RunConfig, TrainConfig, as_dict
from charrnn.config.sweep import DEFAULT_SWEEP_BUDGET, SweepConfig, draw_trials
from charrnn.config.train import LENGTHS, parse_duration
from charrnn.data.corpus import Corpus
from charrnn.errors import (
    CheckpointError,
    ConfigError,
    CorpusError,
    DivergedError,
    OutOfMemoryError,
    located,
)
from charrnn.storage import write_atomically
from charrnn.tasks import train_request
from charrnn.tasks.fit import CHOSEN, Result, result_before, result_of
from charrnn.tasks.machine_speeds import read_speeds, save_speeds
from charrnn.tasks.recorder import RunFinished
from charrnn.tasks.sweep_trials import (
    BEST,
    SweepState,
    Trial,
    count_at_rungs,
    place_rungs,
    read_sweep,
    remove_leftovers,
    save_sweep,
    select_trials,
    shares_of,
    whole_runs,
)
from charrnn.tasks.train import Reading, RunReport, open_text, start_run
from charrnn.tasks.train_request import Text, TrainRequest
from charrnn.training.plan import EVALUATIONS
from charrnn.training.reports import Evaluation
from charrnn.training.trial import PlannedTrial, plan_trial

_WARMUPS = 3  # that should lie before the first rung (benchmarks/LOG.md)
_MORE_ROUNDS = 4  # of measurements, on a machine that is busy now and then
_SAME_SPEED = 0.1
_FAILURES = (DivergedError, OutOfMemoryError, CorpusError)
"""What ends one trial and not the sweep."""
_KEPT_BY_ALL = ("checkpoints", "keep_checkpoints", "tensorboard")
_OF_THE_RUN = ("name", "resume", "on_unfinished", "overwrite", *_KEPT_BY_ALL)
# Neither changes how long a step takes: trials that differ in them get the same number of steps.
_COSTS_NOTHING = {
    *("learning_rate", "lr_schedule", "decay_rate", "warmup_steps", "seed", "patience"),
    *("clip_grad_norm", "clip_grad_value", "ema_decay", "label_dropout"),
    *("weight_decay_input", "weight_decay_recurrent", "weight_decay_output"),
    *("weight_decay_embedding", "weight_decay_bias"),
}


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
            end. A trial that diverges or does not fit into memory is left out.
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
        runs = _Trials(config, corpus, settings, texts, path, should_stop)
        state = read_sweep(path)
        is_found = state is not None
        if state is None:
            state = runs.plan(drawn, request, text, about)
            save_sweep(path, state)
        else:
            _check_same(path, state, about)
        yield runs.started(state, text, is_found=is_found)
        for rung in range(len(state.counts)):
            for trial in select_trials(state.trials, state.counts, rung):
                if trial.score_at(rung) is not None or trial.error:
                    continue
                trial = yield from runs.train(trial, rung)
                if trial.score_at(rung) is None and not trial.error:
                    return  # stopped; what it has learned is in its run
                state = state.with_trial(trial)
                save_sweep(path, state)
                yield TrialEnded(trial, rung, tuple(state.ranked))
        yield from runs.finish(state, request, text)


def _check_settings(
    config: SweepConfig, corpus: Sequence[str], settings: Mapping[str, Any], texts: Sequence[Text]
) -> list[dict[str, Any]]:
    """Return the settings of each trial, all checked; refuse what does not go with a sweep."""
    for name in ("resume", "overwrite"):
        if settings.get(name):
            flag = "--" + name
            raise ConfigError(f"a sweep finds its runs by itself; leave {flag} out")
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
    given = {name: value for name, value in settings.items() if name not in _OF_THE_RUN}
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


def _costly(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that change what a step costs, or the sizes that are chosen."""
    return {name: settings[name] for name in sorted(settings) if name not in _COSTS_NOTHING}


def _is_faster(now: PlannedTrial | Exception, before: PlannedTrial | Exception) -> bool:
    """Return whether a second measurement found steps that are clearly faster."""
    if isinstance(now, Exception) or isinstance(before, Exception):
        return False
    return now.step_seconds < (1 - _SAME_SPEED) * before.step_seconds


class _Trials:
    """The trials of one sweep: how each is planned, trained up to a rung, and read back."""

    def __init__(
        self,
        config: SweepConfig,
        corpus: Sequence[str],
        settings: Mapping[str, Any],
        texts: Sequence[Text],
        path: Path,
        should_stop: Callable[[], bool],
    ) -> None:
        self._config = config
        self._corpus = corpus
        self._settings = dict(settings)
        self._texts = texts
        self._path = path
        self._should_stop = should_stop
        self._checkpoints = Path(settings.get("checkpoints") or RunConfig().checkpoints)

    @property
    def _is_by_time(self) -> bool:
        return all(self._settings.get(name) is None for name in LENGTHS)

    def _trial_seconds(self, counts: Sequence[int]) -> float | None:
        """Return the time of a trial to its end; None where steps or epochs say how long."""
        if not self._is_by_time:
            return None
        budget = parse_duration(self._config.budget or DEFAULT_SWEEP_BUDGET)
        return budget / whole_runs(counts, self._config.eta)

    def started(self, state: SweepState, text: Corpus, *, is_found: bool) -> SweepStarted:
        """Return the report that comes first."""
        eta = self._config.eta
        return SweepStarted(
            self._path,
            state.trials,
            state.counts,
            tuple(shares_of(len(state.counts), eta)),
            whole_runs(state.counts, eta),
            self._trial_seconds(state.counts),
            str(state.about["task"]),
            text,
            is_found,
            tuple(self._notes(state)),
        )

    def _notes(self, state: SweepState) -> Iterator[str]:
        """Yield that trials are compared while their learning rates have hardly risen."""
        if len(state.counts) < 2:
            return
        for trial in state.trials:
            given = {**self._settings, **trial.settings}.get("warmup_steps")
            warmup = TrainConfig().warmup_steps if given is None else int(given)
            first = trial.rung_steps[0] if trial.rung_steps else math.inf
            if first < _WARMUPS * warmup:
                yield (
                    f"trials are compared at step {first}, soon after a warm-up of {warmup} steps, "
                    "which says little; give more time, or --rungs 2 to compare later, or "
                    f"--warmup-steps {max(1, int(first // _WARMUPS))}"
                )
                return

    # ── before anything is trained ──

    def plan(
        self,
        drawn: Sequence[Mapping[str, Any]],
        request: TrainRequest,
        text: Corpus,
        about: dict[str, Any],
    ) -> SweepState:
        """Return the sweep with all that its trials leave open chosen, steps too.

        Trials of the same cost get the same number of steps, and the same sizes.

        Raises:
            ConfigError: the time is too short, or a run has the name of a trial.
            OutOfMemoryError, CorpusError: no trial can be trained.
        """
        rungs = self._config.rungs if self._config.strategy == "halving" else 1
        counts = count_at_rungs(len(drawn), self._config.eta, rungs)
        seconds = self._trial_seconds(counts)
        length = {} if seconds is None else {"budget": seconds}
        digits = max(2, len(str(len(drawn))))
        names = [f"{self._path.name}-{number:0{digits}}" for number in range(1, len(drawn) + 1)]
        for name in names:
            if named_run(name, self._checkpoints).has_model:
                raise ConfigError(f"there is a run {name!r} already; give the sweep another --name")
        speeds = read_speeds()
        requests: dict[str, tuple[TrainConfig, Corpus]] = {}
        planned: dict[str, PlannedTrial | Exception] = {}
        for settings in drawn:
            costly = _costly(settings)
            if (key := repr(costly)) not in planned:
                try:
                    own = self._request({**costly, **length})
                    corpus = text if own.text == request.text else open_text(own)
                    requests[key] = (own.train, corpus)
                    planned[key] = plan_trial(own.train, corpus, speeds)
                except (OutOfMemoryError, CorpusError) as error:
                    planned[key] = error
        for _ in range(_MORE_ROUNDS if seconds is not None else 0):
            before = dict(planned)
            for key, found in before.items():
                if isinstance(found, PlannedTrial):
                    planned[key] = found.at_best(plan_trial(*requests[key], speeds))
            if not any(map(_is_faster, planned.values(), before.values())):
                break
        save_speeds(speeds)
        known = [each for each in planned.values() if isinstance(each, PlannedTrial)]
        if not known:
            raise next(each for each in planned.values() if isinstance(each, Exception))
        slowdown = statistics.median(each.slowdown for each in known)
        trials = []
        for number, (name, settings) in enumerate(zip(names, drawn, strict=True), start=1):
            trial = Trial(number, name, dict(settings))
            found = planned[repr(_costly(settings))]
            if isinstance(found, PlannedTrial):
                trials.append(self._planned(trial, found, len(counts), seconds, slowdown))
            else:
                trials.append(replace(trial, error=getattr(found, "message", str(found))))
        return SweepState(about, tuple(counts), tuple(trials))

    def _request(self, settings: Mapping[str, Any]) -> TrainRequest:
        """Return the request of a run with these settings besides those of all."""
        own = {**self._settings, **settings}
        return train_request.read_request(self._corpus, own, texts=self._texts)

    def _planned(
        self,
        trial: Trial,
        planned: PlannedTrial,
        rungs: int,
        seconds: float | None,
        slowdown: float,
    ) -> Trial:
        """Return a trial with what was chosen for it."""
        plan = planned.plan
        given = {**self._settings, **trial.settings}
        values = vars(plan.model) | vars(plan)
        # What a batch of records has follows from the records.
        names = [name for name in CHOSEN if plan.model.task == "text" or name != "seq_len"]
        chosen = {name: values[name] for name in names if given.get(name) is None}
        if seconds is None:
            total_steps = planned.total_steps or 1
            evaluations = EVALUATIONS
        else:
            least = self._config.eta ** (rungs - 1)  # one up to the first rung
            total_steps, evaluations = planned.fit_steps(seconds, slowdown, least)
        steps, spacing = place_rungs(
            total_steps, evaluations, self._settings.get("eval_every"), rungs, self._config.eta
        )
        return replace(trial, chosen=chosen, rung_steps=steps, eval_every=spacing)

    # ── a trial ──

    def train(self, trial: Trial, rung: int) -> Generator[SweepReport, None, Trial]:
        """Train a trial up to a rung; return it as it is then, or as far as it came if stopped."""
        trial = self._read(trial)
        if trial.score_at(rung) is not None:  # the sweep was killed before it kept the score
            return trial
        yield TrialStarted(trial, rung)
        steps = trial.rung_steps
        is_reached = False
        try:
            reports = start_run(
                self._corpus,
                self._settings_of(trial),
                texts=self._texts,
                should_stop=lambda: is_reached or self._should_stop(),
            )
            with closing(reports):
                for report in reports:
                    is_due = isinstance(report, Evaluation) and report.step >= steps[rung]
                    is_reached = is_reached or (is_due and rung < len(steps) - 1)
                    yield report
        except _FAILURES as error:
            return replace(self._read(trial), error=error.message)
        return self._read(trial)

    def _settings_of(self, trial: Trial) -> dict[str, Any]:
        """Return all settings of the run of a trial."""
        own = {**self._settings, **trial.settings, **trial.chosen}
        for name in (*LENGTHS, *(["parameters"] if "hidden_size" in trial.chosen else [])):
            own.pop(name, None)
        run = named_run(trial.name, self._checkpoints)
        # Killed between the first model and the first state, which is no run to continue.
        is_cut = run.has_model and not run.states
        own |= {"steps": trial.steps, "eval_every": trial.eval_every, "name": trial.name}
        return own | {"on_unfinished": "resume", "overwrite": is_cut}

    def _read(self, trial: Trial) -> Trial:
        """Return a trial with the scores that its run has written: the one place they come from."""
        run = named_run(trial.name, self._checkpoints)
        last = read_last_state(run)
        if last is None:
            return trial
        is_finished = bool((last.progress or {}).get("is_finished"))
        found: dict[Any, Any] = {
            record.get("step"): record.get("best_val_nats")
            for record in run.read_metrics()
            if record.get("event") == "evaluation"
        }
        scores: list[float] = []
        for step in trial.rung_steps[:-1]:
            if found.get(step) is None:
                break
            scores.append(found[step])
        if is_finished:
            scores.append(read_model_header(run.best).summary["val_nats"])
        seconds = float(last.summary["elapsed_seconds"])
        return replace(trial, scores=tuple(scores), seconds=seconds, is_finished=is_finished)

    # ── the best ──

    def finish(
        self, state: SweepState, request: TrainRequest, text: Corpus
    ) -> Iterator[SweepReport]:
        """Write the best settings, and train a run with them where that is asked for."""
        best = state.best
        if best is None:
            first = next(trial.error for trial in state.trials if trial.error)
            raise ConfigError(f"no trial came to its end; the first that failed: {first}")
        settings = self._settings_of_longer(best)
        content = {"corpus": request.corpus_paths} | settings
        where = self._path / BEST
        write_atomically(where, f"# the best settings of a sweep\n{format_toml(content)}")
        time = self._config.then_train or DEFAULT_SWEEP_BUDGET
        command = f"charrnn train --config {shlex.quote(str(where))} --budget {time}"
        finished = SweepFinished(self._path, tuple(state.ranked), best, command)
        yield finished
        if self._config.then_train is None:
            return
        name = f"{self._path.name}-best"
        yield LongerStarted(name)
        own = settings | {key: self._settings.get(key) for key in _KEPT_BY_ALL}
        own = {key: value for key, value in own.items() if value is not None}
        own |= {"budget": self._config.then_train, "name": name, "on_unfinished": "resume"}
        longer = train_request.read_request(self._corpus, own, texts=self._texts)
        corpus = text if longer.text == request.text else open_text(longer)
        found = train_request.find_alike(longer, corpus)
        if found is not None and found.is_finished:
            yield replace(finished, longer=result_before(found.run, found.state))
            return
        report: RunReport | None = None
        reports = start_run(self._corpus, own, texts=self._texts, should_stop=self._should_stop)
        with closing(reports):
            for report in reports:
                yield report
        if isinstance(report, RunFinished) and report.finished.reason != "stopped":
            yield replace(finished, longer=result_of(report))

    def _settings_of_longer(self, best: Trial) -> dict[str, Any]:
        """Return the settings to train longer with: the best trial's, but for its length.

        Dropout that nobody chose follows from how often the text will be read.
        """
        own = {key: each for key, each in self._settings.items() if key not in _OF_THE_RUN}
        for name in (*LENGTHS, *(["parameters"] if "hidden_size" in best.chosen else [])):
            own.pop(name, None)
        chosen = {name: value for name, value in best.chosen.items() if name != "dropout"}
        longer: dict[str, Any] = own | best.settings | chosen
        return longer
