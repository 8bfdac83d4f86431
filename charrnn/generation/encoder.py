"""The features of each position of records, by a network that reads them whole: numpy.

Records of a block are sorted by length, longest first, so that those that are still read are always
the first rows. A layer's input products are made for all positions at once, those of the first
layer once for each token.

N = records, T = tokens of the longest, V = vocabulary, I = input size, H = hidden size, G = gates,
D = features of a position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig
from charrnn.generation.cells import CellStep, LayerWeights, Vector, arrange_layer, make_step
from charrnn.generation.scoring import IGNORE_OVERFLOW
from charrnn.text.vocab import Ids

_BLOCK_TOKENS = 1 << 14  # positions that are computed together, padding too
_DIRECTIONS = ("", "_reverse")

Ints = NDArray[np.int64]


class Encoded(NamedTuple):
    """Some records that were read side by side, the longest first.

    which: (N,), where each stands among all. features: (T, N, D) float32, 0 after a record's end.
    lengths: (N,). ids: (T, N) int64, 0 after a record's end.
    """

    which: list[int]
    features: Vector
    lengths: Ints
    ids: Ints

    @property
    def is_inside(self) -> NDArray[np.bool_]:
        """Which positions (T, N, 1) belong to a record."""
        inside: NDArray[np.bool_] = np.arange(len(self.features))[:, None] < self.lengths
        return inside[:, :, None]

    def last(self, hidden_size: int) -> Vector:
        """Return the features (N, D) of each direction's own last step."""
        last = self.features[self.lengths - 1, np.arange(len(self.lengths)), :hidden_size]
        # A direction that reads backwards ends at a record's first position.
        return np.concatenate((last, self.features[0, :, hidden_size:]), 1)


class Encoder:
    """The recurrent layers of a model file whose network reads whole records."""

    @IGNORE_OVERFLOW
    def __init__(self, config: ModelConfig, weights: Arrays) -> None:
        self.config = config
        self.weights = weights
        directions = _DIRECTIONS if config.bidirectional else _DIRECTIONS[:1]
        self._layers: list[list[LayerWeights]] = []
        self._steps: list[list[CellStep]] = []
        self._initial: list[list[tuple[Vector, ...]]] = []
        for depth in range(config.num_layers):
            own = [arrange_layer(config, weights, depth, each) for each in directions]
            self._layers.append(own)
            self._steps.append([make_step(config, each, has_product=True) for each in own])
            names = [f"layers.{depth}.initial{each}" for each in directions]
            self._initial.append([tuple(weights[name]) for name in names])
        # Of the first layer, the product of each token (V, G·H).
        self._tables = [each.input_product(weights["embedding.weight"]) for each in self._layers[0]]

    def iter_encoded(self, texts: Sequence[Ids]) -> Iterator[Encoded]:
        """Yield the features of records, those of like length side by side; none is empty."""
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        begin = 0
        while begin < len(order):
            size = max(1, _BLOCK_TOKENS // len(texts[order[begin]]))
            chosen = order[begin : begin + size]
            yield self._read(chosen, [texts[i] for i in chosen])
            begin += size

    def _read(self, which: list[int], texts: Sequence[Ids]) -> Encoded:
        """Return the features of texts that are sorted by length, the longest first."""
        lengths = np.array([len(each) for each in texts])
        longest = int(lengths[0])
        ids = np.zeros((longest, len(texts)), np.int64)
        for column, each in enumerate(texts):
            ids[: len(each), column] = each
        times = np.arange(longest)[:, None]
        columns = np.arange(len(texts))
        turned = np.where(times < lengths, lengths - 1 - times, times)
        features = np.zeros(0, np.float32)
        for depth, layers in enumerate(self._layers):
            outputs = []
            for number, layer in enumerate(layers):
                if depth == 0:
                    products = self._tables[number][ids[turned, columns] if number else ids]
                else:
                    products = layer.input_product(features)
                    products = products[turned, columns] if number else products
                made = self._run(depth, number, products, lengths)
                outputs.append(made[turned, columns] if number else made)
            made = np.concatenate(outputs, 2)
            features = made + features if self.config.residual and depth else made
        return Encoded(which, features, lengths, ids)

    def _run(self, depth: int, number: int, products: Vector, lengths: Ints) -> Vector:
        """Return the features (T, N, H) of one direction; 0 after a record's end."""
        count = len(lengths)
        size = self.config.hidden_size
        products = products.reshape(len(products), count, -1, size)
        outputs = np.zeros((len(products), count, size), np.float32)
        step = self._steps[depth][number]
        first = self._initial[depth][number]
        state = tuple(np.broadcast_to(part, (count, size)) for part in first)
        active = np.searchsorted(-lengths, -np.arange(len(products)), side="left").tolist()
        for products_t, outputs_t, rows in zip(products, outputs, active, strict=True):
            state = step(products_t[:rows], tuple(part[:rows] for part in state))
            outputs_t[:rows] = state[0]
        return outputs
