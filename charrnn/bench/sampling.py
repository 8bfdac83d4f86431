"""How fast this machine samples, one stream or many, beside the bare products of the same shapes.

It knows nothing of torch or of the terminal.
"""

from __future__ import annotations

import math
import statistics
import time
from itertools import chain as chained
from itertools import islice, repeat

import numpy as np

from charrnn.bench.speeds import SamplingSpeed
from charrnn.bench.timing import Measurement, median_ratio, time_alternating
from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig, SampleConfig
from charrnn.generation.batch import Batch
from charrnn.generation.cells import Vector
from charrnn.generation.chain import SamplerChain
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.network import Network
from charrnn.generation.sampler import Context, iter_tokens

_CHARS = 500  # a round
_FEWEST_ROUNDS = 3


def measure_sampling(config: ModelConfig, seconds: float) -> SamplingSpeed:
    """Let a network with random weights write for about `seconds`."""
    weights = random_weights(config)
    measurements = [sampling_rate(config, weights, _CHARS), products_rate(config, weights, _CHARS)]
    time_alternating(measurements, rounds=1)
    whole, bare = time_alternating(measurements, rounds=_FEWEST_ROUNDS, seconds=seconds)
    rate = statistics.median(whole)
    read_bytes = sum(weight.nbytes for _, weight in _products(config, weights))
    return SamplingSpeed(
        cell=config.cell,
        num_layers=config.num_layers,
        hidden_size=config.hidden_size,
        chars_per_second=rate,
        products_chars_per_second=statistics.median(bare),
        products_share=median_ratio(whole, bare),
        weights_gb_per_second=rate * read_bytes / 1e9,
    )


def sampling_rate(
    config: ModelConfig,
    weights: Arrays,
    chars: int,
    settings: SampleConfig | None = None,
    guide: Constraint | None = None,
) -> Measurement:
    """Give a measurement that samples as `charrnn sample` does: characters a second.

    Where a guide ends a text, another begins.
    """
    runtime = Network(config, weights)
    chain = SamplerChain(settings or SampleConfig(), config.vocab_size)
    start = Context(runtime.initial_state())

    def measure() -> float:
        random = np.random.default_rng(0)
        texts = (iter_tokens(runtime, start, chain, random, guide) for _ in repeat(None))
        began = time.perf_counter()
        for _ in islice(chained.from_iterable(texts), chars):
            pass
        return chars / (time.perf_counter() - began)

    return measure


def batch_rate(config: ModelConfig, weights: Arrays, streams: int, chars: int) -> Measurement:
    """Give a measurement of streams that are sampled side by side: characters a second of all."""
    runtime = Network(config, weights)
    chain, start = SamplerChain(SampleConfig(), config.vocab_size), Context(runtime.initial_state())

    def measure() -> float:
        randoms = [np.random.default_rng([0, index]) for index in range(streams)]
        steps = iter(Batch(runtime, [start] * streams, chain, randoms))
        began = time.perf_counter()
        for _ in islice(steps, chars):
            pass
        return streams * chars / (time.perf_counter() - began)

    return measure


def products_rate(
    config: ModelConfig, weights: Arrays, chars: int, streams: int | None = None
) -> Measurement:
    """Give a measurement of the products alone: characters a second.

    streams: of as many rows; None of a matrix and a vector.
    """
    products = _products(config, weights, () if streams is None else (streams,))

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(chars):
            for vectors, weight in products:
                vectors.dot(weight)
        return (streams or 1) * chars / (time.perf_counter() - began)

    return measure


def _products(
    config: ModelConfig, weights: Arrays, rows: tuple[int, ...] = ()
) -> list[tuple[Vector, Vector]]:
    """Give what each character needs: (ones (..., K), a weight's transpose (K, N)).

    The lowest layer's input product is looked up; those above multiply input and state at once.
    """
    used: list[Vector] = [weights["layers.0.weight_hh"], weights["output.weight"]]
    for depth in range(1, config.num_layers):
        used.append(np.hstack([weights[f"layers.{depth}.weight_{kind}"] for kind in ("ih", "hh")]))
    return [(np.ones((*rows, weight.shape[1]), np.float32), weight.T) for weight in used]


def random_weights(config: ModelConfig) -> Arrays:
    """Give weights of a network that forgets, as one does that was trained."""
    random = np.random.default_rng(0)
    spread = 0.5 / math.sqrt(config.hidden_size)
    shapes = config.weight_shapes().items()
    return {
        k: random.standard_normal(shape, np.float32) * np.float32(spread) for k, shape in shapes
    }
