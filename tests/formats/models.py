"""Tiny models of every kind that can be exported, with random weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig
from charrnn.text.ngrams import choose_ngrams
from charrnn.text.vocab import Vocab
from tests.generation.random_models import random_weights
from tests.generation.record_models import WHO, YEAR, make_records_file

CELLS: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "tanh": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "logistic": {"cell": "rnn", "nonlinearity": "logistic"},
}
ALPHABETS = {
    "characters": Vocab("\n abé"),
    "bytes beside": Vocab("\n ab", has_bytes=True),
    "bytes": Vocab.of_bytes(),
    "graphemes": Vocab("\n abé\u0301", clusters=("a\u0301", "é\u0301")),
}
SWITCHES = ("residual", "tie_embeddings", "learned")


def make_file(
    vocab: Vocab = ALPHABETS["characters"], seed: int = 3, spread: float = 0.6, **shape: Any
) -> ModelFile:
    """Return a model file of running text; learned: whether it has an initial state of its own."""
    is_learned = shape.pop("learned", False)
    sizes = {"embedding_size": 3, "hidden_size": 5, "num_layers": 2} | shape
    config = ModelConfig(
        vocab_size=vocab.size, initial_state="learned" if is_learned else "zero", **sizes
    )
    weights = random_weights(config, seed, spread)
    for depth in range(config.num_layers):
        weights[f"layers.{depth}.initial"] *= is_learned
    summary = {"step": 7, "corpus": {"name": "book"}, "created": "2031-02-03T04:05:06+00:00"}
    return ModelFile(config, vocab, weights, summary)


def with_ngrams(
    file: ModelFile, order: int, rows: int = 28, *, has_plain_keys: bool = False
) -> ModelFile:
    """Return the model with random embeddings of n-grams of its first six tokens, or of all.

    Those are made likely, so that a text of the model's own holds such n-grams; of a small
    vocabulary they are all that it has. has_plain_keys: whether a token's key is its id + 1.
    """
    random = np.random.default_rng(7)
    size = file.config.vocab_size
    keys = np.arange(1, size + 1) if has_plain_keys else random.permutation(size) + 1
    ids = random.integers(min(size, 6), size=200)
    config = replace(file.config, ngram_order=order, ngram_rows=rows)
    table = {
        "ngrams.weight": random.normal(0, 1, (rows, config.embedding_size)).astype(np.float32),
        "ngrams.check": choose_ngrams(np.tile(ids, 4), order, rows, keys),
        "ngrams.key": keys.astype(np.float32),
    }
    weights = file.weights | table
    weights["output.bias"] = weights["output.bias"] + np.float32(6) * (np.arange(size) < 6)
    return replace(file, config=config, weights={n: weights[n] for n in config.weight_shapes()})


def every_model(cell: str, layers: int) -> Iterator[tuple[str, ModelFile]]:
    """Yield a model of each kind of alphabet and each setting of the switches, with its name."""
    turns = itertools.cycle([*ALPHABETS, "records", "records with bytes"])
    for values in itertools.product((False, True), repeat=len(SWITCHES)):
        switches = dict(zip(SWITCHES, values, strict=True))
        for _ in range(2):
            name = next(turns)
            shape = CELLS[cell] | {"num_layers": layers} | switches
            if name in ALPHABETS:
                yield f"{name} {switches}", make_file(ALPHABETS[name], **shape)
            else:
                is_learned = shape.pop("learned")
                yield (
                    f"{name} {switches}",
                    make_records_file(
                        has_bytes="bytes" in name,
                        initial_state="learned" if is_learned else "zero",
                        labels=(WHO, YEAR) if is_learned else (),
                        spread=0.6,
                        **shape,
                    ),
                )
