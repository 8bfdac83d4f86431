"""Muon for the recurrent layers' matrices, AdamW for the rest; clipping, schedule, EMA.

The table of n-grams has an optimizer of its own, that moves only the rows which a window reads.
Muon is in `muon.py`. AdamW is torch's fused kernel over plain tensors, which a checkpoint holds by
name: torch.optim.AdamW would load torch's compiler first, a second of every start.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from charrnn.config import GATES, TrainConfig
from charrnn.config.model import NGRAM_TABLE
from charrnn.model.encoder import Network
from charrnn.training.muon import Muon
from charrnn.training.plan import rate_of_size
from charrnn.training.world import SINGLE_PROCESS, World

MUON_EVERY = {torch.bfloat16: 4, torch.float32: 8}  # updates; the price of a product decides

_BETAS = (0.9, 0.99)
_EPSILON = 1e-8
_NGRAM_RATE = 4.0  # n-grams learn at 4 times the learning rate (LOG.md)
_NGRAM_DECAY_EVERY = 64  # updates at most: a pass over all rows is dear
_KINDS = {  # in this order: a decoder's bias_ih is a bias
    "bias": "bias",
    "label": "label",
    "initial": "initial",
    "weight_ih": "input",
    "weight_hh": "recurrent",
}
_FADING_STEPS = 100  # or a tenth of what is left of the run


class Schedule:
    """The learning rate of each update: a linear rise to `peak`, then the schedule.

    linear and cosine reach zero at `total_steps`; exponential multiplies by `decay_rate` each step;
    constant stays. The rise takes `warmup_steps`, or a tenth of a shorter run. While the length is
    unknown (None) the rate stays at its peak.

    The length of a run may change on the way, and the rate makes no jump then: the difference to
    the rate of the length before fades out in a line. A warm-up that is over stays over.

    >>> Schedule(0.01, TrainConfig(steps=9, warmup_steps=1)).rate_at(0)
    0.005
    """

    def __init__(self, peak: float, config: TrainConfig, total_steps: int | None = None) -> None:
        self.total_steps = total_steps
        self._peak = peak
        self._config = config
        self._warmup = self._warmup_of(total_steps)
        self._changed_at = 0
        self._fading_steps = 0
        self._difference = 0.0

    def rate_at(self, step: int) -> float:
        """Return the rate of update `step` (from 0): between 0 and the peak."""
        config = self._config
        peak = rate = self._peak
        warmup = self._warmup
        if step < warmup:
            rate = peak * (step + 1) / (warmup + 1)
        elif config.lr_schedule == "exponential":
            rate = peak * config.decay_rate ** (step - warmup)
        elif self.total_steps is not None and config.lr_schedule != "constant":
            done = min((step - warmup) / max(self.total_steps - warmup, 1), 1.0)
            if config.lr_schedule == "linear":
                rate = peak * (1 - done)
            else:
                rate = peak * (1 + math.cos(math.pi * done)) / 2
        if self._difference:
            faded = (step - self._changed_at + 1) / (self._fading_steps + 1)
            rate += self._difference * max(0.0, 1 - faded)
        return min(max(rate, 0.0), peak)

    def change_length(self, step: int, total_steps: int | None) -> None:
        """Be the schedule of a run of so many steps, from update `step` on."""
        before = self.rate_at(step)
        self.total_steps = total_steps
        self._warmup = min(self._warmup, self._warmup_of(total_steps))
        self._difference = 0.0
        if step > 0:
            left = math.inf if total_steps is None else (total_steps - step) // 10
            self._changed_at = step
            self._fading_steps = int(max(0, min(_FADING_STEPS, left)))
            self._difference = before - self.rate_at(step)

    def _warmup_of(self, total_steps: int | None) -> int:
        longest = self._config.warmup_steps
        return longest if total_steps is None else min(longest, total_steps // 10)

    def state_dict(self) -> dict[str, Any]:
        """Return all that depends on the steps before, as JSON values."""
        return {
            "total_steps": self.total_steps,
            "warmup_steps": self._warmup,
            "changed_at": self._changed_at,
            "fading_steps": self._fading_steps,
            "difference": self._difference,
        }

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Become what `state_dict` returned.

        Raises:
            LookupError, TypeError, ValueError: these are no such values.
        """
        total_steps = values["total_steps"]
        self.total_steps = None if total_steps is None else int(total_steps)
        self._warmup = int(values["warmup_steps"])
        self._changed_at = int(values["changed_at"])
        self._fading_steps = int(values["fading_steps"])
        self._difference = float(values["difference"])


