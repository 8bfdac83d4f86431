"""Every text that fits a pattern, one by one, with what a model says it costs."""

from __future__ import annotations

from itertools import product
from typing import Any

from charrnn.config import FillConfig
from charrnn.generation.infill import frontier as search
from charrnn.generation.infill.fill import Filling
from charrnn.generation.infill.pattern import make_pattern
from charrnn.generation.model import Model

ALPHABET = "\n abé"  # of make_model
GAP = 2


def find(model: Model, text: str, **settings: Any) -> Filling:
    return model.fill(text, max_gap=GAP, **settings)


def bits_of(model: Model, text: str) -> float:
    """Give what a text costs that begins a line."""
    return float(model.score("\n" + text).bits[1:].sum())


def brute_force(model: Model, pattern: str, fillers: str = ALPHABET) -> dict[str, float]:
    """Give every text that fits with its bits, the likeliest first."""
    stretches = ["".join(way) for size in range(GAP + 1) for way in product(fillers, repeat=size)]
    ways = {"_": list(fillers), "*": stretches}
    texts = {"".join(parts) for parts in product(*(ways.get(char, [char]) for char in pattern))}
    bits = {text: bits_of(model, text) for text in texts}
    return dict(sorted(bits.items(), key=lambda each: each[1]))


def search_with(model: Model, pattern: str, how: search.BeamOptions) -> search.Search:
    """Search from the start of a line, as `fill` does."""
    runtime = model._runtime
    state = runtime.advance(ALPHABET.index("\n"), runtime.initial_state())
    machine = make_pattern(pattern, FillConfig(max_gap=GAP), model.vocab, str)
    return search.search_pattern(runtime, state, machine, how, lambda done, total: None)


def ids_of(ended: search.Search) -> list[list[int]]:
    return [ended.ids_of(index) for index in range(len(ended.found.rows))]


def texts_of(filling: Filling) -> list[str]:
    return [each.text for each in filling.completions]
