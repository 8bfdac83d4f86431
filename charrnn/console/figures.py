"""Numbers as a person reads them: counts, durations, threads, a curve in one line of text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def format_count(number: float) -> str:
    """Give 999, 12.3k, 4.5M or 1.2G."""
    for limit, divisor, unit in ((1e3, 1, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M")):
        if abs(number) < limit * 0.9995:
            return f"{number / divisor:.3g}{unit}" if unit else f"{number:.0f}"
    return f"{number / 1e9:.3g}G"


def format_duration(seconds: float) -> str:
    """Give 0:07, 12:34 or 3:45:06."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_threads(threads: int, processes: int = 1) -> str:
    """Give 2 threads, or 2 processes of 1 thread."""
    each = f"{threads} thread{'s' if threads > 1 else ''}"
    return f"{processes} processes of {each}" if processes > 1 else each


def draw_curve(values: Sequence[float], width: int) -> str:
    """Draw `values` from left to right as bars of eight heights, at most `width` of them."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    span, top = high - low or 1.0, len(_BARS) - 1
    return "".join(_BARS[round((mean - low) / span * top)] for mean in means)
