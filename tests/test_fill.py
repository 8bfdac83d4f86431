"""Completions of blanks and gaps against all texts that fit, one by one."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from charrnn.checkpoint.format import ModelFile
from charrnn.inference.fill import Filling
from charrnn.inference.generator import Model

Make = Callable[..., ModelFile]
ALPHABET = "\n abé"  # of make_model
GAP = 2
PATTERNS = [
    *("_", "a_", "_a", "a_b", "__", "a__b_", "_ab_é_"),
    *("*a", "a*b", "*_", "_*b", "a*b*a", "*ab*ab", "a**b", "aa*a_", "*éa b"),
]


@pytest.fixture
def model(make_model: Make) -> Model:
    return Model(make_model())


def find(model: Model, text: str, **settings: Any) -> Filling:
    return model.fill(text, max_gap=GAP, **settings)


def expression(pattern: str) -> re.Pattern[str]:
    """Give the pattern as one of Python's re: an independent word on what fits."""
    signs = {"_": "(.)", "*": f"(.{{0,{GAP}}})"}
    return re.compile("".join(signs.get(char, re.escape(char)) for char in pattern), re.DOTALL)


def brute_force(model: Model, pattern: str, fillers: str = ALPHABET) -> dict[str, float]:
    """Give every text that fits with its bits, the likeliest first."""
    stretches = ["".join(way) for size in range(GAP + 1) for way in product(fillers, repeat=size)]
    ways = {"_": list(fillers), "*": stretches}
    texts = {"".join(parts) for parts in product(*(ways.get(char, [char]) for char in pattern))}
    bits = {text: bits_of(model, text) for text in texts}
    return dict(sorted(bits.items(), key=lambda each: each[1]))


def bits_of(model: Model, text: str) -> float:
    """Give what a text costs that begins a line."""
    return float(model.score("\n" + text).bits[1:].sum())


def texts_of(filling: Filling) -> list[str]:
    return [each.text for each in filling.completions]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_likeliest_and_their_bits_are_those_of_all_texts(model: Model, pattern: str) -> None:
    expected = brute_force(model, pattern)

    found = find(model, pattern, count=5000)

    assert found.is_exact
    assert texts_of(found) == [*expected]
    assert [each.bits for each in found.completions] == pytest.approx(
        [*expected.values()], abs=1e-4
    )
