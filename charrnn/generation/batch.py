"""Many texts side by side: each token of all of them by one matrix product.

A text is the one that `iter_tokens` samples alone. A product of many rows rounds otherwise than
that of one, so every logit is taken to be wrong by a few parts in a million. Where that might
change the token, the text is read again, alone, and its token is sampled from that. A network that
lets small errors grow is found by a witness, a text that is also read alone all the time: once its
logits differ from the batch's, all texts are read alone.

B = texts side by side, V = vocabulary, K = alternatives.
"""

from collections.abc import Container, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.chain import SampledTokens, SamplerChain, SamplerState
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.filters import Floats, Logits, log_softmax
from charrnn.generation.network import LanguageModel
from charrnn.generation.sampler import BLOCK, Context, constrain
from charrnn.state import State, copy_row, select_rows, stack_states
from charrnn.text.vocab import Ids

_TOLERANCE = 3e-6  # how wrong a logit may be, as a share of the largest; 8e-7 was measured
_DRIFT = 0.5  # the share of it by which the witness may differ


class BatchStep(NamedTuple):
    """One more token of each text that continues: their numbers `rows` (B,) and ids (B,).

    An id is −1 where the constraint ended the text. Where costs are asked for, nats (B,) is −ln p
    of each id in the model, before anything shaped it; top, top_nats: (B, K), the model's likeliest
    ids and their costs.
    """

    rows: NDArray[np.int64]
    tokens: Ids
    nats: Floats | None = None
    top: Ids | None = None
    top_nats: Floats | None = None


