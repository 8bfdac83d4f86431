"""How many steps fit into a time budget: measured while the first steps are made.

Once fixed, the number of steps stays (so that a run can be repeated by --steps) unless the
machine turns out to be slower or faster than it was at first by more than a few per cent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from charrnn.config import TrainConfig
from charrnn.training.budget import EVALUATIONS, Plan

_SKIPPED_STEPS = 4  # the first ones build the kernels
_PROBE_STEPS = 12
_PROBE_SHARE = 0.02  # of the budget
_EVALUATION_SHARE = 0.08  # of the budget
_EVALUATION_SPEEDUP = 2.5  # a step's characters against an evaluation's, until one was timed
_TOLERANCE = 0.04


@dataclass
class Pace:
    """The clock of a run. elapsed_before: seconds spent before it was resumed."""

    budget_seconds: float | None
    elapsed_before: float = 0.0
    _started: float = field(default_factory=time.perf_counter)
    _steps: int = 0
    _step_seconds: float = 0.0
    _evaluation_seconds: float | None = None

    @property
    def elapsed_seconds(self) -> float:
        """Seconds of this run, those before it was resumed included."""
        return self.elapsed_before + time.perf_counter() - self._started

    @property
    def seconds_per_step(self) -> float:
        """The mean over the steps of this process, its first few left out."""
        return self._step_seconds / max(self._steps - _SKIPPED_STEPS, 1)

    def add_step(self, seconds: float) -> None:
        """Count a step that took so long."""
        self._steps += 1
        if self._steps > _SKIPPED_STEPS:
            self._step_seconds += seconds

    def add_evaluation(self, seconds: float) -> None:
        """Note how long the last evaluation took."""
        self._evaluation_seconds = seconds

    def fix_steps(self, step: int, plan: Plan, config: TrainConfig, val_chars: int) -> Plan:
        """Give a plan with a number of steps as soon as it can be told; before that, the same.

        The probe ends inside the warm-up, where the learning rate does not depend on the number.
        """
        if plan.total_steps is not None or self.budget_seconds is None:
            return plan
        is_long = time.perf_counter() - self._started > self.budget_seconds * _PROBE_SHARE
        is_enough = self._steps >= _SKIPPED_STEPS + _PROBE_STEPS and is_long
        is_late = self._steps > max(config.warmup_steps, _SKIPPED_STEPS)
        if not is_enough and not is_late and self.elapsed_seconds < self.budget_seconds / 2:
            return plan
        if self._evaluation_seconds is None:
            chars_per_second = plan.batch_size * plan.seq_len / max(self.seconds_per_step, 1e-9)
            self._evaluation_seconds = val_chars / (chars_per_second * _EVALUATION_SPEEDUP)
        affordable = _EVALUATION_SHARE * self.budget_seconds / max(self._evaluation_seconds, 1e-9)
        evaluations = max(1, min(EVALUATIONS, int(affordable)))
        total = step + self._steps_left(evaluations)
        return plan.with_steps(total, evaluations, config)

    def adjust(self, step: int, plan: Plan, config: TrainConfig) -> Plan:
        """Give a plan with another number of steps where the first would miss the budget."""
        if self.budget_seconds is None or plan.total_steps is None or plan.eval_every is None:
            return plan
        evaluations = max(1, -(-(plan.total_steps - step) // plan.eval_every))
        fitting = step + self._steps_left(evaluations)
        if abs(fitting - plan.total_steps) <= _TOLERANCE * plan.total_steps:
            return plan
        return plan.with_steps(fitting, EVALUATIONS, config) if fitting > step else plan

    def _steps_left(self, evaluations: int) -> int:
        assert self.budget_seconds is not None
        left = self.budget_seconds - self.elapsed_seconds
        left -= evaluations * (self._evaluation_seconds or 0.0)
        return max(1, int(left / max(self.seconds_per_step, 1e-9)))
