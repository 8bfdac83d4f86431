"""The sampler chain: all steps between logits and an id, resolved once from the settings.

The order is always: repetition, presence, frequency and DRY penalty; bias and bans; constraint;
temperature, top-n-sigma, top-k, typical, top-p, min-p, XTC; mirostat; sample. At temperature 0 the
chain ends after the constraint, with the likeliest. `sampler.py` and `batch.py` call it; what it
carries from token to token is a `SamplerState`, an argument and a result.

V = vocabulary, S = tokens of the prompt, B = texts side by side: (V,) can also be rows (B, V).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig
from charrnn.errors import counted
from charrnn.generation import filters, penalties
from charrnn.generation.filters import Floats, Logits, Uniform
from charrnn.text.vocab import Ids

_LEAST_TEMPERATURE = 1e-3  # below it any difference counts as infinitely enlarged


class SamplerState(NamedTuple):
    """What sampling carries from token to token; fields that no setting uses may be stale.

    history: None without penalties. mirostat_mu: bits, a float or (B, 1). last_token: the id
    before, −1 where a text begins, an int or (B,).
    """

    history: penalties.TokenHistory | None
    mirostat_mu: Any
    last_token: Any

    @staticmethod
    def stack(states: Sequence[SamplerState]) -> SamplerState:
        """Return the states of several texts as one."""
        histories, mus, last_tokens = zip(*states, strict=True)
        history = None if histories[0] is None else penalties.TokenHistory.stack(histories)
        return SamplerState(history, np.array(mus)[:, None], np.array(last_tokens))

    @staticmethod
    def join(states: Sequence[SamplerState]) -> SamplerState:
        """Return several stacks of states as one."""
        histories, mus, last_tokens = zip(*states, strict=True)
        history = None if histories[0] is None else penalties.TokenHistory.join(histories)
        return SamplerState(history, np.concatenate(mus), np.concatenate(last_tokens))

    def select(self, rows: Sequence[int]) -> SamplerState:
        """Return the states of the texts at `rows`."""
        history = None if self.history is None else self.history.select(rows)
        return SamplerState(history, self.mirostat_mu[rows], self.last_token[rows])

    def select_one(self, row: int) -> SamplerState:
        """Return the state of one of the texts, as `SamplerChain.sample` takes it."""
        history = None if self.history is None else self.history.select(row)
        return SamplerState(history, float(self.mirostat_mu[row, 0]), int(self.last_token[row]))


class SampledTokens(NamedTuple):
    """One id of each row (B,), its cost in bits (B, 1), and whether it is sure (B,)."""

    tokens: Ids
    cost_bits: Floats
    is_sure: NDArray[np.bool_]


class SamplerChain:
    """All steps between logits and an id."""

    def __init__(
        self,
        config: SampleConfig,
        vocab_size: int,
        bias: Logits | None = None,
        begins_word: NDArray[np.bool_] | None = None,
        end: int = -1,
    ) -> None:
        """Resolve the settings.

        bias: (V,), added to the logits; −inf is a ban. begins_word: (V + 1,), whether a word
        begins after each id and, last, at the start of a text; word_temperature needs it. end:
        the id that ends a record, which no penalty counts; −1 for none.
        """
        self.vocab_size = vocab_size
        self._end = end
        self.bias = bias
        self._config = config
        self._penalties = [penalty for _, penalty in penalties.iter_penalties(config)]
        self._filter = filters.make_filter(config)
        self._temperatures: Floats | None = None  # after each last_token; −1 is the last one
        if config.word_temperature is not None and begins_word is not None:
            self._temperatures = np.where(begins_word, config.word_temperature, config.temperature)
        self._is_stateless = not (self._penalties or config.mirostat) and self._temperatures is None
        self.has_xtc = config.xtc > 0 and config.temperature > 0
        # For batch.py: how much an error of the logits can grow, and whether it can cost a token.
        coldest = min(config.temperature, config.word_temperature or config.temperature)
        coldest = max(coldest - config.dynamic_temperature, _LEAST_TEMPERATURE)
        self.steepness = config.repetition_penalty / coldest
        has_filters = any(True for _ in filters.iter_filters(config))
        self.has_edges = not config.temperature or config.mirostat > 0 or has_filters

    def initial_state(self, prompt: Ids) -> SamplerState:
        """Return the state after the prompt (S,)."""
        history = None
        if self._penalties:
            window = self._config.penalty_window
            has_dry = self._config.dry_penalty > 0
            tokens = prompt[-window:].tolist()
            history = penalties.make_history(tokens, self.vocab_size, window, has_dry)
        last_token = int(prompt[-1]) if len(prompt) else -1
        return SamplerState(history, 2 * self._config.mirostat, last_token)

    def shape(self, logits: Logits, state: SamplerState) -> Logits:
        """Return the logits after penalties, bias and bans."""
        if state.history is not None:
            raw = logits
            for penalize in self._penalties:
                logits = penalize(logits, state.history)
            if self._end >= 0 and logits is not raw:
                logits[..., self._end] = raw[..., self._end]
        return logits if self.bias is None else logits + self.bias

    def sample(
        self, logits: Logits, state: SamplerState, uniform: float, xtc_uniform: float = 0.0
    ) -> tuple[int, float]:
        """Return an id sampled by shaped logits (V,), and its cost in bits where mirostat needs it.

        uniform, xtc_uniform: in [0, 1). The id is where the cumulated softmax passes `uniform`.
        """
        if not self._config.temperature:
            return int(logits.argmax()), 0.0
        kept = self._filtered(logits, state, xtc_uniform)
        # In float64 uniform · total stays below the total.
        reached: Floats = np.exp(kept).astype(np.float64).cumsum(-1)
        token = int(reached.searchsorted(uniform * reached[-1], "right"))
        if not self._config.mirostat:
            return token, 0.0
        return token, float(np.log2(reached[-1]) - kept[token] / np.log(2))

    def sample_rows(
        self,
        logits: Logits,
        state: SamplerState,
        uniform: Floats,
        xtc_uniform: Floats,
        rounding_tolerance: NDArray[np.floating],
    ) -> SampledTokens:
        """Sample an id of each row of logits (B, V), each wrong by `rounding_tolerance` at most.

        All numbers are (B, 1). Where no logit is wrong by more than ε, a sum F of probabilities is
        wrong by 2 ε F (1 − F) at most: a uniform number further than that from the sums on either
        side of it is sure.
        """
        no_cost = np.zeros((len(logits), 1))
        if not self._config.temperature:
            return SampledTokens(logits.argmax(-1), no_cost, np.ones(len(logits), np.bool_))
        kept = self._filtered(logits, state, xtc_uniform)
        reached: Floats = np.exp(kept).astype(np.float64).cumsum(-1)
        reached /= reached[:, -1:]
        tokens: Ids = (reached <= uniform).sum(-1)  # as searchsorted does in `sample`
        rows = np.arange(len(tokens))
        above = reached[rows, tokens]
        below = np.where(tokens > 0, reached[rows, tokens - 1], 0)  # the sums on either side
        reach = (2 * self.steepness * rounding_tolerance)[:, 0]
        is_sure = (above - uniform[:, 0] > reach * above * (1 - above)) & (
            uniform[:, 0] - below >= reach * below * (1 - below)
        )
        if not self._config.mirostat:
            return SampledTokens(tokens, no_cost, is_sure)
        return SampledTokens(tokens, -np.log2(above - below)[:, None], is_sure)

    def update(self, state: SamplerState, token: int | Ids, cost_bits: Uniform) -> SamplerState:
        """Return the state after one more id, or one of each row."""
        if self._is_stateless:  # most chains are
            return state
        config = self._config
        history, mu, _ = state
        if history is not None:
            history = penalties.append_token(history, token, config.penalty_window)
        if config.mirostat:
            mu = filters.update_mirostat(mu, cost_bits, config.mirostat, config.mirostat_rate)
        return SamplerState(history, mu, token)

    def _filtered(self, logits: Logits, state: SamplerState, xtc_uniform: Uniform) -> Logits:
        """Return the logits after temperature and filters; before those the largest is 0."""
        if self._temperatures is None:
            kept = self._filter(logits, xtc_uniform)
        else:
            temperature = self._temperatures[state.last_token]
            column = temperature[:, None] if logits.ndim > 1 else float(temperature)
            kept = self._filter(logits, xtc_uniform, column)
        return filters.keep_unsurprising(kept, state.mirostat_mu) if self._config.mirostat else kept


def describe_chain(config: SampleConfig) -> list[str]:
    """Return the active steps in their order, each in words.

    >>> describe_chain(SampleConfig(ban=("z",), temperature=0.5, top_k=9))
    ["ban 'z'", 'temperature 0.5', 'top-k 9', 'sample']
    """
    words = [each for each, _ in penalties.iter_penalties(config)]
    if words:
        words[-1] += f" (penalties count the last {counted(config.penalty_window, 'character')})"
    for name in ("bias", "only", "ban"):
        words += [f"{name} {each!r}" for each in getattr(config, name)]
    for name in ("ban_word", "must"):  # from here on constraints
        words += [f"{name.replace('_', '-')} {each!r}" for each in getattr(config, name)]
    for name in ("regex", "template"):
        if getattr(config, name) is not None:
            words.append(f"{name} {getattr(config, name)!r}")
    if config.choices:
        words.append(f"choices, {counted(len(config.choices), 'text')}")
    if config.balanced:
        words.append("balanced brackets and quotes")
    if config.max_copy is not None:
        longest = counted(config.max_copy, "character")
        words.append(f"max-copy: no run of more than {longest} of the corpus")
    if config.beam:
        return [*words, f"beam search with {config.beam:,} hypotheses"]
    if not config.temperature:
        return [*words, "the likeliest (temperature 0)"]
    words += filters.describe_temperature(config)
    words += [each for each, _ in filters.iter_filters(config)]
    if config.mirostat:
        words.append(f"mirostat {config.mirostat:g} bits, rate {config.mirostat_rate:g}")
    return [*words, "sample"]
