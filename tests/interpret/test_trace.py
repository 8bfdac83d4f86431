"""A recorded text holds the sampler's states to the last bit, and the gates that made them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charrnn.interpret.trace import RUN_UP, record, record_lanes, sigmoid
from charrnn.state import iter_arrays, select_row
from tests.interpret.networks import (
    EACH_RECORD_SHAPE,
    EACH_SHAPE,
    ORDER,
    WITH_NGRAMS,
    H,
    V,
    added_by_ngrams,
    make_ids,
    make_network,
)


@EACH_SHAPE
def test_states_and_logits_are_those_of_the_sampler(shape: dict[str, Any]) -> None:
    network = make_network(**shape)
    ids = make_ids(9)

    trace = record(network, ids)

    state = network.initial_state()
    for t, token in enumerate(ids.tolist()):
        state = network.advance(token, state)
        for ours, theirs in zip(iter_arrays(trace.states), iter_arrays(state), strict=True):
            assert np.array_equal(ours[t + 1], theirs)
        assert np.array_equal(trace.features[t + 1], network.features(state))
        assert np.allclose(trace.logits[t], network.logits(state), atol=1e-5)


@EACH_RECORD_SHAPE
def test_states_are_those_of_the_sampler_where_records_end(shape: dict[str, Any]) -> None:
    network = make_network(**shape)
    ids = make_ids(40)
    assert (ids[:-ORDER] == V - 1).any()

    trace = record(network, ids)

    state = network.initial_state()
    for t, token in enumerate(ids.tolist()):
        state = network.advance(token, state)
        for ours, theirs in zip(iter_arrays(trace.states), iter_arrays(state), strict=True):
            assert np.array_equal(ours[t + 1], theirs)
        assert np.array_equal(trace.features[t + 1], network.features(state))


@pytest.mark.parametrize("lanes", [(), (2,)])
@EACH_RECORD_SHAPE
def test_what_is_read_is_the_embedding_and_the_ngrams_of_the_record(
    shape: dict[str, Any], lanes: tuple[int, ...]
) -> None:
    network = make_network(**shape)
    ids = make_ids(40, *lanes)
    trace = record(network, ids)
    inputs = trace.inputs(0).reshape(40, -1, 5)

    found = 0
    for lane, tokens in enumerate(ids.reshape(40, -1).T.tolist()):
        keys = [0] * (ORDER - 1)
        for t, token in enumerate(tokens):
            ngrams = added_by_ngrams(network, token, np.array(keys))
            expected = network.weights["embedding.weight"][token] + ngrams
            assert np.allclose(inputs[t, lane], expected, atol=1e-6)
            found += ngrams.any()
            keys = [int(network.weights["ngrams.key"][token]), *keys[:-1]]
            if token == V - 1:  # the next token has none before it
                keys = [0] * (ORDER - 1)
    assert found > 5


def test_the_last_tokens_are_no_layer() -> None:
    trace = record(
        make_network(cell="lstm", num_layers=2, residual=True, **WITH_NGRAMS), make_ids(9)
    )

    assert [*trace.depths] == [0, 1]
    assert len(trace.states) == 3
    assert trace.states[-1][0].shape == (10, ORDER - 1)
    assert trace.layer_states == trace.states[:2]
    assert np.array_equal(trace.features, trace.hidden(1) + trace.hidden(0))


@EACH_SHAPE
def test_gates_give_the_next_state(shape: dict[str, Any]) -> None:
    trace = record(make_network(**shape), make_ids(9))

    for depth in trace.depths:
        gates = trace.gates(depth)
        before = trace.memory(depth)[:-1]
        after = trace.memory(depth)[1:]
        if shape["cell"] == "lstm":
            assert np.allclose(gates["f"] * before + gates["i"] * gates["g"], after, atol=1e-6)
            assert np.allclose(gates["o"] * np.tanh(after), trace.hidden(depth)[1:], atol=1e-6)
        elif shape["cell"] == "gru":
            found = (1 - gates["z"]) * gates["n"] + gates["z"] * before
            assert np.allclose(found, after, atol=1e-6)
        else:
            assert not gates


def test_texts_side_by_side_are_those_read_alone() -> None:
    network = make_network(cell="lstm", num_layers=2, has_end=True)
    ids = make_ids(9, 4)
    assert (ids == V - 1).any()  # a record ends

    together = record(network, ids)

    for lane in range(4):
        alone = record(network, ids[:, lane])
        for ours, theirs in zip(
            iter_arrays(alone.states), iter_arrays(together.states), strict=True
        ):
            assert np.allclose(ours, theirs[:, lane], atol=1e-6)
        assert np.allclose(alone.gates(1)["f"], together.gates(1)["f"][:, lane], atol=1e-6)
        assert np.allclose(alone.logits, together.logits[:, lane], atol=1e-5)
        assert np.array_equal(alone.is_end, together.is_end[:, lane])


@pytest.mark.parametrize("ngrams", [{}, WITH_NGRAMS], ids=["without", "with"])
def test_a_part_is_the_same_text_from_there_on(ngrams: dict[str, Any]) -> None:
    trace = record(make_network(cell="gru", **ngrams), make_ids(9))

    part = trace.part(2, 7)

    again = record(trace.network, trace.ids[2:7], select_row(trace.states, 2))
    assert np.array_equal(part.hidden(0), again.hidden(0))
    assert np.array_equal(part.inputs(0), trace.inputs(0)[2:7])
    assert len(part) == 5
    assert part.hidden(0).shape == (6, H)


def test_probabilities_sum_to_one() -> None:
    trace = record(make_network(cell="gru"), make_ids(9))

    assert np.exp(trace.log_probabilities).sum(-1) == pytest.approx(1, abs=1e-6)


def test_no_input_makes_a_sigmoid_overflow() -> None:
    values = np.float32([-1e30, -2, 0, 2, 1e30])

    assert sigmoid(values) == pytest.approx([0, 0.1192029, 0.5, 0.8807971, 1])


@pytest.mark.parametrize("ngrams", [{}, WITH_NGRAMS], ids=["without", "with"])
def test_a_long_text_read_in_stretches_has_the_states_of_the_whole(ngrams: dict[str, Any]) -> None:
    network = make_network(cell="gru", **ngrams)  # it forgets long before RUN_UP
    ids = make_ids(3 * RUN_UP + 5)

    found = record_lanes(network, ids, lanes=2)
    whole = record(network, ids)

    assert len(found) == len(ids)
    assert np.allclose(found.hidden(0), whole.hidden(0), atol=1e-5)
    assert np.array_equal(found.states[1:], whole.states[1:])
    assert np.allclose(found.gates(0)["z"], whole.gates(0)["z"], atol=1e-5)


def test_blocks_of_log_probabilities_are_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trace = record(make_network(cell="gru"), make_ids(11))
    monkeypatch.setattr("charrnn.interpret.trace._LOGITS_AT_ONCE", 4 * V)

    blocks = [*trace.log_probability_blocks()]

    assert [(places.start, places.stop) for places, _ in blocks] == [(0, 4), (4, 8), (8, 11)]
    together = np.concatenate([log_p for _, log_p in blocks])
    np.testing.assert_allclose(together, trace.log_probabilities, rtol=1e-5)
