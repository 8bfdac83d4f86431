"""A run between two steps: plan, trainer, figures and clock; its snapshots and its reports.

`loop.py` decides when to step, evaluate and save; what each of these reports is made here.
"""

import math
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace

import numpy as np

from charrnn.config import (
    LENGTHS,
    Length,
    ModelConfig,
    TrainConfig,
    format_length_history,
    parse_length_history,
)
from charrnn.data.corpus import Corpus
from charrnn.errors import CheckpointError, ConfigError, DivergedError, counted
from charrnn.model.device import PRECISIONS, choose_device, choose_precision, configure_torch
from charrnn.model.encoder import divide_output
from charrnn.model.network import numpy_state_dict
from charrnn.state import Arrays
from charrnn.training.calibration import (
    check_shard,
    choose_plan,
    length_of,
    plan_from_json,
    resumed_plan,
)
from charrnn.training.clock import Clock
from charrnn.training.evaluation import FinalScores, HeldOut, HeldOutScore
from charrnn.training.groups import Groups
from charrnn.training.memory import used_memory_bytes
from charrnn.training.plan import Plan
from charrnn.training.record_evaluation import HeldOutRecords
from charrnn.training.reports import (
    Evaluation,
    Finished,
    Incident,
    KeptWeights,
    Progress,
    Snapshot,
    Started,
)
from charrnn.training.snapshots import check_size, estimate_steps, place_of, snapshot_bytes
from charrnn.training.stats import Best, TrainingStats
from charrnn.training.trainer import StepResult, Trainer, load_teachers
from charrnn.training.trouble import find_trouble
from charrnn.training.world import World

_MOST_ROLLBACKS = 3
_FEWEST_STEPS = 50  # before a model can be called bad


