"""A run between two steps, and its snapshots: set up, laid down, taken up, gone back to.

A state has the plan, the learner, the account and the clock, on a machine that was set up for them.
When to step, score or save is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np

from charrnn.config import TrainConfig
from charrnn.errors import CheckpointError, ConfigError, DivergedError
from charrnn.model.device import choose_device, choose_precision, configure_torch
from charrnn.text.corpus import Corpus
from charrnn.training.calibration import (
    check_share,
    choose_plan,
    length_of,
    plan_from,
    take_up_plan,
)
from charrnn.training.clock import Clock
from charrnn.training.distributed import World
from charrnn.training.lane_states import Arrays
from charrnn.training.learner import Learner
from charrnn.training.plan import Plan
from charrnn.training.reports import Incident, Snapshot
from charrnn.training.stats import Best, TrainingStats

_MOST_ROLLBACKS = 3


class TrainState:
    """All that a run is: new, or what `resume` left.

    good: the snapshot to go back to.

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
    ) -> None:
        self.config, self.world = config, world
        self.pace = Clock(config.budget_seconds)
        self.threads = configure_torch(config)
        self.device = choose_device(config.device)
        precision = choose_precision(config.precision, self.device)
        is_resumed = resume is not None
        plan = choose_plan(config, corpus, self.device, precision, is_resumed, world)
        if resume is not None:
            with _fitting():
                plan = check_share(take_up_plan(resume, plan, config), world)
        self.plan = plan
        self.learner = Learner(plan, config, corpus, self.device, precision, initial, world)
        self.account = TrainingStats(best)
        if resume is not None:
            with _fitting():
                self._take_up(resume)
                self.pace = Clock(config.budget_seconds, float(resume.progress["elapsed_seconds"]))
            self._check_unfinished(resume)
        self.good = resume or self._lay_down()

    def next_step(self) -> Incident:
        """Give the step that comes next, as much as is known of it before it is made."""
        position, lane_length = self.learner.place
        return Incident(
            kind="",
            step=self.learner.step + 1,
            epoch=self.learner.epoch,
            position=position,
            lane_length=lane_length,
            train_nats=math.nan,
            level_nats=math.nan,
            micro_batches=self.learner.micro_batches,
        )

    def follow(self, plan: Plan) -> None:
        """Go on by this plan, as the first process's clock has it."""
        self.plan = plan_from(self.world.broadcast(asdict(plan)))

    def keep(self) -> Snapshot | None:
        """Give the snapshot to keep, and to go back to; None if it has numbers not finite."""
        snapshot = self._lay_down()
        if not all(np.isfinite(a).all() for a in (snapshot.weights | snapshot.arrays).values()):
            return None
        self.good = snapshot
        return snapshot

    def roll_back(self) -> Incident:
        """Go back to the good snapshot, to go on from there at half the learning rate.

        Raises:
            DivergedError: it has gone back too often.
        """
        learner, step = self.learner, self.learner.step
        rollbacks, level_nats = self.account.rollbacks + 1, self.account.level.nats
        if rollbacks > _MOST_ROLLBACKS:
            rate = learner.rate_factor * self.plan.learning_rate
            raise DivergedError(
                f"the loss stopped being a number at step {step}, as it did {_MOST_ROLLBACKS} "
                "times before, each time at half the learning rate; what was saved is kept. Start "
                f"again with a lower --learning-rate than {rate:g} or a smaller --clip-grad-norm"
            )
        self._take_up(self.good)
        self.account.rollbacks, learner.rate_factor = rollbacks, 0.5**rollbacks
        return replace(
            self.next_step(),
            kind="rollback",
            step=step,
            level_nats=level_nats,
            back_to_step=self.good.step,
            rate_factor=learner.rate_factor,
            micro_batches=None,
        )

    def _lay_down(self) -> Snapshot:
        weights, arrays, rest = self.learner.state_dict()
        plan = asdict(self.plan)
        progress = {
            **rest,
            "plan": {key: value for key, value in plan.items() if key != "model"},
            "length": length_of(self.config),
            **self.account.state_dict(),
            "elapsed_seconds": self.pace.elapsed_seconds,
            "is_finished": False,
        }
        return Snapshot(self.learner.step, self.plan.model, weights, arrays, progress)

    def _take_up(self, snapshot: Snapshot) -> None:
        """Become what `_lay_down` gave, but for the plan and the time that has gone by."""
        self.learner.load_state_dict(snapshot.weights, snapshot.arrays, snapshot.progress)
        self.account.load_state_dict(snapshot.progress)
        self.learner.rate_factor = 0.5**self.account.rollbacks

    def _check_unfinished(self, snapshot: Snapshot) -> None:
        """Refuse to go on with a run that has nothing left to do."""
        steps, budget = self.plan.total_steps, self.config.budget_seconds
        spent = self.pace.elapsed_before
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
