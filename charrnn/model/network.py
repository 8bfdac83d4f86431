"""CharRNN: ids → embedding → stacked recurrent layers → logits. The state goes in and comes out.

Nothing is remembered between calls and there is no training mode: a caller that wants dropout
passes the random generator that samples it.

B = lanes, T = window length, V = vocabulary, E = embedding size, H = hidden size, I = a layer's
input size.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from charrnn.config import GATES, ModelConfig
from charrnn.errors import CheckpointError
from charrnn.model import heads
from charrnn.model.kernels import LayerState, Weights, run_gru, run_plain, run_rnn

State = tuple[LayerState, ...]
"""One entry a layer, lowest first."""

_FORGET_BIAS = 1.0  # Gers et al. 2000; Jozefowicz et al. 2015: lets gradients through at first


class CharRNN(nn.Module):
    """A stacked recurrent network that predicts the next token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self._is_large = config.vocab_size >= heads.LARGE_ALPHABET
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
        """Return the state before any text: (B, H) for each layer and part."""
        return tuple(layer.initial_state(batch_size) for layer in self._stack)

    def forward(
        self, ids: Tensor, state: State | None = None, dropout: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return logits (B, T, V) of the token after each of `ids` (B, T) int64, and the state.

        state: None starts from the initial state. dropout: samples the masks; None drops nothing. A
        mask holds for all T (Gal & Ghahramani 2016): a feature is there for a window or is not.
        """
        features, after = self._run(ids, state, dropout)
        return self.output(features).transpose(0, 1), after

    def loss_sum(
        self, ids: Tensor, targets: Tensor, state: State | None, dropout: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """Return the nats of all `targets` (B, T) together, a scalar to train on, and the state."""
        features, after = self._run(ids, state, dropout)
        rows = features.flatten(0, 1)
        expected = targets.t().flatten()
        if self._is_large and rows.device.type == "cpu":
            return heads.loss_sum(rows, self.output.weight, self.output.bias, expected), after
        return F.cross_entropy(self.output(rows).float(), expected, reduction="sum"), after

    def token_losses(
        self, ids: Tensor, targets: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Return the nats of each of `targets` (B, T) as (T·B,), lane by lane, and the state."""
        features, after = self._run(ids, state, None)
        rows = features.flatten(0, 1)
        expected = targets.t().flatten()
        if self._is_large and rows.device.type == "cpu":
            return heads.token_losses(rows, self.output.weight, self.output.bias, expected), after
        return F.cross_entropy(self.output(rows).float(), expected, reduction="none"), after

    def _run(
        self, ids: Tensor, state: State | None, dropout: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """Return what the output reads, (T, B, H) or projected (T, B, E), and the final state."""
        state = self.initial_state(ids.shape[0]) if state is None else state
        features = self.embedding(ids.t())
        if self.config.tie_embeddings:
            features = features * self.config.embedding_scale
        after = []
        for depth, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            outputs, last = layer(features, before)
            if self.config.residual and depth:
                outputs = outputs + features
            features = self._drop(outputs, dropout)
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


class RecurrentLayer(nn.Module):
    """Maps (T, B, I) and a state to (T, B, H) and the next state; a single-layer module of torch.

    Time comes first in here, because that is how the kernels read it.
    """

    def __init__(
        self,
        cell: str,
        nonlinearity: str,
        input_size: int,
        hidden_size: int,
        has_learned_state: bool,
    ) -> None:
        super().__init__()
        self.kind = nonlinearity if cell == "rnn" else cell
        if cell == "rnn":
            kernel = "relu" if nonlinearity == "relu" else "tanh"
            self.cell: nn.RNNBase = nn.RNN(input_size, hidden_size, nonlinearity=kernel)
        else:
            self.cell = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](input_size, hidden_size)
        parts = 2 if cell == "lstm" else 1
        self.initial = nn.Parameter(torch.zeros(parts, hidden_size), has_learned_state)
        self._initialise(cell)

    def initial_state(self, batch_size: int) -> LayerState:
        """Return the state before any text: zero, or what was learned; each part (B, H)."""
        return tuple(part.expand(batch_size, -1) for part in self.initial.unbind())

    def forward(self, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run over T characters: (T, B, I) → (T, B, H) and the state after the last."""
        device = inputs.device.type
        if device == "mps":
            return run_plain(self.kind, inputs, state, self._weights)
        if device == "cpu" and self.kind != "lstm":  # where torch loops over small operations
            if self.kind == "gru":
                outputs = run_gru(inputs, state[0], self._weights)
            else:
                outputs = run_rnn(inputs, state[0], self._weights, self.kind)
            return outputs, (outputs[-1],)
        if self.kind == "logistic":
            return self._run_logistic(inputs, state)
        # torch's layers have a dimension for their number, which is one here.
        h = state[0][None].contiguous()
        if self.kind == "lstm":
            outputs, (h, c) = self.cell(inputs, (h, state[1][None].contiguous()))
            return outputs, (h[0], c[0])
        outputs, h = self.cell(inputs, h)
        return outputs, (h[0],)

    @property
    def _weights(self) -> Weights:
        weight_ih, weight_hh, bias_ih, bias_hh = self.cell.parameters()
        return weight_ih, weight_hh, bias_ih, bias_hh

    def _run_logistic(self, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run h = σ(Ux + Wh + b) on a GPU's tanh kernel.

        σ(a) = (1 + tanh(a/2)) / 2, so with g = 2h − 1 the recurrence is
        g = tanh(½Ux + ¼Wg + ½b + ¼W1), where 1 is a vector of ones.
        """
        weight_ih, weight_hh, bias_ih, bias_hh = self.cell.parameters()
        shift = weight_hh.sum(1) / 4
        weights = [weight_ih / 2, weight_hh / 4, bias_ih / 2, bias_hh / 2 + shift]
        first = (2 * state[0] - 1).unsqueeze(0)
        with warnings.catch_warnings():  # cuDNN wants these four next to each other in memory
            warnings.filterwarnings("ignore", message="RNN module weights", category=UserWarning)
            outputs, last = torch.rnn_tanh(inputs, first, weights, True, 1, 0.0, True, False, False)
        return (outputs + 1) / 2, ((last.squeeze(0) + 1) / 2,)

    @torch.no_grad()
    def _initialise(self, cell: str) -> None:
        """Fill each gate's block: scaled normal input weights, orthogonal recurrent ones.

        An orthogonal matrix keeps the length of the state it multiplies, so that at first neither
        explosion nor vanishing comes from it (Saxe et al. 2014). A logistic layer starts as the
        tanh layer that it is in other coordinates.
        """
        weight_ih, weight_hh, bias_ih, bias_hh = self.cell.parameters()
        scale = 2.0 if self.kind == "logistic" else 1.0
        for block in weight_ih.chunk(GATES[cell]):
            nn.init.normal_(block, std=scale / math.sqrt(block.shape[1]))
        for block in weight_hh.chunk(GATES[cell]):
            nn.init.orthogonal_(block, gain=scale * scale)
        bias_ih.zero_()
        bias_hh.zero_()
        if cell == "lstm":
            bias_ih.chunk(4)[1].fill_(_FORGET_BIAS)
        if self.kind == "logistic":
            bias_ih.copy_(-weight_hh.sum(1) / 2)


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the nats of each target, −ln softmax(logits)[target]: (B, T, V), (B, T) → (T·B,).

    The order is that of time, lane by lane, which is how `CharRNN` lays its logits out.
    """
    flat = logits.transpose(0, 1).flatten(0, 1).float()
    return F.cross_entropy(flat, targets.t().flatten(), reduction="none")


def copy_model(model: CharRNN) -> CharRNN:
    """Return a network with the same weights, laid out for the GPU's kernels as the first is."""
    copied = copy.deepcopy(model)
    for layer in copied._stack:
        layer.cell.flatten_parameters()  # a copy is scattered, which cuDNN warns of
    return copied


def numpy_state_dict(model: CharRNN) -> dict[str, NDArray[np.float32]]:
    """Return every weight by its public name (docs/file-format.md), as float32 copies."""
    weights = {public_name(name): weight for name, weight in model.named_parameters()}
    return {name: weight.detach().float().cpu().numpy().copy() for name, weight in weights.items()}


@torch.no_grad()
def load_numpy_state_dict(model: CharRNN, weights: dict[str, NDArray[np.float32]]) -> None:
    """Put the arrays of `numpy_state_dict` into a model of the same shape.

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
    """Return a parameter's name in files.

    >>> public_name("layers.0.cell.weight_ih_l0")
    'layers.0.weight_ih'
    """
    return name.replace(".cell.", ".").removesuffix("_l0")
