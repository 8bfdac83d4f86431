"""Holds the baselines to each other: one text, the same characters of it, one unit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.analysis import baselines
from charrnn.analysis.baselines import (
    CONTEXT_BYTES,
    HELD_OUT_BYTES,
    compressor_bpc,
    ngram_nats,
    score_baselines,
)
from charrnn.text.vocab import Vocab

VOCAB = Vocab("abcdefghijklmnop")  # 4 bits each
IDS = np.random.default_rng(1).integers(0, VOCAB.size, 30_000).astype(VOCAB.dtype)
TRAIN, VAL = IDS[:20_000], IDS[20_000:]


def test_each_baseline_has_its_bits_per_character():
    nats = ngram_nats(TRAIN, VAL, VOCAB)

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


def test_the_compressors_cut_nothing_off_what_they_are_given():
    widest = 4  # bytes of a character in UTF-8

    assert baselines.HELD_OUT_TOKENS * widest <= HELD_OUT_BYTES
    assert baselines.COMPRESSED_TOKENS * widest <= CONTEXT_BYTES


def test_a_short_text_says_nothing():
    assert score_baselines(TRAIN, VAL[:999], VOCAB) == {}
    assert set(score_baselines(TRAIN, VAL[:1000], VOCAB)) == {"gzip", "xz", "5-gram"}


def test_characters_are_counted_and_not_the_tokens_that_spell_them():
    vocab = Vocab("ab", has_bytes=True)
    ids = vocab.encode("大" * 999)

    assert score_baselines(ids, ids, vocab) == {}
