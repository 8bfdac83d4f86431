"""Penalties on what was just written: repeats, presence, frequency, loops.

Each is a pure function of logits (V,) and of the past. The past is an argument and a result:
`remember` gives the one after another id. It knows ids only; where a vocabulary writes rare
characters as bytes, each byte counts as one.

V = vocabulary, N = ids remembered, at most the window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.inference.filters import Logits


class Past(NamedTuple):
    """The last ids (N,), how often each stands among them (V,), and how each was led up to (N,).

    matches[j]: how many ids before ids[j] are those at the end, one by one backwards; None where
    no penalty asks.
    """

    ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    matches: NDArray[np.int64] | None


Penalty = Callable[[Logits, Past], Logits]


def iter_penalties(config: SampleConfig) -> Iterator[tuple[str, Penalty]]:
    """Yield the penalties that `config` asks for, in order, each with its words."""
    if config.repetition_penalty != 1:
        yield (
            f"repetition penalty {config.repetition_penalty:g}",
            lambda logits, past: divide_repeats(logits, past, config.repetition_penalty),
        )
    if config.presence_penalty:
        yield (
            f"presence penalty {config.presence_penalty:g}",
            lambda logits, past: subtract_presence(logits, past, config.presence_penalty),
        )
    if config.frequency_penalty:
        yield (
            f"frequency penalty {config.frequency_penalty:g}",
            lambda logits, past: subtract_frequency(logits, past, config.frequency_penalty),
        )
    if config.loop_penalty:
        yield (
            f"loop penalty {config.loop_penalty:g} from {config.loop_length} characters",
            lambda logits, past: subtract_loops(
                logits, past, config.loop_penalty, config.loop_length
            ),
        )


def divide_repeats(logits: Logits, past: Past, strength: float) -> Logits:
    """Divide the logit of each character of the past (Keskar et al. 2019).

    strength: 1 or more. A logit below 0 is multiplied: divided, it would come nearer to 0.
    """
    return np.where(past.counts > 0, np.minimum(logits / strength, logits * strength), logits)


def subtract_presence(logits: Logits, past: Past, amount: float) -> Logits:
    """Take `amount` from the logit of each character of the past."""
    return logits - amount * (past.counts > 0)


def subtract_frequency(logits: Logits, past: Past, amount: float) -> Logits:
    """Take `amount` from a character's logit for each time that it stands in the past."""
    return logits - amount * past.counts


def subtract_loops(logits: Logits, past: Past, amount: float, shortest: int) -> Logits:
    """Take `amount` for each character, from the `shortest`th on, of the run that would go on."""
    if past.matches is None or past.matches.max(initial=0) < shortest:
        return logits
    places = np.flatnonzero(past.matches >= shortest)
    beyond = np.zeros(len(logits), np.int64)
    np.maximum.at(beyond, past.ids[places], past.matches[places] - shortest + 1)
    return logits - amount * beyond


def make_past(symbols: Iterable[int], vocab_size: int, window: int, has_loops: bool) -> Past:
    """Give the past after `symbols`, of which the last `window` count."""
    nothing = np.zeros(0, np.int64)
    start = Past(nothing, np.zeros(vocab_size, np.int64), nothing if has_loops else None)
    return reduce(lambda past, symbol: remember(past, symbol, window), symbols, start)


def remember(past: Past, symbol: int, window: int) -> Past:
    """Give the past after one more id, the oldest forgotten where it is longer than `window`."""
    ids, counts, matches = past
    counts = counts.copy()
    counts[symbol] += 1
    if len(ids) == window:
        counts[ids[0]] -= 1
    if matches is not None:
        led_up = np.zeros(len(ids) + 1, np.int64)
        led_up[1:] = (matches + 1) * (ids == symbol)
        matches = led_up[-window:]
    longer = np.empty(len(ids) + 1, np.int64)
    longer[:-1], longer[-1] = ids, symbol
    return Past(longer[-window:], counts, matches)
