"""The processes that train together: usually one, alone; `Processes` of distributed.py are several.

Nothing here loads torch, so that a text is read before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class World:
    """The processes that train together, as seen by the one with this `rank`, counted from 0.

    Here it is the only one; `Processes` of distributed.py are several. local_size: how many of them
    this machine runs.
    """

    rank: int = 0
    world_size: int = 1
    local_size: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this process is the one that writes files and shows how it goes."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """Return this process's part of `count` rows: contiguous, and equal to within one.

        >>> World(rank=1, world_size=2).shard(5)
        slice(2, 5, None)
        """
        first = self.rank * count // self.world_size
        return slice(first, (self.rank + 1) * count // self.world_size)

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, all of one type and device, by its sum over the processes."""

    def all_gather(self, own: Tensor, count: int) -> Tensor:
        """Return all `count` rows, of which `own` (rows, N) are this process's shard."""
        del count
        return own

    def all_reduce_any(self, *wishes: bool) -> list[bool]:
        """Return for each wish whether any of the processes has it."""
        return list(wishes)

    def broadcast(self, value: Any) -> Any:
        """Return the JSON values that the main process passes in; the others' own are dropped."""
        return value

    def barrier(self) -> None:
        """Wait for all the others, for as long as they live: up to an hour."""

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Let the main process through the block, then the others; leave it together."""
        if not self.is_main_process:
            self.barrier()
        yield
        if self.is_main_process:
            self.barrier()
        self.barrier()

    def should_report(self, error: Exception, *, is_common: bool = False) -> bool:
        """Return whether nobody reported an error of this kind, or, for a lost process, any error.

        is_common: all have it, so that the main process reports it.
        """
        del error, is_common
        return True


SINGLE_PROCESS = World()
"""The only process of a run."""
