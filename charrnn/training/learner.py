"""The moving parts of a run: network, lane states, place in the text.

A learner takes one step at a time and can be laid down as plain arrays and picked up again. It
knows nothing of clocks, evaluations or reports.

B = lanes, T = window length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.model.cuda_graph import CaptureError, CudaGraphs, GraphRunner
from charrnn.model.device import is_asynchronous
from charrnn.model.network import CharRNN, State, load_numpy_state_dict, numpy_state_dict
from charrnn.text.corpus import Corpus
from charrnn.training.batches import Batches, Cursor, Lanes
from charrnn.training.deferred import PendingResults, StaticBuffers, StepResult
from charrnn.training.distributed import SINGLE_PROCESS, World
from charrnn.training.gradients import Gradients
from charrnn.training.lane_states import Arrays, choose, export_state, import_state, put, rows_of
from charrnn.training.memory import choose_micro_batches
from charrnn.training.optimizer import average_share, learning_rate_at
from charrnn.training.plan import Plan
from charrnn.training.weights import Weights

_SEED_STRIDE = 1_000_003  # keeps the dropout seeds of neighbouring run seeds apart
_RANK_STRIDE = 1_000_000_007_000_003  # and those of a run's processes


class Learner:
    """Trains one network on one text; `step` counts the windows read.

    rate_factor: multiplies every learning rate.
    """

    def __init__(
        self,
        plan: Plan,
        config: TrainConfig,
        corpus: Corpus,
        device: torch.device,
        precision: torch.dtype,
        initial: Callable[[Arrays], Arrays] | None = None,
        world: World = SINGLE_PROCESS,
    ) -> None:
        micro_batches = choose_micro_batches(share_of(plan, world), device, world.local_size)
        self._peers, self._own = world, world.shard(plan.batch_size)
        self._config, self._peak, self.rate_factor = config, plan.learning_rate, 1.0
        self.model = make_model(plan, config.seed)
        if initial is not None:
            load_numpy_state_dict(self.model, initial(numpy_state_dict(self.model)))
        self._weights = Weights(self.model.to(device), config, device, precision, world)
        self._lanes = Lanes(corpus.train, plan.batch_size, plan.seq_len, config.seed)
        self._feed = Batches(self._lanes, corpus.vocab, device)
        dropout = torch.Generator(device)
        self._recorder = GraphRunner(CudaGraphs(device, dropout) if config.cuda_graph else None)
        tokens = plan.batch_size * plan.seq_len
        self._gradients = Gradients(
            self._weights, tokens, precision, dropout, self._recorder, world
        )
        self._gradients.slice_to(micro_batches)
        self._unread = PendingResults() if is_asynchronous(device) else None
        self._slots = StaticBuffers.like(self._initial_state(), plan.seq_len)
        self._state: State | None = None
        self._cursor = Cursor()
        self.step, self.learning_rate = 0, 0.0
        inputs, targets, _ = self._feed.read(self._cursor)
        self._gradients.try_out(inputs[self._own], targets[self._own])

    @property
    def micro_batches(self) -> int:
        """The parts of a window's lanes that are read one after another, to need less memory."""
        return self._gradients.micro_batches

    @property
    def precision(self) -> torch.dtype:
        """The number format of the products."""
        return self._gradients.precision

    @property
    def averaged(self) -> CharRNN:
        """The network with averaged weights: the one to evaluate and to keep."""
        return self._weights.averaged

    @property
    def epoch(self) -> float:
        """How many times the text was read, with its fraction."""
        return self._cursor.epoch + self._cursor.window / self._lanes.windows_in(self._cursor.epoch)

    @property
    def parameters(self) -> int:
        """The number of learned weights."""
        return sum(parameter.numel() for parameter in self._weights.optimizer.parameters)

    @property
    def place(self) -> tuple[int, int]:
        """Where the next window starts in the first lane, and how many tokens a lane has."""
        return self._lanes.place(self._cursor)

    @property
    def state_bytes(self) -> int:
        """The size of what `lay_down` gives, lane states left out."""
        moving = self._weights.size
        return 4 * (moving + sum(parameter.numel() for parameter in self.model.parameters()))

    def advance(self, total_steps: int | None) -> list[StepResult]:
        """Read a window and make one update, unless its loss or gradient is not finite.

        Such a window leaves weights, moments and average as they were; the next one starts from
        the initial state, as this one's may be what went wrong.

        Gives what can be said of steps by now: of this one; or, where the device goes on by itself,
        of none until a batch of them is full.
        """
        inputs, targets, chars = self._feed.read(self._cursor)
        inputs, targets = inputs[self._own], targets[self._own]
        rate = learning_rate_at(self.step, total_steps, self._peak, self._config)
        self.learning_rate = self.rate_factor * rate
        share = average_share(self._config.ema_decay, self.step + 1)
        self._seed_dropout()
        if self._unread is None:
            return [self._step(inputs, targets, share, chars)]
        self._slots.fill(inputs, targets, self.learning_rate, share)
        unrecorded = self._step_unread()
        self._unread.add(self._slots.figures, chars, self.micro_batches, unrecorded)
        return self.settle() if self._unread.is_full else []

    def settle(self) -> list[StepResult]:
        """Wait for the device, and give what there is to say of every step not yet spoken of."""
        if self._unread is None:
            return []
        updates, unmoved = self._unread.read()
        self._weights.optimizer.count(-unmoved)
        return updates

    def _step(self, inputs: Tensor, targets: Tensor, share: float, chars: int) -> StepResult:
        """Make a step, and say at once what it came to."""
        figures, state = self._gradients.make(inputs, targets, self._state)
        nats, lost_states = figures.tolist()
        norm, is_made = self._weights.move(nats, self.learning_rate, share)
        self._move_on(state if is_made and lost_states == 0 else None)
        return StepResult(nats, norm, chars, is_made, self.micro_batches)

    def _step_unread(self) -> str:
        """Make a step of which nothing is known yet; say why it was not recorded, if it was to be.

        One that starts from the initial state, which may have that to learn, is too rare for it.
        """
        before, unrecorded = self._state, ""
        kind = None if before is None else self._weights.optimizer.is_turning
        try:
            self._recorder.do(kind, lambda: self._step_where(before))
        except CaptureError as error:
            unrecorded = str(error)
            self._weights.drop_half_a_step()
            self._gradients.dropout = torch.Generator(self._slots.inputs.device)
            self._seed_dropout()
            self._step_where(before)
        self._weights.optimizer.count(1)
        self._move_on(self._slots.state)
        return unrecorded

    def _step_where(self, before: State | None) -> None:
        """Make the step that the slots tell of, and leave there what it came to.

        Nothing in here is asked or told by the host, so a recording of it stays true: the device
        does what `_step` does. A learned initial state learns nothing of a window that starts from
        it for being the next after one that went wrong.
        """
        slots = self._slots
        figures, state = self._gradients.make(slots.inputs, slots.targets, before)
        nats, lost_states = figures.unbind()
        outcome = self._weights.move_where(nats, slots.learning_rate, slots.share)
        is_carried = outcome.is_made & (lost_states == 0)
        put(choose(is_carried, state, self._initial_state()), slots.state)
        slots.figures.copy_(outcome.figures())

    def _seed_dropout(self) -> None:
        """Have the masks of a step depend on it and on nothing before."""
        seed = self._config.seed * _SEED_STRIDE + self._peers.rank * _RANK_STRIDE + self.step
        self._gradients.dropout.manual_seed(seed % 2**63)

    def _initial_state(self) -> State:
        """Give the state of this process's lanes before any text."""
        return self.model.initial_state(self._own.stop - self._own.start)

    def _move_on(self, state: State | None) -> None:
        """Go to the next window with `state`; a new epoch starts from the initial one."""
        before, self._cursor = self._cursor, self._lanes.after(self._cursor)
        self._state = state if self._cursor.epoch == before.epoch else None
        self.step += 1

    def state_dict(self) -> tuple[Arrays, Arrays, dict[str, Any]]:
        """Give the weights, the other arrays, and the rest as JSON: copies of all there is."""
        lanes = export_state(self._state, self._peers, self._lanes.batch_size)
        rest = {
            "step": self.step,
            "updates": self._weights.optimizer.updates,
            "cursor": [self._cursor.epoch, self._cursor.window],
            "scaler": self._weights.scaler.state_dict(),
            "slices": self.micro_batches,
        }
        return numpy_state_dict(self.model), self._weights.state_dict() | lanes, rest

    def load_state_dict(self, weights: Arrays, arrays: Arrays, rest: dict[str, Any]) -> None:
        """Take up what `lay_down` gave.

        Raises:
            CheckpointError: a weight is missing or has another shape.
            LookupError, TypeError, ValueError, RuntimeError: as much of anything else.
        """
        load_numpy_state_dict(self.model, weights)
        self._weights.load_state_dict(arrays)
        if self._unread is not None:
            self._unread.forget()
        self.step = int(rest["step"])
        self._weights.optimizer.updates = int(rest["updates"])
        self._cursor = self._lanes.check(Cursor(*map(int, rest["cursor"])))
        self._gradients.slice_to(max(self.micro_batches, int(rest["slices"])))
        if rest["scaler"]:  # empty where the run was not on a GPU before
            self._weights.scaler.load_state_dict(rest["scaler"])
        lanes = import_state(arrays, self.model.initial_state(self._lanes.batch_size))
        if (own := rows_of(lanes, self._own)) is not None:
            put(own, self._slots.state)
        self._state = own and self._slots.state

    def show_weights(self, weights: Arrays) -> None:
        """Put other weights into the averaged network, once training is over."""
        load_numpy_state_dict(self.averaged, weights)


def make_model(plan: Plan, seed: int) -> CharRNN:
    """Make a network whose random start depends on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # a GPU's is left alone
        return CharRNN(plan.model)


def share_of(plan: Plan, world: World) -> Plan:
    """Give the plan of what one process reads: as many lanes as the first has, or one more."""
    return replace(plan, batch_size=-(-plan.batch_size // world.world_size))
