"""Logits → logits: what makes some characters likelier and leaves others out.

The order is fixed: temperature, top-n-sigma, top-k, typical, top-p, min-p, XTC; `sampler.py` says
what stands before and after. A character that is left out has the logit −inf; the likeliest is left
out by XTC alone, and then another is left. Each filter is a pure function of logits (V,) float;
V = vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig

Logits = NDArray[np.floating]
Filter = Callable[[Logits], Logits]

_LEAST_TEMPERATURE = 1e-200  # less would overflow, and choose the same


def iter_filters(config: SampleConfig, uniforms: Iterator[float]) -> Iterator[tuple[str, Filter]]:
    """Yield the filters that `config` asks for, in order, each with its words.

    The temperature must be above 0. uniforms: numbers in [0, 1), from which XTC takes one a time.
    """
    yield from _iter_temperatures(config)
    if config.top_n_sigma:
        yield (
            f"top-n-sigma {config.top_n_sigma:g}",
            lambda logits: keep_top_n_sigma(logits, config.top_n_sigma),
        )
    if config.top_k:
        yield f"top-k {config.top_k}", lambda logits: keep_top_k(logits, config.top_k)
    if config.typical < 1:
        yield f"typical {config.typical:g}", lambda logits: keep_typical(logits, config.typical)
    if config.top_p < 1:
        yield f"top-p {config.top_p:g}", lambda logits: keep_top_p(logits, config.top_p)
    if config.min_p > 0:
        yield f"min-p {config.min_p:g}", lambda logits: keep_min_p(logits, config.min_p)
    if config.xtc > 0:
        yield (
            f"XTC {config.xtc:g} of the times, above {config.xtc_threshold:g}",
            lambda logits: (
                drop_top_choices(logits, config.xtc_threshold)
                if next(uniforms) < config.xtc
                else logits
            ),
        )


def _iter_temperatures(config: SampleConfig) -> Iterator[tuple[str, Filter]]:
    """Yield the temperature, if it does anything."""
    middle, spread = config.temperature, config.temperature_range
    if spread:
        low, high = max(middle - spread, 0), middle + spread
        yield (
            f"temperature {low:g} to {high:g} by entropy",
            lambda logits: divide_by_temperature(logits, entropy_temperature(logits, low, high)),
        )
    elif middle != 1:
        yield f"temperature {middle:g}", lambda logits: divide_by_temperature(logits, middle)


def make_filter(config: SampleConfig, uniforms: Iterator[float] | None = None) -> Filter:
    """Chain what `iter_filters` yields; XTC alone needs the numbers."""
    uniforms = iter(()) if uniforms is None else uniforms
    chain = [each for _, each in iter_filters(config, uniforms)]

    def apply(logits: Logits) -> Logits:
        for each in chain:
            logits = each(logits)
        return logits

    return apply


def divide_by_temperature(logits: Logits, temperature: float) -> Logits:
    """Give logits / temperature, shifted so that the likeliest stays at 0 however small it is."""
    divisor = np.float64(max(temperature, _LEAST_TEMPERATURE))
    scaled: Logits = (logits - logits.max()) / divisor
    return scaled


def entropy_temperature(logits: Logits, low: float, high: float) -> float:
    """Give `low` where one character is sure, `high` where all that are left are equally likely.

    Between them the temperature goes with the entropy.
    """
    probabilities = softmax(logits)
    possible = probabilities[probabilities > 0].astype(np.float64)
    entropy_nats = -float(possible @ np.log(possible))
    most_nats = math.log(max(int(np.count_nonzero(logits > -np.inf)), 2))
    return low + (high - low) * entropy_nats / most_nats


def keep_top_n_sigma(logits: Logits, n: float) -> Logits:
    """Keep those within n standard deviations of the largest logit (Tang et al. 2024)."""
    spread = np.std(logits, where=logits > -np.inf)
    return np.where(logits >= logits.max() - n * spread, logits, -np.inf)


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Keep exactly the k likeliest; of equal ones at the edge, those with the lower ids."""
    if k >= len(logits):
        return logits
    return _only(logits, (-logits).argsort(kind="stable")[:k])


def keep_typical(logits: Logits, p: float) -> Logits:
    """Keep the fewest whose probabilities sum to p or more, first those of about the expected
    surprisal: by its distance from the entropy (Meister et al. 2022).
    """
    probabilities = softmax(logits)
    with np.errstate(divide="ignore"):
        surprisals = -np.log(probabilities)
    possible = probabilities > 0
    entropy = probabilities[possible] @ surprisals[possible]
    order = np.abs(surprisals - entropy).argsort(kind="stable")
    reached = probabilities[order].cumsum()
    return _only(logits, order[: int(reached.searchsorted(p * reached[-1])) + 1])


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Keep the fewest likeliest whose probabilities sum to p or more (Holtzman et al. 2020)."""
    order = (-logits).argsort(kind="stable")
    reached = np.exp(logits[order] - logits[order[0]]).cumsum()
    return _only(logits, order[: int(reached.searchsorted(p * reached[-1])) + 1])


def keep_min_p(logits: Logits, p: float) -> Logits:
    """Keep those at least p times as likely as the likeliest (Nguyen et al. 2024)."""
    floor = logits.max() + np.log(p)
    return np.where(logits >= floor, logits, -np.inf)


def drop_top_choices(logits: Logits, threshold: float) -> Logits:
    """Drop those likelier than the least likely of the ones that reach the threshold (XTC)."""
    reaching = logits[softmax(logits) >= threshold]
    return np.where(logits > reaching.min(initial=np.inf), -np.inf, logits)


def softmax(logits: Logits) -> NDArray[np.floating]:
    """Give the probabilities exp(l) / Σ exp(l)."""
    likelihoods = np.exp(logits - logits.max())
    probabilities: NDArray[np.floating] = likelihoods / likelihoods.sum()
    return probabilities


def _only(logits: Logits, kept: NDArray[np.intp]) -> Logits:
    result = np.full(len(logits), -np.inf, logits.dtype)
    result[kept] = logits[kept]
    return result
