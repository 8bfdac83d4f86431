"""train(...): a corpus and a config become a trained model, one report at a time.

No printing and no files: the reports carry all there is to show and to keep. Every random choice
is a function of seed and step, so that on a CPU a resumed run repeats an uncut one bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from charrnn.config import LENGTHS, TrainConfig
from charrnn.errors import ConfigError, CorpusError, DivergedError
from charrnn.model.network import export_weights
from charrnn.text.baselines import HELD_OUT_SYMBOLS
from charrnn.text.corpus import Corpus
from charrnn.text.vocab import Ids
from charrnn.training.budget import EVALUATIONS, Plan, make_plan
from charrnn.training.device import (
    PRECISIONS,
    choose_device,
    choose_precision,
    set_up_machine,
    used_memory_bytes,
    within_memory,
)
from charrnn.training.evaluation import evaluate_carried, evaluate_windowed
from charrnn.training.learner import Learner
from charrnn.training.losses import Best, Meter
from charrnn.training.pace import Pace
from charrnn.training.probe import measure_speed, measure_step
from charrnn.training.reports import Evaluation, Finished, Progress, Report, Snapshot, Started

_REPORT_SECONDS = 0.25
_SNAPSHOT_SECONDS = 60.0
_CHANCE = 0.005  # of the loss: what evaluations differ by without meaning anything
_CLEAR = 0.02  # of the loss: more than a high learning rate makes, and what its decay gets back


def train(
    corpus: Corpus,
    config: TrainConfig,
    *,
    resume: Snapshot | None = None,
    best: Best | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Report]:
    """Train a network on `corpus` and yield what happens.

    resume: goes on from there; best: the best model of that run so far. should_stop: asked after
    every step; once it says yes, the run yields a Snapshot, then Finished, and ends.

    Raises:
        CorpusError: the text is too short for one window, or has nothing held out.
        DivergedError: the loss stopped being a finite number.
        OutOfMemoryError: the sizes do not fit.
    """
    with within_memory(
        "not enough memory for these sizes; lower --batch-size, --seq-len or --hidden-size"
    ):
        run = _Run(corpus, config, resume, best or Best())
        yield run.started()
        yield from run.go(should_stop)


class _Run:
    """One call of train: a learner with a clock, two meters and a best."""

    def __init__(
        self, corpus: Corpus, config: TrainConfig, resume: Snapshot | None, best: Best
    ) -> None:
        self._pace = Pace(config.budget_seconds)
        self._corpus, self._config, self._best = corpus, config, best
        self._val = _held_out(corpus, config)
        self._threads = set_up_machine(config)
        device = choose_device(config.device)
        precision = choose_precision(config.precision, device)
        self._plan = plan = _choose_plan(config, corpus, device, precision, resume is not None)
        if resume is not None:
            self._plan = plan = _plan_of(resume, plan, config)
        self._learner = Learner(plan, config, corpus, device, precision)
        self._since_milestone, self._since_evaluation = Meter(), Meter()
        self._chars_seen = 0
        self._train_nats: float | None = None
        self._last_val_nats = 0.0
        self._device, self._resumed_from = device, 0
        if resume is not None:
            self._restore(resume)
            self._check_unfinished()
        self._reported = self._kept = time.perf_counter()

    def started(self) -> Started:
        """Describe the run."""
        model = self._learner.model
        vocab, val = self._corpus.vocab, self._val
        return Started(
            plan=self._plan,
            parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            device=str(self._device),
            precision=PRECISIONS[self._learner.precision],
            threads=self._threads,
            train_chars=self._corpus.train_chars,
            val_chars=vocab.count_characters(val),
            resumed_from_step=self._resumed_from,
        )

    def go(self, should_stop: Callable[[], bool]) -> Iterator[Report]:
        """Step, report, evaluate, until the length, the patience or the caller ends it."""
        reason = "length"
        while self._plan.total_steps is None or self._learner.step < self._plan.total_steps:
            norm = self._step()
            if self._is_report_due():
                yield self._progress(norm)
            is_stopped = should_stop()
            if self._is_evaluation_due():
                yield self._evaluate()
                yield self._snapshot()
                self._pace.end_evaluation()
                self._plan = self._pace.adjust(self._learner.step, self._plan, self._config)
                if self._config.patience and self._best.stale >= self._config.patience:
                    reason = "patience"
                    break
            elif time.perf_counter() - self._kept > _SNAPSHOT_SECONDS:
                yield self._snapshot()
            if is_stopped and self._learner.step != self._plan.total_steps:
                reason = "stopped"
                break
        if reason == "stopped":
            yield self._snapshot()
        yield self._finish(reason)

    def _step(self) -> Tensor:
        nats, norm, chars = self._learner.advance(self._plan.total_steps)
        self._since_milestone.add(nats, chars)
        self._since_evaluation.add(nats, chars)
        self._chars_seen += chars
        self._pace.end_step()
        step, config = self._learner.step, self._config
        self._plan = self._pace.fix_steps(step, self._plan, config, len(self._val))
        return norm

    def _is_milestone(self) -> bool:
        every = self._plan.eval_every
        return every is not None and self._learner.step % max(1, every // 10) == 0

    def _is_report_due(self) -> bool:
        is_last = self._learner.step == self._plan.total_steps
        is_time = time.perf_counter() - self._reported > _REPORT_SECONDS
        return is_last or is_time or self._is_milestone()

    def _is_evaluation_due(self) -> bool:
        step, plan = self._learner.step, self._plan
        if step == plan.total_steps:
            return True
        return plan.eval_every is not None and step % plan.eval_every == 0

    def _progress(self, norm: Tensor) -> Progress:
        self._reported = time.perf_counter()
        is_milestone, plan = self._is_milestone(), self._plan
        train_nats, gradient_norm = self._since_milestone.mean(), float(norm)
        self._check_finite(train_nats)
        if is_milestone:
            self._since_milestone = Meter()
        return Progress(
            step=self._learner.step,
            total_steps=plan.total_steps,
            epoch=self._learner.epoch,
            chars_seen=self._chars_seen,
            train_nats=train_nats,
            learning_rate=self._learner.learning_rate,
            gradient_norm=gradient_norm,
            chars_per_second=self._pace.steps_per_second * self._chars_seen / self._learner.step,
            elapsed_seconds=self._pace.elapsed_seconds,
            memory_bytes=used_memory_bytes(self._device),
            is_milestone=is_milestone,
        )

    def _evaluate(self) -> Evaluation:
        model, step = self._learner.averaged, self._learner.step
        val_nats = evaluate_carried(model, self._val, self._corpus.vocab).loss_nats
        self._train_nats, self._last_val_nats = self._since_evaluation.mean(), val_nats
        self._since_evaluation = Meter()
        self._check_finite(val_nats)
        self._check_finite(self._train_nats)
        is_best, weights = val_nats <= self._best.val_nats, export_weights(model)
        if is_best:
            self._best = Best(val_nats, self._train_nats, step, 0, weights)
        else:
            is_clear = val_nats > self._best.val_nats * (1 + _CLEAR)
            self._best = replace(self._best, stale=self._best.stale + 1 if is_clear else 0)
        return Evaluation(
            step=step,
            chars_seen=self._chars_seen,
            elapsed_seconds=self._pace.elapsed_seconds,
            train_nats=self._train_nats,
            val_nats=val_nats,
            best_val_nats=self._best.val_nats,
            is_best=is_best,
            weights=weights,
        )

    def _finish(self, reason: str) -> Finished:
        best, carried, windowed = self._best, self._best.val_nats, None
        compared = carried
        if best.weights is not None and reason != "stopped":
            self._learner.show_weights(best.weights)
            model, val, vocab = self._learner.averaged, self._corpus.val, self._corpus.vocab
            if len(self._val) < len(val):
                carried = evaluate_carried(model, val, vocab).loss_nats
            windowed = evaluate_windowed(model, val, vocab).loss_nats
            first = val[:HELD_OUT_SYMBOLS]
            is_all = len(first) == len(val)
            compared = carried if is_all else evaluate_carried(model, first, vocab).loss_nats
        return Finished(
            reason=reason,
            step=self._learner.step,
            best_step=best.step,
            chars_seen=self._chars_seen,
            epochs=self._learner.epoch,
            elapsed_seconds=self._pace.elapsed_seconds,
            train_nats=self._train_nats,
            got_worse=self._last_val_nats > best.val_nats * (1 + _CHANCE),
            best_val_nats=carried,
            best_train_nats=best.train_nats,
            best_val_windowed_nats=windowed,
            best_val_compared_nats=compared,
            best_weights=best.weights,
        )

    def _snapshot(self) -> Snapshot:
        self._kept = time.perf_counter()
        weights, arrays, rest = self._learner.lay_down()
        self._check_finite(sum(float(np.abs(weight).max()) for weight in weights.values()))
        plan, meters = asdict(self._plan), (self._since_milestone, self._since_evaluation)
        progress = {
            **rest,
            "plan": {key: value for key, value in plan.items() if key != "model"},
            "length": _length(self._config),
            "meters": [[float(meter.nats), meter.chars] for meter in meters],
            "chars_seen": self._chars_seen,
            "train_nats": self._train_nats,
            "stale": self._best.stale,
            "elapsed_seconds": self._pace.elapsed_seconds,
        }
        return Snapshot(self._learner.step, self._plan.model, weights, arrays, progress)

    def _restore(self, snapshot: Snapshot) -> None:
        progress = snapshot.progress
        self._learner.pick_up(snapshot.weights, snapshot.arrays, progress)
        self._since_milestone, self._since_evaluation = (
            Meter(torch.tensor(nats, device=self._device), chars)
            for nats, chars in progress["meters"]
        )
        self._chars_seen, self._train_nats = progress["chars_seen"], progress["train_nats"]
        self._best = replace(self._best, stale=progress["stale"])
        self._pace = Pace(self._config.budget_seconds, progress["elapsed_seconds"])
        self._resumed_from = self._learner.step

    def _check_unfinished(self) -> None:
        """Refuse to go on with a run that has nothing left to do."""
        steps, budget = self._plan.total_steps, self._config.budget_seconds
        spent = self._pace.elapsed_before
        if (steps is not None and self._learner.step >= steps) or (budget and spent >= budget):
            raise ConfigError(
                f"this run has trained its length ({self._learner.step} steps, {spent:.0f} s); "
                "to train it further give a larger --steps, --epochs or --budget than before"
            )

    def _check_finite(self, figure: float) -> None:
        """Refuse to go on with a loss, or with weights, that are no longer numbers."""
        if not math.isfinite(figure):
            raise DivergedError(
                f"the loss became {figure} at step {self._learner.step}; what was saved before is "
                f"kept. Start again with a lower --learning-rate than {self._plan.learning_rate} "
                "or a smaller --clip-grad-norm"
            )


def _held_out(corpus: Corpus, config: TrainConfig) -> Ids:
    """Give the part of the held-out text that is used while training."""
    val = corpus.val[: config.eval_chars + 1] if config.eval_chars else corpus.val
    if corpus.vocab.count_characters(val[1:]) < 1:
        raise CorpusError(
            f"{corpus.name} has {corpus.chars:,} characters, of which {corpus.val_chars} are held "
            "out for validation: at least 2 are needed; give more text, or a larger --val-fraction "
            "or --val-file"
        )
    return val


def _choose_plan(
    config: TrainConfig,
    corpus: Corpus,
    device: torch.device,
    precision: torch.dtype,
    is_resumed: bool,
) -> Plan:
    """Choose what is left open, by measured speed where a time says how long."""
    text = config, corpus.vocab.size, len(corpus.train)
    if is_resumed or config.budget_seconds is None:
        return make_plan(*text)
    speed = 1.0 if config.hidden_size else measure_speed(device, precision)
    plan = make_plan(*text, speed)
    if config.dropout is not None:
        return plan
    return make_plan(*text, speed, measure_step(plan, config, corpus, device, precision))


def _length(config: TrainConfig) -> list[float | str | None]:
    return [getattr(config, name) for name in LENGTHS]


def _plan_of(snapshot: Snapshot, fresh: Plan, config: TrainConfig) -> Plan:
    """Give a resumed run's plan: its own, or with a new length where another is asked for."""
    plan, progress = Plan(model=snapshot.model, **snapshot.progress["plan"]), snapshot.progress
    if progress["length"] == _length(config):
        return replace(plan, eval_every=config.eval_every or plan.eval_every)
    if config.budget_seconds is None:
        return replace(plan, total_steps=fresh.total_steps, eval_every=fresh.eval_every)
    if plan.eval_every is None:  # stopped before its speed was known
        return replace(plan, total_steps=None, eval_every=config.eval_every)
    share = config.budget_seconds / max(progress["elapsed_seconds"], 1e-9)
    total = max(snapshot.step + 1, round(snapshot.step * share))  # corrected on the way
    spacing = max(plan.eval_every, -(-total // EVALUATIONS))
    return replace(plan, total_steps=total, eval_every=config.eval_every or spacing)
