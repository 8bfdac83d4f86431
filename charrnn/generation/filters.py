"""Logits → logits: what makes some characters likelier and leaves others out.

The order is fixed: temperature, top-n-sigma, top-k, typical, top-p, min-p, XTC; `sampler.py` says
what stands before and after. A character that is left out has the logit −inf; the likeliest is left
out by XTC alone, and then another is left. Each filter is a pure function of logits (V,) float, or
row by row of (B, V).

V = vocabulary, B = texts side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig

Logits = NDArray[np.floating]
Uniform = float | NDArray[np.float64]
"""A number in [0, 1) for each row: (B, 1), or one float for (V,)."""
Cut = Callable[[Logits, Uniform], Logits]
Filter = Callable[..., Logits]

_LEAST_TEMPERATURE = 1e-200  # less would overflow, and choose the same
_LEAST_SINGLE = 1e-3  # from here on single precision bears the quotient


def iter_cuts(config: SampleConfig) -> Iterator[tuple[str, Cut]]:
    """Yield what leaves characters out, in order, each with its words; XTC alone takes a chance."""
    if config.top_n_sigma:
        yield (
            f"top-n-sigma {config.top_n_sigma:g}",
            lambda logits, _: keep_top_n_sigma(logits, config.top_n_sigma),
        )
    among = config.top_k if config.typical == 1 and config.top_p < 1 else 0  # one sort for both
    if config.top_k and not among:
        yield f"top-k {config.top_k}", lambda logits, _: keep_top_k(logits, config.top_k)
    if config.typical < 1:
        yield f"typical {config.typical:g}", lambda logits, _: keep_typical(logits, config.typical)
    if config.top_p < 1:
        words = f"top-k {among}, top-p {config.top_p:g}" if among else f"top-p {config.top_p:g}"
        yield words, lambda logits, _: keep_top_p(logits, config.top_p, among or None)
    if config.min_p > 0:
        yield f"min-p {config.min_p:g}", lambda logits, _: keep_min_p(logits, config.min_p)
    if config.xtc > 0:
        yield (
            f"XTC {config.xtc:g} of the times, above {config.xtc_threshold:g}",
            lambda logits, chance: np.where(
                chance < config.xtc, drop_top_choices(logits, config.xtc_threshold), logits
            ),
        )


def describe_temperature(config: SampleConfig) -> Iterator[str]:
    """Yield the temperatures in words, if they do anything."""
    spread, at_words = config.dynamic_temperature, config.word_temperature
    middles = [(config.temperature, "" if at_words is None else " within words")]
    if at_words is not None:
        middles.append((at_words, " where a word begins"))
    for middle, where in middles:
        if spread:
            low, high = _edges(middle, spread)
            yield f"temperature {low:g} to {high:g} by entropy{where}"
        elif middle != 1 or where:
            yield f"temperature {middle:g}{where}"


def make_filter(config: SampleConfig) -> Filter:
    """Chain the temperature and the cuts.

    The filter takes logits, XTC's chance, and, if it is not the settings' own, the temperature.
    """
    cuts, spread = [cut for _, cut in iter_cuts(config)], config.dynamic_temperature

    def apply(
        logits: Logits, chance: Uniform = 0.0, temperature: Uniform = config.temperature
    ) -> Logits:
        if spread:
            temperature = entropy_temperature(logits, *_edges(temperature, spread))
        logits = divide_by_temperature(logits, temperature)
        for cut in cuts:
            logits = cut(logits, chance)
        return logits

    return apply


def divide_by_temperature(logits: Logits, temperature: Uniform) -> Logits:
    """Give logits / temperature, shifted so that the likeliest stays at 0 however small it is."""
    shifted: Logits = logits - largest(logits)
    if isinstance(temperature, float | int) and temperature >= _LEAST_SINGLE:
        return shifted if temperature == 1 else shifted / temperature
    divided: Logits = shifted / np.maximum(np.float64(temperature), _LEAST_TEMPERATURE)
    return divided


def entropy_temperature(logits: Logits, low: Uniform, high: Uniform) -> Uniform:
    """Give `low` where one character is sure, `high` where all that are left are equally likely.

    Between them the temperature goes with the entropy.
    """
    probabilities = softmax(logits)
    entropy_nats = -_log_products(probabilities).sum(-1, keepdims=True)
    most_nats = np.log(np.maximum(np.count_nonzero(logits > -np.inf, -1, keepdims=True), 2))
    chosen: NDArray[np.float64] = low + (high - low) * entropy_nats / most_nats
    return chosen


def keep_top_n_sigma(logits: Logits, n: float) -> Logits:
    """Keep those within n standard deviations of the largest logit (Tang et al. 2024)."""
    spread = np.std(logits, -1, where=logits > -np.inf, keepdims=True)
    return np.where(logits >= largest(logits) - n * spread, logits, -np.inf)


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Keep exactly the k likeliest; of equal ones at the edge, those with the lower ids."""
    if k >= logits.shape[-1]:
        return logits
    return _only(logits, _flat_indices((-logits).argsort(-1, kind="stable"))[..., :k])


