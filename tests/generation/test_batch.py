"""Texts that are sampled side by side are those that are sampled alone."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest

from charrnn.config import ModelConfig, SampleConfig
from charrnn.generation import batch as batch_module
from charrnn.generation.batch import Batch
from charrnn.generation.chain import SamplerChain
from charrnn.generation.network import Network
from charrnn.generation.running import Row
from charrnn.generation.sampler import Context, iter_tokens
from charrnn.state import State
from charrnn.text.vocab import Ids
from tests.generation.random_models import random_weights

V, H, L, LENGTH = 40, 64, 2, 60
PROMPT = np.array([3, 1, 4, 1, 5])


def make_network(spread: float = 0.15, **shape: Any) -> Network:
    sizes = {"vocab_size": V, "embedding_size": 9, "hidden_size": H, "num_layers": L}
    config = ModelConfig(**(sizes | shape))
    return Network(config, random_weights(config, 7, spread))


class Even:
    """A constraint: even and odd ids in turn, any fifth id, up to a 7 or to 50 of them."""

    reason = "even"

    def initial_state(self, prompt: Ids) -> int:
        assert np.array_equal(prompt, PROMPT)
        return 0

    def mask(self, state: int) -> np.ndarray | None:
        mask = np.zeros(V, np.float32)
        mask[1 - state % 2 :: 2] = -np.inf
        return None if state % 5 == 4 else mask

    def advance(self, token: int, state: int) -> int | None:
        return None if token == 7 else state + 1

    def is_finished(self, state: int) -> bool:
        return state == 50


def start_of(network: Network) -> Context:
    return Context(network.prefill(PROMPT, network.initial_state()), PROMPT)


def streams(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng([5, index]) for index in range(count)]


def rows_of(
    network: Network,
    chain: SamplerChain,
    count: int,
    constraint: Any = None,
    alternatives: int | None = None,
) -> list[Row]:
    start = start_of(network)
    return [Row(start, chain, random, constraint, alternatives) for random in streams(count)]


def sample_alone(
    network: Network, chain: SamplerChain, count: int, constraint: Any = None
) -> list[list[int]]:
    start = start_of(network)
    return [
        list(islice(iter_tokens(network, start, chain, random, constraint), LENGTH))
        for random in streams(count)
    ]


def sample_together(batch: Batch, count: int) -> list[list[int]]:
    sampled: list[list[int]] = [[] for _ in range(count)]
    for step in batch:
        for row, token in zip(step.rows.tolist(), step.tokens.tolist(), strict=True):
            sampled[row] += [token] if token >= 0 else []
        over = {r for r, s in zip(step.rows.tolist(), step.tokens.tolist(), strict=True) if s < 0}
        batch.drop(over | {row for row, ids in enumerate(sampled) if len(ids) == LENGTH})
    return sampled


SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0},
    {"temperature": 1.5, "dynamic_temperature": 0.5, "word_temperature": 0.6},
    {"top_k": 6, "top_p": 0.8, "min_p": 0.05},
    {"top_n_sigma": 1.0, "typical": 0.9, "xtc": 0.5},
    {"repetition_penalty": 1.3, "presence_penalty": 0.2, "frequency_penalty": 0.1},
    {"dry_penalty": 1.0, "dry_length": 2, "penalty_window": 20},
    {"mirostat": 2.0},
]


def make_chain(settings: dict[str, Any]) -> SamplerChain:
    begins = np.arange(V + 1) % 3 == 0
    return SamplerChain(SampleConfig(**settings), V, begins_word=begins)


@pytest.mark.parametrize("settings", SETTINGS)
def test_each_text_is_the_one_sampled_alone(settings: dict[str, Any]) -> None:
    network = make_network()
    count = 24
    chain = make_chain(settings)

    batch = Batch(network, rows_of(network, chain, count))

    assert sample_together(batch, count) == sample_alone(network, chain, count)


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_every_cell_samples_side_by_side(cell: str) -> None:
    network = make_network(cell=cell)
    count = 9
    chain = make_chain({})

    batch = Batch(network, rows_of(network, chain, count))

    assert sample_together(batch, count) == sample_alone(network, chain, count)


@pytest.mark.parametrize("settings", [{}, {"top_k": 3}, {"temperature": 0}])
def test_a_constraint_restricts_each_text_as_it_would_alone(settings: dict[str, Any]) -> None:
    network = make_network()
    count = 12
    chain = make_chain(settings)

    batch = Batch(network, rows_of(network, chain, count, Even()))

    together = sample_together(batch, count)
    assert together == sample_alone(network, chain, count, Even())
    assert max(map(len, together)) == 50
    assert settings or min(map(len, together)) < 50


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_a_network_that_lets_rounding_grow_is_read_alone(cell: str) -> None:
    network = make_network(0.5, cell=cell)
    count = 20
    chain = make_chain({"temperature": 2.0})

    batch = Batch(network, rows_of(network, chain, count))

    assert sample_together(batch, count) == sample_alone(network, chain, count)
    assert batch.is_exact


class Rough(Network):
    """A network whose batches round ten times worse than any product does."""

    def advance_all(self, tokens: Ids, states: State) -> State:
        read = super().advance_all(tokens, states)
        noise = np.random.default_rng(int(tokens.sum()))
        return tuple(
            tuple((a * (1 + noise.normal(0, 1e-6, a.shape))).astype(np.float32) for a in layer)
            for layer in read
        )


@pytest.mark.parametrize("settings", SETTINGS)
def test_where_rounding_might_decide_the_text_is_read_alone(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random ties are rare: with a wide tolerance and rough products they are not."""
    monkeypatch.setattr(batch_module, "_TOLERANCE", 1e-3)
    monkeypatch.setattr(batch_module, "_DRIFT", 1.0)
    network = make_network()
    count = 16
    rough = make_network()
    rough.__class__ = Rough
    chain = make_chain(settings)
    asked = []
    alone = Batch._sample_alone
    monkeypatch.setattr(Batch, "_sample_alone", lambda *args: asked.append(args[2]) or alone(*args))

    batch = Batch(rough, rows_of(network, chain, count))

    assert sample_together(batch, count) == sample_alone(network, chain, count)
    assert asked or not settings.get("temperature", 1)  # greedy meets few ties


class Partial(Network):
    """A network that gives some tokens no probability at all, as a blend in log space may."""

    def logits(self, state: State) -> np.ndarray:
        logits = super().logits(state)
        logits[..., :9] = -np.inf
        return logits


@pytest.mark.filterwarnings("error")
def test_tokens_without_probability_cost_no_second_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network()
    network.__class__ = Partial
    count = 12
    chain = make_chain({})
    asked: list[int] = []
    monkeypatch.setattr(Batch, "_sample_alone", lambda self, _, i, *pair: asked.append(i))

    batch = Batch(network, rows_of(network, chain, count))

    assert sample_together(batch, count) == sample_alone(network, chain, count)
    assert asked == []


def test_costs_are_the_models_own_before_anything_shaped_the_logits() -> None:
    network = make_network()
    count = 3
    chain = make_chain({"top_k": 2, "presence_penalty": 1.0})
    batch = Batch(network, rows_of(network, chain, count, alternatives=4))

    step = next(iter(batch))

    logits = network.logits(start_of(network).state).astype(np.float64)
    nats = np.log(np.exp(logits).sum()) - logits
    assert step.nats == pytest.approx(nats[step.tokens], rel=1e-4)
    assert step.top is not None
    assert step.top.tolist() == [np.argsort(nats)[:4].tolist()] * count
    assert step.top_nats == pytest.approx(np.sort(nats)[None, :4].repeat(count, 0), rel=1e-4)
