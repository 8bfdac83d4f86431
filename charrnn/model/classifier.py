"""Classifier: ids of whole records → embedding → recurrent layers → pooling → logits of classes.

A bidirectional layer is two: one reads a record from its start, the other from its end, and both
write features of each position (Schuster & Paliwal 1997). The second reads each record reversed
within its own length, so both are the same kernels, and no record sees the padding of another.

B = records side by side, T = tokens of the longest, V = vocabulary, E = embedding size, H = hidden
size, D = features of a position (H, or 2 H of both directions), P = features of a record, K =
classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charrnn.config import ModelConfig
from charrnn.model.network import RecurrentLayer, State, drop

_NO_STATE: State = ()  # nothing goes from one batch of records to the next


class Classifier(nn.Module):
    """A recurrent network that reads a record and decides on its class."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        sizes = [config.embedding_size] + [config.features] * (config.num_layers - 1)
        self.layers = nn.ModuleList(RecurrentLayer(config, size) for size in sizes)
        self.reverse = nn.ModuleList(
            RecurrentLayer(config, size) for size in sizes if config.bidirectional
        )
        self.attention = (
            nn.Linear(config.features, 1, bias=False) if config.pooling == "attention" else None
        )
        width = config.pooled_features
        self.hidden = nn.Linear(width, config.head_size) if config.head_size else None
        self.output = nn.Linear(config.head_size or width, config.class_count)
        for linear in (self.hidden, self.output):
            if linear is not None:
                nn.init.normal_(linear.weight, std=1 / math.sqrt(linear.in_features))
                nn.init.zeros_(linear.bias)
        if self.attention is not None:
            nn.init.zeros_(self.attention.weight)  # at first all positions count alike

    def forward(
        self, ids: Tensor, lengths: Tensor, dropout: torch.Generator | None = None
    ) -> Tensor:
        """Return logits (B, K) of the classes of records.

        ids: (B, T) int64; what comes after a record's end is not looked at. lengths: (B,) int64, at
        least 1. dropout: samples the masks; None drops nothing.
        """
        share = self.config.dropout
        features = drop(self.embedding(ids.t()), share, dropout)
        turned = _reversal(lengths, ids.shape[1]) if self.config.bidirectional else None
        for depth, layer in enumerate(self._stack):
            features = drop(self._run_layer(depth, layer, features, turned), share, dropout)
        pooled = self._pool(features, lengths)
        if self.hidden is not None:
            pooled = drop(torch.tanh(self.hidden(pooled)), share, dropout)
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
        return F.cross_entropy(logits.float(), targets, reduction="sum"), _NO_STATE

    def initial_state(self, batch_size: int) -> State:
        """Return no state: each batch of records is read from its initial states."""
        del batch_size
        return _NO_STATE

    @property
    def _stack(self) -> Iterable[RecurrentLayer]:
        return cast(Iterable[RecurrentLayer], self.layers)

    def _run_layer(
        self, depth: int, layer: RecurrentLayer, inputs: Tensor, turned: Tensor | None
    ) -> Tensor:
        """Return the features (T, B, D) that one layer makes of its inputs (T, B, I)."""
        outputs, _ = layer(inputs, layer.initial_state(inputs.shape[1]))
        if turned is not None:
            back = cast(RecurrentLayer, self.reverse[depth])
            backwards, _ = back(_take(inputs, turned), back.initial_state(inputs.shape[1]))
            outputs = torch.cat((outputs, _take(backwards, turned)), 2)
        is_deep = self.config.residual and depth
        made: Tensor = outputs + inputs if is_deep else outputs
        return made

    def _pool(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the features (B, P) of records from those of their positions (T, B, D)."""
        times = torch.arange(len(features), device=features.device)[:, None]
        is_text = (times < lengths)[:, :, None]
        pooling = self.config.pooling
        if pooling == "last":
            # Each direction's own last step: the last position, and the first one backwards.
            last = features[lengths - 1, torch.arange(len(lengths), device=features.device)]
            size = self.config.hidden_size
            return torch.cat((last[:, :size], features[0, :, size:]), 1)
        if self.attention is not None:
            scores = self.attention(features).masked_fill(~is_text, -math.inf)
            attended: Tensor = (scores.softmax(0) * features).sum(0)
            return attended
        mean: Tensor = (features * is_text).sum(0) / lengths[:, None]
        if pooling == "mean":
            return mean
        most = features.masked_fill(~is_text, -math.inf).amax(0)
        return most if pooling == "max" else torch.cat((mean, most), 1)


def _reversal(lengths: Tensor, longest: int) -> Tensor:
    """Return from which position (T, B) each is taken that records are read backwards.

    What comes after a record's end stays where it is.

    >>> _reversal(torch.tensor([2, 3]), 3).t().tolist()
    [[1, 0, 2], [2, 1, 0]]
    """
    times = torch.arange(longest, device=lengths.device)[:, None]
    return torch.where(times < lengths, lengths - 1 - times, times)


def _take(features: Tensor, positions: Tensor) -> Tensor:
    """Return the features (T, B, D) of other positions (T, B) of the same records."""
    return features.gather(0, positions[:, :, None].expand(-1, -1, features.shape[2]))
