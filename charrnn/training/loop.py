"""train(...): a corpus and a config become a trained model, one report at a time.

No printing and no files: the reports carry all there is to show and to keep. Every random choice
is a function of seed and step, so that on a CPU a resumed run repeats an uncut one bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

from charrnn.config import TrainConfig
from charrnn.model.device import PRECISIONS, deterministic_algorithms
from charrnn.model.network import numpy_state_dict
from charrnn.text.corpus import Corpus
from charrnn.training.calibration import check_same
from charrnn.training.deferred import StepResult
from charrnn.training.distributed import SINGLE_PROCESS, World
from charrnn.training.evaluation import HeldOut
from charrnn.training.lane_states import Arrays
from charrnn.training.memory import HINT, used_memory_bytes, within_memory
from charrnn.training.reports import (
    Evaluation,
    Finished,
    Incident,
    Progress,
    Report,
    Snapshot,
    Started,
)
from charrnn.training.state import TrainState
from charrnn.training.stats import Best

_REPORT_SECONDS = 0.25
_SNAPSHOT_SECONDS = 60.0


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
    world: World = SINGLE_PROCESS,
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
        ProcessLostError: another process of the same training has ended.
    """
    short = f"there is not enough memory for these sizes; {HINT}"
    with deterministic_algorithms(config), within_memory(short):
        check_same(corpus, config, resume, world)
        held_out = HeldOut(corpus, config, world)
        state = TrainState(corpus, config, resume, best or Best(), initial, world)
        run = _Run(state, held_out, should_stop)
        yield _describe(state, corpus, held_out)
        yield from run.go()


def _describe(state: TrainState, corpus: Corpus, held_out: HeldOut) -> Started:
    """Say what will be trained, and on what."""
    return Started(
        plan=state.plan,
        parameters=state.learner.parameters,
        device=str(state.device),
        precision=PRECISIONS[state.learner.precision],
        threads=state.threads,
        train_chars=corpus.train_chars,
        val_chars=held_out.part_chars,
        state_bytes=state.learner.state_bytes,
        model_bytes=4 * state.plan.model.num_parameters,
        micro_batches=state.learner.micro_batches,
        resumed_from_step=state.learner.step,
        processes=state.world.world_size,
    )


