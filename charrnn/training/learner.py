"""The moving parts of a run: network, weight average, moments, lane states, place in the text.

A learner takes one step at a time and can be laid down as plain arrays and picked up again. It
knows nothing of clocks, evaluations or reports.

B = lanes, T = window length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.model.network import (
    CharRNN,
    State,
    copy_model,
    export_weights,
    import_weights,
    public_name,
)
from charrnn.text.corpus import Corpus
from charrnn.training.budget import Plan
from charrnn.training.deferred import Unread, Update, carry, judge
from charrnn.training.device import autocast, has_bf16, is_deferred, lacks_kernel
from charrnn.training.distributed import ALONE, Peers
from charrnn.training.feed import Feed
from charrnn.training.memory import choose_slices, is_out_of_memory
from charrnn.training.optimizer import (
    Optimizer,
    clip_gradients,
    learning_rate_at,
    update_average,
)
from charrnn.training.travel import Travel
from charrnn.training.windows import Cursor, Lanes

Arrays = dict[str, NDArray[Any]]

_SEED_STRIDE = 1_000_003  # keeps the dropout seeds of neighbouring run seeds apart
_RANK_STRIDE = 1_000_000_007_000_003  # and those of a run's processes


class Learner:
    """Trains one network on one text; `step` counts the windows read.

    slices: parts of a window's lanes that are read one after another, to need less memory; their
        gradients add up. rate_factor: multiplies every learning rate.
    """

    def __init__(
        self,
        plan: Plan,
        config: TrainConfig,
        corpus: Corpus,
        device: torch.device,
        precision: torch.dtype,
        initial: Callable[[Arrays], Arrays] | None = None,
        peers: Peers = ALONE,
    ) -> None:
        self._peers, self._own = peers, peers.share(plan.batch_size)
        self.slices = choose_slices(share_of(plan, peers), device, peers.local_size)
        self.rate_factor = 1.0
        self._config = config
        self._device, self.precision = device, precision
        self._peak = plan.learning_rate
        self.model = make_model(plan, config.seed)
        if initial is not None:
            import_weights(self.model, initial(export_weights(self.model)))
        self.model.to(device)
        self._lanes = Lanes(corpus.train, plan.batch_size, plan.seq_len, config.seed)
        self._feed = Feed(self._lanes, corpus.vocab, device)
        is_fast = has_bf16(device) and config.precision != "fp32"
        product = torch.bfloat16 if is_fast else torch.float32
        self._optimizer = Optimizer(self.model, config, product)
        self._averaged = copy_model(self.model) if config.ema_decay else self.model
        averages = dict(self._averaged.named_parameters())
        self._averages = [averages[name] for name in self._optimizer.names]
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
        self._dropout = torch.Generator(device)
        self._unread = Unread() if is_deferred(device) and peers.world_size == 1 else None
        self._state: State | None = None
        self._cursor = Cursor()
        self.step = 0
        self.learning_rate = 0.0
        self._travel = Travel(self.model, ALONE)  # that of a window tried stays here
        self._try_a_window()
        self._travel = Travel(self.model, peers)

    @property
    def averaged(self) -> CharRNN:
        """The network with averaged weights: the one to evaluate and to keep."""
        return self._averaged

    @property
    def epoch(self) -> float:
        """How many times the text was read, with its fraction."""
        return self._cursor.epoch + self._cursor.window / self._lanes.windows_in(self._cursor.epoch)

    @property
    def parameters(self) -> int:
        """The number of learned weights."""
        return sum(parameter.numel() for parameter in self._optimizer.parameters)

    @property
    def place(self) -> tuple[int, int]:
        """Where the next window starts in the first lane, and how many symbols a lane has."""
        return self._lanes.place(self._cursor)

    @property
    def state_bytes(self) -> int:
        """The size of what `lay_down` gives, lane states left out."""
        tensors = [*self._tensors().values(), *self.model.parameters()]
        return sum(tensor.numel() * 4 for tensor in tensors)

    def advance(self, total_steps: int | None) -> list[Update]:
        """Read a window and make one update, unless its loss or gradient is not finite.

        Such a window leaves weights, moments and average as they were; the next one starts from
        the initial state, as this one's may be what went wrong.

        Gives what can be said of steps by now: of this one; or, where the device goes on by itself,
        of none until a batch of them is full.
        """
        inputs, targets, chars = self._feed.read(self._cursor)
        total, state = self._accumulate(inputs, targets)
        self.learning_rate = self.rate_factor * learning_rate_at(
            self.step, total_steps, self._peak, self._config
        )
        if self._unread is not None:
            self._finish_unread(self._unread, total, self._clip(), state, chars)
            return self.settle() if self._unread.is_full else []
        nats, has_finite_state = self._add_up(total, state)
        next_state = state if has_finite_state else None
        return [self._finish(nats, float(self._clip()), next_state, chars)]

    def _clip(self) -> Tensor:
        """Give the norm of the gradients, at their own scale, and clip them."""
        self._scaler.unscale_(cast("torch.optim.Optimizer", self._optimizer))
        return clip_gradients(self._optimizer.parameters, self._config)

    def _finish(self, nats: float, norm: float, state: State | None, chars: int) -> Update:
        """Move the weights by the gradients that are there, or do not, and go on in the text."""
        is_made = math.isfinite(nats) and (math.isfinite(norm) or self._is_scale_sought())
        if is_made:
            self._scaler.step(cast("torch.optim.Optimizer", self._optimizer), self.learning_rate)
        self._optimizer.forget_gradients()
        self._scaler.update()
        self.step += 1
        if self._config.ema_decay and is_made:
            parameters = self._optimizer.parameters
            update_average(self._averages, parameters, self._config.ema_decay, self.step)
        self._move_on(state if is_made else None)
        return Update(nats, norm, chars, is_made, self.slices)

    def _finish_unread(
        self, unread: Unread, nats: Tensor, norm: Tensor, state: State, chars: int
    ) -> None:
        """Do what `_finish` does without a look at the figures: the device decides.

        A learned initial state learns nothing of a window that starts from it for being the next
        after one that went wrong.
        """
        outcome = judge(nats, norm, self._scaler, self._optimizer)
        rate = torch.full((), self.learning_rate, device=self._device)
        self._optimizer.step_where(outcome.is_moved, rate)
        self._optimizer.forget_gradients()
        self._scaler.update()
        self.step += 1
        if self._config.ema_decay:
            parameters, decay = self._optimizer.parameters, self._config.ema_decay
            update_average(self._averages, parameters, decay, self.step, outcome.is_made)
        initial = self.model.initial_state(self._lanes.batch_size)
        self._move_on(carry(state, initial, outcome.is_made))
        unread.add(outcome, chars, self.slices)

    def settle(self) -> list[Update]:
        """Wait for the device, and give what there is to say of every step not yet spoken of."""
        if self._unread is None:
            return []
        updates, unmoved = self._unread.read()
        self._optimizer.take_back(unmoved)
        return updates

    def _add_up(self, total: Tensor, state: State) -> tuple[float, bool]:
        """Make gradients those of all lanes; give all nats, and whether all states are finite."""
        lost = torch.full_like(total, not _is_finite(state))
        nats, lost_states = self._travel.bring_back(torch.stack((total, lost))).tolist()
        return nats, lost_states == 0

    def _is_scale_sought(self) -> bool:
        """Tell whether the gradient scaler, which skips such a step itself, can still go lower."""
        return self._scaler.is_enabled() and self._scaler.get_scale() > 1

    def _accumulate(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, State]:
        """Give the nats and final state of this process's lanes, and leave their gradients.

        Where memory does not suffice, the lanes are read in twice as many slices.
        """
        inputs, targets = inputs[self._own], targets[self._own]
        while True:
            try:
                return self._read_slices(inputs, targets)
            except (MemoryError, RuntimeError) as error:
                if self.slices >= len(inputs) or not is_out_of_memory(error):
                    raise
            self._optimizer.forget_gradients()
            self.slices *= 2

    def _read_slices(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, State]:
        seed = self._config.seed * _SEED_STRIDE + self._peers.rank * _RANK_STRIDE + self.step
        self._dropout.manual_seed(seed % 2**63)
        symbols = self._lanes.batch_size * self._lanes.seq_len
        total, states = torch.zeros((), device=self._device), []
        lanes = -(-len(inputs) // self.slices)
        for first in range(0, len(inputs), lanes):
            rows = slice(first, first + lanes)
            self._travel.begin_pass(is_last=rows.stop >= len(inputs))
            nats, state = self._forward(inputs[rows], targets[rows], _rows_of(self._state, rows))
            self._scaler.scale(nats / symbols).backward()  # type: ignore[no-untyped-call]
            total += nats.detach()
            states.append(state)
        return total, _join(states)

    def _forward(
        self, inputs: Tensor, targets: Tensor, before: State | None
    ) -> tuple[Tensor, State]:
        """Give the nats of all targets, a scalar, and the state, cut off from its past."""
        with autocast(self._device, self.precision):
            nats, after = self.model.total_nats(inputs, targets, before, self._dropout)
        return nats, tuple(tuple(part.detach().float() for part in layer) for layer in after)

    def _try_a_window(self) -> None:
        """Find the slices that fit into memory, and whether oneDNN has a kernel for the shapes."""
        try:
            self._accumulate(*self._feed.read(self._cursor)[:2])
        except RuntimeError as error:
            if self.precision != torch.bfloat16 or not lacks_kernel(error):
                raise
            self.precision = torch.float32
            self._try_a_window()
        finally:
            self._optimizer.forget_gradients()

    def _move_on(self, state: State | None) -> None:
        """Go to the next window with `state`; a new epoch starts from the initial one."""
        before, self._cursor = self._cursor, self._lanes.after(self._cursor)
        self._state = state if self._cursor.epoch == before.epoch else None

    def lay_down(self) -> tuple[Arrays, Arrays, dict[str, Any]]:
        """Give the weights, the other arrays, and the rest as JSON: copies of all there is."""
        arrays: Arrays = {}
        for name, tensor in self._tensors().items():
            arrays[name] = tensor.detach().cpu().numpy().copy()
        for depth, layer in enumerate(self._state or ()):
            for part, tensor in enumerate(layer):
                lanes = self._peers.join_rows(tensor, self._lanes.batch_size)
                arrays[f"state.{depth}.{part}"] = lanes.cpu().numpy().copy()
        rest = {
            "step": self.step,
            "updates": self._optimizer.updates,
            "cursor": [self._cursor.epoch, self._cursor.window],
            "scaler": self._scaler.state_dict(),
            "slices": self.slices,
        }
        return export_weights(self.model), arrays, rest

    def pick_up(self, weights: Arrays, arrays: Arrays, rest: dict[str, Any]) -> None:
        """Take up what `lay_down` gave.

        Raises:
            CheckpointError: a weight is missing or has another shape.
            LookupError, TypeError, ValueError, RuntimeError: as much of anything else.
        """
        import_weights(self.model, weights)
        _fill({tensor: arrays[name] for name, tensor in self._tensors().items()})
        if self._unread is not None:
            self._unread.forget()
        self.step = int(rest["step"])
        self._optimizer.updates = int(rest["updates"])
        self._cursor = self._lanes.check(Cursor(*map(int, rest["cursor"])))
        self.slices = max(self.slices, int(rest["slices"]))
        if rest["scaler"]:  # empty where the run was not on a GPU before
            self._scaler.load_state_dict(rest["scaler"])
        self._state = self._read_state(arrays)

    def show_weights(self, weights: Arrays) -> None:
        """Put other weights into the averaged network, once training is over."""
        import_weights(self._averaged, weights)

    def _tensors(self) -> dict[str, Tensor]:
        """Give what moves besides the weights, by its name in a file."""
        kinds = self._optimizer.state()
        if self._config.ema_decay:
            kinds["average"] = dict(zip(self._optimizer.names, self._averages, strict=True))
        return {f"{k}.{public_name(n)}": t for k, each in kinds.items() for n, t in each.items()}

    def _read_state(self, arrays: Arrays) -> State | None:
        if "state.0.0" not in arrays:
            return None
        likes = self.model.initial_state(self._lanes.batch_size)
        state = tuple(
            tuple(torch.from_numpy(arrays[f"state.{d}.{p}"]).clone() for p in range(len(parts)))
            for d, parts in enumerate(likes)
        )
        for layer, like in zip(state, likes, strict=True):
            for part, zeros in zip(layer, like, strict=True):
                if part.shape != zeros.shape or part.dtype != zeros.dtype:
                    raise ValueError(
                        f"a lane state is {tuple(part.shape)}, not {tuple(zeros.shape)}"
                    )
        return tuple(tuple(part[self._own].to(self._device) for part in layer) for layer in state)


def _rows_of(state: State | None, rows: slice) -> State | None:
    """Give some lanes' state."""
    return state and tuple(tuple(part[rows] for part in layer) for layer in state)


def _join(states: list[State]) -> State:
    """Give the state of all lanes from that of each slice."""
    if len(states) == 1:
        return states[0]
    layers = zip(*states, strict=True)
    return tuple(tuple(map(torch.cat, zip(*parts, strict=True))) for parts in layers)


def _is_finite(state: State) -> bool:
    return all(bool(part.isfinite().all()) for layer in state for part in layer)


def share_of(plan: Plan, peers: Peers) -> Plan:
    """Give the plan of what one process reads: as many lanes as the first has, or one more."""
    return replace(plan, batch_size=-(-plan.batch_size // peers.world_size))


def make_model(plan: Plan, seed: int) -> CharRNN:
    """Make a network whose random start depends on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # a GPU's is left alone
        return CharRNN(plan.model)


@torch.no_grad()
def _fill(values: dict[Tensor, NDArray[np.float32]]) -> None:
    for tensor, value in values.items():
        tensor.copy_(torch.from_numpy(value))
