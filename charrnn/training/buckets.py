"""Gradients that travel to the other processes while those of lower layers are being computed.

A backward pass ends at the bottom of a network: what belongs to the output is whole first, then the
layers from above. Each block leaves as soon as it is whole, always in the same order, so that all
processes add up the same blocks. It knows nothing of lanes, slices or updates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import cast

from torch import Tensor, nn

from charrnn.model.layers import RecurrentLayer
from charrnn.model.network import CharRNN
from charrnn.training.distributed import World

Bucket = list[nn.Parameter]

_LEAST_NUMBERS = 1 << 18  # a block: 1 MiB, as below it what a message costs anyway counts


def make_buckets(model: CharRNN) -> list[Bucket]:
    """Give the learned weights in the order in which a backward pass is done with them.

    Small layers go with those below. The last block has what is done at the very end, as the
    embedding, which may be the output's matrix too, and what a window need not use, as the initial
    states.
    """
    layers = reversed(list(cast(Iterable[RecurrentLayer], model.layers)))
    parts = [nn.ModuleList([model.projection, model.output]), *(layer.cell for layer in layers)]
    late = model.embedding.weight
    early = [[weight for weight in part.parameters() if weight is not late] for part in parts]
    placed = set(chain(*early))
    blocks: list[Bucket] = [[]]
    for block in (*early, [p for p in model.parameters() if p.requires_grad and p not in placed]):
        if sum(weight.numel() for weight in blocks[-1]) >= _LEAST_NUMBERS:
            blocks.append([])
        blocks[-1] += block
    return blocks


class BucketedAllReduce:
    """The gradients of one network on their way to the other processes, and back as sums.

    Of a process that is alone, nothing travels.
    """

    def __init__(self, model: CharRNN, world: World) -> None:
        self._peers = world
        self._blocks = make_buckets(model)
        self._away: list[tuple[Bucket, Callable[[], list[Tensor]]]] = []
        self._whole: set[Tensor] | None = None
        if world.world_size > 1:
            for parameter in chain(*self._blocks[:-1]):
                parameter.register_post_accumulate_grad_hook(self._note)  # type: ignore[no-untyped-call]

    def begin_pass(self, *, is_last: bool) -> None:
        """Expect a backward pass; in the last one of a window, each block leaves once it is whole.

        Where memory runs short in that pass and the window is read again, what is away stays away:
        it was whole.
        """
        self._whole = set() if is_last else None

    def bring_back(self, figures: Tensor) -> Tensor:
        """Make every gradient its sum over the processes; give the sums of `figures` (N,)."""
        if self._peers.world_size == 1:
            return figures
        while len(self._away) < len(self._blocks) - 1:
            self._send_next()
        self._send_next(figures)
        for block, wait in self._away:
            sums = wait()
            for parameter, total in zip(block, sums, strict=False):  # the figures come last
                parameter.grad = total
        self._away, self._whole = [], None
        return sums[-1]

    def _note(self, parameter: Tensor) -> None:
        """Send off what this gradient was the last of."""
        if self._whole is None:
            return
        self._whole.add(parameter)
        while self._whole.issuperset(self._blocks[len(self._away)]):
            self._send_next()

    def _send_next(self, *figures: Tensor) -> None:
        """Send off the next block, or what there is of it, and forget it here."""
        grads = {p: p.grad for p in self._blocks[len(self._away)] if p.grad is not None}
        self._away.append((list(grads), self._peers.all_reduce_async([*grads.values(), *figures])))
        for parameter in grads:
            parameter.grad = None
