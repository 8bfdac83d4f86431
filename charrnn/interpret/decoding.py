"""Which earlier characters can be read off a state: a linear decoder names the one k places back.

The first part of a text teaches the decoder, the rest measures it. What is measured is usable
information (Xu et al. 2020): the bits that a character costs without the state, less those that it
costs with it. It is a lower bound of what the state tells of the character.

A decoder's scores become probabilities as p(c) ∝ prior(c) · e^(β · score(c)). The boldness β is
fitted on places that did not fit the scores. A state that tells nothing gets β = 0: 0 bits.

T = tokens, D = columns of the states, C = classes: the most frequent tokens, and one of all others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.interpret.lbfgs import minimize
from charrnn.interpret.trace import Array, Trace, log_softmax
from charrnn.text.vocab import Ids

MAX_CLASSES = 128
"""The most frequent tokens are classes of their own, and all others are one more."""

MAX_COLUMNS = 1_024
"""So many of a state's numbers are used, drawn at random where there are more."""

_FITTING = 0.6  # of the text: the scores
_TEACHING = 0.7  # of the text: the scores and β; the rest measures
_RIDGE = 0.01  # of the variance of a column, which is 1
_DECAY = 1e-3  # of a logistic regression's weights
_BOLDEST = 200.0
_LARGEST = 1e6  # of a number in a state that grows without end
_NEWTON_STEPS = 25
_NATS_PER_BIT = float(np.log(2))

Classes = NDArray[np.int64]


class Decoded(NamedTuple):
    """How well a character is named from the states.

    information_bits: what the state tells of it. entropy_bits: all that there is to tell, its
    cost without the state. accuracy: the share of characters named rightly.
    """

    information_bits: float
    entropy_bits: float
    accuracy: float


def classes_of(ids: Ids) -> Classes:
    """Return the class of each token of a text (T,), the most frequent first."""
    kinds, numbers, counts = np.unique(ids, return_inverse=True, return_counts=True)
    rank = np.empty(len(kinds), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(kinds))
    return rank[numbers].clip(max=MAX_CLASSES)


def aligned(classes: Classes, back: int) -> Classes:
    """Return the class that was read `back` tokens before each (T,); −1 where there was none."""
    return np.concatenate((np.full(back, -1), classes[: len(classes) - back]))


