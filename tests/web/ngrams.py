"""n-grams for networks of random weights: some of those of a text have a row, some rows none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig
from charrnn.text.ngrams import NO_CHECK, choose_ngrams

MOST = 2**24 - 1
"""The largest key of a token, and the largest check."""


def give_ngrams(
    config: ModelConfig, weights: dict[str, NDArray[np.float32]], ids: NDArray[np.int64], seed: int
) -> None:
    """Let three quarters of the rows be of the most frequent n-grams of ids (T,).

    Keys are any whole numbers, as those of a model that started from another one.
    """
    random = np.random.default_rng(seed)
    keys = random.choice(MOST, config.vocab_size, replace=False).astype(np.int64) + 1
    check = choose_ngrams(np.tile(ids, 4), config.ngram_order, config.ngram_rows, keys)
    check[random.random(config.ngram_rows) < 0.25] = NO_CHECK
    weights["ngrams.key"] = keys.astype(np.float32)
    weights["ngrams.check"] = check


def with_ngrams(
    file: ModelFile, order: int, rows: int, ids: NDArray[np.int64] | None = None, seed: int = 5
) -> ModelFile:
    """Return a model with embeddings of n-grams of ids, or of any tokens; the rest stays."""
    config = replace(file.config, ngram_order=order, ngram_rows=rows)
    random = np.random.default_rng(seed)
    table = random.normal(size=(rows, config.embedding_size)).astype(np.float32)
    weights = {**file.weights, "ngrams.weight": table}
    text = random.integers(0, config.vocab_size, 300) if ids is None else ids
    give_ngrams(config, weights, text, seed)
    return replace(
        file, config=config, weights={name: weights[name] for name in config.weight_shapes()}
    )
