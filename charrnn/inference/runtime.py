"""The stacked network in numpy: ids and a state go in, logits and the next state come out.

The first layer's input product is looked up in a table made once, since there are only V inputs,
unless V is so large that the table would be.
It knows nothing of text or of drawing; `cells.py` holds the equations.

V = vocabulary, H = hidden size, L = layers, G = gates of the cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import numpy as np

from charrnn.checkpoint.format import Arrays
from charrnn.config import ModelConfig
from charrnn.inference.cells import LayerState, LayerWeights, Vector, arrange, make_step

State = tuple[LayerState, ...]
"""One entry a layer, lowest first."""

_LARGEST_TABLE = 16_000_000  # numbers


class Runtime:
    """A network that reads one character at a time. It keeps no state between calls."""

    def __init__(self, config: ModelConfig, weights: Arrays) -> None:
        layers = [_arrange_layer(config, weights, i) for i in range(config.num_layers)]
        self._skip = config.skip
        embedding, scale = weights["embedding.weight"], np.float32(config.embedding_scale)
        self._inputs, is_table = _make_inputs(scale * embedding, layers[0])
        self._steps = [
            make_step(config.cell, config.nonlinearity, layer, takes_product=is_table and not i)
            for i, layer in enumerate(layers)
        ]
        self._initial = tuple(tuple(weights[f"layers.{i}.initial"]) for i in range(len(layers)))
        self._projection = weights.get("projection.weight")
        self._output = embedding if config.tie_output else weights["output.weight"]
        self._output_bias = weights["output.bias"]

    def initial_state(self) -> State:
        """Give the state before any text."""
        return self._initial

    def advance(self, symbol: int, state: State) -> State:
        """Read one id; give the state after it."""
        features, after = self._inputs[symbol], []
        for depth, (step, before) in enumerate(zip(self._steps, state, strict=True)):
            layer = step(features, before)
            features = layer[0] + features if self._skip and depth else layer[0]
            after.append(layer)
        return tuple(after)

    def prefill(self, symbols: Iterable[int], state: State) -> State:
        """Read ids one after another; give the state after the last."""
        return reduce(lambda before, symbol: self.advance(symbol, before), symbols, state)

    def logits(self, state: State) -> Vector:
        """Give the logits (V,) float32 of the next character after `state`."""
        features = self.features(state)
        if self._projection is not None:
            features = self._projection @ features
        return self._output @ features + self._output_bias

    def features(self, state: State) -> Vector:
        """Give what of `state` the output layer reads (H,)."""
        if self._skip:
            summed: Vector = np.sum([layer[0] for layer in state], axis=0)
            return summed
        return state[-1][0]

    def block_logits(self, features: Vector) -> Vector:
        """Give the logits (N, V) after N states at once, from the features (N, H) of each."""
        if self._projection is not None:
            features = features @ self._projection.T
        return features @ self._output.T + self._output_bias


def _make_inputs(embedding: Vector, first: LayerWeights) -> tuple[Vector, bool]:
    """Give what the first layer takes for each id, and whether that is its product (V, G·H)."""
    if len(embedding) * len(first.bias_ih) > _LARGEST_TABLE:
        return embedding, False
    return first.input_product(embedding), True


def _arrange_layer(config: ModelConfig, weights: Arrays, depth: int) -> LayerWeights:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    arrays = (weights[f"layers.{depth}.{name}"] for name in names)
    return arrange(config.cell, config.nonlinearity, LayerWeights(*arrays))
