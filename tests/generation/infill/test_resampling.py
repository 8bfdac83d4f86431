"""Fewer weights in place of many: how many, which, and without bias."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.generation.infill.fill import resample, select_likeliest

WEIGHTS = st.lists(st.floats(-800, 0), min_size=2, max_size=30)


@given(WEIGHTS, st.integers(1, 29), st.integers(0, 99))
def test_count_different_ones_are_kept_with_the_same_total_weight(
    log_weights: list[float], count: int, seed: int
) -> None:
    assume(count < len(log_weights))
    weights = np.array(log_weights)

    indices, kept = resample(np.random.default_rng(seed), weights, count)

    assert len({*indices.tolist()}) == len(indices) == len(kept) == count
    heaviest = weights.max()
    assert np.exp(kept - heaviest).sum() == pytest.approx(np.exp(weights - heaviest).sum())
    assert (kept >= weights[indices] - 1e-9).all()


def test_weights_are_unbiased_and_the_heaviest_are_always_kept() -> None:
    weights = np.array([0.02, 0.5, 0.1, 0.03, 0.25, 0.04, 0.06])
    times = 4000
    random = np.random.default_rng(3)
    sums = np.zeros(len(weights))
    for _ in range(times):
        indices, kept = resample(random, np.log(weights), 4)
        sums[indices] += np.exp(kept)

    assert sums[[1, 4]] / times == pytest.approx([0.5, 0.25])
    # each other one is kept with a probability of weight / 0.125, and weighs 0.125 then
    assert sums / times == pytest.approx(weights, abs=4 * 0.125 * 0.5 / math.sqrt(times))


def test_equal_weights_are_kept_equally_often() -> None:
    random, counts = np.random.default_rng(4), np.zeros(6)
    for _ in range(3000):
        indices, kept = resample(random, np.full(6, -900.0), 2)
        counts[indices] += 1
        assert kept == pytest.approx(np.log(3) - 900)

    assert counts == pytest.approx(1000, abs=4 * math.sqrt(3000 * 2 / 9))


def test_the_likeliest_keep_their_weights() -> None:
    indices, kept = select_likeliest(np.array([-3.0, -1, -2, -1.5]), 2)

    assert indices.tolist() == [1, 3]
    assert kept.tolist() == [-1, -1.5]
