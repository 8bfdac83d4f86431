"""The loop that samples token ids one by one from a model, a chain and a random stream.

`generator.py` turns the ids into text; `chain.py` has the steps between logits and an id;
`batch.py` is the same loop for many texts side by side.

V = vocabulary, S = tokens of the prompt.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charrnn.errors import ConfigError
from charrnn.generation.chain import SamplerChain
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.filters import Logits
from charrnn.generation.network import LanguageModel
from charrnn.state import State
from charrnn.text.vocab import Ids

BLOCK = 256  # random numbers drawn at once: single ones take 20 times as long


@dataclass(frozen=True)
class Context:
    """Where a text begins: the state after a prompt, and the prompt's ids (S,)."""

    state: State
    prompt: Ids = field(default_factory=lambda: np.zeros(0, np.uint8))


def iter_tokens(
    model: LanguageModel,
    start: Context,
    chain: SamplerChain,
    random: np.random.Generator,
    constraint: Constraint | None = None,
) -> Iterator[int]:
    """Yield sampled ids until the constraint ends the text, or without end.

    Raises:
        ConfigError: the constraint and the bans leave no id.
    """
    state = start.state
    sampler_state = chain.initial_state(start.prompt)
    uniforms = iter_uniforms(random)
    constraint_state = constraint.initial_state(start.prompt) if constraint else None
    while constraint is None or not constraint.is_finished(constraint_state):
        # Logits of the next id, then what penalties, bias and the constraint make of them.
        logits = chain.shape(model.logits(state), sampler_state)
        if constraint is not None:
            logits = constrain(logits, constraint, constraint_state)
        # XTC's number comes first in the stream, so that a seed always gives the same text.
        xtc_uniform = next(uniforms) if chain.has_xtc else 0.0
        token, cost_bits = chain.sample(logits, sampler_state, next(uniforms), xtc_uniform)
        if constraint is not None:
            constraint_state = constraint.advance(token, constraint_state)
            if constraint_state is None:
                return
        sampler_state = chain.update(sampler_state, token, cost_bits)
        yield token
        # The model reads the id only once another one is asked for.
        state = model.advance(token, state)


def constrain(logits: Logits, constraint: Constraint, constraint_state: Any) -> Logits:
    """Return the logits (V,) with −inf for each id that the constraint forbids.

    Raises:
        ConfigError: no id is left.
    """
    mask = constraint.mask(constraint_state)
    if mask is None:
        return logits
    left: Logits = logits + mask
    if not (left > -np.inf).any():
        raise ConfigError(
            "no character is left to write next: every one that --only, --ban and --bias allow "
            "would make a copied run too long; raise --max-copy, or allow more characters"
        )
    return left


def iter_uniforms(random: np.random.Generator) -> Iterator[float]:
    """Yield numbers in [0, 1), the same as if each were drawn alone."""
    while True:
        yield from random.random(BLOCK).tolist()
