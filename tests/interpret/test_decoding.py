"""A decoder finds what a planted network holds, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.generation.network import Network
from charrnn.interpret.decoding import (
    MAX_CLASSES,
    Decoder,
    aligned,
    classes_of,
    misaligned,
)
from charrnn.interpret.trace import Trace, record
from tests.interpret.networks import make_ids, make_network

KINDS, HELD = 4, 3  # characters, and how many back a copy network holds


def make_copy_network() -> Network:
    """Return a ReLU network whose state is the last HELD + 1 characters, one-hot, side by side."""
    size = KINDS * (HELD + 1)
    network = make_network(
        cell="rnn", nonlinearity="relu", vocab_size=KINDS, embedding_size=KINDS, hidden_size=size
    )
    weights = {name: np.zeros_like(array) for name, array in network.weights.items()}
    weights["embedding.weight"] = np.eye(KINDS, dtype=np.float32)
    weights["layers.0.weight_ih"][:KINDS] = np.eye(KINDS)
    weights["layers.0.weight_hh"] = np.eye(size, k=-KINDS, dtype=np.float32)
    return Network(network.config, weights)


@pytest.fixture(scope="module")
def ids() -> NDArray[np.int64]:
    """A random text in which some characters are rarer than others."""
    return np.random.default_rng(5).choice(KINDS, 6_000, p=[0.1, 0.2, 0.3, 0.4])


@pytest.fixture(scope="module")
def copies(ids: NDArray[np.int64]) -> Trace:
    return record(make_copy_network(), ids)


@pytest.mark.parametrize("is_exact", [False, True], ids=["ridge", "logistic"])
def test_a_copy_network_holds_all_of_the_last_characters_and_nothing_beyond(
    copies: Trace, ids: NDArray[np.int64], is_exact: bool
) -> None:
    decoder = Decoder(copies, 0, is_exact=is_exact)
    classes = classes_of(ids)

    for back in range(HELD + 1):
        found = decoder.decode(aligned(classes, back))
        assert found.accuracy == 1
        assert found.entropy_bits == pytest.approx(1.846, abs=0.03)  # of 0.1, 0.2, 0.3, 0.4
        assert found.information_bits == pytest.approx(found.entropy_bits, abs=0.01)
    for back in (HELD + 1, 8, 64):
        found = decoder.decode(aligned(classes, back))
        assert found.information_bits == pytest.approx(0, abs=0.01)
        assert found.accuracy == pytest.approx(0.4, abs=0.03)  # the most frequent character


def test_misaligned_states_tell_nothing(copies: Trace, ids: NDArray[np.int64]) -> None:
    decoder = Decoder(copies, 0)

    for seed in range(5):
        found = decoder.decode(misaligned(classes_of(ids), seed))
        assert found.information_bits == pytest.approx(0, abs=0.01)


def test_a_state_that_tells_half_gives_half_the_bits(copies: Trace) -> None:
    # The target is the last character in half of the places and a coin in the others.
    random = np.random.default_rng(7)
    true = copies.ids % 2
    targets = np.where(random.random(len(true)) < 0.5, true, random.integers(0, 2, len(true)))

    found = Decoder(copies, 0).decode(targets)

    # p = 3/4 given the state: 1 − H(1/4) bits, but for what the uneven coin has less than 1 bit.
    assert found.information_bits == pytest.approx(0.189, abs=0.03)
    assert found.accuracy == pytest.approx(0.75, abs=0.02)


def test_logistic_regression_tells_at_least_what_ridge_does() -> None:
    ids = make_ids(4_000)
    trace = record(make_network(cell="gru"), ids)
    targets = aligned(classes_of(ids), 2)

    ridge = Decoder(trace, 0).decode(targets)
    exact = Decoder(trace, 0, is_exact=True).decode(targets)

    assert exact.information_bits > ridge.information_bits - 0.02
    assert ridge.information_bits > 0.2


def test_the_character_so_many_back_is_the_target() -> None:
    classes = classes_of(np.array([7, 7, 3, 7, 3, 5]))

    assert classes.tolist() == [0, 0, 1, 0, 1, 2]  # the most frequent first
    assert aligned(classes, 2).tolist() == [-1, -1, 0, 0, 1, 0]


def test_rare_tokens_are_one_class() -> None:
    ids = np.concatenate((np.arange(300), np.arange(50)))

    classes = classes_of(ids)

    assert classes.max() == MAX_CLASSES
    assert (classes[:50] == np.arange(50)).all()
    assert (classes == MAX_CLASSES).sum() == 300 - MAX_CLASSES


def test_misaligned_classes_stay_in_their_part_and_move_far() -> None:
    classes = np.arange(1_000)

    moved = misaligned(classes, 0)

    for part in (slice(0, 600), slice(600, 700), slice(700, 1000)):
        assert sorted(moved[part]) == classes[part].tolist()
        length = part.stop - part.start
        apart = np.abs(moved[part] - classes[part])
        assert np.minimum(apart, length - apart).min() >= length // 4
