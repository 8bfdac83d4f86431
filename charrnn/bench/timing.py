"""How speed is measured here: things in turn (A B A B), medians, ratios of the same round.

A machine drifts, and it has other work; what ran in one round saw the same of both. It knows
nothing of what it times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

Measurement = Callable[[], float]
"""Does something once and gives what it measured: seconds, or a rate."""


def time_alternating(
    measurements: Sequence[Measurement], *, rounds: int, seconds: float = 0.0
) -> list[list[float]]:
    """Run all in turn, at least `rounds` times and until `seconds` are over.

    It gives what each returned, measurement by measurement.
    """
    results: list[list[float]] = [[] for _ in measurements]
    began = time.perf_counter()
    while len(results[0]) < rounds or time.perf_counter() - began < seconds:
        for measure, kept in zip(measurements, results, strict=True):
            kept.append(measure())
    return results


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Give the median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
