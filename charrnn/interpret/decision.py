"""What a network that decides looked at: how its decision changes without each character.

Leaving out is what it says: the text without a character is read again. So the figure holds for
every cell, pooling and head.

T = tokens, P = pieces of the text, K = classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.generation.filters import Floats
from charrnn.text.vocab import Ids

MAX_PIECES = 400
"""A longer text is left out by stretches of several characters."""
FULL_BITS = 4.0
"""The gain that has the strongest colour."""
_LEAST = 1e-12  # a probability of 0 costs 40 bits, not infinitely many


@dataclass(frozen=True, eq=False)
class DecisionReport:
    """One decision.

    pieces: the text in pieces, mostly single characters. classes: the likeliest, the best first.
    probabilities: of these. gains_bits: (P,), by how many bits log₂ p of the best class falls
    without each piece: positive where the piece speaks for the class.
    """

    pieces: list[str]
    classes: list[str]
    probabilities: Floats
    gains_bits: Floats

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return the columns and rows of a CSV file: a row for each piece."""
        rows = zip(self.pieces, self.gains_bits.tolist(), strict=True)
        return ["piece", "gain_bits"], [list(row) for row in rows]


def inspect_decision(
    ids: Ids,
    symbols: Sequence[str],
    classes: Sequence[str],
    probabilities: Callable[[Sequence[Ids]], Floats],
    top: int = 5,
) -> DecisionReport:
    """Return what decides on the class of a text (T,); symbols: what stands for each token.

    probabilities: returns p(class | text) (N, K) of N texts, of which an empty one is allowed.
    """
    size = -(-len(ids) // MAX_PIECES)
    starts = range(0, len(ids), max(size, 1))
    texts = [np.concatenate((ids[:at], ids[at + size :])) for at in starts]
    whole, *others = probabilities([ids, *texts])
    best = np.argsort(-whole, kind="stable")[:top]
    without = np.array([row[best[0]] for row in others])
    gains = np.log2(max(whole[best[0]], _LEAST)) - np.log2(np.maximum(without, _LEAST))
    return DecisionReport(
        ["".join(symbols[at : at + size]) for at in starts],
        [classes[each] for each in best],
        whole[best],
        gains,
    )
