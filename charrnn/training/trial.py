"""What a trial of a sweep needs before it starts: its sizes, and how many of its steps fit a time.

A run by --budget measures that on its way and changes its length. Trials that are compared at the
same share of their time, and continued days later, need a number of steps that stays.
"""

import math
import statistics
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
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
from charrnn.training.distributed import SINGLE_PROCESS
from charrnn.training.memory import HINT, within_memory
from charrnn.training.plan import EVALUATIONS, Plan
from charrnn.training.trainer import Trainer

_SKIPPED_STEPS = 3  # the first ones build the kernels
_MOST_STEPS = 40
_MEASURED_SHARE = 0.02  # of the trial's time
_EVALUATION_SHARE = 0.08  # of the trial's time, at most
_EVALUATION_SPEEDUP = 2.5  # a step's tokens against an evaluation's


@dataclass(frozen=True)
class PlannedTrial:
    """A trial's plan, its steps, and how many evaluations its time allows."""

    plan: Plan
    total_steps: int
    evaluations: int


def plan_trial(
    config: TrainConfig, corpus: Corpus, speeds: MutableMapping[str, float] | None = None
) -> PlannedTrial:
    """Return the plan of a trial; by a time budget, with the steps that fit it on this machine.

    speeds: as for `choose_plan`.

    Raises:
        ConfigError, CorpusError, OutOfMemoryError: as `train`.
    """
    with (
        deterministic_algorithms(config),
        within_memory(f"there is not enough memory for these sizes; {HINT}"),
    ):
        configure_torch(config)
        device = choose_device(config.device)
        precision = choose_precision(config.precision, device)
        plan = choose_plan(config, corpus, device, precision, False, SINGLE_PROCESS, speeds)
        if plan.total_steps is not None:
            return PlannedTrial(plan, plan.total_steps, EVALUATIONS)
        assert config.budget_seconds is not None, "without steps and epochs there is a budget"
        trainer = Trainer(plan, config, corpus, device, precision)
        seconds = _measure_step(trainer, device, _MEASURED_SHARE * config.budget_seconds)
    tokens = min(config.eval_chars or len(corpus.val), len(corpus.val))
    evaluation = tokens / (plan.batch_size * plan.seq_len) * seconds / _EVALUATION_SPEEDUP
    affordable = _EVALUATION_SHARE * config.budget_seconds / max(evaluation, 1e-9)
    evaluations = max(1, min(EVALUATIONS, int(affordable)))
    left = config.budget_seconds - evaluations * evaluation
    return PlannedTrial(plan, max(1, math.floor(left / seconds)), evaluations)


def _measure_step(trainer: Trainer, device: torch.device, most_seconds: float) -> float:
    """Return the median seconds of a step: another program's moment does not count."""
    began = time.perf_counter()
    ends: list[float] = []
    while len(ends) < _MOST_STEPS:
        trainer.advance(None)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        ends.append(time.perf_counter())
        if len(ends) > _SKIPPED_STEPS + 1 and ends[-1] - began > most_seconds:
            break
    counted = ends[_SKIPPED_STEPS:]
    return statistics.median(b - a for a, b in pairwise(counted))
