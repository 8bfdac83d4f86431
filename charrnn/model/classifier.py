"""Classifier: the features of a record's positions → pooling → one hidden layer → classes.

B = records side by side, T = tokens of the longest, D = features of a position, P = features of a
record, K = classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charrnn.config import ModelConfig
from charrnn.model.encoder import Encoder, initialise, is_inside
from charrnn.model.network import State, drop


class Classifier(Encoder):
    """A recurrent network that reads a record and decides on its class."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.attention = (
            nn.Linear(config.features, 1, bias=False) if config.pooling == "attention" else None
        )
        width = config.pooled_features
        self.hidden = nn.Linear(width, config.head_size) if config.head_size else None
        self.output = nn.Linear(config.head_size or width, config.class_count)
        for linear in (self.hidden, self.output):
            if linear is not None:
                initialise(linear)
        if self.attention is not None:
            nn.init.zeros_(self.attention.weight)  # at first all positions count alike

    def forward(
        self, ids: Tensor, lengths: Tensor, dropout: torch.Generator | None = None
    ) -> Tensor:
        """Return logits (B, K) of the classes of records, as `encode` takes them."""
        pooled = self._pool(self.encode(ids, lengths, dropout), lengths)
        if self.hidden is not None:
            # As one step of time: each record has a mask of its own.
            hidden = torch.tanh(self.hidden(pooled))[None]
            pooled = drop(hidden, self.config.dropout, dropout)[0]
        logits: Tensor = self.output(pooled)
        return logits

    def loss_sum(
        self,
        ids: Tensor,
        targets: Tensor,
        state: State | None,
        dropout: torch.Generator | None,
        labels: Tensor,
    ) -> tuple[Tensor, State]:
        """Return the nats of all `targets` (B,) together, a scalar to train on, and no state.

        labels: (B,) int64, how many of the ids (B, T) belong to each record.
        """
        del state
        logits = self(ids, labels, dropout)
        return F.cross_entropy(logits.float(), targets, reduction="sum"), ()

    def _pool(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the features (B, P) of records from those of their positions (T, B, D)."""
        pooling = self.config.pooling
        if pooling == "last":
            return self.last_features(features, lengths)
        is_text = is_inside(lengths, len(features))[:, :, None]
        if self.attention is not None:
            scores = self.attention(features).masked_fill(~is_text, -math.inf)
            attended: Tensor = (scores.softmax(0) * features).sum(0)
            return attended
        mean: Tensor = (features * is_text).sum(0) / lengths[:, None]
        if pooling == "mean":
            return mean
        most = features.masked_fill(~is_text, -math.inf).amax(0)
        return most if pooling == "max" else torch.cat((mean, most), 1)
