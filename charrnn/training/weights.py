"""A network's weights and what moves with them: moments, average, and the scale of gradients.

It turns the gradients of a window into an update, at once or where the figures are; it knows
nothing of texts, windows or lanes.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.model.device import has_bf16
from charrnn.model.network import CharRNN, copy_model, public_name
from charrnn.training.deferred import Outcome, check_finite
from charrnn.training.distributed import World
from charrnn.training.lane_states import Arrays
from charrnn.training.optimizer import Optimizer, clip_gradients, update_average


class Weights:
    """The learned weights of `model`, and `averaged`: those to evaluate and to keep.

    precision: of the products in forward and backward; gradients are scaled where it is float16.
    """

    def __init__(
        self,
        model: CharRNN,
        config: TrainConfig,
        device: torch.device,
        precision: torch.dtype,
        world: World,
    ) -> None:
        self.model, self._config = model, config
        is_fast = has_bf16(device) and config.precision != "fp32"
        product = torch.bfloat16 if is_fast else torch.float32
        self.optimizer = Optimizer(model, config, product, world)
        self.averaged = copy_model(model) if config.ema_decay else model
        averages = dict(self.averaged.named_parameters())
        self._averages = [averages[name] for name in self.optimizer.names]
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)

    def move(self, nats: float, learning_rate: float, share: float) -> tuple[float, bool]:
        """Make an update, unless the nats or the gradient are not finite; use up the gradients.

        share: by which the average moves towards the weights. Gives the gradient's norm, and
        whether the step counts: it does, too, while the scaler, which skips the update itself, is
        still looking for a scale.
        """
        norm = float(self._clip())
        is_sought = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        is_made = math.isfinite(nats) and (math.isfinite(norm) or is_sought)
        if is_made:
            self.scaler.step(cast("torch.optim.Optimizer", self.optimizer), learning_rate)
        self.zero_grad()
        self.scaler.update()
        if self._config.ema_decay and is_made:
            update_average(self._averages, self.optimizer.parameters, share)
        return norm, is_made

    def move_where(self, nats: Tensor, learning_rate: Tensor, share: Tensor) -> Outcome:
        """Do what `move` does without a look at the figures: the device decides.

        `count` has to be told of the update.
        """
        outcome = check_finite(nats, self._clip(), self.scaler, self.optimizer)
        self.optimizer.step_where(outcome.is_moved, learning_rate)
        self.zero_grad()
        self.scaler.update()
        if self._config.ema_decay:
            update_average(self._averages, self.optimizer.parameters, share * outcome.is_made)
        return outcome

    def _clip(self) -> Tensor:
        """Give the norm of the gradients, at their own scale, and clip them."""
        self.scaler.unscale_(cast("torch.optim.Optimizer", self.optimizer))
        return clip_gradients(self.optimizer.parameters, self._config)

    def zero_grad(self) -> None:
        """Make way for those of the next window."""
        self.optimizer.zero_grad()

    def drop_half_a_step(self) -> None:
        """Be as before a step that broke off anywhere before its update."""
        self.zero_grad()
        before, kind = self.scaler.state_dict(), self.optimizer.parameters[0].device.type
        self.scaler = torch.amp.GradScaler(kind, enabled=self.scaler.is_enabled())
        if before:
            self.scaler.load_state_dict(before)

    @property
    def size(self) -> int:
        """How many numbers `lay_down` gives."""
        return sum(tensor.numel() for tensor in self._tensors().values())

    def state_dict(self) -> Arrays:
        """Give what moves besides the weights, by its name in a file: copies."""
        return {n: t.detach().cpu().numpy().copy() for n, t in self._tensors().items()}

    @torch.no_grad()
    def load_state_dict(self, arrays: Arrays) -> None:
        """Take up what `lay_down` gave.

        Raises:
            LookupError, RuntimeError: something is missing or has another shape.
        """
        for name, tensor in self._tensors().items():
            tensor.copy_(torch.from_numpy(arrays[name]))

    def _tensors(self) -> dict[str, Tensor]:
        kinds = self.optimizer.state()
        if self._config.ema_decay:
            kinds["average"] = dict(zip(self.optimizer.names, self._averages, strict=True))
        return {f"{k}.{public_name(n)}": t for k, each in kinds.items() for n, t in each.items()}
