"""States side by side are the states they were made of."""

from __future__ import annotations

import numpy as np

from charrnn.state import State, repeat_state, select_row, select_rows, stack_states

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


def test_states_put_side_by_side_come_out_as_they_were() -> None:
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
