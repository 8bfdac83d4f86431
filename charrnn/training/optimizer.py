"""How weights move: clipped gradients, AdamW by groups of weights, a schedule, an average.

AdamW is torch's fused kernel with its state in plain tensors, which a checkpoint can hold by
name; torch's own optimizer class would load its compiler first, a second of every start. It knows
nothing of data, losses or files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from charrnn.config import TrainConfig

_BETAS = (0.9, 0.99)
_EPSILON = 1e-8


def learning_rate_at(step: int, total_steps: int | None, peak: float, config: TrainConfig) -> float:
    """Give the learning rate of update `step` (from 0): a linear rise to `peak`, then the schedule.

    linear and cosine reach zero at `total_steps`; exponential multiplies by `decay_rate` each
    step; constant stays. The rise takes `warmup_steps`, or a tenth of a shorter run. Where the
    length is not yet known (None) the rate stays at its peak.
    """
    warmup = config.warmup_steps
    if total_steps is not None:
        warmup = min(warmup, total_steps // 10)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if config.schedule == "exponential":
        return float(peak * config.decay_rate ** (step - warmup))
    if total_steps is None or config.schedule == "constant":
        return peak
    done = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
    if config.schedule == "linear":
        return peak * (1 - done)
    return peak * (1 + math.cos(math.pi * done)) / 2


def clip_gradients(parameters: list[nn.Parameter], config: TrainConfig) -> Tensor:
    """Limit the gradients in place and give their global L2 norm before that, a scalar tensor.

    By value: each element into ±clip_grad_value. By norm: all are scaled by
    clip_grad_norm / ‖g‖ where the norm is above it (Pascanu et al. 2013).
    """
    if config.clip_grad_value > 0:
        nn.utils.clip_grad_value_(parameters, config.clip_grad_value)
    return nn.utils.clip_grad_norm_(parameters, config.clip_grad_norm or math.inf)


def weight_decay_of(name: str, config: TrainConfig) -> float:
    """Give the weight decay of a weight by its name in the network."""
    if name.startswith("embedding"):
        return config.weight_decay_embedding
    if "bias" in name or "initial" in name:
        return config.weight_decay_bias
    if name.startswith("output"):
        return config.weight_decay_output
    return config.weight_decay_recurrent if "weight_hh" in name else config.weight_decay_input


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), one group for each decay."""

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.names = list(learned)
        self.parameters = list(learned.values())
        self.first_moments = [torch.zeros_like(p) for p in self.parameters]
        self.second_moments = [torch.zeros_like(p) for p in self.parameters]
        self.updates = 0
        decays = [weight_decay_of(name, config) for name in self.names]
        self._groups = {
            decay: [i for i, other in enumerate(decays) if other == decay] for decay in decays
        }
        self.param_groups = [{"params": self.parameters}]  # where a gradient scaler looks

    def step(self, learning_rate: float) -> None:
        """Update every weight from its gradient."""
        self.updates += 1
        count = torch.tensor(float(self.updates), device=self.parameters[0].device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        for decay, members in self._groups.items():
            torch._fused_adamw_(
                [self.parameters[i] for i in members],
                [gradients[i] for i in members],
                [self.first_moments[i] for i in members],
                [self.second_moments[i] for i in members],
                [],
                [count] * len(members),
                amsgrad=False,
                lr=learning_rate,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                weight_decay=decay,
                eps=_EPSILON,
                maximize=False,
            )

    def forget_gradients(self) -> None:
        """Make way for those of the next window."""
        for parameter in self.parameters:
            parameter.grad = None


@torch.no_grad()
def update_average(
    average: Iterable[Tensor], parameters: Iterable[Tensor], decay: float, step: int
) -> None:
    """Move an exponential moving average towards the weights after update `step` (from 1).

    The memory is short at first, so that the random start is soon forgotten.
    """
    memory = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average), list(parameters), 1 - memory)
