"""The stacked network in numpy: ids and a state go in, logits and the next state come out.

The first layer's input product is looked up in a table made once, since there are only V inputs.
It knows nothing of text or of drawing; `cells.py` holds the equations.

V = vocabulary, H = hidden size, L = layers, G = gates of the cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.format import Arrays
from charrnn.config import ModelConfig
from charrnn.inference.cells import Cell, LayerState, LayerWeights, Vector, make_cell

State = tuple[LayerState, ...]
"""One entry a layer, lowest first."""

_LARGEST_TABLE = 16_000_000  # numbers; beyond it rows are computed as they are needed


class Runtime:
    """A network that reads one character at a time. It keeps no state between calls."""

    def __init__(self, config: ModelConfig, weights: Arrays) -> None:
        self._config = config
        self._cells = [_make_layer(config, weights, i) for i in range(config.num_layers)]
        self._initial = tuple(
            tuple(weights[f"layers.{i}.initial"]) for i in range(config.num_layers)
        )
        self._embedding = weights["embedding.weight"]
        self._output = weights["embedding.weight" if config.tie_output else "output.weight"]
        self._output_bias = weights["output.bias"]
        self._table = self._make_table(self._cells[0])

    def initial_state(self) -> State:
        """Give the state before any text."""
        return self._initial

    def advance(self, symbol: int, state: State) -> State:
        """Read one id; give the state after it."""
        first, *above = self._cells
        product = (
            first.input_product(self._embedding[symbol])
            if self._table is None
            else self._table[symbol]
        )
        layer = first.step(product, state[0])
        features, after = layer[0], [layer]
        for cell, before in zip(above, state[1:], strict=True):
            layer = cell.step(cell.input_product(features), before)
            features = layer[0] + features if self._config.skip else layer[0]
            after.append(layer)
        return tuple(after)

    def prefill(self, symbols: Iterable[int], state: State) -> State:
        """Read ids one after another; give the state after the last."""
        return reduce(lambda before, symbol: self.advance(symbol, before), symbols, state)

    def logits(self, state: State) -> Vector:
        """Give the logits (V,) float32 of the next character after `state`."""
        features = state[-1][0]
        if self._config.skip:
            features = np.sum([layer[0] for layer in state], axis=0)
        return self._output @ features + self._output_bias

    def _make_table(self, first: Cell) -> NDArray[np.float32] | None:
        """Give the first layer's input product of every id, (V, G·H)."""
        if self._config.vocab_size * len(first.bias) > _LARGEST_TABLE:
            return None
        return first.input_product(self._embedding)


def _make_layer(config: ModelConfig, weights: Arrays, depth: int) -> Cell:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    arrays = (weights[f"layers.{depth}.{name}"] for name in names)
    return make_cell(config.cell, config.nonlinearity, LayerWeights(*arrays))
