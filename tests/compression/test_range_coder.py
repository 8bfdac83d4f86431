"""The range coder: any choices come back, at the price of their probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.compression.range_coder import Decoder, Encoder

Choices = list[tuple[list[int], int]]
"""Widths of all parts, and which was taken."""

WIDTHS = st.lists(st.integers(1, 2**40) | st.just(1), min_size=1, max_size=6)
CHOICES = st.lists(
    WIDTHS.flatmap(lambda widths: st.tuples(st.just(widths), st.integers(0, len(widths) - 1))),
    max_size=60,
)


def encoded(choices: Choices) -> bytes:
    coder = Encoder()
    for widths, taken in choices:
        coder.encode(sum(widths[:taken]), widths[taken], sum(widths))
    return coder.finish()


def decoded(data: bytes, choices: Choices) -> list[int]:
    """Return which part of each choice was taken, knowing only the widths."""
    coder, found = Decoder(data), []
    for widths, _ in choices:
        sums = np.cumsum(widths)
        taken = int(np.searchsorted(sums, coder.target(int(sums[-1])), side="right"))
        coder.consume(int(sums[taken]) - widths[taken], widths[taken])
        found.append(taken)
    return found


@given(CHOICES)
def test_symbols_come_back(choices: Choices) -> None:
    assert decoded(encoded(choices), choices) == [taken for _, taken in choices]


@given(CHOICES)
def test_symbols_cost_their_probabilities_and_a_byte(choices: Choices) -> None:
    bits = sum(math.log2(sum(widths) / widths[taken]) for widths, taken in choices)

    assert len(encoded(choices)) <= bits * 1.001 / 8 + 2


def test_no_symbols_take_no_bytes() -> None:
    assert encoded([]) == b""


def test_a_carry_runs_through_bytes_that_are_full() -> None:
    nearly_all = [2**40 - 1, 1]  # the last part's first byte is 0xFF again and again
    choices = [(nearly_all, 1), *[([1, 1], 1)] * 200, (nearly_all, 1)]

    assert decoded(encoded(choices), choices) == [taken for _, taken in choices]


def test_bytes_that_end_before_their_symbols_are_refused() -> None:
    choices = [([1] * 256, 7)] * 40

    with pytest.raises(ValueError, match="ends before"):
        decoded(encoded(choices)[:20], choices)


def test_bytes_that_encode_no_symbol_are_refused() -> None:
    with pytest.raises(ValueError, match="not the code"):
        Decoder(b"\xff" * 8).target(3)