class TrainingState:
    """All that a run is: new, or what `resume` left. good: the snapshot to go back to.

    to_repeat: the changes of length still to come, of a run that is repeated.

    Raises:
        CheckpointError: no run leaves such a state.
        ConfigError: the machine cannot do what is asked, or the run has nothing left to do.
    """

    def __init__(
        self,
        corpus: Corpus,
        config: TrainConfig,
        resume: Snapshot | None,
        best: Best,
        initial: Callable[[Arrays], Arrays] | None,
        world: World,
        speeds: MutableMapping[str, float] | None,
        teachers: Sequence[tuple[ModelConfig, Arrays]] = (),
    ) -> None:
        self.config = config
        self.world = world
        self.corpus = corpus
        self.clock = Clock(config.budget_seconds)  # what follows counts as the run's time
        self.threads = configure_torch(config)
        self.device = choose_device(config.device)
        precision = choose_precision(config.precision, self.device)
        plan = choose_plan(
            config,
            corpus,
            self.device,
            precision,
            resume is not None,
            world,
            speeds,
            has_teachers=bool(teachers),
        )
        self.length_history: tuple[Length, ...] | None = ()
        self.to_repeat = config.length_changes
        if resume is not None:
            with _refuse_foreign():
                self.length_history = _history_of(resume, config)
                done = self.length_history or ()
                self.to_repeat = [
                    change
                    for change in self.to_repeat
                    if change.step > resume.step
                    or (change.step == resume.step and change not in done)
                ]
                plan = check_shard(resumed_plan(resume, plan, config), world)
        check_size(plan.model, config.snapshots)
        self.plan = plan
        # A run that goes on has the n-grams of its state.
        ngram_text = None if resume is None else corpus.train[:0]
        self.trainer = Trainer(
            plan,
            config,
            corpus,
            self.device,
            precision,
            initial,
            world,
            ngram_text,
            load_teachers(teachers, self.device),
        )
        # Rows that were not asked for are as many as suit the text.
        is_asked_for = resume is None and config.ngram_rows is not None
        self.row_counts = self.trainer.row_counts if is_asked_for else None
        self.stats = TrainingStats(best, config.clip_grad_norm)
        self._groups: Groups = {}
        if resume is not None:
            with _refuse_foreign():
                self._load(resume)
                seconds = float(resume.progress["elapsed_seconds"])
                self.clock = Clock(config.budget_seconds, seconds)
            self._check_unfinished(resume)
            self._make_room_for_weights(resume)
        self.good = resume or self._snapshot()

    # ── plan and snapshots ──

    def follow(self, plan: Plan) -> Length | None:
        """Use this plan from here on, as the main process has it; return its length if new."""
        before = self.plan
        self.plan = plan = plan_from_json(self.world.broadcast(asdict(plan)))
        if plan == before or plan.total_steps is None or plan.eval_every is None:
            return None
        length = Length(self.trainer.step, plan.total_steps, plan.eval_every)
        if self.length_history is not None:
            self.length_history = (*self.length_history, length)
        return length

    def repeated_plan(self) -> Plan:
        """Return the plan with the next change of the run that is repeated, if it is due."""
        if not self.to_repeat or self.to_repeat[0].step > self.trainer.step:
            return self.plan
        change = self.to_repeat.pop(0)
        return replace(self.plan, total_steps=change.total_steps, eval_every=change.eval_every)

    def save(self) -> Snapshot | None:
        """Return the snapshot to keep and to go back to; None if it holds NaN or infinity."""
        snapshot = self._snapshot()
        if not _are_finite(snapshot.weights | snapshot.arrays):
            return None
        self.good = snapshot
        return snapshot

    def roll_back(self) -> Incident:
        """Go back to the good snapshot, to continue from there at half the learning rate.

        Raises:
            DivergedError: it was rolled back too often.
        """
        step = self.trainer.step
        rollbacks = self.stats.rollbacks + 1
        level_nats = self.stats.level.nats
        if rollbacks > _MOST_ROLLBACKS:
            rate = self.trainer.rate_factor * self.plan.learning_rate
            raise DivergedError(
                f"the loss became NaN or infinite at step {step}, after {_MOST_ROLLBACKS} "
                "rollbacks that each halved the learning rate; what was saved is kept. Start again "
                f"with a lower --learning-rate than {rate:g} or {self._clip_hint()}"
            )
        self._load(self.good)
        self.length_history = None  # when the good snapshot was taken was a matter of time
        self.stats.rollbacks = rollbacks
        self.trainer.rate_factor = 0.5**rollbacks
        cursor = self.trainer.cursor
        position, lane_length = self.trainer.position_of(cursor)
        return Incident(
            kind="rollback",
            step=step,
            epoch=self.trainer.epoch,
            position=position,
            lane_length=lane_length,
            train_nats=math.nan,
            level_nats=level_nats,
            back_to_step=self.good.step,
            rate_factor=self.trainer.rate_factor,
        )

    def _clip_hint(self) -> str:
        if self.config.clip_grad_norm:
            return "a smaller --clip-grad-norm"
        return "turn clipping on: --clip-grad-norm 1"

    def _snapshot(self) -> Snapshot:
        weights, arrays, rest = self.trainer.state_dict()
        plan = asdict(self.plan)
        del plan["model"]  # a model file has it already
        progress = {
            **rest,
            "plan": plan,
            "length": length_of(self.config),
            "length_history": _spell(self.length_history),
            **self.stats.state_dict(),
            # Of the last step, for an evaluation that comes first when the run resumes.
            "last_learning_rate": self.trainer.learning_rate,
            "groups": self._measured_groups(),
            "elapsed_seconds": self.clock.elapsed_seconds,
            "is_finished": False,
        }
        return Snapshot(self.trainer.step, self.plan.model, weights, arrays, progress)

    def _measured_groups(self) -> Groups:
        """Return the norms of groups of weights that the next evaluation reports; {} for none."""
        self._groups = self.trainer.read_groups() or self._groups
        return self._groups

    def _load(self, snapshot: Snapshot) -> None:
        """Become the snapshot, except for the plan and the time that has passed."""
        self.trainer.load_state_dict(snapshot.weights, snapshot.arrays, snapshot.progress)
        self.stats.load_state_dict(snapshot.progress)
        # An older version kept neither.
        self.trainer.learning_rate = float(snapshot.progress.get("last_learning_rate", 0.0))
        self._groups = dict(snapshot.progress.get("groups", {}))
        self.trainer.rate_factor = 0.5**self.stats.rollbacks

    def _check_unfinished(self, snapshot: Snapshot) -> None:
        """Refuse to continue a run that has nothing left to do."""
        steps = self.plan.total_steps
        budget = self.config.budget_seconds
        spent = self.clock.elapsed_before
        is_long = (steps is not None and snapshot.step >= steps) or (budget and spent >= budget)
        if is_long and snapshot.progress["length"] != length_of(self.config):
            done = {
                "budget": f"trained for {spent:.0f} s",
                "epochs": f"read its text {self.trainer.epoch:.2f} times",
                "steps": f"made {snapshot.step:,} steps",
            }
            name = next((each for each in LENGTHS if getattr(self.config, each)), "budget")
            raise ConfigError(f"this run has {done[name]}; give --{name} above that to continue")
        if is_long and snapshot.progress.get("is_finished"):
            raise ConfigError(
                f"this run is finished ({counted(snapshot.step, 'step')}, {spent:,.0f} s). "
                f"To continue: {self._doubled_length(snapshot.step, spent)}"
            )

    def _doubled_length(self, step: int, seconds: float) -> str:
        """Return the option that makes the run twice as long as it is, in the unit it was given."""
        if self.config.steps is not None:
            return f"--steps {2 * step}"
        if self.config.epochs is not None:
            return f"--epochs {float(f'{2 * self.trainer.epoch:.2g}'):g}"
        doubled = max(1, round(2 * seconds))
        if doubled < 60:
            return f"--budget {doubled}s"
        minutes = round(doubled / 60)
        return f"--budget {minutes // 60}h" if minutes % 60 == 0 else f"--budget {minutes}m"

    # ── weights along the way ──

    def _make_room_for_weights(self, resume: Snapshot) -> None:
        """Let a run that was made longer keep weights on its way to the new end."""
        kept_step = self.stats.kept_step
        total = self.plan.total_steps
        is_longer = resume.progress["length"] != length_of(self.config)
        if kept_step is not None and total is not None and is_longer:
            self.stats.kept_count = place_of(kept_step, total, self.config.snapshots) + 1

    def are_weights_due(self) -> bool:
        """Return whether the weights of this step are to be kept; the last ones `finish` keeps."""
        count = self.config.snapshots
        if count < 2:  # the only one is the last
            return False
        kept_step = self.stats.kept_step
        if kept_step is None:
            return True
        step = self.trainer.step
        total: float | None = self.plan.total_steps
        if total is None and self.world.world_size > 1:  # whose clocks differ
            return False
        if total is None:
            budget = self.clock.budget_seconds or math.inf
            total = self.config.steps or estimate_steps(step, self.clock.elapsed_seconds, budget)
        if step >= total:
            return False
        place = place_of(step, total, count)
        # A run that turned out longer than it seemed has kept those of later places already.
        return place > place_of(kept_step, total, count) and place >= self.stats.kept_count

    def keep_weights(self) -> KeptWeights:
        """Report the averaged weights of this step."""
        self.stats.kept_step = self.trainer.step
        self.stats.kept_count += 1
        return KeptWeights(self.trainer.step, numpy_state_dict(self.trainer.averaged))

    # ── reports ──

    def started(self, held_out: HeldOut | HeldOutRecords) -> Started:
        """Report what will be trained, and on what."""
        return Started(
            plan=self.plan,
            parameters=self.plan.model.num_parameters,
            device=str(self.device),
            precision=PRECISIONS[self.trainer.update.precision],
            threads=self.threads,
            train_chars=self.corpus.train_chars,
            val_chars=held_out.part_chars,
            state_bytes=self.trainer.state_bytes,
            model_bytes=4 * sum(map(math.prod, self.plan.model.weight_shapes().values())),
            snapshots_bytes=self.config.snapshots * snapshot_bytes(self.plan.model),
            micro_batches=self.trainer.micro_batches,
            resumed_from_step=self.trainer.step,
            processes=self.world.world_size,
            length_history=self.length_history,
            row_counts=self.row_counts,
        )

    def incident(self, kind: str, result: StepResult, level_nats: float) -> Incident:
        """Report what went wrong with a step. level_nats: of the windows before it."""
        position, lane_length = self.trainer.position_of(result.cursor)
        return Incident(
            kind=kind,
            step=result.step,
            epoch=self.trainer.epoch_at(result.cursor),
            position=position,
            lane_length=lane_length,
            train_nats=result.loss_sum / max(result.chars, 1),
            level_nats=level_nats,
            micro_batches=result.micro_batches,
            reason=result.capture_error,
        )

    def progress(self, gradient_norm: float, *, is_milestone: bool) -> Progress:
        """Report how it goes; a milestone starts a new mean of the loss."""
        loss = self.stats.since_milestone
        steps_per_second = self.clock.steps_per_second
        return Progress(
            step=self.trainer.step,
            total_steps=self.plan.total_steps,
            epoch=self.trainer.epoch,
            chars_seen=self.stats.chars_seen,
            train_nats=loss.reset() if is_milestone else loss.mean(),
            learning_rate=self.trainer.learning_rate,
            gradient_norm=gradient_norm,
            chars_per_second=steps_per_second * self.stats.chars_seen / self.trainer.step,
            elapsed_seconds=self.clock.elapsed_seconds,
            memory_bytes=used_memory_bytes(self.device),
            is_milestone=is_milestone,
        )

    def evaluation(
        self, score: HeldOutScore | None, train_eval_nats: float | None
    ) -> Evaluation | None:
        """Count the scores of the averaged weights, and report them; None if one is not finite.

        score: None where nothing is held out.
        """
        weights = numpy_state_dict(self.trainer.averaged)
        groups = self._measured_groups()
        self._groups = {}
        clipped = self.stats.clipped.reset()
        val_nats = None
        temperature = 1.0
        if score is not None:
            val_nats, temperature = score
            weights = divide_output(weights, temperature)
        if not (_are_finite(weights) if val_nats is None else math.isfinite(val_nats)):
            return None
        is_best = self.stats.score(self.trainer.step, val_nats, train_eval_nats, weights)
        assert self.stats.train_nats is not None
        return Evaluation(
            step=self.trainer.step,
            chars_seen=self.stats.chars_seen,
            elapsed_seconds=self.clock.elapsed_seconds,
            train_nats=self.stats.train_nats,
            train_eval_nats=train_eval_nats,
            val_nats=val_nats,
            best_val_nats=None if val_nats is None else self.stats.best.val_nats,
            is_best=is_best,
            temperature=temperature,
            weights=weights,
            learning_rate=self.trainer.learning_rate,
            clipped=clipped,
            groups=groups,
        )

    def warning(self, naive_nats: dict[str, float]) -> Incident | None:
        """Return what to say once in a run whose model is worse than it should be."""
        if self.stats.is_warned or self.trainer.step < _FEWEST_STEPS:
            return None
        trouble = find_trouble(self.stats, naive_nats, self.plan, self.config)
        if trouble is None or not trouble.is_rate_too_high:
            return None
        self.stats.is_warned = True
        cursor = self.trainer.cursor
        position, lane_length = self.trainer.position_of(cursor)
        return Incident(
            kind="worse",
            step=self.trainer.step,
            epoch=self.trainer.epoch,
            position=position,
            lane_length=lane_length,
            train_nats=self.stats.train_nats or math.nan,
            level_nats=trouble.limit_nats,
            trouble=trouble,
        )

    def finished(
        self, reason: str, scores: FinalScores | None, naive_nats: dict[str, float]
    ) -> Finished:
        """Report the end. scores: HeldOut.score_whole's of the best weights; None if stopped."""
        best = self.stats.best
        snapshot = self.good
        if scores is not None:
            kept = {name: getattr(self.stats, name) for name in ("kept_step", "kept_count")}
            ended = {"is_finished": True} | kept
            snapshot = replace(snapshot, progress=snapshot.progress | ended)
        else:
            known = best.val_nats if math.isfinite(best.val_nats) else None
            scores = FinalScores(known, None, known, best.train_eval_nats)
        return Finished(
            reason=reason,
            step=self.trainer.step,
            best_step=best.step,
            chars_seen=self.stats.chars_seen,
            epochs=self.trainer.epoch,
            elapsed_seconds=self.clock.elapsed_seconds,
            train_nats=self.stats.train_nats,
            got_worse=self.stats.got_worse,
            trouble=find_trouble(self.stats, naive_nats, self.plan, self.config),
            best_val_nats=scores.val,
            best_train_nats=best.train_nats,
            best_train_eval_nats=scores.train_eval,
            best_val_windowed_nats=scores.val_windowed,
            best_val_compared_nats=scores.val_compared,
            best_val_end_nats=scores.val_end,
            best_val_unlabelled_nats=scores.val_unlabelled,
            best_val_by_source_nats=scores.val_by_source,
            best_weights=best.weights,
            snapshot=snapshot,
        )


def _history_of(resume: Snapshot, config: TrainConfig) -> tuple[Length, ...] | None:
    """Return the changes of a run's length so far; None where they cannot repeat the run."""
    spelled = resume.progress.get("length_history")  # files of older versions have none
    if spelled is None or resume.progress["length"] != length_of(config):
        return None
    with suppress(ConfigError):  # the file may be forged
        return tuple(parse_length_history(spelled)) if spelled else ()
    return None


def _spell(history: tuple[Length, ...] | None) -> str | None:
    return None if history is None else format_length_history(history)


def _are_finite(arrays: Arrays) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays.values())


@contextmanager
def _refuse_foreign() -> Iterator[None]:
    """Refuse a state that no run has left."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(
            f"the saved training state does not fit ({type(error).__name__}: {error}); start a new "
            "run, from the weights of this one by --init-from"
        ) from error
