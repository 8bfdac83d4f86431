"""What stands between logits and an id: penalties, bans, filters, the draw, resolved once.

The order is always: repetition, presence, frequency and loop penalty; bias and bans; temperature,
top-n-sigma, top-k, typical, top-p, min-p, XTC; mirostat; the draw. At temperature 0 it ends after
the bans, with the likeliest. What drawing carries on is an argument and a result.

V = vocabulary, B = texts side by side: what is said of (V,) goes for the rows of (B, V) too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.generation.filters import (
    Logits,
    Uniform,
    describe_temperature,
    iter_cuts,
    keep_unsurprising,
    make_filter,
    update_mirostat,
)
from charrnn.generation.penalties import (
    TokenHistory,
    append_token,
    iter_penalties,
    make_history,
    select_histories,
    select_history,
    stack_histories,
)
from charrnn.text.vocab import Ids

_COLDEST = 1e-3


class SamplerState(NamedTuple):
    """What drawing carries from character to character.

    past: what was written, where a penalty asks. limit_bits: mirostat's; a float, or (B, 1). last:
    the id before, −1 where a text begins; an int, or (B,). What no setting asks for may stay as it
    was.
    """

    past: TokenHistory | None
    limit_bits: Any
    last: Any


class ChosenTokens(NamedTuple):
    """What was chosen for rows: ids (B,), their costs in bits (B, 1), and which are sure (B,)."""

    tokens: Ids
    cost_bits: NDArray[np.float64]
    is_sure: NDArray[np.bool_]


class SamplerChain:
    """All that stands between logits and an id."""

    def __init__(
        self,
        config: SampleConfig,
        vocab_size: int,
        bias: Logits | None = None,
        begins_word: NDArray[np.bool_] | None = None,
    ) -> None:
        """Resolve the settings.

        bias: (V,), added to the logits; −inf is a ban. begins_word: (V + 1,), whether a word
        begins after each id and, last, where a text does; word_temperature needs it.
        """
        self.vocab_size = vocab_size
        self._config = config
        self.bias = bias
        self._penalties = [each for _, each in iter_penalties(config)]
        self._filter = make_filter(config)
        self._temperatures: NDArray[np.float64] | None = None
        if config.word_temperature is not None and begins_word is not None:
            self._temperatures = np.where(begins_word, config.word_temperature, config.temperature)
        self._is_forgetful = not (self._penalties or config.mirostat) and self._temperatures is None
        self.has_chance = config.xtc > 0 and config.temperature > 0
        coldest = min(config.temperature, config.word_temperature or config.temperature)
        coldest = max(coldest - config.dynamic_temperature, _COLDEST)
        self.steepness = config.repetition_penalty / coldest  # how much it may enlarge a difference
        self.has_edges = bool(
            not config.temperature or config.mirostat or any(True for _ in iter_cuts(config))
        )  # where a small difference of logits may leave a character out

    def start(self, prompt: Ids) -> SamplerState:
        """Give the memory after the prompt (S,)."""
        past, window = None, self._config.penalty_window
        if self._penalties:
            has_loops = self._config.dry_penalty > 0
            past = make_history(prompt[-window:].tolist(), self.vocab_size, window, has_loops)
        return SamplerState(past, 2 * self._config.mirostat, int(prompt[-1]) if len(prompt) else -1)

    def shape(self, logits: Logits, memory: SamplerState) -> Logits:
        """Give the logits after penalties, bias and bans."""
        if memory.past is not None:
            for penalize in self._penalties:
                logits = penalize(logits, memory.past)
        return logits if self.bias is None else logits + self.bias

    def choose(
        self, logits: Logits, memory: SamplerState, uniform: float, chance: float = 0.0
    ) -> tuple[int, float]:
        """Give an id by shaped logits (V,), and what it cost in bits where mirostat asks.

        uniform: the draw's number in [0, 1); chance: XTC's. The draw is the inverse of the
        cumulated softmax of what the filters leave.
        """
        if not self._config.temperature:
            return int(logits.argmax()), 0.0
        kept = self._keep(logits, memory, chance)
        reached = _cumulate(kept)
        token = int(reached.searchsorted(uniform * reached[-1], "right"))
        if not self._config.mirostat:
            return token, 0.0
        return token, float(np.log2(reached[-1]) - kept[token] / np.log(2))

    def choose_rows(
        self,
        logits: Logits,
        memory: SamplerState,
        uniform: NDArray[np.float64],
        chance: NDArray[np.float64],
        doubt: NDArray[np.floating],
    ) -> ChosenTokens:
        """Do the same for rows, with numbers (B, 1), if each logit may be wrong by `doubt` (B, 1).

        A sum F of probabilities is then wrong by no more than 2 · doubt · F (1 − F), and a draw is
        sure if it is further from the next one on either side.
        """
        nothing = np.zeros((len(logits), 1))
        if not self._config.temperature:
            return ChosenTokens(logits.argmax(-1), nothing, np.ones(len(logits), np.bool_))
        kept = self._keep(logits, memory, chance)
        reached = _cumulate(kept)
        reached /= reached[:, -1:]
        tokens: Ids = (reached <= uniform).sum(-1)
        rows = np.arange(len(tokens))
        above = reached[rows, tokens]
        below = np.where(tokens > 0, reached[rows, tokens - 1], 0)
        reach, drawn = (2 * self.steepness * doubt)[:, 0], uniform[:, 0]
        is_sure = (above - drawn > reach * above * (1 - above)) & (
            drawn - below >= reach * below * (1 - below)
        )
        if not self._config.mirostat:
            return ChosenTokens(tokens, nothing, is_sure)
        return ChosenTokens(tokens, -np.log2(above - below)[:, None], is_sure)

    def remember(self, memory: SamplerState, token: int | Ids, cost_bits: Uniform) -> SamplerState:
        """Give the memory after an id, or one of each row."""
        if self._is_forgetful:
            return memory
        config, (past, limit_bits, _) = self._config, memory
        if past is not None:
            past = append_token(past, token, config.penalty_window)
        if config.mirostat:
            limit_bits = update_mirostat(
                limit_bits, cost_bits, config.mirostat, config.mirostat_rate
            )
        return SamplerState(past, limit_bits, token)

    def _keep(self, logits: Logits, memory: SamplerState, chance: Uniform) -> Logits:
        """Give what the filters leave, the likeliest before XTC at 0."""
        if self._temperatures is None:
            kept = self._filter(logits, chance)
        else:
            temperature = self._temperatures[memory.last]
            kept = self._filter(
                logits, chance, temperature[:, None] if logits.ndim > 1 else float(temperature)
            )
        return keep_unsurprising(kept, memory.limit_bits) if self._config.mirostat else kept


def _cumulate(kept: Logits) -> NDArray[np.float64]:
    """Give the sums of exp, in double precision: there u · total stays below the total."""
    sums: NDArray[np.float64] = np.exp(kept).astype(np.float64).cumsum(-1)
    return sums


def describe_chain(config: SampleConfig) -> list[str]:
    """Give the steps in force, in order, each in words."""
    words = [each for each, _ in iter_penalties(config)]
    if words:
        words[-1] += f" (penalties count the last {config.penalty_window:,} characters)"
    for name in ("bias", "only", "ban"):
        words += [f"{name} {each!r}" for each in getattr(config, name)]
    words += _describe_guides(config)
    if not config.temperature:
        return [*words, "the likeliest (temperature 0)"]
    words += describe_temperature(config)
    words += [each for each, _ in iter_cuts(config)]
    if config.mirostat:
        words.append(f"mirostat {config.mirostat:g} bits, rate {config.mirostat_rate:g}")
    return [*words, "a draw"]


def _describe_guides(config: SampleConfig) -> list[str]:
    """Give what says which characters may come next, in words."""
    words = [
        f"{name} {value!r}"
        for name in ("regex", "template")
        if (value := getattr(config, name)) is not None
    ]
    if config.choices:
        words.append(f"choices, {len(config.choices):,} texts")
    if config.balanced:
        words.append("balanced brackets and quotes")
    if config.max_copy is not None:
        words.append(f"novel: no run of more than {config.max_copy:,} characters from the corpus")
    return words


def stack_sampler_states(memories: Sequence[SamplerState]) -> SamplerState:
    """Put memories side by side."""
    pasts, limits, lasts = zip(*memories, strict=True)
    past = None if pasts[0] is None else stack_histories(pasts)
    return SamplerState(past, np.array(limits)[:, None], np.array(lasts))


def select_sampler_states(memory: SamplerState, rows: Sequence[int]) -> SamplerState:
    """Give some of several memories."""
    past = None if memory.past is None else select_histories(memory.past, rows)
    return SamplerState(past, memory.limit_bits[rows], memory.last[rows])


def select_sampler_state(memory: SamplerState, index: int) -> SamplerState:
    """Give one of several memories."""
    past = None if memory.past is None else select_history(memory.past, index)
    return SamplerState(past, float(memory.limit_bits[index, 0]), int(memory.last[index]))
