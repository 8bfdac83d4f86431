"""How speed is measured, and what a benchmark reports: plain figures, shown without torch.

Measurements take turns (A B A B); medians count, and ratios within a round. A machine's speed
drifts, and it has other work: what ran in one round met the same of both.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Measuring:
    """What is measured next: number `index` (from 1) of `total`."""

    what: str
    index: int
    total: int


@dataclass(frozen=True)
class MachineSpeed:
    """What the machine can do, the best of several rounds.

    products_gflop_per_second: of square products of `product_size`, by number format.
    memory_gb_per_second: bytes read and written while an array is copied.
    """

    processor: str
    device: str
    threads: int  # of the processor
    torch_version: str
    product_size: int
    products_gflop_per_second: dict[str, float]
    memory_gb_per_second: float


@dataclass(frozen=True)
class TrainingSpeed:
    """One training step; products_ms is its matrix products alone, in the same number format.

    products_share: their part of the step's time; above 1 where a kernel is faster than torch.mm.
    layer_ms, torch_layer_ms: our recurrent layer forward and backward, and torch's own.
    """

    cell: str
    num_layers: int
    hidden_size: int
    batch_size: int
    seq_len: int
    precision: str  # fp32, bf16 or fp16
    step_ms: float
    chars_per_second: float
    gflop_per_second: float
    products_ms: float
    products_share: float
    layer_ms: float
    torch_layer_ms: float
    layer_speedup: float  # torch_layer_ms / layer_ms, round by round


@dataclass(frozen=True)
class EvaluationSpeed:
    """Scoring held-out text in float32. products_share: as TrainingSpeed's, forward only."""

    cell: str
    num_layers: int
    hidden_size: int
    chars_per_second: float
    gflop_per_second: float
    products_share: float


@dataclass(frozen=True)
class SamplingSpeed:
    """One stream of characters, in float32.

    products_chars_per_second: with its matrix-vector products alone. products_share: their part of
    the time. weights_gb_per_second: weights read from memory, all of them for each character, but
    of n-grams only a few rows. ngram_order: the longest n-gram; 1 without n-grams.
    """

    cell: str
    num_layers: int
    hidden_size: int
    chars_per_second: float
    products_chars_per_second: float
    products_share: float
    weights_gb_per_second: float
    ngram_order: int = 1


Speed = MachineSpeed | TrainingSpeed | EvaluationSpeed | SamplingSpeed
