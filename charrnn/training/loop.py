"""train(...): a corpus and a config become a trained model, one report at a time.

No printing and no files: reports carry all there is to show, and `record` writes what the
run keeps. Every random choice is a function of seed and step, so that on a CPU a resumed run
repeats an uninterrupted one bit for bit.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any

from charrnn.config import ModelConfig, TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.model.device import deterministic_algorithms
from charrnn.model.network import load_numpy_state_dict
from charrnn.state import Arrays
from charrnn.training.calibration import check_same
from charrnn.training.evaluation import HeldOut
from charrnn.training.memory import say_short, within_memory
from charrnn.training.plan import Plan
from charrnn.training.record_evaluation import HeldOutRecords, make_held_out
from charrnn.training.reports import Report, Snapshot
from charrnn.training.state import TrainingState
from charrnn.training.stats import MOST_DROPPED, Best
from charrnn.training.trainer import StepResult
from charrnn.training.world import SINGLE_PROCESS, World

_REPORT_SECONDS = 0.25
_SNAPSHOT_SECONDS = 60.0

Record = Callable[[Report], Iterable[Any]]
"""Writes what a report brings; returns the reports to yield: it, and any that writing made."""


def train(
    corpus: Corpus,
    config: TrainConfig,
    *,
    resume: Snapshot | None = None,
    best: Best | None = None,
    initial: Callable[[Arrays], Arrays] | None = None,
    record: Record = lambda report: (report,),
    should_stop: Callable[[], bool] = lambda: False,
    world: World = SINGLE_PROCESS,
    speeds: MutableMapping[str, float] | None = None,
    teachers: Sequence[tuple[ModelConfig, Arrays]] = (),
) -> Iterator[Any]:
    """Train a network on `corpus` and yield what happens.

    resume: continue from there; best: the best model of that run so far. initial: turns the random
    weights of a new run, by public name, into those to start from. record: called with each report
    before it is yielded. should_stop: asked after every step and while evaluating; once it returns
    true, the run yields a Snapshot, then Finished, and ends. world: the processes that train
    together; each must be given the same and yields the same reports. speeds: as for
    `choose_plan`. teachers: shapes and weights of networks of text, with the vocabulary of
    `corpus`, that the network learns from too.

    Raises:
        ConfigError: the device is missing, or does not support a setting.
        CorpusError: the text is too short for one window, or has nothing held out.
        DivergedError: the loss did not stay a finite number, in spite of rollbacks.
        OutOfMemoryError: the sizes do not fit.
        ProcessLostError: another process of the same training has ended.
    """
    record = _within_own_memory(record)
    with deterministic_algorithms(config), within_memory(say_short(config, corpus)):
        check_same(corpus, config, resume, world)
        held_out = make_held_out(corpus, config, world)
        state = TrainingState(
            corpus, config, resume, best or Best(), initial, world, speeds, teachers
        )
        run = _Run(state, held_out, record, should_stop)
        yield from record(state.started(held_out))
        if config.snapshots and state.are_weights_due():
            yield from record(state.keep_weights())
        try:
            while True:
                # Evaluate and save where that is due, else save once a minute.
                if run.is_evaluation_due():
                    yield from run.evaluate()
                    if config.patience and state.stats.best.stale >= config.patience:
                        reason = "patience"
                        break
                elif run.is_save_due:
                    yield from run.save()
                # A repetition changes its length where the run by budget did.
                if state.to_repeat:
                    yield from run.follow(state.repeated_plan())
                total_steps = state.plan.total_steps
                if total_steps is not None and state.trainer.step >= total_steps:
                    reason = "length"
                    break

                # Step: forward, backward, clip, update, average (step.py).
                is_last = run.is_evaluation_due(ahead=1)
                results = state.trainer.advance(total_steps, is_measured=is_last)
                if run.is_report_due() or run.is_evaluation_due():
                    results += state.trainer.flush()

                # Count the results of the steps, and report.
                yield from run.count(results)
                if config.snapshots and state.are_weights_due():
                    yield from record(state.keep_weights())

                # Poll the clock and the caller.
                run.poll()
        except _StopRequested:
            reason = "stopped"
            yield from run.keep()
        yield from run.finish(reason)


def _within_own_memory(record: Record) -> Record:
    """Return `record` with words of its own where memory runs out in it: the sizes do fit."""

    def write(report: Report) -> Iterator[Any]:
        what = type(report).__name__.lower()
        with within_memory(
            f"there is not enough memory to write the {what} report of this run, which itself "
            "fits; close other programs and resume the run"
        ):
            yield from record(report)

    return write


class _StopRequested(Exception):  # noqa: N818 (no error)
    """The caller wants the run to stop."""


class _Run:
    """One call of train: what is due, and the reports of each part of the loop."""

    def __init__(
        self,
        state: TrainingState,
        held_out: HeldOut | HeldOutRecords,
        record: Record,
        should_stop: Callable[[], bool],
    ) -> None:
        self._state = state
        self._held_out = held_out
        self._record = record
        self._should_stop = should_stop
        self.is_save_due = False
        self._is_report_late = False
        now = time.perf_counter()
        self._reported_at = now
        self._saved_at = now
        self._polled_at = now

    def poll(self, _: int = 0) -> None:
        """Ask the clock and the caller, of all processes, so that all act at the same step."""
        before = self._polled_at
        self._polled_at = now = time.perf_counter()
        next_poll = 2 * now - before  # about when the next step ends
        wishes = [
            self._should_stop(),
            now - self._saved_at > _SNAPSHOT_SECONDS,
            next_poll - self._reported_at > _REPORT_SECONDS,
        ]
        if self._state.world.world_size > 1:
            wishes = self._state.world.all_reduce_any(*wishes)
        is_stop, self.is_save_due, self._is_report_late = wishes
        if is_stop:
            raise _StopRequested

    def is_report_due(self) -> bool:
        """Return whether the step just made must be reported."""
        is_last = self._state.trainer.step >= (self._state.plan.total_steps or math.inf)
        return is_last or self._is_report_late or self._is_milestone()

    def is_evaluation_due(self, ahead: int = 0) -> bool:
        """Return whether the weights must be scored, and are not scored yet.

        ahead: how many steps from now, as the plan is now; 0 for the current weights.
        """
        step = self._state.trainer.step + ahead
        plan = self._state.plan
        is_spaced = plan.eval_every is not None and step % plan.eval_every == 0
        is_due = is_spaced or step >= (plan.total_steps or math.inf)  # it may be shorter now
        if self._held_out.is_empty:  # the model to keep is the last: it is kept with every save
            is_due = is_due or self.is_save_due
        return is_due and step != self._state.stats.evaluated_step

    def _is_milestone(self) -> bool:
        every = self._state.plan.eval_every
        return every is not None and self._state.trainer.step % max(1, every // 10) == 0

    def count(self, results: list[StepResult]) -> Iterator[Any]:
        """Count steps in; yield what went wrong with them, and the progress where it is due."""
        if not results:  # not read from the GPU yet
            return
        state = self._state
        state.clock.end_steps(len(results))
        if state.plan.total_steps is None:
            tokens = len(self._held_out.part.ids)
            step = state.trainer.step
            plan = state.clock.fix_steps(step, state.plan, state.config, tokens)
            yield from self.follow(state.repeated_plan() if plan is state.plan else plan)
        for result in results:
            level_nats = state.stats.level.nats
            for kind in state.stats.add(result):
                yield from self._record(state.incident(kind, result, level_nats))
            if state.stats.dropped >= MOST_DROPPED:
                yield from self._record(state.roll_back())
                return
        if self.is_report_due():
            self._reported_at = time.perf_counter()
            self._is_report_late = False
            norm = results[-1].grad_norm
            yield from self._record(state.progress(norm, is_milestone=self._is_milestone()))

    def evaluate(self) -> Iterator[Any]:
        """Score the averaged weights and save; where they or the score are not finite, go back."""
        state = self._state
        yield from self.count(state.trainer.flush())
        score = train_eval_nats = None
        if not self._held_out.is_empty:
            averaged = state.trainer.averaged
            score = self._held_out.score(averaged, self.poll)
            if state.trainer.step >= (state.plan.total_steps or math.inf):  # for the verdict
                train_eval_nats = self._held_out.score_train(averaged, self.poll, score.temperature)
        evaluation = state.evaluation(score, train_eval_nats)
        if evaluation is None:
            yield from self._record(state.roll_back())
            return
        yield from self._record(evaluation)
        warning = state.warning(self._held_out.naive_nats)
        if warning is not None:
            yield from self._record(warning)
        state.world.barrier()  # the main process has written the best model
        yield from self.save()
        state.clock.end_evaluation()
        yield from self.follow(state.clock.adjust(state.trainer.step, state.plan, state.config))

    def follow(self, plan: Plan) -> Iterator[Any]:
        """Use this plan from here on; record its length where that is another one."""
        length = self._state.follow(plan)
        if length is not None:
            yield from self._record(length)

    def keep(self) -> Iterator[Any]:
        """Save before a stop; where nothing is held out, the last model too."""
        is_kept = self._state.trainer.step == self._state.stats.evaluated_step
        yield from self.save() if is_kept or not self._held_out.is_empty else self.evaluate()

    def save(self) -> Iterator[Any]:
        """Record a snapshot; one that holds NaN or infinity is never kept."""
        state = self._state
        yield from self.count(state.trainer.flush())
        snapshot = state.save()
        if snapshot is None:
            yield from self._record(state.roll_back())
            return
        self._saved_at = time.perf_counter()
        self.is_save_due = False
        yield from self._record(snapshot)
        state.world.barrier()  # the main process has written the snapshot

    def finish(self, reason: str) -> Iterator[Any]:
        """Score the best weights on the whole held-out text unless stopped; report the end."""
        state = self._state
        is_kept = state.stats.kept_step == state.trainer.step
        if state.config.snapshots and reason != "stopped" and not is_kept:
            yield from self._record(state.keep_weights())
        best = state.stats.best
        scores = None
        if best.weights is not None and reason != "stopped":
            load_numpy_state_dict(state.trainer.averaged, best.weights)
            try:
                scores = self._held_out.score_whole(
                    state.trainer.averaged, best.val_nats, best.train_eval_nats, self.poll
                )
            except _StopRequested:
                reason = "stopped"
        yield from self._record(state.finished(reason, scores, self._held_out.naive_nats))
