"""The encoder–decoder once more, one record at a time, straight from the equations.

T = tokens of the source, U = tokens of the target, D = features of a position, V = target
vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from tests.reference import recurrent

Array = NDArray[np.float64]
Weights = dict[str, Array]


def encode(config: ModelConfig, weights: Weights, source: list[int]) -> Array:
    """Return the features (T, D) of a source's positions."""
    features = weights["embedding.weight"][source]
    for depth in range(config.num_layers):
        made = []
        for direction in ("", "_reverse")[: 1 + config.bidirectional]:
            names = recurrent.LAYER_WEIGHTS
            own = {n: weights[f"layers.{depth}.{n}{direction}"] for n in names}
            turn = slice(None, None, -1 if direction else 1)
            state = tuple(weights[f"layers.{depth}.initial{direction}"][:, None])
            made.append(run(config, own, features[turn], state)[turn])
        outputs = np.concatenate(made, 1)
        features = outputs + features if config.residual and depth else outputs
    return features


def run(config: ModelConfig, own: Weights, inputs: Array, state: tuple[Array, ...]) -> Array:
    """Return a layer's outputs (T, H) of its inputs (T, I)."""
    step, _ = recurrent.cell_steps(config)
    rows = []
    for x in inputs:
        state, _ = step(own, x[None], state)
        rows.append(state[0][0])
    return np.stack(rows)


def attend(config: ModelConfig, weights: Weights, query: Array, features: Array) -> Array:
    """Return the mean of the features (T, D) that a query (H,) asks for: (D,)."""
    asked = weights["attention.query.weight"] @ query
    scores = []
    for k in features:
        if config.attention == "dot":
            scores.append(asked @ k / len(k) ** 0.5)
        else:
            sums = np.tanh(asked + weights["attention.key.weight"] @ k)
            scores.append(weights["attention.score.weight"][0] @ sums)
    shares = np.exp(scores) / np.exp(scores).sum()
    return np.sum([share * k for share, k in zip(shares, features, strict=True)], 0)


def logits(config: ModelConfig, weights: Weights, source: list[int], target: list[int]) -> Array:
    """Return the logits (U, V) of each token of a target that ends with the end."""
    features = encode(config, weights, source)
    hidden = config.hidden_size
    last = np.concatenate((features[-1, :hidden], features[0, hidden:]))
    outputs = weights["target_embedding.weight"][[config.target_size - 1, *target[:-1]]]
    context: Any = None
    for depth in range(len(config.decoder_inputs)):
        own = {
            n: weights[f"decoder.{depth}.{n}"] for n in recurrent.LAYER_WEIGHTS if n != "initial"
        }
        first = np.tanh(weights[f"bridge.{depth}.weight"] @ last + weights[f"bridge.{depth}.bias"])
        inputs = outputs if context is None else np.concatenate((outputs, context), 1)
        made = run(config, own, inputs, tuple(first.reshape(config.state_parts, 1, hidden)))
        outputs = made + outputs if config.residual and depth else made
        if config.attention != "none" and context is None:
            context = np.stack([attend(config, weights, q, features) for q in outputs])
    if context is not None:
        joined = np.concatenate((outputs, context), 1)
        outputs = np.tanh(joined @ weights["combine.weight"].T + weights["combine.bias"])
    return outputs @ weights["output.weight"].T + weights["output.bias"]
