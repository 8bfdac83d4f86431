"""The output layer and the loss in one, block by block, for a large alphabet on a CPU.

With thousands of characters the logits of a window are the largest array of a step, and torch's
loss takes longer than the matrix products. Here one block of logits is computed at a time, and its
gradients right after it.

N = positions, H = features, V = vocabulary, K = likely tokens: 1 where one token is the target.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from charrnn.model.kernels import product_dtype

LARGE_ALPHABET = 1000  # below it torch's own loss is as fast
LARGEST_BLOCK = 1 << 21  # logits at a time: 8 MiB


def loss_sum(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return Σ −ln softmax(V h + c)[target], a scalar that gradients can be taken of.

    features (N, H), weight (V, H), bias (V,), targets (N,) int64.
    """
    return soft_loss_sum(features, weight, bias, targets[:, None], bias.new_ones(len(targets), 1))


def soft_loss_sum(
    features: Tensor, weight: Tensor, bias: Tensor, likely: Tensor, shares: Tensor
) -> Tensor:
    """Return Σ −Σₖ share · ln softmax(V h + c)[likely], a scalar that gradients can be taken of.

    features (N, H), weight (V, H), bias (V,). likely (N, K) int64: tokens of each position. shares
    (N, K): the probability that each of them should have; those of a position add up to 1.
    """
    total: Tensor = _LossSum.apply(features, weight, bias, likely, shares)  # type: ignore[no-untyped-call]
    return total


def token_losses(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return −ln softmax(V h + c)[target] of each position: (N,) float32, without gradients."""
    matrix = weight.to(product_dtype(features))
    blocks = _iter_blocks(features, matrix, bias, targets[:, None], bias.new_ones(len(targets), 1))
    return torch.cat([nats for _, nats, _, _ in blocks])


class _LossSum(torch.autograd.Function):
    """∂L/∂logits is softmax − shares, so the gradients are known as soon as the loss is."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, likely: Tensor, shares: Tensor
    ) -> Tensor:
        matrix = weight.to(product_dtype(features))
        total = bias.new_zeros(())
        grad_features = torch.empty_like(features)
        grad_logits = matrix.new_empty(len(features), len(bias))
        for rows, nats, exponentials, sums in _iter_blocks(features, matrix, bias, likely, shares):
            total += nats.sum()
            probabilities = exponentials.mul_(1 / sums)
            probabilities.scatter_add_(1, likely[rows], -shares[rows])
            grad_features[rows] = torch.mm(grad_logits[rows].copy_(probabilities), matrix)
        # The gradients of the weights are one product each, over all positions.
        grad_weight = torch.mm(grad_logits.t(), features.to(matrix.dtype)).to(weight.dtype)
        ones = grad_logits.new_ones(1, len(grad_logits))
        grad_bias = torch.mm(ones, grad_logits)[0].to(bias.dtype)
        ctx.save_for_backward(grad_features, grad_weight, grad_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(each * grad for each in ctx.saved_tensors), None, None)


def _iter_blocks(
    features: Tensor, matrix: Tensor, bias: Tensor, likely: Tensor, shares: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Yield a block's rows, their nats (rows,), e^logit (rows, V) and its sums (rows, 1).

    The next block overwrites the last one.
    """
    room = bias.new_empty(max(1, LARGEST_BLOCK // len(matrix)), len(matrix))
    for start in range(0, len(features), len(room)):
        rows = slice(start, start + len(room))
        products = torch.mm(features[rows].to(matrix.dtype), matrix.t())
        logits = room[: len(products)].copy_(products).add_(bias)
        # The softmax by hand: torch's own takes several times as long along the last axis.
        logits -= logits.amax(1, keepdim=True)
        target_logits = (logits.gather(1, likely[rows]) * shares[rows]).sum(1)
        sums = logits.exp_().sum(1, keepdim=True)
        yield rows, sums.log().squeeze(1) - target_logits, logits, sums
