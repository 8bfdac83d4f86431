"""Beam search: the likeliest continuations, several of them read on side by side.

A hypothesis is a continuation so far and its log-probability. Each step reads every hypothesis on
by one id and keeps the likeliest; one that ends leaves the beam, which carries one less from then
on, so that a beam of 1 is greedy. It knows nothing of characters.

B = hypotheses that go on, G = groups, V = vocabulary, t = ids so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.filters import Logits
from charrnn.generation.language_model import LanguageModel
from charrnn.state import State, repeat_state, select_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
IsEnd = Callable[[Sequence[int]], bool]


class Hypothesis(NamedTuple):
    """A continuation: its ids, ln p of all of them, and the score that it is chosen by."""

    ids: tuple[int, ...]
    log_prob: float
    score: float


_Ended = dict[tuple[int, ...], Hypothesis]


class _Beam(NamedTuple):
    """The hypotheses that go on: states of B, ids (B, t), ln p (B,), group (B,)."""

    states: State
    ids: Ints
    log_probs: Floats
    groups: Ints


def check_search(config: SampleConfig, count: int) -> None:
    """Refuse what a search cannot do.

    Raises:
        ConfigError: there is no beam, it is too small, or a setting goes with drawing alone.
    """
    if count > config.beam:
        raise ConfigError(
            f"a beam of {config.beam} finds no more than {config.beam} texts, not {count}; "
            "make --beam larger"
        )
    for name in ("regex", "choices", "template", "balanced", "max_copy", "seconds"):
        if getattr(config, name) not in (None, False, ()):
            raise ConfigError(f"{name} goes with drawing, not with a beam; leave one of them out")


def search_beams(
    runtime: LanguageModel,
    state: State,
    config: SampleConfig,
    *,
    count: int = 1,
    bias: Logits | None = None,
    is_end: IsEnd = lambda _: False,
) -> list[Hypothesis]:
    """Give the `count` best continuations that a beam of `config.beam` finds, the best first.

    Each has `config.length` ids, or fewer where `is_end`, asked after each id with all of the
    hypothesis, says that it ends there; no two are the same. Probabilities are the softmax of the
    logits, to which bias (V,) is added; −inf is a ban. The search stops as soon as none that goes
    on can come among the best. Fewer than `count` are found where there are no more.
    """
    if not config.length:
        return [Hypothesis((), 0.0, 0.0)]
    room = np.full(config.beam_groups, config.beam // config.beam_groups)
    beam, ended = _start(state, len(room)), _Ended()
    while len(beam.ids) and not _is_settled(beam, ended, config, count):
        log_probs = log_softmax(runtime.logits(beam.states) + (0 if bias is None else bias))
        beam = _extend(beam, log_probs, room, config.beam_diversity)
        is_over = np.array([is_end(ids) for ids in beam.ids.tolist()], np.bool_)
        is_over |= beam.ids.shape[1] == config.length
        for row in np.flatnonzero(is_over):
            ids, log_prob = tuple(beam.ids[row].tolist()), float(beam.log_probs[row])
            ended[ids] = Hypothesis(ids, log_prob, _score(log_prob, len(ids), config))
        room -= np.bincount(beam.groups[is_over], minlength=len(room))
        beam = _read_on(runtime, beam, ~is_over)
    return _best_first(ended)[:count]


def log_softmax(logits: Logits) -> Floats:
    """Give ln p (..., V) of logits (..., V)."""
    shifted = logits - logits.max(-1, keepdims=True)
    totals = np.exp(shifted).sum(-1, dtype=np.float64, keepdims=True)
    log_probs: Floats = shifted - np.log(totals)
    return log_probs


def largest(scores: Floats, count: int) -> Ints:
    """Give the places of the `count` largest of scores (N,) above −inf, the largest first."""
    places = np.flatnonzero(scores > -np.inf)
    if len(places) > count:
        places = places[np.argpartition(-scores[places], count - 1)[:count]]
    order: Ints = places[np.argsort(-scores[places], kind="stable")]
    return order


def _start(state: State, groups: int) -> _Beam:
    """Give one hypothesis a group, of no ids."""
    nothing = np.empty((groups, 0), np.int64)
    return _Beam(repeat_state(state, groups), nothing, np.zeros(groups), np.arange(groups))


def _extend(beam: _Beam, log_probs: Floats, room: Ints, diversity: float) -> _Beam:
    """Read each group's best hypotheses on by an id, as many as it has room for.

    log_probs: (B, V), of the next id. The states stay those before it. An id is worth `diversity`
    less for each time that the groups before chose it at this step: diverse beam search with
    Hamming diversity (Vijayakumar et al. 2018). It counts for the choice alone.
    """
    totals = beam.log_probs[:, None] + log_probs
    vocab_size = totals.shape[1]
    chosen, times_chosen = [], np.zeros(vocab_size, np.int64)
    for group, most in enumerate(room):
        rows = np.flatnonzero(beam.groups == group)
        worth = totals[rows] - diversity * times_chosen
        parents, tokens = np.divmod(largest(worth.ravel(), most), vocab_size)
        times_chosen += np.bincount(tokens, minlength=vocab_size)
        chosen.append(np.stack((rows[parents], tokens)))
    parents, tokens = np.concatenate(chosen, 1)
    ids = np.column_stack((beam.ids[parents], tokens))
    return _Beam(
        select_rows(beam.states, parents), ids, totals[parents, tokens], beam.groups[parents]
    )


def _read_on(runtime: LanguageModel, beam: _Beam, is_kept: NDArray[np.bool_]) -> _Beam:
    """Keep some hypotheses, and read the last id of each."""
    states, ids, log_probs, groups = beam
    read = runtime.advance_all(ids[is_kept, -1], select_rows(states, is_kept))
    return _Beam(read, ids[is_kept], log_probs[is_kept], groups[is_kept])


def _score(log_prob: float, length: int, config: SampleConfig) -> float:
    """ln p(Y) / |Y|^α: the length penalty of Wu et al. 2016, with |Y| for their (5 + |Y|) / 6."""
    return log_prob / float(length**config.length_penalty)


def _is_settled(beam: _Beam, ended: _Ended, config: SampleConfig, count: int) -> bool:
    """Tell whether what goes on cannot come among the `count` best.

    Further ids never make a hypothesis likelier, and at the full length it is divided by most.
    """
    if len(ended) < count:
        return False
    reachable = _score(float(beam.log_probs.max()), config.length, config)
    return _best_first(ended)[count - 1].score >= reachable


def _best_first(ended: _Ended) -> list[Hypothesis]:
    return sorted(ended.values(), key=lambda each: each.score, reverse=True)
