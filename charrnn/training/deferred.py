"""Steps whose outcome is decided on the device that makes them, and read back later, in batches.

To read a number back is to wait until a GPU has done all that was asked of it, while it could be
given the next step. So whether a step counts is a tensor here, every operation takes the same
shapes whatever it says, and what the host has to tell comes in tensors that stay, which is also
what it takes to record a step as a CUDA graph. It knows nothing of networks or texts.

B = lanes, T = window length, H = hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from charrnn.model.network import State

_MOST_UNREAD = 32  # steps


@dataclass(frozen=True)
class StepResult:
    """One step: the window's total nats, the gradient's norm, and the window's characters.

    is_made: false where loss or gradient were not finite, so that no weight was moved. slices: the
    parts that the window was read in. unrecorded: why steps are no longer recorded, where it was
    this one that could not be.
    """

    nats: float
    norm: float
    chars: int
    is_made: bool
    micro_batches: int
    unrecorded: str = ""


@dataclass(frozen=True)
class StaticBuffers:
    """Tensors that stay, by which a step hears from the host and in which it leaves what it made.

    The host fills inputs and targets (B, T) int64, the learning rate, and the average's share. The
    step leaves the state after it, (B, H) for each layer and part, which the next one may start
    from, and four figures (Outcome).
    """

    inputs: Tensor
    targets: Tensor
    learning_rate: Tensor
    share: Tensor
    state: State
    figures: Tensor

    @staticmethod
    def like(state: State, seq_len: int) -> StaticBuffers:
        """Give slots for windows of as many lanes as `state` has."""
        first = state[0][0]
        window = torch.zeros(len(first), seq_len, dtype=torch.int64, device=first.device)
        return StaticBuffers(
            inputs=window,
            targets=window.clone(),
            learning_rate=first.new_zeros(()),
            share=first.new_zeros(()),
            state=tuple(tuple(part.detach().clone() for part in layer) for layer in state),
            figures=first.new_zeros(4),
        )

    def fill(self, inputs: Tensor, targets: Tensor, learning_rate: float, share: float) -> None:
        """Tell the next step what it needs to know."""
        self.inputs.copy_(inputs)
        self.targets.copy_(targets)
        self.learning_rate.fill_(learning_rate)
        self.share.fill_(share)


@dataclass(frozen=True)
class Outcome:
    """What an update will say, as scalars on the device.

    is_moved: whether weights move. is_made is true of a step, too, that moves none because the
    gradient scaler is still looking for a scale.
    """

    nats: Tensor
    norm: Tensor
    is_made: Tensor
    is_moved: Tensor

    def figures(self) -> Tensor:
        """Give all four as one tensor (4,)."""
        return torch.stack((self.nats, self.norm, self.is_made.float(), self.is_moved.float()))


def check_finite(
    nats: Tensor, norm: Tensor, scaler: torch.amp.GradScaler, optimizer: object
) -> Outcome:
    """Tell what a step comes to, once its gradients were unscaled and clipped."""
    is_sound = norm.isfinite()
    is_made, is_moved = nats.isfinite() & is_sound, nats.isfinite() & is_sound
    if scaler.is_enabled():
        scale, found = scaler._get_scale_async(), scaler._found_inf_per_device(optimizer)  # type: ignore[arg-type]
        assert scale is not None
        is_made = nats.isfinite() & (is_sound | (scale > 1))
        for each in found.values():
            is_moved = is_moved & (each == 0)
    return Outcome(nats, norm, is_made, is_moved)


class PendingResults:
    """The outcomes that nobody has looked at yet.

    A batch of them is read at once: 32, and fewer at the beginning and after a step that moved
    nothing, so that what goes wrong in a row is soon seen.
    """

    def __init__(self) -> None:
        self._outcomes: list[tuple[Tensor, int, int, str]] = []
        self._most = 1

    @property
    def is_full(self) -> bool:
        """Whether it is time to read."""
        return len(self._outcomes) >= self._most

    def add(self, figures: Tensor, chars: int, micro_batches: int, unrecorded: str = "") -> None:
        """Keep a step's four figures, with what the host knows of it."""
        self._outcomes.append((figures.clone(), chars, micro_batches, unrecorded))

    def read(self) -> tuple[list[StepResult], int]:
        """Give the updates, oldest first, and how many of them moved no weight; forget them."""
        if not self._outcomes:
            return [], 0
        figures, *known = zip(*self._outcomes, strict=True)
        self._outcomes = []
        rows = torch.stack(figures).tolist()  # waits for the device
        unmoved = sum(not is_moved for *_, is_moved in rows)
        self._most = 1 if unmoved else min(2 * self._most, _MOST_UNREAD)
        return [
            StepResult(nats, norm, chars, bool(is_made), micro_batches, unrecorded)
            for (nats, norm, is_made, _), chars, micro_batches, unrecorded in zip(
                rows, *known, strict=True
            )
        ], unmoved

    def forget(self) -> None:
        """Drop what was not read: the run goes back to before it."""
        self._outcomes, self._most = [], 1
