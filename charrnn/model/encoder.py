"""Encoder: ids of whole records → embedding → recurrent layers → features of each position.

A bidirectional layer is two: one reads a record from its start, the other from its end, and both
write features of each position (Schuster & Paliwal 1997). The second reads each record reversed
within its own length, so both are the same kernels, and no record sees the padding of another.

B = records side by side, T = tokens of the longest, V = vocabulary, E = embedding size, H = hidden
size, D = features of a position (H, or 2 H of both directions).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from charrnn.config import ModelConfig
from charrnn.model.network import CharRNN, RecurrentLayer, State, drop

_OUTPUT = ("output.weight", "output.bias")


class Encoder(nn.Module, ABC):
    """A recurrent network that reads whole records; each that decides on them is one.

    output: its last layer. temperatures: by which its logits may be divided, once it is trained.
    """

    output: nn.Linear
    temperatures: ClassVar[tuple[float, ...]] = (1.0,)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        sizes = [config.embedding_size] + [config.features] * (config.num_layers - 1)
        self.layers = nn.ModuleList(RecurrentLayer(config, size) for size in sizes)
        self.reverse = nn.ModuleList(
            RecurrentLayer(config, size) for size in sizes if config.bidirectional
        )

    def encode(
        self, ids: Tensor, lengths: Tensor, dropout: torch.Generator | None = None
    ) -> Tensor:
        """Return the features (T, B, D) of the positions of records.

        ids: (B, T) int64; what comes after a record's end is not looked at, and its features say
        nothing. lengths: (B,) int64, at least 1. dropout: samples the masks; None drops nothing.
        """
        share = self.config.dropout
        features = drop(self.embedding(ids.t()), share, dropout)
        turned = _reversal(lengths, ids.shape[1]) if self.config.bidirectional else None
        for depth, layer in enumerate(cast(Iterable[RecurrentLayer], self.layers)):
            features = drop(self._run_layer(depth, layer, features, turned), share, dropout)
        return features

    @abstractmethod
    def loss_sum(
        self,
        ids: Tensor,
        targets: Tensor,
        state: State | None,
        dropout: torch.Generator | None,
        labels: Tensor,
    ) -> tuple[Tensor, State]:
        """Return the nats of all `targets` together, a scalar to train on, and no state.

        labels: (B,) int64, how many of the ids (B, T) belong to each record. Targets below 0 do not
        count.
        """

    def nats_at(
        self, temperatures: Sequence[float], ids: Tensor, targets: Tensor, lengths: Tensor
    ) -> Tensor:
        """Return the nats of all `targets` together (C,), at each of some of the temperatures."""
        assert tuple(temperatures) == (1.0,), f"{type(self).__name__} knows no other temperature"
        nats, _ = self.loss_sum(ids, targets, None, None, lengths)
        return nats[None].cpu()

    def last_features(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the features (B, D) of each direction's own last step."""
        size = self.config.hidden_size
        last = features[lengths - 1, torch.arange(len(lengths), device=features.device)]
        # A direction that reads backwards ends at a record's first position.
        return torch.cat((last[:, :size], features[0, :, size:]), 1)

    def initial_state(self, batch_size: int) -> State:
        """Return no state: each batch of records is read from its initial states."""
        del batch_size
        return ()

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


Network = CharRNN | Encoder
"""What a run trains: the network of task text, or that of another."""


def initialise(linear: nn.Linear) -> None:
    """Fill a layer's weights so that outputs vary as much as inputs do."""
    nn.init.normal_(linear.weight, std=1 / math.sqrt(linear.in_features))
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


def divide_output(
    weights: dict[str, NDArray[np.float32]], temperature: float
) -> dict[str, NDArray[np.float32]]:
    """Return a network's weights, with those that make its logits divided by a temperature."""
    if temperature == 1:
        return weights
    return weights | {name: weights[name] / np.float32(temperature) for name in _OUTPUT}


def is_inside(lengths: Tensor, longest: int) -> Tensor:
    """Return which positions (T, B) belong to records of these lengths (B,)."""
    times = torch.arange(longest, device=lengths.device)[:, None]
    return times < lengths


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
