"""The runs of a sweep: the length and sizes of each, training up to a rung, and its scores.

`run_sweep` calls this. Each run is trained by `start_run`, as any other; what a trial has come to
is read from its run alone, so a sweep that was killed knows all that its runs know.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from charrnn.checkpoint.model_file import read_model_header
from charrnn.checkpoint.run_store import named_run, read_last_state
from charrnn.config import RunConfig, TrainConfig
from charrnn.config.sweep import DEFAULT_SWEEP_BUDGET, SweepConfig
from charrnn.config.train import LENGTHS, parse_duration
from charrnn.data.corpus import Corpus
from charrnn.errors import ConfigError, CorpusError, DivergedError, OutOfMemoryError
from charrnn.tasks import train_request
from charrnn.tasks.fit import CHOSEN, Result, result_before, result_of
from charrnn.tasks.machine_speeds import read_speeds, save_speeds
from charrnn.tasks.recorder import RunFinished
from charrnn.tasks.sweep_trials import (
    SweepState,
    Trial,
    count_at_rungs,
    place_rungs,
    whole_runs,
)
from charrnn.tasks.train import RunReport, open_text, start_run
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
OF_THE_RUN = ("name", "resume", "on_unfinished", "overwrite", *_KEPT_BY_ALL)
# Neither changes how long a step takes: trials that differ in them get the same number of steps.
_COSTS_NOTHING = {
    *("learning_rate", "lr_schedule", "decay_rate", "warmup_steps", "seed", "patience"),
    *("clip_grad_norm", "clip_grad_value", "ema_decay", "label_dropout"),
    *("weight_decay_input", "weight_decay_recurrent", "weight_decay_output"),
    *("weight_decay_embedding", "weight_decay_bias"),
}


class SweepRuns:
    """The runs of one sweep, of which each trial is one."""

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

    def trial_seconds(self, counts: Sequence[int]) -> float | None:
        """Return the time of a trial to its end; None where steps or epochs say how long."""
        if not self._is_by_time:
            return None
        budget = parse_duration(self._config.budget or DEFAULT_SWEEP_BUDGET)
        return budget / whole_runs(counts, self._config.eta)

    def notes(self, state: SweepState) -> Iterator[str]:
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
        digits = max(2, len(str(len(drawn))))
        names = [f"{self._path.name}-{number:0{digits}}" for number in range(1, len(drawn) + 1)]
        for name in names:
            if named_run(name, self._checkpoints).has_model:
                raise ConfigError(f"there is a run {name!r} already; give the sweep another --name")
        trials = [
            Trial(number, name, dict(settings))
            for number, (name, settings) in enumerate(zip(names, drawn, strict=True), start=1)
        ]
        planned = self._measure(trials, counts, request, text)
        if not any(isinstance(each, PlannedTrial) for each in planned.values()):
            raise next(each for each in planned.values() if isinstance(each, Exception))
        return SweepState(about, tuple(counts), self._with_plans(trials, planned, counts))

    def retry(self, state: SweepState, request: TrainRequest, text: Corpus) -> SweepState:
        """Return a sweep that continues; trials that were out of memory may be tried again.

        What else runs on the machine, or the machine itself, may be another now.
        """
        lost = [trial for trial in state.trials if trial.is_out_of_memory]
        cleared = [replace(trial, error="", is_out_of_memory=False) for trial in lost]
        again = [trial for trial in cleared if trial.rung_steps]
        unplanned = [trial for trial in cleared if not trial.rung_steps]
        if unplanned:
            planned = self._measure(unplanned, state.counts, request, text)
            with suppress(ConfigError):  # too slow now for their time: they stay as they are
                again += self._with_plans(unplanned, planned, state.counts)
        for trial in again:
            state = state.with_trial(trial)
        return state

    def _measure(
        self, trials: Sequence[Trial], counts: Sequence[int], request: TrainRequest, text: Corpus
    ) -> dict[str, PlannedTrial | Exception]:
        """Return what each kind of trial that costs the same costs, by `_cost_of`."""
        seconds = self.trial_seconds(counts)
        length = {} if seconds is None else {"budget": seconds}
        speeds = read_speeds()
        requests: dict[str, tuple[TrainConfig, Corpus]] = {}
        planned: dict[str, PlannedTrial | Exception] = {}
        for trial in trials:
            if (key := _cost_of(trial)) not in planned:
                try:
                    own = self._request({**_costly(trial.settings), **length})
                    corpus = text if own.text == request.text else open_text(own)
                    requests[key] = (own.train, corpus)
                    planned[key] = plan_trial(own.train, corpus, speeds)
                except (OutOfMemoryError, CorpusError) as error:
                    planned[key] = error
        for _ in range(_MORE_ROUNDS if seconds is not None else 0):
            before = dict(planned)
            for key, found in before.items():
                if isinstance(found, PlannedTrial):
                    with suppress(OutOfMemoryError):  # it did fit a moment ago
                        planned[key] = found.at_best(plan_trial(*requests[key], speeds))
            if not any(map(_is_faster, planned.values(), before.values())):
                break
        save_speeds(speeds)
        return planned

    def _with_plans(
        self,
        trials: Sequence[Trial],
        planned: Mapping[str, PlannedTrial | Exception],
        counts: Sequence[int],
    ) -> tuple[Trial, ...]:
        """Return the trials, each with what was chosen for it, or why it cannot be trained."""
        seconds = self.trial_seconds(counts)
        known = [each for each in planned.values() if isinstance(each, PlannedTrial)]
        slowdown = statistics.median(each.slowdown for each in known) if known else 1.0
        result = []
        for trial in trials:
            found = planned[_cost_of(trial)]
            if isinstance(found, PlannedTrial):
                result.append(self._planned(trial, found, len(counts), seconds, slowdown))
            else:
                result.append(_failed(trial, found))
        return tuple(result)

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

    def train(self, trial: Trial, rung: int) -> Generator[RunReport, None, Trial]:
        """Train a trial up to a rung; return it as it is then, or as far as it came if stopped."""
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
            return _failed(self.read(trial), error)
        return self.read(trial)

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

    def read(self, trial: Trial) -> Trial:
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
        step = trial.rung_steps[len(scores) - 1] if scores else 0
        if is_finished:  # by patience it may have ended between two rungs
            step = run.step or step
        return replace(
            trial,
            scores=tuple(scores),
            step=step,
            seconds=float(last.summary["elapsed_seconds"]),
            is_finished=is_finished,
        )

    # ── the best ──

    def settings_of_longer(self, best: Trial) -> dict[str, Any]:
        """Return the settings to train longer with: the best trial's, but for its length.

        Dropout that nobody chose follows from how often the text will be read.
        """
        own = {key: each for key, each in self._settings.items() if key not in OF_THE_RUN}
        for name in (*LENGTHS, *(["parameters"] if "hidden_size" in best.chosen else [])):
            own.pop(name, None)
        chosen = {name: value for name, value in best.chosen.items() if name != "dropout"}
        longer: dict[str, Any] = own | best.settings | chosen
        return longer

    def train_longer(
        self, best: Trial, name: str, request: TrainRequest, text: Corpus
    ) -> Generator[RunReport, None, Result | None]:
        """Train a run with the best settings; return what came of it, None if it was stopped."""
        own = self.settings_of_longer(best) | {key: self._settings.get(key) for key in _KEPT_BY_ALL}
        own = {key: value for key, value in own.items() if value is not None}
        own |= {"budget": self._config.then_train, "name": name, "on_unfinished": "resume"}
        longer = train_request.read_request(self._corpus, own, texts=self._texts)
        corpus = text if longer.text == request.text else open_text(longer)
        found = train_request.find_alike(longer, corpus)
        if found is not None and found.is_finished:
            return result_before(found.run, found.state)
        report: RunReport | None = None
        reports = start_run(self._corpus, own, texts=self._texts, should_stop=self._should_stop)
        with closing(reports):
            for report in reports:
                yield report
        if isinstance(report, RunFinished) and report.finished.reason != "stopped":
            return result_of(report)
        return None


def _costly(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that change what a step costs, or the sizes that are chosen."""
    return {name: settings[name] for name in sorted(settings) if name not in _COSTS_NOTHING}


def _cost_of(trial: Trial) -> str:
    """Return what trials have in common whose steps cost the same."""
    return repr(_costly(trial.settings))


def _failed(trial: Trial, error: Exception) -> Trial:
    """Return a trial that an error ended."""
    message = getattr(error, "message", str(error))
    return replace(trial, error=message, is_out_of_memory=isinstance(error, OutOfMemoryError))


def _is_faster(now: PlannedTrial | Exception, before: PlannedTrial | Exception) -> bool:
    """Return whether a second measurement found steps that are clearly faster."""
    if isinstance(now, Exception) or isinstance(before, Exception):
        return False
    return now.step_seconds < (1 - _SAME_SPEED) * before.step_seconds
