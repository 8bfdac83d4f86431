"""How weights move: clipped gradients, a rule for each kind of weight, a schedule, an average.

The two rules are in `adamw.py` and `muon.py`. It knows nothing of data, losses or files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from charrnn.config import GATES, TrainConfig
from charrnn.model.network import CharRNN
from charrnn.training.distributed import SINGLE_PROCESS, World
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
    if config.lr_schedule == "exponential":
        return float(peak * config.decay_rate ** (step - warmup))
    if total_steps is None or config.lr_schedule == "constant":
        return peak
    done = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
    if config.lr_schedule == "linear":
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

    dtype: what Muon's products are made in. peers: those that make the same updates.
    """

    def __init__(
        self, model: CharRNN, config: TrainConfig, dtype: torch.dtype, world: World = SINGLE_PROCESS
    ) -> None:
        learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.names, self.parameters = list(learned), list(learned.values())
        self.param_groups = [{"params": self.parameters}]  # where a gradient scaler looks
        self._updates, self._made = 0, torch.zeros((), device=self.parameters[0].device)
        decays = {name: weight_decay_of(name, config) for name in learned}
        by_muon = config.optimizer == "muon"
        matrices = {n: p for n, p in learned.items() if by_muon and ".cell.weight" in n}
        others = {name: p for name, p in learned.items() if name not in matrices}
        self._every = ORTHOGONALIZE_EVERY[dtype]
        muon = Muon(matrices, decays, GATES[model.config.cell], dtype, self._every, world)
        self._parts = AdamW(others, decays), muon

    @property
    def updates(self) -> int:
        """How many updates were made, as far as is known."""
        return self._updates

    @updates.setter
    def updates(self, updates: int) -> None:
        self._updates = updates
        self._made.fill_(updates)

    @property
    def is_turning(self) -> bool:
        """Whether the next update is of another kind: one that makes Muon's directions anew."""
        return self._updates % self._every == 0

    def step(self, learning_rate: float) -> None:
        """Update every weight from its gradient."""
        self._updates += 1
        for part in self._parts:
            part.step(learning_rate, self._updates)

    def step_where(self, is_moved: Tensor, learning_rate: Tensor) -> None:
        """Update every weight, or none where the scalar `is_moved` is false, without reading it.

        The host has to `count` it. Muon's new directions come by that count, so after a step that
        moved nothing they may come one round late.
        """
        self._made += is_moved
        adamw, muon = self._parts
        adamw.step(learning_rate, self._made, is_moved)
        muon.step(learning_rate * is_moved, self._updates + 1, is_moved)

    def count(self, updates: int) -> None:
        """Count so many updates as made by `step_where`; fewer than 0 turned out not to be."""
        self._updates += updates

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Give the tensors that a checkpoint keeps, by kind and by the weight's name."""
        return {kind: dict(each) for part in self._parts for kind, each in part.state().items()}

    def zero_grad(self) -> None:
        """Make way for those of the next window."""
        for parameter in self.parameters:
            parameter.grad = None


def average_share(decay: float, step: int) -> float:
    """Give by how much the average moves towards the weights after update `step` (from 1).

    The memory is short at first, so that the random start is soon forgotten.
    """
    return 1 - min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(
    average: Iterable[Tensor], parameters: Iterable[Tensor], share: float | Tensor
) -> None:
    """Move an exponential moving average towards the weights by `share` of the way, 0 to 1."""
    if isinstance(share, float):
        torch._foreach_lerp_(list(average), list(parameters), share)
        return
    for mean, weight in zip(average, parameters, strict=True):
        mean.lerp_(weight, share)


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