class _Run:
    """One call of train: a state that makes steps, and is scored and saved where that is due."""

    def __init__(
        self, state: TrainState, held_out: HeldOut, should_stop: Callable[[], bool]
    ) -> None:
        self._state, self._held_out, self._should_stop = state, held_out, should_stop
        self._begun: list[Incident] = []  # of steps that nothing is known of yet
        self._is_save_due = self._is_report_late = False
        self._reported = self._kept = self._heeded = time.perf_counter()

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
        state, patience = self._state, self._state.config.patience
        while True:
            if self._is_evaluation_due():
                yield from self._evaluate()
                if patience and state.account.best.stale >= patience:
                    return "patience"
            elif self._is_save_due:
                yield from self._save()
            if state.learner.step == state.plan.total_steps:
                return "length"
            yield from self._advance()
            self._heed()

    def _heed(self, _: int = 0) -> None:
        """Learn what the clock and the caller want of any process: of all, at the same step."""
        before, self._heeded = self._heeded, time.perf_counter()
        is_late = self._heeded - self._kept > _SNAPSHOT_SECONDS
        next_step = 2 * self._heeded - before  # when about it ends
        will_be_late = next_step - self._reported > _REPORT_SECONDS
        wishes = self._state.world.all_reduce_any(self._should_stop(), is_late, will_be_late)
        is_over, self._is_save_due, self._is_report_late = wishes
        if is_over:
            raise _StopAsked

    def _advance(self) -> Iterator[Report]:
        """Make one step; report it where that is due, and what went wrong with it."""
        state = self._state
        self._begun.append(state.next_step())
        updates = state.learner.advance(state.plan.total_steps)
        if self._is_report_due() or self._is_evaluation_due():
            updates += state.learner.settle()
        yield from self._take_in(updates)

    def _take_in(self, updates: list[StepResult]) -> Iterator[Report]:
        """Go through what became of the steps that were begun; of all or of none."""
        if not updates:
            return
        state, tokens = self._state, len(self._held_out.part)
        begun, self._begun = self._begun, []
        state.pace.end_steps(len(updates))
        if state.plan.total_steps is None:
            step, plan = state.learner.step, state.plan
            state.follow(state.pace.fix_steps(step, plan, state.config, tokens))
        for update, before in zip(updates, begun, strict=True):
            yield from state.account.add(update, before)
            if state.account.is_lost:
                yield state.roll_back()
                return
        if self._is_report_due():
            yield self._progress(updates[-1].norm)

    def _is_milestone(self) -> bool:
        every = self._state.plan.eval_every
        return every is not None and self._state.learner.step % max(1, every // 10) == 0

    def _is_report_due(self) -> bool:
        is_last = self._state.learner.step == self._state.plan.total_steps
        return is_last or self._is_report_late or self._is_milestone()

    def _is_evaluation_due(self) -> bool:
        step, plan = self._state.learner.step, self._state.plan
        is_last = step == plan.total_steps
        is_spaced = plan.eval_every is not None and step % plan.eval_every == 0
        return step != self._state.account.evaluated_step and (is_last or is_spaced)

    def _progress(self, gradient_norm: float) -> Progress:
        self._reported, self._is_report_late = time.perf_counter(), False
        state, account, is_milestone = self._state, self._state.account, self._is_milestone()
        meter = account.since_milestone
        return Progress(
            step=state.learner.step,
            total_steps=state.plan.total_steps,
            epoch=state.learner.epoch,
            chars_seen=account.chars_seen,
            train_nats=meter.read_out() if is_milestone else meter.mean(),
            learning_rate=state.learner.learning_rate,
            gradient_norm=gradient_norm,
            chars_per_second=state.pace.steps_per_second * account.chars_seen / state.learner.step,
            elapsed_seconds=state.pace.elapsed_seconds,
            memory_bytes=used_memory_bytes(state.device),
            is_milestone=is_milestone,
        )

    def _evaluate(self) -> Iterator[Report]:
        """Score the held-out text and save; where the score is no number, go back."""
        state = self._state
        val_nats = self._held_out.score(state.learner.averaged, self._heed)
        if not math.isfinite(val_nats):
            yield state.roll_back()
            return
        yield self._evaluation(val_nats)
        state.world.barrier()  # once the first one's files are written
        yield from self._save()
        state.pace.end_evaluation()
        state.follow(state.pace.adjust(state.learner.step, state.plan, state.config))

    def _evaluation(self, val_nats: float) -> Evaluation:
        state, account = self._state, self._state.account
        step, weights = state.learner.step, numpy_state_dict(state.learner.averaged)
        is_best = account.score(step, val_nats, weights)
        assert account.train_nats is not None
        return Evaluation(
            step=step,
            chars_seen=account.chars_seen,
            elapsed_seconds=state.pace.elapsed_seconds,
            train_nats=account.train_nats,
            val_nats=val_nats,
            best_val_nats=account.best.val_nats,
            is_best=is_best,
            weights=weights,
        )

    def _save(self) -> Iterator[Report]:
        """Yield the state to keep; one with numbers that are not finite is never kept."""
        yield from self._take_in(self._state.learner.settle())
        if snapshot := self._state.keep():
            self._kept, self._is_save_due = time.perf_counter(), False
            yield snapshot
            self._state.world.barrier()
        else:
            yield self._state.roll_back()

    def _finish(self, reason: str) -> Finished:
        """Say what came of the run; unless it was stopped, by the whole held-out text."""
        state, account, snapshot = self._state, self._state.account, self._state.good
        best = account.best
        carried, windowed, compared = best.val_nats, None, best.val_nats
        if best.weights is not None and reason != "stopped":
            state.learner.show_weights(best.weights)
            try:
                carried, windowed, compared = self._held_out.score_whole(
                    state.learner.averaged, best.val_nats, self._heed
                )
                snapshot = replace(snapshot, progress=snapshot.progress | {"is_finished": True})
            except _StopAsked:
                reason = "stopped"
        return Finished(
            reason=reason,
            step=state.learner.step,
            best_step=best.step,
            chars_seen=account.chars_seen,
            epochs=state.learner.epoch,
            elapsed_seconds=state.pace.elapsed_seconds,
            train_nats=account.train_nats,
            got_worse=account.got_worse,
            best_val_nats=carried,
            best_train_nats=best.train_nats,
            best_val_windowed_nats=windowed,
            best_val_compared_nats=compared,
            best_weights=best.weights,
            snapshot=snapshot,
        )
