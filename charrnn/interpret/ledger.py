"""The ledger of a memory: what each earlier token wrote into it that is still there, exactly.

An LSTM adds to its memory, and multiplies what is there by its forget gate. So the memory after a
text is a sum with one part for each token and one for the initial state (Murdoch and Szlam 2017
split it so). A GRU does the same with its state. What a token did through *later* gates is booked
on those later tokens. An rnn has no such sum.

T = tokens, H = hidden size, P = pieces of the text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.interpret.trace import Array, Trace

CELLS = ("lstm", "gru")
"""The cells whose memory has a ledger."""

_FEW = 1e-30


@dataclass(frozen=True, eq=False)
class Ledger:
    """The parts of the memory after one token: of c in an LSTM, of h in a GRU.

    parts: (T + 1, H), of what stood in the memory before the text and then of each token, in the
    text's order. memory: their sum as the network computed it, (H,).
    """

    parts: Array
    memory: Array

    @property
    def residual(self) -> float:
        """How far the parts' sum is from the memory, relative to the memory's length."""
        error = float(np.linalg.norm(self.parts.sum(0, dtype=np.float64) - self.memory))
        return error / max(float(np.linalg.norm(self.memory)), _FEW)

    @property
    def cancelled(self) -> float:
        """The share of all that is written that other parts cancel, 0 to 1."""
        written = np.abs(self.parts).sum(dtype=np.float64)
        return float(1 - np.abs(self.memory).sum(dtype=np.float64) / max(written, _FEW))

    def shares(self) -> NDArray[np.float64]:
        """Return the share of the initial state and of each token (T + 1,): they add to 1."""
        return _shares(self.parts)

    def piece_shares(self, starts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the shares of the initial state and of pieces of the text (P + 1,).

        starts: (P,), where each piece begins; the first at 0. The parts of a piece are added
        before their size is taken, so characters that cancel each other count less.
        """
        return _shares(np.add.reduceat(self.parts, np.append(0, starts + 1)))


def make_ledger(trace: Trace, depth: int, at: int) -> Ledger:
    """Return the ledger of a layer's memory after token `at` of a text."""
    kept, written = kept_and_written(trace.part(0, at + 1), depth)
    memory = trace.memory(depth)
    # What a gate lets through of a part is multiplied over all later tokens: from the end.
    through = np.cumprod(kept[::-1], 0, dtype=np.float64)[::-1]
    after = np.concatenate((through[1:], np.ones_like(through[:1])))
    return Ledger(np.concatenate((through[:1] * memory[0], after * written)), memory[at + 1])


def kept_and_written(trace: Trace, depth: int) -> tuple[Array, Array]:
    """Return what each token keeps of a layer's memory and what it adds to it, each (T, H).

    The end of a record keeps nothing and adds the initial state. A text before it is gone.
    """
    gates = trace.gates(depth)
    if trace.config.cell == "lstm":
        # c_t = f_t ⊙ c_{t−1} + i_t ⊙ g_t
        kept = gates["f"]
        written = gates["i"] * gates["g"]
    else:
        # h_t = z_t ⊙ h_{t−1} + (1 − z_t) ⊙ n_t
        kept = gates["z"]
        written = (1 - gates["z"]) * gates["n"]
    is_end = trace.is_end[..., None]
    return np.where(is_end, 0, kept), np.where(is_end, trace.memory(depth)[1:], written)


def recent_shares(traces: Iterable[Trace], depth: int) -> NDArray[np.float64]:
    """Return the mean share of the last token, of the one before it, and so on (T + 1,).

    traces: of as many tokens each, as views of one text. The last entry is of all that came
    before them.
    """
    found = [make_ledger(trace, depth, len(trace) - 1).shares() for trace in traces]
    mean: NDArray[np.float64] = np.mean(found, 0)[::-1]
    return mean


def reach(recent: NDArray[np.float64], share: float) -> int | None:
    """Return how many of the last tokens wrote this share of the memory.

    recent: as `recent_shares`, the last token first and what came before the text last; None
    where all tokens together wrote less.

    >>> reach(np.array([0.5, 0.3, 0.1, 0.1]), 0.75), reach(np.array([0.5, 0.5]), 0.9)
    (2, None)
    """
    totals = np.cumsum(recent[:-1])
    count = int(np.searchsorted(totals, share - 1e-9)) + 1
    return count if count <= len(totals) else None


def _shares(parts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the share of each part (…, H) in the sum of all their sizes."""
    sizes = np.abs(parts).sum(-1, dtype=np.float64)
    shares: NDArray[np.float64] = sizes / max(sizes.sum(), _FEW)
    return shares
