"""The numpy network against torch's: the same logits, from a state that is never written to.

With n-grams: a token adds the rows of the n-grams that end with it, alone and in a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig
from charrnn.generation.network import Network, NGrams
from charrnn.model.network import CharRNN, numpy_state_dict
from charrnn.state import State, repeat_state, select_row
from tests.generation.random_models import NGRAMS, ngram_choice, random_weights
from tests.reference import recurrent

V, E, H, S = 7, 5, 6, 50  # S tokens are read

CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("rnn", "logistic"), ("lstm", "tanh"), ("gru", "tanh")]
OUTPUTS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tie_embeddings": True, "embedding_size": H},
    "narrow": {"tie_embeddings": True, "embedding_size": H - 1},
    "wide": {"tie_embeddings": True, "embedding_size": H + 2},
    "n-grams": NGRAMS,
    "tied n-grams": {"tie_embeddings": True, "embedding_size": H - 1} | NGRAMS,
}
EACH_CELL = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: "-".join(cell))


def make_network(cell: tuple[str, str], **shape: Any) -> CharRNN:
    """Return a network with nothing left at zero that training would move."""
    sizes = {"vocab_size": V, "hidden_size": H, "embedding_size": E} | shape
    torch.manual_seed(3)
    network = CharRNN(ModelConfig(cell=cell[0], nonlinearity=cell[1], **sizes))
    for name, weight in network.named_parameters():
        if weight.requires_grad and ("bias" in name or "initial" in name):
            torch.nn.init.normal_(weight, std=0.5)
    if network.ngrams is not None:
        torch.nn.init.normal_(network.ngrams.weight)
        network.ngrams.keep(ngram_choice(network.config)["ngrams.check"])
    return network


def make_runtime(network: CharRNN) -> Network:
    return Network(network.config, numpy_state_dict(network))


def make_ids() -> list[int]:
    return np.random.default_rng(4).integers(0, V, S).tolist()


@torch.no_grad()
def torch_logits(network: CharRNN, ids: list[int]) -> np.ndarray:
    """Return torch's logits (S, V) after each of `ids`, read in one go."""
    return network(torch.tensor([ids]))[0][0].numpy()


def numpy_logits(network: Network, ids: list[int]) -> np.ndarray:
    """Return our logits (S, V) after each of `ids`, read one by one."""
    state, logits = network.initial_state(), []
    for token in ids:
        state = network.advance(token, state)
        logits.append(network.logits(state))
    return np.stack(logits)


def arrays_of(state: State) -> list[np.ndarray]:
    return [part.copy() for layer in state for part in layer]


