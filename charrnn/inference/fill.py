"""Completions of a text with blanks and gaps, by the probability that a model gives the whole text.

Beginnings are read on side by side, an id at a time; of those that have come equally far in the
pattern as many are kept as the beam is wide. To search, these are the likeliest; as what follows
never makes a text likelier, the best are proven unless a likelier beginning was dropped. To draw,
they are chosen by the optimal resampling of Fearnhead and Clifford (2003), a particle filter whose
weights stay unbiased: draws are by p(text | pattern) as the beam grows, and exactly so where
nothing was dropped. It knows nothing of the terminal.

N = beginnings, C = candidates, M = texts found, V = vocabulary.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from charrnn.config import FillConfig
from charrnn.errors import DivergedError
from charrnn.inference.beam import Floats, Ints, largest, log_softmax
from charrnn.inference.pattern import Pattern
from charrnn.inference.resampling import keep_likeliest, resample
from charrnn.inference.runtime import Runtime
from charrnn.inference.scoring import NOT_FINITE, QUIETLY, opening_state
from charrnn.inference.states import State, pick_rows, repeat_state
from charrnn.metrics import bits_per_char
from charrnn.text.vocab import Vocab

_LARGEST_LOGITS = 1 << 22  # numbers in a block's logits

_History = list[tuple[Ints, Ints]]
"""For each step the rows of the step before that were read on, and what each wrote: (N,) both."""

Choose = Callable[[Floats, int], tuple[Ints, Floats]]
"""From log-weights (C,) and a number: the places of so many of them, and their new log-weights."""

Watch = Callable[[int, int], None]
"""Is told how many cells were gone through, and how many there are at most."""


class Completion(NamedTuple):
    """A text that fits.

    filled: start and end in `text` of what fills each blank and gap, in order. bits: −log₂ p of the
    whole text. share: p(text | pattern), as far as those found tell; p to the power 1 / temperature.
    """

    text: str
    filled: tuple[tuple[int, int], ...]
    bits: float
    share: float

    @property
    def bpc(self) -> float:
        """Bits per character, each one counted."""
        return self.bits / len(self.text)


class Filling(NamedTuple):
    """The likeliest completions, the best first, or draws in the order of drawing.

    is_exact: the likeliest are proven, or drawn from all that there are. found: how many fitted.
    """

    completions: tuple[Completion, ...]
    is_exact: bool
    found: int


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
    symbols: Ints
    reached: Ints
    log_probs: Floats
    log_weights: Floats


class _Found(NamedTuple):
    """Texts that fit, and end with what row (M,) of step (M,) wrote; ln p and log-weights (M,)."""

    steps: Ints
    rows: Ints
    log_probs: Floats
    log_weights: Floats


@QUIETLY
def fill(
    runtime: Runtime,
    vocab: Vocab,
    pattern: Pattern,
    config: FillConfig,
    watch: Watch = lambda done, total: None,
) -> Filling:
    """Complete a pattern that stands at the start of a line.

    Raises:
        DivergedError: what a character costs is not a finite number.
    """
    random = np.random.default_rng(config.seed)
    choose = partial(resample, random) if config.sample else keep_likeliest
    state = opening_state(runtime, vocab)
    history, found, lost = _read_through(runtime, state, pattern, config, choose, watch)
    weights = np.exp(found.log_weights - found.log_weights.max())
    if config.sample:
        chosen = random.choice(len(weights), config.count, p=weights / weights.sum())
        is_exact = lost == -math.inf
    else:
        chosen = largest(found.log_weights, config.count)
        last = found.log_weights[chosen[-1]] if len(chosen) == config.count else -math.inf
        is_exact = bool(lost <= last)
    log_total = found.log_weights.max() + math.log(weights.sum())
    completions = []
    for each in chosen.tolist():
        ids, nats = _trace(history, found.steps[each], found.rows[each]), -found.log_probs[each]
        share = math.exp(-nats / _temperature(config) - log_total)
        bits = bits_per_char(float(nats))
        completions.append(_make_completion(vocab, pattern, ids, bits, share))
    return Filling(tuple(completions), is_exact, len(weights))


def _read_through(
    runtime: Runtime,
    state: State,
    pattern: Pattern,
    config: FillConfig,
    choose: Choose,
    watch: Watch,
) -> tuple[_History, _Found, float]:
    """Give every step, the texts that fit, and the largest log-weight that was dropped."""
    width = max(config.beam_width, config.count)
    one, none = np.zeros(1), np.zeros(1, np.int64)
    now = _Beginnings(repeat_state(state, 1), [pattern.start], none, one, one)
    history: _History = []
    found, lost = [], -math.inf
    while now.places:
        watch(len(history), len(pattern.cells))
        blocks = _iter_candidates(runtime, pattern, now, _temperature(config))
        kept, dropped = _thin(blocks, width, choose)
        lost = max(lost, dropped)
        ways = zip(kept.parents.tolist(), kept.symbols.tolist(), strict=True)
        places = [pattern.follow(now.places[parent], symbol) for parent, symbol in ways]
        ends = _rows_where(pattern.is_complete, places)
        step = np.full(len(ends), len(history))
        found.append(_Found(step, ends, kept.log_probs[ends], kept.log_weights[ends]))
        history.append((now.rows[kept.parents], kept.symbols))
        rows = _rows_where(pattern.goes_on, places)
        states = pick_rows(now.states, kept.parents[rows])
        now = _Beginnings(
            runtime.advance_all(kept.symbols[rows], states),
            [places[row] for row in rows.tolist()],
            rows,
            kept.log_probs[rows],
            kept.log_weights[rows],
        )
    return history, _Found(*map(np.concatenate, zip(*found, strict=True))), lost


def _temperature(config: FillConfig) -> float:
    return config.temperature if config.sample else 1.0


def _rows_where(holds: Callable[[int], bool], places: list[int]) -> Ints:
    return np.flatnonzero([holds(place) for place in places])


def _iter_candidates(
    runtime: Runtime, pattern: Pattern, now: _Beginnings, temperature: float
) -> Iterator[_Candidates]:
    """Yield all that the beginnings can go on to, a block of them at a time."""
    size = max(1, _LARGEST_LOGITS // runtime.vocab_size)
    for first in range(0, len(now.places), size):
        block = slice(first, first + size)
        log_probs = log_softmax(runtime.logits(pick_rows(now.states, block)))
        if not np.isfinite(log_probs).all():
            raise DivergedError(NOT_FINITE)
        rows_at = defaultdict(list)
        for row, place in enumerate(now.places[block]):
            rows_at[place].append(row)
        parts = []
        for place, rows in rows_at.items():
            symbols, reached = pattern.moves(place)
            nats = log_probs[np.array(rows)[:, None], symbols].ravel()
            parents = np.repeat(np.array(rows) + first, len(symbols))
            weights = now.log_weights[parents] + nats / temperature
            longer = now.log_probs[parents] + nats
            each = np.tile(symbols, len(rows)), np.tile(reached, len(rows))
            parts.append(_Candidates(parents, *each, longer, weights))
        yield _join(parts)


def _thin(blocks: Iterable[_Candidates], width: int, choose: Choose) -> tuple[_Candidates, float]:
    """Keep `width` of those that reached equally far; give the largest log-weight dropped too."""
    thinned, lost = zip(*(_keep(block, width, choose) for block in blocks), strict=True)
    if len(thinned) == 1:
        return thinned[0], lost[0]
    kept, dropped = _keep(_join(thinned), width, choose)
    return kept, max(*lost, dropped)


def _keep(candidates: _Candidates, width: int, choose: Choose) -> tuple[_Candidates, float]:
    parts, lost = [], -math.inf
    for reached in np.unique(candidates.reached):
        rows = np.flatnonzero(candidates.reached == reached)
        weights = candidates.log_weights[rows]
        if len(rows) > width:
            places, kept_weights = choose(weights, width)
            lost = max(lost, float(np.delete(weights, places).max()))
            rows, weights = rows[places], kept_weights
        parents, symbols, ends, log_probs, _ = (array[rows] for array in candidates)
        parts.append(_Candidates(parents, symbols, ends, log_probs, weights))
    return _join(parts), lost


def _join(parts: Sequence[_Candidates]) -> _Candidates:
    return _Candidates(*map(np.concatenate, zip(*parts, strict=True)))


def _trace(history: _History, step: int, row: int) -> list[int]:
    """Give the ids that end with what `row` of `step` wrote."""
    ids = []
    for parents, symbols in reversed(history[: step + 1]):
        ids.append(int(symbols[row]))
        row = parents[row]
    return ids[::-1]


def _make_completion(
    vocab: Vocab, pattern: Pattern, ids: list[int], bits: float, share: float
) -> Completion:
    chars = np.append(0, vocab.starts_character[ids].cumsum()).tolist()
    filled = tuple((chars[start], chars[end]) for start, end in pattern.align(ids))
    return Completion(vocab.decode(ids), filled, bits, share)
