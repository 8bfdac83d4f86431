"""The states of the lanes between windows: some lanes', whole or lost, and as a file's arrays.

It knows nothing of steps or weights. A state holds (B, H) for each layer and part.

B = lanes, H = hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.model.network import State
from charrnn.training.distributed import World

Arrays = dict[str, NDArray[Any]]


def rows_of(state: State | None, rows: slice) -> State | None:
    """Give some lanes' state."""
    return state and tuple(tuple(part[rows] for part in layer) for layer in state)


def join(states: list[State]) -> State:
    """Give the state of all lanes from that of each slice."""
    if len(states) == 1:
        return states[0]
    layers = zip(*states, strict=True)
    return tuple(tuple(map(torch.cat, zip(*parts, strict=True))) for parts in layers)


def is_lost(state: State) -> Tensor:
    """Tell whether any number in it is not finite, as a scalar bool on its device."""
    parts = [part.isfinite().all() for layer in state for part in layer]
    return torch.stack(parts).all().logical_not()


@torch.no_grad()
def put(state: State, where: State) -> None:
    """Write a state into the tensors of another."""
    for parts, places in zip(state, where, strict=True):
        for part, place in zip(parts, places, strict=True):
            place.copy_(part)


@torch.no_grad()
def choose(is_first: Tensor, first: State, second: State) -> State:
    """Give the first state where the scalar bool is true, else the second."""
    return tuple(
        tuple(torch.where(is_first, one, other) for one, other in zip(*layers, strict=True))
        for layers in zip(first, second, strict=True)
    )


def export_state(state: State | None, world: World, batch_size: int) -> Arrays:
    """Give the state of all processes' lanes as arrays by name; nothing where there is none."""
    arrays: Arrays = {}
    for depth, layer in enumerate(state or ()):
        for part, tensor in enumerate(layer):
            lanes = world.all_gather(tensor, batch_size)
            arrays[f"state.{depth}.{part}"] = lanes.cpu().numpy().copy()
    return arrays


def import_state(arrays: Arrays, like: State) -> State | None:
    """Give the state that `export_state` made arrays of, in memory; None where there was none.

    like: a state of as many lanes.

    Raises:
        LookupError: a part is missing.
        ValueError: a part has another shape or type.
    """
    if "state.0.0" not in arrays:
        return None
    state = tuple(
        tuple(torch.from_numpy(arrays[f"state.{d}.{p}"]).clone() for p in range(len(parts)))
        for d, parts in enumerate(like)
    )
    for layer, zeros in zip(state, like, strict=True):
        for part, zero in zip(layer, zeros, strict=True):
            if part.shape != zero.shape or part.dtype != zero.dtype:
                raise ValueError(f"a lane state is {tuple(part.shape)}, not {tuple(zero.shape)}")
    return state
