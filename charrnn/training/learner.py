"""The moving parts of a run: network, weight average, moments, lane states, place in the text.

A learner takes one step at a time and can be laid down as plain arrays and picked up again. It
knows nothing of clocks, evaluations or reports.

B = lanes, T = window length.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.errors import CheckpointError
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
from charrnn.training.device import autocast, has_bf16, lacks_kernel
from charrnn.training.optimizer import (
    Optimizer,
    clip_gradients,
    learning_rate_at,
    update_average,
)
from charrnn.training.windows import Cursor, Lanes

Arrays = dict[str, NDArray[Any]]

_SEED_STRIDE = 1_000_003  # keeps the dropout seeds of neighbouring run seeds apart


class Learner:
    """Trains one network on one text; `step` counts the updates made."""

    def __init__(
        self,
        plan: Plan,
        config: TrainConfig,
        corpus: Corpus,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self._config, self._vocab = config, corpus.vocab
        self._device, self.precision = device, precision
        self._peak = plan.learning_rate
        self.model = make_model(plan, config.seed).to(device)
        self._lanes = Lanes(corpus.train, plan.batch_size, plan.seq_len, config.seed)
        is_fast = has_bf16(device) and config.precision != "fp32"
        product = torch.bfloat16 if is_fast else torch.float32
        self._optimizer = Optimizer(self.model, config, product)
        self._averaged = copy_model(self.model) if config.ema_decay else self.model
        averages = dict(self._averaged.named_parameters())
        self._averages = [averages[name] for name in self._optimizer.names]
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
        self._dropout = torch.Generator(device)
        self._state: State | None = None
        self._cursor = Cursor()
        self.step = 0
        self.learning_rate = 0.0
        if precision == torch.bfloat16 and not self._can_run():
            self.precision = torch.float32

    @property
    def averaged(self) -> CharRNN:
        """The network with averaged weights: the one to evaluate and to keep."""
        return self._averaged

    @property
    def epoch(self) -> float:
        """How many times the text was read, with its fraction."""
        return self._cursor.epoch + self._cursor.window / self._lanes.windows_in(self._cursor.epoch)

    def advance(self, total_steps: int | None) -> tuple[Tensor, Tensor, int]:
        """Make one update; give the window's total nats, the gradient's norm, its characters.

        The first two are scalar tensors still on the device: reading them waits for it.
        """
        inputs, targets = self._lanes.read(self._cursor)
        chars = self._vocab.count_characters(targets.ravel())
        nats = self._forward(torch.from_numpy(inputs), torch.from_numpy(targets))
        mean = nats / targets.size
        self._scaler.scale(mean).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(cast("torch.optim.Optimizer", self._optimizer))
        norm = clip_gradients(self._optimizer.parameters, self._config)
        self.learning_rate = learning_rate_at(self.step, total_steps, self._peak, self._config)
        self._scaler.step(cast("torch.optim.Optimizer", self._optimizer), self.learning_rate)
        self._optimizer.forget_gradients()
        self._scaler.update()
        self.step += 1
        if self._config.ema_decay:
            parameters = self._optimizer.parameters
            update_average(self._averages, parameters, self._config.ema_decay, self.step)
        self._move_on()
        return nats.detach(), norm, chars

    def _forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Give the nats of all targets, a scalar, and keep the state, cut off from its past."""
        inputs, targets = inputs.to(self._device), targets.to(self._device)
        self._dropout.manual_seed((self._config.seed * _SEED_STRIDE + self.step) % 2**63)
        with autocast(self._device, self.precision):
            nats, state = self.model.total_nats(inputs, targets, self._state, self._dropout)
        self._state = tuple(tuple(part.detach().float() for part in layer) for layer in state)
        return nats

    def _can_run(self) -> bool:
        """Tell whether a window runs: oneDNN has no bfloat16 kernel for some shapes."""
        inputs, targets = self._lanes.read(self._cursor)
        try:
            nats = self._forward(torch.from_numpy(inputs), torch.from_numpy(targets))
            nats.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if not lacks_kernel(error):
                raise
            return False
        finally:
            self._optimizer.forget_gradients()
            self._state = None
        return True

    def _move_on(self) -> None:
        """Go to the next window; a new epoch starts from the initial state."""
        before, self._cursor = self._cursor, self._lanes.after(self._cursor)
        if self._cursor.epoch != before.epoch:
            self._state = None

    def lay_down(self) -> tuple[Arrays, Arrays, dict[str, Any]]:
        """Give the weights, the other arrays, and the rest as JSON: copies of all there is."""
        arrays: Arrays = {}
        for name, tensor in self._tensors().items():
            arrays[name] = tensor.detach().cpu().numpy().copy()
        for depth, layer in enumerate(self._state or ()):
            for part, tensor in enumerate(layer):
                arrays[f"state.{depth}.{part}"] = tensor.cpu().numpy().copy()
        rest = {
            "step": self.step,
            "updates": self._optimizer.updates,
            "cursor": [self._cursor.epoch, self._cursor.window],
            "scaler": self._scaler.state_dict(),
        }
        return export_weights(self.model), arrays, rest

    def pick_up(self, weights: Arrays, arrays: Arrays, rest: dict[str, Any]) -> None:
        """Take up what `lay_down` gave.

        Raises:
            CheckpointError: something is missing or has another shape.
        """
        import_weights(self.model, weights)
        try:
            _fill({tensor: arrays[name] for name, tensor in self._tensors().items()})
            self.step = int(rest["step"])
            self._optimizer.updates = int(rest["updates"])
            self._cursor = Cursor(*rest["cursor"])
            if rest["scaler"]:  # empty where the run was not on a GPU before
                self._scaler.load_state_dict(rest["scaler"])
            self._state = self._read_state(arrays)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"the saved training state does not fit: {error}") from error

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
        parts = range(len(self.model.initial_state(1)[0]))
        layers = range(self.model.config.num_layers)
        return tuple(
            tuple(torch.from_numpy(arrays[f"state.{d}.{p}"].copy()).to(self._device) for p in parts)
            for d in layers
        )


def make_model(plan: Plan, seed: int) -> CharRNN:
    """Make a network whose random start depends on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # a GPU's is left alone
        return CharRNN(plan.model)


@torch.no_grad()
def _fill(values: dict[Tensor, NDArray[np.float32]]) -> None:
    for tensor, value in values.items():
        tensor.copy_(torch.from_numpy(value))
