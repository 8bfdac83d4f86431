"""train(...): a corpus and a config become a trained model, one report at a time.

No printing and no files: the reports carry all there is to show and to keep. Every random choice
is a function of seed and step, so that on a CPU a resumed run repeats an uncut one bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, replace

import numpy as np

from charrnn.config import TrainConfig
from charrnn.errors import CheckpointError, ConfigError, CorpusError, DivergedError
from charrnn.model.network import export_weights
from charrnn.text.baselines import HELD_OUT_SYMBOLS
from charrnn.text.corpus import Corpus
from charrnn.text.vocab import Ids
from charrnn.training.budget import Plan
from charrnn.training.deferred import Update
from charrnn.training.device import (
    PRECISIONS,
    choose_device,
    choose_precision,
    repeating,
    set_up_machine,
)
from charrnn.training.distributed import ALONE, Peers
from charrnn.training.evaluation import evaluate_carried, evaluate_windowed
from charrnn.training.lane_states import Arrays
from charrnn.training.learner import Learner
from charrnn.training.losses import Best, Level, Meter
from charrnn.training.memory import WAY_OUT, count_parameters, used_memory_bytes, within_memory
from charrnn.training.pace import Pace
from charrnn.training.planning import (
    check_same,
    check_share,
    choose_plan,
    length_of,
    plan_from,
    take_up_plan,
)
from charrnn.training.reports import (
    Evaluation,
    Finished,
    Incident,
    Progress,
    Report,
    Snapshot,
    Started,
)

_REPORT_SECONDS = 0.25
_SNAPSHOT_SECONDS = 60.0
_CHANCE = 0.005  # of the loss: what evaluations differ by without meaning anything
_CLEAR = 0.02  # of the loss: more than a high learning rate makes, and what its decay gets back
_MOST_DROPPED = 3  # in a row
_MOST_ROLLBACKS = 3


class _StopAsked(Exception):  # noqa: N818 (no error)
    """The caller wants the run to stop."""


def train(
    corpus: Corpus,
    config: TrainConfig,
    *,
    resume: Snapshot | None = None,
    best: Best | None = None,
    initial: Callable[[Arrays], Arrays] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    peers: Peers = ALONE,
) -> Iterator[Report]:
    """Train a network on `corpus` and yield what happens.

    resume: goes on from there; best: the best model of that run so far. initial: turns the random
    weights of a new run, by public name, into those to start from. should_stop: asked after every
    step and while evaluating; once it says yes, the run yields a Snapshot, then Finished, and ends.
    peers: those that train with this process; each must be given the same, and yields the same
    reports, as the first one may be the only one to keep them.

    Raises:
        ConfigError: the device is not there, or cannot compute as is asked.
        CorpusError: the text is too short for one window, or has nothing held out.
        DivergedError: the loss did not stay a finite number, whatever was tried.
        OutOfMemoryError: the sizes do not fit.
        PeersLostError: another process of the same training has ended.
    """
    short = f"there is not enough memory for these sizes; {WAY_OUT}"
    with repeating(config), within_memory(short):
        check_same(corpus, config, resume, peers)
        run = _Run(corpus, config, resume, best or Best(), initial, should_stop, peers)
        yield run.started()
        yield from run.go()


class _Run:
    """One call of train: a learner with a clock, two meters, a best, and a state to go back to."""

    def __init__(
        self,
        corpus: Corpus,
        config: TrainConfig,
        resume: Snapshot | None,
        best: Best,
        initial: Callable[[Arrays], Arrays] | None,
        should_stop: Callable[[], bool],
        peers: Peers,
    ) -> None:
        self._pace = Pace(config.budget_seconds)
        self._corpus, self._config, self._best = corpus, config, best
        self._should_stop, self._peers = should_stop, peers
        self._is_save_due = self._is_report_late = False
        self._val = _held_out(corpus, config)
        self._threads = set_up_machine(config)
        device = choose_device(config.device)
        precision = choose_precision(config.precision, device)
        is_resumed = resume is not None
        self._plan = plan = choose_plan(config, corpus, device, precision, is_resumed, peers)
        if resume is not None:
            with _fitting():
                self._plan = plan = check_share(take_up_plan(resume, plan, config), peers)
        self._learner = Learner(plan, config, corpus, device, precision, initial, peers)
        self._since_milestone, self._since_evaluation = Meter(), Meter()
        self._level = Level()
        self._begun: list[Incident] = []  # of steps that nothing is known of yet
        self._dropped = self._rollbacks = 0
        self._chars_seen = self._evaluated_step = 0
        self._train_nats: float | None = None
        self._last_val_nats = 0.0
        self._device, self._resumed_from = device, 0
        if resume is not None:
            with _fitting():
                self._take_up(resume)
                self._pace = Pace(config.budget_seconds, float(resume.progress["elapsed_seconds"]))
            self._resumed_from = resume.step
            self._check_unfinished(resume)
        self._good = resume or self._lay_down()
        self._reported = self._kept = self._heeded = time.perf_counter()

    def started(self) -> Started:
        """Describe the run."""
        vocab, val = self._corpus.vocab, self._val
        return Started(
            plan=self._plan,
            parameters=self._learner.parameters,
            device=str(self._device),
            precision=PRECISIONS[self._learner.precision],
            threads=self._threads,
            train_chars=self._corpus.train_chars,
            val_chars=vocab.count_characters(val),
            state_bytes=self._learner.state_bytes,
            model_bytes=4 * count_parameters(self._plan.model),
            slices=self._learner.slices,
            resumed_from_step=self._resumed_from,
        )

    def go(self) -> Iterator[Report]:
        """Train to the end, or until the caller wants to stop; then say what came of it."""
        try:
            reason = yield from self._train()
        except _StopAsked:
            reason = "stopped"
            yield from self._save()
        yield self._finish(reason)

    def _train(self) -> Generator[Report, None, str]:
        """Step, evaluate and save until the length or the patience ends it, and say which."""
        while True:
            if self._is_evaluation_due():
                yield from self._evaluate()
                if self._config.patience and self._best.stale >= self._config.patience:
                    return "patience"
            elif self._is_save_due:
                yield from self._save()
            if self._learner.step == self._plan.total_steps:
                return "length"
            yield from self._advance()
            self._heed()

    def _heed(self, _: int = 0) -> None:
        """Learn what the clock and the caller want of any process: of all, at the same step."""
        before, self._heeded = self._heeded, time.perf_counter()
        is_late = self._heeded - self._kept > _SNAPSHOT_SECONDS
        next_step = 2 * self._heeded - before  # when about it ends
        will_be_late = next_step - self._reported > _REPORT_SECONDS
        wishes = self._peers.any_of(self._should_stop(), is_late, will_be_late)
        is_over, self._is_save_due, self._is_report_late = wishes
        if is_over:
            raise _StopAsked

    def _advance(self) -> Iterator[Report]:
        """Make one step; report it where that is due, and what went wrong with it."""
        learner = self._learner
        position, lane_length = learner.place
        before = Incident(
            kind="",
            step=learner.step + 1,
            epoch=learner.epoch,
            position=position,
            lane_length=lane_length,
            train_nats=math.nan,
            level_nats=math.nan,
            slices=learner.slices,
        )
        self._begun.append(before)
        updates = learner.advance(self._plan.total_steps)
        if self._is_report_due() or self._is_evaluation_due():
            updates += learner.settle()
        yield from self._take_in(updates)

    def _take_in(self, updates: list[Update]) -> Iterator[Report]:
        """Go through what became of the steps that were begun; of all or of none."""
        if not updates:
            return
        begun, self._begun = self._begun, []
        self._pace.end_steps(len(updates))
        step, config = self._learner.step, self._config
        if self._plan.total_steps is None:
            self._follow(self._pace.fix_steps(step, self._plan, config, len(self._val)))
        for update, before in zip(updates, begun, strict=True):
            self._chars_seen += update.chars
            nats = update.nats / max(update.chars, 1)
            told = replace(
                before,
                train_nats=nats,
                level_nats=self._level.nats,
                slices=update.slices,
                reason=update.unrecorded,
            )
            for kind in self._judge(update, before):
                yield replace(told, kind=kind)
            if self._dropped >= _MOST_DROPPED:
                yield self._roll_back()
                return
        if self._is_report_due():
            yield self._progress(updates[-1].norm)

    def _judge(self, update: Update, before: Incident) -> Iterator[str]:
        """Count a step in, and yield each kind of thing that went wrong with it."""
        if update.slices != before.slices:
            yield "memory"
        if update.unrecorded:
            yield "graph"
        if not update.is_made:
            self._dropped += 1
            yield "dropped"
            return
        self._dropped = 0
        for meter in (self._since_milestone, self._since_evaluation):
            meter.add(update.nats, update.chars)
        is_fresh = before.epoch.is_integer()  # without a state to go by
        if not is_fresh and self._level.is_spike(update.nats / max(update.chars, 1)):
            yield "spike"

    def _roll_back(self) -> Incident:
        """Go back to the state that was saved last, and on from there at half the learning rate."""
        learner, step, good = self._learner, self._learner.step, self._good
        rollbacks, level = self._rollbacks + 1, self._level.nats
        if rollbacks > _MOST_ROLLBACKS:
            rate = learner.rate_factor * self._plan.learning_rate
            raise DivergedError(
                f"the loss stopped being a number at step {step}, as it did {_MOST_ROLLBACKS} "
                "times before, each time at half the learning rate; what was saved is kept. Start "
                f"again with a lower --learning-rate than {rate:g} or a smaller --clip-grad-norm"
            )
        self._take_up(good)
        self._rollbacks, learner.rate_factor = rollbacks, 0.5**rollbacks
        position, lane_length = learner.place
        return Incident(
            kind="rollback",
            step=step,
            epoch=learner.epoch,
            position=position,
            lane_length=lane_length,
            train_nats=math.nan,
            level_nats=level,
            back_to_step=good.step,
            rate_factor=learner.rate_factor,
        )

    def _is_milestone(self) -> bool:
        every = self._plan.eval_every
        return every is not None and self._learner.step % max(1, every // 10) == 0

    def _is_report_due(self) -> bool:
        is_last = self._learner.step == self._plan.total_steps
        return is_last or self._is_report_late or self._is_milestone()

    def _is_evaluation_due(self) -> bool:
        step, plan = self._learner.step, self._plan
        is_last = step == plan.total_steps
        is_spaced = plan.eval_every is not None and step % plan.eval_every == 0
        return step != self._evaluated_step and (is_last or is_spaced)

    def _progress(self, gradient_norm: float) -> Progress:
        self._reported, self._is_report_late = time.perf_counter(), False
        is_milestone, plan = self._is_milestone(), self._plan
        train_nats = self._since_milestone.mean()
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

    def _evaluate(self) -> Iterator[Report]:
        """Score the held-out text and save; where the score is no number, go back."""
        learner, vocab = self._learner, self._corpus.vocab
        by = vocab, self._heed, self._peers
        val_nats = evaluate_carried(learner.averaged, self._val, *by).loss_nats
        if not math.isfinite(val_nats):
            yield self._roll_back()
            return
        yield self._take_score(val_nats)
        self._peers.meet()  # once the first one's files are written
        yield from self._save()
        self._pace.end_evaluation()
        self._follow(self._pace.adjust(learner.step, self._plan, self._config))

    def _follow(self, plan: Plan) -> None:
        """Take up the plan, as the first process's clock has it."""
        self._plan = plan_from(self._peers.as_first(asdict(plan)))

    def _take_score(self, val_nats: float) -> Evaluation:
        step, weights = self._learner.step, export_weights(self._learner.averaged)
        self._evaluated_step, self._last_val_nats = step, val_nats
        self._train_nats, self._since_evaluation = self._since_evaluation.mean(), Meter()
        is_best = val_nats <= self._best.val_nats
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
        """Say what came of the run; unless it was stopped, by the whole held-out text."""
        best, snapshot = self._best, self._good
        carried, windowed, compared = best.val_nats, None, best.val_nats
        if best.weights is not None and reason != "stopped":
            try:
                carried, windowed, compared = self._score_whole(best.weights)
                snapshot = replace(snapshot, progress=snapshot.progress | {"is_finished": True})
            except _StopAsked:
                reason = "stopped"
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
            snapshot=snapshot,
        )

    def _score_whole(self, weights: Arrays) -> tuple[float, float, float]:
        """Give the best model's nats: carried, by windows, and where others are compared."""
        self._learner.show_weights(weights)
        model, val, vocab = self._learner.averaged, self._corpus.val, self._corpus.vocab
        carried, by = self._best.val_nats, (vocab, self._heed, self._peers)
        if len(self._val) < len(val):
            carried = evaluate_carried(model, val, *by).loss_nats
        windowed = evaluate_windowed(
            model, val, vocab, watch=self._heed, peers=self._peers
        ).loss_nats
        first = val[:HELD_OUT_SYMBOLS]
        if len(first) == len(val):
            return carried, windowed, carried
        return carried, windowed, evaluate_carried(model, first, *by).loss_nats

    def _save(self) -> Iterator[Report]:
        """Yield the state to keep; one with numbers that are not finite is never kept."""
        yield from self._take_in(self._learner.settle())
        snapshot = self._lay_down()
        if all(np.isfinite(a).all() for a in (snapshot.weights | snapshot.arrays).values()):
            self._good, self._kept = snapshot, time.perf_counter()
            self._is_save_due = False
            yield snapshot
            self._peers.meet()
        else:
            yield self._roll_back()

    def _lay_down(self) -> Snapshot:
        weights, arrays, rest = self._learner.lay_down()
        plan, meters = asdict(self._plan), (self._since_milestone, self._since_evaluation)
        progress = {
            **rest,
            "plan": {key: value for key, value in plan.items() if key != "model"},
            "length": length_of(self._config),
            "meters": [astuple(meter) for meter in meters],
            "level": astuple(self._level),
            "chars_seen": self._chars_seen,
            "train_nats": self._train_nats,
            "evaluated_step": self._evaluated_step,
            "last_val_nats": self._last_val_nats,
            "stale": self._best.stale,
            "dropped": self._dropped,
            "rollbacks": self._rollbacks,
            "elapsed_seconds": self._pace.elapsed_seconds,
            "is_finished": False,
        }
        return Snapshot(self._learner.step, self._plan.model, weights, arrays, progress)

    def _take_up(self, snapshot: Snapshot) -> None:
        """Become what `_lay_down` gave, but for the time that has gone by."""
        progress = snapshot.progress
        self._learner.pick_up(snapshot.weights, snapshot.arrays, progress)
        meters = (Meter(float(nats), int(chars)) for nats, chars in progress["meters"])
        self._since_milestone, self._since_evaluation = meters
        nats, spread_nats, windows = progress["level"]
        self._level = Level(float(nats), float(spread_nats), int(windows))
        self._chars_seen, train_nats = int(progress["chars_seen"]), progress["train_nats"]
        self._train_nats = None if train_nats is None else float(train_nats)
        self._evaluated_step = int(progress["evaluated_step"])
        self._last_val_nats = float(progress["last_val_nats"])
        self._best = replace(self._best, stale=int(progress["stale"]))
        self._dropped, self._rollbacks = int(progress["dropped"]), int(progress["rollbacks"])
        self._learner.rate_factor = 0.5**self._rollbacks

    def _check_unfinished(self, snapshot: Snapshot) -> None:
        """Refuse to go on with a run that has nothing left to do."""
        steps, budget = self._plan.total_steps, self._config.budget_seconds
        spent = self._pace.elapsed_before
        is_long = (steps is not None and snapshot.step >= steps) or (budget and spent >= budget)
        if is_long and snapshot.progress.get("is_finished"):
            raise ConfigError(
                f"this run has trained its length ({snapshot.step} steps, {spent:.0f} s); "
                "to train it further give a larger --steps, --epochs or --budget than before"
            )


@contextmanager
def _fitting() -> Iterator[None]:
    """Refuse a state that no run has left."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(
            f"the saved training state does not fit ({type(error).__name__}: {error}); start a new "
            "run, from the weights of this one by --init-from"
        ) from error


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