def clip_gradients(parameters: list[nn.Parameter], config: TrainConfig) -> Tensor:
    """Clip the gradients in place; return their global L2 norm before that, a scalar tensor.

    By value: each element to ±clip_grad_value. By norm: all are scaled by clip_grad_norm / ‖g‖
    where the norm is above it (Pascanu et al. 2013). The table of n-grams is not among the
    parameters: its optimizer divides each row by that row's own size, which bounds its steps.
    """
    if config.clip_grad_value > 0:
        nn.utils.clip_grad_value_(parameters, config.clip_grad_value)
    return nn.utils.clip_grad_norm_(parameters, config.clip_grad_norm or math.inf)


def kind_of(name: str) -> str:
    """Return the group of a weight by its name in the network.

    That is input, recurrent, output, embedding, ngrams, bias, initial, label, or task: what a task
    has between the layers and the output, such as attention, and the transitions of its tags.

    >>> kind_of("layers.0.cell.weight_hh_l0"), kind_of("bridge.0.weight")
    ('recurrent', 'task')
    """
    if name == NGRAM_TABLE:
        return "ngrams"
    if name.startswith(("embedding", "target_embedding")):
        return "embedding"
    for part, kind in _KINDS.items():
        if part in name:
            return kind
    return "output" if name.startswith(("projection", "output")) else "task"


def max_norm_of(name: str, config: TrainConfig, *, is_tied: bool) -> float | None:
    """Return the largest norm of the rows of a weight by its name; None if there is no limit.

    is_tied: the embedding table is the output's too.
    """
    kind = kind_of(name)
    if kind == "embedding" and is_tied:
        kind = "output"
    limits = {
        "input": config.max_norm_input,
        "recurrent": config.max_norm_recurrent,
        "output": config.max_norm_output,
    }
    return limits.get(kind)


def weight_decay_of(name: str, config: TrainConfig, task: str = "text") -> float:
    """Return the weight decay of a weight by its name in the network of a task.

    >>> weight_decay_of("layers.0.cell.weight_hh_l0", TrainConfig(weight_decay_recurrent=0.5))
    0.5
    """
    if name.startswith(("embedding", "target_embedding")):
        return config.embedding_decay(task)
    if name == NGRAM_TABLE:
        return config.ngram_decay()
    if "bias" in name or "initial" in name:
        return config.weight_decay_bias
    if name.startswith(("projection", "output")):
        return config.weight_decay_output
    return config.weight_decay_recurrent if "weight_hh" in name else config.weight_decay_input


