"""Completions of a text with blanks and gaps, by the probability that a model gives the whole text.

Every prefix that fits the pattern is extended side by side, as many as a beam is wide; only those
that are equally far in the pattern compete. Keeping the likeliest is a beam search: as what follows
never makes a text likelier, the result is proven unless a likelier prefix was dropped. Samples come
from a particle filter with the unbiased resampling of Fearnhead and Clifford (2003): they follow
p(text | pattern) as the beam grows, and exactly where nothing was dropped. `Model.fill` calls this.

N = prefixes, C = candidates, M = texts found, V = vocabulary.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from charrnn.config import FillConfig
from charrnn.errors import DivergedError
from charrnn.generation.beam import Ints, top_indices
from charrnn.generation.filters import Floats, log_softmax
from charrnn.generation.infill.pattern import Pattern
from charrnn.generation.network import Network
from charrnn.generation.scoring import IGNORE_OVERFLOW, NOT_FINITE, line_start_state
from charrnn.metrics import bits_per_char
from charrnn.state import State, repeat_state, select_rows
from charrnn.text.vocab import END, Vocab

_MAX_LOGITS = 1 << 22  # of a block

OnProgress = Callable[[int, int], None]
"""Called with the number of cells that are done, and how many there are at most."""


class Completion(NamedTuple):
    """A text that fits.

    filled: start and end in `text` of what fills each blank and gap, in order. bits: −log₂ p of the
    whole text. share: p(text | pattern) among the texts found, at the temperature. has_end: it is a
    record, whose end the bits count.
    """

    text: str
    filled: tuple[tuple[int, int], ...]
    bits: float
    share: float
    has_end: bool = False

    @property
    def bpc(self) -> float:
        """Bits per character, with the first, and with the end of a record."""
        return self.bits / (len(self.text) + self.has_end)


class Filling(NamedTuple):
    """The likeliest completions, the best first, or samples in the order of sampling.

    is_exact: the likeliest are proven, or sampled from all that fit. found: how many texts fitted.
    changes: what was changed in the text that was given, and how often each.
    """

    completions: tuple[Completion, ...]
    is_exact: bool
    found: int
    changes: tuple[tuple[str, int], ...] = ()


@IGNORE_OVERFLOW
def fill(
    network: Network,
    vocab: Vocab,
    pattern: Pattern,
    config: FillConfig,
    on_progress: OnProgress = lambda done, total: None,
) -> Filling:
    """Complete a pattern that begins a line, or that is a record.

    Raises:
        DivergedError: what a character costs is not a finite number.
    """
    random = np.random.default_rng(config.seed)
    if config.sample:
        options = BeamOptions(config.beam_width, config.temperature, partial(resample, random))
    else:  # the beam has room for every text that is asked for
        options = BeamOptions(max(config.beam_width, config.count), 1.0, select_likeliest)
    state = line_start_state(network, vocab)
    result = search_pattern(network, state, pattern, options, on_progress)
    # p(text | pattern): normalize over the texts that were found.
    log_weights = result.log_weights
    weights = np.exp(log_weights - log_weights.max())
    log_total = float(log_weights.max()) + math.log(weights.sum())
    if config.sample:
        chosen = random.choice(len(weights), config.count, p=weights / weights.sum())
        is_exact = result.heaviest_dropped == -math.inf
    else:
        chosen = top_indices(log_weights, config.count)
        # If any were dropped, at least `count` are left, so chosen[-1] is the last that counts.
        is_exact = result.heaviest_dropped <= log_weights[chosen[-1]]
    completions = []
    for index in chosen.tolist():
        log_prob = float(result.log_probs[index])
        share = math.exp(log_prob / options.temperature - log_total)
        ids = result.ids_of(index)
        # From spans of tokens to spans of characters.
        chars = np.append(0, vocab.char_widths[ids].cumsum()).tolist()
        filled = tuple((chars[start], chars[end]) for start, end in pattern.align(ids))
        text = vocab.decode(ids)
        if vocab.has_end:  # of lines, each but the last end is a newline of the text
            text = text.removesuffix(END).replace(END, "\n")
        bits = bits_per_char(-log_prob)
        completions.append(Completion(text, filled, bits, share, vocab.has_end))
    return Filling(tuple(completions), bool(is_exact), len(weights))


class BeamOptions(NamedTuple):
    """How many prefixes are kept, by p to the power of 1 / temperature.

    select: from log-weights (C,) and a number to the indices of those kept, and new log-weights.
    """

    width: int
    temperature: float
    select: Callable[[Floats, int], tuple[Ints, Floats]]


class SearchResult(NamedTuple):
    """Texts that fit: the step and row (M,) of the last id, ln p (M,) and log-weights (M,).

    history: for each step the rows of the step before that were extended, and the ids appended.
    heaviest_dropped: a log-weight; −inf where nothing was dropped.
    """

    steps: Ints
    rows: Ints
    log_probs: Floats
    log_weights: Floats
    history: list[tuple[Ints, Ints]]
    heaviest_dropped: float

    def ids_of(self, index: int) -> list[int]:
        """Return the ids of a text that was found."""
        row = self.rows[index]
        ids = []
        # From the last id back to the first, by the row that each was appended to.
        for parents, tokens in reversed(self.history[: int(self.steps[index]) + 1]):
            ids.append(int(tokens[row]))
            row = parents[row]
        return ids[::-1]


class _Prefixes(NamedTuple):
    """Beginnings of N texts: states, sets of cells, rows (N,) in the history, ln p, log-weights."""

    states: State
    cells: list[int]
    rows: Ints
    log_probs: Floats
    log_weights: Floats


class _Candidates(NamedTuple):
    """Prefixes one id longer: each array is (C,). reached: the cells behind it at most."""

    parents: Ints
    tokens: Ints
    reached: Ints
    log_probs: Floats
    log_weights: Floats


def search_pattern(
    network: Network, state: State, pattern: Pattern, options: BeamOptions, on_progress: OnProgress
) -> SearchResult:
    """Find texts that fit the pattern and follow `state`.

    Raises:
        DivergedError: a probability is not a finite number.
    """
    zero = np.zeros(1)
    row = np.zeros(1, np.int64)
    prefixes = _Prefixes(repeat_state(state, 1), [pattern.start], row, zero, zero)
    history: list[tuple[Ints, Ints]] = []
    found = []
    heaviest_dropped = -math.inf
    while prefixes.cells:
        on_progress(len(history), len(pattern.cells))
        blocks = _iter_candidates(network, pattern, prefixes, options.temperature)
        kept, dropped = _prune_blocks(blocks, options)
        heaviest_dropped = max(heaviest_dropped, dropped)
        pairs = zip(kept.parents.tolist(), kept.tokens.tolist(), strict=True)
        cells = [pattern.step(prefixes.cells[parent], token) for parent, token in pairs]
        # Where only optional cells are left, a text can end here and continue too.
        ends = np.flatnonzero([pattern.is_complete(at) for at in cells])
        rows = np.flatnonzero([pattern.can_continue(at) for at in cells])
        step = np.full(len(ends), len(history))
        found.append((step, ends, kept.log_probs[ends], kept.log_weights[ends]))
        history.append((prefixes.rows[kept.parents], kept.tokens))
        states = select_rows(prefixes.states, kept.parents[rows])
        prefixes = _Prefixes(
            network.advance_all(kept.tokens[rows], states),
            [cells[row] for row in rows.tolist()],
            rows,
            kept.log_probs[rows],
            kept.log_weights[rows],
        )
    steps, rows, log_probs, log_weights = map(np.concatenate, zip(*found, strict=True))
    return SearchResult(steps, rows, log_probs, log_weights, history, heaviest_dropped)


def _iter_candidates(
    network: Network, pattern: Pattern, prefixes: _Prefixes, temperature: float
) -> Iterator[_Candidates]:
    """Yield all prefixes one id longer, a block of them at a time."""
    size = max(1, _MAX_LOGITS // network.vocab_size)
    for first in range(0, len(prefixes.cells), size):
        block = slice(first, first + size)
        log_probs = log_softmax(network.logits(select_rows(prefixes.states, block)))
        if not np.isfinite(log_probs).all():
            raise DivergedError(NOT_FINITE)
        # Most prefixes share their cells, so each set of cells is looked at once.
        rows_at = defaultdict(list)
        for row, at in enumerate(prefixes.cells[block]):
            rows_at[at].append(row)
        parts = []
        for at, rows in rows_at.items():
            tokens, reached = pattern.next_tokens(at)
            added = log_probs[np.array(rows)[:, None], tokens].ravel()
            parents = np.repeat(np.array(rows) + first, len(tokens))
            parts.append(
                _Candidates(
                    parents,
                    np.tile(tokens, len(rows)),
                    np.tile(reached, len(rows)),
                    prefixes.log_probs[parents] + added,
                    prefixes.log_weights[parents] + added / temperature,
                )
            )
        yield _join(parts)


def _prune_blocks(blocks: Iterable[_Candidates], options: BeamOptions) -> tuple[_Candidates, float]:
    """Keep the beam's width of those equally far; return the heaviest log-weight dropped too."""
    parts, dropped = zip(*(_prune(block, options) for block in blocks), strict=True)
    if len(parts) == 1:
        return parts[0], dropped[0]
    kept, last_dropped = _prune(_join(parts), options)
    return kept, max(*dropped, last_dropped)


