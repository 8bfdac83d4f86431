"""Small networks for the tests of what is seen inside: V = 7, E = 5, H = 6, of random weights.

Some of them have n-grams of up to 3 tokens, in a table of R = 60 rows.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig
from charrnn.config.model import BUCKET
from charrnn.generation.network import Network
from charrnn.interpret.subject import Subject, Texts
from charrnn.text.ngrams import choose_ngrams, hash_ngrams
from charrnn.text.vocab import Vocab

V, E, H = 7, 5, 6
R, ORDER = 60, 3

CELLS = [("rnn", "tanh"), ("rnn", "relu"), ("rnn", "logistic"), ("lstm", "tanh"), ("gru", "tanh")]
OUTPUTS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tie_embeddings": True, "embedding_size": H},
    "projected": {"tie_embeddings": True},
}
SHAPES = [
    {"cell": cell, "nonlinearity": f, "num_layers": layers, "residual": residual, **output}
    for (cell, f), layers, residual, output in itertools.product(
        CELLS, (1, 2, 3), (False, True), OUTPUTS.values()
    )
]
WITH_NGRAMS: dict[str, Any] = {"ngram_order": ORDER, "ngram_rows": R}
SHAPES += [
    {"cell": cell, "nonlinearity": f, "num_layers": layers, "residual": layers > 1} | output
    for ((cell, f), layers), output in zip(
        [(CELLS[0], 2), (CELLS[1], 1), (CELLS[2], 2), (CELLS[3], 2), (CELLS[3], 1), (CELLS[4], 2)],
        [WITH_NGRAMS | output for output in OUTPUTS.values()] * 2,
        strict=True,
    )
]


def _name(shape: dict[str, Any]) -> str:
    return "-".join(f"{value}" for value in shape.values())


EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=_name)
RECORD_SHAPES = [
    {"cell": cell, "num_layers": 2, "has_end": True, **WITH_NGRAMS}
    for cell in ("rnn", "lstm", "gru")
]
EACH_RECORD_SHAPE = pytest.mark.parametrize("shape", RECORD_SHAPES, ids=_name)
"""Of networks with n-grams whose records end."""


def make_network(seed: int = 3, dtype: Any = np.float32, **shape: Any) -> Network:
    """Return a network whose every weight is a random number, also biases and the initial state.

    Its n-grams are pairs and triples of the tokens, as many as have room; more have none.
    """
    sizes: dict[str, Any] = {"vocab_size": V, "embedding_size": E, "hidden_size": H}
    config = ModelConfig(**(sizes | shape))
    random = np.random.default_rng(seed)
    weights = {
        name: (random.normal(size=size) * (0.5 if "initial" in name else size[-1] ** -0.5)).astype(
            dtype
        )
        for name, size in config.weight_shapes().items()
    }
    if config.ngram_rows:
        keys = random.permutation(config.vocab_size) * 5 + 2  # as of a fine-tuned model
        text = np.random.default_rng(seed).integers(0, config.vocab_size, 3_000)
        check = choose_ngrams(text, config.ngram_order, config.ngram_rows, keys)
        weights |= {"ngrams.check": check.astype(dtype), "ngrams.key": keys.astype(dtype)}
    return Network(config, weights)


def added_by_ngrams(network: Network, token: int, context: NDArray[Any]) -> NDArray[Any]:
    """Return what n-grams add to the embedding of a token (E,), one after the other."""
    weights = network.weights
    keys = [int(weights["ngrams.key"][token]), *map(int, context)]
    total = np.zeros_like(weights["ngrams.weight"][0])
    for bucket, check in hash_ngrams(keys, network.config.ngram_rows):
        for row in range(BUCKET * bucket, BUCKET * (bucket + 1)):
            if weights["ngrams.check"][row] == check:
                total += weights["ngrams.weight"][row]
    return total


def make_ids(count: int, *lanes: int, seed: int = 4, size: int = V) -> NDArray[np.int64]:
    """Return random ids (count, *lanes)."""
    return np.random.default_rng(seed).integers(0, size, (count, *lanes))


def make_subject(
    network: Network, ids: NDArray[np.int64], held_out: NDArray[np.int64] | None = None
) -> Subject:
    """Return a network as a model that is looked at; its alphabet is a newline, a, b, c, …"""
    alphabet = "\n" + "".join(map(chr, range(97, 97 + network.config.vocab_size - 1)))
    vocab = Vocab(alphabet)
    file = ModelFile(network.config, vocab, network.weights, {})
    texts = (ids if held_out is None else held_out, ids)
    return Subject("book", file, ids, Texts(lambda: texts))