class Optimizer:
    """Updates every learned weight of a network.

    dtype: of the products that Muon makes. world: the processes that make the same updates.
    learned: the weights, by name in the network. names, parameters: of all but a table of n-grams,
    which is neither clipped nor averaged.
    """

    def __init__(
        self,
        model: Network,
        config: TrainConfig,
        dtype: torch.dtype,
        world: World = SINGLE_PROCESS,
    ) -> None:
        self.learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
        decays = {name: weight_decay_of(name, config, model.config.task) for name in self.learned}
        learned = dict(self.learned)
        table = learned.pop(NGRAM_TABLE, None)
        self.names = list(learned)
        self.parameters = list(learned.values())
        # Where a gradient scaler looks.
        self.param_groups = [{"params": list(self.learned.values())}]
        self._updates = 0
        self._updates_on_device = torch.zeros((), device=self.parameters[0].device)
        self._muon_every = MUON_EVERY[dtype]
        has_muon = config.optimizer == "muon"
        matrices = {n: p for n, p in learned.items() if has_muon and ".cell.weight" in n}
        others = {name: p for name, p in learned.items() if name not in matrices}
        gates = GATES[model.config.cell]
        self._adamw = AdamW(others, decays)
        self._muon = Muon(matrices, decays, gates, dtype, self._muon_every, world)
        self._table = None
        if table is not None:
            # A row is read as often in a small network as in a large one, whose rate is lower.
            at_256 = 1 / rate_of_size(model.config.hidden_size)
            self._table = RowWiseRMSprop(table, decays[NGRAM_TABLE], at_256)
        self._decays = decays
        is_tied = model.config.tie_embeddings
        limits = {name: max_norm_of(name, config, is_tied=is_tied) for name in learned}
        self._max_norms = [(learned[n], limit) for n, limit in limits.items() if limit is not None]

    @property
    def updates(self) -> int:
        """How many updates were made, as far as the host knows."""
        return self._updates

    @updates.setter
    def updates(self, updates: int) -> None:
        self._updates = updates
        self._updates_on_device.fill_(updates)

    @property
    def is_muon_due(self) -> bool:
        """Whether the next update computes Muon's directions, which makes it another graph."""
        return self._updates % self._muon_every == 0

    def step(self, learning_rate: float | Tensor, mask: Tensor | None = None) -> None:
        """Update every weight from its gradient.

        mask: a scalar bool on the device. Where it is false nothing changes; the host does not read
        it and has to `count_updates` later, so Muon's directions may come one round late then.
        """
        if mask is None:
            self._updates += 1
            self._adamw.step(learning_rate, self._updates)
            self._muon.step(learning_rate, self._updates)
            if self._table is not None:
                self._table.step(learning_rate, self._updates)
        else:
            self._updates_on_device += mask
            self._adamw.step(learning_rate, self._updates_on_device, mask)
            self._muon.step(learning_rate * mask, self._updates + 1, mask)
            if self._table is not None:
                self._table.step_masked(learning_rate, self._updates_on_device, mask)
        for parameter, max_norm in self._max_norms:
            limit_rows(parameter, max_norm, mask)

    def decays_at(self, learning_rate: float | Tensor) -> dict[str, float | Tensor]:
        """Return the share of each weight that its decay takes off in an update, by name."""
        factors = dict(self._muon.rate_factors)
        if self._table is not None:
            factors[NGRAM_TABLE] = self._table.rate_factor
        return {
            name: learning_rate * factors.get(name, 1.0) * decay
            for name, decay in self._decays.items()
        }

    def count_updates(self, number: int) -> None:
        """Count masked updates: expected ones, or a negative number of those that made none."""
        self._updates += number

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return the tensors that a checkpoint keeps, by kind and by the weight's name."""
        kinds = self._adamw.state_dict() | self._muon.state_dict()
        if self._table is not None:
            kinds["second_moment"] |= {NGRAM_TABLE: self._table.second_moment}
        return kinds


@torch.no_grad()
def limit_rows(parameter: Tensor, max_norm: float, mask: Tensor | None = None) -> None:
    """Scale each row (N,) of a weight (M, N), the weights into one unit, down to at most max_norm.

    w ← w · min(1, c / ‖w‖₂), the max-norm constraint of Srivastava et al. 2014, section 5.1. Where
    the scalar `mask` is false nothing changes.
    """
    norms = torch.linalg.vector_norm(parameter, dim=1, keepdim=True)
    scale = (max_norm / norms).clamp(max=1.0)
    if mask is not None:
        scale = torch.where(mask, scale, torch.ones_like(scale))
    parameter.mul_(scale)


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019); `decays` by parameter name."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decays: Mapping[str, float]) -> None:
        self._parameters: dict[str, Tensor] = dict(parameters)
        self._first = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._second = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._groups: dict[float, list[str]] = {}
        for name in parameters:
            self._groups.setdefault(decays[name], []).append(name)

    def step(
        self, learning_rate: float | Tensor, update: float | Tensor, mask: Tensor | None = None
    ) -> None:
        """Make update number `update` (from 1); a missing gradient counts as zero."""
        found_inf = None if mask is None else mask.logical_not().float()
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
                found_inf=found_inf,  # the kernel's own mask
            )

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return the moments, by kind and by the weight's name."""
        return {"first_moment": dict(self._first), "second_moment": dict(self._second)}


