"""A text read in chunks ends in the state of reading it one by one, whatever a network forgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.generation import prefill as module
from charrnn.generation.network import Network
from charrnn.generation.prefill import iter_prefill, prefill
from charrnn.state import State, iter_arrays
from tests.generation.random_models import NGRAMS, random_weights

V, E, H = 7, 5, 6
COUNT, LENGTH = 5, 100  # chunks of the smaller block, and tokens of a chunk, in these tests
LEAST = COUNT * LENGTH
CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("rnn", "logistic"), ("lstm", "tanh"), ("gru", "tanh")]
EACH_CELL = pytest.mark.parametrize("cell", CELLS, ids="-".join)


class Counting:
    """A network that counts what it reads: tokens one by one, and rows of several texts."""

    def __init__(self, network: Network) -> None:
        self._network, self.alone, self.rows = network, 0, 0

    def advance(self, token: int, state: State) -> State:
        self.alone += 1
        return self._network.advance(token, state)

    def advance_all(self, tokens: np.ndarray, states: State) -> State:
        self.rows += len(tokens)
        return self._network.advance_all(tokens, states)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"_MIN_CHUNKS": COUNT, "_CHUNK_TOKENS": LENGTH, "_AT_ONCE": 20, "_MAX_CHUNKS": 9}
    for name, size in (sizes | {"_MIN_MARK_TOKENS": 4, "_MAX_MARKS": 6}).items():
        monkeypatch.setattr(module, name, size)


def make_network(
    cell: tuple[str, str] = ("lstm", "tanh"),
    change: Callable[[dict[str, np.ndarray]], object] = lambda _: None,
    spread: float = 0.4,
    **shape: Any,
) -> Counting:
    """Return a network of random weights, which `change` may alter."""
    sizes = {"vocab_size": V, "hidden_size": H, "embedding_size": E} | shape
    config = ModelConfig(cell=cell[0], nonlinearity=cell[1], **sizes)
    weights = random_weights(config, 6, spread)
    change(weights)
    return Counting(Network(config, weights))


def make_ids(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, V, count)


def one_by_one(network: Counting, ids: np.ndarray, state: State) -> State:
    """The slow twin."""
    for token in ids.tolist():
        state = network._network.advance(token, state)
    return state


def assert_same(state: State, expected: State) -> None:
    for array, other in zip(iter_arrays(state), iter_arrays(expected), strict=True):
        assert (array.dtype, array.shape) == (np.float32, other.shape)
        np.testing.assert_allclose(array, other, rtol=1e-5, atol=1e-5)


def assert_reads_right(network: Counting, ids: np.ndarray, before: State | None = None) -> None:
    state = network.initial_state() if before is None else before
    assert_same(prefill(network, ids, state), one_by_one(network, ids, state))


# ── the same state ──


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("more", [{}, NGRAMS], ids=["characters", "n-grams"])
@EACH_CELL
def test_a_text_in_chunks_ends_in_the_state_of_one_by_one(
    cell: tuple[str, str], num_layers: int, more: dict[str, Any]
) -> None:
    network = make_network(cell, num_layers=num_layers, residual=num_layers > 1, **more)

    assert_reads_right(network, make_ids(900))
    assert network.alone == 0


@EACH_CELL
def test_prefill_starts_from_any_state(cell: tuple[str, str]) -> None:
    network = make_network(cell, num_layers=2, initial_state="learned", **NGRAMS)
    before = one_by_one(network, make_ids(3), network.initial_state())

    assert_reads_right(network, make_ids(950), before)


@pytest.mark.parametrize("count", [0, 1, LEAST - 1, LEAST, LEAST + 1, 899, 900, 901, 1401])
def test_any_length_is_read_whole(count: int) -> None:
    assert_reads_right(make_network(num_layers=2), make_ids(count))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_ids_may_have_any_type(dtype: type) -> None:
    assert_reads_right(make_network(), make_ids(520).astype(dtype))


@EACH_CELL
def test_prefill_changes_no_state_in_place(cell: tuple[str, str]) -> None:
    network = make_network(cell)
    state = one_by_one(network, make_ids(3), network.initial_state())
    before = [array.copy() for array in iter_arrays(state)]

    prefill(network, make_ids(300), state)

    assert all(map(np.array_equal, iter_arrays(state), before))


# ── networks that do not forget ──


def keep_everything(weights: dict[str, np.ndarray]) -> None:
    """Make an LSTM's forget gate 1: what came in stays in its cell for ever."""
    weights["layers.0.bias_ih"][H : 2 * H] = 20