def keep_typical(logits: Logits, p: float) -> Logits:
    """Keep the fewest whose probabilities sum to p or more, first those of about the expected
    surprisal: by its distance from the entropy (Meister et al. 2022).
    """
    probabilities = softmax(logits)
    with np.errstate(divide="ignore"):
        surprisals = -np.log(probabilities)
    entropy = -_log_products(probabilities).sum(-1, keepdims=True)
    places = _flat_indices(np.abs(surprisals - entropy).argsort(-1, kind="stable"))
    return _only(logits, places[_reach(probabilities.take(places), p)])


def keep_top_p(logits: Logits, p: float, among: int | None = None) -> Logits:
    """Keep the fewest likeliest whose probabilities sum to p or more (Holtzman et al. 2020).

    among: of so many of the likeliest, the rest left out before, as by `keep_top_k`.
    """
    places = _flat_indices((-logits).argsort(-1, kind="stable"))[..., :among]
    falling = logits.take(places)
    return _only(logits, places[_reach(np.exp(falling - falling[..., :1]), p)])


def keep_min_p(logits: Logits, p: float) -> Logits:
    """Keep those at least p times as likely as the likeliest (Nguyen et al. 2024)."""
    floor = largest(logits) + math.log(p)
    return np.where(logits >= floor, logits, -np.inf)


def drop_top_choices(logits: Logits, threshold: float) -> Logits:
    """Drop those likelier than the least likely of the ones that reach the threshold (XTC)."""
    reaching = np.where(softmax(logits) >= threshold, logits, np.inf)
    return np.where(logits > reaching.min(-1, keepdims=True), -np.inf, logits)


def largest(logits: Logits) -> Any:
    """Give the largest of logits (V,), or of each row (B, 1)."""
    if logits.ndim == 1:
        return logits[logits.argmax()]  # a third of the time of max
    return logits.max(-1, keepdims=True)


def softmax(logits: Logits) -> NDArray[np.floating]:
    """Give the probabilities exp(l) / Σ exp(l)."""
    likelihoods = np.exp(logits - largest(logits))
    probabilities: NDArray[np.floating] = likelihoods / likelihoods.sum(-1, keepdims=True)
    return probabilities


def _edges(middle: Uniform, spread: float) -> tuple[Uniform, Uniform]:
    return np.maximum(middle - spread, 0), middle + spread


def _log_products(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give p ln p, 0 where p is 0."""
    doubles = probabilities.astype(np.float64)
    return doubles * np.log(doubles, where=doubles > 0, out=np.zeros_like(doubles))


def _reach(shares: NDArray[np.floating], p: float) -> slice | NDArray[np.bool_]:
    """Give which of ranked shares are needed for p of their sum: a slice, or a mask of rows."""
    reached = shares.cumsum(-1)
    if reached.ndim == 1:
        return slice(int(reached.searchsorted(p * reached[-1])) + 1)
    is_needed = np.ones(shares.shape, np.bool_)
    np.less(reached[:, :-1], p * reached[:, -1:], out=is_needed[:, 1:])
    return is_needed


def _flat_indices(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give where ids (V,) or (B, V) stand in an array that is read row after row."""
    if order.ndim == 1:
        return order
    places: NDArray[np.intp] = order + order.shape[-1] * np.arange(len(order))[:, None]
    return places


def _only(logits: Logits, places: NDArray[np.intp]) -> Logits:
    result = np.empty_like(logits)
    result.fill(-np.inf)
    result.put(places, logits.take(places))
    return result


def keep_unsurprising(logits: Logits, limit_bits: Uniform) -> Logits:
    """Keep what is no more surprising than the limit, and the likeliest in any case."""
    probabilities = softmax(logits)
    floor = np.minimum(2.0**-limit_bits, probabilities.max(-1, keepdims=True))
    return np.where(probabilities >= floor, logits, -np.inf)


def update_mirostat(
    limit_bits: Uniform, drawn_bits: Uniform, target_bits: float, rate: float
) -> Uniform:
    """Give the limit after a character of `drawn_bits`: less where that was more than wished."""
    return np.maximum(limit_bits - rate * (drawn_bits - target_bits), 0.0)
