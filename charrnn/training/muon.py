"""Muon (Jordan et al. 2024): momentum made orthogonal, so that every direction moves alike.

A gradient's matrix has a few large singular values and many small ones, and a plain step follows
the few. Muon sets them all to about 1 by a Newton-Schulz iteration, which is matrix products only.
Here each gate's block of a recurrent layer is a matrix of its own, and the iteration, which would
cost as much as the step's other work, is made anew only every few updates; those between move on in
the last direction. It knows nothing of schedules or clipping.

G = gates, H = hidden size, N = columns of the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count

import torch
from torch import Tensor, nn

from charrnn.training.distributed import SINGLE_PROCESS, World

_MOMENTUM = 0.95
_REACH = 0.5  # a step's size beside AdamW's, so that one learning rate serves both
_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: steepest at small singular values
_EPSILON = 1e-7


class Muon:
    """Moves `parameters` (G·H, N) by name, block by block; `decays` is the weight decay of each.

    dtype: the number format of the iteration's products. every: updates for each iteration.
    peers: those that share the blocks out among them; all are given the same gradients.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        decays: Mapping[str, float],
        gates: int,
        dtype: torch.dtype,
        every: int,
        world: World = SINGLE_PROCESS,
    ) -> None:
        self._parameters, self._decays = dict(parameters), dict(decays)
        self._gates, self._dtype, self._every = gates, dtype, every
        self._peers = world
        self._momenta = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._directions = {name: torch.zeros_like(p) for name, p in parameters.items()}

    @torch.no_grad()
    def step(
        self, learning_rate: float | Tensor, update: int, is_moved: Tensor | None = None
    ) -> None:
        """Make update number `update` (from 1) from the gradients; a missing one counts as zero.

        Where the scalar `is_moved` is false, nothing changes; the learning rate has to be 0 then.
        """
        share: float | Tensor = 1.0 if is_moved is None else is_moved.float()
        gradients: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            momentum = self._momenta[name]
            gradient = torch.zeros_like(momentum) if parameter.grad is None else parameter.grad
            if is_moved is not None:  # 0 times what is no number is none either
                gradient.masked_fill_(is_moved.logical_not(), 0.0)
            momentum.lerp_(gradient, (1 - _MOMENTUM) * share)
            gradients[name] = gradient
        if (update - 1) % self._every == 0:
            for name, fresh in self._orthogonalize(gradients).items():
                self._directions[name].lerp_(fresh, share)
        for name, parameter in self._parameters.items():
            rows, columns = parameter.shape[0] // self._gates, parameter.shape[1]
            reach = learning_rate * _REACH * math.sqrt(rows)
            parameter.mul_(1 - reach * self._decays[name])
            _move(parameter, self._directions[name], -reach * math.sqrt(max(1.0, rows / columns)))

    def _orthogonalize(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the new directions; the processes work the blocks out in turn, and share them."""
        rank, world_size, made = self._peers.rank, self._peers.world_size, {}
        for first, (name, gradient) in zip(count(step=self._gates), gradients.items()):
            ahead = torch.lerp(gradient, self._momenta[name], _MOMENTUM)  # Nesterov
            blocks = ahead.reshape(self._gates, -1, ahead.shape[1])
            mine = slice((rank - first) % world_size, None, world_size)
            fresh = torch.zeros_like(blocks)
            fresh[mine] = orthogonalize(blocks[mine], self._dtype)
            made[name] = fresh.view_as(ahead)
        self._peers.all_reduce_sum(list(made.values()))
        return made

    def state(self) -> dict[str, Mapping[str, Tensor]]:
        """Give the tensors that have to be kept, by kind and by parameter."""
        return {"momentum": self._momenta, "direction": self._directions}


def _move(parameter: Tensor, direction: Tensor, reach: float | Tensor) -> None:
    if isinstance(reach, Tensor):  # which `alpha` would read back
        parameter.addcmul_(direction, reach)
    else:
        parameter.add_(direction, alpha=reach)


def orthogonalize(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring the singular values of each of `matrices` (G, M, N) to about 1.

    Each of five times X becomes a X + (b A + c A²) X with A = X Xᵀ, which moves a singular value s
    to a s + b s³ + c s⁵ and leaves the directions as they are. Those above 1/500 of a matrix's
    Frobenius norm come to 0.68 to 1.20; smaller ones grow up to 485-fold. The products are made in
    `dtype`.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = (x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + _EPSILON)).to(dtype)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)
