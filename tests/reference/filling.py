"""Every text that fits a pattern, one by one, with what a model says it costs."""

from __future__ import annotations

from itertools import product
from typing import Any

from charrnn.config import FillConfig
from charrnn.generation.infill.fill import BeamOptions, Filling, SearchResult, search_pattern
from charrnn.generation.infill.pattern import make_pattern
from charrnn.tasks.model import Model

ALPHABET = "\n abé"  # of make_model
GAP = 2


def find(model: Model, text: str, **settings: Any) -> Filling:
    return model.fill(text, max_gap=GAP, **settings)


def bits_of(model: Model, text: str) -> float:
    """Return what a text that begins a line costs."""
    return float(model.score("\n" + text).bits[1:].sum())


def brute_force(model: Model, pattern: str, fillers: str = ALPHABET) -> dict[str, float]:
    """Return every text that fits with its bits, the likeliest first."""
    gaps = ["".join(each) for size in range(GAP + 1) for each in product(fillers, repeat=size)]
    choices = {"_": list(fillers), "*": gaps}
    texts = {"".join(parts) for parts in product(*(choices.get(char, [char]) for char in pattern))}
    bits = {text: bits_of(model, text) for text in texts}
    return dict(sorted(bits.items(), key=lambda each: each[1]))


def search_with(model: Model, pattern: str, options: BeamOptions) -> SearchResult:
    """Search from the start of a line, as `fill` does."""
    network = model._network
    state = network.advance(ALPHABET.index("\n"), network.initial_state())
    cells = make_pattern(pattern, FillConfig(max_gap=GAP), model.vocab, str)
    return search_pattern(network, state, cells, options, lambda done, total: None)


def ids_of(result: SearchResult) -> list[list[int]]:
    return [result.ids_of(index) for index in range(len(result.rows))]


def texts_of(filling: Filling) -> list[str]:
    return [each.text for each in filling.completions]
