"""Holds gzip, xz and the 5-gram to closed forms, to definitions, and to the same text and unit."""

from __future__ import annotations

import gzip
import lzma
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis import baselines
from charrnn.analysis.baselines import (
    compressor_bpc,
    ngram_token_nats,
    score_baselines,
    whole_bpc,
)
from charrnn.text.vocab import END, Vocab
from tests.reference.ngram import probability

VOCAB = Vocab("abcdefghijklmnop")  # 4 bits each
IDS = np.random.default_rng(1).integers(0, VOCAB.size, 30_000).astype(VOCAB.dtype)
TRAIN = IDS[:20_000]
VAL = IDS[20_000:]
NAMES = ["gzip", "xz"]
V = 4
TEXTS = st.lists(st.integers(0, V - 1), max_size=60).map(np.array)
ORDERS = st.integers(1, 6)


def noise(alphabet: str, length: int, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


NOISE = noise(VOCAB.alphabet, 20_000)


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, dtype=np.uint8)


def probabilities(train: np.ndarray, held_out: np.ndarray, order: int, size: int = V) -> np.ndarray:
    return np.exp(-ngram_token_nats(train, held_out, size, order))


def text_of_order_4(length: int, seed: int) -> np.ndarray:
    """Return bits that are the exclusive or of the last and the fourth last, one in ten flipped."""
    flips = np.random.default_rng(seed).random(length) < 0.1
    bits = [0, 1, 1, 0]
    for flip in flips:
        bits.append(bits[-1] ^ bits[-4] ^ int(flip))
    return np.array(bits, dtype=np.uint8)


# All of them


def test_each_baseline_has_its_bits_per_character():
    nats = ngram_token_nats(TRAIN, VAL, VOCAB.size).mean()

    assert score_baselines(TRAIN, VAL, VOCAB) == {
        **compressor_bpc(VOCAB.decode(TRAIN), VOCAB.decode(VAL)),
        "5-gram": pytest.approx(nats / math.log(2)),
    }


def test_all_baselines_pay_the_entropy_of_noise():
    for bpc in score_baselines(TRAIN, VAL, VOCAB).values():
        assert 4 <= bpc < 4 * 1.2


def test_all_baselines_stop_at_the_same_token(monkeypatch):
    monkeypatch.setattr(baselines, "HELD_OUT_TOKENS", 1500)

    assert score_baselines(TRAIN, VAL, VOCAB) == score_baselines(TRAIN, VAL[:1500], VOCAB)


def test_the_compressors_have_read_the_end_of_the_training_text(monkeypatch):
    monkeypatch.setattr(baselines, "COMPRESSED_TOKENS", 3000)
    before = VOCAB.decode(TRAIN[-3000:])

    found = score_baselines(TRAIN, VAL, VOCAB)

    assert found == found | compressor_bpc(before, VOCAB.decode(VAL))


def test_a_short_text_says_nothing():
    assert score_baselines(TRAIN, VAL[:999], VOCAB) == {}
    assert set(score_baselines(TRAIN, VAL[:1000], VOCAB)) == {"gzip", "xz", "5-gram"}


def test_characters_are_counted_and_not_the_tokens_that_spell_them():
    vocab = Vocab("ab", has_bytes=True)
    ids = vocab.encode("大" * 999)

    assert score_baselines(ids, ids, vocab) == {}


def test_the_5_gram_pays_by_the_character_and_not_by_the_token():
    vocab = Vocab("ab", has_bytes=True)
    ids = vocab.encode("a大b小" * 300)
    train = ids[:40]

    nats = ngram_token_nats(train, ids, vocab.size).sum() / 1200

    assert score_baselines(train, ids, vocab)["5-gram"] == pytest.approx(nats / math.log(2))


def test_the_5_gram_has_read_the_end_of_the_training_text(monkeypatch):
    monkeypatch.setattr(baselines, "TRAINED_TOKENS", 100)

    found = score_baselines(TRAIN, VAL, VOCAB)["5-gram"]

    assert found == score_baselines(TRAIN[-100:], VAL, VOCAB)["5-gram"]
    assert found != score_baselines(TRAIN[-99:], VAL, VOCAB)["5-gram"]


# The compressors


@pytest.mark.parametrize("name", NAMES)
def test_noise_costs_a_compressor_about_its_entropy(name):
    assert 4 <= whole_bpc([NOISE])[name] < 4 * 1.2


@pytest.mark.parametrize("name", NAMES)
def test_a_repetition_costs_next_to_nothing(name):
    assert whole_bpc(["ab" * 50_000])[name] < 0.05


def test_figures_are_those_of_the_whole_files():
    text = "Größe und 大小\n" * 500 + NOISE
    data = text.encode()
    assert whole_bpc([text]) == {
        "gzip": len(gzip.compress(data, 9)) * 8 / len(text),
        "xz": len(lzma.compress(data, preset=6)) * 8 / len(text),
    }


def test_figures_do_not_depend_on_the_pieces():
    assert whole_bpc([NOISE]) == whole_bpc(NOISE[i : i + 7] for i in range(0, len(NOISE), 7))


