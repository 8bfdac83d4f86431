"""Mirostat: what mu keeps, and that the surprisal comes to the target."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.config import SampleConfig
from charrnn.generation.filters import Logits, keep_unsurprising, softmax, update_mirostat
from tests.generation.sampling import make_sampler, start_state

some_logits = st.lists(st.floats(-9, 9), min_size=1, max_size=12).map(np.array)


@given(some_logits, st.floats(0, 12))
def test_what_is_more_surprising_than_mu_is_left_out_but_for_the_likeliest(
    logits: Logits, mu: float
) -> None:
    probabilities = softmax(logits).tolist()
    surprisals = [-math.log2(each) for each in probabilities]
    assume(all(abs(each - mu) > 1e-6 for each in surprisals))

    kept = np.flatnonzero(keep_unsurprising(logits, mu) > -np.inf).tolist()

    # The likeliest is compared by its probability: logarithms of unequal ones can be equal.
    likeliest = max(probabilities)
    pairs = list(zip(probabilities, surprisals, strict=True))
    assert kept == [i for i, (p, bits) in enumerate(pairs) if bits <= mu or p == likeliest]


def test_mu_falls_after_more_bits_than_the_target_and_rises_after_fewer() -> None:
    assert update_mirostat(4.0, cost_bits=3.0, target_bits=2.0, rate=0.5) == 3.5
    assert update_mirostat(4.0, cost_bits=1.0, target_bits=2.0, rate=0.5) == 4.5


@pytest.mark.parametrize("target_bits", [1.0, 2.0, 3.0])
def test_the_mean_surprisal_comes_to_the_target(target_bits: float) -> None:
    """The logits are a wide Zipf distribution of 4.8 bits without mirostat."""
    logits = -np.log(np.arange(1, 65))
    config = SampleConfig(temperature=1, mirostat=target_bits)
    sample = make_sampler(config, np.random.default_rng(3))
    state = start_state(config, (), 64)
    cost_bits = []
    for _ in range(4000):
        kept = softmax(keep_unsurprising(logits, state.mirostat_mu))
        token, state = sample(logits, state)
        cost_bits.append(-math.log2(kept[token]))

    assert np.mean(cost_bits) == pytest.approx(target_bits, abs=0.05)


def test_mu_never_falls_below_what_leaves_the_likeliest_alone() -> None:
    assert update_mirostat(0.25, cost_bits=6.0, target_bits=2.0, rate=0.1) == 0
    assert np.isfinite(keep_unsurprising(np.array([1.0, 3, 3, 2]), 0)).tolist() == [0, 1, 1, 0]


def test_mu_begins_at_twice_the_target() -> None:
    assert start_state(SampleConfig(mirostat=2.5), (), 4).mirostat_mu == 5
