"""Logits → logits: what makes some characters likelier and leaves others out.

The order is temperature, then top-k, then top-p, then min-p. A character that is left out has
the logit −inf. Each filter is a pure function of logits (V,) float; V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig

Logits = NDArray[np.floating]
Filter = Callable[[Logits], Logits]


def make_filter(config: SampleConfig) -> Filter:
    """Chain the filters that `config` asks for; its temperature must be above 0."""
    chain: list[Filter] = []
    if config.temperature != 1:
        chain.append(lambda logits: divide_by_temperature(logits, config.temperature))
    if config.top_k:
        chain.append(lambda logits: keep_top_k(logits, config.top_k))
    if config.top_p < 1:
        chain.append(lambda logits: keep_top_p(logits, config.top_p))
    if config.min_p > 0:
        chain.append(lambda logits: keep_min_p(logits, config.min_p))

    def apply(logits: Logits) -> Logits:
        for each in chain:
            logits = each(logits)
        return logits

    return apply


def divide_by_temperature(logits: Logits, temperature: float) -> Logits:
    """Give logits / temperature, shifted so that the likeliest stays at 0 however small it is."""
    with np.errstate(over="ignore"):
        scaled: Logits = (logits - logits.max()) / np.float64(temperature)
        return scaled


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Keep exactly the k likeliest; of equal ones at the edge, those with the lower ids."""
    if k >= len(logits):
        return logits
    return _only(logits, np.argsort(-logits, kind="stable")[:k])


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest likeliest whose probabilities sum to p or more (Holtzman et al. 2020)."""
    order = np.argsort(-logits, kind="stable")
    reached = np.cumsum(softmax(logits)[order])
    return _only(logits, order[: int(np.searchsorted(reached, p * reached[-1])) + 1])


def keep_min_p(logits: Logits, p: float) -> Logits:
    """Keep those at least p times as likely as the likeliest (Nguyen et al. 2024)."""
    floor = logits.max() + np.log(p)
    return np.where(logits >= floor, logits, -np.inf)


def softmax(logits: Logits) -> NDArray[np.floating]:
    """Give the probabilities exp(l) / Σ exp(l)."""
    likelihoods = np.exp(logits - logits.max())
    probabilities: NDArray[np.floating] = likelihoods / likelihoods.sum()
    return probabilities


def _only(logits: Logits, kept: NDArray[np.intp]) -> Logits:
    result = np.full_like(logits, -np.inf)
    result[kept] = logits[kept]
    return result
