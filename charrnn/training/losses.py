"""What a run remembers of its losses: means since they were last read, their level, the best."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.training.lane_states import Arrays

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
class Meter:
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
class Level:
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
