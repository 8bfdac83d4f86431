"""Drawing ids: the frequencies are the softmax's, and what has no probability is never drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.checkpoint.format import weight_shapes
from charrnn.config import ModelConfig, SampleConfig
from charrnn.inference.filters import softmax
from charrnn.inference.runtime import Runtime
from charrnn.inference.sampler import _iter_uniforms, _make_pick, iter_ids

LAW = settings(deadline=None)  # a busy machine breaks no law
V, E, H, L = 5, 3, 4, 2


class Edges:
    """A random stream that gives the same few numbers again and again."""

    def __init__(self, *numbers: float) -> None:
        self._numbers = numbers

    def random(self, size: int) -> np.ndarray:
        return np.resize(self._numbers, size)


def make_runtime() -> Runtime:
    random = np.random.default_rng(5)
    config = ModelConfig(vocab_size=V, embedding_size=E, hidden_size=H, num_layers=L)
    shapes = weight_shapes(config)
    return Runtime(
        config, {n: random.normal(0, 2, s).astype(np.float32) for n, s in shapes.items()}
    )


def draw(count: int, seed: int = 1, **settings: Any) -> list[int]:
    """Let the runtime write `count` ids from its initial state."""
    runtime = make_runtime()
    ids = iter_ids(
        runtime, runtime.initial_state(), SampleConfig(**settings), np.random.default_rng(seed)
    )
    return list(islice(ids, count))


def pick_often(logits: Sequence[float], count: int, **settings: Any) -> np.ndarray:
    """Count what is picked from the same logits: (V,)."""
    pick = _make_pick(SampleConfig(**settings), np.random.default_rng(6))
    array = np.array(logits, np.float32)
    return np.bincount([pick(array) for _ in range(count)], minlength=len(logits))


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_characters_come_as_often_as_the_softmax_says(temperature: float) -> None:
    logits = [0.5, -1.0, 1.25, 0.0, -0.25]

    counts = pick_often(logits, 20_000, temperature=temperature)

    # 4 degrees of freedom: beyond 23.5 with probability 0.0001
    assert chi_square(counts, softmax(np.array(logits) / temperature)) < 23.5


def test_filtered_characters_share_what_the_others_leave() -> None:
    counts = pick_often([0.5, -1.0, 1.25, 0.0, -0.25], 20_000, temperature=1, top_k=3)

    assert counts[[1, 4]].tolist() == [0, 0]
    # 2 degrees of freedom: beyond 18.4 with probability 0.0001
    assert chi_square(counts[[0, 2, 3]], softmax(np.array([0.5, 1.25, 0]))) < 18.4


def test_greedy_is_a_chain_of_likeliest_characters() -> None:
    runtime, chain = make_runtime(), []
    state = runtime.initial_state()
    for _ in range(30):
        chain.append(int(np.argmax(runtime.logits(state))))
        state = runtime.advance(chain[-1], state)

    assert draw(30, temperature=0) == chain


def test_greedy_ignores_the_seed_and_the_filters() -> None:
    assert draw(30, seed=1, temperature=0) == draw(30, seed=2, temperature=0, top_k=3, top_p=0.5)


@pytest.mark.parametrize("temperature", [1e-45, 5e-324])
def test_a_tiny_temperature_draws_as_greedy_does(temperature: float) -> None:
    assert draw(30, temperature=temperature) == draw(30, temperature=0)


def test_top_k_of_one_draws_as_greedy_does() -> None:
    assert draw(30, temperature=1.5, top_k=1) == draw(30, temperature=0)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    assert draw(30, seed=1) == draw(30, seed=1)
    assert draw(30, seed=1) != draw(30, seed=2)


def test_numbers_drawn_in_blocks_are_those_drawn_one_by_one() -> None:
    one_by_one = np.random.default_rng(7)

    blocks = list(islice(_iter_uniforms(np.random.default_rng(7)), 600))

    assert blocks == [one_by_one.random() for _ in range(600)]


@LAW
@given(
    st.lists(st.one_of(st.just(-np.inf), st.floats(-80, 80, width=32)), min_size=1, max_size=9),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_a_character_without_probability_is_never_drawn(
    values: list[float], uniform: float, temperature: float
) -> None:
    logits = np.array([-np.inf, *values, 1.0, -np.inf], np.float32)
    edges: Any = Edges(0.0, uniform, 1 - 2**-53)
    pick = _make_pick(SampleConfig(temperature=temperature), edges)

    drawn = [pick(logits) for _ in range(3)]

    assert np.isfinite(logits[drawn]).all()


@LAW
@given(
    st.lists(st.floats(-4, 4), min_size=2, max_size=9), st.lists(st.floats(0, 0.999), min_size=1)
)
def test_a_character_is_drawn_where_the_summed_probabilities_pass_the_number(
    logits: list[float], uniforms: list[float]
) -> None:
    edges: Any = Edges(*uniforms)
    pick = _make_pick(SampleConfig(temperature=1), edges)
    reached = np.cumsum(softmax(np.array(logits)))

    for uniform in uniforms:
        symbol = pick(np.array(logits))
        assert reached[symbol] > uniform - 1e-9
        assert symbol == 0 or reached[symbol - 1] < uniform + 1e-9
