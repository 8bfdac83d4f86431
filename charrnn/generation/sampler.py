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
from charrnn.generation.chain import SamplerChain
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.filters import Logits
from charrnn.generation.language_model import LanguageModel
from charrnn.state import State
from charrnn.text.vocab import Ids

BLOCK = 256  # random numbers drawn at once


@dataclass(frozen=True)
class Context:
    """Where a text begins: the state after a prompt, and the prompt's ids (S,), its past."""

    state: State
    prompt: Ids = field(default_factory=lambda: np.zeros(0, np.uint8))


def iter_tokens(
    network: LanguageModel,
    start: Context,
    chain: SamplerChain,
    random: np.random.Generator,
    guide: Constraint | None = None,
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
            logits = constrain(logits, guide, place)
        chance = next(uniforms) if chain.has_chance else 0.0
        token, cost_bits = chain.choose(logits, memory, next(uniforms), chance)
        if guide is not None:
            place = guide.follow(place, token)
            if place is None:
                return
        memory = chain.remember(memory, token, cost_bits)
        yield token
        state = network.advance(token, state)


def constrain(logits: Logits, guide: Constraint, place: Any) -> Logits:
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
            "allow would go on with a copied run; raise --max-copy, or allow more characters"
        )
    return left


def _iter_uniforms(random: np.random.Generator) -> Iterator[float]:
    """Yield numbers in [0, 1); drawn in blocks, the same as one by one."""
    while True:
        yield from random.random(BLOCK).tolist()
