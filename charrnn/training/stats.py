"""What a run remembers of its losses: means since they were last read, their level, the best."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from charrnn.training.deferred import StepResult
from charrnn.training.lane_states import Arrays
from charrnn.training.reports import Incident

_FEWEST_WINDOWS = 50
_NEWEST = 0.02  # the newest window's weight
_FAR_SPREADS, _FAR_SHARE = 8.0, 0.5


@dataclass(frozen=True)
class Best:
    """The best evaluation so far; `stale` counts clearly worse ones in a row."""

    val_nats: float = math.inf
    train_nats: float = math.nan
    step: int = 0
    stale: int = 0
    weights: Arrays | None = None


@dataclass
class MeanLoss:
    """Nats over characters since it was last read out."""

    nats: float = 0.0
    chars: int = 0

    def add(self, nats: float, chars: int) -> None:
        """Count a window's total nats and its characters."""
        self.nats, self.chars = self.nats + nats, self.chars + chars

    def mean(self) -> float:
        """Give the nats per character."""
        return self.nats / max(self.chars, 1)

    def read_out(self) -> float:
        """Give the nats per character, and start anew."""
        mean, self.nats, self.chars = self.mean(), 0.0, 0
        return mean


@dataclass
class LossTracker:
    """Where the loss of a window usually is: running means of it and of how far off it is."""

    nats: float = 0.0
    spread_nats: float = 0.0
    windows: int = 0

    def is_spike(self, nats: float) -> bool:
        """Tell a window's nats per character that are far above all before, and count them in."""
        excess = nats - self.nats
        is_far = excess > max(_FAR_SPREADS * self.spread_nats, _FAR_SHARE * self.nats)
        is_spike = self.windows >= _FEWEST_WINDOWS and is_far
        self.windows += 1
        weight = max(_NEWEST, 1 / self.windows)
        self.nats += weight * excess
        self.spread_nats += weight * (abs(excess) - self.spread_nats)
        return is_spike


_CHANCE = 0.005  # of the loss: what evaluations differ by without meaning anything
_CLEAR = 0.02  # of the loss: more than a high learning rate makes, and what its decay gets back
_MOST_DROPPED = 3  # in a row


@dataclass
class TrainingStats:
    """A run's figures so far.

    level: of the loss, by which a spike is told. train_nats: the mean between the last two
    evaluations; None before the first. dropped: steps in a row that moved no weight. rollbacks: how
    often the run went back.
    """

    best: Best
    since_milestone: MeanLoss = field(default_factory=MeanLoss)
    since_evaluation: MeanLoss = field(default_factory=MeanLoss)
    level: LossTracker = field(default_factory=LossTracker)
    chars_seen: int = 0
    train_nats: float | None = None
    evaluated_step: int = 0
    last_val_nats: float = 0.0
    dropped: int = 0
    rollbacks: int = 0

    @property
    def is_lost(self) -> bool:
        """Whether so many steps in a row were dropped that the run has to go back."""
        return self.dropped >= _MOST_DROPPED

    @property
    def got_worse(self) -> bool:
        """Whether the last evaluation was worse than the best by more than chance."""
        return self.last_val_nats > self.best.val_nats * (1 + _CHANCE)

    def add(self, update: StepResult, begun: Incident) -> list[Incident]:
        """Count a step in, and give each thing that went wrong with it: none, as a rule.

        begun: the step as it was known before it was made.
        """
        nats = update.nats / max(update.chars, 1)
        told = replace(
            begun,
            train_nats=nats,
            level_nats=self.level.nats,
            micro_batches=update.micro_batches,
            reason=update.unrecorded,
        )
        kinds = ["memory"] if update.micro_batches != begun.micro_batches else []
        kinds += ["graph"] if update.unrecorded else []
        self.chars_seen += update.chars
        is_fresh = begun.epoch.is_integer()  # without a state to go by
        if not update.is_made:
            self.dropped += 1
            kinds.append("dropped")
        else:
            self.dropped = 0
            for meter in (self.since_milestone, self.since_evaluation):
                meter.add(update.nats, update.chars)
            if not is_fresh and self.level.is_spike(nats):
                kinds.append("spike")
        return [replace(told, kind=kind) for kind in kinds]

    def score(self, step: int, val_nats: float, weights: Arrays) -> bool:
        """Take in what the weights of a step score, and tell whether none scored better."""
        self.evaluated_step, self.last_val_nats = step, val_nats
        self.train_nats = self.since_evaluation.read_out()
        is_best = val_nats <= self.best.val_nats
        if is_best:
            self.best = Best(val_nats, self.train_nats, step, 0, weights)
        else:
            is_clear = val_nats > self.best.val_nats * (1 + _CLEAR)
            self.best = replace(self.best, stale=self.best.stale + 1 if is_clear else 0)
        return is_best

    def state_dict(self) -> dict[str, Any]:
        """Give all but the best model as plain values."""
        return {
            "meters": [astuple(meter) for meter in (self.since_milestone, self.since_evaluation)],
            "level": astuple(self.level),
            "chars_seen": self.chars_seen,
            "train_nats": self.train_nats,
            "evaluated_step": self.evaluated_step,
            "last_val_nats": self.last_val_nats,
            "stale": self.best.stale,
            "dropped": self.dropped,
            "rollbacks": self.rollbacks,
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Become what `lay_down` gave.

        Raises:
            LookupError, TypeError, ValueError: these are no such values.
        """
        meters = (MeanLoss(float(nats), int(chars)) for nats, chars in values["meters"])
        self.since_milestone, self.since_evaluation = meters
        nats, spread_nats, windows = values["level"]
        self.level = LossTracker(float(nats), float(spread_nats), int(windows))
        self.chars_seen, train_nats = int(values["chars_seen"]), values["train_nats"]
        self.train_nats = None if train_nats is None else float(train_nats)
        self.evaluated_step = int(values["evaluated_step"])
        self.last_val_nats = float(values["last_val_nats"])
        self.best = replace(self.best, stale=int(values["stale"]))
        self.dropped, self.rollbacks = int(values["dropped"]), int(values["rollbacks"])
