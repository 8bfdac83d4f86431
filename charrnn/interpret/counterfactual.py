"""What a word still changes: the text is read again with other words in its place.

Each word is replaced by words of the same length from the corpus, and the same text follows. How
far the predictions and the states are from those after the true word is all that the network still
knows of it, by whatever road. That works for every cell.

T = tokens, W = words, R = replacements of a word, D = distances, B = texts side by side, H = hidden
size, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.network import Network
from charrnn.interpret.trace import Array, Trace, log_softmax, record
from charrnn.interpret.words import Words
from charrnn.state import State, map_state, repeat_state, select_row
from charrnn.text.vocab import Ids

REPLACEMENTS = 16
"""R: the other words that each word is replaced by."""

_NATS_PER_BIT = float(np.log(2))
_PAIRS = 2_000  # of strangers
_LANES = 160  # texts side by side: their states and logits stay under 100 MB

Drawn = Callable[[Ids], Ids]
"""From a word (n,) to the words (R, n) that replace it; (0, n) where there are none."""


class WordPool:
    """The words of a text by length, to draw others from as often as they occur."""

    def __init__(self, ids: Ids, words: Words, seed: int) -> None:
        self._ids = ids
        self._words = words
        self._random = np.random.default_rng(seed)
        self._by_length: dict[int, tuple[Ids, NDArray[np.float64]]] = {}

    def draw(self, word: Ids) -> Ids:
        """Return REPLACEMENTS other words (R, n) of the length of a word (n,)."""
        kinds, counts = self._of_length(len(word))
        is_other = (kinds != word).any(1)
        kinds = kinds[is_other]
        counts = counts[is_other]
        count = REPLACEMENTS if len(kinds) else 0
        chances = counts / counts.sum() if count else None
        drawn: Ids = kinds[self._random.choice(max(len(kinds), 1), count, p=chances)]
        return drawn

    def _of_length(self, length: int) -> tuple[Ids, NDArray[np.float64]]:
        """Return the different words (K, n) of a length, and how often each occurs (K,)."""
        if length not in self._by_length:
            starts = self._words.starts[self._words.lengths == length]
            rows = self._ids[starts[:, None] + np.arange(length)]
            kinds, counts = np.unique(rows, axis=0, return_counts=True)
            self._by_length[length] = kinds, counts.astype(np.float64)
        return self._by_length[length]


def stranger_distance(h: Array, seed: int) -> float:
    """Return the mean distance of the states (T, H) at two places drawn at random."""
    pairs = np.random.default_rng(seed).integers(0, len(h), (2, _PAIRS))
    return float(np.linalg.norm(h[pairs[0]] - h[pairs[1]], axis=-1).mean())


def follow_words(
    trace: Trace, words: Words, draw: Drawn, depth: int, count: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield what is left of each word at distances 0 to count − 1: bits (D,), states (D,).

    trace: of the whole text, with `count` − 1 tokens after each word. The distance of the states
    of layer `depth` is the plain one. Words that nothing can replace are left out.
    """
    waiting: list[tuple[int, int, Ids]] = []
    lanes = 0
    for start, stop in zip(words.starts.tolist(), words.stops.tolist(), strict=True):
        others = draw(trace.ids[start:stop])
        if not len(others):
            continue
        waiting.append((start, stop, others))
        lanes += len(others) + 1
        if lanes >= _LANES:
            yield from _follow_some(trace, waiting, depth, count)
            waiting = []
            lanes = 0
    if waiting:
        yield from _follow_some(trace, waiting, depth, count)


