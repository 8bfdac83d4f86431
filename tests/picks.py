"""The whole chain on given logits, for tests of what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from charrnn.config import SampleConfig
from charrnn.inference.drawing.chain import Chain, Memory
from charrnn.inference.drawing.filters import Logits
from charrnn.inference.drawing.sampler import _iter_uniforms


def make_pick(
    config: SampleConfig, random: Any, bias: Logits | None = None
) -> Callable[[Logits, Memory], tuple[int, Memory]]:
    """Give what draws an id by logits (V,) and a memory; it also gives the next memory."""
    uniforms = _iter_uniforms(random)

    def pick(logits: Logits, memory: Memory) -> tuple[int, Memory]:
        chain = Chain(config, len(logits), bias)
        chance = next(uniforms) if chain.has_chance else 0.0
        shaped = chain.shape(logits, memory)
        symbol, cost_bits = chain.choose(shaped, memory, next(uniforms), chance)
        return symbol, chain.remember(memory, symbol, cost_bits)

    return pick


def start_memory(config: SampleConfig, prompt: Sequence[int], vocab_size: int) -> Memory:
    """Give the memory after a prompt."""
    return Chain(config, vocab_size).start(np.array(prompt, np.int64))