def test_only_the_beginning_counts_and_no_character_is_cut_in_two(monkeypatch):
    monkeypatch.setattr(baselines, "WHOLE_BYTES", 100)
    # 98 bytes and then three for each character: the first of them does not fit.
    text = "a" * 98 + "大小"
    assert whole_bpc([text, "b"]) == whole_bpc(["a" * 98])


def test_a_text_that_just_fits_counts_whole(monkeypatch):
    monkeypatch.setattr(baselines, "WHOLE_BYTES", 6)
    assert whole_bpc(["大", "小", "x"]) == whole_bpc(["大小"])


def test_nothing_has_no_figure():
    assert whole_bpc([]) == whole_bpc([""]) == compressor_bpc("abc", "") == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_text_seen_before_costs_far_less_than_alone(name):
    assert compressor_bpc(NOISE, NOISE)[name] < compressor_bpc("", NOISE)[name] / 20


@pytest.mark.parametrize("name", NAMES)
def test_a_context_of_other_noise_does_not_help(name):
    other = noise(VOCAB.alphabet, 20_000, seed=2)
    assert 4 <= compressor_bpc(other, NOISE)[name] < 4 * 1.2


def test_a_lone_surrogate_is_no_obstacle():
    assert set(whole_bpc(["\ud800"])) == set(compressor_bpc("\ud800", "\ud800")) == set(NAMES)


# The 5-gram: the definitions


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
    train = zipf[:2960]
    held_out = zipf[2960:]
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


# The 5-gram: the laws of probability


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


# The 5-gram: closed forms


def test_without_training_text_every_token_costs_log_of_the_vocabulary():
    assert ngram_token_nats(ids(), ids(2, 0, 2), 5) == pytest.approx([math.log(5)] * 3)


def test_an_empty_held_out_text_has_no_nats():
    assert ngram_token_nats(ids(0, 1, 2), ids(), 3).shape == (0,)


def test_a_certain_token_costs_nothing():
    nats = ngram_token_nats(ids(*[0] * 50), ids(*[0] * 9), vocab_size=1)

    assert f"{nats.min()} {nats.max()}" == "0.0 0.0"


def test_noise_costs_a_bigram_about_its_entropy():
    noise = np.random.default_rng(2).integers(0, 16, 40_000)

    bits = ngram_token_nats(noise[:30_000], noise[30_000:], 16, order=2).mean() / math.log(2)

    assert 4 <= bits < 4 * 1.02


def test_a_cycle_costs_next_to_nothing():
    cycle = np.arange(20_000) % 7

    assert ngram_token_nats(cycle[:15_000], cycle[15_000:], 7).mean() < 0.001


def test_a_5_gram_knows_what_four_tokens_tell_and_a_4_gram_does_not():
    train = text_of_order_4(20_000, seed=1)
    held_out = text_of_order_4(5_000, seed=2)
    bits = {n: ngram_token_nats(train, held_out, 2, n).mean() / math.log(2) for n in (4, 5)}

    assert bits[5] == pytest.approx(-0.1 * math.log2(0.1) - 0.9 * math.log2(0.9), rel=0.05)
    assert bits[4] == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("vocab_size", [256, 65_536, 70_000])
def test_the_start_is_no_token_of_the_vocabulary(vocab_size):
    last = vocab_size - 1
    train = np.array([last, 0, 1, last, 0], dtype=np.min_scalar_type(last))
    expected = probability(train, train, 1, vocab_size, 5)

    found = probabilities(train, train[2:3], order=5, size=vocab_size)

    assert found == pytest.approx([expected])


def test_the_ends_of_records_cost_what_newlines_of_the_same_text_do():
    lines = [noise("abcd", 1 + length % 9, length) for length in range(600)]
    train = "\n".join(["", *lines[:400], ""])
    val = "\n".join([*lines[400:], ""])
    of_records = Vocab("abcd", has_end=True)
    of_lines = Vocab("\nabcd")
    ends = [of_records.encode(text.replace("\n", END)) for text in (train, "\n" + val)]
    newlines = [of_lines.encode(text) for text in (train, val)]

    found = score_baselines(*ends, of_records)
    expected = score_baselines(*newlines, of_lines)
    assert found == {name: pytest.approx(bpc) for name, bpc in expected.items()}
    assert len(found) == 3


def test_of_many_records_those_count_that_end_within_what_is_scored(
    monkeypatch: pytest.MonkeyPatch,
):
    vocab = Vocab("abcd", has_end=True)
    lines = [noise("abcd", 1 + length % 9, length) for length in range(600)]
    train, val = (vocab.encode(END.join(["", *part, ""])) for part in (lines[:300], lines[300:]))
    whole = int(np.flatnonzero(val == vocab.end)[242]) + 1
    expected = score_baselines(train, val[:whole], vocab)

    monkeypatch.setattr(baselines, "HELD_OUT_TOKENS", whole + 3)

    assert val[whole + 2] != vocab.end
    assert score_baselines(train, val, vocab) == expected
    assert len(expected) == 3
