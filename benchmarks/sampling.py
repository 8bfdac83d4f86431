"""Characters a second of one stream, beside a plain torch loop over the same weights and the bare
matrix-vector products: python benchmarks/sampling.py

Bound: at least 5 × the plain torch loop for LSTM 2×256 and 2×512.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import islice

import numpy as np
import torch
from timing import median_ratio, time_in_turn

from charrnn.config import ModelConfig, SampleConfig
from charrnn.inference.runtime import Runtime
from charrnn.inference.sampler import iter_ids
from charrnn.model.network import CharRNN, export_weights

VOCAB_SIZE = 65
SHAPES = [("lstm", 1, 256), ("lstm", 2, 256), ("lstm", 2, 512), ("gru", 2, 256), ("rnn", 2, 256)]
ROUNDS = 7


def make_network(cell: str, num_layers: int, hidden_size: int) -> CharRNN:
    """Make a network with random weights."""
    torch.manual_seed(0)
    sizes = {"embedding_size": 64, "hidden_size": hidden_size, "num_layers": num_layers}
    return CharRNN(ModelConfig(cell=cell, vocab_size=VOCAB_SIZE, **sizes))


def numpy_loop(model: CharRNN, count: int) -> Callable[[], float]:
    """Give an action that samples as `charrnn sample` does; it returns characters a second."""
    runtime = Runtime(model.config, export_weights(model))
    config = SampleConfig(temperature=0.8)

    def run() -> float:
        ids = iter_ids(runtime, runtime.initial_state(), config, np.random.default_rng(0))
        began = time.perf_counter()
        for _ in islice(ids, count):
            pass
        return count / (time.perf_counter() - began)

    return run


def torch_loop(model: CharRNN, count: int) -> Callable[[], float]:
    """Give the same as a newcomer writes it with torch: one character a call, multinomial."""

    @torch.inference_mode()
    def run() -> float:
        ids, state = torch.zeros((1, 1), dtype=torch.int64), None
        began = time.perf_counter()
        for _ in range(count):
            logits, state = model(ids, state)
            ids = torch.multinomial((logits[:, -1] / 0.8).softmax(-1), 1)
        return count / (time.perf_counter() - began)

    return run


def bare_products(model: CharRNN, count: int) -> Callable[[], float]:
    """Give an action that makes only the matrix-vector products that each character needs."""
    weights = export_weights(model)
    hidden = np.ones(model.config.hidden_size, np.float32)
    used = [(weights["layers.0.weight_hh"], hidden), (weights["output.weight"], hidden)]
    for layer in range(1, model.config.num_layers):
        own = [weights[f"layers.{layer}.weight_{kind}"] for kind in ("ih", "hh")]
        used.append((np.hstack(own), np.concatenate((hidden, hidden))))

    def run() -> float:
        began = time.perf_counter()
        for _ in range(count):
            for weight, vector in used:
                weight @ vector
        return count / (time.perf_counter() - began)

    return run


def main() -> None:
    """Print a line for each shape."""
    print("shape        charrnn      torch loop   ratio   bare products   share")
    for cell, layers, hidden in SHAPES:
        model = make_network(cell, layers, hidden)
        actions = [numpy_loop(model, 3000), torch_loop(model, 300), bare_products(model, 3000)]
        time_in_turn(actions, 1)
        ours, theirs, bare = time_in_turn(actions, ROUNDS)
        rates = [statistics.median(rate) for rate in (ours, theirs, bare)]
        print(
            f"{cell} {layers}×{hidden:<4} {rates[0]:9,.0f} /s {rates[1]:9,.0f} /s "
            f"{median_ratio(ours, theirs):6.1f} ×  {rates[2]:9,.0f} /s "
            f"{median_ratio(ours, bare):8.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
