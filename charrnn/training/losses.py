"""What a run remembers of its losses: means since they were last read, and the best so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from charrnn.training.learner import Arrays


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
    """Nats over characters since it was last read out. The sum may still be on a device."""

    nats: Tensor | float = 0.0
    chars: int = 0

    def add(self, nats: Tensor, chars: int) -> None:
        """Count a window's total nats and its characters."""
        self.nats, self.chars = self.nats + nats, self.chars + chars

    def mean(self) -> float:
        """Give the nats per character, waiting for the device."""
        return float(self.nats) / max(self.chars, 1)
