"""Several models as one: a blend of what they expect, or one that is pushed away from another.

Each reads the text in its own symbols (`ensemble.py`); here their probabilities become logits. It
knows nothing of files or of drawing.

The symbols are kept apart: a character that one model has as a symbol and another writes as bytes
has both ways, the probability of each coming from the models that write so. Added up they are the
character's whole: none is counted twice, none is lost.

V = symbols of the common vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.inference.network.ensemble import Ensemble, LogProbabilities
from charrnn.inference.network.reader import Reader
from charrnn.inference.network.states import State
from charrnn.text.vocab import Vocab


class Blend(Ensemble):
    """Models by weight, over every symbol that one of them has.

    p = Σ wᵢ pᵢ / Σ wᵢ, or in log space ln p = Σ wᵢ ln pᵢ / Σ wᵢ less its normalizer: the linear and
    the logarithmic pool (Genest and Zidek 1986). In the first a model gives 0 to a symbol that it
    does not have, in the second that symbol is impossible.
    """

    def __init__(
        self, parts: Sequence[tuple[Reader, Vocab, float]], in_log_space: bool = False
    ) -> None:
        readers = [(reader, vocab) for reader, vocab, _ in parts]
        super().__init__(reduce(Vocab.union, [vocab for _, vocab in readers]), readers)
        self._weights = [_checked("weight", weight) for *_, weight in parts]
        self._in_log_space = in_log_space
        if in_log_space and not np.all([part.knows for part in self._parts], axis=0).any():
            raise ConfigError(
                "these models have no character in common, so that in log space all are "
                "impossible; blend them by probability"
            )

    def logits(self, state: State) -> NDArray[np.float32]:
        """Give ln p (V,) of the next symbol after a state, or (B, V) after B of them."""
        opinions = zip(self._weights, self._opinions(state), strict=True)
        if self._in_log_space:
            pooled = [
                (np.where(speaks, weight * each, 0), np.where(speaks, weight, 0))
                for weight, (each, speaks) in opinions
            ]
            sums, weights = (sum(each) for each in zip(*pooled, strict=True))
            return _normalized(sums / weights)
        total = sum(weight * speaks * np.exp(each) for weight, (each, speaks) in opinions)
        with np.errstate(divide="ignore"):
            return _normalized(np.log(total))


class Guided(Ensemble):
    """A model pushed away from another, over the symbols that the first one has.

    ln p = (1 + s) ln p_main − s ln p_other less its normalizer: classifier-free guidance (Ho and
    Salimans 2022; on language models Sanchez et al. 2023), close to contrastive decoding (Li et al.
    2023). p_main and p_other are compared among the symbols that both have; no other is pushed.
    """

    def __init__(
        self, main: tuple[Reader, Vocab], other: tuple[Reader, Vocab], strength: float
    ) -> None:
        super().__init__(main[1], [main, other])
        self._strength = _checked("strength", strength)
        if not self._parts[1].knows.any():
            raise ConfigError(
                "the model to guide away from has no character in common with the first; "
                "name another by --guide"
            )

    def logits(self, state: State) -> NDArray[np.float32]:
        """Give ln p (V,) of the next symbol after a state, or (B, V) after B of them."""
        (main, _), (other, speaks) = self._opinions(state)
        is_shared = np.isfinite(main) & np.isfinite(other) & speaks
        with np.errstate(invalid="ignore"):  # −inf − −inf, of what is not shared
            push = _among(is_shared, main) - _among(is_shared, other)
        return _normalized(main + self._strength * np.where(is_shared, push, 0))


def _among(is_kept: NDArray[np.bool_], logits: LogProbabilities) -> LogProbabilities:
    """Give ln softmax (..., V) of those kept; the others are −inf or no number."""
    kept = np.where(is_kept, logits, -np.inf)
    result: LogProbabilities = kept - np.logaddexp.reduce(kept, -1, keepdims=True)
    return result


def _normalized(logits: LogProbabilities) -> NDArray[np.float32]:
    """Give ln softmax (..., V)."""
    return (logits - np.logaddexp.reduce(logits, -1, keepdims=True)).astype(np.float32)


def _checked(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"the {name} of a model is {value}; it must be a finite number above 0")
    return value
