"""The results of a benchmark: plain figures, which the command line shows without torch."""

from __future__ import annotations

from dataclasses import dataclass


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
    the time. weights_gb_per_second: weights read from memory, all of them for each character.
    """

    cell: str
    num_layers: int
    hidden_size: int
    chars_per_second: float
    products_chars_per_second: float
    products_share: float
    weights_gb_per_second: float


Speed = MachineSpeed | TrainingSpeed | EvaluationSpeed | SamplingSpeed
