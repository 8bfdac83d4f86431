"""Weights at random, large enough that every prediction depends on all that was read."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from charrnn.config import ModelConfig
from charrnn.text.ngrams import choose_ngrams

NGRAMS: dict[str, Any] = {"ngram_order": 3, "ngram_rows": 40}
"""A shape with n-grams: of a few tokens, many bigrams and some trigrams have a row."""


def random_weights(config: ModelConfig, seed: int, spread: float) -> dict[str, np.ndarray]:
    """Return normal weights float32 of this standard deviation."""
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(0, spread, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    return weights | ngram_choice(config)


def ngram_choice(config: ModelConfig) -> dict[str, np.ndarray]:
    """Return which n-grams have rows, as training on a random text chooses them."""
    if not config.ngram_rows:
        return {}
    check = _choose(config.vocab_size, config.ngram_order, config.ngram_rows).copy()
    return {
        "ngrams.check": check,
        "ngrams.key": np.arange(1, config.vocab_size + 1, dtype=np.float32),
    }


@cache
def _choose(vocab_size: int, order: int, rows: int) -> np.ndarray:
    text = np.random.default_rng(9).integers(0, min(vocab_size, 40), 20_000)
    return choose_ngrams(text, order, rows, np.arange(1, vocab_size + 1))
