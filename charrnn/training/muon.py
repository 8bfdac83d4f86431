"""Muon (Jordan et al. 2024): momentum made orthogonal, so that every direction moves alike.

A gradient's matrix has a few large singular values and many small ones, and a plain step follows
the few. Muon sets them all to about 1 by a Newton-Schulz iteration, which is matrix products only.
Here each gate's block of a recurrent layer is a matrix of its own, and the iteration, which would
cost as much as the step's other work, runs only every few updates; those between repeat the last
direction.

G = gates, H = hidden size, N = columns of the matrix.
"""

import math
from collections.abc import Mapping
from itertools import count

import torch
from torch import Tensor, nn

from charrnn.training.world import SINGLE_PROCESS, World

_MOMENTUM = 0.95
_SCALE = 0.5  # a step's size relative to AdamW's, so that one learning rate serves both
_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: steepest at small singular values
_EPSILON = 1e-7


class Muon:
    """Updates `parameters` (G·H, N) by name, block by block; `decays` by parameter name.

    dtype: of the iteration's products. every: updates from one iteration to the next. world: the
    processes that share out the blocks; all have the same gradients.
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
        self._parameters = dict(parameters)
        self._decays = dict(decays)
        self._gates = gates
        self._dtype = dtype
        self._every = every
        self._world = world
        self.rate_factors = {
            name: _SCALE * math.sqrt(p.shape[0] // gates) for name, p in parameters.items()
        }
        """What multiplies the learning rate of each weight."""
        self._momenta = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._directions = {name: torch.zeros_like(p) for name, p in parameters.items()}

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor, update: int, mask: Tensor | None = None) -> None:
        """Make update number `update` (from 1); a missing gradient counts as zero.

        Where the scalar `mask` is false nothing changes; the learning rate has to be 0 then.
        """
        weight: float | Tensor = 1.0 if mask is None else mask.float()
        gradients: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            momentum = self._momenta[name]
            gradient = torch.zeros_like(momentum) if parameter.grad is None else parameter.grad
            if mask is not None:  # 0 times NaN is NaN, so a mask by product would not do
                gradient.masked_fill_(mask.logical_not(), 0.0)
            momentum.lerp_(gradient, (1 - _MOMENTUM) * weight)
            gradients[name] = gradient
        if (update - 1) % self._every == 0:
            for name, direction in self._orthogonalize(gradients).items():
                self._directions[name].lerp_(direction, weight)
        for name, parameter in self._parameters.items():
            rows = parameter.shape[0] // self._gates
            rate = learning_rate * _SCALE * math.sqrt(rows)
            parameter.mul_(1 - rate * self._decays[name])
            size = -rate * math.sqrt(max(1.0, rows / parameter.shape[1]))
            if isinstance(size, Tensor):  # which `alpha` would read back
                parameter.addcmul_(self._directions[name], size)
            else:
                parameter.add_(self._directions[name], alpha=size)

    def _orthogonalize(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the new directions; the processes compute the blocks in turn and share them."""
        rank = self._world.rank
        world_size = self._world.world_size
        directions: dict[str, Tensor] = {}
        for first, (name, gradient) in zip(count(step=self._gates), gradients.items()):
            ahead = torch.lerp(gradient, self._momenta[name], _MOMENTUM)  # Nesterov
            blocks = ahead.reshape(self._gates, -1, ahead.shape[1])
            own = slice((rank - first) % world_size, None, world_size)
            orthogonal = torch.zeros_like(blocks)
            orthogonal[own] = orthogonalize(blocks[own], self._dtype)
            directions[name] = orthogonal.view_as(ahead)
        if world_size > 1:
            self._world.all_reduce_sum(list(directions.values()))
        return directions

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return momenta and directions, by kind and by the weight's name."""
        return {"momentum": dict(self._momenta), "direction": dict(self._directions)}


def orthogonalize(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `matrices` (G, M, N) with the singular values of each brought to about 1.

    Each of five times X becomes a X + (b A + c A²) X with A = X Xᵀ, which moves a singular value s
    to a s + b s³ + c s⁵ and leaves the directions as they are. Those above 1/500 of a matrix's
    Frobenius norm become 0.68 to 1.20; smaller ones grow up to 485-fold. The products are made in
    `dtype`.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices  # the smaller of the two Gram matrices
    x = (x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + _EPSILON)).to(dtype)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)
