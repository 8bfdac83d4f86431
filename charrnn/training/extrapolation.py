"""What twice the time or twice the text would bring, from curves that were fitted to runs.

`benchmarks/curves.py` measured and fitted them: default settings, several budgets, tiny-shakespeare
and its last half and quarter. For another text they are a rough guide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TIME_CURVE = (0.0529, -0.668)
"""(a, b) of a · epochs^b, the share of the held-out nats that goes with twice the time."""

TEXT_CURVE = (-0.036, 0.0162)
"""(a, b) of a + b log₂ epochs, the share that goes with twice the text, where above 0."""

TIME_EPOCHS = (0.48, 6.06)
TEXT_EPOCHS = (2.04, 17.14)
"""The fewest and the most epochs that each was fitted to; beyond them it stays constant."""


@dataclass(frozen=True)
class Extrapolation:
    """The share of the held-out nats per character that each would take away."""

    twice_the_time: float
    twice_the_text: float


def extrapolate(epochs: float) -> Extrapolation:
    """Return what to expect after the text was read `epochs` times.

    >>> extrapolate(1.0).twice_the_time
    0.0529
    """
    by_time = TIME_CURVE[0] * math.pow(_within(epochs, TIME_EPOCHS), TIME_CURVE[1])
    by_text = TEXT_CURVE[0] + TEXT_CURVE[1] * math.log2(_within(epochs, TEXT_EPOCHS))
    return Extrapolation(by_time, max(0.0, by_text))


def _within(epochs: float, measured: tuple[float, float]) -> float:
    return min(max(epochs, measured[0]), measured[1])
