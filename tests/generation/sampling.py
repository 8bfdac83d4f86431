"""The whole chain on given logits, for tests of what is sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from charrnn.config import SampleConfig
from charrnn.generation.chain import SamplerChain, SamplerState
from charrnn.generation.filters import Logits
from charrnn.generation.sampler import iter_uniforms


def make_sampler(
    config: SampleConfig, random: Any, bias: Logits | None = None
) -> Callable[[Logits, SamplerState], tuple[int, SamplerState]]:
    """Return a function from logits (V,) and a state to a sampled id and the next state."""
    uniforms = iter_uniforms(random)

    def sample(logits: Logits, state: SamplerState) -> tuple[int, SamplerState]:
        chain = SamplerChain(config, len(logits), bias)
        xtc_uniform = next(uniforms) if chain.has_xtc else 0.0
        shaped = chain.shape(logits, state)
        token, cost_bits = chain.sample(shaped, state, next(uniforms), xtc_uniform)
        return token, chain.update(state, token, cost_bits)

    return sample


def start_state(config: SampleConfig, prompt: Sequence[int], vocab_size: int) -> SamplerState:
    """Return the sampler's state after a prompt."""
    return SamplerChain(config, vocab_size).initial_state(np.array(prompt, np.int64))
