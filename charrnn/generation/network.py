"""The stacked network in numpy: ids and a state go in, logits and the next state come out.

The first layer's input product is looked up in a table made once, since there are only V inputs,
unless V is so large that the table would be.
It knows nothing of text or of drawing; `cells.py` holds the equations, `states.py` says what a
state is.

V = vocabulary, H = hidden size, L = layers, G = gates of the cell, B = states side by side.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import reduce

import numpy as np

from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig
from charrnn.generation.cells import LayerWeights, Vector, arrange, by_gate, make_step
from charrnn.state import State
from charrnn.text.vocab import Ids

_LARGEST_TABLE = 16_000_000  # numbers

# BLAS pads what it works on with whatever lay in memory, and now and then flags that. np.errstate
# would cost a seventh of a small network's time.
warnings.filterwarnings("ignore", "invalid value encountered in (dot|matmul)", RuntimeWarning)


class Network:
    """A network that reads one character at a time. It keeps no state between calls."""

    def __init__(self, config: ModelConfig, weights: Arrays) -> None:
        layers = [_arrange_layer(config, weights, i) for i in range(config.num_layers)]
        self.vocab_size = config.vocab_size
        self._skip = config.residual
        embedding, scale = weights["embedding.weight"], np.float32(config.embedding_scale)
        self._inputs, is_table = _make_inputs(scale * embedding, layers[0])
        self._steps = [
            make_step(config.cell, config.nonlinearity, layer, takes_product=is_table and not i)
            for i, layer in enumerate(layers)
        ]
        self._initial = tuple(tuple(weights[f"layers.{i}.initial"]) for i in range(len(layers)))
        projection = weights.get("projection.weight")
        self._projection = None if projection is None else projection.T
        self._output = (embedding if config.tie_embeddings else weights["output.weight"]).T
        self._output_bias = weights["output.bias"]

    def initial_state(self) -> State:
        """Give the state before any text."""
        return self._initial

    def advance(self, token: int, state: State) -> State:
        """Read one id; give the state after it."""
        return self._read(self._inputs[token], state)

    def advance_all(self, tokens: Ids, states: State) -> State:
        """Read an id (B,) after each of B states; give the states after them."""
        return self._read(self._inputs[tokens], states)

    def prefill(self, tokens: Iterable[int], state: State) -> State:
        """Read ids one after another; give the state after the last."""
        return reduce(lambda before, token: self.advance(token, before), tokens, state)

    def logits(self, state: State) -> Vector:
        """Give the logits (V,) float32 of the next character; (B, V) after B states."""
        return self.block_logits(self.features(state))

    def features(self, state: State) -> Vector:
        """Give what of `state` the output layer reads: (H,) or (B, H)."""
        if self._skip:
            summed: Vector = np.sum([layer[0] for layer in state], axis=0)
            return summed
        features: Vector = state[-1][0]
        return features

    def block_logits(self, features: Vector) -> Vector:
        """Give the logits (N, V) after N states at once, from the features (N, H) of each."""
        if self._projection is not None:
            features = features.dot(self._projection)
        logits: Vector = features.dot(self._output)
        logits += self._output_bias
        return logits

    def _read(self, features: Vector, state: State) -> State:
        if len(self._steps) == 1:
            return (self._steps[0](features, state[0]),)
        after = []
        for depth, step in enumerate(self._steps):
            layer = step(features, state[depth])
            features = layer[0] + features if self._skip and depth else layer[0]
            after.append(layer)
        return tuple(after)


def _make_inputs(embedding: Vector, first: LayerWeights) -> tuple[Vector, bool]:
    """Give what the first layer takes for each id, and whether that is its product (V, G, H)."""
    if len(embedding) * len(first.bias_ih) > _LARGEST_TABLE:
        return embedding, False
    return by_gate(first.input_product(embedding), first.weight_hh.shape[1]), True


def _arrange_layer(config: ModelConfig, weights: Arrays, depth: int) -> LayerWeights:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    arrays = (weights[f"layers.{depth}.{name}"] for name in names)
    return arrange(config.cell, config.nonlinearity, LayerWeights(*arrays))
