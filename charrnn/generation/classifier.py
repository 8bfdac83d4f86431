"""The class of each record, by a network that reads it whole: numpy, many records side by side.

N = records, T = tokens of the longest, D = features of a position, P = features of a record, K =
classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.errors import DivergedError
from charrnn.generation.cells import Vector
from charrnn.generation.encoder import Encoded, Encoder
from charrnn.generation.filters import Floats, log_softmax
from charrnn.generation.scoring import IGNORE_OVERFLOW, NOT_FINITE
from charrnn.text.vocab import Ids


class Classifier(Encoder):
    """The network of a model file whose task is classification."""

    @IGNORE_OVERFLOW
    def log_probs(self, texts: Sequence[Ids]) -> Floats:
        """Return ln p(class | text) (N, K) in float64. texts: ids; none is empty.

        Raises:
            DivergedError: the weights are so large that logits are not finite.
        """
        found = np.zeros((len(texts), self.config.class_count))
        for encoded in self.iter_encoded(texts):
            logits = self._classify(self._pool(encoded))
            if not np.isfinite(logits).all():
                raise DivergedError(NOT_FINITE)
            found[encoded.which] = log_softmax(logits.astype(np.float64))
        return found

    def _pool(self, encoded: Encoded) -> Vector:
        """Return the features (N, P) of records from those of their positions (T, N, D)."""
        pooling = self.config.pooling
        features = encoded.features
        if pooling == "last":
            return encoded.last(self.config.hidden_size)
        if pooling == "attention":
            scores = features @ self.weights["attention.weight"].T
            scores = np.where(encoded.is_inside, scores, -np.inf)
            scores = np.exp(scores - scores.max(0))
            attended: Vector = (scores / scores.sum(0) * features).sum(0)
            return attended
        mean: Vector = features.sum(0) / encoded.lengths[:, None].astype(np.float32)
        if pooling == "mean":
            return mean
        most: Vector = np.where(encoded.is_inside, features, -np.inf).max(0)
        return most if pooling == "max" else np.concatenate((mean, most), 1)

    def _classify(self, pooled: Vector) -> Vector:
        """Return the logits (N, K) of records' features (N, P)."""
        weights = self.weights
        if self.config.head_size:
            pooled = np.tanh(pooled @ weights["hidden.weight"].T + weights["hidden.bias"])
        logits: Vector = pooled @ weights["output.weight"].T + weights["output.bias"]
        return logits
