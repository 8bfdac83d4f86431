"""Beam search: the likeliest continuations, with several hypotheses extended side by side.

Each step extends all hypotheses by one id and keeps the likeliest. One that ends leaves the beam,
which from then on has one place less, so a beam of 1 is greedy. `Generator.search` calls this.

B = hypotheses in the beam, G = groups, V = vocabulary, T = ids so far.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError, counted
from charrnn.generation.filters import Floats, Logits, log_softmax
from charrnn.generation.network import LanguageModel
from charrnn.state import State, repeat_state, select_rows

Ints = NDArray[np.int64]


class Hypothesis(NamedTuple):
    """A continuation: its ids, ln p of all of them, and the score that ranks it."""

    ids: tuple[int, ...]
    log_prob: float
    score: float


class _Beam(NamedTuple):
    """The hypotheses that continue: states of B, ids (B, T), ln p (B,), group (B,)."""

    states: State
    ids: Ints
    log_probs: Floats
    groups: Ints


def check_search(config: SampleConfig, count: int) -> None:
    """Check that a beam search can follow the settings.

    Raises:
        ConfigError: the beam is too small for `count` texts, or a setting needs sampling.
    """
    if count > config.beam:
        raise ConfigError(
            f"a beam of {config.beam} finds at most {counted(config.beam, 'text')}, not {count}; "
            "make --beam larger"
        )
    for name in ("regex", "choices", "template", "balanced", "max_copy", "seconds"):
        if getattr(config, name) not in (None, False, ()):
            raise ConfigError(f"{name} goes with sampling, not with a beam; leave one of them out")


def search_beams(
    model: LanguageModel,
    state: State,
    config: SampleConfig,
    *,
    count: int = 1,
    bias: Logits | None = None,
    is_end: Callable[[Sequence[int]], bool] = lambda _: False,
) -> list[Hypothesis]:
    """Return the `count` best continuations that a beam of `config.beam` finds, the best first.

    Each has `config.length` ids, or fewer where `is_end`, called after each id with all of the
    hypothesis, returns True; no two are the same, and there may be fewer. bias: (V,), added to the
    logits; −inf is a ban.
    """
    if not config.length:
        return [Hypothesis((), 0.0, 0.0)]
    groups = config.beam_groups
    ended: dict[tuple[int, ...], Hypothesis] = {}
    room = np.full(groups, config.beam // groups)
    nothing = np.empty((groups, 0), np.int64)
    beam = _Beam(repeat_state(state, groups), nothing, np.zeros(groups), np.arange(groups))
    best: list[Hypothesis] = []
    while len(beam.ids):
        # Further ids never make a hypothesis likelier, and the full length divides ln p by most.
        reachable = _score(float(beam.log_probs.max()), config.length, config)
        if len(best) == count and best[-1].score >= reachable:
            break
        log_probs = log_softmax(model.logits(beam.states) + (0 if bias is None else bias))
        beam = _extend(beam, log_probs, room, config.beam_diversity)
        # What ends leaves the beam, and its group has less room.
        is_over = np.array([is_end(ids) for ids in beam.ids.tolist()], np.bool_)
        is_over |= beam.ids.shape[1] == config.length
        for row in np.flatnonzero(is_over):
            # Groups may end with the same ids: the key keeps one of them.
            ids = tuple(beam.ids[row].tolist())
            log_prob = float(beam.log_probs[row])
            ended[ids] = Hypothesis(ids, log_prob, _score(log_prob, len(ids), config))
        best = sorted(ended.values(), key=lambda each: -each.score)[:count]
        room -= np.bincount(beam.groups[is_over], minlength=groups)
        # The last ids are read only now, and only where texts continue.
        beam = _Beam(*select_rows(beam, ~is_over))
        beam = beam._replace(states=model.advance_all(beam.ids[:, -1], beam.states))
    return best


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


def _extend(beam: _Beam, log_probs: Floats, room: Ints, diversity: float) -> _Beam:
    """Append one id to each group's best hypotheses, as many as it has room for.

    log_probs: (B, V), of the next id. The states stay those before it. Diverse beam search with
    Hamming diversity (Vijayakumar et al. 2018): the rank of an id falls by `diversity` for each
    time that earlier groups chose it at this step.
    """
    totals = beam.log_probs[:, None] + log_probs
    vocab_size = totals.shape[1]
    chosen = []
    times_chosen = np.zeros(vocab_size, np.int64)
    for group, most in enumerate(room):
        rows = np.flatnonzero(beam.groups == group)
        ranked = totals[rows] - diversity * times_chosen  # for the choice alone, not for ln p
        parents, tokens = np.divmod(top_indices(ranked.ravel(), most), vocab_size)
        times_chosen += np.bincount(tokens, minlength=vocab_size)
        chosen.append(np.stack((rows[parents], tokens)))
    parents, tokens = np.concatenate(chosen, 1)
    extended = _Beam(*select_rows(beam, parents))
    ids = np.column_stack((extended.ids, tokens))
    return extended._replace(ids=ids, log_probs=totals[parents, tokens])


def _score(log_prob: float, length: int, config: SampleConfig) -> float:
    """ln p(Y) / |Y|^α: the length penalty of Wu et al. 2016, with |Y| for their (5 + |Y|) / 6."""
    return log_prob / float(length**config.length_penalty)
