"""How weights move: clipped gradients, a rule for each kind of weight, a schedule, an average.

The two rules are in `adamw.py` and `muon.py`. It knows nothing of data, losses or files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from charrnn.config import GATES, TrainConfig
from charrnn.model.network import CharRNN
from charrnn.training.adamw import AdamW
from charrnn.training.muon import Muon

ORTHOGONALIZE_EVERY = {torch.bfloat16: 4, torch.float32: 8}  # updates; a product's price decides


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
    if name.startswith(("projection", "output")):
        return config.weight_decay_output
    return config.weight_decay_recurrent if "weight_hh" in name else config.weight_decay_input


class Optimizer:
    """Moves every learned weight of a network: recurrent layers' matrices by Muon, others by AdamW.

    `updates` counts the steps made. dtype: what Muon's products are made in.
    """

    def __init__(self, model: CharRNN, config: TrainConfig, dtype: torch.dtype) -> None:
        learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.names, self.parameters = list(learned), list(learned.values())
        self.param_groups = [{"params": self.parameters}]  # where a gradient scaler looks
        self.updates = 0
        decays = {name: weight_decay_of(name, config) for name in learned}
        by_muon = config.optimizer == "muon"
        matrices = {n: p for n, p in learned.items() if by_muon and ".cell.weight" in n}
        others = {name: p for name, p in learned.items() if name not in matrices}
        every = ORTHOGONALIZE_EVERY[dtype]
        muon = Muon(matrices, decays, GATES[model.config.cell], dtype, every)
        self._parts: tuple[AdamW | Muon, ...] = (AdamW(others, decays), muon)

    def step(self, learning_rate: float) -> None:
        """Update every weight from its gradient."""
        self.updates += 1
        for part in self._parts:
            part.step(learning_rate, self.updates)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Give the tensors that a checkpoint keeps, by kind and by the weight's name."""
        return {kind: dict(each) for part in self._parts for kind, each in part.state().items()}

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
