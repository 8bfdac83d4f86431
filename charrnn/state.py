"""Recurrent states as values: functions over nested tuples of arrays.

A state is a tuple of layers, a layer a tuple of arrays; deeper nesting works too. `map_state`,
`select_rows`, `select_row` and `iter_arrays` accept torch tensors as well as numpy arrays.

B = states in a batch, H = hidden size: an array is (H,) in one state, (B, H) in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""Weights, or what else training keeps, by public name."""
State = tuple[Any, ...]
"""Nested tuples of float32 arrays; of a network one entry a layer, lowest first.

A network with n-grams has one more: the keys of the last tokens (N − 1,).
"""


def map_state(change: Callable[..., Any], *states: State) -> State:
    """Return a state of `change(array, ...)`, called with the matching arrays of all states.

    >>> map_state(lambda h, grad: h + grad, ((1.0, 2.0), (3.0,)), ((10.0, 20.0), (30.0,)))
    ((11.0, 22.0), (33.0,))
    """
    return tuple(
        map_state(change, *parts) if isinstance(parts[0], tuple) else change(*parts)
        for parts in zip(*states, strict=True)  # all must have the same layers
    )


def iter_arrays(state: State) -> Iterator[Any]:
    """Yield the arrays of a state or of a batch of states, lowest layer first."""
    for part in state:
        if isinstance(part, tuple):
            yield from iter_arrays(part)
        else:
            yield part


def stack_states(states: Sequence[State]) -> State:
    """Return a batch of the states, in their order.

    >>> stack_states([(np.float32([1, 2]),), (np.float32([3, 4]),)])[0].tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    return map_state(lambda *arrays: np.stack(arrays), *states)


def concatenate_states(batches: Sequence[State]) -> State:
    """Return one batch of the states of several, in their order."""
    return map_state(lambda *arrays: np.concatenate(arrays), *batches)


def repeat_state(state: State, count: int) -> State:
    """Return a batch of `count` copies of the state."""
    return map_state(lambda array: np.repeat(array[None], count, 0), state)


def select_rows(states: State, rows: NDArray[Any] | Sequence[int] | slice) -> State:
    """Return the batch of the states at `rows`, in this order; a slice gives views."""
    return map_state(lambda array: array[rows], states)


def select_row(states: State, index: int) -> State:
    """Return one state of a batch, as views."""
    return map_state(lambda array: array[index], states)


def replace_rows(states: State, rows: NDArray[Any] | Sequence[int], others: State) -> State:
    """Return a copy of the batch with the states at `rows` replaced by `others`, in this order."""

    def replaced(array: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
        changed = array.copy()  # states are values: the batch given stays as it was
        changed[rows] = other
        return changed

    return map_state(replaced, states, others)


def copy_row(states: State, index: int, state: State) -> None:
    """Overwrite one state of a batch, in place."""
    # The one function that changes its argument: a batch of many texts is not copied for one.
    for array, row in zip(iter_arrays(states), iter_arrays(state), strict=True):
        array[index] = row
