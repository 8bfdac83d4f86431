"""Every beginning of a text that fits a pattern, read on side by side: as many as a beam is wide.

Each step reads them on by an id. Of those that have come equally far in the pattern, `choose` says
which are kept; those that have come far are not compared with those that have it before them. It
knows nothing of characters.

N = beginnings, C = candidates, M = texts found, V = vocabulary.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from charrnn.errors import DivergedError
from charrnn.generation.beam import Floats, Ints, largest, log_softmax
from charrnn.generation.infill.pattern import Pattern
from charrnn.generation.network import Network
from charrnn.generation.scoring import NOT_FINITE
from charrnn.state import State, repeat_state, select_rows

_LARGEST_LOGITS = 1 << 22  # numbers in a block's logits

SelectBest = Callable[[Floats, int], tuple[Ints, Floats]]
"""From log-weights (C,) and a number: the places of so many of them, and their new log-weights."""

Watch = Callable[[int, int], None]
"""Is told how many cells were gone through, and how many there are at most."""


class Found(NamedTuple):
    """Texts that fit, and end with what row (M,) of step (M,) wrote; ln p and log-weights (M,)."""

    steps: Ints
    rows: Ints
    log_probs: Floats
    log_weights: Floats


class Search(NamedTuple):
    """What came of it.

    history: for each step the rows of the step before that were read on, and the id that each
    wrote. heaviest_dropped: a log-weight; −inf where nothing was dropped.
    """

    found: Found
    history: list[tuple[Ints, Ints]]
    heaviest_dropped: float

    def ids_of(self, index: int) -> list[int]:
        """Give the ids of a text that was found."""
        step, row = int(self.found.steps[index]), self.found.rows[index]
        ids = []
        for parents, tokens in reversed(self.history[: step + 1]):
            ids.append(int(tokens[row]))
            row = parents[row]
        return ids[::-1]


class _Beginnings(NamedTuple):
    """Texts that go on: states of N, their places (N), the rows that they were kept in (N,).

    ln p (N,), and the log-weights (N,) by which they are kept.
    """

    states: State
    places: list[int]
    rows: Ints
    log_probs: Floats
    log_weights: Floats


class _Candidates(NamedTuple):
    """Beginnings one id longer: each array is (C,). reached: the cells behind it at most."""

    parents: Ints
    tokens: Ints
    reached: Ints
    log_probs: Floats
    log_weights: Floats


class BeamOptions(NamedTuple):
    """How many are kept, by p to the power of 1 / temperature, and which."""

    width: int
    temperature: float
    choose: SelectBest


def search_pattern(
    runtime: Network, state: State, pattern: Pattern, how: BeamOptions, watch: Watch
) -> Search:
    """Find texts that fit and follow `state`.

    Raises:
        DivergedError: a probability is not a finite number.
    """
    one, none = np.zeros(1), np.zeros(1, np.int64)
    now = _Beginnings(repeat_state(state, 1), [pattern.start], none, one, one)
    history: list[tuple[Ints, Ints]] = []
    found, lost = [], -math.inf
    while now.places:
        watch(len(history), len(pattern.cells))
        blocks = _iter_candidates(runtime, pattern, now, how.temperature)
        kept, dropped = _thin(blocks, how)
        lost = max(lost, dropped)
        ways = zip(kept.parents.tolist(), kept.tokens.tolist(), strict=True)
        places = [pattern.follow(now.places[parent], token) for parent, token in ways]
        ends = _rows_where(pattern.is_complete, places)
        step = np.full(len(ends), len(history))
        found.append(Found(step, ends, kept.log_probs[ends], kept.log_weights[ends]))
        history.append((now.rows[kept.parents], kept.tokens))
        rows = _rows_where(pattern.goes_on, places)
        states = select_rows(now.states, kept.parents[rows])
        now = _Beginnings(
            runtime.advance_all(kept.tokens[rows], states),
            [places[row] for row in rows.tolist()],
            rows,
            kept.log_probs[rows],
            kept.log_weights[rows],
        )
    return Search(Found(*map(np.concatenate, zip(*found, strict=True))), history, lost)


def _rows_where(holds: Callable[[int], bool], places: list[int]) -> Ints:
    return np.flatnonzero([holds(place) for place in places])


def _iter_candidates(
    runtime: Network, pattern: Pattern, now: _Beginnings, temperature: float
) -> Iterator[_Candidates]:
    """Yield all that the beginnings can go on to, a block of them at a time."""
    size = max(1, _LARGEST_LOGITS // runtime.vocab_size)
    for first in range(0, len(now.places), size):
        block = slice(first, first + size)
        log_probs = log_softmax(runtime.logits(select_rows(now.states, block)))
        if not np.isfinite(log_probs).all():
            raise DivergedError(NOT_FINITE)
        rows_at = defaultdict(list)
        for row, place in enumerate(now.places[block]):
            rows_at[place].append(row)
        parts = []
        for place, rows in rows_at.items():
            tokens, reached = pattern.moves(place)
            nats = log_probs[np.array(rows)[:, None], tokens].ravel()
            parents = np.repeat(np.array(rows) + first, len(tokens))
            weights = now.log_weights[parents] + nats / temperature
            longer = now.log_probs[parents] + nats
            each = np.tile(tokens, len(rows)), np.tile(reached, len(rows))
            parts.append(_Candidates(parents, *each, longer, weights))
        yield _join(parts)


def _thin(blocks: Iterable[_Candidates], how: BeamOptions) -> tuple[_Candidates, float]:
    """Keep so many of those that reached equally far; give the largest log-weight dropped too."""
    thinned, lost = zip(*(_keep(block, how) for block in blocks), strict=True)
    if len(thinned) == 1:
        return thinned[0], lost[0]
    kept, dropped = _keep(_join(thinned), how)
    return kept, max(*lost, dropped)


def _keep(candidates: _Candidates, how: BeamOptions) -> tuple[_Candidates, float]:
    parts, lost = [], -math.inf
    for reached in np.unique(candidates.reached):
        rows = np.flatnonzero(candidates.reached == reached)
        weights = candidates.log_weights[rows]
        if len(rows) > how.width:
            places, kept_weights = how.choose(weights, how.width)
            lost = max(lost, float(np.delete(weights, places).max()))
            rows, weights = rows[places], kept_weights
        parts.append(
            _Candidates(
                candidates.parents[rows],
                candidates.tokens[rows],
                candidates.reached[rows],
                candidates.log_probs[rows],
                weights,
            )
        )
    return _join(parts), lost


def _join(parts: Sequence[_Candidates]) -> _Candidates:
    return _Candidates(*map(np.concatenate, zip(*parts, strict=True)))


def keep_likeliest(log_weights: Floats, count: int) -> tuple[Ints, Floats]:
    """Give the places (K,) of the `count` heaviest of log-weights (C,), and these weights."""
    places = largest(log_weights, count)
    return places, log_weights[places]


def resample(random: np.random.Generator, log_weights: Floats, count: int) -> tuple[Ints, Floats]:
    """Give the places (K,) of `count` different ones of log-weights (C,), and new weights (K,).

    What comes of it is fair: on average, each has the weight that it had. The heaviest are kept as
    they are, the others one in so many, each of which then weighs c (Fearnhead and Clifford 2003,
    the choice that changes the weights least).
    """
    order = np.argsort(-log_weights, kind="stable")
    heaviest = log_weights[order[0]]
    weights = np.exp(log_weights[order] - heaviest)
    left = weights[::-1].cumsum()[::-1]  # the sum of each and of all lighter ones
    room = np.arange(count, 0, -1)
    is_sure = weights[:count] * room >= left[:count]
    sure = int(is_sure.sum())  # those that are stand in front
    chosen = order[:sure], log_weights[order[:sure]]
    if sure == count:
        return chosen
    c = left[sure] / room[sure]
    points = (random.random() + np.arange(room[sure])) * c
    drawn = sure + weights[sure:].cumsum().searchsorted(points, side="right")
    drawn = order[np.minimum(drawn, len(order) - 1)]
    return (
        np.concatenate((chosen[0], drawn)),
        np.concatenate((chosen[1], np.full(len(drawn), np.log(c) + heaviest))),
    )
