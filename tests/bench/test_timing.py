"""Things are timed in turn, long enough and often enough."""

from __future__ import annotations

import itertools

import pytest

from charrnn.bench.speeds import median_ratio, time_alternating


def test_measurements_take_turns_and_keep_their_own_results() -> None:
    counter = itertools.count(1.0)
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return next(counter)

    results = time_alternating([lambda: measure("a"), lambda: measure("b")], rounds=3)

    assert order == ["a", "b", "a", "b", "a", "b"]
    assert results == [[1, 3, 5], [2, 4, 6]]


@pytest.mark.parametrize(("rounds", "made"), [(2, 5), (7, 7)])
def test_rounds_go_on_until_both_number_and_time_are_reached(
    rounds: int, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def take_a_second() -> float:
        clock[0] += 1
        return clock[0]

    assert len(time_alternating([take_a_second], rounds=rounds, seconds=5.0)[0]) == made


def test_a_ratio_is_of_the_same_round() -> None:
    drifting, twice_as_long = [1.0, 10.0, 100.0], [2.0, 20.0, 200.0]

    assert median_ratio(drifting, twice_as_long) == 0.5
    assert median_ratio([1.0, 9.0, 4.0], [1.0, 1.0, 1.0]) == 4.0
