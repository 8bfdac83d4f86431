"""The class of each record, by a network that reads it whole: numpy, many records side by side.

Records of a block are sorted by length, longest first, so that those that are still read are always
the first rows. A layer's input products are made for all positions at once, those of the first
layer once for each token.

N = records, T = tokens of the longest, V = vocabulary, I = input size, H = hidden size, G = gates,
D = features of a position, P = features of a record, K = classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig
from charrnn.generation.cells import CellStep, LayerWeights, Vector, arrange_layer, make_step
from charrnn.generation.filters import Floats, log_softmax
from charrnn.text.vocab import Ids

_BLOCK_TOKENS = 1 << 14  # positions that are computed together, padding too
_DIRECTIONS = ("", "_reverse")

Ints = NDArray[np.int64]


class Encoder:
    """The network of a model file whose task is classification."""

    def __init__(self, config: ModelConfig, weights: Arrays) -> None:
        self._config = config
        self._weights = weights
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

    def log_probs(self, texts: Sequence[Ids]) -> Floats:
        """Return ln p(class | text) (N, K) in float64. texts: ids; none is empty."""
        found = np.zeros((len(texts), self._config.class_count))
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        begin = 0
        while begin < len(order):
            size = max(1, _BLOCK_TOKENS // len(texts[order[begin]]))
            chosen = order[begin : begin + size]
            found[chosen] = self._read([texts[i] for i in chosen])
            begin += size
        return found

    def _read(self, texts: Sequence[Ids]) -> Floats:
        """Return ln p (N, K) of texts that are sorted by length, the longest first."""
        lengths = np.array([len(each) for each in texts])
        longest = int(lengths[0])
        ids = np.zeros((longest, len(texts)), np.int64)
        for column, each in enumerate(texts):
            ids[: len(each), column] = each
        times = np.arange(longest)[:, None]
        turned = np.where(times < lengths, lengths - 1 - times, times)
        features = np.zeros(0, np.float32)
        for depth, layers in enumerate(self._layers):
            outputs = []
            for number, layer in enumerate(layers):
                if depth == 0:
                    products = self._tables[number][ids]
                else:
                    products = layer.input_product(features)
                if number:
                    products = np.take_along_axis(products, turned[:, :, None], 0)
                made = self._run(depth, number, products, lengths)
                if number:
                    made = np.take_along_axis(made, turned[:, :, None], 0)
                outputs.append(made)
            made = np.concatenate(outputs, 2)
            features = made + features if self._config.residual and depth else made
        return log_softmax(self._classify(self._pool(features, lengths)).astype(np.float64))

    def _run(self, depth: int, number: int, products: Vector, lengths: Ints) -> Vector:
        """Return the features (T, N, H) of one direction; 0 after a record's end."""
        count = len(lengths)
        size = self._config.hidden_size
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

    def _pool(self, features: Vector, lengths: Ints) -> Vector:
        """Return the features (N, P) of records from those of their positions (T, N, D)."""
        pooling = self._config.pooling
        if pooling == "last":
            size = self._config.hidden_size
            last = features[lengths - 1, np.arange(len(lengths)), :size]
            return np.concatenate((last, features[0, :, size:]), 1)
        is_text = (np.arange(len(features))[:, None] < lengths)[:, :, None]
        if pooling == "attention":
            scores = features @ self._weights["attention.weight"].T
            scores = np.where(is_text, scores, -np.inf)
            scores = np.exp(scores - scores.max(0))
            attended: Vector = (scores / scores.sum(0) * features).sum(0)
            return attended
        mean: Vector = (features * is_text).sum(0) / lengths[:, None].astype(np.float32)
        if pooling == "mean":
            return mean
        most: Vector = np.where(is_text, features, -np.inf).max(0)
        return most if pooling == "max" else np.concatenate((mean, most), 1)

    def _classify(self, pooled: Vector) -> Vector:
        """Return the logits (N, K) of records' features (N, P)."""
        weights = self._weights
        if self._config.head_size:
            pooled = np.tanh(pooled @ weights["hidden.weight"].T + weights["hidden.bias"])
        logits: Vector = pooled @ weights["output.weight"].T + weights["output.bias"]
        return logits
