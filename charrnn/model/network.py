"""CharRNN: ids → embedding → stacked recurrent layers → logits. The state goes in and comes out.

Nothing is remembered between calls and there is no training mode: a caller that wants dropout
hands over the random generator that draws it. It knows nothing of text, losses or files.

B = lanes, T = window length, V = vocabulary, E = embedding size, H = hidden size, L = layers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError
from charrnn.model.heads import loss_sum, token_losses
from charrnn.model.layers import LayerState, RecurrentLayer

State = tuple[LayerState, ...]
"""One entry a layer, lowest first."""


class CharRNN(nn.Module):
    """A stacked recurrent network that gives the next character's logits."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        sizes = [config.embedding_size] + [config.hidden_size] * config.num_layers
        self.layers = nn.ModuleList(
            RecurrentLayer(
                config.cell,
                config.nonlinearity,
                input_size,
                config.hidden_size,
                config.initial_state == "learned",
            )
            for input_size in sizes[:-1]
        )
        width = config.embedding_size if config.tie_embeddings else config.hidden_size
        self.projection = (
            nn.Linear(config.hidden_size, width, bias=False)
            if config.has_projection
            else nn.Identity()
        )
        self.output = nn.Linear(width, config.vocab_size)
        self._initialise_output()

    def _initialise_output(self) -> None:
        std = 1 / math.sqrt(self.output.in_features)
        nn.init.normal_(self.output.weight, std=std)
        nn.init.zeros_(self.output.bias)
        if self.config.tie_embeddings:
            nn.init.normal_(self.embedding.weight, std=std)
            self.output.weight = self.embedding.weight
        if isinstance(self.projection, nn.Linear):
            nn.init.orthogonal_(self.projection.weight)

    def initial_state(self, batch_size: int) -> State:
        """Give the state before any text: (B, H) for each layer and part."""
        return tuple(layer.initial_state(batch_size) for layer in self._stack)

    def forward(
        self, ids: Tensor, state: State | None = None, dropout: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """Give logits (B, T, V) for the character after each of `ids` (B, T) int64, and the state.

        state: None starts from the initial state.
        dropout: draws the masks; None drops nothing. A mask holds for all T (Gal & Ghahramani
            2016), so that a feature is either there for a window or is not.
        """
        features, after = self._run(ids, state, dropout)
        return self.output(features).transpose(0, 1), after

    def loss_sum(
        self, ids: Tensor, targets: Tensor, state: State | None, dropout: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """Give the nats of all `targets` (B, T) together, a scalar to train on, and the state."""
        features, after = self._run(ids, state, dropout)
        return loss_sum(*self._read_out(features, targets)), after

    def token_losses(
        self, ids: Tensor, targets: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Give the nats of each of `targets` (B, T) as (T·B,), lane by lane, and the state."""
        features, after = self._run(ids, state, None)
        return token_losses(*self._read_out(features, targets)), after

    def _read_out(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        flat = features.flatten(0, 1), targets.t().flatten()
        return flat[0], self.output.weight, self.output.bias, flat[1]

    def _run(
        self, ids: Tensor, state: State | None, dropout: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """Give what the output reads, (T, B, H) or projected (T, B, E), and the state after it."""
        state = self.initial_state(ids.shape[0]) if state is None else state
        features = self.embedding(ids.t())
        if self.config.tie_embeddings:
            features = features * self.config.embedding_scale
        after = []
        for depth, (layer, before) in enumerate(zip(self._stack, state, strict=True)):
            outputs, last = layer(features, before)
            has_skip = self.config.residual and depth > 0
            features = self._drop(outputs + features if has_skip else outputs, dropout)
            after.append(last)
        return self.projection(features), tuple(after)

    @property
    def _stack(self) -> Iterable[RecurrentLayer]:
        return cast(Iterable[RecurrentLayer], self.layers)

    def _drop(self, features: Tensor, generator: torch.Generator | None) -> Tensor:
        """Zero a share of the features (T, B, H) of each lane, and scale up the others."""
        kept = 1 - self.config.dropout
        if generator is None or kept == 1:
            return features
        mask = torch.empty(features.shape[1:], device=features.device)
        return features * mask.bernoulli_(kept, generator=generator).div_(kept).to(features.dtype)


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """Give the nats of each target, −ln softmax(logits)[target]: (B, T, V), (B, T) → (T·B,).

    The order is that of time, lane by lane, which is how `CharRNN` lays its logits out.
    """
    flat = logits.transpose(0, 1).flatten(0, 1).float()
    return F.cross_entropy(flat, targets.t().flatten(), reduction="none")


def copy_model(model: CharRNN) -> CharRNN:
    """Give a network with the same weights, laid out for the GPU's kernels as the first is."""
    twin = copy.deepcopy(model)
    for layer in twin._stack:
        layer.cell.flatten_parameters()
    return twin


def numpy_state_dict(model: CharRNN) -> dict[str, NDArray[np.float32]]:
    """Give every weight by its public name (docs/file-format.md), as float32 copies."""
    weights = {public_name(name): weight for name, weight in model.named_parameters()}
    return {name: weight.detach().float().cpu().numpy().copy() for name, weight in weights.items()}


@torch.no_grad()
def load_numpy_state_dict(model: CharRNN, weights: dict[str, NDArray[np.float32]]) -> None:
    """Put `export_weights`' arrays into a model of the same shape.

    Raises:
        CheckpointError: a weight is missing, or has another shape.
    """
    for name, weight in model.named_parameters():
        value = weights.get(public_name(name))
        if value is None or value.shape != tuple(weight.shape):
            found = "is missing" if value is None else f"has shape {value.shape}"
            raise CheckpointError(
                f"weight {public_name(name)} {found}; the model needs {tuple(weight.shape)}"
            )
        weight.copy_(torch.from_numpy(value))


def public_name(name: str) -> str:
    """Give a parameter's name in files: layers.0.weight_ih for layers.0.cell.weight_ih_l0."""
    return name.replace(".cell.", ".").removesuffix("_l0")
