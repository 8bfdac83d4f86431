"""CharRNN: ids → embedding → stacked recurrent layers → logits. The state goes in and comes out.

Nothing is remembered between calls and there is no training mode: a caller that wants dropout
passes the random generator that samples it.

B = lanes, T = window length, V = vocabulary, E = embedding size, H = hidden size, I = a layer's
input size, C = columns of labels, A = size of a label's embedding.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable
from typing import NamedTuple, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from charrnn.config import GATES, ModelConfig
from charrnn.config.model import FORGET_BIAS
from charrnn.errors import CheckpointError
from charrnn.model import heads
from charrnn.model.kernels import LayerState, Resets, Weights, run_gru, run_plain, run_rnn
from charrnn.model.ngrams import NGrams

M = TypeVar("M", bound=nn.Module)

State = tuple[LayerState, ...]
"""One entry a layer, lowest first; with n-grams one more, of the last tokens."""

_LABEL_STD = 0.5
_CLOSED = -1e4  # σ of it is 0, and so is its slope, whatever else is added to it


class CharRNN(nn.Module):
    """A stacked recurrent network that predicts the next token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self._is_large = config.vocab_size >= heads.LARGE_ALPHABET
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.ngrams = NGrams(config) if config.ngram_rows else None
        sizes = [config.embedding_size] + [config.hidden_size] * config.num_layers
        self.layers = nn.ModuleList(RecurrentLayer(config, size) for size in sizes[:-1])
        self.labels = (
            nn.Embedding(config.label_count, config.label_size) if config.label_count else None
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
        if self.labels is not None:
            nn.init.normal_(self.labels.weight, std=_LABEL_STD)

    def initial_state(self, batch_size: int) -> State:
        """Return the state before any text: (B, H) for each layer and part.

        With n-grams there is one more entry: the keys of the last tokens (B, N − 1), newest first.
        """
        layers = tuple(layer.initial_state(batch_size) for layer in self._stack)
        if self.ngrams is None:
            return layers
        return (*layers, (self.ngrams.initial_context(batch_size),))

    def forward(
        self,
        ids: Tensor,
        state: State | None = None,
        dropout: torch.Generator | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Return logits (B, T, V) of the token after each of `ids` (B, T) int64, and the state.

        state: None starts from the initial state. dropout: samples the masks; None drops nothing. A
        mask holds for all T (Gal & Ghahramani 2016): a feature is there for a window or is not.
        labels: (B, T, C) int64, the rows of each record's labels from 1, 0 where one is not known;
        None knows none. A record starts after each end: there the state is reset.
        """
        features, after = self._run(ids, state, dropout, labels)
        return self.output(features).transpose(0, 1), after

    def loss_sum(
        self,
        ids: Tensor,
        targets: Tensor,
        state: State | None,
        dropout: torch.Generator | None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Return the nats of all `targets` (B, T) together, a scalar to train on, and the state."""
        features, after = self._run(ids, state, dropout, labels)
        rows = features.flatten(0, 1)
        expected = targets.t().flatten()
        if self._is_large and rows.device.type == "cpu":
            return heads.loss_sum(rows, self.output.weight, self.output.bias, expected), after
        return F.cross_entropy(self.output(rows).float(), expected, reduction="sum"), after

    def soft_loss_sum(
        self,
        ids: Tensor,
        likely: Tensor,
        shares: Tensor,
        state: State | None,
        dropout: torch.Generator | None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Return the cross-entropy of distributions over the next token, as `loss_sum` does.

        likely: tokens of each position (B, T, K) int64. shares: the probability that each of them
        should have, (B, T, K); those of a position add up to 1.
        """
        features, after = self._run(ids, state, dropout, labels)
        rows = features.flatten(0, 1)
        tokens, shares = (part.transpose(0, 1).flatten(0, 1) for part in (likely, shares))
        if self._is_large and rows.device.type == "cpu":
            weight, bias = self.output.weight, self.output.bias
            return heads.soft_loss_sum(rows, weight, bias, tokens, shares), after
        logits = F.log_softmax(self.output(rows).float(), -1)
        return -(logits.gather(1, tokens) * shares).sum(), after

    def token_losses(
        self,
        ids: Tensor,
        targets: Tensor,
        state: State | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Return the nats of each of `targets` (B, T) as (T·B,), lane by lane, and the state."""
        features, after = self._run(ids, state, None, labels)
        rows = features.flatten(0, 1)
        expected = targets.t().flatten()
        if self._is_large and rows.device.type == "cpu":
            return heads.token_losses(rows, self.output.weight, self.output.bias, expected), after
        return F.cross_entropy(self.output(rows).float(), expected, reduction="none"), after

    def _run(
        self,
        ids: Tensor,
        state: State | None,
        dropout: torch.Generator | None,
        labels: Tensor | None,
    ) -> tuple[Tensor, State]:
        """Return what the output reads, (T, B, H) or projected (T, B, E), and the final state."""
        state = self.initial_state(ids.shape[0]) if state is None else state
        records = self._find_records(ids, labels) if self.config.has_end else None
        features = self.embedding(ids.t())
        if self.config.tie_embeddings:
            features = features * self.config.embedding_scale
        context: State = ()
        if self.ngrams is not None:
            of_ngrams, recent = self.ngrams(ids.t(), state[-1][0])
            features = features + of_ngrams
            context = ((recent,),)
            state = state[:-1]
        after = []
        for depth, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            outputs, last = layer(features, before, records)
            if self.config.residual and depth:
                outputs = outputs + features
            features = drop(outputs, self.config.dropout, dropout)
            after.append(last)
        return self.projection(features), (*after, *context)

    def _find_records(self, ids: Tensor, labels: Tensor | None) -> Records:
        """Return where records start in a window (B, T), and what is known of each."""
        is_end = ids.t()[:, :, None] == self.config.vocab_size - 1
        is_start = is_end.to(self.output.weight.dtype)
        if self.labels is None:
            return Records(is_start, None)
        if labels is None:
            return Records(
                is_start, is_start.new_zeros(*is_start.shape[:2], self.config.label_size)
            )
        table = F.pad(self.labels.weight, (0, 0, 1, 0))  # row 0: nothing is known
        return Records(is_start, F.embedding(labels.transpose(0, 1), table).sum(2))

    @property
    def _stack(self) -> Iterable[RecurrentLayer]:
        return cast(Iterable[RecurrentLayer], self.layers)


def drop(features: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Zero a share of the features (T, B, H) of each lane, and scale up the others.

    generator: samples the mask, which holds for all T; None drops nothing.
    """
    if generator is None or not share:
        return features
    mask = torch.empty(features.shape[1:], device=features.device)
    kept = 1 - share
    return features * mask.bernoulli_(kept, generator=generator).div_(kept).to(features.dtype)


class Records(NamedTuple):
    """Where records start in a window, and what is known of them.

    is_start: (T, B, 1), 1 where the input is the end before a record, else 0. labels: (T, B, A),
    the sum of the embeddings of the record's labels; None in a network without labels.
    """

    is_start: Tensor
    labels: Tensor | None


class RecurrentLayer(nn.Module):
    """Maps (T, B, I) and a state to (T, B, H) and the next state; a single-layer module of torch.

    Time comes first in here, because that is how the kernels read it.

    Where a record starts, h becomes h_0 = initial + U e, and an LSTM's c becomes 0; W e is added to
    the gates at every step. e is the sum of the embeddings of the record's labels.
    """

    def __init__(self, config: ModelConfig, input_size: int) -> None:
        super().__init__()
        cell = config.cell
        hidden_size = config.hidden_size
        self.kind = config.nonlinearity if cell == "rnn" else cell
        if cell == "rnn":
            kernel = "relu" if config.nonlinearity == "relu" else "tanh"
            self.cell: nn.RNNBase = nn.RNN(input_size, hidden_size, nonlinearity=kernel)
        else:
            self.cell = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](input_size, hidden_size)
        is_learned = config.initial_state == "learned"
        self.initial = nn.Parameter(torch.zeros(config.state_parts, hidden_size), is_learned)
        self.has_labels = config.label_count > 0
        if self.has_labels:
            rows = GATES[cell] * hidden_size
            self.weight_label = nn.Parameter(torch.zeros(rows, config.label_size))
            self.initial_label = nn.Parameter(torch.zeros(hidden_size, config.label_size))
        self._initialise(cell)

    def initial_state(self, batch_size: int) -> LayerState:
        """Return the state before any text: zero, or what was learned; each part (B, H)."""
        return tuple(part.expand(batch_size, -1) for part in self.initial.unbind())

    def forward(
        self, inputs: Tensor, state: LayerState, records: Records | None = None
    ) -> tuple[Tensor, LayerState]:
        """Run over T characters: (T, B, I) → (T, B, H) and the state after the last."""
        device = inputs.device.type
        if self.kind == "lstm" and device != "mps":
            return self._run_lstm(inputs, state, records)
        weights = self._weights
        resets = None
        if records is not None:
            resets = Resets(records.is_start, self._first_states(records))
            if records.labels is not None:
                inputs = torch.cat((inputs, records.labels.to(inputs.dtype)), 2)
                weights = (torch.cat((weights[0], self.weight_label), 1), *weights[1:])
        is_plain = device == "mps" or (device != "cpu" and records is not None)
        if is_plain:  # cuDNN cannot reset the state of these cells inside a window
            return run_plain(self.kind, inputs, state, weights, resets)
        if device == "cpu":  # where torch loops over small operations
            if self.kind == "gru":
                outputs = run_gru(inputs, state[0], weights, resets)
            else:
                outputs = run_rnn(inputs, state[0], weights, self.kind, resets)
            return outputs, (outputs[-1],)
        if self.kind == "logistic":
            return self._run_logistic(inputs, state)
        # torch's layers have a dimension for their number, which is one here.
        outputs, h = self.cell(inputs, state[0][None].contiguous())
        return outputs, (h[0],)

    def _first_states(self, records: Records) -> Tensor:
        """Return h_0 (T, B, H) where a record starts, 0 elsewhere."""
        first = self.initial[0]
        if records.labels is not None:
            first = first + F.linear(records.labels, self.initial_label)
        return records.is_start * first

    def _run_lstm(
        self, inputs: Tensor, state: LayerState, records: Records | None
    ) -> tuple[Tensor, LayerState]:
        """Run an LSTM by oneDNN or cuDNN, which know nothing of records.

        So what happens at a record's start is said by inputs. One closes the gates i and f, so that
        c = f c + i g and h = o tanh(c) are exactly 0. One step later another brings W h_0, as h_0
        itself would have. h_0 is added to the output at the start.
        """
        h = state[0][None].contiguous()
        c = state[1][None].contiguous()
        if records is None:
            outputs, (h, c) = self.cell(inputs, (h, c))
            return outputs, (h[0], c[0])
        weight_ih, weight_hh, bias_ih, bias_hh = self._weights
        closed = weight_ih.new_zeros(4, self.cell.hidden_size, 1)
        closed[:2] = _CLOSED  # i and f come first
        after_start = F.pad(records.is_start[:-1], (0, 0, 0, 0, 1, 0))
        features = [inputs, records.is_start, after_start]
        columns = [weight_ih, closed.flatten(0, 1), weight_hh @ self.initial[0, :, None]]
        if records.labels is not None:
            features += [records.labels, after_start * records.labels]
            columns += [self.weight_label, weight_hh @ self.initial_label]
        weights = [torch.cat(columns, 1), weight_hh, bias_ih, bias_hh]
        inputs = torch.cat([each.to(inputs.dtype) for each in features], 2)
        with warnings.catch_warnings():  # cuDNN wants these four next to each other in memory
            warnings.filterwarnings("ignore", message="RNN module weights", category=UserWarning)
            outputs, h, c = torch.lstm(inputs, (h, c), weights, True, 1, 0.0, True, False, False)
        outputs = outputs + self._first_states(records).to(outputs.dtype)
        return outputs, (outputs[-1], c[0])

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
        if self.has_labels:
            nn.init.normal_(self.weight_label, std=1 / math.sqrt(self.weight_label.shape[1]))
            # `initial_label` stays zero: the state learns what to begin with.
        for block in weight_hh.chunk(GATES[cell]):
            nn.init.orthogonal_(block, gain=scale * scale)
        bias_ih.zero_()
        bias_hh.zero_()
        if cell == "lstm":
            bias_ih.chunk(4)[1].fill_(FORGET_BIAS)
        if self.kind == "logistic":
            bias_ih.copy_(-weight_hh.sum(1) / 2)


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the nats of each target, −ln softmax(logits)[target]: (B, T, V), (B, T) → (T·B,).

    The order is that of time, lane by lane, which is how `CharRNN` lays its logits out.
    """
    flat = logits.transpose(0, 1).flatten(0, 1).float()
    return F.cross_entropy(flat, targets.t().flatten(), reduction="none")


def copy_model(model: M) -> M:
    """Return a network with the same weights, laid out for the GPU's kernels as the first is.

    Both share one table of n-grams: what changes it in one of them changes it in the other.
    """
    # A table of n-grams serves both: most of its rows rest, and an average of it would cost more
    # than all else in a step.
    ngrams = getattr(model, "ngrams", None)
    shared = [] if ngrams is None else list(ngrams.parameters())
    copied = copy.deepcopy(model, {id(weight): weight for weight in shared})
    for module in copied.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # a copy is scattered, which cuDNN warns of
    return copied


def numpy_state_dict(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return every weight by its public name (docs/file-format.md), as float32 copies."""
    weights = {public_name(name): weight for name, weight in model.named_parameters()}
    return {name: weight.detach().float().cpu().numpy().copy() for name, weight in weights.items()}


@torch.no_grad()
def load_numpy_state_dict(model: nn.Module, weights: dict[str, NDArray[np.float32]]) -> None:
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

    >>> public_name("layers.0.cell.weight_ih_l0"), public_name("reverse.0.initial")
    ('layers.0.weight_ih', 'layers.0.initial_reverse')
    """
    plain = name.replace(".cell.", ".").removesuffix("_l0")
    if plain.startswith("reverse."):
        return f"layers.{plain.removeprefix('reverse.')}_reverse"
    return plain
