"""Which label a text has, by Bayes: p(label | text) is proportional to p(text | label) p(label).

A labelled language model says how likely a text is under each label. All pairs of a text and a
label are read side by side. Every few characters the pairs are dropped that are so much less likely
than their text's best that nothing can come of them, and a text is left once one pair remains.
`tasks/predict.py` calls this.

A language model is too sure of itself: what it says of one character depends on the one before, and
errors add up with the length of a text. So the logarithm of likelihood times prior is divided by a
temperature that is fitted on held-out records (Guo et al. 2017). It changes how sure an answer is,
and not which label is the likeliest. Temperatures and biases of single labels measured no better
(benchmarks/LOG.md).

N = texts, K = labels, R = rows: pairs that are still read. V, H, A as in the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile
from charrnn.errors import DivergedError
from charrnn.generation.cells import Vector, arrange_layer, make_step
from charrnn.generation.filters import Floats, log_softmax
from charrnn.generation.network import Network
from charrnn.generation.scoring import IGNORE_OVERFLOW, NOT_FINITE
from charrnn.state import State, map_state, repeat_state
from charrnn.text.vocab import Ids

MARGIN_NATS = 30.0  # behind the best: a share below 1e-13 of the probability
LARGEST_MARGIN = 3 * MARGIN_NATS  # as much behind at a temperature of 3
_MAX_ROWS = 1024  # what a processor keeps near; 4096 take a fifth longer
_STAGE = 4  # tokens between two looks at which pairs go on
LEAST_TEMPERATURE = 0.25
LARGEST_TEMPERATURE = 8.0  # where a label at the margin still has nearly nothing
_GRID_POINTS = 9
_GRIDS = 4
_FOLDS = 2  # of held-out records; five and ten measure no steadier
_BINS = 15  # of the expected calibration error, as in Guo et al.
_L2 = 4.0  # holds the temperature's logarithm back where records are few

Counts = NDArray[np.int64]


class LabelClassifier:
    """The likelihood of texts under each label of one column; nothing is known of the others.

    labels: the column's K values. counts: (K,) int64, how many records have each. margin: how far
    behind the best a label is given up, in nats. pair_steps: tokens that were read so far, each
    counted for each label.
    """

    @IGNORE_OVERFLOW
    def __init__(self, file: ModelFile, column: str, margin: float = MARGIN_NATS) -> None:
        first, self.labels, counts = _rows_of(file, column)
        self.counts: Counts = np.array(counts, np.int64)
        self.margin = margin
        self.pair_steps = 0
        config = file.config
        self._end = file.vocab.end
        # One more input of every layer: the label's embedding, as W [x; e] = W_ih x + W_label e.
        weights = dict(file.weights)
        for depth in range(config.num_layers):
            layer = f"layers.{depth}"
            joined = (weights[f"{layer}.weight_ih"], weights[f"{layer}.weight_label"])
            weights[f"{layer}.weight_ih"] = np.hstack(joined)
        depths = range(config.num_layers)
        arranged = [arrange_layer(config, weights, depth) for depth in depths]
        self._steps = [make_step(config, layer, has_product=False) for layer in arranged]
        self._embeddings = weights["labels.weight"][first : first + len(self.labels)]
        self._initial = [_initial_states(file, depth, self._embeddings) for depth in depths]
        self._network = Network(config, file.weights)  # for its embeddings and its output layer
        if self._network.ngrams:
            context = repeat_state((self._network.ngrams.initial_context,), len(self.labels))
            self._initial.extend(context)
        self._is_residual = config.residual

    def log_ratios(self, texts: Sequence[Ids], *, is_whole: bool = True) -> Floats:
        """Return ln p(text | label) (N, K) less that of the text's likeliest label.

        No label stands further behind than the margin: it is not read on. texts: the ids of each,
        without ends. is_whole: the end of a record counts too; else a text is only the beginning of
        one. An empty text says nothing: all its labels are as likely.

        Raises:
            DivergedError: what a text costs is not a finite number.
        """
        found = np.zeros((len(texts), len(self.labels)))
        by_length = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        size = max(1, _MAX_ROWS // len(self.labels))
        for begin in range(0, len(texts), size):
            chosen = by_length[begin : begin + size]
            ids = [texts[i] for i in chosen]
            if is_whole:
                ids = [np.append(each, self._end) if len(each) else each for each in ids]
            with np.errstate(over="ignore", invalid="ignore"):  # it ends in the error below
                totals = self._read(ids)
                ratios = totals - totals.max(1, keepdims=True)
            if np.isnan(ratios).any():
                raise DivergedError(NOT_FINITE)
            found[chosen] = np.maximum(ratios, -self.margin)
        return found

    def _read(self, texts: Sequence[Ids]) -> Floats:
        """Return ln p (N, K), as far as it was read; −inf for pairs that were dropped."""
        count = len(self.labels)
        totals = np.zeros((len(texts), count))
        lengths = np.array([len(each) for each in texts])
        tokens = np.concatenate([np.asarray(each, np.int64) for each in texts])
        starts = np.cumsum(lengths) - lengths
        which = np.repeat(np.flatnonzero(lengths), count)  # text and label of each pair
        label = np.tile(np.arange(count), np.count_nonzero(lengths))
        states: State = tuple(map_state(lambda part: part[label], layer) for layer in self._initial)
        for t in range(int(lengths.max())):
            self.pair_steps += len(which)
            read = tokens[starts[which] + t]
            log_probs = log_softmax(self._network.logits(states))
            totals[which, label] += log_probs[np.arange(len(read)), read]
            is_on = lengths[which] > t + 1
            if t % _STAGE == _STAGE - 1:
                is_hopeless = totals[which, label] < totals.max(1)[which] - self.margin
                is_dropped = is_on & is_hopeless
                totals[which[is_dropped], label[is_dropped]] = -np.inf
                is_on &= ~is_hopeless
                is_on &= np.bincount(which[is_on], minlength=len(texts))[which] > 1
            which = which[is_on]
            if not len(which):
                break
            label = label[is_on]
            states = map_state(lambda part, keep=is_on: part[keep], states)
            states = self._advance(read[is_on], label, states)
        return totals

    def _advance(self, tokens: Ids, label: NDArray[np.int64], states: State) -> State:
        features, context = self._network.embed(tokens, states)
        embeddings = self._embeddings[label]
        after = []
        for depth, (step, before) in enumerate(zip(self._steps, states, strict=False)):
            layer = step(np.concatenate((features, embeddings), 1), before)
            features = layer[0] + features if self._is_residual and depth else layer[0]
            after.append(layer)
        return (*after, *context)


class Calibration(NamedTuple):
    """How good and how sure a classifier is on held-out records.

    temperature: what the logarithm of likelihood times prior is divided by. error: the expected
    calibration error, the mean distance of how sure it is from how often it is right. accuracy: how
    often it is right. nats: −ln p of the right label, on average. records: how many were
    classified.
    """

    temperature: float
    error: float
    accuracy: float
    nats: float
    records: int


def posteriors(log_ratios: Floats, counts: Counts, temperature: float = 1.0) -> Floats:
    """Return p(label | text) (N, K) in float64; each row sums to 1.

    counts: of the records of each label, one more each: their shares are the prior, so zeros make
    all labels as likely.
    """
    return np.exp(_log_posteriors(log_ratios, counts, temperature))


def calibrate(log_ratios: Floats, counts: Counts, truth: NDArray[np.int64]) -> Calibration:
    """Return the temperature at which the right labels, `truth` (N,), are likeliest.

    The figures are honest: records are cut into two halves, every other one, and each half is
    judged by what was fitted on the other. What is returned is then fitted on all.
    """
    fold = np.arange(len(truth)) % _FOLDS
    log_probs = np.zeros(log_ratios.shape)
    for own in (fold == number for number in range(_FOLDS)):
        temperature = _fit_temperature(log_ratios[~own], counts, truth[~own])
        log_probs[own] = _log_posteriors(log_ratios[own], counts, temperature)
    is_right = log_probs.argmax(1) == truth
    error = calibration_error(np.exp(log_probs.max(1)), is_right)
    temperature = _fit_temperature(log_ratios, counts, truth)
    nats = float(_right_nats(log_probs, truth).mean())
    return Calibration(temperature, error, float(is_right.mean()), nats, len(truth))


def calibration_error(confidence: Floats, is_right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error of N answers, in equal bins of confidence.

    >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False])).__round__(3)
    0.4
    """
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    sure = np.bincount(bins, confidence, _BINS)
    right = np.bincount(bins, is_right, _BINS)
    return float(np.abs(sure - right).sum() / max(len(confidence), 1))


