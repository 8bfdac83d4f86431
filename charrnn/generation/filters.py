"""Filters of logits: what the temperature scales and what leaves tokens out, and the softmax.

`chain.py` applies them after penalties and bans, in this order: temperature, top-n-sigma, top-k,
typical, top-p, min-p, XTC, mirostat. A token that is left out has the logit −inf; only typical and
XTC ever leave out the likeliest, and then one stays that can be sampled. Every filter is a pure
function of logits (V,) float, or row by row of (B, V).

V = vocabulary, B = texts side by side.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig

Floats = NDArray[np.float64]
Logits = NDArray[np.floating]
Uniform = float | Floats  # one number for (V,), or one for each row (B, 1); mostly in [0, 1)
Filter = Callable[[Logits, Uniform], Logits]  # of logits and of XTC's uniform number

LEAST_TEMPERATURE = 1e-100  # with a lower one squares of logits overflow; it chooses the same
_LEAST_FLOAT32 = 1e-3  # from here on float32 has room for the quotient


def make_filter(config: SampleConfig) -> Callable[..., Logits]:
    """Return the chain of temperature and filters, without mirostat, as one function.

    It takes logits, XTC's uniform number and, where it is not the config's, the temperature.
    """
    filters = [each for _, each in iter_filters(config)]
    spread = config.dynamic_temperature

    def apply(
        logits: Logits, xtc_uniform: Uniform = 0.0, temperature: Uniform = config.temperature
    ) -> Logits:
        if spread:
            low = np.maximum(temperature - spread, 0)
            temperature = entropy_temperature(logits, low, temperature + spread)
        logits = divide_by_temperature(logits, temperature)
        for each in filters:
            logits = each(logits, xtc_uniform)
        return logits

    return apply


def iter_filters(config: SampleConfig) -> Iterator[tuple[str, Filter]]:
    """Yield the active filters after the temperature, in their order, each with its description."""
    if config.top_n_sigma:
        n = config.top_n_sigma
        yield f"top-n-sigma {n:g}", lambda logits, _: keep_top_n_sigma(logits, n)
    shared_k = config.top_k if config.typical == 1 and config.top_p < 1 else 0  # one sort for both
    if config.top_k and not shared_k:
        yield f"top-k {config.top_k}", lambda logits, _: keep_top_k(logits, config.top_k)
    if config.typical < 1:
        yield f"typical {config.typical:g}", lambda logits, _: keep_typical(logits, config.typical)
    if config.top_p < 1:
        words = f"top-k {shared_k}, " * bool(shared_k) + f"top-p {config.top_p:g}"
        yield words, lambda logits, _: keep_top_p(logits, config.top_p, shared_k or None)
    if config.min_p > 0:
        yield f"min-p {config.min_p:g}", lambda logits, _: keep_min_p(logits, config.min_p)
    if config.xtc > 0:
        yield (
            f"XTC with probability {config.xtc:g}, above {config.xtc_threshold:g}",
            lambda logits, xtc_uniform: np.where(
                xtc_uniform < config.xtc, drop_top_choices(logits, config.xtc_threshold), logits
            ),
        )


def describe_temperature(config: SampleConfig) -> Iterator[str]:
    """Yield the temperatures in words, if they do anything."""
    middles = [(config.temperature, "")]
    if config.word_temperature is not None:
        middles = [(config.temperature, " within words")]
        middles += [(config.word_temperature, " where a word begins")]
    spread = config.dynamic_temperature
    for middle, where in middles:
        if spread:
            low = max(middle - spread, 0)
            yield f"temperature {low:g} to {middle + spread:g} by entropy{where}"
        elif middle != 1 or where:
            yield f"temperature {middle:g}{where}"


def divide_by_temperature(logits: Logits, temperature: Uniform) -> Logits:
    """Return logits / temperature, shifted so that the largest is 0 at any temperature."""
    shifted: Logits = logits - largest(logits)
    if isinstance(temperature, float | int) and temperature >= _LEAST_FLOAT32:
        return shifted if temperature == 1 else shifted / temperature
    divided: Logits = shifted / np.maximum(np.float64(temperature), LEAST_TEMPERATURE)
    return divided


def entropy_temperature(logits: Logits, low: Uniform, high: Uniform) -> Uniform:
    """Return `low` where one token is certain, `high` where all that are left are equally likely.

    Between them the temperature is linear in the entropy.
    """
    entropy_nats = -_log_products(softmax(logits)).sum(-1, keepdims=True)
    count = np.count_nonzero(logits > -np.inf, -1, keepdims=True)
    most_nats = np.log(np.maximum(count, 2))  # not of one: it would divide by 0
    chosen: Floats = low + (high - low) * entropy_nats / most_nats
    return chosen


def keep_top_n_sigma(logits: Logits, n: float) -> Logits:
    """Keep the logits within n standard deviations of the largest (Tang et al. 2024)."""
    spread = np.std(logits, -1, where=logits > -np.inf, keepdims=True)
    return np.where(logits >= largest(logits) - n * spread, logits, -np.inf)


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Keep exactly the k likeliest; of equal ones at the edge, those with the lower ids.

    >>> keep_top_k(np.array([1.0, 2.0, 2.0]), 1)
    array([-inf,   2., -inf])
    """
    if k >= logits.shape[-1]:
        return logits
    return _keep_only(logits, _flat_indices((-logits).argsort(-1, kind="stable"))[..., :k])


