"""Which label a text has, by Bayes: p(label | text) is proportional to p(text | label) p(label).

A labelled language model says how likely a text is under each label. All pairs of a text and a
label are read side by side. Every few characters the pairs are dropped that are so much less likely
than their text's best that nothing can come of them. `tasks/predict.py` calls this.

A language model is too sure of itself: what it says of one character depends on the one before, and
errors add up with the length of a text. So log-likelihoods are divided by a temperature that is
fitted on held-out records (Guo et al. 2017).

N = texts, K = labels, R = rows: pairs that are still read. V, H, A as in the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile
from charrnn.generation.cells import Vector, arrange_layer, make_step
from charrnn.generation.filters import Floats, log_softmax
from charrnn.generation.network import Network
from charrnn.state import State, map_state
from charrnn.text.vocab import Ids

_MAX_ROWS = 4096
_STAGE = 4  # tokens between two looks at which pairs go on
_HOPELESS_NATS = 30.0  # behind the best: a share below 1e-13 of the probability
_TEMPERATURES = np.geomspace(0.25, 16, 97)
_BINS = 15  # of the expected calibration error, as in Guo et al.


class LabelClassifier:
    """The likelihood of texts under each label of one column; nothing is known of the others."""

    def __init__(self, file: ModelFile, column: str) -> None:
        first, self.labels = _rows_of(file, column)
        self.counts = np.array(list(file.labels.counts[column].values()))
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
        self._inputs = np.float32(config.embedding_scale) * weights["embedding.weight"]
        self._embeddings = weights["labels.weight"][first : first + len(self.labels)]
        self._initial = [_initial_states(file, depth, self._embeddings) for depth in depths]
        self._network = Network(config, file.weights)  # for its output layer
        self._is_residual = config.residual

    def log_likelihoods(
        self,
        texts: Sequence[Ids],
        *,
        is_whole: bool = True,
        on_progress: Callable[[int], None] = lambda count: None,
    ) -> Floats:
        """Return ln p(text | label) (N, K); −inf for what is hopelessly far behind the best.

        texts: the ids of each, without ends. is_whole: the end of a record counts too; else a text
        is only the beginning of one. on_progress: called with how many more texts are read.
        """
        found = np.zeros((len(texts), len(self.labels)))
        by_length = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        size = max(1, _MAX_ROWS // len(self.labels))
        for begin in range(0, len(texts), size):
            chosen = by_length[begin : begin + size]
            ids = [texts[i] for i in chosen]
            if is_whole:
                ids = [np.append(each, self._end) for each in ids]
            found[chosen] = self._read(ids)
            on_progress(len(chosen))
        return found

    def _read(self, texts: Sequence[Ids]) -> Floats:
        """Return ln p (N, K) of a few texts, the longest first."""
        count = len(self.labels)
        totals = np.zeros((len(texts), count))
        lengths = np.array([len(each) for each in texts])
        padded = np.zeros((len(texts), max(1, int(lengths.max()))), np.int64)
        for row, each in enumerate(texts):
            padded[row, : len(each)] = each
        which = np.repeat(np.arange(len(texts)), count)  # text and label of each pair
        label = np.tile(np.arange(count), len(texts))
        states: State = tuple(map_state(lambda part: part[label], layer) for layer in self._initial)
        for t in range(int(lengths.max())):
            is_on = lengths[which] > t
            if t % _STAGE == 0:
                is_hopeless = totals[which, label] < totals.max(1)[which] - _HOPELESS_NATS
                is_dropped = is_on & is_hopeless
                totals[which[is_dropped], label[is_dropped]] = -np.inf
                is_on &= ~is_hopeless
            which = which[is_on]
            label = label[is_on]
            states = map_state(lambda part, keep=is_on: part[keep], states)
            tokens = padded[which, t]
            log_probs = log_softmax(self._network.logits(states))
            totals[which, label] += log_probs[np.arange(len(tokens)), tokens]
            states = self._advance(tokens, label, states)
        return totals

    def _advance(self, tokens: Ids, label: NDArray[np.int64], states: State) -> State:
        features: Vector = self._inputs[tokens]
        embeddings = self._embeddings[label]
        after = []
        for depth, (step, before) in enumerate(zip(self._steps, states, strict=True)):
            layer = step(np.concatenate((features, embeddings), 1), before)
            features = layer[0] + features if self._is_residual and depth else layer[0]
            after.append(layer)
        return tuple(after)


class Calibration(NamedTuple):
    """How good and how sure a classifier is on held-out records.

    temperature: what log-likelihoods are divided by. error: the expected calibration error, the
    mean distance of how sure it is from how often it is right. accuracy: how often it is right.
    nats: −ln p of the right label, on average. records: how many were classified.
    """

    temperature: float
    error: float
    accuracy: float
    nats: float
    records: int


def posteriors(log_likelihoods: Floats, counts: NDArray[np.int64], temperature: float) -> Floats:
    """Return p(label | text) (N, K) in float64; each row sums to 1.

    counts: of the records of each label, one more each: their shares are the prior.
    """
    prior = np.log((counts + 1) / (counts + 1).sum())
    return np.exp(log_softmax(log_likelihoods / temperature + prior))


def calibrate(
    log_likelihoods: Floats, counts: NDArray[np.int64], truth: NDArray[np.int64]
) -> Calibration:
    """Return the temperature at which the right labels, `truth` (N,), are likeliest."""
    rows = np.arange(len(truth))

    def nats_at(temperature: float) -> float:
        right = posteriors(log_likelihoods, counts, temperature)[rows, truth]
        return float(-np.log(np.maximum(right, 1e-300)).mean())

    temperature = float(min(_TEMPERATURES, key=nats_at))
    found = posteriors(log_likelihoods, counts, temperature)
    is_right = found.argmax(1) == truth
    error = calibration_error(found.max(1), is_right)
    return Calibration(temperature, error, float(is_right.mean()), nats_at(temperature), len(truth))


def calibration_error(confidence: Floats, is_right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error of N answers, in equal bins of confidence.

    >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False])).__round__(3)
    0.4
    """
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    sure = np.bincount(bins, confidence, _BINS)
    right = np.bincount(bins, is_right, _BINS)
    return float(np.abs(sure - right).sum() / max(len(confidence), 1))


def _rows_of(file: ModelFile, column: str) -> tuple[int, tuple[str, ...]]:
    """Return where a column's rows begin in the table of embeddings, and its values."""
    first = 0
    for each in file.labels.columns:
        if each.name == column:
            return first, each.values
        first += len(each.values)
    raise KeyError(column)


def _initial_states(file: ModelFile, depth: int, embeddings: Vector) -> tuple[Vector, ...]:
    """Return the initial state of a layer for each label: parts (K, H)."""
    initial = file.weights[f"layers.{depth}.initial"]
    first = initial[0] + embeddings @ file.weights[f"layers.{depth}.initial_label"].T
    rest = [np.broadcast_to(part, first.shape) for part in initial[1:]]
    return (first.astype(np.float32), *rest)
