"""A long text read at the speed of matrix products: its parts side by side, then made to agree.

A recurrence reads one id after another, but what it read long ago fades from its state. So a text
is cut into chunks that are read together as the rows of one product, each from the state before the
text. Where a chunk ends shows where the next should have begun; from there that one is read again
until it meets what it read before, which stands from there on. This is block Jacobi iteration (Song
et al. 2021) that stops early. What never meets is read one by one at last, so that the state is
always that of reading one by one, up to the rounding of float32.

S = tokens, C = chunks, T = tokens of a chunk, R = rows (chunks) still read.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.language_model import LanguageModel
from charrnn.state import State, iter_arrays, repeat_state, replace_rows, select_row, select_rows
from charrnn.text.vocab import Ids

_MOST_CHUNKS = 96  # more rows make no product faster
_FEWEST_CHUNKS = 32  # of fewer, or shorter ones, too much is read again
_SHORTEST_CHUNK = 1024
_CLOSEST_MARKS = 64  # tokens between two places at which rows are compared
_MOST_MARKS = 32
_MOST_ROUNDS = 3
_TOLERANCE = 3e-6  # of 1 + the number itself; it fades too, to what rounding makes by the end

_Rows = NDArray[np.intp]


def prefill(runtime: LanguageModel, ids: Ids, state: State) -> State:
    """Read ids (S,) after `state`; give the state after the last."""
    count = min(_MOST_CHUNKS, len(ids) // _SHORTEST_CHUNK)
    if count < _FEWEST_CHUNKS:
        return _read_one_by_one(runtime, ids, state)
    rest = len(ids) % count
    chunks = ids[rest:].reshape(count, -1)
    return _read_chunks(runtime, chunks, _read_one_by_one(runtime, ids[:rest], state))


def _read_one_by_one(runtime: LanguageModel, ids: Ids, state: State) -> State:
    return reduce(lambda before, token: runtime.advance(token, before), ids.tolist(), state)


def _read_chunks(runtime: LanguageModel, chunks: Ids, state: State) -> State:
    """Read chunks (C, T), the first after `state`, each other one after the one before it."""
    trail: list[State] = []
    with np.errstate(over="ignore", invalid="ignore"):  # from a guess, states may go anywhere
        _read(runtime, chunks, np.arange(len(chunks)), repeat_state(state, len(chunks)), trail)
        rows = np.arange(1, len(chunks))
        for _ in range(_MOST_ROUNDS):
            changed = _read(runtime, chunks, rows, select_rows(trail[-1], rows - 1), trail)
            has_met = len(changed) < len(rows)
            rows = changed[changed < len(chunks) - 1] + 1
            if not len(rows):
                return select_row(trail[-1], -1)
            if not has_met:
                break
    first = int(rows[0])
    return _read_one_by_one(runtime, chunks[first:].ravel(), select_row(trail[-1], first - 1))


def _read(
    runtime: LanguageModel, chunks: Ids, rows: _Rows, states: State, trail: list[State]
) -> _Rows:
    """Read `rows` (R,) of the chunks (C, T) from these states until they meet the trail.

    trail: the states of all chunks at each mark, the last of which is the end. It is made where it
    is empty, else brought up to date.

    Returns the rows that came to their end without having met it.
    """
    length = chunks.shape[1]
    stride = max(_CLOSEST_MARKS, -(-length // _MOST_MARKS))
    for mark, begin in enumerate(range(0, length, stride)):
        for tokens in chunks[rows, begin : begin + stride].T:
            states = runtime.advance_all(tokens, states)
        if mark == len(trail):
            trail.append(states)
            continue
        is_new = ~_are_close(states, select_rows(trail[mark], rows))
        rows, states = rows[is_new], select_rows(states, is_new)
        trail[mark] = replace_rows(trail[mark], rows, states)
        if not len(rows):
            break
    return rows


def _are_close(states: State, others: State) -> NDArray[np.bool_]:
    """Tell of each row (R,) whether every number of its state is the other's."""
    pairs = zip(iter_arrays(states), iter_arrays(others), strict=True)
    close = [
        (np.abs(one - other) <= _TOLERANCE * (1 + np.abs(other))).all(1) for one, other in pairs
    ]
    result: NDArray[np.bool_] = np.all(close, axis=0)
    return result
