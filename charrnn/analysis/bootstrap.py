"""How far a figure of some records may be off: confidence intervals by the bootstrap.

Efron & Tibshirani 1993: the figure of many samples of the records, drawn with replacement; the
interval holds the middle 95 % of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SAMPLES = 1000
_SEED = 1
_TAIL = 2.5  # per cent on each side


class Interval(NamedTuple):
    """A figure and the 95 % interval around it."""

    value: float
    low: float
    high: float


def bootstrap(
    figure: Callable[[NDArray[np.int64]], float], count: int, samples: int = _SAMPLES
) -> Interval:
    """Return a figure of all `count` records with its interval. figure: of records by number.

    >>> heights = np.array([1.0, 2.0, 3.0])
    >>> bootstrap(lambda which: float(heights[which].mean()), 3).value
    2.0
    """
    return interval_of(figure(np.arange(count)), draw_figures(figure, count, samples))


def draw_figures(
    figure: Callable[[NDArray[np.int64]], float], count: int, samples: int = _SAMPLES
) -> NDArray[np.float64]:
    """Return the figure of each sample (samples,), the same at every call."""
    random = np.random.default_rng(_SEED)
    return np.array([figure(random.integers(0, count, count)) for _ in range(samples)])


def interval_of(value: float, drawn: NDArray[np.float64]) -> Interval:
    """Return a figure with the interval of what was drawn."""
    low, high = np.percentile(drawn, [_TAIL, 100 - _TAIL])
    return Interval(value, float(low), float(high))
