"""Small networks for the tests of what is seen inside: V = 7, E = 5, H = 6, of random weights."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig
from charrnn.generation.network import Network
from charrnn.interpret.subject import Subject, Texts
from charrnn.text.vocab import Vocab

V, E, H = 7, 5, 6

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
EACH_SHAPE = pytest.mark.parametrize(
    "shape", SHAPES, ids=lambda shape: "-".join(f"{value}" for value in shape.values())
)


def make_network(seed: int = 3, dtype: Any = np.float32, **shape: Any) -> Network:
    """Return a network whose every weight is a random number, also biases and the initial state."""
    sizes: dict[str, Any] = {"vocab_size": V, "embedding_size": E, "hidden_size": H}
    config = ModelConfig(**(sizes | shape))
    random = np.random.default_rng(seed)
    weights = {
        name: (random.normal(size=size) * (0.5 if "initial" in name else size[-1] ** -0.5)).astype(
            dtype
        )
        for name, size in config.weight_shapes().items()
    }
    return Network(config, weights)


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
