"""How many steps fit into a time budget: measured while the first steps are made.

Once fixed, the number of steps stays unless the machine turns out to be slower or faster than it
was at first by more than a few per cent.
"""

import math
import time
from dataclasses import dataclass, field, replace

from charrnn.config import TrainConfig
from charrnn.training.plan import EVALUATIONS, Plan

_SKIPPED_STEPS = 4  # the first ones build the kernels
_PROBE_STEPS = 12
_PROBE_SHARE = 0.02  # of the budget
_LONGEST_PROBE_SHARE = 0.2
_EVALUATION_SHARE = 0.08  # of the budget
_EVALUATION_SPEEDUP = 2.5  # a step's characters against an evaluation's, until one was timed
_TOLERANCE = 0.04
_MUCH_WIDER = 1.5


@dataclass
class Clock:
    """The clock of a run. elapsed_before: seconds spent before it was resumed.

    Recording and showing a report counts with the step or evaluation that it follows.
    """

    budget_seconds: float | None
    elapsed_before: float = 0.0
    _started: float = field(default_factory=lambda: time.perf_counter())
    _marked: float = field(default_factory=lambda: time.perf_counter())
    _steps: int = 0
    _step_seconds: float = 0.0
    _evaluation_seconds: float | None = None

    @property
    def elapsed_seconds(self) -> float:
        """Seconds of this run, those before it was resumed included."""
        return self.elapsed_before + time.perf_counter() - self._started

    @property
    def steps_per_second(self) -> float:
        """The mean over the steps of this process, its first few left out; 0 before those."""
        counted = self._steps - _SKIPPED_STEPS
        return counted / self._step_seconds if counted > 0 else 0.0

    def end_steps(self, steps: int) -> None:
        """Count the time since the last mark as that of `steps` steps, all alike."""
        self._steps += steps
        counted = min(steps, max(self._steps - _SKIPPED_STEPS, 0))
        now = time.perf_counter()
        self._step_seconds += (now - self._marked) * counted / steps
        self._marked = now

    def end_evaluation(self) -> None:
        """Count the time since the last mark as an evaluation's."""
        now = time.perf_counter()
        self._evaluation_seconds = now - self._marked
        self._marked = now

    def fix_steps(self, step: int, plan: Plan, config: TrainConfig, val_tokens: int) -> Plan:
        """Return a plan with a number of steps once it can be estimated; before that, the same.

        In a long enough run the probe ends inside the warm-up, where the learning rate does not
        depend on the number.
        """
        if plan.total_steps is not None or self.budget_seconds is None:
            return plan
        if not self._is_probe_over(config.warmup_steps):
            return plan
        if self._evaluation_seconds is None:
            tokens_per_second = plan.batch_size * plan.seq_len * self.steps_per_second
            self._evaluation_seconds = val_tokens / (tokens_per_second * _EVALUATION_SPEEDUP)
        spacing = config.eval_every or self._spacing(step)
        return replace(plan, total_steps=step + self._steps_left(spacing), eval_every=spacing)

    def adjust(self, step: int, plan: Plan, config: TrainConfig) -> Plan:
        """Return a plan with another number of steps where the first would miss the budget.

        Evaluations that turn out expensive come less often.
        """
        if self.budget_seconds is None or plan.total_steps is None or plan.eval_every is None:
            return plan
        if self._steps < _SKIPPED_STEPS + _PROBE_STEPS or step >= plan.total_steps:
            return plan
        spacing = config.eval_every or self._spacing(step)
        if spacing < _MUCH_WIDER * plan.eval_every:
            spacing = plan.eval_every
        fitting = step + self._steps_left(spacing)
        is_near = abs(fitting - plan.total_steps) <= _TOLERANCE * plan.total_steps
        if is_near and spacing == plan.eval_every:
            return plan
        return replace(plan, total_steps=fitting, eval_every=spacing)

    def _is_probe_over(self, warmup_steps: int) -> bool:
        assert self.budget_seconds is not None
        share = (self.elapsed_seconds - self.elapsed_before) / self.budget_seconds
        is_enough = self._steps >= _SKIPPED_STEPS + _PROBE_STEPS and share > _PROBE_SHARE
        is_late = self._steps >= warmup_steps or share > _LONGEST_PROBE_SHARE
        return self._steps > _SKIPPED_STEPS and (is_enough or is_late)

    def _spacing(self, step: int) -> int:
        """Return the steps between as many evaluations as are wanted and can be afforded."""
        assert self.budget_seconds is not None
        assert self._evaluation_seconds is not None
        affordable = _EVALUATION_SHARE * self.budget_seconds / max(self._evaluation_seconds, 1e-9)
        evaluations = max(1, min(EVALUATIONS, int(affordable)))
        left = self.budget_seconds - self.elapsed_seconds - evaluations * self._evaluation_seconds
        return max(1, math.ceil((step + left * self.steps_per_second) / evaluations))

    def _steps_left(self, spacing: int) -> int:
        """Return the steps that still fit, each with its share of an evaluation.

        The last evaluation scores training text too: that is one more.
        """
        assert self.budget_seconds is not None
        evaluation_seconds = self._evaluation_seconds or 0.0
        each = 1 / self.steps_per_second + evaluation_seconds / spacing
        left = self.budget_seconds - self.elapsed_seconds - evaluation_seconds
        return max(1, int(left / each))
