"""Ids one by one from a network, a state, a chain and a random stream.

It knows nothing of characters: `generator.py` turns ids into text, `chain.py` chooses them,
`batch.py` writes many texts side by side.

V = vocabulary, B = texts side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charrnn.errors import ConfigError
from charrnn.inference.drawing.chain import Chain
from charrnn.inference.drawing.filters import Logits
from charrnn.inference.drawing.guide import Guide
from charrnn.inference.network.reader import Reader
from charrnn.inference.network.states import State
from charrnn.text.vocab import Ids

BLOCK = 256  # random numbers drawn at once


@dataclass(frozen=True)
class Start:
    """Where a text begins: the state after a prompt, and the prompt's ids (S,), its past."""

    state: State
    prompt: Ids = field(default_factory=lambda: np.zeros(0, np.uint8))


def iter_ids(
    network: Reader,
    start: Start,
    chain: Chain,
    random: np.random.Generator,
    guide: Guide | None = None,
) -> Iterator[int]:
    """Yield ids, each drawn from the softmax of the filtered logits, until the guide ends them.

    Raises:
        ConfigError: the guide leaves nothing to write that is not banned.
    """
    state, memory = start.state, chain.start(start.prompt)
    uniforms = _iter_uniforms(random)
    place = guide.start(start.prompt) if guide else None
    while guide is None or not guide.is_over(place):
        logits = chain.shape(network.logits(state), memory)
        if guide is not None:
            logits = guided(logits, guide, place)
        chance = next(uniforms) if chain.has_chance else 0.0
        symbol, cost_bits = chain.choose(logits, memory, next(uniforms), chance)
        if guide is not None:
            place = guide.follow(place, symbol)
            if place is None:
                return
        memory = chain.remember(memory, symbol, cost_bits)
        yield symbol
        state = network.advance(symbol, state)


def guided(logits: Logits, guide: Guide, place: Any) -> Logits:
    """Give the logits (V,) that the guide leaves.

    Raises:
        ConfigError: it leaves none that is not banned.
    """
    bias = guide.bias(place)
    if bias is None:
        return logits
    left: Logits = logits + bias
    if not (left > -np.inf).any():
        raise ConfigError(
            "no character is left that could be written next: all that --only, --ban and --bias "
            "allow would go on with a copied run; raise --novel, or allow more characters"
        )
    return left


def _iter_uniforms(random: np.random.Generator) -> Iterator[float]:
    """Yield numbers in [0, 1); drawn in blocks, the same as one by one."""
    while True:
        yield from random.random(BLOCK).tolist()
