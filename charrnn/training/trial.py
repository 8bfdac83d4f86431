"""What a trial of a sweep needs before it starts: its sizes, and how many of its steps fit a time.

A run by --budget measures that on its way and changes its length. Trials that are compared at the
same share of their time, and continued days later, need a number of steps that stays.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import MutableMapping
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from charrnn.config import TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.model.device import (
    choose_device,
    choose_precision,
    configure_torch,
    deterministic_algorithms,
)
from charrnn.training.calibration import choose_plan
from charrnn.training.memory import say_short, within_memory
from charrnn.training.plan import EVALUATIONS, Plan
from charrnn.training.trainer import Trainer
from charrnn.training.world import SINGLE_PROCESS

_SKIPPED_STEPS = 3  # the first ones build the kernels
_FEWEST_STEPS = 8
_MOST_STEPS = 40
_MEASURED_SHARE = 0.02  # of the trial's time
_EVALUATION_SHARE = 0.08  # of the trial's time
_EVALUATION_SPEEDUP = 2.5  # a step's tokens against an evaluation's


@dataclass(frozen=True)
class PlannedTrial:
    """A trial's plan, and what its steps cost here.

    total_steps: None by a time budget. step_seconds: of the fastest step that was measured.
    slowdown: how many times as long the usual step took. evaluation_steps: what an evaluation
    costs, in steps.
    """

    plan: Plan
    total_steps: int | None
    step_seconds: float = 0.0
    slowdown: float = 1.0
    evaluation_steps: float = 0.0

    def at_best(self, other: PlannedTrial) -> PlannedTrial:
        """Return this trial with the fastest step of two measurements, and its usual one."""
        fastest = min(self.step_seconds, other.step_seconds)
        usual = self.slowdown * self.step_seconds
        return replace(self, step_seconds=fastest, slowdown=usual / fastest)

    def fit_steps(self, seconds: float, slowdown: float, least: int) -> tuple[int, int]:
        """Return the steps that fit into a time, and the evaluations among them.

        slowdown: of this machine now, the same for all trials: other programs come and go, and
        would make one trial longer than another. least: evaluations that there must be.
        """
        steps = seconds / (self.step_seconds * slowdown)
        affordable = _EVALUATION_SHARE * steps / max(self.evaluation_steps, 1e-9)
        evaluations = max(least, min(EVALUATIONS, int(affordable)))
        return max(1, math.floor(steps - evaluations * self.evaluation_steps)), evaluations


def plan_trial(
    config: TrainConfig, corpus: Corpus, speeds: MutableMapping[str, float] | None = None
) -> PlannedTrial:
    """Return the plan of a trial; by a time budget, with what its steps cost on this machine.

    speeds: as for `choose_plan`.

    Raises:
        ConfigError, CorpusError, OutOfMemoryError: as `train`.
    """
    with (
        deterministic_algorithms(config),
        within_memory(say_short(config, corpus)),
    ):
        configure_torch(config)
        device = choose_device(config.device)
        precision = choose_precision(config.precision, device)
        plan = choose_plan(config, corpus, device, precision, False, SINGLE_PROCESS, speeds)
        if plan.total_steps is not None:
            return PlannedTrial(plan, plan.total_steps)
        assert config.budget_seconds is not None, "without steps and epochs there is a budget"
        trainer = Trainer(plan, config, corpus, device, precision)
        seconds = _measure_steps(trainer, device, _MEASURED_SHARE * config.budget_seconds)
    fastest = min(seconds)
    tokens = min(config.eval_chars or len(corpus.val), len(corpus.val))
    evaluation_steps = tokens / (plan.batch_size * plan.seq_len) / _EVALUATION_SPEEDUP
    return PlannedTrial(plan, None, fastest, statistics.median(seconds) / fastest, evaluation_steps)


def _measure_steps(trainer: Trainer, device: torch.device, most_seconds: float) -> list[float]:
    """Return the seconds of each of some steps."""
    began = time.perf_counter()
    ends: list[float] = []
    while len(ends) <= _SKIPPED_STEPS + _MOST_STEPS:
        trainer.advance(None)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        ends.append(time.perf_counter())
        is_enough = len(ends) > _SKIPPED_STEPS + _FEWEST_STEPS
        if is_enough and ends[-1] - began > most_seconds:
            break
    return [b - a for a, b in pairwise(ends[_SKIPPED_STEPS:])]
