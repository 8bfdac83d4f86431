"""Another word changes what a network holds, the same word does not, and a pool is fair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.generation.network import Network
from charrnn.interpret.counterfactual import (
    REPLACEMENTS,
    WordPool,
    fall_to,
    follow_words,
    stranger_distance,
    words_left,
)
from charrnn.interpret.trace import record
from charrnn.interpret.words import Words
from charrnn.state import select_row
from tests.interpret.networks import EACH_SHAPE, H, make_ids, make_network

WORDS = Words(np.array([3, 8, 14]), np.array([5, 12, 15]))


def same_word(word: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(word[None], 3, 0)


def next_tokens(word: NDArray[Any]) -> NDArray[Any]:
    return (word + np.array([[1], [2]])) % 6


@EACH_SHAPE
def test_the_same_word_changes_nothing(shape: dict[str, Any]) -> None:
    trace = record(make_network(**shape), make_ids(30))

    for bits, distances in follow_words(trace, WORDS, same_word, 0, 10):
        assert np.allclose(bits, 0, atol=1e-6)
        assert np.allclose(distances, 0, atol=1e-6)
    left = words_left(trace, WORDS, same_word, 0, 20)
    assert np.allclose(left, 0, atol=1e-6)


@EACH_SHAPE
def test_other_words_are_followed_as_texts_read_alone(shape: dict[str, Any]) -> None:
    network = make_network(**shape)
    trace = record(network, make_ids(30, size=6))
    depth = shape["num_layers"] - 1

    curves = [*follow_words(trace, WORDS, next_tokens, depth, 6)]

    for (start, stop), (bits, distances) in zip([(3, 5), (8, 12), (14, 15)], curves, strict=True):
        expected = []
        for others in next_tokens(trace.ids[start:stop]):
            ids = trace.ids.copy()
            ids[start:stop] = others
            other = record(network, ids)
            after = slice(stop - 1, stop + 5)
            p = trace.log_probabilities[after]
            kl = (np.exp(p) * (p - other.log_probabilities[after])).sum(-1) / np.log(2)
            apart = trace.hidden(depth)[1:][after] - other.hidden(depth)[1:][after]
            expected.append((kl, np.linalg.norm(apart, axis=-1)))
        assert np.allclose((bits, distances), np.mean(expected, 0), atol=1e-5)


def test_a_planted_half_life_is_found() -> None:
    network = make_network(cell="lstm")
    weights = {name: np.zeros_like(array) for name, array in network.weights.items()}
    weights["embedding.weight"] = network.weights["embedding.weight"]
    # The forget gate is ½, and g is so small that tanh is a line.
    weights["layers.0.weight_ih"][2 * H : 3 * H] = 1e-2 * network.weights["layers.0.weight_ih"][:H]
    trace = record(Network(network.config, weights), make_ids(30, size=6))

    for _, distances in follow_words(trace, WORDS, next_tokens, 0, 10):
        assert np.allclose(distances[1:] / distances[:-1], 0.5, rtol=1e-3)
        assert fall_to(distances, 0.25) == pytest.approx(2, rel=1e-3)


def test_what_is_left_at_a_place_is_what_the_curve_says() -> None:
    trace = record(make_network(cell="gru", num_layers=2), make_ids(30, size=6))

    bits, distances = words_left(trace, WORDS, next_tokens, 1, 16)

    curves = [*follow_words(trace, WORDS, next_tokens, 1, 13)]
    for number, stop in enumerate(WORDS.stops):
        assert bits[number] == pytest.approx(curves[number][0][17 - stop], abs=1e-6)
        assert distances[number] == pytest.approx(curves[number][1][17 - stop], abs=1e-6)


def test_a_word_that_is_not_read_yet_has_no_figure() -> None:
    trace = record(make_network(cell="lstm"), make_ids(30, size=6))

    bits, _ = words_left(trace, WORDS, next_tokens, 0, 10)

    assert np.isnan(bits).tolist() == [False, True, True]


def test_the_end_of_a_record_ends_every_effect() -> None:
    ids = make_ids(30, size=6)
    ids[17] = 6
    trace = record(make_network(cell="lstm", has_end=True), ids)

    for stop, (bits, distances) in zip(
        WORDS.stops, follow_words(trace, WORDS, next_tokens, 0, 12), strict=True
    ):
        assert (distances[: 17 - stop + 1] > 1e-4).all()
        assert not distances[17 - stop + 1 :].any()
        assert np.allclose(bits[17 - stop + 1 :], 0, atol=1e-6)


def test_a_pool_gives_other_words_of_the_length_as_often_as_they_occur() -> None:
    ids = np.array([1, 2, 1, 2, 3, 4, 1, 2, 5, 6, 7])  # 12, 12, 34, 12, 56 and 7
    words = Words(np.array([0, 2, 4, 6, 8, 10]), np.array([2, 4, 6, 8, 10, 11]))
    pool = WordPool(ids, words, seed=0)

    drawn = np.concatenate([pool.draw(np.array([5, 6])) for _ in range(50)])

    assert drawn.shape == (50 * REPLACEMENTS, 2)
    assert {tuple(word) for word in drawn.tolist()} == {(1, 2), (3, 4)}
    assert (drawn[:, 0] == 1).mean() == pytest.approx(0.75, abs=0.05)
    assert len(pool.draw(np.array([7]))) == 0  # there is no other word of one token
    assert len(pool.draw(np.array([1, 2, 3]))) == 0
    again = WordPool(ids, words, seed=0)
    assert np.array_equal(again.draw(np.array([5, 6])), drawn[:REPLACEMENTS])


def test_strangers_are_as_far_apart_as_random_places() -> None:
    h = np.eye(500, dtype=np.float32)

    assert stranger_distance(h, seed=1) == pytest.approx(np.sqrt(2), rel=0.01)
    assert stranger_distance(h[:1], seed=1) == 0


@pytest.mark.parametrize(
    ("curve", "expected"),
    [([8, 4, 2], 1), ([8, 5, 3], 1.5), ([8, 3, 6, 0], 2 + 1 / 3), ([8, 7], None), ([0, 0], None)],
)
def test_a_curve_falls_to_a_half_for_good(curve: list[float], expected: float | None) -> None:
    assert fall_to(np.array(curve, float), 0.5) == pytest.approx(expected)


def test_a_batch_of_words_reads_from_the_states_before_them() -> None:
    trace = record(make_network(cell="lstm"), make_ids(30, size=6))
    part = trace.part(2)
    assert np.array_equal(select_row(part.states, 0)[0][0], trace.hidden(0)[2])

    moved = Words(WORDS.starts - 2, WORDS.stops - 2)
    ours = [*follow_words(part, moved, next_tokens, 0, 6)]

    assert np.allclose(ours, [*follow_words(trace, WORDS, next_tokens, 0, 6)], atol=1e-7)
