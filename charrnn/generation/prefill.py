"""Read a long prompt at the speed of matrix products: chunks of it side by side, made to agree.

A state forgets, so the chunks are read as a batch, each from the state before the text. Where one
ends, the next should have begun: that one is read again from there until its states meet those of
the first reading, which hold from there on: block Jacobi iteration (Song et al. 2021) that stops
early. What never meets is read one by one, so the result is that of one by one, up to rounding.

S = tokens, C = chunks, T = tokens of a chunk, R = rows (chunks) still being read.
"""

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.network import LanguageModel
from charrnn.state import State, iter_arrays, repeat_state, replace_rows, select_row, select_rows
from charrnn.text.vocab import Ids

_MAX_CHUNKS = 96  # more rows make no product faster
_MIN_CHUNKS = 32  # with fewer or shorter ones, too much is read again
_MIN_CHUNK_TOKENS = 1024
_MIN_MARK_TOKENS = 64  # tokens between two marks, where the states of rows are compared
_MAX_MARKS = 32
_MAX_ROUNDS = 3
_TOLERANCE = 3e-6  # share of 1 + |number|; it fades too, to what rounding makes by the end

_Rows = NDArray[np.intp]


def prefill(model: LanguageModel, ids: Ids, state: State) -> State:
    """Read ids (S,) after `state`; return the state after the last."""
    count = min(_MAX_CHUNKS, len(ids) // _MIN_CHUNK_TOKENS)
    if count < _MIN_CHUNKS:
        return _read_one_by_one(model, ids, state)
    rest = len(ids) % count  # read first, so that all chunks have one length
    chunks = ids[rest:].reshape(count, -1)
    return _read_chunks(model, chunks, _read_one_by_one(model, ids[:rest], state))


def _read_one_by_one(model: LanguageModel, ids: Ids, state: State) -> State:
    return reduce(lambda before, token: model.advance(token, before), ids.tolist(), state)


def _read_chunks(model: LanguageModel, chunks: Ids, state: State) -> State:
    """Read chunks (C, T), the first after `state`, each other one after the one before it."""
    marks: list[State] = []
    with np.errstate(over="ignore", invalid="ignore"):  # from a guess, states may go anywhere
        _read(model, chunks, np.arange(len(chunks)), repeat_state(state, len(chunks)), marks)
        rows = np.arange(1, len(chunks))
        for _ in range(_MAX_ROUNDS):
            changed = _read(model, chunks, rows, select_rows(marks[-1], rows - 1), marks)
            has_met = len(changed) < len(rows)
            rows = changed[changed < len(chunks) - 1] + 1  # their successors began wrongly
            if not len(rows):
                return select_row(marks[-1], -1)
            if not has_met:  # this network does not forget: further rounds would be wasted
                break
    first = int(rows[0])
    return _read_one_by_one(model, chunks[first:].ravel(), select_row(marks[-1], first - 1))


def _read(
    model: LanguageModel, chunks: Ids, rows: _Rows, states: State, marks: list[State]
) -> _Rows:
    """Read `rows` (R,) of the chunks (C, T) from these states until they meet the marks.

    marks: the states of all chunks at each mark, the last at the end. Filled where it is empty,
    else brought up to date.

    Returns the rows that reached their end without meeting it.
    """
    length = chunks.shape[1]
    stride = max(_MIN_MARK_TOKENS, -(-length // _MAX_MARKS))
    for mark, begin in enumerate(range(0, length, stride)):
        for tokens in chunks[rows, begin : begin + stride].T:
            states = model.advance_all(tokens, states)
        if mark == len(marks):  # the first reading has nothing to meet
            marks.append(states)
            continue
        is_new = ~_are_close(states, select_rows(marks[mark], rows))
        rows = rows[is_new]
        states = select_rows(states, is_new)
        marks[mark] = replace_rows(marks[mark], rows, states)
        if not len(rows):
            break
    return rows


def _are_close(states: State, others: State) -> NDArray[np.bool_]:
    """Return for each row (R,) whether every number of its state is near the other's."""
    pairs = zip(iter_arrays(states), iter_arrays(others), strict=True)
    close = [(np.abs(a - b) <= _TOLERANCE * (1 + np.abs(b))).all(1) for a, b in pairs]
    result: NDArray[np.bool_] = np.all(close, axis=0)
    return result
