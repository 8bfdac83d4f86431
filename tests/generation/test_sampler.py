"""Sampled ids: frequencies are the softmax's, and no id without probability is sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import ModelConfig, SampleConfig
from charrnn.generation.chain import SamplerChain, describe_chain
from charrnn.generation.filters import Logits, make_filter, softmax
from charrnn.generation.network import Network
from charrnn.generation.penalties import count_costs, divide_repeats, make_history, subtract_counts
from charrnn.generation.sampler import Context, iter_tokens, iter_uniforms
from tests.generation.random_models import random_weights
from tests.generation.sampling import make_sampler, start_state

LAW = settings(deadline=None)  # a busy machine breaks no law
V, E, H, L = 5, 3, 4, 2


class Edges:
    """A random stream that gives the same few numbers again and again."""

    def __init__(self, *numbers: float) -> None:
        self._numbers = numbers

    def random(self, size: int) -> np.ndarray:
        return np.resize(self._numbers, size)


def make_network() -> Network:
    config = ModelConfig(vocab_size=V, embedding_size=E, hidden_size=H, num_layers=L)
    return Network(config, random_weights(config, 5, 2))


def sample_ids(count: int, seed: int = 1, **settings: Any) -> list[int]:
    """Sample `count` ids of the network from its initial state."""
    network = make_network()
    chain = SamplerChain(SampleConfig(**settings), V)
    ids = iter_tokens(network, Context(network.initial_state()), chain, np.random.default_rng(seed))
    return list(islice(ids, count))


def make_stateless_sampler(config: SampleConfig, random: Any) -> Callable[[Logits], int]:
    """Return a function from logits to an id, where nothing was sampled before."""
    sample = make_sampler(config, random)
    return lambda logits: sample(logits, start_state(config, (), len(logits)))[0]


def sample_often(logits: Sequence[float], count: int, **settings: Any) -> np.ndarray:
    """Count the ids sampled from the same logits: (V,)."""
    sample = make_stateless_sampler(SampleConfig(**settings), np.random.default_rng(6))
    array = np.array(logits, np.float32)
    return np.bincount([sample(array) for _ in range(count)], minlength=len(logits))


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.no_cover  # draws thousands
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_characters_come_as_often_as_the_softmax_says(temperature: float) -> None:
    logits = [0.5, -1.0, 1.25, 0.0, -0.25]

    counts = sample_often(logits, 20_000, temperature=temperature)

    # 4 degrees of freedom: beyond 23.5 with probability 0.0001
    assert chi_square(counts, softmax(np.array(logits) / temperature)) < 23.5


@pytest.mark.no_cover  # draws thousands
def test_filtered_characters_share_what_the_others_leave() -> None:
    counts = sample_often([0.5, -1.0, 1.25, 0.0, -0.25], 20_000, temperature=1, top_k=3)

    assert counts[[1, 4]].tolist() == [0, 0]
    # 2 degrees of freedom: beyond 18.4 with probability 0.0001
    assert chi_square(counts[[0, 2, 3]], softmax(np.array([0.5, 1.25, 0]))) < 18.4


@pytest.mark.no_cover  # draws thousands
@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.3, "top_k": 3, "min_p": 0.1},
        {"temperature": 0.9, "typical": 0.7},
        {"temperature": 1, "top_n_sigma": 1},
        {"temperature": 1, "dynamic_temperature": 0.8, "top_p": 0.9},
        {"temperature": 1, "xtc": 1, "xtc_threshold": 0.2},
    ],
)
def test_characters_come_as_often_as_the_filtered_probabilities_say(
    settings: dict[str, float],
) -> None:
    logits = [0.5, -1.0, 1.25, 0.0, -0.25]
    expected = softmax(make_filter(SampleConfig(**settings))(np.array(logits), 0.0))  # type: ignore[arg-type]

    counts = sample_often(logits, 20_000, **settings)

    is_left = expected > 0
    assert is_left.sum() > 1
    assert counts[~is_left].sum() == 0
    # at most 4 degrees of freedom: beyond 23.5 with probability 0.0001
    assert chi_square(counts[is_left], expected[is_left]) < 23.5


def test_penalties_and_bias_come_before_the_filters() -> None:
    """Of three even ones, a penalty and a bias choose which two the top two are."""
    config = SampleConfig(top_k=2, presence_penalty=3, penalty_window=4)
    bias = np.array([0, 0, 0, -99, -np.inf], np.float32)
    sample = make_sampler(config, np.random.default_rng(1), bias)
    state = start_state(config, [0], V)

    sampled = {sample(np.array([1, 1, 1, 50, 60], np.float32), state)[0] for _ in range(99)}

    assert sampled == {1, 2}


def test_greedy_is_the_likeliest_after_penalties_and_bans() -> None:
    network = make_network()
    chain = [1, 3]
    bias = np.array([0, -np.inf, 0.5, 0, 0], np.float32)
    state = network.initial_state()
    for _ in range(30):
        history = make_history(chain[-7:], V, 7, has_dry=False)
        repeated = divide_repeats(network.logits(state), history, 1.5)
        logits = subtract_counts(repeated, history, count_costs(0.25, 0, 7))
        chain.append(int(np.argmax(logits + bias)))
        state = network.advance(chain[-1], state)
    config = SampleConfig(
        temperature=0, repetition_penalty=1.5, presence_penalty=0.25, penalty_window=7
    )

    start = Context(network.initial_state(), np.array([1, 3]))
    ids = iter_tokens(network, start, SamplerChain(config, V, bias), np.random.default_rng(1))

    assert [1, 3, *islice(ids, 30)] == chain
    assert len(set(chain[2:])) > 2


def test_neutral_settings_sample_the_same_ids_as_none() -> None:
    neutral = {"presence_penalty": 0.0, "repetition_penalty": 1.0, "xtc": 0.0, "typical": 1.0}

    assert sample_ids(30, **neutral) == sample_ids(30)


def test_penalties_that_change_nothing_sample_the_same_ids() -> None:
    assert sample_ids(60, dry_penalty=9, dry_length=500) == sample_ids(60)


def test_the_dry_penalty_ends_a_loop() -> None:
    logits = np.array([0, 4, 0, 0], np.float32)  # greedy writes 1 for ever
    config = SampleConfig(temperature=0, dry_penalty=1, dry_length=3)
    sample = make_sampler(config, np.random.default_rng(0))
    state = start_state(config, (), 4)
    sampled = []
    for _ in range(9):
        token, state = sample(logits, state)
        sampled.append(token)

    assert sampled == [1] * 7 + [0, 1]  # the fourth repetition costs 4, and the lower id wins


def test_a_chain_is_described_in_order_with_its_values() -> None:
    config = SampleConfig(
        repetition_penalty=1.5,
        presence_penalty=0.25,
        frequency_penalty=-1,
        dry_penalty=2,
        bias=("e=-2",),
        only=("letters", " "),
        ban=("z",),
        temperature=0.9,
        dynamic_temperature=0.4,
        top_n_sigma=2,
        top_k=30,
        typical=0.95,
        top_p=0.85,
        min_p=0.05,
        xtc=0.5,
        mirostat=3,
    )

    assert describe_chain(config) == [
        "repetition penalty 1.5",
        "presence penalty 0.25, frequency penalty -1",
        "DRY penalty 2 from 12 characters (penalties count the last 256 characters)",
        "bias 'e=-2'",
        "only 'letters'",
        "only ' '",
        "ban 'z'",
        "temperature 0.5 to 1.3 by entropy",
        "top-n-sigma 2",
        "top-k 30",
        "typical 0.95",
        "top-p 0.85",
        "min-p 0.05",
        "XTC with probability 0.5, above 0.1",
        "mirostat 3 bits, rate 0.1",
        "sample",
    ]


def test_what_does_not_act_is_not_described() -> None:
    assert describe_chain(SampleConfig(temperature=1)) == ["sample"]
    assert describe_chain(SampleConfig(temperature=0, top_k=3, ban=("a",))) == [
        "ban 'a'",
        "the likeliest (temperature 0)",
    ]


def test_greedy_takes_the_likeliest_each_time() -> None:
    network = make_network()
    chain = []
    state = network.initial_state()
    for _ in range(30):
        chain.append(int(np.argmax(network.logits(state))))
        state = network.advance(chain[-1], state)

    assert sample_ids(30, temperature=0) == chain


def test_greedy_ignores_the_seed_and_the_filters() -> None:
    assert sample_ids(30, seed=1, temperature=0) == sample_ids(
        30, seed=2, temperature=0, top_k=3, top_p=0.5
    )


@pytest.mark.parametrize("temperature", [1e-45, 5e-324])
def test_a_tiny_temperature_samples_as_greedy_does(temperature: float) -> None:
    assert sample_ids(30, temperature=temperature) == sample_ids(30, temperature=0)


def test_top_k_of_one_samples_as_greedy_does() -> None:
    assert sample_ids(30, temperature=1.5, top_k=1) == sample_ids(30, temperature=0)


def test_the_same_seed_samples_the_same_and_another_does_not() -> None:
    assert sample_ids(30, seed=1) == sample_ids(30, seed=1)
    assert sample_ids(30, seed=1) != sample_ids(30, seed=2)


def test_numbers_drawn_in_blocks_are_those_drawn_one_by_one() -> None:
    one_by_one = np.random.default_rng(7)

    blocks = list(islice(iter_uniforms(np.random.default_rng(7)), 600))

    assert blocks == [one_by_one.random() for _ in range(600)]


@pytest.mark.no_cover  # draws thousands
@LAW
@given(
    st.lists(st.one_of(st.just(-np.inf), st.floats(-80, 80, width=32)), min_size=1, max_size=9),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_a_character_without_probability_is_never_sampled(
    values: list[float], uniform: float, temperature: float
) -> None:
    logits = np.array([-np.inf, *values, 1.0, -np.inf], np.float32)
    edges: Any = Edges(0.0, uniform, 1 - 2**-53)
    sample = make_stateless_sampler(SampleConfig(temperature=temperature), edges)

    sampled = [sample(logits) for _ in range(3)]

    assert np.isfinite(logits[sampled]).all()


@LAW
@given(
    st.lists(st.floats(-4, 4), min_size=2, max_size=9), st.lists(st.floats(0, 0.999), min_size=1)
)
def test_a_character_is_sampled_where_the_summed_probabilities_pass_the_number(
    logits: list[float], uniforms: list[float]
) -> None:
    edges: Any = Edges(*uniforms)
    sample = make_stateless_sampler(SampleConfig(temperature=1), edges)
    reached = np.cumsum(softmax(np.array(logits)))

    for uniform in uniforms:
        token = sample(np.array(logits))
        assert reached[token] > uniform - 1e-9
        assert token == 0 or reached[token - 1] < uniform + 1e-9


def test_words_are_described() -> None:
    config = SampleConfig(temperature=1, ban=("z",), ban_word=("no",), must=("yes", "月"))

    assert describe_chain(config)[1:-1] == ["ban-word 'no'", "must 'yes'", "must '月'"]