def _follow_some(
    trace: Trace, some: list[tuple[int, int, Ids]], depth: int, count: int
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Read a few words with all their replacements side by side."""
    steps = max(stop - start for start, stop, _ in some) + count - 1
    last = len(trace.ids) - 1
    lanes = []
    rows = []  # of the lanes, the place where each starts
    for start, stop, others in some:
        # What lies beyond the text is read too where words differ in length; it is not looked at.
        true = trace.ids[np.minimum(np.arange(start, start + steps), last)]
        replaced = np.repeat(true[None], len(others) + 1, 0)
        replaced[1:, : stop - start] = others  # the first lane is the true text
        lanes.append(replaced)
        rows += [start] * len(replaced)
    before = map_state(lambda array: array[rows], trace.states)
    together = record(trace.network, np.concatenate(lanes).T, before)
    first = 0
    for start, stop, others in some:
        lane = slice(first, first + len(others) + 1)
        first = lane.stop
        after = slice(stop - start, stop - start + count)  # states, from that after the word
        states = map_state(lambda array, at=(after, lane): array[at], together.states)
        part = Trace(trace.network, together.ids[after, lane], states)
        yield _bits(_log_p(part)), _state_distances(part.hidden(depth))


def words_left(
    trace: Trace, words: Words, draw: Drawn, depth: int, at: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what is left of each word after token `at`: bits (W,), distances of states (W,).

    NaN for a word that nothing can replace, or that is not read whole by then.
    """
    found = np.full((2, len(words)), np.nan)
    texts: dict[int, list[tuple[int, Ids]]] = {}
    for number, (start, stop) in enumerate(zip(words.starts, words.stops, strict=True)):
        others = draw(trace.ids[start:stop])
        if len(others) and stop <= at + 1:
            texts.setdefault(int(start), []).append((number, others))
    if not texts:
        return found[0], found[1]
    numbers, states = _read_to(trace, texts, at)
    true = repeat_state(select_row(trace.states, at + 1), 1)
    every = map_state(lambda one, others: np.concatenate((one, others))[None], true, states)
    part = Trace(trace.network, trace.ids[:0], every)
    log_p = _log_p(part)[0]
    h = part.hidden(depth)[0]
    for number in np.unique(numbers):
        lanes = np.append(0, 1 + np.flatnonzero(numbers == number))
        found[0, number] = _bits(log_p[None, lanes])[0]
        found[1, number] = _state_distances(h[None, lanes])[0]
    return found[0], found[1]


def _read_to(
    trace: Trace, texts: dict[int, list[tuple[int, Ids]]], at: int
) -> tuple[NDArray[np.int64], State]:
    """Return the state after token `at` of each text that has another word, and its word's number.

    texts: by where a word begins, its number and the words in its place. A lane is read only from
    there on.
    """
    network: Network = trace.network
    tokens = np.zeros((0, at + 1), trace.ids.dtype)
    numbers: list[int] = []
    states: State = map_state(lambda array: array[:0], trace.states)
    for t in range(min(texts), at + 1):
        for number, others in texts.get(t, []):
            lanes = np.repeat(trace.ids[None, : at + 1], len(others), 0)
            lanes[:, t : t + others.shape[1]] = others
            tokens = np.concatenate((tokens, lanes))
            numbers += [number] * len(others)
            new = repeat_state(select_row(trace.states, t), len(others))
            states = map_state(lambda old, more: np.concatenate((old, more)), states, new)
        states = network.advance_all(tokens[:, t], states)
    return np.array(numbers), states


def _log_p(trace: Trace) -> Array:
    """Return ln p after every state of a trace (T + 1, B, V)."""
    rows = trace.features
    logits = trace.network.block_logits(rows.reshape(-1, rows.shape[-1]))
    return log_softmax(logits).reshape(*rows.shape[:-1], -1)


def _bits(log_p: Array) -> NDArray[np.float64]:
    """Return the mean KL of lane 0 from the others, in bits: (D,) of (D, 1 + R, V)."""
    true = log_p[:, :1]
    nats = (np.exp(true) * (true - log_p[:, 1:])).sum(-1, dtype=np.float64)
    bits: NDArray[np.float64] = nats.clip(0).mean(-1) / _NATS_PER_BIT
    return bits


def _state_distances(h: Array) -> NDArray[np.float64]:
    """Return the mean distance of the states of lane 0 from the others: (D,) of (D, 1 + R, H)."""
    mean: NDArray[np.float64] = np.linalg.norm(h[:, :1] - h[:, 1:], axis=-1).mean(-1)
    return mean


def fall_to(curve: NDArray[np.float64], share: float) -> float | None:
    """Return the distance from which on a curve is at most a share of its start; None where never.

    Between two distances a straight line is drawn. A share of 0.5 gives the half-life.

    >>> fall_to(np.array([4.0, 3.0, 1.0, 0.0]), 0.5)
    1.5
    """
    level = curve[0] * share
    above = np.flatnonzero(curve > level)
    if not len(above) or above[-1] == len(curve) - 1:
        return None
    at = int(above[-1])
    return float(at + (curve[at] - level) / (curve[at] - curve[at + 1]))
