"""How fast this machine samples one stream, beside the bare matrix-vector products of the same
shapes.

It knows nothing of torch or of the terminal.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from itertools import islice

import numpy as np

from charrnn.checkpoint.format import Arrays, weight_shapes
from charrnn.config import ModelConfig, SampleConfig
from charrnn.inference.cells import Vector
from charrnn.inference.chain import Chain
from charrnn.inference.runtime import Runtime
from charrnn.inference.sampler import Start, iter_ids
from charrnn.timing import Measurement, median_ratio, time_in_turn

_CHARS = 500  # a round
_FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class SamplingSpeed:
    """One stream of characters, in float32.

    products_chars_per_second: with its matrix-vector products alone. products_share: their time as
    a share of all. weights_gb_per_second: weights, which are read anew for each character.
    """

    cell: str
    num_layers: int
    hidden_size: int
    chars_per_second: float
    products_chars_per_second: float
    products_share: float
    weights_gb_per_second: float


def measure_sampling(config: ModelConfig, seconds: float) -> SamplingSpeed:
    """Let a network with random weights write for about `seconds`."""
    weights = _random_weights(config)
    measurements = [sampling_rate(config, weights, _CHARS), products_rate(config, weights, _CHARS)]
    time_in_turn(measurements, rounds=1)
    whole, bare = time_in_turn(measurements, rounds=_FEWEST_ROUNDS, seconds=seconds)
    rate = statistics.median(whole)
    read_bytes = sum(weight.nbytes for weight, _ in _products(config, weights))
    return SamplingSpeed(
        cell=config.cell,
        num_layers=config.num_layers,
        hidden_size=config.hidden_size,
        chars_per_second=rate,
        products_chars_per_second=statistics.median(bare),
        products_share=median_ratio(whole, bare),
        weights_gb_per_second=rate * read_bytes / 1e9,
    )


def sampling_rate(config: ModelConfig, weights: Arrays, chars: int) -> Measurement:
    """Give a measurement that samples as `charrnn sample` does: characters a second."""
    runtime = Runtime(config, weights)
    start, chain = Start(runtime.initial_state()), Chain(SampleConfig(), config.vocab_size)

    def measure() -> float:
        random = np.random.default_rng(0)
        ids = iter_ids(runtime, start, chain, random)
        began = time.perf_counter()
        for _ in islice(ids, chars):
            pass
        return chars / (time.perf_counter() - began)

    return measure


def products_rate(config: ModelConfig, weights: Arrays, chars: int) -> Measurement:
    """Give a measurement of the matrix-vector products alone: characters a second."""
    products = _products(config, weights)

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(chars):
            for weight, vector in products:
                weight @ vector
        return chars / (time.perf_counter() - began)

    return measure


def _products(config: ModelConfig, weights: Arrays) -> list[tuple[Vector, Vector]]:
    """Give what each character needs: (a weight, a vector of ones).

    The lowest layer's input product is looked up; those above multiply input and state at once.
    """
    used: list[Vector] = [weights["layers.0.weight_hh"], weights["output.weight"]]
    for depth in range(1, config.num_layers):
        used.append(np.hstack([weights[f"layers.{depth}.weight_{kind}"] for kind in ("ih", "hh")]))
    return [(weight, np.ones(weight.shape[1], np.float32)) for weight in used]


def _random_weights(config: ModelConfig) -> Arrays:
    random = np.random.default_rng(0)
    shapes = weight_shapes(config)
    return {k: random.standard_normal(shape, np.float32) / 16 for k, shape in shapes.items()}
