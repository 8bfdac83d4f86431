"""How the benchmarks time: things in turn (A B A B), medians, ratios of the same run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence


def time_in_turn(actions: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Run all actions `rounds` times in turn; give what each returned, action by action."""
    results: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for action, kept in zip(actions, results, strict=True):
            kept.append(action())
    return results


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Give the median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def time_process(arguments: Sequence[str], first_byte_only: bool = False) -> float:
    """Give the seconds that `python ARGUMENTS` takes, whole or to its first byte on stdout."""
    began = time.perf_counter()
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        first = time.perf_counter() - began
        process.stdout.read()
    return first if first_byte_only else time.perf_counter() - began
