"""The whole chain on given logits, for tests of what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from charrnn.config import SampleConfig
from charrnn.generation.chain import SamplerChain, SamplerState
from charrnn.generation.filters import Logits
from charrnn.generation.sampler import _iter_uniforms


def make_pick(
    config: SampleConfig, random: Any, bias: Logits | None = None
) -> Callable[[Logits, SamplerState], tuple[int, SamplerState]]:
    """Give what draws an id by logits (V,) and a memory; it also gives the next memory."""
    uniforms = _iter_uniforms(random)

    def pick(logits: Logits, memory: SamplerState) -> tuple[int, SamplerState]:
        chain = SamplerChain(config, len(logits), bias)
        chance = next(uniforms) if chain.has_chance else 0.0
        shaped = chain.shape(logits, memory)
        token, cost_bits = chain.choose(shaped, memory, next(uniforms), chance)
        return token, chain.remember(memory, token, cost_bits)

    return pick


def start_memory(config: SampleConfig, prompt: Sequence[int], vocab_size: int) -> SamplerState:
    """Give the memory after a prompt."""
    return SamplerChain(config, vocab_size).start(np.array(prompt, np.int64))
