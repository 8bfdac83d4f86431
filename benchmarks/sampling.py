"""Characters a second of one stream, beside a plain torch loop over the same weights:
python benchmarks/sampling.py. `charrnn bench` has them beside their bare matrix-vector products.

Bound: at least 5 × the plain torch loop for LSTM 2×256 and 2×512.
"""

from __future__ import annotations

import statistics
import time

import torch

from charrnn.inference.speed import sampling_rate
from charrnn.model.network import CharRNN, export_weights
from charrnn.runs.bench import SAMPLED_MODELS
from charrnn.timing import Measurement, median_ratio, time_in_turn

ROUNDS = 7


def torch_loop(model: CharRNN, count: int) -> Measurement:
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


def main() -> None:
    """Print a line for each shape."""
    torch.manual_seed(0)
    print("shape         charrnn      torch loop   ratio")
    for config in SAMPLED_MODELS:
        model = CharRNN(config)
        ours = sampling_rate(config, export_weights(model), 3000)
        measurements = [ours, torch_loop(model, 300)]
        time_in_turn(measurements, rounds=1)
        rates = time_in_turn(measurements, rounds=ROUNDS)
        charrnn, theirs = map(statistics.median, rates)
        print(
            f"{config.cell:4} {config.num_layers}×{config.hidden_size:<4} "
            f"{charrnn:9,.0f} /s {theirs:9,.0f} /s {median_ratio(*rates):6.1f} ×",
            flush=True,
        )


if __name__ == "__main__":
    main()
