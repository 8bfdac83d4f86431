"""The weights that training begins with, drawn again in numpy: the control beside every finding.

They have the distributions of model/network.py but not its random numbers, which are torch's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig
from charrnn.config.model import FORGET_BIAS, GATES, NGRAM_STD, NGRAM_TABLE, NOT_LEARNED
from charrnn.text.ngrams import NO_CHECK


def untrained_weights(config: ModelConfig, seed: int = 0, trained: Arrays | None = None) -> Arrays:
    """Return the weights of a language model before its first step, float32 by name.

    trained: of the model that this is a control of. Training chooses the n-grams that have rows
    before its first step, so they are taken from there; None leaves all rows without an n-gram.
    """
    random = np.random.default_rng(seed)
    shapes = config.weight_shapes()
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    gates = GATES[config.cell]
    scale = 2.0 if config.nonlinearity == "logistic" else 1.0

    def normal(name: str, std: float) -> None:
        weights[name] = (std * random.standard_normal(shapes[name])).astype(np.float32)

    width = config.embedding_size if config.has_projection else config.hidden_size
    normal("embedding.weight", width**-0.5 if config.tie_embeddings else 1.0)
    for depth in range(config.num_layers):
        layer = f"layers.{depth}"
        normal(f"{layer}.weight_ih", scale * shapes[f"{layer}.weight_ih"][1] ** -0.5)
        blocks = [_orthogonal(random, config.hidden_size) for _ in range(gates)]
        weights[f"{layer}.weight_hh"] = np.float32(scale * scale) * np.concatenate(blocks)
        if config.cell == "lstm":
            weights[f"{layer}.bias_ih"].reshape(4, -1)[1] = FORGET_BIAS
        if config.nonlinearity == "logistic":
            weights[f"{layer}.bias_ih"][:] = -weights[f"{layer}.weight_hh"].sum(1) / 2
    if "output.weight" in weights:
        normal("output.weight", width**-0.5)
    if "projection.weight" in weights:
        rows, columns = shapes["projection.weight"]
        square = _orthogonal(random, max(rows, columns))
        weights["projection.weight"] = square[:rows, :columns].copy()
    if config.ngram_rows:
        normal(NGRAM_TABLE, NGRAM_STD)
        weights["ngrams.check"][:] = NO_CHECK
        weights["ngrams.key"][:] = np.arange(1, config.vocab_size + 1)
        if trained is not None:
            weights |= {name: trained[name] for name in NOT_LEARNED}
    return weights


def _orthogonal(random: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Return a random orthogonal matrix (size, size)."""
    q, r = np.linalg.qr(random.standard_normal((size, size)))
    matrix: NDArray[np.float32] = (q * np.sign(np.diagonal(r))).astype(np.float32)
    return matrix  # without the signs not all would be equally likely
