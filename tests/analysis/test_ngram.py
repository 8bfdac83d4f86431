"""Holds the 5-gram to its definitions, to closed forms and to the laws of probability."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis import baselines
from charrnn.analysis.baselines import ngram_nats, ngram_token_nats
from charrnn.text.vocab import Vocab
from tests.reference.ngram import probability

V = 4
TEXTS = st.lists(st.integers(0, V - 1), max_size=60).map(np.array)
ORDERS = st.integers(1, 6)


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, dtype=np.uint8)


def probabilities(train: np.ndarray, held_out: np.ndarray, order: int, size: int = V) -> np.ndarray:
    return np.exp(-ngram_token_nats(train, held_out, size, order))


def text_of_order_4(length: int, seed: int) -> np.ndarray:
    """Give bits that are the exclusive or of the last and the fourth last, one in ten flipped."""
    flips = np.random.default_rng(seed).random(length) < 0.1
    bits = [0, 1, 1, 0]
    for flip in flips:
        bits.append(bits[-1] ^ bits[-4] ^ int(flip))
    return np.array(bits, dtype=np.uint8)


# ── the definitions ──


@given(TEXTS, TEXTS, ORDERS)
def test_every_probability_is_that_of_the_definitions(train, held_out, order):
    text = [*train, *held_out]
    expected = [
        probability(train, text[:i], text[i], V, order) for i in range(len(train), len(text))
    ]

    assert probabilities(train, held_out, order) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_discounts_estimated_from_a_text_are_those_of_the_definitions(order):
    zipf = np.minimum(np.random.default_rng(5).zipf(1.4, 3000) - 1, 40)
    train, held_out = zipf[:2960], zipf[2960:]
    expected = [
        probability(train, [*train, *held_out[:i]], token, 41, order)
        for i, token in enumerate(held_out)
    ]

    assert probabilities(train, held_out, order, 41) == pytest.approx(expected, rel=1e-9)


def test_a_text_of_four_tokens_by_hand():
    # Start-0, 0-1 (twice), 1-0: two tokens stand before 0, one before 1. D = ½, 1.
    lower = {0: (1 + 1.5 / 3) / 3, 1: (0.5 + 1.5 / 3) / 3, 2: (1.5 / 3) / 3}
    after_1 = {0: 0.5 + 0.5 * lower[0], 1: 0.5 * lower[1], 2: 0.5 * lower[2]}

    for token, expected in after_1.items():
        found = probabilities(ids(0, 1, 0, 1), ids(token), order=2, size=3)
        assert found == pytest.approx([expected])


def test_counts_of_counts_that_would_discount_less_than_nothing_are_not_believed():
    # One token once, one twice, five thrice, one four times: D₂ would be 2 − 5.
    train = np.repeat(np.arange(8), [1, 2, 3, 3, 3, 3, 3, 4])

    found = probabilities(train, ids(0, 1, 2, 8), order=1, size=9)

    below = (0.5 + 1 + 6 * 1.5) / 9
    assert found == pytest.approx((np.array([0.5, 1, 1.5, 0]) + below) / 22)


# ── the laws of probability ──


@given(TEXTS, TEXTS, ORDERS)
def test_the_probabilities_of_all_tokens_sum_to_1_after_any_context(train, context, order):
    found = [probabilities(train, np.append(context, token), order)[-1] for token in range(V)]

    assert sum(found) == pytest.approx(1, rel=1e-12)
    assert min(found) > 0
    assert max(found) <= 1


@given(TEXTS, TEXTS, TEXTS, ORDERS)
def test_held_out_text_is_never_counted(train, held_out, more, order):
    alone = probabilities(train, held_out, order)
    longer = probabilities(train, np.concatenate([held_out, more]), order)

    assert longer[: len(alone)] == pytest.approx(alone, rel=1e-12)


def test_tokens_that_were_never_seen_share_alike():
    train = ids(*[0, 1] * 30)
    found = [probabilities(train, ids(token), order=5)[0] for token in range(V)]

    assert found[2] == found[3]
    assert 0 < found[3] < found[1] < found[0]


# ── closed forms ──


def test_without_training_text_every_token_costs_log_of_the_vocabulary():
    assert ngram_token_nats(ids(), ids(2, 0, 2), 5) == pytest.approx([math.log(5)] * 3)


def test_without_held_out_text_there_is_nothing_to_pay():
    assert ngram_token_nats(ids(0, 1, 2), ids(), 3).shape == (0,)
    assert ngram_nats(ids(0, 1), ids(), Vocab("ab")) == 0


def test_a_sure_thing_costs_nothing():
    nats = ngram_token_nats(ids(*[0] * 50), ids(*[0] * 9), vocab_size=1)

    assert f"{nats.min()} {nats.max()}" == "0.0 0.0"


def test_noise_costs_about_its_entropy():
    noise = np.random.default_rng(2).integers(0, 16, 40_000)

    bits = ngram_token_nats(noise[:30_000], noise[30_000:], 16, order=2).mean() / math.log(2)

    assert 4 <= bits < 4 * 1.02


def test_a_cycle_costs_next_to_nothing():
    cycle = np.arange(20_000) % 7

    assert ngram_token_nats(cycle[:15_000], cycle[15_000:], 7).mean() < 0.001


def test_a_5_gram_knows_what_four_tokens_tell_and_a_4_gram_does_not():
    train, held_out = text_of_order_4(20_000, seed=1), text_of_order_4(5_000, seed=2)
    bits = {n: ngram_token_nats(train, held_out, 2, n).mean() / math.log(2) for n in (4, 5)}

    assert bits[5] == pytest.approx(-0.1 * math.log2(0.1) - 0.9 * math.log2(0.9), rel=0.05)
    assert bits[4] == pytest.approx(1, rel=0.01)


# ── alphabets and limits ──


@pytest.mark.parametrize("vocab_size", [256, 65_536, 70_000])
def test_the_start_is_no_token_of_the_vocabulary(vocab_size):
    last = vocab_size - 1
    train = np.array([last, 0, 1, last, 0], dtype=np.min_scalar_type(last))
    expected = probability(train, train, 1, vocab_size, 5)

    found = probabilities(train, train[2:3], order=5, size=vocab_size)

    assert found == pytest.approx([expected])


def test_nats_are_per_character_however_many_tokens_spell_it():
    vocab = Vocab("ab", has_bytes=True)
    train, held_out = vocab.encode("abab大ab小ab"), vocab.encode("a大b")
    assert len(held_out) == 5

    total = ngram_token_nats(train, held_out, vocab.size).sum()

    assert ngram_nats(train, held_out, vocab) == pytest.approx(total / 3)


def test_the_training_text_counts_with_its_end(monkeypatch):
    monkeypatch.setattr(baselines, "TRAINED_TOKENS", 100)
    text = np.random.default_rng(7).integers(0, V, 300)
    vocab = Vocab("abcd")

    whole = ngram_nats(text[:250], text[250:], vocab)

    assert whole == ngram_nats(text[150:250], text[250:], vocab)
    assert whole != ngram_nats(text[151:250], text[250:], vocab)
