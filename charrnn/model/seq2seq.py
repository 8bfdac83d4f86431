"""Seq2Seq: an encoder reads a whole source, and a decoder writes a target with its eyes on it.

The decoder starts from what the encoder ends with (Cho et al. 2014; Sutskever et al. 2014). With
attention its lowest layer reads the target alone, and its outputs ask which positions of the source
matter now; the layers above read the answer (Wu et al. 2016). So nothing goes back from a step's
attention to the lowest layer, and each layer, and attention, is one call for all steps.

B = records side by side, T = tokens of the longest source, U = tokens of the longest target, H =
hidden size, D = features of a source's position, A = width of attention, V = target vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from charrnn.config import ModelConfig
from charrnn.model import heads
from charrnn.model.encoder import Encoder, initialise, is_inside
from charrnn.model.kernels import LayerState
from charrnn.model.network import RecurrentLayer, State, drop

PADDING = -1  # where a target has no token
_LARGEST_BLOCK = 1 << 18  # sums of attention at a time: 1 MiB


class Seq2Seq(Encoder):
    """A recurrent network that turns one sequence into another."""

    temperatures = (1.0, 1.15, 1.3, 1.5, 1.75, 2.0)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        hidden = config.hidden_size
        self.target_embedding = nn.Embedding(config.target_size, config.embedding_size)
        self.decoder = nn.ModuleList(RecurrentLayer(config, n) for n in config.decoder_inputs)
        for layer in self._decoder:
            del layer.initial  # each target starts from its source
        self.bridge = nn.ModuleList(
            nn.Linear(config.features, config.state_parts * hidden) for _ in config.decoder_inputs
        )
        self.attention = Attention(config) if config.attention != "none" else None
        self.combine = (
            nn.Linear(hidden + config.features, hidden) if self.attention is not None else None
        )
        self.output = nn.Linear(hidden, config.target_size)
        for linear in (*cast(Iterable[nn.Linear], self.bridge), self.combine, self.output):
            if linear is not None:
                initialise(linear)

    def forward(
        self,
        ids: Tensor,
        lengths: Tensor,
        targets: Tensor,
        dropout: torch.Generator | None = None,
    ) -> Tensor:
        """Return the logits (B, U, V) of each token of targets, given those before it.

        ids, lengths: of the sources, as `encode` takes them. targets: (B, U) int64, each ending
        with the end, and padded with −1 from there. dropout: samples the masks, each of which holds
        for all U; None drops nothing.
        """
        logits: Tensor = self.output(self._run(ids, lengths, targets, dropout))
        return logits.transpose(0, 1)

    def loss_sum(
        self,
        ids: Tensor,
        targets: Tensor,
        state: State | None,
        dropout: torch.Generator | None,
        labels: Tensor,
    ) -> tuple[Tensor, State]:
        """Return the nats of all `targets` (B, U) together, a scalar to train on, and no state.

        labels: (B,) int64, how many of the ids (B, T) belong to each source.
        """
        del state
        return self._loss_of(self._run(ids, labels, targets, dropout), targets), ()

    def nats_at(
        self, temperatures: Sequence[float], ids: Tensor, targets: Tensor, lengths: Tensor
    ) -> Tensor:
        """Return the nats of all `targets` together (C,), at each temperature."""
        features = self._run(ids, lengths, targets, None)
        nats = [self._loss_of(features, targets, each) for each in temperatures]
        return torch.stack(nats).cpu()

    def _loss_of(self, features: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
        """Return the nats of all targets, from what the output reads."""
        expected = targets.t()
        weight: Tensor = self.output.weight
        bias: Tensor = self.output.bias
        if temperature != 1:
            weight, bias = weight / temperature, bias / temperature
        if self.config.target_size >= heads.LARGE_ALPHABET and features.device.type == "cpu":
            is_token = expected != PADDING
            own = features[is_token], weight, bias, expected[is_token]
            return (
                heads.loss_sum(*own) if torch.is_grad_enabled() else heads.token_losses(*own).sum()
            )
        logits = F.linear(features, weight, bias).flatten(0, 1).float()
        return F.cross_entropy(logits, expected.flatten(), ignore_index=PADDING, reduction="sum")

    def _run(
        self, ids: Tensor, lengths: Tensor, targets: Tensor, dropout: torch.Generator | None
    ) -> Tensor:
        """Return what the output reads (U, B, H), at each token the features of those before it."""
        share = self.config.dropout
        source = self.encode(ids, lengths, dropout)
        end = self.config.target_size - 1
        before = F.pad(targets[:, :-1], (1, 0), value=end)  # an end stands before each target
        before = before.masked_fill(before == PADDING, end)
        features = drop(self.target_embedding(before.t()), share, dropout)
        context = None
        for depth, layer in enumerate(self._decoder):
            inputs = features if context is None else torch.cat((features, context), 2)
            outputs, _ = layer(inputs, self._first_state(depth, source, lengths))
            if self.config.residual and depth:
                outputs = outputs + features
            features = drop(outputs, share, dropout)
            if self.attention is not None and context is None:
                context = self.attention(features, source, lengths)
        if self.combine is not None and context is not None:
            joined = torch.cat((features, context), 2)
            features = drop(torch.tanh(self.combine(joined)), share, dropout)
        return features

    def _first_state(self, depth: int, source: Tensor, lengths: Tensor) -> LayerState:
        """Return the state, each part (B, H), that a layer of the decoder starts from."""
        parts = torch.tanh(self.bridge[depth](self.last_features(source, lengths)))
        return parts.to(source.dtype).chunk(self.config.state_parts, 1)

    @property
    def _decoder(self) -> Iterable[RecurrentLayer]:
        return cast(Iterable[RecurrentLayer], self.decoder)


class Attention(nn.Module):
    """For each step of a target, a mean of its source's positions, weighted by what it asks for.

    additive: v·tanh(W q + U k) (Bahdanau et al. 2015). dot: (W q)·k / √D (the general form of Luong
    et al. 2015, scaled as by Vaswani et al. 2017). q is the query, k the features of a position.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        is_additive = config.attention == "additive"
        width = config.hidden_size if is_additive else config.features
        self.query = nn.Linear(config.hidden_size, width, bias=False)
        self.key = nn.Linear(config.features, width, bias=False) if is_additive else None
        self.score = nn.Linear(width, 1, bias=False) if is_additive else None
        for linear in (self.query, self.key, self.score):
            if linear is not None:
                initialise(linear)

    def forward(self, queries: Tensor, source: Tensor, lengths: Tensor) -> Tensor:
        """Return the context (U, B, D) of queries (U, B, H) in the source's features (T, B, D)."""
        values = source.transpose(0, 1)
        scores = self._scores(queries.transpose(0, 1), values).to(values.dtype)
        is_source = is_inside(lengths, len(source)).t()[:, None]
        weights = scores.masked_fill(~is_source, -math.inf).softmax(2)
        return torch.bmm(weights, values).transpose(0, 1)

    def _scores(self, queries: Tensor, values: Tensor) -> Tensor:
        """Return how well (B, U, T) the positions (B, T, D) answer the queries (B, U, H)."""
        asked = self.query(queries)
        if self.key is None or self.score is None:
            return torch.bmm(asked, values.to(asked.dtype).mT) / math.sqrt(values.shape[2])
        given = asked, self.key(values), self.score.weight[0]
        scores: Tensor = _AdditiveScores.apply(*given)  # type: ignore[no-untyped-call]
        return scores


