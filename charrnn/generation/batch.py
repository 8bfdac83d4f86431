"""Many texts side by side: each character of all of them by one matrix product.

A text is the one that `iter_ids` would write alone. The products of many rows round otherwise than
those of one, so each logit is taken to be wrong by a few parts in a million, a few times what was
measured. Where such an error might lead to another character, the text is read anew, alone, and the
choice is made from that. Whether a filter would leave out another one is tried on logits that are
moved so far, up and down. A network that lets small differences grow is found out by a witness, a
text that is read alone all along: once its logits are no longer the batch's, all are read alone.

B = texts side by side, V = vocabulary, K = alternatives.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.chain import (
    SamplerChain,
    SamplerState,
    select_sampler_state,
    select_sampler_states,
    stack_sampler_states,
)
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.filters import Logits
from charrnn.generation.language_model import LanguageModel
from charrnn.generation.sampler import BLOCK, Context, constrain
from charrnn.state import State, copy_row, select_rows, stack_states
from charrnn.text.vocab import Ids

_DOUBT = 3e-6  # how far a logit may be off, as a share of the largest; 8e-7 was seen
_DRIFT = 0.5  # the share of it that the witness may be off

_Numbers = tuple[NDArray[np.float64], NDArray[np.float64]]  # (B, 1) each: the draw's and XTC's


class BatchStep(NamedTuple):
    """One more character of each text that goes on: `rows` (B,) are their places in the batch.

    tokens: (B,) ids; −1 where the guide ended the text. Where costs are asked for, nats: (B,)
    −ln of each one's probability in the model, before anything shaped it; top, top_nats: (B, K)
    the model's likeliest ids, and what they would have cost.
    """

    rows: NDArray[np.int64]
    tokens: Ids
    nats: NDArray[np.float64] | None = None
    top: Ids | None = None
    top_nats: NDArray[np.float64] | None = None


class SampleBatch(Protocol):
    """Texts that are written side by side, wherever that is done."""

    guide_reason: str

    def __iter__(self) -> Iterator[BatchStep]:
        """Write a character of each text, and another, until all are dropped."""
        ...

    def drop(self, rows: Container[int]) -> None:
        """Write no more of the texts at these places; between two steps."""
        ...


class SamplingBackend(Protocol):
    """Another place to write texts than here; `at_once` is how many it writes side by side."""

    at_once: int

    def start(
        self,
        reader: LanguageModel,
        starts: Sequence[Context],
        randoms: Sequence[np.random.Generator],
        alternatives: int | None,
    ) -> SampleBatch:
        """Begin texts at `starts`, each with its own random stream."""
        ...


class Batch:
    """Texts that are written side by side; `drop` ends some of them."""

    def __init__(
        self,
        network: LanguageModel,
        starts: Sequence[Context],
        chain: SamplerChain,
        randoms: Sequence[np.random.Generator],
        guide: Constraint | None = None,
        *,
        alternatives: int | None = None,
    ) -> None:
        """Begin the texts, whose prompts are of one length.

        alternatives: K; None where no costs are asked for.
        """
        self._network, self._chain, self._guide = network, chain, guide
        self._alternatives = alternatives
        self.guide_reason = guide.reason if guide else ""
        self._starts, self._randoms = starts, randoms
        self._rows = np.arange(len(starts))
        self._written: list[list[int]] = [[] for _ in starts]
        self._states = stack_states([start.state for start in starts])
        different = {id(start): start.prompt for start in starts}  # most often one
        memories = {key: chain.start(prompt) for key, prompt in different.items()}
        self._memory = stack_sampler_states([memories[id(start)] for start in starts])
        self._places: list[Any] = []
        if guide is not None:
            places = {key: guide.start(prompt) for key, prompt in different.items()}
            self._places = [places[id(start)] for start in starts]
        self._noise = np.random.default_rng(0).normal(0, 1, chain.vocab_size).astype(np.float32)
        self._last: Ids = np.zeros(len(starts), np.int64)
        self._read_before = [(0, start.state) for start in starts]
        self._alone: list[State] | None = None
        self._numbers, self._used = np.empty((len(starts), BLOCK)), BLOCK

    def __iter__(self) -> Iterator[BatchStep]:
        """Write a character of each text, and another, until all are dropped."""
        while len(self._rows):
            raw = self._network.logits(self._states)
            if self._alone is None and len(self._rows) > 1 and self._has_drifted(raw):
                self._alone = [self._read_alone(row) for row in self._rows.tolist()]
                self._states = stack_states(self._alone)
                raw = self._network.logits(self._states)
            tokens = self._choose(raw)
            yield self._describe(tokens, raw)
            if len(self._rows):
                self._advance(self._last)

    def drop(self, rows: Container[int]) -> None:
        """Write no more of the texts at these places; between two steps."""
        stay = [i for i, row in enumerate(self._rows.tolist()) if row not in rows]
        if len(stay) < len(self._rows):
            self._rows = self._rows[stay]
            self._states = select_rows(self._states, stay)
            self._last = self._last[stay]
            self._memory = select_sampler_states(self._memory, stay)
            self._places = [self._places[i] for i in stay] if self._guide else []
            self._alone = [self._alone[i] for i in stay] if self._alone else None

    def _advance(self, tokens: Ids) -> None:
        if self._alone is None:
            self._states = self._network.advance_all(tokens, self._states)
        else:
            ways = zip(tokens.tolist(), self._alone, strict=True)
            self._alone = [self._network.advance(token, state) for token, state in ways]
            self._states = stack_states(self._alone)

    def _has_drifted(self, raw: Logits) -> bool:
        """Read the first text alone too; tell whether that gives other logits than (B, V)."""
        alone = self._network.logits(self._read_alone(int(self._rows[0])))
        return bool(np.abs(alone - raw[0]).max() > _DRIFT * _DOUBT * np.abs(alone).max())

    def _read_alone(self, row: int) -> State:
        """Read what stands in a text, alone, on from where that was done; give the state after."""
        done, state = self._read_before[row]
        ids = self._written[row]
        state = self._network.prefill(np.array(ids[done:], np.int64), state)
        self._read_before[row] = (len(ids), state)
        return state

    def _choose(self, raw: Logits) -> Ids:
        """Draw an id (B,) for each text, and remember it; −1 where the guide ends the text."""
        shaped = self._chain.shape(raw, self._memory)
        over = np.zeros(len(raw), np.bool_)
        if self._guide is not None:
            over = np.array([self._guide.is_over(place) for place in self._places])
            free = [self._guided(i, shaped[i]) for i in range(len(raw)) if not over[i]]
            if free:
                shaped = shaped.copy()
                shaped[~over] = free
        chances = self._draw_numbers() if self._chain.has_chance else np.zeros((len(raw), 1))
        numbers = (self._draw_numbers(), chances)
        doubt = _DOUBT * np.abs(raw).max(-1, keepdims=True)
        tokens, cost_bits = self._choose_surely(shaped, numbers, doubt, ~over)
        self._last = tokens
        self._memory = self._chain.remember(self._memory, tokens, cost_bits)
        for row, token in zip(self._rows.tolist(), tokens.tolist(), strict=True):
            self._written[row].append(token)
        return tokens if self._guide is None else self._follow(tokens, over)

    def _choose_surely(
        self, shaped: Logits, numbers: _Numbers, doubt: Logits, is_open: NDArray[np.bool_]
    ) -> tuple[Ids, NDArray[np.float64]]:
        """Choose, and choose alone where rounding might decide."""
        ways, memory = [shaped], self._memory
        if self._chain.has_edges:
            noise = self._chain.steepness * doubt * self._noise
            ways += [shaped + noise, shaped - noise]
        memory = SamplerState(None, *(_repeat(each, len(ways)) for each in self._memory[1:]))
        more = (_repeat(each, len(ways)) for each in (*numbers, doubt))
        chosen, cost_bits, is_sure = self._chain.choose_rows(np.concatenate(ways), memory, *more)
        votes = chosen.reshape(len(ways), -1)
        tokens, cost_bits = votes[0].copy(), cost_bits[: len(shaped)].copy()
        is_sure = is_sure[: len(shaped)] & (votes == tokens).all(0)
        for i in np.flatnonzero(is_open & ~is_sure).tolist():
            tokens[i], cost_bits[i] = self._choose_alone(i, numbers)
        return tokens, cost_bits

    def _choose_alone(self, index: int, numbers: _Numbers) -> tuple[int, float]:
        """Read a text anew and choose from that, as `iter_ids` would; go on from its state."""
        state = self._alone[index] if self._alone else self._read_alone(int(self._rows[index]))
        copy_row(self._states, index, state)
        memory = select_sampler_state(self._memory, index)
        shaped = self._chain.shape(self._network.logits(state), memory)
        if self._guide is not None:
            shaped = self._guided(index, shaped)
        uniform, chance = (float(each[index, 0]) for each in numbers)
        return self._chain.choose(shaped, memory, uniform, chance)

    def _guided(self, index: int, logits: Logits) -> Logits:
        assert self._guide is not None
        return constrain(logits, self._guide, self._places[index])

    def _follow(self, tokens: Ids, over: NDArray[np.bool_]) -> Ids:
        """Let the guide read what was drawn; give −1 where it ends the text."""
        assert self._guide is not None
        followed = tokens.copy()
        for i, token in enumerate(tokens.tolist()):
            if not over[i]:
                self._places[i] = self._guide.follow(self._places[i], token)
            if over[i] or self._places[i] is None:
                followed[i] = -1
        return followed

    def _describe(self, tokens: Ids, raw: Logits) -> BatchStep:
        """Give the step, and what each id cost in the model, where that is asked for."""
        if self._alternatives is None:
            return BatchStep(self._rows, tokens)
        doubles = raw.astype(np.float64)
        doubles -= doubles.max(-1, keepdims=True)
        nats = np.log(np.exp(doubles).sum(-1, keepdims=True)) - doubles
        top = nats.argsort(-1, kind="stable")[:, : self._alternatives]
        own = nats[np.arange(len(nats)), tokens]
        return BatchStep(self._rows, tokens, own, top, np.take_along_axis(nats, top, -1))

    def _draw_numbers(self) -> NDArray[np.float64]:
        """Give the next random number (B, 1) of each text's own stream."""
        if self._used == BLOCK:
            for row in self._rows.tolist():
                self._numbers[row] = self._randoms[row].random(BLOCK)
            self._used = 0
        self._used += 1
        numbers: NDArray[np.float64] = self._numbers[self._rows, self._used - 1][:, None]
        return numbers


def _repeat(rows: NDArray[Any], times: int) -> NDArray[Any]:
    return np.concatenate([rows] * times) if times > 1 else rows
