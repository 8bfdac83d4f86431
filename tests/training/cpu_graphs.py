"""A stand-in for CUDA graphs on a CPU: it records operations as a CUDA graph records kernels.

A replay repeats the operations alone, on the tensors and with the numbers that they had: whatever
the host would decide anew stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKING = {"_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2"}
"""Operations in which a host waits for its device."""
TELLING = {"lift_fresh", "lift", "_pin_memory"}
"""Those that make a tensor of what the host has."""
READING = {"tolist", "numpy", "__array__", "cpu"}
"""Methods that read a CPU's tensor without any operation."""


class CpuGraphs:
    """Stands in for CudaGraphs; `replays` counts what was done again."""

    def __init__(self, _: torch.device, generator: torch.Generator | None = None) -> None:
        self._generator = generator or torch.Generator()
        self.replays = 0

    def warm_up(self, action: Callable[[], None]) -> None:
        """Run it."""
        action()

    def capture(self, action: Callable[[], None]) -> Callable[[], None]:
        """Return what replays the operations of an action; leave all as it was before."""
        drawn = self._generator.get_state()
        recording = Recording()
        try:
            with NoReading(), recording:
                action()
        finally:
            recording.undo()
            self._generator.set_state(drawn)

        def replay() -> None:
            self.replays += 1
            recording.replay()

        return replay


class Recording(TorchDispatchMode):
    """Keeps each operation with its operands and results, and what it wrote over."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, Any, bool]] = []
        self._before: dict[int, tuple[Tensor, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func._schema.name.removeprefix("aten::"), kwargs or {}
        refuse(name, ASKING | TELLING)
        for tensor in written(func, args, kwargs):
            storage = tensor.untyped_storage()
            self._before.setdefault(storage.data_ptr(), (tensor, storage.clone()))
        out = func(*args, **kwargs)
        self._calls.append((func, args, kwargs, out, torch.is_grad_enabled()))
        return out

    @torch.no_grad()
    def undo(self) -> None:
        """Put back what was written over."""
        for tensor, storage in self._before.values():
            tensor.untyped_storage().copy_(storage)

    def replay(self) -> None:
        """Repeat all operations; their results go where they went the first time."""
        for func, args, kwargs, out, has_grad in self._calls:
            with torch._C._AutoDispatchBelowAutograd(), torch.set_grad_enabled(has_grad):
                self._repeat(func, args, kwargs, out)

    def _repeat(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        fresh = func(*args, **kwargs)
        for place, made in zip(tree_leaves(out), tree_leaves(fresh), strict=True):
            if isinstance(place, Tensor) and not is_same(place, made):
                place.copy_(made)


class NoReading(TorchFunctionMode):
    """Refuses the methods that read a tensor's memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        refuse(getattr(func, "__name__", ""), READING)
        return func(*args, **(kwargs or {}))


def refuse(name: str, among: set[str]) -> None:
    """Raise what a CUDA graph would be spoiled by."""
    if name in among:
        raise RuntimeError(f"{name} is not permitted during capture")


def is_same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors lie in the same memory."""
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def written(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """Yield the operands that an operation writes to."""
    for place, argument in enumerate(func._schema.arguments):
        given = args[place] if place < len(args) else kwargs.get(argument.name)
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from (leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor))
