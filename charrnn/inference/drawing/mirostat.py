"""Mirostat 2.0: text of a wished surprisal, by a limit that follows what was drawn.

Basu et al. 2020. The limit is an argument and a result: a float, or one for each row (B, 1).
Surprisals are in bits a character; V = vocabulary, B = texts side by side.
"""

from __future__ import annotations

import numpy as np

from charrnn.inference.drawing.filters import Chance, Logits, softmax


def keep_expected(logits: Logits, limit_bits: Chance) -> Logits:
    """Keep what is no more surprising than the limit, and the likeliest in any case."""
    probabilities = softmax(logits)
    floor = np.minimum(2.0**-limit_bits, probabilities.max(-1, keepdims=True))
    return np.where(probabilities >= floor, logits, -np.inf)


def follow(limit_bits: Chance, drawn_bits: Chance, target_bits: float, rate: float) -> Chance:
    """Give the limit after a character of `drawn_bits`: less where that was more than wished."""
    return np.maximum(limit_bits - rate * (drawn_bits - target_bits), 0.0)
