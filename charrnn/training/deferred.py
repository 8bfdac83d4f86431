"""Steps whose outcome is decided on the device that makes them, and read back later, in batches.

To read a number back is to wait until a GPU has done all that was asked of it, while it could be
given the next step. So whether a step counts is a tensor here, every operation takes the same
shapes whatever it says, and nothing in `judge` or `carry` leaves the device, which is also what it
takes to record a step as a CUDA graph. It knows nothing of networks or texts.

B = lanes, H = hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from charrnn.model.network import State

_MOST_UNREAD = 32  # steps


@dataclass(frozen=True)
class Update:
    """One step: the window's total nats, the gradient's norm, and the window's characters.

    is_made: false where loss or gradient were not finite, so that no weight was moved. slices: the
    parts that the window was read in.
    """

    nats: float
    norm: float
    chars: int
    is_made: bool
    slices: int


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


def judge(nats: Tensor, norm: Tensor, scaler: torch.amp.GradScaler, optimizer: object) -> Outcome:
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


@torch.no_grad()
def carry(state: State, initial: State, is_made: Tensor) -> State:
    """Give the state that the next window starts from: (B, H) for each layer and part.

    That is `initial` where the step was not made, or left anything that is not finite.
    """
    parts = [part for layer in state for part in layer]
    is_carried = is_made & torch.stack([part.isfinite().all() for part in parts]).all()
    return tuple(
        tuple(torch.where(is_carried, part, start) for part, start in zip(*layers, strict=True))
        for layers in zip(state, initial, strict=True)
    )


class Unread:
    """The outcomes that nobody has looked at yet.

    A batch of them is read at once: 32, and fewer at the beginning and after a step that moved
    nothing, so that what goes wrong in a row is soon seen.
    """

    def __init__(self) -> None:
        self._outcomes: list[tuple[Tensor, int, int]] = []
        self._most = 1

    @property
    def is_full(self) -> bool:
        """Whether it is time to read."""
        return len(self._outcomes) >= self._most

    def add(self, outcome: Outcome, chars: int, slices: int) -> None:
        """Keep a step's outcome, with what the host knows of it."""
        figures = outcome.nats, outcome.norm, outcome.is_made.float(), outcome.is_moved.float()
        self._outcomes.append((torch.stack(figures), chars, slices))

    def read(self) -> tuple[list[Update], int]:
        """Give the updates, oldest first, and how many of them moved no weight; forget them."""
        if not self._outcomes:
            return [], 0
        figures, *known = zip(*self._outcomes, strict=True)
        self._outcomes = []
        rows = torch.stack(figures).tolist()  # waits for the device
        unmoved = sum(not is_moved for *_, is_moved in rows)
        self._most = 1 if unmoved else min(2 * self._most, _MOST_UNREAD)
        return [
            Update(nats, norm, chars, bool(is_made), slices)
            for (nats, norm, is_made, _), chars, slices in zip(rows, *known, strict=True)
        ], unmoved

    def forget(self) -> None:
        """Drop what was not read: the run goes back to before it."""
        self._outcomes, self._most = [], 1
