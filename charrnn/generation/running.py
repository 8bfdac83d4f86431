"""What a batch knows of its texts: of one alone, and of several that share a chain.

`batch.py` reads them; a text that is read alone samples its ids here exactly as `iter_tokens` does.

G = texts of one chain, V = vocabulary, K = alternatives.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.generation.chain import SamplerChain, SamplerState
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.filters import Floats, Logits
from charrnn.generation.network import LanguageModel
from charrnn.generation.sampler import BLOCK, Context, constrain

_NO_UNIFORMS = np.zeros(0)
ENDED = -1  # in place of an id: the constraint ended the text


@dataclass(frozen=True)
class Row:
    """A text that joins a batch: where it begins, and how it is sampled.

    alternatives: K; None leaves its costs out.
    """

    start: Context
    chain: SamplerChain
    random: np.random.Generator
    constraint: Constraint | None = None
    alternatives: int | None = None


class RunningText:
    """A text of a batch.

    state: read alone, so as `iter_tokens` has it; unread: the ids sampled since. sampler_state,
    uniforms, used: while no group has them.
    """

    def __init__(self, number: int, row: Row) -> None:
        self.number = number
        self.row = row
        self.state = row.start.state
        self.unread: list[int] = []
        self.logits: Logits | None = None  # (V,), of its last id where it is read alone
        self.sampler_state = row.chain.initial_state(row.start.prompt)
        self.uniforms: Floats = _NO_UNIFORMS
        self.used = 0
        self._constraint_state: Any = None
        if row.constraint is not None:
            self._constraint_state = row.constraint.initial_state(row.start.prompt)

    @property
    def is_finished(self) -> bool:
        """Whether the constraint ends the text here."""
        constraint = self.row.constraint
        return constraint is not None and constraint.is_finished(self._constraint_state)

    def constrained(self, logits: Logits) -> Logits:
        """Return the logits (V,) with −inf for what the constraint forbids here.

        Raises:
            ConfigError: no id is left.
        """
        if self.row.constraint is None:
            return logits
        return constrain(logits, self.row.constraint, self._constraint_state)

    def follow(self, token: int) -> bool:
        """Let the constraint see an id; return whether the text goes on with it."""
        if self.row.constraint is None:
            return True
        self._constraint_state = self.row.constraint.advance(token, self._constraint_state)
        return self._constraint_state is not None

    def read(self, model: LanguageModel, most: int | None = None) -> int:
        """Read the unread ids alone, `most` of them; return how many were read."""
        ids = self.unread[:most]
        if len(ids) == 1:
            self.state = model.advance(ids[0], self.state)
        elif ids:
            self.state = model.prefill(np.array(ids, np.int64), self.state)
        self.unread = self.unread[len(ids) :]
        return len(ids)

    def sample(self, model: LanguageModel) -> int:
        """Return the next id as `iter_tokens` would; ENDED where the constraint ends the text."""
        self.read(model)
        chain = self.row.chain
        self.logits = model.logits(self.state)
        if self.is_finished:
            return ENDED
        shaped = self.constrained(chain.shape(self.logits, self.sampler_state))
        xtc_uniform = self._next_uniform() if chain.has_xtc else 0.0
        uniform = self._next_uniform()
        token, cost_bits = chain.sample(shaped, self.sampler_state, uniform, xtc_uniform)
        if not self.follow(token):
            return ENDED
        self.sampler_state = chain.update(self.sampler_state, token, cost_bits)
        self.unread.append(token)
        return token

    def _next_uniform(self) -> float:
        self.fill_uniforms()
        self.used += 1
        return self.uniforms.item(self.used - 1)

    def fill_uniforms(self) -> None:
        """Draw the next random numbers of the text's own stream, if none are left."""
        if self.used == len(self.uniforms):
            self.uniforms = self.row.random.random(BLOCK)
            self.used = 0


class ChainGroup:
    """Texts that share a chain and are sampled as rows of one array.

    at: their places in the batch. states: of the sampler. constrained: the texts that a constraint
    restricts, each with its row.
    """

    def __init__(self, chain: SamplerChain) -> None:
        self.chain = chain
        self.at: slice | NDArray[np.int64] = slice(None)
        self.texts: list[RunningText] = []
        self.states = SamplerState(None, np.zeros((0, 1)), np.zeros(0, np.int64))
        self.constrained: list[tuple[int, RunningText]] = []
        self._uniforms = np.zeros((0, BLOCK))
        self._set_used(np.zeros(0, np.int64))

    def add(self, texts: Sequence[RunningText]) -> None:
        """Take texts over."""
        for text in texts:
            text.fill_uniforms()
        states = SamplerState.stack([text.sampler_state for text in texts])
        self.states = SamplerState.join([self.states, states]) if self.texts else states
        uniforms = np.stack([text.uniforms for text in texts])
        self._uniforms = np.concatenate((self._uniforms, uniforms)) if self.texts else uniforms
        self._set_used(np.concatenate((self._used, [text.used for text in texts])))
        self._set_texts([*self.texts, *texts])

    def keep(self, numbers: Collection[int]) -> None:
        """Keep only the texts with these numbers."""
        stay = [i for i, text in enumerate(self.texts) if text.number in numbers]
        if len(stay) < len(self.texts):
            self.states = self.states.select(stay)
            self._uniforms = self._uniforms[stay]
            self._set_used(self._used[stay])
            self._set_texts([self.texts[i] for i in stay])

    def give_back(self, i: int, taken: int = 0) -> None:
        """Note in a text itself where it is; taken: random numbers that it did not need."""
        text = self.texts[i]
        text.sampler_state = self.states.select_one(i)
        text.uniforms = self._uniforms[i].copy()
        text.used = int(self._used[i]) - taken

    def next_uniforms(self) -> Floats:
        """Return the next number (G, 1) of each text's own random stream."""
        if self._unused == 0:
            for i in np.flatnonzero(self._used == BLOCK).tolist():
                self._uniforms[i] = self.texts[i].row.random.random(BLOCK)
                self._used[i] = 0
            self._set_used(self._used)
        uniforms: Floats = self._uniforms[self._rows, self._used][:, None]
        self._used += 1
        self._unused -= 1
        return uniforms

    def _set_texts(self, texts: list[RunningText]) -> None:
        self.texts = texts
        self._rows = np.arange(len(texts))
        self.constrained = [
            (i, text) for i, text in enumerate(texts) if text.row.constraint is not None
        ]

    def _set_used(self, used: NDArray[np.int64]) -> None:
        """Note how many numbers (G,) each text has used, and the steps until one has none left."""
        self._used = used
        self._unused = BLOCK - int(used.max(initial=0))
