"""What running an export has shown, and the comparisons that every format makes.

The reference is the numpy network of `generation/network.py`. Texts are compared character by
character, and logits where the export shows them.

V = vocabulary, T = tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ExportError
from charrnn.generation.filters import softmax
from charrnn.generation.network import Network
from charrnn.state import State
from charrnn.text.vocab import Ids, Vocab

MAX_LOGIT_ERROR = 1e-4
"""How far a logit may be from the model's own, as a part of the largest logit if that is over 1."""


@dataclass(frozen=True)
class Verified:
    """What was compared: the characters, the largest difference of a logit, and what to know."""

    chars: int
    max_logit_error: float | None = None
    notes: tuple[str, ...] = ()


def opening_id(vocab: Vocab) -> int:
    """Return the id that a text without a prompt begins after: an end, a newline, or the first."""
    return vocab.end if vocab.has_end else max(vocab.newline, 0)


def sampled_ids(network: Network, count: int, seed: int = 0, start: State | None = None) -> Ids:
    """Return `count` ids (T,) that the network samples at temperature 1.

    start: the state that they come after, by default the initial one.
    """
    random = np.random.default_rng(seed)
    state = network.initial_state() if start is None else start
    ids = np.zeros(count, np.int64)
    for k in range(count):
        sums = np.cumsum(softmax(network.logits(state).astype(np.float64)))
        token = min(int(np.searchsorted(sums, random.random())), len(sums) - 1)
        ids[k] = token
        state = network.advance(token, state)
    return ids


def token_costs(network: Network, ids: Ids, start: State | None = None) -> NDArray[np.float64]:
    """Return −ln p (T,) of each id; start: as of `sampled_ids`."""
    state = network.initial_state() if start is None else start
    costs = np.zeros(len(ids))
    for k, token in enumerate(ids.tolist()):
        logits = network.logits(state).astype(np.float64)
        costs[k] = np.logaddexp.reduce(logits) - logits[token]
        state = network.advance(token, state)
    return costs


def check_costs(expected: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Return the largest difference of costs (T,), in nats.

    Raises:
        ExportError: one is above rounding; says where.
    """
    errors = np.abs(found - expected) / np.maximum(1, expected)
    if not (errors <= 10 * MAX_LOGIT_ERROR).all():  # NaN compares as False
        place = int(np.argmax(~(errors <= 10 * MAX_LOGIT_ERROR)))
        raise ExportError(
            f"the export gives character {place + 1} of a text {found[place]:.4f} nats, where the "
            f"model gives it {expected[place]:.4f}"
        )
    return float(errors.max(initial=0))


def all_logits(network: Network, ids: Ids) -> NDArray[np.float32]:
    """Return the logits (T, V) after each id."""
    state = network.initial_state()
    found = []
    for token in ids.tolist():
        state = network.advance(token, state)
        found.append(network.logits(state))
    return np.array(found)


def logit_error(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Return the largest difference, as a part of the largest logit where that is over 1.

    >>> logit_error(np.float32([10, 0]), np.float32([10, 1]))
    0.1

    Raises:
        ExportError: a logit is not a number.
    """
    if not np.isfinite(found).all():
        raise ExportError("the export gives logits that are not numbers, and the model does not")
    scale = max(1.0, float(np.abs(expected).max()))
    return float(np.abs(expected - found).max()) / scale


def check_logits(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Return the largest difference of logits (T, V).

    Raises:
        ExportError: it is above MAX_LOGIT_ERROR; says where.
    """
    error = logit_error(expected, found)
    if error > MAX_LOGIT_ERROR:
        place = int(np.abs(expected - found).max(-1).argmax())
        raise ExportError(
            f"the export's logits differ from the model's by up to {error:.2g}, most after "
            f"character {place + 1}; at most {MAX_LOGIT_ERROR:g} is rounding"
        )
    return error


def check_greedy(
    network: Network, vocab: Vocab, found: Sequence[int], start: State | None = None
) -> int:
    """Compare a text that an export wrote, always the likeliest token, with what the model writes.

    found: its ids, from `start` on, by default the initial state. Where two tokens are equally
    likely but for rounding, either may be written; the text goes on with the one that was. Returns
    how often that was so.

    Raises:
        ExportError: the model writes another token; says where, and which.
    """
    state = network.initial_state() if start is None else start
    ties = 0
    for place, token in enumerate(found):
        logits = network.logits(state)
        best = int(logits.argmax())
        if token != best:
            gap = float(logits[best] - logits[token])
            if not 0 <= gap <= 2 * MAX_LOGIT_ERROR * max(1.0, float(np.abs(logits).max())):
                raise ExportError(
                    f"the export writes {vocab.name_of(token)!r} as character {place + 1}, where "
                    f"the model writes {vocab.name_of(best)!r}"
                )
            ties += 1
        state = network.advance(token, state)
    return ties
