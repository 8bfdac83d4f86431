"""How much of the text before it a prediction uses: the loss where less of it was read.

A stretch is read from the initial state, so before its k-th next character the network has read
exactly k. Another reading puts the same tokens in random order before the stretch (Khandelwal et
al. 2018). Each loss stands beside that of the same character after the whole text.

T = tokens, B = stretches side by side, K = the longest context.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.network import Network
from charrnn.generation.scoring import IGNORE_OVERFLOW
from charrnn.interpret.trace import Trace, check_finite, log_softmax
from charrnn.state import State, map_state, repeat_state, select_rows
from charrnn.text.vocab import Ids

SHUFFLED = 128
"""Tokens in random order before a stretch."""

_SHORT = 16  # contexts up to this have four times as many characters: their losses differ most
_NATS_PER_BIT = float(np.log(2))


@dataclass(frozen=True, eq=False)
class ContextLosses:
    """The mean loss of characters in bits, by how many tokens before them were read.

    whole: after the whole text. alone: after the last k alone, from the initial state. shuffled:
    after the last k, before which others came in random order. counts: of how many characters.
    Each (K,), that of k = 1 first; at each k all three are of the same characters.
    """

    whole: NDArray[np.float64]
    alone: NDArray[np.float64]
    shuffled: NDArray[np.float64]
    counts: NDArray[np.int64]


@IGNORE_OVERFLOW
def measure_context(trace: Trace, count: int, longest: int, seed: int) -> ContextLosses:
    """Return the losses along `count` stretches of a text, drawn at random.

    trace: of the whole text, of more than `longest` + 1 tokens. Of the stretches a quarter is read
    further than _SHORT tokens.
    """
    random = np.random.default_rng(seed)
    last = len(trace) - longest - 1
    starts = random.integers(min(SHUFFLED, last), last + 1, count)
    network = trace.network
    alone = repeat_state(network.initial_state(), count)
    shuffled = alone
    for tokens in _shuffled_before(trace, starts, random):
        shuffled = network.advance_all(tokens, shuffled)
    both = map_state(lambda one, other: np.stack((one, other), 1), alone, shuffled)  # (B, 2, H)
    rows = []
    for k in range(1, longest + 1):
        if k == _SHORT + 1:
            starts = starts[: -(-count // 4)]
            both = select_rows(both, slice(len(starts)))
        at = starts + k  # of the character that is predicted
        flat = map_state(lambda array: array.reshape(-1, array.shape[-1]), both)
        flat = network.advance_all(np.repeat(trace.ids[at - 1], 2), flat)
        both = map_state(lambda array: array.reshape(-1, 2, array.shape[-1]), flat)
        three = map_state(
            lambda whole, read: np.concatenate((whole[:, None], read), 1),
            select_rows(trace.states, at),
            both,
        )
        rows.append([*_bits(network, three, trace.ids[at]).mean(0), len(at)])
    whole, by_alone, by_shuffled, counts = np.transpose(rows)
    return ContextLosses(whole, by_alone, by_shuffled, counts.astype(np.int64))


def _shuffled_before(trace: Trace, starts: NDArray[np.int64], random: np.random.Generator) -> Ids:
    """Return the tokens before each stretch in random order (S, B); ends stay in their places."""
    rows: Ids = trace.ids[(starts[:, None] - np.arange(SHUFFLED, 0, -1)).clip(0)]
    end = trace.config.vocab_size - 1 if trace.config.has_end else -1
    for row in rows:
        inside = np.flatnonzero(row != end)
        row[inside] = row[random.permutation(inside)]
    return rows.T


def _bits(network: Network, states: State, targets: Ids) -> NDArray[np.float64]:
    """Return the cost in bits (B, 3) of the next token (B,) after three states (B, 3, H)."""
    logits = network.logits(map_state(lambda array: array.reshape(-1, array.shape[-1]), states))
    own = log_softmax(logits)[np.arange(len(logits)), np.repeat(targets, 3)]
    check_finite(own)
    nats: NDArray[np.float64] = -own.reshape(-1, 3).astype(np.float64)
    return nats / _NATS_PER_BIT
