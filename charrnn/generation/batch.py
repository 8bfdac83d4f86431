"""Many texts side by side, which join and leave between two steps: one matrix product for all.

A text is the one that `iter_tokens` samples alone, whatever else is in the batch. A product of many
rows rounds otherwise than that of one, so every logit is taken to be wrong by a few parts in a
million. Where that might change the token, the text is read again, alone, and its token is sampled
from that. A network that lets small errors grow is found by a witness, a text that is also read
alone all the time: once its logits differ from the batch's, every text is read alone.

Texts that share a `SamplerChain` are sampled as rows of one array; those of other settings are
sampled one group after the other. Few texts are read alone, which is faster for them.

B = texts side by side, G = those of one chain, A = those with costs, V = vocabulary, K =
alternatives.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.chain import SampledTokens, SamplerState
from charrnn.generation.filters import Floats, Logits, log_softmax
from charrnn.generation.network import LanguageModel
from charrnn.generation.running import ENDED, ChainGroup, Row, RunningText
from charrnn.state import State, concatenate_states, copy_row, select_rows, stack_states
from charrnn.text.vocab import Ids

SMALLEST_BATCH = 8  # fewer texts are faster one by one
_TOLERANCE = 3e-6  # how wrong a logit may be, as a share of the largest; 8e-7 was measured
_DRIFT = 0.5  # the share of it by which the witness may differ
_MOST_READ = 256  # ids that are read again in one step, about 5 ms: no other text waits longer
_LEFT = -2  # in place of an id: the text is read alone from now on, and sampled once that is done
_NO_ERRORS: Mapping[int, Exception] = MappingProxyType({})


class BatchStep(NamedTuple):
    """One more token of each text that continues: their numbers `rows` (B,) and ids (B,).

    An id is −1 where the constraint ended the text, or where there is an error: what a constraint
    met, by the text's number. A text that is being read again has no row in the step.

    Where costs are asked for, nats (A,) is −ln p of each id in the model, before anything shaped
    it; top, top_nats: (A, K), the model's likeliest ids and their costs. K is the most that a text
    asks for. asked: (B,), which of the rows ask, A of them; None where all do.
    """

    rows: NDArray[np.int64]
    tokens: Ids
    nats: Floats | None = None
    top: Ids | None = None
    top_nats: Floats | None = None
    asked: NDArray[np.bool_] | None = None
    errors: Mapping[int, Exception] = _NO_ERRORS


class Batch:
    """Texts that are sampled side by side: `join` begins some, `drop` ends some."""

    def __init__(self, model: LanguageModel, rows: Sequence[Row] = ()) -> None:
        self.is_exact = False  # whether every text is read alone, as such a network needs it
        self._model = model
        self._count = 0  # of all texts that ever joined: the next number
        self._lone: list[RunningText] = []  # texts that are read alone
        # Those that are read side by side, with their states (B, ...) and the ids (B,) that the
        # model reads before the next step.
        self._texts: list[RunningText] = []
        self._states: State = ()
        self._next: Ids | None = None
        self._groups: dict[int, ChainGroup] = {}  # by the id of the chain
        self._place_of: dict[int, int] = {}  # by number
        self._witness: RunningText | None = None
        self.join(rows)

    def __len__(self) -> int:
        return len(self._lone) + len(self._texts)

    def __iter__(self) -> Iterator[BatchStep]:
        """Yield one more token of each text at a time, until all are dropped."""
        while len(self):
            yield self.step()

    def join(self, rows: Sequence[Row]) -> list[int]:
        """Begin texts; return their numbers. To be called between two steps."""
        numbers = [*range(self._count, self._count + len(rows))]
        self._lone += [RunningText(*pair) for pair in zip(numbers, rows, strict=True)]
        self._count += len(rows)
        return numbers

    def drop(self, numbers: Container[int]) -> None:
        """Sample no more of the texts with these numbers; to be called between two steps."""
        self._lone = [text for text in self._lone if text.number not in numbers]
        stay = [i for i, text in enumerate(self._texts) if text.number not in numbers]
        if len(stay) < len(self._texts):
            self._keep(stay)

    def step(self) -> BatchStep:
        """Sample one more id of each text."""
        self._gather()
        errors: dict[int, Exception] = {}
        sampled = self._sample_together(errors)
        if self._lone:
            sampled = self._sample_lone(sampled, errors)
        return _describe(sampled, errors)

    def _gather(self) -> None:
        """Let texts that are read alone be read with the others, if that makes enough of them."""
        if not self._lone or self.is_exact or len(self) < SMALLEST_BATCH:
            return
        ready = [text for text in self._lone if len(text.unread) <= 1]
        if not ready or len(ready) + len(self._texts) < SMALLEST_BATCH:
            return
        self._lone = [text for text in self._lone if len(text.unread) > 1]
        for text in ready:
            if text.unread:
                text.read(self._model)
        self._advance()
        states = stack_states([text.state for text in ready])
        self._states = concatenate_states([self._states, states]) if self._texts else states
        self._texts = [*self._texts, *ready]
        for key, texts in groupby(sorted(ready, key=_chain_key), _chain_key):
            joining = [*texts]
            group = self._groups.setdefault(key, ChainGroup(joining[0].row.chain))
            group.add(joining)
        self._arrange()

    def _keep(self, places: Sequence[int]) -> None:
        """Read only the texts at these places side by side from now on."""
        self._texts = [self._texts[i] for i in places]
        self._states = select_rows(self._states, places)
        self._next = None if self._next is None or not places else self._next[places]
        kept = {text.number for text in self._texts}
        for group in self._groups.values():
            group.keep(kept)
        self._groups = {key: group for key, group in self._groups.items() if group.texts}
        self._arrange()

    def _arrange(self) -> None:
        """Note where each text is."""
        self._place_of = {text.number: i for i, text in enumerate(self._texts)}
        for group in self._groups.values():
            group.at = np.array([self._place_of[text.number] for text in group.texts])
            if len(self._groups) == 1 and (group.at == np.arange(len(group.at))).all():
                group.at = slice(None)  # without a copy of all arrays

    def _leave(self, places: Sequence[int]) -> None:
        """Read the texts at these places alone from now on."""
        leaving = {self._texts[i].number for i in places}
        self._lone += (self._texts[i] for i in places)
        self._keep([i for i, text in enumerate(self._texts) if text.number not in leaving])

    def _advance(self) -> None:
        """Let the model read the ids that were sampled last, of the texts side by side."""
        if self._next is not None:
            self._states = self._model.advance_all(self._next, self._states)
            self._next = None

    def _sample_together(self, errors: dict[int, Exception]) -> _Sampled:
        """Sample an id of each text that is read with others."""
        if not self._texts:
            return _Sampled([], np.zeros(0, np.int64), [])
        self._advance()
        raw = self._model.logits(self._states)
        if len(raw) > 1 and self._has_drifted(raw):
            self.is_exact = True
            for group in self._groups.values():
                for i in range(len(group.texts)):
                    group.give_back(i)
            self._leave(range(len(raw)))
            return _Sampled([], np.zeros(0, np.int64), [])
        tolerance = _TOLERANCE * _largest(raw)
        tokens = np.empty(len(raw), np.int64)
        self._next = np.empty(len(raw), np.int64)
        for group in self._groups.values():
            at = group.at
            self._next[at], tokens[at] = self._sample_group(group, raw[at], tolerance[at], errors)
        for text, token in zip(self._texts, tokens.tolist(), strict=True):
            if token >= 0:
                text.unread.append(token)
        sampled = _Sampled(self._texts, tokens, raw)
        left = np.flatnonzero(tokens == _LEFT).tolist()
        if not left:
            return sampled
        stay = np.flatnonzero(tokens != _LEFT).tolist()
        sampled = _Sampled([self._texts[i] for i in stay], tokens[stay], raw[stay])
        self._leave(left)
        return sampled

    def _has_drifted(self, raw: Logits) -> bool:
        """Read the witness alone too; return whether its logits differ from those of (B, V)."""
        witness = self._witness
        if witness is None or witness.number not in self._place_of:
            witness = min(self._texts, key=lambda text: len(text.unread))
            self._witness = witness
        witness.read(self._model, _MOST_READ)
        if witness.unread:
            return False
        alone = self._model.logits(witness.state)
        possible = np.isfinite(alone)  # in a blend −inf is a token that no model has
        together = raw[self._place_of[witness.number]]
        difference = np.abs(alone[possible] - together[possible]).max()
        return bool(difference > _DRIFT * _TOLERANCE * _largest(alone))

    def _sample_group(
        self, group: ChainGroup, raw: Logits, tolerance: Logits, errors: dict[int, Exception]
    ) -> tuple[Ids, Ids]:
        """Sample an id (G,) of each text of a group from (G, V); return them, and as told."""
        chain = group.chain
        shaped = chain.shape(raw, group.states)
        is_finished = np.zeros(len(raw), np.bool_)
        if group.constrained:
            shaped = shaped.copy()
        for i, text in group.constrained:
            try:
                is_finished[i] = text.is_finished
                if not is_finished[i]:
                    shaped[i] = text.constrained(shaped[i])
            except Exception as error:  # of one text, which must not stop the others
                errors[text.number] = error
                is_finished[i] = True
        xtc_uniforms = group.next_uniforms() if chain.has_xtc else np.zeros((len(raw), 1))
        uniforms = group.next_uniforms()  # in the order of `iter_tokens`
        tokens, cost_bits, is_sure = _sample_rows(group, shaped, uniforms, xtc_uniforms, tolerance)
        told = np.where(is_finished, ENDED, tokens)
        for i in np.flatnonzero(~(is_finished | is_sure)).tolist():
            if len(group.texts[i].unread) > _MOST_READ:
                group.give_back(i, taken=1 + chain.has_xtc)
                told[i] = _LEFT
                continue
            numbers = (float(uniforms[i, 0]), float(xtc_uniforms[i, 0]))
            tokens[i], cost_bits[i] = self._sample_alone(group, i, *numbers)
            told[i] = tokens[i]
        group.states = chain.update(group.states, tokens, cost_bits)
        for i, text in group.constrained:
            try:
                if told[i] >= 0 and not text.follow(int(told[i])):
                    told[i] = ENDED
            except Exception as error:
                errors[text.number] = error
                told[i] = ENDED
        return tokens, told

    def _sample_alone(
        self, group: ChainGroup, i: int, uniform: float, xtc_uniform: float
    ) -> tuple[int, float]:
        """Read text `i` of a group alone and sample from that, as `iter_tokens` would."""
        text = group.texts[i]
        text.read(self._model)
        copy_row(self._states, self._place_of[text.number], text.state)
        sampler_state = group.states.select_one(i)
        shaped = text.constrained(group.chain.shape(self._model.logits(text.state), sampler_state))
        return group.chain.sample(shaped, sampler_state, uniform, xtc_uniform)

    def _sample_lone(self, sampled: _Sampled, errors: dict[int, Exception]) -> _Sampled:
        """Add an id of each text that is read alone, once it has been read to its end."""
        texts = [*sampled.texts]
        tokens = sampled.tokens.tolist()
        logits = [*sampled.logits]
        left = _MOST_READ
        for text in self._lone:
            if len(text.unread) > 1:
                left -= text.read(self._model, left)
            if len(text.unread) > 1:
                continue
            try:
                token = text.sample(self._model)
            except Exception as error:
                errors[text.number] = error
                token = ENDED
            texts.append(text)
            tokens.append(token)
            logits.append(text.logits)
        return _Sampled(texts, np.array(tokens, np.int64), logits)


class _Sampled(NamedTuple):
    """Texts (B), an id (B,) of each, and the logits (B, V) that they were sampled from."""

    texts: Sequence[RunningText]
    tokens: Ids
    logits: Logits | Sequence[Logits]


def _chain_key(text: RunningText) -> int:
    return id(text.row.chain)


def _sample_rows(
    group: ChainGroup, shaped: Logits, uniforms: Floats, xtc_uniforms: Floats, tolerance: Logits
) -> SampledTokens:
    """Sample ids from shaped logits (G, V).

    They are sampled also with small errors added, which could change what a filter keeps.
    """
    chain = group.chain
    tries = [shaped]
    if chain.has_edges:
        noise = chain.steepness * tolerance * _noise(chain.vocab_size)
        tries += [shaped + noise, shaped - noise]
    parts = (_repeat(part, len(tries)) for part in group.states[1:])
    numbers = (_repeat(each, len(tries)) for each in (uniforms, xtc_uniforms, tolerance))
    state = SamplerState(None, *parts)
    sampled = chain.sample_rows(np.concatenate(tries), state, *numbers)
    votes = sampled.tokens.reshape(len(tries), -1)
    count = len(shaped)
    is_sure = sampled.is_sure[:count] & (votes == votes[0]).all(0)
    return SampledTokens(votes[0].copy(), sampled.cost_bits[:count].copy(), is_sure)


@cache
def _noise(vocab_size: int) -> NDArray[np.float32]:
    """Return errors (V,) that logits may have, as shares of the tolerance."""
    return np.random.default_rng(0).normal(0, 1, vocab_size).astype(np.float32)


def _describe(sampled: _Sampled, errors: Mapping[int, Exception]) -> BatchStep:
    """Return the step, with what each id costs in the model where that is asked for."""
    texts, tokens, logits = sampled
    rows = np.array([text.number for text in texts], np.int64)
    asked = [i for i, text in enumerate(texts) if text.row.alternatives is not None]
    if not asked:
        return BatchStep(rows, tokens, errors=errors)
    most = max(texts[i].row.alternatives or 0 for i in asked)
    raw = np.stack([logits[i] for i in asked])
    nats = 0 - log_softmax(raw.astype(np.float64))
    top = nats.argsort(-1, kind="stable")[:, :most]
    own = nats[np.arange(len(nats)), tokens[asked]]
    is_asked = None
    if len(asked) < len(texts):
        is_asked = np.zeros(len(texts), np.bool_)
        is_asked[asked] = True
    return BatchStep(rows, tokens, own, top, np.take_along_axis(nats, top, -1), is_asked, errors)


def _repeat(rows: NDArray[Any], times: int) -> NDArray[Any]:
    return np.concatenate([rows] * times) if times > 1 else rows


def _largest(logits: Logits) -> Logits:
    """Return the largest absolute value (..., 1) of the finite logits of each row (..., V)."""
    largest: Logits = np.abs(np.where(np.isfinite(logits), logits, 0)).max(-1, keepdims=True)
    return largest
