"""Bucketed all-reduce: gradients leave for the other processes during the backward pass.

A backward pass ends at the bottom of a network: the output's gradients are complete first, then the
layers from above. Each bucket leaves as soon as it is complete, always in the same order, so that
all processes add up the same buckets. Our own hooks and not torch's DistributedDataParallel: see
docs/distributed.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import cast

from torch import Tensor, nn

from charrnn.model.network import CharRNN, RecurrentLayer
from charrnn.training.distributed import World

Bucket = list[nn.Parameter]

_SMALLEST = 1 << 18  # numbers: 1 MiB, below which the fixed price of a message counts


def make_buckets(model: CharRNN) -> list[Bucket]:
    """Return the learned weights in the order in which a backward pass completes their gradients.

    Small layers go with those below. The last bucket has what is completed at the very end, as the
    embedding, which may be the output's matrix too, and what a window need not use, as the initial
    states.
    """
    layers = reversed(list(cast(Iterable[RecurrentLayer], model.layers)))
    parts = [nn.ModuleList([model.projection, model.output]), *(layer.cell for layer in layers)]
    late = model.embedding.weight
    early = [[weight for weight in part.parameters() if weight is not late] for part in parts]
    placed = set(chain(*early))
    buckets: list[Bucket] = [[]]
    for bucket in (*early, [p for p in model.parameters() if p.requires_grad and p not in placed]):
        if sum(weight.numel() for weight in buckets[-1]) >= _SMALLEST:
            buckets.append([])
        buckets[-1] += bucket
    return buckets


class BucketedAllReduce:
    """Adds up the gradients of one network over the processes, bucket by bucket."""

    def __init__(self, model: CharRNN, world: World) -> None:
        self._world = world
        self._buckets = make_buckets(model)
        self._sent: list[tuple[Bucket, Callable[[], list[Tensor]]]] = []
        self._complete: set[Tensor] | None = None  # None: nothing leaves during this pass
        for parameter in chain(*self._buckets[:-1]):
            parameter.register_post_accumulate_grad_hook(self._note)  # type: ignore[no-untyped-call]

    def begin_backward(self, *, is_last: bool) -> None:
        """Expect a backward pass; in the last one of a window, buckets leave once complete.

        Where memory runs short in that pass and the window is read again, sent buckets stay sent:
        they were complete.
        """
        self._complete = set() if is_last else None

    def finish(self, figures: Tensor) -> Tensor:
        """Make every gradient its sum over the processes; return the sums of `figures` (N,)."""
        while len(self._sent) < len(self._buckets) - 1:
            self._send_next()
        self._send_next(figures)
        for bucket, wait in self._sent:
            sums = wait()
            for parameter, total in zip(bucket, sums, strict=False):  # the figures come last
                parameter.grad = total
        self._sent = []
        self._complete = None
        return sums[-1]

    def _note(self, parameter: Tensor) -> None:
        """Send the buckets that this gradient completes."""
        if self._complete is None:
            return
        self._complete.add(parameter)
        while self._complete.issuperset(self._buckets[len(self._sent)]):
            self._send_next()

    def _send_next(self, *figures: Tensor) -> None:
        """Send the next bucket, as far as it has gradients, and drop those here."""
        grads = {p: p.grad for p in self._buckets[len(self._sent)] if p.grad is not None}
        wait = self._world.all_reduce_async([*grads.values(), *figures])
        self._sent.append((list(grads), wait))
        for parameter in grads:
            parameter.grad = None