def misaligned(classes: Classes, seed: int) -> Classes:
    """Return the classes (T,) beside states that never read them: each part is turned round."""
    random = np.random.default_rng(seed)
    ends = [int(share * len(classes)) for share in (_FITTING, _TEACHING)]
    parts = np.split(classes, ends)
    turns = [int(random.integers(len(part) // 4, 3 * len(part) // 4 + 1)) for part in parts]
    return np.concatenate([np.roll(part, turn) for part, turn in zip(parts, turns, strict=True)])


class Decoder:
    """A linear decoder of the states of one layer.

    is_exact: by logistic regression, which takes seconds for each k; else by ridge regression,
    which inverts one matrix for all k.
    """

    def __init__(self, trace: Trace, depth: int, seed: int = 0, *, is_exact: bool = False) -> None:
        self._is_exact = is_exact
        length = len(trace)
        self._fitting = slice(0, int(_FITTING * length))
        self._calibrating = slice(self._fitting.stop, int(_TEACHING * length))
        self._measuring = slice(self._calibrating.stop, length)
        # (T, D): h and c after each token; each column has mean 0 and variance 1 in the first part.
        columns = np.concatenate([array[1:] for array in trace.states[depth]], -1)
        if columns.shape[-1] > MAX_COLUMNS:
            order = np.random.default_rng(seed).permutation(columns.shape[-1])
            columns = columns[:, np.sort(order[:MAX_COLUMNS])]
        np.nan_to_num(columns, copy=False)
        np.clip(columns, -_LARGEST, _LARGEST, out=columns)
        columns -= columns[self._fitting].mean(0)
        deviation = columns[self._fitting].std(0)
        columns /= np.where(deviation > 1e-5, deviation, np.inf)  # what never changes is 0
        self._columns = columns
        if not is_exact:
            fitting = columns[self._fitting]
            gram = (fitting.T @ fitting).astype(np.float64) / len(fitting)
            gram[np.diag_indices_from(gram)] += _RIDGE
            inverse = np.linalg.inv(np.linalg.cholesky(gram))
            self._inverse = (inverse.T @ inverse / len(fitting)).astype(columns.dtype)

    def decode(self, targets: Classes) -> Decoded:
        """Return how well the classes (T,) are named from the states; −1 is left out."""
        count = int(targets.max()) + 1
        taught = targets[: self._calibrating.stop]
        seen = np.bincount(taught[taught >= 0], minlength=count)
        prior = ((seen + 1) / (seen + 1).sum()).astype(self._columns.dtype)
        fit = self._fit_logistic if self._is_exact else self._fit_ridge
        weights = fit(targets[self._fitting], prior)
        log_prior = np.log(prior)
        beta = _fit_boldness(
            self._columns[self._calibrating] @ weights, log_prior, targets[self._calibrating]
        )
        true = targets[self._measuring]
        log_p = log_softmax(log_prior + beta * (self._columns[self._measuring] @ weights))
        cost = -float(log_p[np.arange(len(true)), true].mean(dtype=np.float64))
        entropy = -float(log_prior[true].mean(dtype=np.float64))
        accuracy = float((log_p.argmax(-1) == true).mean())
        return Decoded((entropy - cost) / _NATS_PER_BIT, entropy / _NATS_PER_BIT, accuracy)

    def _fit_ridge(self, targets: Classes, prior: Array) -> Array:
        """Return weights (D, C) by least squares, whose targets have variance 1 too."""
        wanted = (_one_hot(targets, len(prior)) - prior) / np.sqrt(prior)
        wanted[targets < 0] = 0
        # W = (XᵀX + λN)⁻¹ XᵀY, and XᵀX is the same for every k
        weights: Array = self._inverse @ (self._columns[self._fitting].T @ wanted)
        return weights

    def _fit_logistic(self, targets: Classes, prior: Array) -> Array:
        """Return the weights (D, C) that make the classes likeliest."""
        is_known = targets >= 0
        rows = self._columns[self._fitting][is_known]
        wanted = _one_hot(targets[is_known], len(prior))
        log_prior = np.log(prior)

        def loss(weights: Array) -> tuple[float, Array]:
            log_p = log_softmax(log_prior + rows @ weights)
            nats = -float((wanted * log_p).sum(dtype=np.float64)) / len(rows)
            gradient = rows.T @ (np.exp(log_p) - wanted) / len(rows) + _DECAY * weights
            return nats + _DECAY / 2 * float((weights * weights).sum()), gradient

        return minimize(loss, np.zeros((rows.shape[1], len(prior)), rows.dtype))


def _fit_boldness(scores: Array, log_prior: Array, targets: Classes) -> np.float32:
    """Return the β of least cost, by Newton's method inside a shrinking bracket."""
    low = beta = 0.0
    high = _BOLDEST
    own = scores[np.arange(len(scores)), targets]
    for _ in range(_NEWTON_STEPS):
        p = np.exp(log_softmax(log_prior + np.float32(beta) * scores))
        mean = (p * scores).sum(-1)
        slope = float((mean - own).mean(dtype=np.float64))
        bend = float(((p * scores * scores).sum(-1) - mean * mean).mean(dtype=np.float64))
        if slope < 0:
            low = beta
        else:
            high = beta
        last = beta
        beta = beta - slope / bend if bend > 0 else high
        if not low <= beta <= high:
            beta = (low + high) / 2
        if abs(beta - last) <= 1e-3 * beta or high == 0:
            break
    return np.float32(min(beta, high))


def _one_hot(classes: Classes, count: int) -> Array:
    """Return rows (N, C) that are 1 at their class; −1 gives a row of zeros."""
    rows = np.zeros((len(classes), count), np.float32)
    known = np.flatnonzero(classes >= 0)
    rows[known, classes[known]] = 1
    return rows