class Batch:
    """Texts that are sampled side by side; `drop` ends some of them."""

    def __init__(
        self,
        model: LanguageModel,
        starts: Sequence[Context],
        chain: SamplerChain,
        randoms: Sequence[np.random.Generator],
        constraint: Constraint | None = None,
        *,
        alternatives: int | None = None,
    ) -> None:
        """Begin texts whose prompts are of one length.

        alternatives: K; None leaves the costs out of the steps.
        """
        self.constraint_reason = constraint.reason if constraint else ""
        self._model = model
        self._chain = chain
        self._constraint = constraint
        self._alternatives = alternatives
        self._rows = np.arange(len(starts))  # the numbers of the texts that continue
        self._states = stack_states([start.state for start in starts])  # of those texts, (B, ...)
        prompts = {id(start): start.prompt for start in starts}  # mostly one for all
        sampler_states = {key: chain.initial_state(prompt) for key, prompt in prompts.items()}
        self._sampler_states = SamplerState.stack([sampler_states[id(start)] for start in starts])
        self._constraint_states: list[Any] = []
        if constraint is not None:
            states = {key: constraint.initial_state(prompt) for key, prompt in prompts.items()}
            self._constraint_states = [states[id(start)] for start in starts]
        self._last: Ids = np.zeros(len(starts), np.int64)  # the ids sampled last
        self._ids: list[list[int]] = [[] for _ in starts]  # all ids, for reading a text alone
        self._read_before = [(0, start.state) for start in starts]  # how many of them, the state
        self._alone: list[State] | None = None  # states, once all texts are read alone
        self._noise = np.random.default_rng(0).normal(0, 1, chain.vocab_size).astype(np.float32)
        self._randoms = randoms
        self._uniforms = np.empty((len(starts), BLOCK))  # of each text's own random stream
        self._used = BLOCK

    def __iter__(self) -> Iterator[BatchStep]:
        """Yield one more token of each text at a time, until all are dropped."""
        while len(self._rows):
            raw = self._model.logits(self._states)
            if self._alone is None and len(self._rows) > 1 and self._has_drifted(raw):
                self._alone = [self._read_alone(row) for row in self._rows.tolist()]
                self._states = stack_states(self._alone)
                raw = self._model.logits(self._states)
            tokens = self._sample(raw)
            yield self._describe(tokens, raw)
            if not len(self._rows):
                break
            if self._alone is None:
                self._states = self._model.advance_all(self._last, self._states)
            else:
                pairs = zip(self._last.tolist(), self._alone, strict=True)
                self._alone = [self._model.advance(token, state) for token, state in pairs]
                self._states = stack_states(self._alone)

    def drop(self, rows: Container[int]) -> None:
        """Sample no more of the texts with these numbers; to be called between two steps."""
        stay = [i for i, row in enumerate(self._rows.tolist()) if row not in rows]
        if len(stay) < len(self._rows):
            self._rows = self._rows[stay]
            self._states = select_rows(self._states, stay)
            self._last = self._last[stay]
            self._sampler_states = self._sampler_states.select(stay)
            if self._constraint is not None:
                self._constraint_states = [self._constraint_states[i] for i in stay]
            if self._alone is not None:
                self._alone = [self._alone[i] for i in stay]

    def _has_drifted(self, raw: Logits) -> bool:
        """Read the first text alone too; return whether its logits differ from those of (B, V)."""
        alone = self._model.logits(self._read_alone(int(self._rows[0])))
        possible = np.isfinite(alone)  # in a blend −inf is a token that no model has
        difference = np.abs(alone[possible] - raw[0, possible]).max()
        return bool(difference > _DRIFT * _TOLERANCE * _largest(alone))

    def _read_alone(self, row: int) -> State:
        """Return the state after a text, read alone from where that was done before."""
        done, state = self._read_before[row]
        ids = self._ids[row]
        state = self._model.prefill(np.array(ids[done:], np.int64), state)
        self._read_before[row] = (len(ids), state)
        return state

    def _sample(self, raw: Logits) -> Ids:
        """Sample an id (B,) of each text; −1 where the constraint ends the text."""
        shaped = self._chain.shape(raw, self._sampler_states)
        is_finished = np.zeros(len(raw), np.bool_)
        if self._constraint is not None:
            is_finished = np.array(list(map(self._constraint.is_finished, self._constraint_states)))
            shaped = shaped.copy()
            for i in np.flatnonzero(~is_finished).tolist():
                shaped[i] = constrain(shaped[i], self._constraint, self._constraint_states[i])
        xtc_uniforms = self._next_uniforms() if self._chain.has_xtc else np.zeros((len(raw), 1))
        uniforms = self._next_uniforms()  # in the order of `iter_tokens`
        tolerance = _TOLERANCE * _largest(raw)
        tokens, cost_bits, is_sure = self._sample_rows(shaped, uniforms, xtc_uniforms, tolerance)
        for i in np.flatnonzero(~(is_finished | is_sure)).tolist():
            pair = (float(uniforms[i, 0]), float(xtc_uniforms[i, 0]))
            tokens[i], cost_bits[i] = self._sample_alone(i, *pair)
        self._last = tokens
        self._sampler_states = self._chain.update(self._sampler_states, tokens, cost_bits)
        for row, token in zip(self._rows.tolist(), tokens.tolist(), strict=True):
            self._ids[row].append(token)
        if self._constraint is None:
            return tokens
        sampled = np.where(is_finished, -1, tokens)
        states = self._constraint_states
        for i in np.flatnonzero(~is_finished).tolist():
            states[i] = self._constraint.advance(int(tokens[i]), states[i])
            if states[i] is None:  # the constraint ends the text before this id
                sampled[i] = -1
        return sampled

    def _sample_rows(
        self, shaped: Logits, uniforms: Floats, xtc_uniforms: Floats, tolerance: Logits
    ) -> SampledTokens:
        """Sample ids from shaped logits (B, V).

        They are sampled also with small errors added, which could change what a filter keeps.
        """
        tries = [shaped]
        if self._chain.has_edges:
            noise = self._chain.steepness * tolerance * self._noise
            tries += [shaped + noise, shaped - noise]
        parts = (_repeat(part, len(tries)) for part in self._sampler_states[1:])
        numbers = (_repeat(each, len(tries)) for each in (uniforms, xtc_uniforms, tolerance))
        state = SamplerState(None, *parts)
        sampled = self._chain.sample_rows(np.concatenate(tries), state, *numbers)
        votes = sampled.tokens.reshape(len(tries), -1)
        count = len(shaped)
        is_sure = sampled.is_sure[:count] & (votes == votes[0]).all(0)
        return SampledTokens(votes[0].copy(), sampled.cost_bits[:count].copy(), is_sure)

    def _sample_alone(self, i: int, uniform: float, xtc_uniform: float) -> tuple[int, float]:
        """Read text `i` alone and sample from that, as `iter_tokens` would; keep its state."""
        state = self._alone[i] if self._alone else self._read_alone(int(self._rows[i]))
        copy_row(self._states, i, state)
        sampler_state = self._sampler_states.select_one(i)
        shaped = self._chain.shape(self._model.logits(state), sampler_state)
        if self._constraint is not None:
            shaped = constrain(shaped, self._constraint, self._constraint_states[i])
        return self._chain.sample(shaped, sampler_state, uniform, xtc_uniform)

    def _describe(self, tokens: Ids, raw: Logits) -> BatchStep:
        """Return the step, with what each id costs in the model where that is asked for."""
        if self._alternatives is None:
            return BatchStep(self._rows, tokens)
        nats = 0 - log_softmax(raw.astype(np.float64))
        top = nats.argsort(-1, kind="stable")[:, : self._alternatives]
        own = nats[np.arange(len(nats)), tokens]
        return BatchStep(self._rows, tokens, own, top, np.take_along_axis(nats, top, -1))

    def _next_uniforms(self) -> Floats:
        """Return the next number (B, 1) of each text's own random stream."""
        if self._used == BLOCK:
            for row in self._rows.tolist():
                self._uniforms[row] = self._randoms[row].random(BLOCK)
            self._used = 0
        self._used += 1
        uniforms: Floats = self._uniforms[self._rows, self._used - 1][:, None]
        return uniforms


def _repeat(rows: NDArray[Any], times: int) -> NDArray[Any]:
    return np.concatenate([rows] * times) if times > 1 else rows


def _largest(logits: Logits) -> Logits:
    """Return the largest absolute value (..., 1) of the finite logits of each row (..., V)."""
    largest: Logits = np.abs(np.where(np.isfinite(logits), logits, 0)).max(-1, keepdims=True)
    return largest
