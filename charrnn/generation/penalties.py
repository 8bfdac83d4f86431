"""Penalties on what was just written: repeats, presence, frequency, loops.

Each is a pure function of logits (V,) and of the past, or row by row of (B, V) and of as many
pasts. The past is an argument and a result: `remember` gives the one after another id. It knows ids
only; where a vocabulary writes rare characters as bytes, each byte counts as one.

V = vocabulary, N = ids remembered, at most the window, B = texts side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.generation.filters import Logits
from charrnn.text.vocab import Ids


class TokenHistory(NamedTuple):
    """The last ids (N,), how often each stands among them (V,), and how each was led up to (N,).

    matches[j]: how many ids before ids[j] are those at the end, one by one backwards; None where
    no penalty asks. Of texts side by side each array has their rows: (B, N), (B, V).
    """

    ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    matches: NDArray[np.int64] | None


Penalty = Callable[[Logits, TokenHistory], Logits]


def iter_penalties(config: SampleConfig) -> Iterator[tuple[str, Penalty]]:
    """Yield the penalties that `config` asks for, in order, each with its words."""
    if config.repetition_penalty != 1:
        yield (
            f"repetition penalty {config.repetition_penalty:g}",
            lambda logits, past: divide_repeats(logits, past, config.repetition_penalty),
        )
    presence, frequency = config.presence_penalty, config.frequency_penalty
    if presence or frequency:
        amounts = {"presence": presence, "frequency": frequency}
        costs = count_costs(presence, frequency, config.penalty_window)
        yield (
            ", ".join(f"{name} penalty {value:g}" for name, value in amounts.items() if value),
            lambda logits, past: subtract_counts(logits, past, costs),
        )
    if config.dry_penalty:
        yield (
            f"dry penalty {config.dry_penalty:g} from {config.dry_length} characters",
            lambda logits, past: subtract_loops(
                logits, past, config.dry_penalty, config.dry_length
            ),
        )


def divide_repeats(logits: Logits, past: TokenHistory, strength: float) -> Logits:
    """Divide the logit of each character of the past (Keskar et al. 2019).

    strength: 1 or more. A logit below 0 is multiplied: divided, it would come nearer to 0.
    """
    return np.where(past.counts > 0, np.minimum(logits / strength, logits * strength), logits)


def count_costs(presence: float, frequency: float, window: int) -> NDArray[np.float32]:
    """Give what a character is to lose (window + 1,) for each number of times that it stands there.

    presence: once, if at all; frequency: each time.
    """
    times = np.arange(window + 1)
    return (presence * (times > 0) + frequency * times).astype(np.float32)


def subtract_counts(logits: Logits, past: TokenHistory, costs: NDArray[np.float32]) -> Logits:
    """Take from each character's logit what it costs to stand in the past as often as it does."""
    return logits - costs[past.counts]


def subtract_loops(logits: Logits, past: TokenHistory, amount: float, shortest: int) -> Logits:
    """Take `amount` for each character, from the `shortest`th on, of the run that would go on."""
    if past.matches is None or past.matches.max(initial=0) < shortest:
        return logits
    *row, place = np.nonzero(past.matches >= shortest)
    beyond = np.zeros(logits.shape, np.int64)
    led_up = past.matches[*row, place] - shortest + 1
    np.maximum.at(beyond, (*row, past.ids[*row, place]), led_up)
    return logits - amount * beyond


def make_history(
    tokens: Iterable[int], vocab_size: int, window: int, has_loops: bool
) -> TokenHistory:
    """Give the past after `tokens`, of which the last `window` count."""
    nothing = np.zeros(0, np.int64)
    start = TokenHistory(nothing, np.zeros(vocab_size, np.int64), nothing if has_loops else None)
    return reduce(lambda past, token: append_token(past, token, window), tokens, start)


def append_token(past: TokenHistory, token: int | Ids, window: int) -> TokenHistory:
    """Give the past after one more id, int or (B,), the oldest forgotten beyond the window."""
    ids, counts, matches = past
    rows = () if ids.ndim == 1 else (np.arange(len(ids)),)
    is_full = ids.shape[-1] == window
    counts = counts.copy()
    counts[*rows, token] += 1
    if is_full:
        counts[*rows, ids[..., 0]] -= 1
    if matches is not None:
        led_up = np.zeros((*ids.shape[:-1], ids.shape[-1] + 1), np.int64)
        led_up[..., 1:] = (matches + 1) * (ids == np.asarray(token)[..., None])
        matches = led_up[..., -window:]
    longer = np.empty((*ids.shape[:-1], ids.shape[-1] + (not is_full)), np.int64)
    longer[..., :-1] = ids[..., is_full:]
    longer[..., -1] = token
    return TokenHistory(longer, counts, matches)


def stack_histories(pasts: Sequence[TokenHistory]) -> TokenHistory:
    """Put pasts of one length side by side."""
    ids, counts, matches = zip(*pasts, strict=True)
    stacked = None if matches[0] is None else np.stack(matches)
    return TokenHistory(np.stack(ids), np.stack(counts), stacked)


def select_histories(past: TokenHistory, rows: Sequence[int]) -> TokenHistory:
    """Give some of several pasts."""
    ids, counts, matches = past
    return TokenHistory(ids[rows], counts[rows], None if matches is None else matches[rows])


def select_history(past: TokenHistory, index: int) -> TokenHistory:
    """Give one of several pasts."""
    ids, counts, matches = past
    return TokenHistory(ids[index], counts[index], None if matches is None else matches[index])
