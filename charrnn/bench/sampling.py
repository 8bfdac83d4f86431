"""How fast this machine samples, one stream or many, beside the bare products of the same shapes.

`charrnn bench` and benchmarks/sampling.py show the figures.
"""

import math
import statistics
import time
from itertools import chain as chained
from itertools import islice, repeat

import numpy as np

from charrnn.bench.speeds import (
    MIN_ROUNDS,
    Measurement,
    SamplingSpeed,
    median_ratio,
    time_alternating,
)
from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig, SampleConfig
from charrnn.generation.batch import Batch
from charrnn.generation.cells import Vector
from charrnn.generation.chain import SamplerChain
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.network import Network
from charrnn.generation.running import Row
from charrnn.generation.sampler import Context, iter_tokens
from charrnn.text.ngrams import choose_ngrams

_CHARS_PER_ROUND = 500  # about 20 ms
_TEXT_TOKENS = 200_000


def measure_sampling(config: ModelConfig, seconds: float) -> SamplingSpeed:
    """Sample from a network with random weights for about `seconds`."""
    weights = random_weights(config)
    measurements = [
        sampling_rate(config, weights, _CHARS_PER_ROUND),
        products_rate(config, weights, _CHARS_PER_ROUND),
    ]
    time_alternating(measurements, rounds=1)  # warms up
    whole, bare = time_alternating(measurements, rounds=MIN_ROUNDS, seconds=seconds)
    rate = statistics.median(whole)
    # All of them are read for each character: they seldom fit into the first caches.
    read_bytes = sum(weight.nbytes for _, weight in _products(config, weights))
    return SamplingSpeed(
        cell=config.cell,
        num_layers=config.num_layers,
        hidden_size=config.hidden_size,
        chars_per_second=rate,
        products_chars_per_second=statistics.median(bare),
        products_share=median_ratio(whole, bare),
        weights_gb_per_second=rate * read_bytes / 1e9,
        ngram_order=config.ngram_order,
    )


def random_weights(config: ModelConfig) -> Arrays:
    """Return weights small enough for a network that forgets, as a trained one does."""
    random = np.random.default_rng(0)
    spread = np.float32(0.5 / math.sqrt(config.hidden_size))
    shapes = config.weight_shapes().items()
    weights = {name: random.standard_normal(shape, np.float32) * spread for name, shape in shapes}
    if config.ngram_rows:  # of a text at random: all pairs of its characters, and some longer ones
        ids = random.integers(0, config.vocab_size, _TEXT_TOKENS)
        keys = np.arange(1, config.vocab_size + 1)
        chosen = choose_ngrams(ids, config.ngram_order, config.ngram_rows, keys)
        weights |= {"ngrams.check": chosen, "ngrams.key": keys.astype(np.float32)}
    return weights


def sampling_rate(
    config: ModelConfig,
    weights: Arrays,
    chars: int,
    settings: SampleConfig | None = None,
    constraint: Constraint | None = None,
) -> Measurement:
    """Return a measurement that samples as `charrnn sample` does: characters per second."""
    network = Network(config, weights)
    chain = SamplerChain(settings or SampleConfig(), config.vocab_size)
    start = Context(network.initial_state())

    def measure() -> float:
        random = np.random.default_rng(0)  # every round writes the same text
        # Where the constraint ends a text, the next one begins.
        texts = (iter_tokens(network, start, chain, random, constraint) for _ in repeat(None))
        start_seconds = time.perf_counter()
        for _ in islice(chained.from_iterable(texts), chars):
            pass
        return chars / (time.perf_counter() - start_seconds)

    return measure


def batch_rate(config: ModelConfig, weights: Arrays, streams: int, chars: int) -> Measurement:
    """Return a measurement of a batch of streams: characters per second of all together."""
    network = Network(config, weights)
    chain = SamplerChain(SampleConfig(), config.vocab_size)
    start = Context(network.initial_state())

    def measure() -> float:
        randoms = [np.random.default_rng([0, index]) for index in range(streams)]
        steps = iter(Batch(network, [Row(start, chain, random) for random in randoms]))
        start_seconds = time.perf_counter()
        for _ in islice(steps, chars):
            pass
        return streams * chars / (time.perf_counter() - start_seconds)

    return measure


def products_rate(
    config: ModelConfig, weights: Arrays, chars: int, streams: int | None = None
) -> Measurement:
    """Return a measurement of the products alone: characters per second.

    streams: rows of the left factor; None for a vector.
    """
    products = _products(config, weights, () if streams is None else (streams,))

    def measure() -> float:
        start_seconds = time.perf_counter()
        for _ in range(chars):
            for vectors, weight in products:
                vectors.dot(weight)
        return (streams or 1) * chars / (time.perf_counter() - start_seconds)

    return measure


def _products(
    config: ModelConfig, weights: Arrays, rows: tuple[int, ...] = ()
) -> list[tuple[Vector, Vector]]:
    """Return the factors for each character: (ones (..., K), a weight's transpose (K, N))."""
    # The lowest layer's input product is looked up, but for n-grams; those above multiply input and
    # state at once.
    used: list[Vector] = [weights["layers.0.weight_hh"], weights["output.weight"]]
    if config.ngram_rows:
        used.append(weights["layers.0.weight_ih"])
    for depth in range(1, config.num_layers):
        used.append(np.hstack([weights[f"layers.{depth}.weight_{kind}"] for kind in ("ih", "hh")]))
    return [(np.ones((*rows, weight.shape[1]), np.float32), weight.T) for weight in used]
