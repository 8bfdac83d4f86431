"""What a run counts as it goes: characters, losses and their usual level, scores, what went wrong.

It is saved with the run, and goes back with it.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.state import Arrays
    from charrnn.training.trainer import StepResult

_FEWEST_WINDOWS = 50  # before a loss can be a spike
_NEWEST = 0.02  # weight of the newest window
_FAR_SPREADS = 8.0
_FAR_SHARE = 0.5
_CHANCE = 0.005  # of the loss: what evaluations differ by without meaning anything
_CLEAR = 0.02  # of the loss: more than a high learning rate makes, and what its decay gets back
MOST_DROPPED = 3  # steps in a row; then a run goes back
_COUNTS = ("chars_seen", "evaluated_step", "dropped", "rollbacks")


@dataclass(frozen=True)
class Best:
    """The best evaluation so far; `stale` counts clearly worse ones in a row.

    val_nats: inf before the first, and where nothing is held out: the last model is the best then.
    train_eval_nats: of training text scored as the held-out text is; None where it was not scored.
    """

    val_nats: float = math.inf
    train_nats: float = math.nan
    step: int = 0
    stale: int = 0
    weights: Arrays | None = None
    train_eval_nats: float | None = None


@dataclass
class MeanLoss:
    """The mean of nats per character since it was last reset."""

    nats: float = 0.0
    chars: int = 0

    def add(self, nats: float, chars: int) -> None:
        """Count a window's loss in nats and its characters."""
        self.nats += nats
        self.chars += chars

    def mean(self) -> float:
        """Return the nats per character."""
        return self.nats / max(self.chars, 1)

    def reset(self) -> float:
        """Return the nats per character, and start from zero."""
        mean = self.mean()
        self.nats = 0.0
        self.chars = 0
        return mean


@dataclass
class Share:
    """How many of the steps since the last reset were of a kind."""

    found: int = 0
    steps: int = 0

    def reset(self) -> float:
        """Return the share, 0 to 1, and start from zero."""
        share = self.found / max(self.steps, 1)
        self.found = 0
        self.steps = 0
        return share


@dataclass
class LossTracker:
    """Where the loss of a window usually is: running means of it and of its distance from that.

    >>> tracker = LossTracker(nats=1.0, spread_nats=0.01, windows=60)
    >>> tracker.add(1.01), tracker.add(5.0)
    (False, True)
    """

    nats: float = 0.0
    spread_nats: float = 0.0
    windows: int = 0

    def add(self, nats: float) -> bool:
        """Count a window's nats per character; return whether they are far above all before."""
        excess = nats - self.nats
        is_far = excess > max(_FAR_SPREADS * self.spread_nats, _FAR_SHARE * self.nats)
        is_spike = self.windows >= _FEWEST_WINDOWS and is_far
        self.windows += 1
        weight = max(_NEWEST, 1 / self.windows)  # a plain mean at first, then a moving one
        self.nats += weight * excess
        self.spread_nats += weight * (abs(excess) - self.spread_nats)
        return is_spike


@dataclass
class TrainingStats:
    """A run's figures so far.

    train_nats: the mean between the last two evaluations; None before the first. dropped: steps in
    a row that moved no weight. rollbacks: how often the run went back. is_warned: it was said that
    the model is worse than it should be. kept_step: of the newest weights kept along the way; None
    before the first; kept_count: how many were kept. clip_grad_norm: a gradient above it counts in
    `clipped`; 0 counts none.
    """

    best: Best
    clip_grad_norm: float = 0.0
    since_milestone: MeanLoss = field(default_factory=MeanLoss)
    since_evaluation: MeanLoss = field(default_factory=MeanLoss)
    level: LossTracker = field(default_factory=LossTracker)
    clipped: Share = field(default_factory=Share)
    chars_seen: int = 0
    train_nats: float | None = None
    evaluated_step: int = 0
    last_val_nats: float = 0.0
    dropped: int = 0
    rollbacks: int = 0
    is_warned: bool = False
    kept_step: int | None = None
    kept_count: int = 0

    @property
    def got_worse(self) -> bool:
        """Whether the last evaluation was worse than the best by more than chance."""
        return self.last_val_nats > self.best.val_nats * (1 + _CHANCE)

    def add(self, result: StepResult) -> list[str]:
        """Count a step; return the kinds of incident that it was, usually none."""
        kinds = ["memory"] if result.is_split else []
        if result.capture_error:
            kinds.append("graph")
        self.chars_seen += result.chars
        if not result.is_finite:
            self.dropped += 1
            return [*kinds, "dropped"]
        self.dropped = 0
        self.clipped.steps += 1
        self.clipped.found += 0 < self.clip_grad_norm < result.grad_norm
        self.since_milestone.add(result.loss_sum, result.chars)
        self.since_evaluation.add(result.loss_sum, result.chars)
        # An epoch's first window has no state before it: its loss says nothing of the level.
        if result.cursor.window and self.level.add(result.loss_sum / max(result.chars, 1)):
            kinds.append("spike")
        return kinds

    def score(
        self, step: int, val_nats: float | None, train_eval_nats: float | None, weights: Arrays
    ) -> bool:
        """Count an evaluation of the weights of `step`; return whether none was better."""
        self.evaluated_step = step
        self.train_nats = self.since_evaluation.reset()
        if val_nats is None:
            self.best = Best(math.inf, self.train_nats, step, 0, weights)
            return True
        self.last_val_nats = val_nats
        is_best = val_nats <= self.best.val_nats
        if is_best:
            self.best = Best(val_nats, self.train_nats, step, 0, weights, train_eval_nats)
        else:
            is_clear = val_nats > self.best.val_nats * (1 + _CLEAR)
            self.best = replace(self.best, stale=self.best.stale + 1 if is_clear else 0)
        return is_best

    def state_dict(self) -> dict[str, Any]:
        """Return all but the best model as JSON values."""
        return {
            "meters": [astuple(self.since_milestone), astuple(self.since_evaluation)],
            "level": astuple(self.level),
            "clipped": astuple(self.clipped),
            "train_nats": self.train_nats,
            "last_val_nats": self.last_val_nats,
            "stale": self.best.stale,
            "is_warned": self.is_warned,
            "kept_step": self.kept_step,
            "kept_count": self.kept_count,
            **{name: getattr(self, name) for name in _COUNTS},
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Become what `state_dict` returned.

        Raises:
            LookupError, TypeError, ValueError: these are other values.
        """
        milestone, evaluation = values["meters"]
        self.since_milestone = MeanLoss(float(milestone[0]), int(milestone[1]))
        self.since_evaluation = MeanLoss(float(evaluation[0]), int(evaluation[1]))
        nats, spread_nats, windows = values["level"]
        self.level = LossTracker(float(nats), float(spread_nats), int(windows))
        self.best = replace(self.best, stale=int(values["stale"]))
        found, steps = values.get("clipped", (0, 0))  # an older version did not count them
        self.clipped = Share(int(found), int(steps))
        train_nats = values["train_nats"]
        self.train_nats = None if train_nats is None else float(train_nats)
        self.last_val_nats = float(values["last_val_nats"])
        self.is_warned = bool(values.get("is_warned"))  # an older version did not warn
        kept_step = values.get("kept_step")  # an older version kept none
        self.kept_step = None if kept_step is None else int(kept_step)
        self.kept_count = int(values.get("kept_count", 0))
        for name in _COUNTS:
            setattr(self, name, int(values[name]))