class RowWiseRMSprop:
    """Moves the rows of a table (R, E) that have a gradient, each by its own mean square.

    v ← β v + (1 − β) mean(g²) and row ← row − 4 η g / √v, for the rows whose gradient g is not all
    zero: RMSprop (Tieleman & Hinton 2012) with one v a row, as row-wise Adagrad has it (Gupta et
    al. 2014). The first update of a row has the size 1/√(1 − β) = 10. Weight decay λ takes all
    rows, once in k updates: row ← row (1 − η λ)ᵏ, where k is 64 by the decay rounded up, so that no
    pass takes much.

    rate_factor: η as a multiple of the learning rate that a step is given. `Optimizer` makes η that
    of a network of 256 units, so that rows move and fade alike in networks of all sizes.
    """

    def __init__(self, table: nn.Parameter, decay: float, rate_factor: float = 1.0) -> None:
        self._table = table
        self._decay = decay
        self.rate_factor = rate_factor
        self.decay_every = max(1, _NGRAM_DECAY_EVERY // max(1, math.ceil(decay)))
        """Updates from one pass of the decay to the next."""
        self.second_moment = torch.zeros(len(table), device=table.device)
        """(R,)"""

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor, update: int) -> None:
        """Make update number `update` (from 1) of the rows with a gradient."""
        table = self._table
        rate = float(learning_rate) * self.rate_factor
        if update % self.decay_every == 0:
            table.mul_(max(0.0, 1 - rate * self._decay) ** self.decay_every)
        if table.grad is None:
            return
        if table.grad.is_sparse:
            rows, gradients = _entries_of(table.grad)
            squares = gradients.square().mean(1)
            if not squares.all():  # rare, and dear to look for
                is_moved = gradients.any(1)
                rows, gradients, squares = rows[is_moved], gradients[is_moved], squares[is_moved]
        else:
            rows = table.grad.any(1).nonzero()[:, 0]
            gradients = table.grad[rows]
            squares = gradients.square().mean(1)
        second = self.second_moment[rows]
        second.lerp_(squares, 1 - _BETAS[1])
        self.second_moment[rows] = second
        scale = (second.sqrt_() + _EPSILON).reciprocal_().mul_(rate * _NGRAM_RATE)
        # Each row is there once, so reading and writing them is enough; index_add_ is slower.
        table[rows] = table.index_select(0, rows).addcmul_(gradients, scale[:, None], value=-1)

    @torch.no_grad()
    def step_masked(self, learning_rate: float | Tensor, update: Tensor, mask: Tensor) -> None:
        """Make an update without reading anything back; where `mask` is false nothing changes.

        Passes over all rows, which a GPU does fast.
        """
        table = self._table
        rate = learning_rate * self.rate_factor
        decay = mask * (update % self.decay_every == 0) * (rate * self._decay)
        table.mul_((1 - decay).clamp(min=0) ** self.decay_every)
        gradient = torch.zeros_like(table) if table.grad is None else table.grad
        square = gradient.square().mean(1)
        moved = gradient.any(1) & mask
        second = self.second_moment
        second.copy_(torch.where(moved, second.lerp(square, 1 - _BETAS[1]), second))
        steps = gradient / (second.sqrt() + _EPSILON)[:, None] * (rate * _NGRAM_RATE)
        table.sub_(torch.where(moved[:, None], steps, torch.zeros_like(steps)))


def _entries_of(sparse: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices (K,), each once, and the rows (K, E) of a sparse gradient."""
    rows, values = sparse._indices()[0], sparse._values()
    # A gradient loses on its way that it is coalesced, and finding out is faster than doing it.
    if not sparse.is_coalesced() and (np.diff(rows.numpy()) <= 0).any():
        sparse = sparse.coalesce()
        rows, values = sparse.indices()[0], sparse.values()
    return rows, values


def ema_weight_at(decay: float, step: int) -> float:
    """Return how far the weight average moves towards the weights after update `step` (from 1).

    It moves fast at first, so that the random start is soon forgotten.
    """
    return 1 - min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(
    average: Iterable[Tensor], parameters: Iterable[Tensor], weight: float | Tensor
) -> None:
    """Move an exponential moving average towards the weights: mean += weight · (p − mean)."""
    if isinstance(weight, float):
        torch._foreach_lerp_(list(average), list(parameters), weight)
        return
    for mean, parameter in zip(average, parameters, strict=True):
        mean.lerp_(parameter, weight)
