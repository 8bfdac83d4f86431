"""From a window to the gradients of all lanes: in slices where memory is short, over all processes.

It knows nothing of texts, and what is done with gradients is `weights.py`'s.

B = this process's lanes, T = window length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from charrnn.model.cuda_graph import GraphRunner
from charrnn.model.device import autocast, lacks_kernel
from charrnn.model.network import State
from charrnn.training.buckets import BucketedAllReduce
from charrnn.training.distributed import SINGLE_PROCESS, World
from charrnn.training.lane_states import is_lost, join, rows_of
from charrnn.training.memory import is_out_of_memory
from charrnn.training.weights import Weights


class Gradients:
    """Makes gradients of the mean nats of a window's `tokens`, and leaves them with the weights.

    slices: parts of this process's lanes that are read one after another, to need less memory;
        their gradients add up. precision: of the products. dropout: draws the masks; it is seeded
        before each window. recorder: has recorded steps in as many slices.
    """

    def __init__(
        self,
        weights: Weights,
        tokens: int,
        precision: torch.dtype,
        dropout: torch.Generator,
        recorder: GraphRunner,
        world: World,
    ) -> None:
        self.micro_batches, self.precision, self.dropout = 1, precision, dropout
        self._weights, self._recorder, self._peers = weights, recorder, world
        self._travel = BucketedAllReduce(
            weights.model, SINGLE_PROCESS
        )  # those of a window tried out stay here
        self._tokens = tokens

    def make(self, inputs: Tensor, targets: Tensor, before: State | None) -> tuple[Tensor, State]:
        """Give two figures (2,), and this process's state after the window (B, T).

        The figures are of all processes: the nats, and how many have lost their state.
        """
        total, state = self._accumulate(inputs, targets, before)
        lost = is_lost(state).to(total.dtype)
        return self._travel.bring_back(torch.stack((total, lost))), state

    def try_out(self, inputs: Tensor, targets: Tensor) -> None:
        """Find the slices that fit into memory, and whether oneDNN has a kernel for the shapes."""
        try:
            self._accumulate(inputs, targets, None)
            self._travel = BucketedAllReduce(self._weights.model, self._peers)
        except RuntimeError as error:
            if self.precision != torch.bfloat16 or not lacks_kernel(error):
                raise
            self.precision = torch.float32
            self.try_out(inputs, targets)
        finally:
            self._weights.zero_grad()

    def slice_to(self, micro_batches: int) -> None:
        """Read windows in so many slices from here on."""
        self.micro_batches = micro_batches
        self._recorder.forget()

    def _accumulate(
        self, inputs: Tensor, targets: Tensor, before: State | None
    ) -> tuple[Tensor, State]:
        """Give the nats and final state of this process's lanes, and leave their gradients.

        Where memory does not suffice, the lanes are read in twice as many slices.
        """
        while True:
            try:
                return self._read_slices(inputs, targets, before)
            except (MemoryError, RuntimeError) as error:
                is_last = self.micro_batches >= len(inputs) or self._recorder.is_recording
                if is_last or not is_out_of_memory(error):
                    raise
            self._weights.zero_grad()
            self.dropout.manual_seed(self.dropout.initial_seed())
            self.slice_to(2 * self.micro_batches)

    def _read_slices(
        self, inputs: Tensor, targets: Tensor, before: State | None
    ) -> tuple[Tensor, State]:
        total, states = torch.zeros((), device=inputs.device), []
        lanes = -(-len(inputs) // self.micro_batches)
        for first in range(0, len(inputs), lanes):
            rows = slice(first, first + lanes)
            self._travel.begin_pass(is_last=rows.stop >= len(inputs))
            nats, state = self._forward(inputs[rows], targets[rows], rows_of(before, rows))
            self._weights.scaler.scale(nats / self._tokens).backward()  # type: ignore[no-untyped-call]
            total += nats.detach()
            states.append(state)
        return total, join(states)

    def _forward(
        self, inputs: Tensor, targets: Tensor, before: State | None
    ) -> tuple[Tensor, State]:
        """Give the nats of all targets, a scalar, and the state, cut off from its past."""
        with autocast(inputs.device, self.precision):
            nats, after = self._weights.model.loss_sum(inputs, targets, before, self.dropout)
        return nats, tuple(tuple(part.detach().float() for part in layer) for layer in after)