def keep_typical(logits: Logits, p: float) -> Logits:
    """Keep the fewest tokens whose probabilities sum to p or more, by their surprisal.

    Those whose surprisal is nearest the entropy come first (Meister et al. 2022).
    """
    probabilities = softmax(logits)
    with np.errstate(divide="ignore"):  # ln 0 of tokens that are left out already
        surprisals = -np.log(probabilities)
    entropy = -_log_products(probabilities).sum(-1, keepdims=True)
    indices = _flat_indices(np.abs(surprisals - entropy).argsort(-1, kind="stable"))
    return _keep_only(logits, indices[_nucleus(probabilities.take(indices), p)])


def keep_top_p(logits: Logits, p: float, k: int | None = None) -> Logits:
    """Keep the fewest likeliest tokens whose probabilities sum to p or more (Holtzman et al. 2020).

    k: apply top-k first, with the same sort.
    """
    indices = _flat_indices((-logits).argsort(-1, kind="stable"))[..., :k]
    falling = logits.take(indices)
    return _keep_only(logits, indices[_nucleus(np.exp(falling - falling[..., :1]), p)])


def keep_min_p(logits: Logits, p: float) -> Logits:
    """Keep the tokens at least p times as likely as the likeliest (Nguyen et al. 2024)."""
    floor = largest(logits) + math.log(p)
    return np.where(logits >= floor, logits, -np.inf)


def drop_top_choices(logits: Logits, threshold: float) -> Logits:
    """Keep, of the tokens of probability `threshold` or more, only the least likely one (XTC)."""
    probabilities = softmax(logits)
    # A threshold that float32 rounds to 0 would be reached by tokens that nothing can sample.
    least = max(threshold, float(np.finfo(probabilities.dtype).tiny))
    reaching = np.where(probabilities >= least, logits, np.inf)
    return np.where(logits > reaching.min(-1, keepdims=True), -np.inf, logits)


def keep_unsurprising(logits: Logits, mirostat_mu: Uniform) -> Logits:
    """Keep the tokens of at most mirostat_mu bits, and the likeliest (Basu et al. 2020)."""
    probabilities = softmax(logits)
    floor = np.minimum(2.0**-mirostat_mu, probabilities.max(-1, keepdims=True))
    return np.where(probabilities >= floor, logits, -np.inf)


def update_mirostat(
    mirostat_mu: Uniform, cost_bits: Uniform, target_bits: float, rate: float
) -> Uniform:
    """Return the next mirostat_mu: lower where a token of `cost_bits` was above the target."""
    return np.maximum(mirostat_mu - rate * (cost_bits - target_bits), 0.0)


def largest(logits: Logits) -> Any:
    """Return the largest of logits (V,), or of each row (B, 1)."""
    if logits.ndim == 1:
        return logits[logits.argmax()]  # a third of the time of max
    return logits.max(-1, keepdims=True)


def softmax(logits: Logits) -> Logits:
    """Return the probabilities exp(l) / Σ exp(l) (..., V), of the dtype of the logits.

    >>> softmax(np.zeros(4))
    array([0.25, 0.25, 0.25, 0.25])
    """
    likelihoods = np.exp(logits - largest(logits))
    probabilities: Logits = likelihoods / likelihoods.sum(-1, keepdims=True)
    return probabilities


def log_softmax(logits: Logits) -> Floats:
    """Return ln p (..., V) float64 = l − ln Σ exp(l); of float32 logits only the sum is in float64.

    >>> np.exp(log_softmax(np.zeros(4, np.float32)))
    array([0.25, 0.25, 0.25, 0.25])
    """
    shifted = logits - largest(logits)
    sums = np.exp(shifted).sum(-1, dtype=np.float64, keepdims=True)
    log_probs: Floats = shifted - np.log(sums)
    return log_probs


def _log_products(probabilities: Logits) -> Floats:
    """Return p ln p, 0 where p is 0."""
    doubles = probabilities.astype(np.float64)
    return doubles * np.log(doubles, where=doubles > 0, out=np.zeros_like(doubles))


def _nucleus(ranked: Logits, p: float) -> slice | NDArray[np.bool_]:
    """Return which of the ranked likelihoods it takes to reach p of their sum: a slice or mask."""
    reached = ranked.cumsum(-1)
    if reached.ndim == 1:
        return slice(int(reached.searchsorted(p * reached[-1])) + 1)
    is_needed = np.ones(ranked.shape, np.bool_)
    np.less(reached[:, :-1], p * reached[:, -1:], out=is_needed[:, 1:])
    return is_needed


def _flat_indices(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return ids (V,) or (B, V) as indices into the flattened array: `take` is faster by them."""
    if order.ndim == 1:
        return order
    indices: NDArray[np.intp] = order + order.shape[-1] * np.arange(len(order))[:, None]
    return indices


def _keep_only(logits: Logits, indices: NDArray[np.intp]) -> Logits:
    """Return the logits with −inf at all but these flat indices."""
    result = np.empty_like(logits)
    result.fill(-np.inf)
    result.put(indices, logits.take(indices))
    return result