def _prune(candidates: _Candidates, options: BeamOptions) -> tuple[_Candidates, float]:
    """Keep the beam's width of those that reached each cell."""
    parts = []
    heaviest_dropped = -math.inf
    for reached in np.unique(candidates.reached):
        part = _Candidates(*select_rows(candidates, candidates.reached == reached))
        weights = part.log_weights
        if len(weights) > options.width:
            indices, kept_weights = options.select(weights, options.width)
            heaviest_dropped = max(heaviest_dropped, float(np.delete(weights, indices).max()))
            part = _Candidates(*select_rows(part, indices))._replace(log_weights=kept_weights)
        parts.append(part)
    return _join(parts), heaviest_dropped


def _join(parts: Sequence[_Candidates]) -> _Candidates:
    return _Candidates(*map(np.concatenate, zip(*parts, strict=True)))


def select_likeliest(log_weights: Floats, count: int) -> tuple[Ints, Floats]:
    """Return the indices (K,) of the `count` heaviest of log-weights (C,), and these weights.

    >>> select_likeliest(np.array([-3.0, -1.0, -2.0]), 2)
    (array([1, 2]), array([-1., -2.]))
    """
    indices = top_indices(log_weights, count)
    return indices, log_weights[indices]


def resample(random: np.random.Generator, log_weights: Floats, count: int) -> tuple[Ints, Floats]:
    """Return the indices (K,) of `count` different ones of log-weights (C,), and new weights (K,).

    It is unbiased: on average, each has the weight that it had. The heaviest are kept as they are;
    of the others each is kept with probability w / c, and then weighs c (Fearnhead and Clifford
    2003: of all unbiased choices, this one changes the weights least).
    """
    order = np.argsort(-log_weights, kind="stable")
    heaviest = log_weights[order[0]]
    weights = np.exp(log_weights[order] - heaviest)
    left = weights[::-1].cumsum()[::-1]  # the sum of each and of all lighter ones
    room = np.arange(count, 0, -1)
    # Kept for sure: those heavier than an equal part of what is left. They come first in order.
    sure = int((weights[:count] * room >= left[:count]).sum())
    kept = order[:sure]
    if sure == count:
        return kept, log_weights[kept]
    c = left[sure] / room[sure]
    # Systematic sampling of the others: points c apart, from one random offset.
    points = (random.random() + np.arange(room[sure])) * c
    sampled = sure + weights[sure:].cumsum().searchsorted(points, side="right")
    sampled = order[np.minimum(sampled, len(order) - 1)]  # rounding may lead past the end
    equal = np.full(len(sampled), np.log(c) + heaviest)
    return np.concatenate((kept, sampled)), np.concatenate((log_weights[kept], equal))
