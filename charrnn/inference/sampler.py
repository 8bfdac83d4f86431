"""Ids one by one from a runtime, a state, a past and a random stream.

The chain is always: repetition, presence, frequency and loop penalty; bias and bans; temperature,
top-n-sigma, top-k, typical, top-p, min-p, XTC; mirostat; the draw. At temperature 0 it ends after
the bans, with the likeliest. It knows nothing of characters; `generator.py` turns ids into text.

V = vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from charrnn.config import SampleConfig
from charrnn.inference.filters import Logits, iter_filters, make_filter
from charrnn.inference.mirostat import follow, keep_expected
from charrnn.inference.penalties import Past, iter_penalties, make_past, remember
from charrnn.inference.runtime import Runtime
from charrnn.inference.states import State

_BLOCK = 256  # random numbers drawn at once


class Memory(NamedTuple):
    """What drawing carries from character to character.

    past: what was written, where a penalty asks. limit_bits: mirostat's.
    """

    past: Past | None
    limit_bits: float


Pick = Callable[[Logits, Memory], tuple[int, Memory]]
Choose = Callable[[Logits, float], tuple[int, float]]


def iter_ids(
    runtime: Runtime,
    state: State,
    config: SampleConfig,
    random: np.random.Generator,
    *,
    prompt: Iterable[int] = (),
    bias: Logits | None = None,
) -> Iterator[int]:
    """Yield ids without end, each drawn from the softmax of the filtered logits.

    prompt: ids that penalties count too. bias: (V,), added to the logits; −inf is a ban.
    """
    logits = runtime.logits(state)
    pick = make_pick(config, random, bias)
    memory = start_memory(config, prompt, len(logits))
    while True:
        symbol, memory = pick(logits, memory)
        yield symbol
        state = runtime.advance(symbol, state)
        logits = runtime.logits(state)


def start_memory(config: SampleConfig, prompt: Iterable[int], vocab_size: int) -> Memory:
    """Give the memory after the prompt."""
    past, window = None, config.penalty_window
    if any(True for _ in iter_penalties(config)):
        past = make_past(list(prompt)[-window:], vocab_size, window, config.loop_penalty > 0)
    return Memory(past, limit_bits=2 * config.mirostat)


def make_pick(
    config: SampleConfig, random: np.random.Generator, bias: Logits | None = None
) -> Pick:
    """Give the whole chain: logits (V,) and a memory go in, an id and the next memory come out."""
    penalties = [each for _, each in iter_penalties(config)]
    choose = _make_draw(config, random) if config.temperature else _choose_likeliest

    def pick(logits: Logits, memory: Memory) -> tuple[int, Memory]:
        past, limit_bits = memory
        if past is not None:
            for penalize in penalties:
                logits = penalize(logits, past)
        symbol, limit_bits = choose(logits if bias is None else logits + bias, limit_bits)
        if past is not None:
            past = remember(past, symbol, config.penalty_window)
        return symbol, Memory(past, limit_bits)

    return pick


def describe_chain(config: SampleConfig) -> list[str]:
    """Give the steps in force, in order, each in words."""
    words = [each for each, _ in iter_penalties(config)]
    if words:
        words[-1] += f" (penalties count the last {config.penalty_window:,} characters)"
    for name in ("bias", "only", "ban"):
        words += [f"{name} {each!r}" for each in getattr(config, name)]
    if not config.temperature:
        return [*words, "the likeliest (temperature 0)"]
    words += [each for each, _ in iter_filters(config, iter(()))]
    if config.mirostat:
        words.append(f"mirostat {config.mirostat:g} bits, rate {config.mirostat_rate:g}")
    return [*words, "a draw"]


def _choose_likeliest(logits: Logits, limit_bits: float) -> tuple[int, float]:
    return int(logits.argmax()), limit_bits


def _make_draw(config: SampleConfig, random: np.random.Generator) -> Choose:
    """Give a draw from the filtered logits, by the inverse of the cumulated softmax."""
    uniforms = _iter_uniforms(random)
    keep, target_bits = make_filter(config, uniforms), config.mirostat

    def draw(logits: Logits, limit_bits: float) -> tuple[int, float]:
        kept = keep(logits)
        if target_bits:
            kept = keep_expected(kept, limit_bits)
        likelihoods = np.exp(kept - kept.max())
        reached = likelihoods.cumsum()
        symbol = int(reached.searchsorted(next(uniforms) * float(reached[-1]), side="right"))
        if target_bits:
            drawn_bits = math.log2(float(reached[-1]) / float(likelihoods[symbol]))
            limit_bits = follow(limit_bits, drawn_bits, target_bits, config.mirostat_rate)
        return symbol, limit_bits

    return draw


def _iter_uniforms(random: np.random.Generator) -> Iterator[float]:
    """Yield numbers in [0, 1); drawn in blocks, the same as one by one."""
    while True:
        yield from random.random(_BLOCK).tolist()
