"""Holds the names of a loss to closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.metrics import bits_per_char, perplexity


@pytest.mark.parametrize("vocab_size", [1, 2, 5, 256, 4000])
def test_a_uniform_model_costs_log2_vocab_bits(vocab_size: int) -> None:
    assert bits_per_char(math.log(vocab_size)) == pytest.approx(math.log2(vocab_size))


@pytest.mark.parametrize("vocab_size", [1, 2, 5, 256, 4000])
def test_a_uniform_model_is_as_perplexed_as_its_vocabulary_is_large(vocab_size: int) -> None:
    assert perplexity(math.log(vocab_size)) == pytest.approx(vocab_size)


@given(st.floats(0, 700))
def test_perplexity_is_two_to_the_bits(loss_nats: float) -> None:
    assert perplexity(loss_nats) == pytest.approx(2 ** bits_per_char(loss_nats), rel=1e-9)


def test_a_loss_too_large_for_a_float_has_infinite_perplexity() -> None:
    assert perplexity(710.0) == math.inf
