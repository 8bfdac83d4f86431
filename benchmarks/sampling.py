"""How fast text is written, beside what the machine's products allow and a plain torch loop:
python benchmarks/sampling.py

One stream: at least 10 × the torch loop for LSTM 1×256 and 2×256, 8 × for 2×512, at 85 % of the
rate of its bare matrix-vector products. Controls: top-k, top-p and penalties together at most 25 %
more time, a constraint 30 %. 256 streams: 60 % of the rate of their bare matrix products. A prompt
of 100,000 characters: 5 × as fast as one by one.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from charrnn.bench.sampling import batch_rate, products_rate, random_weights, sampling_rate
from charrnn.bench.speeds import Measurement, median_ratio, time_alternating
from charrnn.config import ModelConfig, SampleConfig
from charrnn.generation.constraints.pattern import make_constraint
from charrnn.generation.network import Network
from charrnn.generation.prefill import prefill
from charrnn.model.network import CharRNN, numpy_state_dict
from charrnn.tasks.benchmark import SAMPLED_MODELS
from charrnn.text.vocab import Vocab

ROUNDS = 7
CONTROLLED = SampleConfig(
    top_k=20, top_p=0.95, repetition_penalty=1.1, presence_penalty=0.1, frequency_penalty=0.05
)
ALPHABET = Vocab.from_text("\n !$&',-.3:;?" + "".join(map(chr, (*range(65, 91), *range(97, 123)))))
REGEX = r"([A-Z][a-z]+( [a-z,]+)*[.]\n)+\$"
STREAMS = 256
PROMPT_CHARS = 100_000


def torch_loop(model: CharRNN, count: int) -> Measurement:
    """Return the same as a newcomer writes it with torch: one character a call, multinomial."""

    @torch.inference_mode()
    def run() -> float:
        ids, state = torch.zeros((1, 1), dtype=torch.int64), None
        began = time.perf_counter()
        for _ in range(count):
            logits, state = model(ids, state)
            ids = torch.multinomial((logits[:, -1] / 0.8).softmax(-1), 1)
        return count / (time.perf_counter() - began)

    return run


def read_all_at_once(runtime: Network, ids: np.ndarray) -> Measurement:
    """Return characters a second of a long prompt."""

    def run() -> float:
        began = time.perf_counter()
        prefill(runtime, ids, runtime.initial_state())
        return len(ids) / (time.perf_counter() - began)

    return run


def read_one_by_one(runtime: Network, ids: list[int]) -> Measurement:
    """Return the same where each character is read by itself."""

    def run() -> float:
        began = time.perf_counter()
        runtime.prefill(ids, runtime.initial_state())
        return len(ids) / (time.perf_counter() - began)

    return run


def measure(*measurements: Measurement, rounds: int = ROUNDS) -> list[list[float]]:
    """Run all in turn, once to warm up and then to be counted."""
    time_alternating(measurements, rounds=1)
    return time_alternating(measurements, rounds=rounds)


def name_of(config: ModelConfig) -> str:
    """Return lstm 2×256."""
    return f"{config.cell:4} {config.num_layers}×{config.hidden_size:<4}"


def show_streams() -> None:
    """Print one stream of each shape beside its products and torch."""
    print("one stream    charrnn      bare products        torch loop")
    for config in SAMPLED_MODELS:
        model = CharRNN(config)
        weights = numpy_state_dict(model)
        rates = measure(
            sampling_rate(config, weights, 3000),
            products_rate(config, weights, 3000),
            torch_loop(model, 300),
        )
        ours, bare, theirs = map(statistics.median, rates)
        print(
            f"{name_of(config)} {ours:9,.0f} /s {bare:9,.0f} /s {median_ratio(*rates[:2]):5.0%}"
            f" {theirs:9,.0f} /s {median_ratio(rates[0], rates[2]):6.1f} ×",
            flush=True,
        )


def show_controls() -> None:
    """Print how much longer a character takes with controls."""
    print("\nmore time for top-k, top-p, three penalties / for a regex")
    for config in SAMPLED_MODELS[:3]:
        weights = random_weights(config)
        constraint = make_constraint(ALPHABET, SampleConfig(regex=REGEX, length=1 << 30), None)
        plain, controlled, guided = measure(
            sampling_rate(config, weights, 3000),
            sampling_rate(config, weights, 3000, CONTROLLED),
            sampling_rate(config, weights, 3000, constraint=constraint),
        )
        print(
            f"{name_of(config)} {median_ratio(plain, controlled) - 1:+5.0%}"
            f" {median_ratio(plain, guided) - 1:+5.0%}",
            flush=True,
        )


def show_batches() -> None:
    """Print many streams beside their products."""
    print(f"\n{STREAMS} streams   charrnn      bare products")
    for config in SAMPLED_MODELS[:3]:
        weights = random_weights(config)
        rates = measure(
            batch_rate(config, weights, STREAMS, 50),
            products_rate(config, weights, 50, STREAMS),
        )
        ours, bare = map(statistics.median, rates)
        print(
            f"{name_of(config)} {ours:9,.0f} /s {bare:9,.0f} /s {median_ratio(*rates):5.0%}",
            flush=True,
        )


def show_prompts() -> None:
    """Print how fast a long prompt is read."""
    print(f"\na prompt of {PROMPT_CHARS:,} characters: at once, one by one")
    for config in SAMPLED_MODELS[:2]:
        runtime = Network(config, random_weights(config))
        ids = np.random.default_rng(0).integers(0, config.vocab_size, PROMPT_CHARS)
        rates = measure(
            read_all_at_once(runtime, ids), read_one_by_one(runtime, ids.tolist()), rounds=3
        )
        ours, singly = map(statistics.median, rates)
        print(
            f"{name_of(config)} {ours:9,.0f} /s {singly:9,.0f} /s {median_ratio(*rates):5.1f} ×",
            flush=True,
        )


def main() -> None:
    """Print all."""
    torch.manual_seed(0)
    show_streams()
    show_controls()
    show_batches()
    show_prompts()


if __name__ == "__main__":
    main()
