"""Ids one by one from a runtime, a state and a random stream.

It knows nothing of characters; `generator.py` turns ids into text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from charrnn.config import SampleConfig
from charrnn.inference.filters import Logits, make_filter
from charrnn.inference.runtime import Runtime, State

_BLOCK = 256  # random numbers drawn at once

Pick = Callable[[Logits], int]


def iter_ids(
    runtime: Runtime, state: State, config: SampleConfig, random: np.random.Generator
) -> Iterator[int]:
    """Yield ids without end, each drawn from the softmax of the filtered logits."""
    pick = _make_pick(config, random)
    while True:
        symbol = pick(runtime.logits(state))
        yield symbol
        state = runtime.advance(symbol, state)


def _make_pick(config: SampleConfig, random: np.random.Generator) -> Pick:
    """Give greedy choice at temperature 0, else a draw by the inverse of the cumulated softmax."""
    if config.temperature == 0:
        return lambda logits: int(logits.argmax())
    keep, uniforms = make_filter(config), _iter_uniforms(random)

    def draw(logits: Logits) -> int:
        kept = keep(logits)
        reached = np.exp(kept - kept.max()).cumsum()
        return int(reached.searchsorted(next(uniforms) * float(reached[-1]), side="right"))

    return draw


def _iter_uniforms(random: np.random.Generator) -> Iterator[float]:
    """Yield numbers in [0, 1); drawn in blocks, the same as one by one."""
    while True:
        yield from random.random(_BLOCK).tolist()
