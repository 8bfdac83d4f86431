"""AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019), one group for each decay.

It is torch's fused kernel with its state in plain tensors, which a checkpoint can hold by name;
torch's own optimizer class would load its compiler first, a second of every start. It knows
nothing of schedules or clipping.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_BETAS = (0.9, 0.99)
_EPSILON = 1e-8


class AdamW:
    """Moves `parameters` by name; `decays` is the weight decay of each."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decays: Mapping[str, float]) -> None:
        self._parameters: dict[str, Tensor] = dict(parameters)
        self._first = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._second = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._groups: dict[float, list[str]] = {}
        for name in parameters:
            self._groups.setdefault(decays[name], []).append(name)

    def step(
        self,
        learning_rate: float | Tensor,
        update: float | Tensor,
        is_moved: Tensor | None = None,
    ) -> None:
        """Make update number `update` (from 1) from the gradients; a missing one counts as zero.

        Where the scalar `is_moved` is false, nothing changes.
        """
        is_skipped = None if is_moved is None else is_moved.logical_not().float()
        for decay, names in self._groups.items():
            members = [self._parameters[name] for name in names]
            count = torch.as_tensor(update, dtype=torch.float32, device=members[0].device)
            torch._fused_adamw_(
                members,
                [torch.zeros_like(p) if p.grad is None else p.grad for p in members],
                [self._first[name] for name in names],
                [self._second[name] for name in names],
                [],
                [count] * len(names),
                amsgrad=False,
                lr=learning_rate,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                weight_decay=decay,
                eps=_EPSILON,
                maximize=False,
                found_inf=is_skipped,
            )

    def state(self) -> dict[str, Mapping[str, Tensor]]:
        """Give the tensors that have to be kept, by kind and by parameter."""
        return {"first_moment": self._first, "second_moment": self._second}
