"""How speed is measured: alternating rounds (A B A B), medians, ratios within a round.

A machine's speed drifts, and it has other work; what ran in one round met the same of both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

MIN_ROUNDS = 3  # a median of fewer is no better than one
Measurement = Callable[[], float]
"""Does something once and returns what it measured: seconds, or a rate."""


def time_alternating(
    measurements: Sequence[Measurement], *, rounds: int, seconds: float = 0.0
) -> list[list[float]]:
    """Run all in turn, at least `rounds` times and for `seconds`; return the results of each.

    >>> time_alternating([lambda: 1.0, lambda: 2.0], rounds=2)
    [[1.0, 1.0], [2.0, 2.0]]
    """
    results: list[list[float]] = [[] for _ in measurements]
    start_seconds = time.perf_counter()
    while len(results[0]) < rounds or time.perf_counter() - start_seconds < seconds:
        for measure, kept in zip(measurements, results, strict=True):
            kept.append(measure())
    return results


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios round by round.

    >>> median_ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0])
    3.0
    """
    # Not the ratio of medians: those may come from rounds of different speed.
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
