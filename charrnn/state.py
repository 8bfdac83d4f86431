"""States as values: one for each of many texts, side by side or each by itself.

A state is a tuple of layers, a layer a tuple of arrays; what holds for these holds for deeper
nesting too.

B = states side by side, H = hidden size: an array is (H,) in one state, (B, H) in several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

State = tuple[Any, ...]
"""Nested tuples of float32 arrays; of a network one entry a layer, lowest first."""


def stack_states(states: Sequence[State]) -> State:
    """Put states side by side."""
    return _zip_map(lambda *arrays: np.stack(arrays), *states)


def repeat_state(state: State, count: int) -> State:
    """Put a state `count` times beside itself."""
    return _zip_map(lambda array: np.repeat(array[None], count, 0), state)


def select_rows(states: State, rows: NDArray[Any] | Sequence[int] | slice) -> State:
    """Give some of several states, side by side in the order of `rows`."""
    return _zip_map(lambda array: array[rows], states)


def select_row(states: State, index: int) -> State:
    """Give one of several states."""
    return _zip_map(lambda array: array[index], states)


def replace_rows(states: State, rows: NDArray[Any] | Sequence[int], others: State) -> State:
    """Give the states with those at `rows` replaced by `others`, in this order."""

    def put(array: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        changed = array.copy()
        changed[rows] = other
        return changed

    return _zip_map(put, states, others)


def iter_arrays(state: State) -> Iterator[NDArray[Any]]:
    """Yield the arrays of a state, or of several side by side, in their order."""
    for part in state:
        if isinstance(part, tuple):
            yield from iter_arrays(part)
        else:
            yield part


def copy_row(states: State, index: int, state: State) -> None:
    """Write one state over another of several, in place."""

    def put(array: NDArray[Any], row: NDArray[Any]) -> None:
        array[index] = row

    _zip_map(put, states, state)


def _zip_map(change: Callable[..., Any], *states: State) -> State:
    return tuple(
        _zip_map(change, *parts) if isinstance(parts[0], tuple) else change(*parts)
        for parts in zip(*states, strict=True)
    )