@pytest.mark.parametrize("initial_state", ["zero", "learned"])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("skip", [False, True], ids=["plain", "skip"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@EACH_CELL
def test_logits_equal_torchs_over_fifty_characters(
    cell: tuple[str, str], num_layers: int, skip: bool, output: str, initial_state: str
) -> None:
    network = make_network(
        cell,
        num_layers=num_layers,
        residual=skip,
        initial_state=initial_state,
        **OUTPUTS[output],
    )
    ids = make_ids()

    logits = numpy_logits(make_runtime(network), ids)

    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, torch_logits(network, ids), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("output", ["untied", "narrow", "tied n-grams"])
@EACH_CELL
def test_the_table_of_the_first_layer_changes_no_logits(
    cell: tuple[str, str], output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, ids = make_network(cell, num_layers=2, **OUTPUTS[output]), make_ids()
    by_table = numpy_logits(make_runtime(network), ids)
    monkeypatch.setattr("charrnn.generation.network._LARGEST_TABLE", 0)

    by_product = numpy_logits(make_runtime(network), ids)

    np.testing.assert_allclose(by_product, by_table, rtol=2e-5, atol=2e-5)


@EACH_CELL
def test_advancing_leaves_the_state_it_was_given_as_it_was(cell: tuple[str, str]) -> None:
    shape = {"num_layers": 3, "residual": True, "initial_state": "learned"} | NGRAMS
    network = make_runtime(make_network(cell, **shape))
    state = network.prefill([1, 4, 2], network.initial_state())
    before = arrays_of(state)

    network.advance(5, state)

    assert all(map(np.array_equal, arrays_of(state), before))


@EACH_CELL
def test_the_same_state_twice_gives_the_same_next_state(cell: tuple[str, str]) -> None:
    network = make_runtime(make_network(cell, num_layers=2, initial_state="learned"))
    state = network.initial_state()
    first = arrays_of(network.advance(3, state))
    network.prefill(make_ids(), state)

    again = arrays_of(network.advance(3, state))

    assert all(map(np.array_equal, again, first))


@pytest.mark.parametrize("skip", [False, True], ids=["plain", "skip"])
def test_asking_for_logits_leaves_the_state_as_it_was(skip: bool) -> None:
    network = make_runtime(make_network(("gru", "tanh"), num_layers=3, residual=skip))
    state = network.prefill([1, 4, 2], network.initial_state())
    before = arrays_of(state)

    network.logits(state)

    assert all(map(np.array_equal, arrays_of(state), before))


@EACH_CELL
def test_prefill_is_advance_again_and_again(cell: tuple[str, str]) -> None:
    network, ids = make_runtime(make_network(cell, num_layers=2, **NGRAMS)), make_ids()
    state = network.initial_state()
    for token in ids:
        state = network.advance(token, state)

    at_once = network.prefill(ids, network.initial_state())

    assert all(map(np.array_equal, arrays_of(at_once), arrays_of(state)))


def test_prefilling_nothing_gives_the_state_back() -> None:
    network = make_runtime(make_network(("lstm", "tanh")))
    state = network.initial_state()

    assert network.prefill([], state) is state


@EACH_CELL
def test_a_long_text_keeps_the_state_in_float32(cell: tuple[str, str]) -> None:
    network = make_runtime(make_network(cell, num_layers=2, residual=True, **NGRAMS))

    state = network.prefill(make_ids(), network.initial_state())

    assert {part.dtype for layer in state for part in layer} == {np.dtype(np.float32)}


def test_logits_before_any_text_come_from_the_learned_state() -> None:
    network = make_network(("lstm", "tanh"), num_layers=2, initial_state="learned")
    (layer,) = list(network.layers)[1:]
    hidden = layer.get_parameter("initial")[0]
    reader = make_runtime(network)

    logits = reader.logits(reader.initial_state())

    assert logits == pytest.approx(network.output(hidden).detach().numpy(), abs=1e-6)


@EACH_CELL
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("shape", [{}, NGRAMS], ids=["characters", "n-grams"])
def test_states_read_side_by_side_are_those_read_alone(
    cell: tuple[str, str], depth: int, skip: bool, shape: dict[str, Any]
) -> None:
    network = make_runtime(make_network(cell, num_layers=depth, residual=skip, **shape))
    texts = np.random.default_rng(5).integers(0, V, (4, 30))

    together = repeat_state(network.initial_state(), len(texts))
    for tokens in texts.T:
        together = network.advance_all(tokens, together)

    alone = np.stack([numpy_logits(network, text.tolist())[-1] for text in texts])
    assert network.logits(together) == pytest.approx(alone, rel=1e-4, abs=1e-5)


# ── n-grams ──

ORDER = NGRAMS["ngram_order"]


def make_ngrams(**shape: Any) -> tuple[ModelConfig, dict[str, np.ndarray]]:
    config = ModelConfig(vocab_size=V, hidden_size=H, embedding_size=E, **(NGRAMS | shape))
    return config, random_weights(config, 2, 0.7)


@pytest.mark.parametrize("table", [16_000_000, 0], ids=["table", "product"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_logits_are_those_of_the_equations(
    cell: str, table: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.generation.network._LARGEST_TABLE", table)
    config, weights = make_ngrams(cell=cell, num_layers=2, residual=True)
    slow = {name: weight.astype(np.float64) for name, weight in weights.items()}

    logits = numpy_logits(Network(config, weights), make_ids())

    trace = recurrent.forward(config, slow, np.array([make_ids()]))
    np.testing.assert_allclose(logits, trace.logits[0], rtol=2e-5, atol=2e-5)


def test_some_n_grams_have_rows_and_others_not() -> None:
    config, weights = make_ngrams()
    ngrams = NGrams(config, weights)
    counts = set()
    context = ngrams.initial_context[0]
    for token in make_ids():
        rows, context = ngrams.find(token, context)
        counts.add(len(rows))

    assert counts == {0, 1, 2}


def test_n_grams_without_rows_change_not_one_bit() -> None:
    config, weights = make_ngrams(num_layers=2)
    weights["ngrams.check"][:] = -1
    plain = ModelConfig(vocab_size=V, hidden_size=H, embedding_size=E, num_layers=2)
    ids = make_ids()

    logits = numpy_logits(Network(config, weights), ids)

    assert np.array_equal(logits, numpy_logits(Network(plain, weights), ids))


def test_a_row_is_added_to_the_embedding_of_the_last_token() -> None:
    config, weights = make_ngrams()
    ngrams = NGrams(config, weights)
    first, second = next(
        (a, b)
        for a in range(V)
        for b in range(V)
        if ngrams.find(b, np.float32([weights["ngrams.key"][a], 0]))[0]
    )
    before = Network(config, weights).advance(first, Network(config, weights).initial_state())
    (row,) = ngrams.find(second, before[-1][0])[0]
    moved = dict(weights)
    moved["embedding.weight"] = weights["embedding.weight"].copy()
    moved["embedding.weight"][second] += weights["ngrams.weight"][row]
    plain = ModelConfig(vocab_size=V, hidden_size=H, embedding_size=E)

    after = Network(config, weights).advance(second, before)

    expected = Network(plain, moved).advance(second, before[:-1])
    np.testing.assert_allclose(after[0], expected[0], rtol=1e-5, atol=1e-6)


def test_the_last_entry_of_a_state_is_the_last_tokens_newest_first() -> None:
    config, weights = make_ngrams()
    weights["ngrams.key"] = np.arange(V, 0, -1).astype(np.float32)  # token 0 counts as V
    network = Network(config, weights)

    state = network.initial_state()
    contexts = [state[-1][0].tolist()]
    for token in (1, 5, 0):
        state = network.advance(token, state)
        contexts.append(state[-1][0].tolist())

    assert contexts == [[0, 0], [V - 1, 0], [V - 5, V - 1], [V, V - 5]]


def test_a_record_begins_without_the_tokens_before_it() -> None:
    config, weights = make_ngrams(has_end=True, initial_state="learned")
    network = Network(config, weights)
    state = network.prefill([1, 4], network.initial_state())

    ended = network.advance(V - 1, state)
    side_by_side = network.advance_all(np.array([V - 1, 2]), repeat_state(state, 2))

    assert ended is network.initial_state()
    assert side_by_side[-1][0].tolist() == [[0, 0], [3, 5]]


def test_a_batch_finds_the_sums_that_each_text_finds() -> None:
    config, weights = make_ngrams(ngram_order=5, ngram_rows=300)
    ngrams = NGrams(config, weights)
    contexts = np.random.default_rng(6).integers(0, 5, (60, 4)).astype(np.float32)
    tokens = np.random.default_rng(7).integers(0, V, 60)

    sums, recent = ngrams.read(tokens, contexts)

    for row, token in enumerate(tokens.tolist()):
        alone, after = ngrams.read(token, contexts[row])
        np.testing.assert_allclose(sums[row], alone, rtol=1e-6, atol=1e-7)
        assert np.array_equal(recent[row], after)
    assert np.count_nonzero(sums.any(1)) > 10


def test_many_n_grams_find_the_rows_that_each_finds() -> None:
    config, weights = make_ngrams(ngram_order=5, ngram_rows=300)
    ngrams = NGrams(config, weights)
    random = np.random.default_rng(6)
    tokens = random.integers(0, V, (20, 3))
    contexts = random.integers(0, 5, (4, 20, 3))
    keys = weights["ngrams.key"].astype(np.int64)[tokens]

    rows, is_known = ngrams.find_many(np.concatenate((keys[None], contexts)))

    assert rows.shape == is_known.shape == (4, 20, 3)
    for place in np.ndindex(20, 3):
        alone, _ = ngrams.find(int(tokens[place]), contexts[:, *place].astype(np.float32))
        assert rows[:, *place][is_known[:, *place]].tolist() == alone
    assert is_known.any()
    assert not is_known.all()


def test_a_network_of_float64_adds_rows_of_float32_in_float64() -> None:
    config, weights = make_ngrams()
    double = {
        name: array if name.startswith("ngrams.") else array.astype(np.float64)
        for name, array in weights.items()
    }
    exact = double | {"ngrams.weight": weights["ngrams.weight"].astype(np.float64)}
    one, other = Network(config, double), Network(config, exact)
    ids = make_ids()
    state = one.prefill(ids, one.initial_state())
    states = repeat_state(one.initial_state(), 2)
    for token in ids:
        states = one.advance_all(np.array([token, token]), states)

    expected = other.prefill(ids, other.initial_state())
    for each in (state, select_row(states, 1)):
        assert each[0][0].dtype == np.float64
        np.testing.assert_allclose(each[0][0], expected[0][0], rtol=1e-13)


@pytest.mark.parametrize("table", [16_000_000, 0], ids=["table", "product"])
def test_a_row_of_a_batch_may_be_taken_out_and_go_on_alone(
    table: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.generation.network._LARGEST_TABLE", table)
    config, weights = make_ngrams(num_layers=2)
    network = Network(config, weights)
    states = repeat_state(network.initial_state(), 3)
    for tokens in np.array([[1, 2, 3], [4, 0, 1]]):
        states = network.advance_all(tokens, states)

    alone = network.advance(2, select_row(states, 1))

    expected = network.prefill([2, 0, 2], network.initial_state())
    for one, other in zip(arrays_of(alone), arrays_of(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