class _AdditiveScores(torch.autograd.Function):
    """v·tanh(a + k) of asked (B, U, A), keys (B, T, A) and weight (A,): (B, U, T).

    The sums (B, U, T, A) are by far the largest array of a step. So they are made block by block,
    in the processor's cache, and once more for the gradients: less memory, and on a CPU less time.
    """

    @staticmethod
    def forward(ctx: Any, asked: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
        scores = asked.new_empty(*asked.shape[:2], keys.shape[1])
        vector = weight.to(asked.dtype)
        for rows, steps in _iter_blocks(asked, keys):
            made = torch.tanh_(asked[rows, steps, None] + keys[rows, None])
            scores[rows, steps] = torch.mv(made.flatten(0, 2), vector).view(made.shape[:3])
        ctx.save_for_backward(asked, keys, weight)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        asked, keys, weight = ctx.saved_tensors
        grad_asked = torch.empty_like(asked)
        grad_keys = torch.zeros_like(keys)
        grad_weight = torch.zeros_like(weight)
        for rows, steps in _iter_blocks(asked, keys):
            made = torch.tanh_(asked[rows, steps, None] + keys[rows, None])
            grad_scores = grad[rows, steps]
            grad_weight += torch.mv(made.flatten(0, 2).t(), grad_scores.flatten())
            slopes = made.square_().neg_().add_(1).mul_(grad_scores[..., None])  # 1 − tanh²
            grad_asked[rows, steps] = (slopes.sum(2) * weight).to(asked.dtype)
            grad_keys[rows] += (slopes.sum(1) * weight).to(keys.dtype)
        return grad_asked, grad_keys, grad_weight


def _iter_blocks(asked: Tensor, keys: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield the records and the steps of each block of sums."""
    largest = _LARGEST_BLOCK if asked.device.type == "cpu" else _LARGEST_BLOCK << 8
    records, targets, _ = asked.shape
    size = keys[0].numel()  # of a step's sums
    rows = max(1, largest // (targets * size))
    steps = max(1, largest // size)
    for row in range(0, records, rows):
        for step in range(0, targets, steps):
            yield slice(row, row + rows), slice(step, step + steps)
