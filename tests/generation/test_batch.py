"""Texts that are sampled side by side are those that are sampled alone."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import ModelConfig, SampleConfig
from charrnn.generation import batch as batch_module
from charrnn.generation.batch import Batch
from charrnn.generation.chain import SamplerChain
from charrnn.generation.network import Network
from charrnn.generation.running import Row
from charrnn.generation.sampler import Context, iter_tokens
from charrnn.state import State
from charrnn.text.vocab import Ids
from tests.generation.random_models import NGRAMS, random_weights

V, H, L, LENGTH = 40, 64, 2, 60
PROMPT = np.array([3, 1, 4, 1, 5])
MANY_NGRAMS = NGRAMS | {"ngram_rows": 3000}  # of 40 tokens, most bigrams have a row


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


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("shape", [{}, MANY_NGRAMS], ids=["characters", "n-grams"])
def test_every_cell_samples_side_by_side(cell: str, shape: dict[str, Any]) -> None:
    network = make_network(cell=cell, **shape)
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


@pytest.mark.parametrize("settings", [{}, {"xtc": 0.5}, {"dry_penalty": 1.0, "dry_length": 2}])
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_a_network_that_lets_rounding_grow_is_read_alone(
    cell: str, settings: dict[str, Any]
) -> None:
    network = make_network(0.5, cell=cell)
    count = 20
    chain = make_chain({"temperature": 2.0} | settings)

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


# ── texts that join and leave ──

MIXED = [*SETTINGS, {"xtc": 0.5}, {"mirostat": 2.0, "top_k": 12}, {"dry_penalty": 1.0}]
PLANS = st.lists(
    st.tuples(
        st.integers(0, 6),  # steps between it and the one before
        st.integers(0, len(MIXED) - 1),
        st.integers(1, 40),  # ids after which it leaves
        st.integers(0, len(PROMPT)),  # ids of its prompt
        st.sampled_from([None, None, 0, 3]),
    ),
    min_size=1,
    max_size=30,
)


@given(PLANS, st.sampled_from(["lstm", "gru"]), st.sampled_from([{}, MANY_NGRAMS]))
@settings(max_examples=20, deadline=None)
def test_texts_that_join_and_leave_at_any_time_are_those_sampled_alone(
    plan: list[tuple[int, int, int, int, int | None]], cell: str, shape: dict[str, Any]
) -> None:
    """The prompts have different lengths, and the settings of one text are not those of another."""
    network = make_network(cell=cell, **shape)
    chains = [make_chain(each) for each in MIXED]
    batch = Batch(network)
    sampled: dict[int, list[int]] = {}
    expected = {}
    left = {}

    def row(number: int, place: int, asked: int, alternatives: int | None) -> Row:
        prompt = PROMPT[:asked]
        start = Context(network.prefill(prompt, network.initial_state()), prompt)
        random = np.random.default_rng([5, number])
        own = islice(iter_tokens(network, start, chains[place], random), left[number])
        expected[number] = [*own]
        return Row(start, chains[place], np.random.default_rng([5, number]), None, alternatives)

    def step() -> None:
        told = batch.step()
        assert told.asked is None or told.nats is not None
        for number, token in zip(told.rows.tolist(), told.tokens.tolist(), strict=True):
            sampled[number].append(token)
        batch.drop({number for number, ids in sampled.items() if len(ids) == left[number]})

    for number, (wait, place, count, asked, alternatives) in enumerate(plan):
        for _ in range(wait if len(batch) else 0):
            if len(batch):
                step()
        left[number] = count
        assert batch.join([row(number, place, asked, alternatives)]) == [number]
        sampled[number] = []
    while len(batch):
        step()

    assert sampled == expected


def test_a_text_with_much_to_read_again_leaves_the_others_and_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_module, "_TOLERANCE", 1e-3)
    monkeypatch.setattr(batch_module, "_DRIFT", 1.0)
    monkeypatch.setattr(batch_module, "_MOST_READ", 4)
    network = make_network()
    rough = make_network()
    rough.__class__ = Rough
    chain = make_chain({"xtc": 0.5, "dry_penalty": 0.5, "dry_length": 2})
    count = 12
    batch = Batch(rough, rows_of(network, chain, count))
    seen: list[int] = []
    step = batch.step
    monkeypatch.setattr(batch, "step", lambda: seen.append(len(batch._lone)) or step())

    assert sample_together(batch, count) == sample_alone(network, chain, count)
    assert max(seen[1:]) > 0
    assert 0 in seen[1:]


def test_a_batch_that_was_emptied_begins_anew() -> None:
    network = make_network()
    chain = make_chain({})
    batch = Batch(network)
    for begin in (0, 12, 24):
        assert batch.join(rows_of(network, chain, 12)) == [*range(begin, begin + 12)]
        steps = [batch.step().tokens.tolist() for _ in range(5)]
        assert [*map(list, zip(*steps, strict=True))] == [
            ids[:5] for ids in sample_alone(network, chain, 12)
        ]
        batch.drop(range(begin, begin + 12))
        assert len(batch) == 0


class Failing(Even):
    """A constraint that cannot follow some texts."""

    def mask(self, state: int) -> np.ndarray | None:
        if state == 9:
            raise ZeroDivisionError
        return super().mask(state)


@pytest.mark.parametrize("count", [3, 12])
def test_what_no_constraint_can_follow_ends_its_text_alone(count: int) -> None:
    network = make_network()
    chain = make_chain({})
    batch = Batch(network, rows_of(network, chain, count))
    batch.join(rows_of(network, chain, 1, Failing()))

    for _ in range(9):
        assert not batch.step().errors
    step = batch.step()

    assert list(step.errors) == [count]
    assert step.tokens[step.rows.tolist().index(count)] == -1
    batch.drop({count})
    sampled = batch.step()
    assert sampled.rows.tolist() == [*range(count)]
    alone = sample_alone(network, chain, count)
    assert sampled.tokens.tolist() == [ids[10] for ids in alone]


def test_costs_are_told_of_those_texts_that_ask_for_them() -> None:
    network = make_network()
    chain = make_chain({})
    batch = Batch(network, rows_of(network, chain, 10))
    batch.join(rows_of(network, chain, 2, alternatives=2))

    step = batch.step()

    assert step.asked is not None
    assert step.rows[step.asked].tolist() == [10, 11]
    assert step.nats is not None
    assert step.nats.shape == (2,)
    assert step.top is not None
    assert step.top.shape == (2, 2)
