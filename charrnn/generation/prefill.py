"""Read a long prompt at the speed of matrix products: chunks of it side by side, made to agree.

A prompt is cut into blocks at fixed places, whatever its length, and the rest, which makes no
block, is read one by one. So the state after a text is also the one from which a longer text is
read, bit for bit, unless a larger block reaches over it: `block_ends` has these places.

A state forgets, so the chunks of a block are read as a batch, each from the state before the block.
Where one ends, the next should have begun: that one is read again from there until its states meet
those of the first reading, which hold from there on: block Jacobi iteration (Song et al. 2021) that
stops early. What never meets is read one by one, so the result is that of one by one, up to
rounding.

S = tokens, C = chunks, T = tokens of a chunk, R = rows (chunks) still being read.
"""

from collections import deque
from collections.abc import Generator, Iterator
from functools import reduce
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.network import LanguageModel
from charrnn.state import State, iter_arrays, repeat_state, replace_rows, select_row, select_rows
from charrnn.text.vocab import Ids

_MAX_CHUNKS = 96  # more rows make no product faster
_MIN_CHUNKS = 32  # with fewer or shorter ones, too much is read again
_CHUNK_TOKENS = 1024
_AT_ONCE = 64  # tokens that are read one by one between two yields: about 1 ms
_MIN_MARK_TOKENS = 64  # tokens between two marks, where the states of rows are compared
_MAX_MARKS = 32
_MAX_ROUNDS = 3
_TOLERANCE = 3e-6  # share of 1 + |number|; it fades too, to what rounding makes by the end

_ignoring_overflow = np.errstate(over="ignore", invalid="ignore")

_Rows = NDArray[np.intp]
Result = TypeVar("Result")
Reading = Generator[None, None, Result]  # yields after each product, and returns its result


def prefill(model: LanguageModel, ids: Ids, state: State) -> State:
    """Read ids (S,) after `state`; return the state after the last."""
    last = deque(iter_prefill(model, ids, state), maxlen=1)
    return (last[0][1] or state) if last else state


def iter_prefill(
    model: LanguageModel, ids: Ids, state: State, begin: int = 0
) -> Iterator[tuple[int, State | None]]:
    """Read ids (S,) from `begin` on, in steps of a few milliseconds, as `prefill` reads them.

    state: after the first `begin` ids, one of the places that the reading comes through.

    Yields how many ids were read, and the state after them, None inside a block; the last is the
    state after all.
    """
    for end in block_ends(len(ids)):
        if end <= begin:
            continue
        reading = _read_chunks(model, ids[begin:end].reshape(-1, _CHUNK_TOKENS), state)
        while True:
            try:
                next(reading)
            except StopIteration as result:
                state = result.value
                break
            yield begin, None
        begin = end
        yield end, state
    while begin < len(ids):
        end = begin + _AT_ONCE - begin % _AT_ONCE  # at places that all texts share
        some = ids[begin:end]
        state = _read_one_by_one(model, some, state)
        begin += len(some)
        yield begin, state


def block_ends(count: int) -> list[int]:
    """Return where the blocks of a text of `count` ids end, those that are read in chunks."""
    ends = [0]
    for chunks in (_MAX_CHUNKS, _MIN_CHUNKS):
        while count - ends[-1] >= chunks * _CHUNK_TOKENS:
            ends.append(ends[-1] + chunks * _CHUNK_TOKENS)
    return ends[1:]


def _read_one_by_one(model: LanguageModel, ids: Ids, state: State) -> State:
    return reduce(lambda before, token: model.advance(token, before), ids.tolist(), state)


def _read_chunks(model: LanguageModel, chunks: Ids, state: State) -> Reading[State]:
    """Read chunks (C, T), the first after `state`, each other one after the one before it."""
    marks: list[State] = []
    yield from _read(model, chunks, np.arange(len(chunks)), repeat_state(state, len(chunks)), marks)
    rows = np.arange(1, len(chunks))
    for _ in range(_MAX_ROUNDS):
        before = select_rows(marks[-1], rows - 1)
        changed = yield from _read(model, chunks, rows, before, marks)
        has_met = len(changed) < len(rows)
        rows = changed[changed < len(chunks) - 1] + 1  # their successors began wrongly
        if not len(rows):
            return select_row(marks[-1], -1)
        if not has_met:  # this network does not forget: further rounds would be wasted
            break
    first = int(rows[0])
    state = select_row(marks[-1], first - 1)
    for some in chunks[first:].reshape(-1, _AT_ONCE):
        state = _read_one_by_one(model, some, state)
        yield
    return state


def _read(
    model: LanguageModel, chunks: Ids, rows: _Rows, states: State, marks: list[State]
) -> Reading[_Rows]:
    """Read `rows` (R,) of the chunks (C, T) from these states until they meet the marks.

    marks: the states of all chunks at each mark, the last at the end. Filled where it is empty,
    else brought up to date.

    Returns the rows that reached their end without meeting it.
    """
    length = chunks.shape[1]
    stride = max(_MIN_MARK_TOKENS, -(-length // _MAX_MARKS))
    for mark, begin in enumerate(range(0, length, stride)):
        for tokens in chunks[rows, begin : begin + stride].T:
            states = _advance_all(model, tokens, states)
            yield
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


@_ignoring_overflow  # from a guess, states may go anywhere
def _advance_all(model: LanguageModel, tokens: Ids, states: State) -> State:
    return model.advance_all(tokens, states)


@_ignoring_overflow
def _are_close(states: State, others: State) -> NDArray[np.bool_]:
    """Return for each row (R,) whether every number of its state is near the other's."""
    pairs = zip(iter_arrays(states), iter_arrays(others), strict=True)
    close = [(np.abs(a - b) <= _TOLERANCE * (1 + np.abs(b))).all(1) for a, b in pairs]
    result: NDArray[np.bool_] = np.all(close, axis=0)
    return result
