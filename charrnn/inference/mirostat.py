"""Mirostat 2.0: text of a wished surprisal, by a limit that follows what was drawn.

Basu et al. 2020. The limit is an argument and a result. Surprisals are in bits a character;
V = vocabulary.
"""

from __future__ import annotations

import numpy as np

from charrnn.inference.filters import Logits, softmax


def keep_expected(logits: Logits, limit_bits: float) -> Logits:
    """Keep what is no more surprising than the limit, and the likeliest in any case."""
    probabilities = softmax(logits)
    floor = min(2.0**-limit_bits, float(probabilities.max()))
    return np.where(probabilities >= floor, logits, -np.inf)


def follow(limit_bits: float, drawn_bits: float, target_bits: float, rate: float) -> float:
    """Give the limit after a character of `drawn_bits`: less where that was more than wished."""
    return max(limit_bits - rate * (drawn_bits - target_bits), 0.0)
