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
GAP = 3
PATTERNS = [
    *("_", "a_", "_a", "a_b", "__", "a__b_", "_ab_é_", "_____"),
    *("*a", "a*b", "*_", "_*b", "a*b*a", "*ab*ab", "a**b", "*a*a*a", "aa*a_", "*éa b"),
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


def brute_force(
    model: Model, pattern: str, fillers: str = ALPHABET
) -> list[tuple[str, float]]:
    """Give every text that fits with its bits, the likeliest first."""
    ways = {"_": list(fillers), "*": ["".join(w) for n in range(GAP + 1) for w in product(fillers, repeat=n)]}
    texts = {"".join(parts) for parts in product(*(ways.get(char, [char]) for char in pattern))}
    bits = [(text, float(model.score(text).bits.sum())) for text in sorted(texts)]
    return sorted(bits, key=lambda each: each[1])


def texts_of(filling: Filling) -> list[str]:
    return [each.text for each in filling.completions]


@pytest.mark.parametrize("pattern", [each for each in PATTERNS if each.count("_") < 5])
def test_the_likeliest_and_their_bits_are_those_of_all_texts(model: Model, pattern: str) -> None:
    expected = brute_force(model, pattern)

    found = find(model, pattern, count=10_000, beam_width=100_000)

    assert found.is_exact
    assert texts_of(found) == [text for text, _ in expected]
    assert [each.bits for each in found.completions] == pytest.approx([b for _, b in expected], abs=1e-4)
