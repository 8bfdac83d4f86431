"""Weights at random, large enough that every prediction depends on all that was read."""

from __future__ import annotations

import numpy as np

from charrnn.config import ModelConfig
from charrnn.text.ngrams import choose_ngrams

NGRAMS = {"ngram_order": 3, "ngram_rows": 40}
"""A shape with n-grams: of a few tokens, every second bigram or trigram has a row."""


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
    keys = np.arange(1, config.vocab_size + 1)
    text = np.random.default_rng(9).integers(0, min(config.vocab_size, 5), 2000)
    check = choose_ngrams(text, config.ngram_order, config.ngram_rows, keys)
    return {"ngrams.check": check, "ngrams.key": keys.astype(np.float32)}
