"""The parts of a memory add to it, and a planted network gives the shares that it must."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charrnn.generation.network import Network
from charrnn.interpret.ledger import Ledger, make_ledger, reach, recent_shares
from charrnn.interpret.trace import record
from tests.interpret.networks import SHAPES, WITH_NGRAMS, H, V, make_ids, make_network

WITH_LEDGER = [shape for shape in SHAPES if shape["cell"] != "rnn"]


@pytest.mark.parametrize("shape", WITH_LEDGER, ids=str)
def test_the_parts_add_to_the_memory(shape: dict[str, Any]) -> None:
    trace = record(make_network(**shape), make_ids(40))

    for depth in trace.depths:
        for at in (0, 17, 39):
            ledger = make_ledger(trace, depth, at)
            assert ledger.parts.shape == (at + 2, H)
            assert np.array_equal(ledger.memory, trace.memory(depth)[at + 1])
            assert ledger.residual < 1e-5
            assert ledger.shares().sum() == pytest.approx(1)


@pytest.mark.parametrize("ngrams", [{}, WITH_NGRAMS], ids=["without", "with"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_end_of_a_record_clears_the_ledger(cell: str, ngrams: dict[str, Any]) -> None:
    ids = make_ids(12, size=V - 1)
    ids[7] = V - 1
    trace = record(make_network(cell=cell, has_end=True, **ngrams), ids)

    ledger = make_ledger(trace, 0, 11)

    assert ledger.residual < 1e-5
    shares = ledger.shares()
    assert not shares[: 7 + 1].any()  # the initial state and tokens 0 to 6
    assert (shares[8:] > 0).all()  # the end itself, which wrote the initial state, and after it


def make_constant_lstm(keep: float) -> Network:
    """Return an LSTM whose forget gate is `keep` and whose other gates are constants too."""
    network = make_network(cell="lstm")
    weights = {name: np.zeros_like(array) for name, array in network.weights.items()}
    bias = weights["layers.0.bias_ih"].reshape(4, H)
    bias[1] = np.log(keep / (1 - keep))
    bias[2] = np.linspace(-1, 1, H) + 0.1  # g, the same at each step
    return Network(network.config, weights)


def test_a_constant_forget_gate_gives_a_geometric_ledger() -> None:
    trace = record(make_constant_lstm(0.9), make_ids(60))

    shares = make_ledger(trace, 0, 59).shares()

    assert shares[0] == 0  # the initial state is zero
    assert np.allclose(shares[1:] / shares[-1], 0.9 ** np.arange(59, -1, -1), rtol=1e-5)
    # A half is written by the last n tokens once 1 − 0.9^n is a half.
    assert reach(shares[::-1], 0.5) == 7


def test_a_constant_update_gate_gives_a_geometric_ledger() -> None:
    network = make_network(cell="gru")
    weights = {name: np.zeros_like(array) for name, array in network.weights.items()}
    bias = weights["layers.0.bias_ih"].reshape(3, H)
    bias[1] = np.log(3)  # z = 3/4
    bias[2] = 0.5
    trace = record(Network(network.config, weights), make_ids(30))

    ledger = make_ledger(trace, 0, 29)

    assert np.allclose(ledger.shares()[1:] / ledger.shares()[-1], 0.75 ** np.arange(29, -1, -1))
    assert np.allclose(ledger.parts[-1], np.tanh(0.5) / 4)
    assert ledger.cancelled == pytest.approx(0, abs=1e-6)


def test_the_mean_ledger_is_that_of_each_place_where_all_are_alike() -> None:
    trace = record(make_constant_lstm(0.9), make_ids(60))

    recent = recent_shares([trace.part(a, a + 20) for a in (0, 11, 40)], 0)

    assert recent.shape == (21,)
    assert np.allclose(recent[1:20] / recent[:19], 0.9, rtol=1e-4)


def test_a_word_counts_what_its_characters_leave_together() -> None:
    parts = np.array([[1, 0], [3, 0], [-3, 1], [0, 2]], np.float32)
    ledger = Ledger(parts, parts.sum(0))

    shares = ledger.piece_shares(np.array([0, 2]))  # the first two tokens, and the third

    assert np.allclose(ledger.shares(), [0.1, 0.3, 0.4, 0.2])
    assert np.allclose(shares, [0.25, 0.25, 0.5])
    assert ledger.cancelled == pytest.approx(0.6)
    assert ledger.residual == 0


def test_what_was_never_written_has_no_reach() -> None:
    recent = np.array([0.5, 0.25, 0.25])  # the last quarter stood there before the text

    assert [reach(recent, share) for share in (0.5, 0.75, 0.9)] == [1, 2, None]
