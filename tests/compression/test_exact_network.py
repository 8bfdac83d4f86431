"""The exact network: near the float one, and the same to the last bit whoever sums."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.compression import exact_network
from charrnn.compression.exact_network import ExactNetwork
from charrnn.config.model import NOT_LEARNED
from charrnn.generation.network import Network
from tests.generation.random_models import NGRAMS

Make = Callable[..., ModelFile]

SHAPES: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "tanh": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu", "num_layers": 1},
    "logistic": {"cell": "rnn", "nonlinearity": "logistic"},
    "residual": {"cell": "gru", "residual": True, "num_layers": 3},
    "tied": {"cell": "lstm", "tie_embeddings": True, "initial_state": "learned"},
    "n-grams": {"cell": "gru", "num_layers": 3, "residual": True} | NGRAMS,
    "tied n-grams": {"cell": "lstm", "tie_embeddings": True} | NGRAMS,
}
EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def make_small(make_model: Make, shape: dict[str, Any]) -> ModelFile:
    """Return a model whose weights are of a trained one's size: larger ones make chaos."""
    model = make_model(**shape)
    for name in model.weights.keys() - NOT_LEARNED:
        model.weights[name] *= 0.5
    return model


def log_probabilities(model: ModelFile, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact and the float network's (S, V) after each of `ids`."""
    ours, floats = ExactNetwork(model.config, model.weights), Network(model.config, model.weights)
    state, other, rows, expected = ours.initial_state(), floats.initial_state(), [], []
    for token in ids:
        state, other = ours.advance(token, state), floats.advance(token, other)
        sums = ours.cumulative_frequencies(state)
        rows.append(np.log(np.diff(sums, prepend=0) / sums[-1]))
        logits = floats.logits(other).astype(np.float64)
        expected.append(logits - np.log(np.exp(logits).sum()))
    return np.array(rows), np.array(expected)


@EACH_SHAPE
def test_probabilities_are_the_float_networks_to_a_few_hundredths(
    shape: dict[str, Any], make_model: Make
) -> None:
    ids = np.random.default_rng(5).integers(0, 5, 40).tolist()

    ours, floats = log_probabilities(make_small(make_model, shape), ids)

    np.testing.assert_allclose(ours, floats, atol=0.05)


@EACH_SHAPE
def test_the_order_in_which_a_product_is_summed_changes_nothing(
    shape: dict[str, Any], make_model: Make
) -> None:
    model = make_model(**(shape | {"hidden_size": 100}))
    network = ExactNetwork(model.config, model.weights)
    random = np.random.default_rng(6)
    for product in (network._layers[0].recurrent, network._output):
        features = random.uniform(-1, 1, 100 if product._matrix.shape[1] == 100 else 3)
        order = random.permutation(len(features))
        shuffled = exact_network._Product(np.zeros((1, len(features)), np.float32), product._grid)
        shuffled._matrix = np.ascontiguousarray(product._matrix[:, order])

        assert np.array_equal(product(features), shuffled(features[order]))


@pytest.mark.parametrize(
    "grid", [exact_network._BOUNDED, exact_network._FREE], ids=["bounded", "free"]
)
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e5, 1e30])
def test_no_sum_leaves_what_its_float_holds_exactly(grid: Any, size: float) -> None:
    random = np.random.default_rng(7)
    weights = (random.normal(size=(9, 300)) * size).astype(np.float32)

    shift = exact_network._fraction_bits(weights, grid.row_bits)[:, None]
    product = exact_network._Product(weights, grid)

    steps = np.ldexp(product._matrix.astype(np.float64), shift)
    most_steps = np.abs(steps).sum(axis=1).max() * grid.steps * grid.largest
    assert np.array_equal(steps, np.rint(steps))
    assert most_steps <= 2.0 ** (np.finfo(grid.dtype).nmant + 1)


@pytest.mark.parametrize(
    "grid", [exact_network._BOUNDED, exact_network._FREE], ids=["bounded", "free"]
)
def test_a_row_uses_at_least_a_third_of_its_room(grid: Any) -> None:
    weights = np.random.default_rng(7).normal(size=(9, 300)).astype(np.float32)

    shift = exact_network._fraction_bits(weights, grid.row_bits)

    assert (np.ldexp(np.abs(weights).sum(axis=1), shift) > 2.0**grid.row_bits / 3).all()


def test_a_row_of_zeros_and_one_of_the_largest_weights_are_finite() -> None:
    weights = np.zeros((2, 4), np.float32)
    weights[1] = np.finfo(np.float32).max

    product = exact_network._Product(weights, exact_network._BOUNDED)(np.ones(4))

    assert product[0] == 0
    assert np.isfinite(product).all()


def test_the_tables_are_tanh_and_exp() -> None:
    points = np.linspace(-8, 8, len(exact_network._TANH))

    np.testing.assert_allclose(exact_network._TANH, np.tanh(points), rtol=0, atol=2**-24)
    assert exact_network._EXP[0] == 2**30
    assert exact_network._EXP[1024] == round(2**30 / np.e)
    assert exact_network._EXP[-1] == 1


def test_the_tables_are_the_same_numbers_everywhere() -> None:
    tables = (
        exact_network._TANH.astype("<f8").tobytes() + exact_network._EXP.astype("<i8").tobytes()
    )

    assert hashlib.sha256(tables).hexdigest() == (
        "acf95acbc13f0188011611884dcc440769ce7ad456d33a2d30f362f0b5b4d643"
    )


def test_every_id_has_a_frequency_however_improbable(make_model: Make) -> None:
    model = make_model()
    model.weights["output.bias"][:] = np.array([0, 1e30, -1e30, 3, 0], np.float32)
    network = ExactNetwork(model.config, model.weights)

    frequencies = np.diff(network.cumulative_frequencies(network.initial_state()), prepend=0)

    assert frequencies.tolist() == [1, 2**30, 1, 1, 1]
