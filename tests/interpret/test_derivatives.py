"""Gradients by hand against central differences, torch's autograd and the reference network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.generation.network import Network
from charrnn.interpret.derivatives import Derivatives, grad_of_nats
from charrnn.interpret.trace import Array, record
from charrnn.model.network import CharRNN, load_numpy_state_dict, public_name
from charrnn.state import State, iter_arrays, map_state, select_row
from tests.interpret.networks import (
    EACH_RECORD_SHAPE,
    EACH_SHAPE,
    WITH_NGRAMS,
    H,
    V,
    make_ids,
    make_network,
)

T = 8
STEP = 1e-5  # of central differences, in float64


def loss_of(network: Network, ids: Array, state: State | None = None) -> float:
    """Return the sum of −ln p of each id after the first, in nats."""
    trace = record(network, ids[:-1], state)
    return -float(np.take_along_axis(trace.log_probabilities, ids[1:, None], -1).sum())


def gradients_of(network: Network, ids: Array) -> Any:
    trace = record(network, ids[:-1])
    return Derivatives(trace).gradients(grad_of_nats(trace.log_probabilities, ids[1:]))


@EACH_SHAPE
def test_gradients_by_states_are_central_differences(shape: dict[str, Any]) -> None:
    network = make_network(dtype=np.float64, **shape)
    ids = make_ids(T)
    trace = record(network, ids[:-1])
    found = gradients_of(network, ids).states

    for t in (0, 3, T - 2):
        state = select_row(trace.states, t)
        expected = map_state(np.zeros_like, select_row(trace.layer_states, t))
        for index, array in enumerate(iter_arrays(expected)):
            for unit in range(len(array)):
                up, down = (
                    loss_of(network, ids[t:], moved(state, index, unit, sign * STEP))
                    for sign in (1, -1)
                )
                array[unit] = (up - down) / (2 * STEP)
        assert_near(found[t], expected, 1e-6)


def assert_near(found: State, expected: State, tolerance: float) -> None:
    """Compare two states; the tolerance is relative to the largest number."""
    scale = max(np.abs(array).max() for array in iter_arrays(expected))
    for ours, theirs in zip(iter_arrays(found), iter_arrays(expected), strict=True):
        assert np.abs(ours - theirs).max() <= tolerance * scale


def moved(state: State, index: int, unit: int, change: float) -> State:
    """Return a state with one number of its array `index` changed."""
    number = iter(range(1000))

    def move(array: Array) -> Array:
        if next(number) != index:
            return array
        array = array.copy()
        array[unit] += change
        return array

    return map_state(move, state)


@EACH_SHAPE
def test_gradients_by_weights_are_those_of_torch(shape: dict[str, Any]) -> None:
    network = make_network(**shape)
    ids = make_ids(T)
    model = CharRNN(network.config)
    load_numpy_state_dict(model, network.weights)
    ids_of_lane = torch.tensor(ids[None])
    model.loss_sum(ids_of_lane[:, :-1], ids_of_lane[:, 1:], None, None)[0].backward()

    ours = gradients_of(network, ids).weights()

    for name, weight in model.named_parameters():
        if weight.grad is not None and ".initial" not in name:
            theirs = weight.grad.numpy()
            found = ours[public_name(name)]
            assert np.abs(found - theirs).max() <= 1e-5 * max(1, np.abs(theirs).max()), name
    if network.config.ngram_rows:
        assert ours["ngrams.weight"].any()
        assert not ours["ngrams.check"].any()
        assert not ours["ngrams.key"].any()


@EACH_RECORD_SHAPE
def test_so_they_are_where_records_end(shape: dict[str, Any]) -> None:
    network = make_network(**shape)
    for depth in range(network.config.num_layers):
        network.weights[f"layers.{depth}.initial"][1:] = 0  # c, with which no record begins
    network = Network(network.config, network.weights)
    ids = make_ids(40, seed=6)
    assert (ids[:-2] == V - 1).sum() > 2
    model = CharRNN(network.config)
    load_numpy_state_dict(model, network.weights)
    logits = model(torch.tensor(ids[None, :-1]))[0][0]
    nats = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
    nats.sum().backward()

    ours = gradients_of(network, ids).weights()

    for name, weight in model.named_parameters():
        if weight.grad is not None and ".initial" not in name:
            theirs = weight.grad.numpy()
            found = ours[public_name(name)]
            assert np.abs(found - theirs).max() <= 1e-5 * max(1, np.abs(theirs).max()), name
    assert ours["ngrams.weight"].any()


@EACH_SHAPE
def test_changes_forth_are_central_differences(shape: dict[str, Any]) -> None:
    network = make_network(dtype=np.float64, **shape)
    trace = record(network, make_ids(3))
    random = np.random.default_rng(5)
    change = map_state(lambda array: random.normal(size=array[0].shape), trace.layer_states)

    found = change
    for t in range(3):
        found = Derivatives(trace).forth(t, found)

    start = network.initial_state()
    count = len(change)
    ends = []
    for sign in (1, -1):
        near = map_state(lambda a, d, s=sign: a + s * STEP * d, start[:count], change)
        read = record(network, trace.ids, near + start[count:])
        ends.append(select_row(read.layer_states, -1))
    expected = map_state(lambda up, down: (up - down) / (2 * STEP), *ends)
    assert_near(found, expected, 1e-6)


def test_no_gradient_goes_over_the_end_of_a_record() -> None:
    network = make_network(cell="lstm", has_end=True)
    ids = np.array([1, 2, V - 1, 3, 4, 5])
    trace = record(network, ids[:-1])
    grad = np.zeros_like(trace.logits)
    grad[4] = 1

    gradients = Derivatives(trace).gradients(grad)

    assert all(np.abs(array).max() > 0 for array in iter_arrays(gradients.states[3]))
    for t in (0, 1, 2):
        assert all(np.abs(array).max() == 0 for array in iter_arrays(gradients.states[t]))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_last_tokens_of_a_state_have_no_derivative(cell: str) -> None:
    trace = record(make_network(cell=cell, num_layers=2, **WITH_NGRAMS), make_ids(T))
    derivatives = Derivatives(trace)
    ones = map_state(lambda array: np.ones_like(array[0]), trace.states)
    layers = ones[:2]

    back = derivatives.back(4, ones)
    forth = derivatives.forth(4, ones)

    for found, alone in (
        (back.state, derivatives.back(4, layers).state),
        (back.whole, derivatives.back(4, layers).whole),
        (forth, derivatives.forth(4, layers)),
    ):
        assert_near(found[:2], alone, 0)
        assert not found[2][0].any()
        assert found[2][0].shape == (2,)
    assert back.state[0][0].shape == (H,)


def test_losses_side_by_side_are_those_taken_alone() -> None:
    trace = record(make_network(cell="gru", num_layers=2), make_ids(T))
    derivatives = Derivatives(trace)
    features = np.random.default_rng(6).normal(size=(3, trace.config.hidden_size))
    zeros = map_state(lambda array: np.zeros_like(features), trace.states)

    together = derivatives.back(4, zeros, features)

    for row in range(3):
        alone = derivatives.back(4, map_state(lambda array: array[0], zeros), features[row])
        assert np.allclose(together.x[row], alone.x)
        assert np.allclose(together.state[1][0][row], alone.state[1][0])
