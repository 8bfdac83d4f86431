"""A network that uses the last two characters gains nothing from a third."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charrnn.interpret.context import SHUFFLED, measure_context
from charrnn.interpret.trace import record
from tests.interpret.networks import EACH_SHAPE, V, make_ids, make_network
from tests.interpret.test_decoding import KINDS, make_copy_network


@EACH_SHAPE
def test_losses_are_those_of_the_last_characters_read_alone(shape: dict[str, Any]) -> None:
    network = make_network(**shape)
    ids = make_ids(200)
    whole = record(network, ids)
    count = 5

    losses = measure_context(whole, count, 20, seed=2)

    starts = np.random.default_rng(2).integers(SHUFFLED, 200 - 20, count)
    for k in (1, 16, 17):
        chosen = starts if k <= 16 else starts[:2]
        assert losses.counts[k - 1] == len(chosen)
        alone = [record(network, ids[s : s + k]).log_probabilities[-1] for s in chosen]
        for found, rows in (
            (losses.alone, np.stack(alone)),
            (losses.whole, whole.log_probabilities[chosen + k - 1]),
        ):
            bits = -rows[np.arange(len(chosen)), ids[chosen + k]] / np.log(2)
            assert found[k - 1] == pytest.approx(bits.mean(), rel=1e-5, abs=1e-4)


def test_what_a_network_has_dropped_costs_nothing() -> None:
    network = make_copy_network()
    random = np.random.default_rng(3)
    # It predicts what stood 3 characters back, and the text comes again after 4.
    output = network.weights["output.weight"]
    output[:, 3 * KINDS :] = 9 * np.eye(KINDS)
    network = type(network)(network.config, network.weights)
    ids = np.tile(random.integers(0, KINDS, 4), 100)

    losses = measure_context(record(network, ids), 40, 32, seed=0)

    assert np.allclose(losses.whole, 0, atol=0.01)
    assert np.allclose(losses.alone[:3], 2)  # it knows nothing: all characters are equally likely
    assert np.allclose(losses.alone[3:], 0, atol=0.01)
    assert (losses.shuffled[:3] > 0.5).all()  # it is sure, and wrong
    assert np.allclose(losses.shuffled[3:], 0, atol=0.01)


def test_ends_of_records_stay_where_they_are() -> None:
    ids = make_ids(300, size=V - 1)
    ids[::5] = V - 1  # a new record at every fifth token: no context is longer than that
    network = make_network(cell="lstm", has_end=True)

    losses = measure_context(record(network, ids), 60, 16, seed=0)

    assert not np.allclose(losses.alone[:3], losses.whole[:3], atol=1e-3)
    assert np.allclose(losses.alone[4:], losses.whole[4:], atol=1e-6)
    assert np.allclose(losses.shuffled[4:], losses.whole[4:], atol=1e-6)


def test_a_seed_gives_the_same_figures() -> None:
    trace = record(make_network(cell="gru"), make_ids(300))

    first, again, other = (measure_context(trace, 8, 16, seed) for seed in (1, 1, 2))

    assert np.array_equal(first.shuffled, again.shuffled)
    assert not np.array_equal(first.shuffled, other.shuffled)
