"""Scores of units by the ranks of their values: AUC, Spearman's correlation, F1.

`search` in neurons.py takes many at once: ranks of many units times columns of many labels.
A strength goes from −1 to 1: 2·AUC − 1 of a yes-or-no label, ρ of a number; 0 is what chance gives.

N = places, U = units, K = columns of labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from charrnn.interpret.features import Values
from charrnn.interpret.trace import Array


def ranks(values: Array) -> Values:
    """Return the rank of each value of a row (U, N), −½ to ½ around its row's middle, float32.

    Equal values share the mean of their ranks.
    """
    count = values.shape[1]
    order = np.argsort(values, axis=1)
    ascending = np.take_along_axis(values, order, 1)
    middle = (count - 1) / 2
    placed = np.empty(values.shape, np.float32)
    placed[:] = (np.arange(count) - middle) / count
    is_tied = np.zeros(values.shape, np.bool_)  # equal to the one before it
    np.equal(ascending[:, 1:], ascending[:, :-1], out=is_tied[:, 1:])
    tied = np.flatnonzero(is_tied)  # mostly few, so only these are put right
    if len(tied):
        begins = np.flatnonzero(np.diff(tied, prepend=-2) > 1)  # of each run, in `tied`
        lengths = np.diff(begins, append=len(tied)) + 1
        first = tied[begins] - 1
        shared = ((first % count + (lengths - 1) / 2 - middle) / count).astype(np.float32)
        placed.flat[first] = shared
        placed.flat[tied] = np.repeat(shared, lengths - 1)
    found = np.empty(values.shape, np.float32)
    np.put_along_axis(found, order, placed, 1)
    return found


def label_columns(labels: Values, is_yes_no: NDArray[np.bool_]) -> Values:
    """Return labels (N, K) as columns whose product with ranks gives strengths, float32.

    2·AUC − 1 = 2N / (N₁N₀) · Σ r over the N₁ places inside, r as `ranks` has it. Of a number the
    column is that of its own ranks, of length 1.
    """
    count = len(labels)
    columns = np.zeros(labels.shape, np.float64)
    if is_yes_no.any():
        yes = labels[:, is_yes_no].astype(np.float64)
        ones = yes.sum(0)
        pairs = ones * (count - ones)
        columns[:, is_yes_no] = (yes - ones / count) * (2 * count * _inverse(pairs))
    if not is_yes_no.all():
        ranked = ranks(np.ascontiguousarray(labels[:, ~is_yes_no].T)).T.astype(np.float64)
        columns[:, ~is_yes_no] = ranked * _inverse(np.sqrt((ranked * ranked).sum(0)))
    return columns.astype(np.float32)


def strengths(values: Array, columns: Values, is_yes_no: NDArray[np.bool_]) -> Values:
    """Return the strengths (U, K) of units by their values (N, U): one product for all columns.

    is_yes_no: (F,) of the first F columns, and in turn of those that follow.
    """
    ranked = ranks(np.ascontiguousarray(values.T))
    found = ranked @ columns
    lengths = np.sqrt(np.einsum("un,un->u", ranked, ranked, dtype=np.float64))
    scale = _inverse(lengths).astype(np.float32)
    is_number = np.tile(~is_yes_no, columns.shape[1] // len(is_yes_no))
    found[:, is_number] *= scale[:, None]
    return found.clip(-1, 1)  # the product is float32, for speed


def strengths_of_predictions(
    predicted: Values, columns: Values, is_yes_no: NDArray[np.bool_]
) -> Values:
    """Return the strength (K,) of predictions (N, K), each for its own column; 0 below chance."""
    ranked = ranks(np.ascontiguousarray(predicted.T))
    found = np.einsum("fn,nf->f", ranked, columns, dtype=np.float64)
    lengths = np.sqrt(np.einsum("fn,fn->f", ranked, ranked, dtype=np.float64))
    signed = np.where(is_yes_no, found, found * _inverse(lengths))
    kept: Values = signed.clip(0, 1).astype(np.float32)
    return kept


def auc(values: Array, labels: Values) -> float:
    """Return how often a value inside is above one outside, a tie counting half, in float64.

    >>> auc(np.array([3.0, 2.0, 2.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0]))
    0.875
    """
    count = len(values)
    above = (ranks(values[None])[0].astype(np.float64) * count)[labels > 0].sum()
    ones = float((labels > 0).sum())
    return float(0.5 + np.rint(2 * above) / 2 / (ones * (count - ones)))


def spearman(values: Array, others: Array) -> float:
    """Return the correlation of two rows' ranks, in float64; 0 where one is constant."""
    first, second = (ranks(each[None])[0].astype(np.float64) for each in (values, others))
    lengths = np.sqrt((first @ first) * (second @ second))
    return float((first @ second / lengths).clip(-1, 1)) if lengths else 0.0


def f1_scores(
    values: tuple[Array, Array], labels: tuple[Values, Values], sign: int
) -> tuple[float, float]:
    """Return the threshold with the best F1 on the search half, and its F1 on the held half."""
    order = np.argsort(-sign * values[0], kind="stable")
    ascending = (sign * values[0])[order]
    hits = labels[0][order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    is_last = np.append(ascending[1:] != ascending[:-1], True)  # equal values go together
    threshold = ascending[int(np.argmax(np.where(is_last, f1, -1)))]
    said = sign * values[1] >= threshold
    total = said.sum() + labels[1].sum()
    return float(sign * threshold), float(2 * labels[1][said].sum() / total) if total else 0.0


def _inverse(lengths: Array) -> Array:
    """Return 1 / length of each, and 0 of 0."""
    found: Array = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return found
