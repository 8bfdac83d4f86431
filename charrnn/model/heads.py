"""The output layer and the loss in one: how surprised the network is by each target.

With thousands of characters the logits of a window are the largest thing in a step, and what
torch does to them takes longer than the products. On a CPU they are made block by block, and a
block's gradients while it is at hand. It knows nothing of recurrence.

N = positions, H = features, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from charrnn.model.kernels import product_dtype

_LARGEST_BLOCK = 1 << 21  # logits at a time: 8 MiB
_LARGE_ALPHABET = 1000  # below it torch's own loss is as fast


def loss_sum(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Give Σ −ln softmax(V h + c)[target], a scalar that gradients can be taken of.

    features (N, H), weight (V, H), bias (V,), targets (N,) int64.
    """
    if not _is_written_out(features, weight):
        logits = F.linear(features, weight, bias)
        return F.cross_entropy(logits.float(), targets, reduction="sum")
    total: Tensor = _LossSum.apply(features, weight, bias, targets)  # type: ignore[no-untyped-call]
    return total


def token_losses(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Give −ln softmax(V h + c)[target] of each position: (N,) float32, without gradients."""
    if not _is_written_out(features, weight):
        logits = F.linear(features, weight, bias)
        return F.cross_entropy(logits.float(), targets, reduction="none")
    blocks = _blocks(features, weight.to(product_dtype(features)), bias, targets)
    return torch.cat([nats for _, nats, _, _ in blocks])


def _is_written_out(features: Tensor, weight: Tensor) -> bool:
    return features.device.type == "cpu" and len(weight) >= _LARGE_ALPHABET


class _LossSum(torch.autograd.Function):
    """The gradient by the logits is softmax − one-hot, so it is there as soon as the loss is."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
    ) -> Tensor:
        matrix, total = weight.to(product_dtype(features)), bias.new_zeros(())
        to_features, deltas = torch.empty_like(features), matrix.new_empty(len(features), len(bias))
        for rows, nats, exponentials, sums in _blocks(features, matrix, bias, targets):
            total += nats.sum()
            probabilities, place = exponentials.mul_(1 / sums), targets[rows, None]
            probabilities.scatter_add_(1, place, -torch.ones_like(sums))
            to_features[rows] = torch.mm(deltas[rows].copy_(probabilities), matrix)
        to_weight = torch.mm(deltas.t(), features.to(deltas.dtype)).to(weight.dtype)
        to_bias = torch.mm(deltas.new_ones(1, len(deltas)), deltas)[0].to(bias.dtype)
        ctx.save_for_backward(to_features, to_weight, to_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(each * grad for each in ctx.saved_tensors), None)


def _blocks(
    features: Tensor, matrix: Tensor, bias: Tensor, targets: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Yield a block's rows, its targets' nats (rows,), e^logit (rows, V) and its sums (rows, 1).

    The logits of a row are less its largest. The softmax is written out, as torch's own takes
    several times as long along the last axis; the next block takes the place of the last.
    """
    room = bias.new_empty(_block_size(matrix), len(matrix))
    for start in range(0, len(features), len(room)):
        rows = slice(start, start + len(room))
        products = torch.mm(features[rows].to(matrix.dtype), matrix.t())
        logits = room[: len(products)].copy_(products).add_(bias)
        logits -= logits.amax(1, keepdim=True)
        chosen = logits.gather(1, targets[rows, None])
        sums = logits.exp_().sum(1, keepdim=True)
        yield rows, (sums.log() - chosen).squeeze(1), logits, sums


def _block_size(matrix: Tensor) -> int:
    return max(1, _LARGEST_BLOCK // len(matrix))