def count_up(weights: dict[str, np.ndarray]) -> None:
    """Make the recurrence of an rnn the identity, and its input small: it counts."""
    weights["layers.0.weight_hh"][:] = np.eye(H)
    weights["layers.0.weight_ih"][:] = np.abs(weights["layers.0.weight_ih"]) / 100


def hold_what_came_first(weights: dict[str, np.ndarray]) -> None:
    """Make an rnn of latches: each unit keeps its sign for ever."""
    weights["layers.0.weight_hh"][:] = 5 * np.eye(H)


KEEPERS: dict[str, tuple[tuple[str, str], Callable[[dict[str, np.ndarray]], None]]] = {
    "lstm": (("lstm", "tanh"), keep_everything),
    "identity": (("rnn", "relu"), count_up),
    "latches": (("rnn", "tanh"), hold_what_came_first),
}


@pytest.mark.parametrize("name", KEEPERS)
@pytest.mark.parametrize("count", [LEAST, 701])
def test_a_network_that_never_forgets_is_read_right(name: str, count: int) -> None:
    cell, change = KEEPERS[name]
    network = make_network(cell, change)
    ids = make_ids(count)
    state = one_by_one(network, np.array([1, 2]), network.initial_state())

    assert_reads_right(network, ids, state)
    assert_reads_right(network, ids)


@pytest.mark.parametrize("name", ["lstm", "identity"])
def test_what_never_meets_is_read_one_by_one_at_last(name: str) -> None:
    cell, change = KEEPERS[name]
    network, ids = make_network(cell, change), make_ids(900)

    prefill(network, ids, network.initial_state())

    assert network.alone == 700  # but for two chunks, the first and the one that followed it
    assert network.rows == 900 + 800  # after one round in which none met, no other is tried


def test_a_state_that_overflows_overflows_as_one_by_one() -> None:
    def explode(weights: dict[str, np.ndarray]) -> None:
        weights["layers.0.weight_hh"][:] = 4 * np.eye(H)
        weights["layers.0.bias_ih"][:] = 1

    network, ids = make_network(("rnn", "relu"), explode), make_ids(900)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = one_by_one(network, ids, network.initial_state())
    state = prefill(network, ids, network.initial_state())

    assert not np.isfinite(expected[0][0]).all()
    assert_same(state, expected)


# ── on from another text's end ──


def test_blocks_end_at_places_that_no_longer_text_moves() -> None:
    assert module.block_ends(499) == []
    assert module.block_ends(500) == module.block_ends(899) == [500]
    assert module.block_ends(1399) == [900]
    assert module.block_ends(3300) == [900, 1800, 2700, 3200]


@pytest.mark.parametrize("count", [300, 899, 1650])
def test_a_longer_text_goes_on_from_every_state_on_its_way_to_the_last_bit(count: int) -> None:
    network, ids = make_network(num_layers=2), make_ids(count)
    expected = prefill(network, ids, network.initial_state())
    way = iter_prefill(network, ids, network.initial_state())
    states = [(read, state) for read, state in way if state is not None]

    for read, state in states:
        own = prefill(network, ids[:read], network.initial_state())  # of the text that ends there
        assert all(map(np.array_equal, iter_arrays(own), iter_arrays(state)))
        *_, (last, after) = [(read, state), *iter_prefill(network, ids, state, read)]
        assert last == count
        assert all(map(np.array_equal, iter_arrays(after), iter_arrays(expected)))


# ── its cost ──


def test_a_short_text_is_read_one_by_one_to_the_last_bit() -> None:
    network, ids = make_network(num_layers=2), make_ids(LEAST - 1)

    state = prefill(network, ids, network.initial_state())

    expected = one_by_one(network, ids, network.initial_state())
    assert all(map(np.array_equal, iter_arrays(state), iter_arrays(expected)))
    assert (network.alone, network.rows) == (LEAST - 1, 0)


def test_an_empty_text_returns_the_state() -> None:
    network = make_network()
    state = network.initial_state()

    assert prefill(network, make_ids(0), state) is state


def test_a_network_that_forgets_at_once_reads_little_twice() -> None:
    def forget(weights: dict[str, np.ndarray]) -> None:
        weights["layers.0.weight_hh"][:] = 0

    network, ids = make_network(("rnn", "tanh"), forget), make_ids(900)
    stride = -(-100 // 6)  # a hundred tokens of a chunk have no more than six marks

    prefill(network, ids, network.initial_state())

    assert (network.alone, network.rows) == (0, 900 + 8 * stride)


def test_a_network_of_a_trained_ones_memory_is_read_in_two_rounds() -> None:
    network, ids = make_network(num_layers=2, spread=0.2), make_ids(1800)

    prefill(network, ids, network.initial_state())

    assert network.alone == 0
    assert 1800 < network.rows < 2 * 1800
