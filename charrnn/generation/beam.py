"""Beam search: the likeliest continuations, with several hypotheses extended side by side.

Each step extends all hypotheses by one id and keeps the likeliest. One that ends leaves the beam,
which from then on has one place less, so a beam of 1 is greedy. Those that end with the same text,
before different stops or spelled by other tokens, are one result: their probabilities add up, and
together they take one place. `Generator.search` calls this.

B = hypotheses in the beam, G = groups, V = vocabulary, T = ids so far.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError, counted
from charrnn.generation.filters import Floats, Logits, log_softmax
from charrnn.generation.network import LanguageModel
from charrnn.state import State, repeat_state, select_rows

Ints = NDArray[np.int64]


Ids = tuple[int, ...]


class Hypothesis(NamedTuple):
    """A text: the ids that showed it first, ln p of all ids that show it, the score that ranks it.

    The first have the fewest ids; of those, they are the likeliest.
    """

    ids: Ids
    log_prob: float
    score: float


class _Beam(NamedTuple):
    """The hypotheses that continue: states of B, ids (B, T), ln p (B,), group (B,)."""

    states: State
    ids: Ints
    log_probs: Floats
    groups: Ints


def check_search(config: SampleConfig, count: int) -> None:
    """Check that a beam is wide enough.

    Raises:
        ConfigError: it is too small for `count` texts.
    """
    if count > config.beam:
        raise ConfigError(
            f"a beam of {config.beam} finds at most {counted(config.beam, 'text')}, not {count}; "
            "make --beam larger"
        )


def search_beams(
    model: LanguageModel,
    state: State,
    config: SampleConfig,
    *,
    count: int = 1,
    bias: Logits | None = None,
    is_end: Callable[[Ids], bool] = lambda _: False,
    text_of: Callable[[Ids], Hashable] = lambda ids: ids,
    ids_per_char: int = 1,
    on_progress: Callable[[], object] = lambda: None,
) -> list[Hypothesis]:
    """Return the `count` best texts that a beam of `config.beam` finds, the best first.

    Each has the ids of `config.length` characters at most, or fewer where `is_end`, called after
    each id with all of the hypothesis, returns True; no two have the same `text_of` their ids, and
    there may be fewer. bias: (V,), added to the logits; −inf is a ban. ids_per_char: at most.
    on_progress: called before each step; it may raise.
    """
    if not config.length:
        return [Hypothesis((), 0.0, 0.0)]
    groups = config.beam_groups
    results = _Results(config, config.length * ids_per_char, is_end, text_of)
    room = np.full(groups, config.beam // groups)
    nothing = np.empty((groups, 0), np.int64)
    beam = _Beam(repeat_state(state, groups), nothing, np.zeros(groups), np.arange(groups))
    while len(beam.ids) and not results.are_certain(count, beam.log_probs):
        on_progress()
        log_probs = log_softmax(model.logits(beam.states) + (0 if bias is None else bias))
        beam = _extend(beam, log_probs, room, config.beam_diversity, results)
        # The last ids are read only now, and only where texts continue.
        beam = beam._replace(states=model.advance_all(beam.ids[:, -1], beam.states))
    return results.best()[:count]


class _Results:
    """The texts that have ended."""

    def __init__(
        self,
        config: SampleConfig,
        length: int,
        is_end: Callable[[Ids], bool],
        text_of: Callable[[Ids], Hashable],
    ) -> None:
        self._config = config
        self._length = length  # in ids
        self._is_end = is_end
        self._text_of = text_of
        self._found: dict[Hashable, Hypothesis] = {}
        self._added: set[Ids] = set()
        self._known: set[tuple[Hashable, int]] = set()  # texts of each group

    def is_end(self, ids: Ids) -> bool:
        """Return whether a hypothesis has ended."""
        return self._is_end(ids) or len(ids) == self._length

    def add(self, ids: Ids, log_prob: float, group: int) -> bool:
        """Add a hypothesis that has ended; return whether its group has not had its text before."""
        text = self._text_of(ids)
        if ids not in self._added:  # groups may end with the same ids, which count once
            first, total, _ = self._found.get(text, Hypothesis(ids, -np.inf, 0.0))
            total = float(np.logaddexp(total, log_prob))
            self._found[text] = Hypothesis(first, total, _score(total, len(first), self._config))
            self._added.add(ids)
        is_new = (text, group) not in self._known
        self._known.add((text, group))
        return is_new

    def best(self) -> list[Hypothesis]:
        """Return all texts, the best first."""
        return sorted(self._found.values(), key=lambda each: -each.score)

    def are_certain(self, count: int, log_probs: Floats) -> bool:
        """Return whether no hypothesis that continues (B,) can change the first `count`."""
        if len(self._found) < count:
            return False
        best = self.best()
        # Together they may all end with one text: one of these, or a new one, whose ln p the full
        # length divides by most.
        left = np.logaddexp.reduce(log_probs)
        grown = np.logaddexp([each.log_prob for each in best], left)[1:]
        reachable = [
            _score(total, len(each.ids), self._config)
            for total, each in zip(grown, best[1:], strict=True)
        ]
        reachable.append(_score(left, self._length, self._config))
        later = np.maximum.accumulate(reachable[::-1])[::-1]
        scores = np.array([each.score for each in best[:count]])
        return bool((scores >= later[:count]).all())


def top_indices(scores: Floats, count: int) -> Ints:
    """Return the indices of the `count` largest of scores (N,) above −inf, the largest first.

    >>> top_indices(np.array([0.5, -np.inf, 2.0, 1.0]), 2).tolist()
    [2, 3]
    """
    indices = np.flatnonzero(scores > -np.inf)
    if len(indices) > count:
        indices = indices[np.argpartition(-scores[indices], count - 1)[:count]]
    order: Ints = indices[np.argsort(-scores[indices], kind="stable")]
    return order


def _iter_largest(scores: Floats, count: int) -> Iterator[int]:
    """Yield the indices of scores (N,) above −inf, the largest first; mostly `count` are needed."""
    first = top_indices(scores, count)
    yield from first.tolist()
    rest = scores.copy()
    rest[first] = -np.inf
    yield from top_indices(rest, len(rest)).tolist()


def _extend(
    beam: _Beam, log_probs: Floats, room: Ints, diversity: float, results: _Results
) -> _Beam:
    """Append one id to each group's best hypotheses, as many as it has room for.

    log_probs: (B, V), of the next id. What ends goes to the results, and leaves less room if its
    text is new. The states of the others stay those before the id. Diverse beam search with Hamming
    diversity (Vijayakumar et al. 2018): the rank of an id falls by `diversity` for each time that
    earlier groups chose it at this step.
    """
    totals = beam.log_probs[:, None] + log_probs
    before = beam.ids.tolist()
    kept = []
    times_chosen = np.zeros(totals.shape[1], np.int64)
    for group in np.flatnonzero(room).tolist():
        rows = np.flatnonzero(beam.groups == group)
        ranked = totals[rows] - diversity * times_chosen  # for the choice alone, not for ln p
        left = room[group]
        for index in _iter_largest(ranked.ravel(), left):
            parent, token = divmod(index, len(times_chosen))
            row = int(rows[parent])
            ids = (*before[row], token)
            times_chosen[token] += 1
            if not results.is_end(ids):
                kept.append((row, token))
                left -= 1
            elif results.add(ids, float(totals[row, token]), group):
                room[group] -= 1
                left -= 1
            if not left:
                break
    parents, tokens = np.array(kept, np.int64).reshape(-1, 2).T
    extended = _Beam(*select_rows(beam, parents))
    longer = np.column_stack((extended.ids, tokens))
    return extended._replace(ids=longer, log_probs=totals[parents, tokens])


def _score(log_prob: float, length: int, config: SampleConfig) -> float:
    """ln p(Y) / |Y|^α: the length penalty of Wu et al. 2016, with |Y| for their (5 + |Y|) / 6."""
    return log_prob / float(length**config.length_penalty)
