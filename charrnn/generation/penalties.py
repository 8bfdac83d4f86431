"""Penalties on recent tokens: repetition, presence, frequency, DRY.

`chain.py` applies them in this order. Each is a pure function of logits (V,) and of the recent
tokens, or row by row of (B, V) and of as many histories. They count ids: where a vocabulary writes
rare characters as bytes, each byte counts as one.

V = vocabulary, N = ids in the history, at most the window, B = texts side by side.
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
    """The last ids (N,), the count of each id among them (V,), and what DRY needs (N,) or None.

    matches[j]: how many ids that end right before ids[j] equal the ids at the end of the text.
    For B texts in parallel every array has a row for each: (B, N), (B, V). There a shorter history
    begins with ids of −1, which stand for none.
    """

    ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    matches: NDArray[np.int64] | None

    @staticmethod
    def stack(histories: Sequence[TokenHistory]) -> TokenHistory:
        """Return histories as rows of one."""
        return TokenHistory.join([history.select(None) for history in histories])

    @staticmethod
    def join(histories: Sequence[TokenHistory]) -> TokenHistory:
        """Return the histories of several stacks as one."""
        length = max(history.ids.shape[1] for history in histories)
        ids, counts, matches = zip(*(history._padded(length) for history in histories), strict=True)
        joined = None if matches[0] is None else np.concatenate(matches)
        return TokenHistory(np.concatenate(ids), np.concatenate(counts), joined)

    def _padded(self, length: int) -> TokenHistory:
        """Return a stack of histories with `length` ids each."""
        widths = ((0, 0), (length - self.ids.shape[1], 0))
        matches = None if self.matches is None else np.pad(self.matches, widths)
        return TokenHistory(np.pad(self.ids, widths, constant_values=-1), self.counts, matches)

    def select(self, rows: int | Sequence[int] | None) -> TokenHistory:
        """Return the history of one row, or of several; None: of one text as the only row."""
        matches = None if self.matches is None else self.matches[rows]
        return TokenHistory(self.ids[rows], self.counts[rows], matches)


Penalty = Callable[[Logits, TokenHistory], Logits]


def iter_penalties(config: SampleConfig) -> Iterator[tuple[str, Penalty]]:
    """Yield the active penalties in their order, each with its description."""
    if config.repetition_penalty != 1:
        yield (
            f"repetition penalty {config.repetition_penalty:g}",
            lambda logits, history: divide_repeats(logits, history, config.repetition_penalty),
        )
    amounts = {"presence": config.presence_penalty, "frequency": config.frequency_penalty}
    if any(amounts.values()):
        costs = count_costs(**amounts, window=config.penalty_window)
        yield (
            ", ".join(f"{name} penalty {value:g}" for name, value in amounts.items() if value),
            lambda logits, history: subtract_counts(logits, history, costs),
        )
    if config.dry_penalty:
        dry = (config.dry_penalty, config.dry_length)
        yield (
            f"DRY penalty {config.dry_penalty:g} from {config.dry_length} characters",
            lambda logits, history: subtract_dry(logits, history, *dry),
        )


def divide_repeats(logits: Logits, history: TokenHistory, strength: float) -> Logits:
    """Divide the logit of each recent token by `strength`, 1 or more (Keskar et al. 2019).

    A logit below 0 is multiplied: divided, it would come nearer to 0.
    """
    return np.where(history.counts > 0, np.minimum(logits / strength, logits * strength), logits)


def count_costs(presence: float, frequency: float, window: int) -> NDArray[np.float32]:
    """Return what a token loses for each count among the recent ones, a table (window + 1,).

    presence: once, if at all; frequency: each time.
    """
    times = np.arange(window + 1)
    return (presence * (times > 0) + frequency * times).astype(np.float32)


def subtract_counts(logits: Logits, history: TokenHistory, costs: NDArray[np.float32]) -> Logits:
    """Subtract from each logit the cost of its token's count, by a table of `count_costs`."""
    return logits - costs[history.counts]


def subtract_dry(logits: Logits, history: TokenHistory, amount: float, length: int) -> Logits:
    """Subtract `amount` for each token of a repetition from its `length`th on.

    It is subtracted from the logit of the token that would continue the repetition: DRY (p-e-w
    2024), with a cost that grows linearly.
    """
    if history.matches is None or history.matches.max(initial=0) < length:
        return logits
    *row, index = np.nonzero(history.matches >= length)
    too_long = np.zeros(logits.shape, np.int64)
    excess = history.matches[*row, index] - length + 1
    np.maximum.at(too_long, (*row, history.ids[*row, index]), excess)  # the longest counts
    return logits - amount * too_long


def make_history(
    tokens: Iterable[int], vocab_size: int, window: int, has_dry: bool
) -> TokenHistory:
    """Return the history after `tokens`, of which the last `window` count."""
    if not has_dry:
        ids = np.array([*tokens][-window:], np.int64)
        return TokenHistory(ids, np.bincount(ids, minlength=vocab_size).astype(np.int64), None)
    empty = np.zeros(0, np.int64)
    start = TokenHistory(empty, np.zeros(vocab_size, np.int64), empty)
    return reduce(lambda history, token: append_token(history, token, window), tokens, start)


def append_token(history: TokenHistory, token: int | Ids, window: int) -> TokenHistory:
    """Return the history after one more id, int or (B,); beyond the window the oldest goes."""
    ids, counts, matches = history
    rows = () if ids.ndim == 1 else (np.arange(len(ids)),)
    is_full = ids.shape[-1] == window
    counts = counts.copy()
    counts[*rows, token] += 1
    if is_full:
        leaving = ids[..., 0]  # the window
        counts[*rows, leaving] -= leaving >= 0
    if matches is not None:
        # Before ids[j + 1] the match is one longer than before ids[j] if ids[j] is the new token.
        longer = np.zeros((*ids.shape[:-1], ids.shape[-1] + 1), np.int64)
        longer[..., 1:] = (matches + 1) * (ids == np.asarray(token)[..., None])
        matches = longer[..., -window:]
    appended = np.empty((*ids.shape[:-1], ids.shape[-1] + (not is_full)), np.int64)
    appended[..., :-1] = ids[..., is_full:]
    appended[..., -1] = token
    return TokenHistory(appended, counts, matches)
