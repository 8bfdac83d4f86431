"""Where else in a text are the same units on? Selection and match as in LSTMVis (2018).

A person marks a stretch of the text. The selected units are those that are on through all of it.
A match is another stretch with much the same units on through all of it. T = places, U = units.

>>> on = np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool)
>>> find_matches(on, 0, 2)[0].start
3
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.interpret.trace import Array

Bits = NDArray[np.bool_]

THRESHOLD = 0.3  # as in LSTMVis
SIDES = ("above", "below", "either")

_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)
_LONGEST = 2  # times the length of the selection


@dataclass(frozen=True)
class Match:
    """Places `start` to before `stop`, at which `shared` of the selected units are on through.

    missing: how many of the selected are not. other: how many units are on through that are not
    selected.
    """

    start: int
    stop: int
    shared: int
    missing: int
    other: int

    @property
    def jaccard(self) -> float:
        """Units on here and there, as a share of those on here or there: 1 if they are the same."""
        return self.shared / max(self.shared + self.missing + self.other, 1)

    @property
    def score(self) -> float:
        """By which matches are ranked: the more alike and the longer, the higher."""
        return self.jaccard * (self.stop - self.start)


def units_on(values: Array, threshold: float = THRESHOLD, side: str = "above") -> Bits:
    """Return at which places which units are on (T, U), of their values (T, U).

    side: "above" means v ≥ threshold, "below" v ≤ −threshold, "either" |v| ≥ threshold.
    """
    if side == "either":
        return np.abs(values) >= threshold
    on: Bits = values <= -threshold if side == "below" else values >= threshold
    return on


def select_units(on: Bits, start: int, stop: int, *, is_bounded: bool = False) -> NDArray[np.int64]:
    """Return the numbers of the units that are on (T, U) from `start` to before `stop`.

    is_bounded: only those that are off just before and just after, where the text has places there.
    """
    found = on[start:stop].all(0)
    if is_bounded and start:
        found &= ~on[start - 1]
    if is_bounded and stop < len(on):
        found &= ~on[stop]
    return np.flatnonzero(found)


def find_matches(
    on: Bits, start: int, stop: int, *, is_bounded: bool = False, count: int = 50
) -> list[Match]:
    """Return the stretches that match the one from `start` to before `stop`, best first.

    A stretch has up to twice the length of the selection. Of the stretches that start at a place
    only the best counts, the shortest of equals; what overlaps the selection, or a better match, is
    left out. Time grows with T · U · (stop − start): 50,000 places, 512 units and 15
    selected places take three seconds.
    """
    selected = select_units(on, start, stop, is_bounded=is_bounded)
    if not len(selected):
        return []
    mask = np.zeros(on.shape[1], bool)
    mask[selected] = True
    wanted = np.packbits(mask)
    best = np.zeros((4, len(on)))  # score, shared, units here or there, length
    for length, through in _stretches(on, _LONGEST * (stop - start), is_bounded=is_bounded):
        shared = _count(through & wanted)
        either = len(selected) + _count(through) - shared
        scores = shared / either * length
        better = np.flatnonzero(scores > best[0, : len(scores)])
        row = np.stack([scores, shared, either, np.full(len(scores), length)])
        best[:, better] = row[:, better]
    return _without_overlaps(best, len(selected), (start, stop), count)


def _stretches(
    on: Bits, longest: int, *, is_bounded: bool
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield for each length which units are on through the stretch from each place, as bits."""
    packed = np.packbits(on, axis=1)
    edge = np.zeros((1, packed.shape[1]), np.uint8)
    framed = np.concatenate((edge, packed, edge))  # beyond the text every unit is off
    through = packed
    for length in range(1, min(longest, len(on)) + 1):
        if length > 1:
            through = through[:-1] & packed[length - 1 :]
        if not is_bounded:
            yield length, through
            continue
        places = len(through)
        yield length, through & ~framed[:places] & ~framed[length + 1 : length + 1 + places]


def _without_overlaps(
    best: NDArray[np.float64], selected: int, taken: tuple[int, int], count: int
) -> list[Match]:
    """Return the best stretches that overlap neither each other nor what is taken."""
    scores, shares, eithers, lengths = best
    is_taken = np.zeros(len(scores), bool)
    is_taken[slice(*taken)] = True
    matches: list[Match] = []
    for start in np.argsort(-scores, kind="stable").tolist():
        stop = start + int(lengths[start])
        if len(matches) == count or not scores[start]:
            break
        if is_taken[start:stop].any():
            continue
        is_taken[start:stop] = True
        shared = int(shares[start])
        other = int(eithers[start]) - selected
        matches.append(Match(start, stop, shared, selected - shared, other))
    return matches


def _count(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many bits are on in each row (T,)."""
    ones: NDArray[np.int64] = _ONES[bits].sum(1, dtype=np.int64)
    return ones
