"""Several processes that train one network, each on its own lanes of the text.

torchrun, or whatever else sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, starts them;
torch.distributed connects them: gloo for what is in memory, NCCL between GPUs. All make the same
update from the same sums, so that their weights stay equal, and none acts by its own clock.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from charrnn.errors import ProcessLostError
from charrnn.model.encoder import Encoder, Network
from charrnn.model.network import RecurrentLayer
from charrnn.training.world import World

_PATIENCE = timedelta(seconds=25)  # a dead process is noticed at once, a dead machine after this
_FIRST_PATIENCE = timedelta(minutes=3)  # for the others to load their modules
_LONG_PATIENCE = timedelta(hours=1)  # while the first one reads a text or writes files
_SMALLEST_BUCKET = 1 << 18  # numbers: 1 MiB, below which the fixed price of a message counts


@dataclass(frozen=True)
class Processes(World):
    """Several processes that train together, as seen by one of them.

    barrier_group: waits longer than the others. store: a key-value store of all.
    """

    barrier_group: dist.ProcessGroup | None = None
    store: Store | None = None

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, all of one type and device, by its sum over the processes."""
        if not tensors:
            return
        for tensor, total in zip(tensors, self.all_reduce_async(tensors)(), strict=True):
            tensor.copy_(total)

    def all_reduce_async(self, tensors: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
        """Begin to add up tensors, all of one type and device; return what waits for the sums.

        All processes have to begin the same sums in the same order. Sparse tensors travel one by
        one, each as its rows, which gloo alone can add up; they may become the sums themselves. At
        least one tensor is dense.
        """
        shapes = [tensor.shape for tensor in tensors if not tensor.is_sparse]
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors if not tensor.is_sparse])
        sparse = [tensor.coalesce() for tensor in tensors if tensor.is_sparse]
        with _reaching():
            works = [dist.all_reduce(each, async_op=True) for each in (flat, *sparse)]

        def wait() -> list[Tensor]:
            with _reaching():
                for work in works:
                    work.wait()
            parts = torch.split(flat, [shape.numel() for shape in shapes])
            dense_sums = map(Tensor.view, parts, shapes)
            sparse_sums = iter(sparse)
            return [next(sparse_sums if t.is_sparse else dense_sums) for t in tensors]

        return wait

    def all_gather(self, own: Tensor, count: int) -> Tensor:
        """Return all `count` rows, of which `own` (rows, N) are this process's shard."""
        whole = own.new_zeros(count, *own.shape[1:])
        whole[self.shard(count)] = own
        self.all_reduce_sum([whole])
        return whole

    def all_reduce_any(self, *wishes: bool) -> list[bool]:
        """Return for each wish whether any of the processes has it."""
        votes = torch.tensor(wishes, dtype=torch.int32)
        self.all_reduce_sum([votes])
        return [bool(vote) for vote in votes]

    def broadcast(self, value: Any) -> Any:
        """Return the JSON values that the main process passes in; the others' own are dropped."""
        # The size goes first, as a receiver has to allocate.
        written = bytearray(json.dumps(value).encode())
        size = torch.tensor([len(written)])
        with _reaching():
            dist.broadcast(size, 0)
            data = torch.zeros(int(size), dtype=torch.uint8)
            if self.is_main_process:
                data = torch.frombuffer(written, dtype=torch.uint8)
            dist.broadcast(data, 0)
        return json.loads(data.numpy().tobytes())

    def barrier(self) -> None:
        """Wait for all the others, for as long as they live: up to an hour."""
        with _reaching():
            dist.barrier(self.barrier_group)

    def should_report(self, error: Exception, *, is_common: bool = False) -> bool:
        """Return whether nobody reported an error of this kind, or, for a lost process, any error.

        is_common: all have it, so that the main process reports it.
        """
        if is_common or self.store is None:
            return self.is_main_process
        try:
            is_new = self.store.add(type(error).__name__, 1) == 1
            is_earliest = self.store.add("errors", 1) == 1
            return is_earliest or (is_new and not isinstance(error, ProcessLostError))
        except RuntimeError:  # the store died with the process or machine that kept it
            return True


def connect(local_rank: int, local_size: int, attempt: str) -> Processes:
    """Return the processes that torchrun started together, once all are there.

    attempt: which start of theirs it is.

    Raises:
        ProcessLostError: the others did not connect.
        ValueError: a variable of the environment is missing.
    """
    with _reaching():
        has_gpus = torch.cuda.is_available() and dist.is_nccl_available()
        if has_gpus:
            torch.cuda.set_device(local_rank % torch.cuda.device_count())
        store, rank, world_size = next(rendezvous("env://", timeout=_FIRST_PATIENCE))
        store = PrefixStore(attempt, store)  # torchrun keeps one store for all attempts
        store.set(f"loaded/{rank}", "")
        store.wait([f"loaded/{each}" for each in range(world_size)], _FIRST_PATIENCE)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if has_gpus else "gloo",
            store=store,
            rank=rank,
            world_size=world_size,
            timeout=_PATIENCE,
        )
        barrier_group = dist.new_group(backend="gloo", timeout=_LONG_PATIENCE)
        return Processes(rank, world_size, local_size, barrier_group, store)


def disconnect() -> None:
    """Leave the others."""
    with suppress(RuntimeError):
        dist.destroy_process_group()


@contextmanager
def _reaching() -> Iterator[None]:
    """Turn every failure to reach the others into one error."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError(
            "another process of this training has ended or cannot be reached, so this one ends too"
        ) from error


# ── bucketed all-reduce ──
# Gradients leave for the other processes during the backward pass, which ends at the bottom of a
# network: the output's are complete first, then the layers' from above. Each bucket leaves as soon
# as it is complete, always in the same order, so that all processes add up the same buckets. Our
# own hooks and not torch's DistributedDataParallel: see docs/distributed.md.

Bucket = list[nn.Parameter]


def make_buckets(model: Network) -> list[Bucket]:
    """Return the learned weights in the order in which a backward pass completes their gradients.

    Small layers go with those below. The last bucket has what is completed at the very end, as the
    embedding, which may be the output's matrix too, and what a window may not use, such as the
    initial states. A network that reads whole records has one bucket.
    """
    if isinstance(model, Encoder):  # small, and its directions are complete at the same time
        return [[weight for weight in model.parameters() if weight.requires_grad]]
    layers = reversed(list(cast(Iterable[RecurrentLayer], model.layers)))
    parts = [nn.ModuleList([model.projection, model.output]), *(layer.cell for layer in layers)]
    late = model.embedding.weight
    early = [[weight for weight in part.parameters() if weight is not late] for part in parts]
    placed = set(chain(*early))
    buckets: list[Bucket] = [[]]
    for bucket in (*early, [p for p in model.parameters() if p.requires_grad and p not in placed]):
        if sum(weight.numel() for weight in buckets[-1]) >= _SMALLEST_BUCKET:
            buckets.append([])
        buckets[-1] += bucket
    return buckets


class BucketedAllReduce:
    """Adds up the gradients of one network over the processes, bucket by bucket."""

    def __init__(self, model: Network, world: Processes) -> None:
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
