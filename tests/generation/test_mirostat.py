"""Mirostat: what its limit keeps, and that the surprisal comes to what was wished."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.config import SampleConfig
from charrnn.generation.filters import Logits, keep_unsurprising, softmax, update_mirostat
from tests.generation.picks import make_pick, start_memory

some_logits = st.lists(st.floats(-9, 9), min_size=1, max_size=12).map(np.array)


@given(some_logits, st.floats(0, 12))
def test_what_is_more_surprising_than_the_limit_is_left_out_but_for_the_likeliest(
    logits: Logits, limit_bits: float
) -> None:
    probabilities = softmax(logits).tolist()
    surprisals = [-math.log2(each) for each in probabilities]
    assume(all(abs(each - limit_bits) > 1e-6 for each in surprisals))
    limit = max(limit_bits, min(surprisals) + 1e-12)

    kept = np.flatnonzero(keep_unsurprising(logits, limit_bits) > -np.inf).tolist()

    assert kept == [i for i, each in enumerate(surprisals) if each <= limit]


def test_the_limit_falls_where_more_was_drawn_than_wished_and_rises_where_less() -> None:
    assert update_mirostat(4.0, drawn_bits=3.0, target_bits=2.0, rate=0.5) == 3.5
    assert update_mirostat(4.0, drawn_bits=1.0, target_bits=2.0, rate=0.5) == 4.5


@pytest.mark.parametrize("target_bits", [1.0, 2.0, 3.0])
def test_the_mean_surprisal_comes_to_the_target(target_bits: float) -> None:
    """The logits are a wide Zipf, of which 4.8 bits are drawn where nothing limits them."""
    logits = -np.log(np.arange(1, 65))
    config = SampleConfig(temperature=1, mirostat=target_bits)
    pick, memory = make_pick(config, np.random.default_rng(3)), start_memory(config, (), 64)
    drawn_bits = []
    for _ in range(4000):
        kept = softmax(keep_unsurprising(logits, memory.limit_bits))
        token, memory = pick(logits, memory)
        drawn_bits.append(-math.log2(kept[token]))

    assert np.mean(drawn_bits) == pytest.approx(target_bits, abs=0.05)


def test_the_limit_never_falls_below_what_leaves_the_likeliest_alone() -> None:
    assert update_mirostat(0.25, drawn_bits=6.0, target_bits=2.0, rate=0.1) == 0
    assert np.isfinite(keep_unsurprising(np.array([1.0, 3, 3, 2]), 0)).tolist() == [0, 1, 1, 0]


def test_the_limit_begins_at_twice_the_target() -> None:
    assert start_memory(SampleConfig(mirostat=2.5), (), 4).limit_bits == 5
