"""Batches of states: what goes in comes out, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charrnn.state import (
    State,
    copy_row,
    iter_arrays,
    map_state,
    repeat_state,
    replace_rows,
    select_row,
    select_rows,
    stack_states,
)

H = 4


def make_states(count: int) -> list[State]:
    random = np.random.default_rng(1)
    return [
        ((random.normal(size=H), random.normal(size=H)), (random.normal(size=H + 1),))
        for _ in range(count)
    ]


def equal(one: State, other: State) -> bool:
    return all(
        np.array_equal(a, b)
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first, second, strict=True)
    )


def test_stacked_states_are_the_rows_of_the_batch() -> None:
    states = make_states(3)

    stacked = stack_states(states)

    assert stacked[0][1].shape == (3, H)
    assert all(equal(select_row(stacked, i), state) for i, state in enumerate(states))


def test_rows_are_picked_in_order() -> None:
    states = make_states(3)

    assert equal(select_rows(stack_states(states), [2, 0]), stack_states([states[2], states[0]]))


def test_a_state_is_repeated() -> None:
    (state,) = make_states(1)

    assert equal(repeat_state(state, 3), stack_states([state] * 3))


def test_rows_are_replaced_in_a_copy_and_copied_in_place() -> None:
    states = make_states(3)
    batch = stack_states(states[:2])

    assert equal(select_row(replace_rows(batch, [1], stack_states(states[2:])), 1), states[2])
    assert equal(batch, stack_states(states[:2]))
    copy_row(batch, 0, states[2])
    assert equal(batch, stack_states([states[2], states[1]]))


def test_torch_states_are_mapped_and_selected_like_numpy_ones() -> None:
    (state,) = make_states(1)
    tensors = map_state(torch.from_numpy, state)

    doubled = map_state(torch.add, tensors, tensors)

    assert equal(map_state(torch.Tensor.numpy, doubled), map_state(lambda array: 2 * array, state))
    kept = select_rows(tensors, slice(0, 2))
    assert [len(part) for part in iter_arrays(kept)] == [2, 2, 2]


def test_states_of_different_depths_are_refused() -> None:
    (state,) = make_states(1)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        map_state(lambda *_: None, state, state[:1])
