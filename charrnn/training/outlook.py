"""What twice the time or twice the text would bring, from curves that were fitted to many runs.

`benchmarks/curves.py` measured and fitted them: default settings, a text, its half and its quarter,
several budgets. It knows nothing of a run but how often it read its text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TIME_CURVE = (0.0529, -0.668)
"""(a, b) of a · epochs^b, the share of the held-out nats that goes with twice the time."""

TEXT_CURVE = (-0.036, 0.0162)
"""(a, b) of a + b log₂ epochs, the share that goes with twice the text, where above 0."""

_FEWEST_EPOCHS, _MOST_EPOCHS = 0.25, 64.0  # beyond what was measured the curves say nothing


@dataclass(frozen=True)
class Outlook:
    """The share of the held-out nats per character that each would take away."""

    twice_the_time: float
    twice_the_text: float


def expected_gains(epochs: float) -> Outlook:
    """Give what to expect after the text was read `epochs` times."""
    inside = min(max(epochs, _FEWEST_EPOCHS), _MOST_EPOCHS)
    by_time = TIME_CURVE[0] * math.pow(inside, TIME_CURVE[1])
    by_text = TEXT_CURVE[0] + TEXT_CURVE[1] * math.log2(inside)
    return Outlook(by_time, max(0.0, by_text))
