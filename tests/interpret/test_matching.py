"""Selection and match against brute force on random bits, and on stretches made by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charrnn.interpret.matching import Bits, Match, find_matches, select_units, units_on


def through(on: Bits, start: int, stop: int, is_bounded: bool) -> set[int]:
    """Return the units that are on through a stretch, one by one."""
    places, units = on.shape
    found = set()
    for unit in range(units):
        is_on = all(on[place, unit] for place in range(start, stop))
        for beside in (start - 1, stop):
            if is_bounded and 0 <= beside < places:
                is_on = is_on and not on[beside, unit]
        if is_on:
            found.add(unit)
    return found


def brute_force(on: Bits, start: int, stop: int, is_bounded: bool) -> list[Match]:
    """Return what find_matches does, from its definition."""
    selected = through(on, start, stop, is_bounded)
    found = []
    for first in range(len(on)) if selected else ():
        of_start = []
        for length in range(1, min(2 * (stop - start), len(on) - first) + 1):
            units = through(on, first, first + length, is_bounded)
            shared = len(selected & units)
            other = len(units - selected)
            match = Match(first, first + length, shared, len(selected) - shared, other)
            assert match.jaccard == pytest.approx(shared / len(selected | units))
            of_start.append(match)
        found.append(max(of_start, key=lambda match: match.score))  # the first of equals
    kept: list[Match] = []
    taken = set(range(start, stop))
    for match in sorted(found, key=lambda match: -match.score):
        places = set(range(match.start, match.stop))
        if match.score and not places & taken:
            taken |= places
            kept.append(match)
    return kept


@given(
    on=st.tuples(st.integers(1, 24), st.integers(1, 11)).flatmap(
        lambda shape: arrays(bool, shape, elements=st.booleans())
    ),
    data=st.data(),
    is_bounded=st.booleans(),
)
def test_matches_are_those_of_brute_force(on: Bits, data: st.DataObject, is_bounded: bool) -> None:
    start = data.draw(st.integers(0, len(on) - 1))
    stop = data.draw(st.integers(start + 1, len(on)))

    selected = select_units(on, start, stop, is_bounded=is_bounded)

    assert set(selected.tolist()) == through(on, start, stop, is_bounded)
    found = find_matches(on, start, stop, is_bounded=is_bounded)
    assert found == brute_force(on, start, stop, is_bounded)
    assert find_matches(on, start, stop, is_bounded=is_bounded, count=2) == found[:2]


def test_the_same_pattern_elsewhere_is_found_first() -> None:
    on = np.zeros((30, 5), bool)
    for start in (3, 20):
        on[start : start + 4, 1:3] = True
    on[12:16, 1] = True

    best, second = find_matches(on, 3, 7)

    assert best == Match(20, 24, 2, 0, 0)
    assert best.score == 4
    assert second == Match(12, 16, 1, 1, 0)
    assert second.score == 2


def test_units_are_on_above_below_or_on_either_side() -> None:
    values = np.array([[0.3, -0.3, 0.2, -0.2, np.nan]])

    found = {side: units_on(values, 0.3, side)[0].tolist() for side in ("above", "below", "either")}

    assert found["above"] == [True, False, False, False, False]
    assert found["below"] == [False, True, False, False, False]
    assert found["either"] == [True, True, False, False, False]


def test_nothing_matches_where_no_unit_is_on_through_the_stretch() -> None:
    on = np.array(list(product([False, True], repeat=2)))

    assert find_matches(on, 0, 4) == []