def macro_f1(truth: NDArray[np.int64], predicted: NDArray[np.int64], count: int) -> float:
    """Return the mean F1 of those of `count` labels that are true or predicted somewhere.

    truth, predicted: (N,) labels from 0.

    >>> macro_f1(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).__round__(3)
    0.667
    """
    right = np.bincount(truth[truth == predicted], minlength=count)
    both = np.bincount(truth, minlength=count) + np.bincount(predicted, minlength=count)
    return float((2 * right[both > 0] / both[both > 0]).mean())


def _log_posteriors(log_ratios: Floats, counts: Counts, temperature: float) -> Floats:
    """Return ln p(label | text) (N, K)."""
    return log_softmax((log_ratios + np.log((counts + 1) / (counts + 1).sum())) / temperature)


def _right_nats(log_probs: Floats, truth: NDArray[np.int64]) -> Floats:
    """Return −ln p of the right labels (N,)."""
    return -log_probs[np.arange(len(truth)), truth]


def _fit_temperature(log_ratios: Floats, counts: Counts, truth: NDArray[np.int64]) -> float:
    """Return the temperature at which the right labels are likeliest."""

    def cost(log_temperature: float) -> float:
        log_probs = _log_posteriors(log_ratios, counts, math.exp(log_temperature))
        return float(_L2 / 2 * log_temperature**2 + _right_nats(log_probs, truth).sum())

    low = math.log(LEAST_TEMPERATURE)
    high = math.log(LARGEST_TEMPERATURE)
    for _ in range(_GRIDS):  # each within the best two stretches of the one before
        grid = np.linspace(low, high, _GRID_POINTS).tolist()
        best = int(np.argmin([cost(each) for each in grid]))
        low = grid[max(best - 1, 0)]
        high = grid[min(best + 1, _GRID_POINTS - 1)]
    return math.exp(grid[best])


def _rows_of(file: ModelFile, column: str) -> tuple[int, tuple[str, ...], tuple[int, ...]]:
    """Return where a column's rows begin in the table of embeddings, its values and counts."""
    first = 0
    for each in file.labels.columns:
        if each.name == column:
            return first, each.values, each.counts
        first += len(each.values)
    raise KeyError(column)


def _initial_states(file: ModelFile, depth: int, embeddings: Vector) -> tuple[Vector, ...]:
    """Return the initial state of a layer for each label: parts (K, H)."""
    initial = file.weights[f"layers.{depth}.initial"]
    first = initial[0] + embeddings @ file.weights[f"layers.{depth}.initial_label"].T
    rest = [np.broadcast_to(part, first.shape) for part in initial[1:]]
    return (first.astype(np.float32), *rest)
