"""One optimizer step: forward, backward, all-reduce, clip, check, update, average, in this order.

The same code runs on a CPU, on a GPU and inside a CUDA graph. On a GPU nothing is read back, as
that would make the host wait: whether a step counts is a tensor, which masks the update. A CPU
reads it and skips the update, as a mask would cost a pass over every weight.

B = lanes of this process, T = window length.
"""

import torch
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.model.cuda_graph import GraphRunner
from charrnn.model.device import autocast, has_bf16, lacks_kernel
from charrnn.model.encoder import Network
from charrnn.model.network import CharRNN, State, copy_model
from charrnn.state import iter_arrays, map_state, select_rows
from charrnn.training.batches import Window
from charrnn.training.distributed import BucketedAllReduce, Processes
from charrnn.training.groups import GroupNorms
from charrnn.training.memory import is_out_of_memory
from charrnn.training.optimizer import Optimizer, clip_gradients, update_average
from charrnn.training.world import World

Number = float | Tensor
"""A plain number on a CPU; a scalar tensor where the device runs ahead of the host."""


class TrainStep:
    """Updates `model`; `averaged` follows it as an exponential moving average (EMA).

    targets: in a window of all processes, on average. is_async: the device runs ahead of the host.
    micro_batches: parts in which the lanes are read, to need less memory; gradients add up.
    dropout: generates the masks; it is seeded before each step.
    """

    def __init__(
        self,
        model: Network,
        config: TrainConfig,
        precision: torch.dtype,
        targets: float,
        graphs: GraphRunner,
        world: World,
        *,
        is_async: bool,
    ) -> None:
        device = model.output.weight.device
        self.model = model
        self.averaged = copy_model(model) if config.ema_decay else model
        if isinstance(model, CharRNN) and model.ngrams is not None:
            model.ngrams.is_async = is_async
            model.ngrams.is_sparse = not is_async and device.type == "cpu"
        is_fast = has_bf16(device) and config.precision != "fp32"
        self.optimizer = Optimizer(
            model, config, torch.bfloat16 if is_fast else torch.float32, world
        )
        averages = dict(self.averaged.named_parameters())
        self.averages = [averages[name] for name in self.optimizer.names]
        self.group_norms = GroupNorms(self.optimizer.learned, model.config.cell)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
        self.dropout = torch.Generator(device)
        self.micro_batches = 1
        self.is_async = is_async
        self._config = config
        self._graphs = graphs
        self._world = world
        self._targets = targets
        self._buckets: BucketedAllReduce | None = None  # once `dry_run` is over
        self.set_precision(precision)

    def __call__(
        self,
        window: Window,
        state: State | None,
        learning_rate: Number,
        ema_weight: Number,
        *,
        is_measured: bool = False,
    ) -> tuple[Tensor, State]:
        """Make one update from a window of tensors; return its figures and the state after it.

        ema_weight: how far the average moves towards the weights, 0 to 1. is_measured: let
        `group_norms` measure this step.

        The figures (5,) are float32: the loss of all targets in nats, the gradient's norm before
        clipping, and whether loss and gradient are finite, whether weights moved, and whether the
        state can be carried on. Where they are not finite, weights, moments and average stay.
        """
        # Forward and backward, one micro-batch after another.
        loss_sum, state = self._accumulate_gradients(window, state)
        has_lost_state = torch.zeros_like(loss_sum, dtype=torch.bool)
        for part in iter_arrays(state):
            has_lost_state |= ~part.isfinite().all()

        # All-reduce: gradients become their sums over the processes, and so do these two numbers.
        if self._buckets is not None:
            sums = torch.stack((loss_sum, has_lost_state.to(loss_sum.dtype)))
            loss_sum, lost_states = self._buckets.finish(sums).unbind()
            has_lost_state = lost_states > 0

        # Clip.
        self.scaler.unscale_(self.optimizer)  # type: ignore[arg-type]
        if is_measured:
            self.group_norms.measure_gradients()
        grad_norm = clip_gradients(self.optimizer.parameters, self._config)

        # Check. While the scaler is looking for a scale, a step counts though no weight moves.
        is_finite = is_applied = loss_sum.isfinite() & grad_norm.isfinite()
        if self.scaler.is_enabled():
            scale = self.scaler._get_scale_async()
            assert scale is not None
            is_finite = loss_sum.isfinite() & (grad_norm.isfinite() | (scale > 1))
            for found_inf in self.scaler._found_inf_per_device(self.optimizer).values():  # type: ignore[arg-type]
                is_applied = is_applied & (found_inf == 0)

        # Update and average.
        mask = is_applied if self.is_async else None
        if mask is not None or is_applied:
            self.optimizer.step(learning_rate, mask)
        if is_measured:
            self.group_norms.measure_update(self.optimizer.decays_at(learning_rate))
        self.model.zero_grad()
        self.scaler.update()
        if self._config.ema_decay and (mask is not None or is_finite):
            weight = ema_weight if mask is None else ema_weight * is_finite
            update_average(self.averages, self.optimizer.parameters, weight)

        checks = torch.stack((is_finite, is_applied, is_finite & ~has_lost_state))
        return torch.cat((torch.stack((loss_sum, grad_norm)), checks.float())), state

    def _accumulate_gradients(self, window: Window, state: State | None) -> tuple[Tensor, State]:
        """Leave the gradients of this process's lanes; return their loss and their final state."""
        while True:
            try:
                return self._forward_backward(window, state)
            except (MemoryError, RuntimeError) as error:
                is_smallest = self.micro_batches >= len(window.inputs)
                if is_smallest or self._graphs.is_capturing or not is_out_of_memory(error):
                    raise
            # Out of the handler, where the error no longer holds the tensors: halve and repeat.
            self.model.zero_grad()
            self.dropout.manual_seed(self.dropout.initial_seed())
            self.set_micro_batches(2 * self.micro_batches)

    def _forward_backward(self, window: Window, state: State | None) -> tuple[Tensor, State]:
        count = len(window.inputs)
        loss_sum = torch.zeros((), device=window.inputs.device)
        states: list[State] = []
        size = -(-count // self.micro_batches)
        for first in range(0, count, size):
            lanes = slice(first, first + size)
            own = window if size == count else window.select(lanes)
            before = state
            if before is not None and self.micro_batches > 1:
                before = select_rows(before, lanes)
            if self._buckets is not None:  # a bucket leaves during the last backward pass
                self._buckets.begin_backward(is_last=lanes.stop >= count)
            with self._autocast:
                if own.shares is None:
                    loss, after = self.model.loss_sum(
                        own.inputs, own.targets, before, self.dropout, own.labels
                    )
                else:
                    assert isinstance(self.model, CharRNN)  # the only one that has teachers
                    loss, after = self.model.soft_loss_sum(
                        own.inputs, own.likely, own.shares, before, self.dropout, own.labels
                    )
            self.scaler.scale(loss / self._targets).backward()  # type: ignore[no-untyped-call]
            loss_sum += loss.detach()
            # Truncated BPTT: the next window starts from these numbers, not from this graph.
            states.append(map_state(Tensor.float, map_state(Tensor.detach, after)))
        if len(states) == 1:
            return loss_sum, states[0]
        return loss_sum, map_state(lambda *parts: torch.cat(parts), *states)

    def dry_run(self, window: Window) -> None:
        """Find the micro-batches that fit into memory, and whether oneDNN has these kernels."""
        try:
            self._accumulate_gradients(window, None)
        except RuntimeError as error:
            if self.precision != torch.bfloat16 or not lacks_kernel(error):
                raise
            self.set_precision(torch.float32)
            self._accumulate_gradients(window, None)
        finally:
            self.model.zero_grad()
        if isinstance(self._world, Processes):
            self._buckets = BucketedAllReduce(self.model, self._world)

    def set_precision(self, precision: torch.dtype) -> None:
        """Make products in this number format from here on."""
        self.precision = precision
        self._autocast = autocast(self.model.output.weight.device, precision)

    def set_micro_batches(self, count: int) -> None:
        """Read windows in this many micro-batches from here on."""
        self.micro_batches = count
        self._graphs.clear()  # a captured graph reads them in the old number

    def abandon(self) -> None:
        """Undo a step that broke off anywhere before its update."""
        self.model.zero_grad()
        before = self.scaler.state_dict()
        device = self.dropout.device
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.scaler.is_enabled())
        if before:
            self.scaler.load_state_dict(before)
        self.dropout = torch.Generator(device)
