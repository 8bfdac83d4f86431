"""The tag of each position of records, by a network that reads them whole: numpy.

With transitions the tags of a record are chosen together: the best row of tags by Viterbi's
algorithm (1967), the probability of each tag by forward and backward sums. Records of a block go
side by side, the longest first.

N = records, T = tokens of the longest, S = tokens of one record, D = features of a position, K =
tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from charrnn.errors import DivergedError
from charrnn.generation.encoder import Encoded, Encoder, Ints
from charrnn.generation.filters import Floats, log_softmax
from charrnn.generation.scoring import IGNORE_OVERFLOW, NOT_FINITE
from charrnn.text.vocab import Ids

_LEAST_SUM = 1e-300  # its logarithm is finite
_MAX_PAIRS = 1 << 18  # pairs of tags that are compared together: they stay in the cache


class Tagger(Encoder):
    """The network of a model file whose task is tagging.

    Each method raises DivergedError where weights are so large that logits are not finite.
    """

    @IGNORE_OVERFLOW
    def tags(self, texts: Sequence[Ids]) -> list[Ints]:
        """Return the best tags (S,) of each text. texts: ids; none is empty."""
        found: list[Ints] = [np.zeros(0, np.int64)] * len(texts)
        for encoded in self.iter_encoded(texts):
            best = self._best(self._logits(encoded), encoded.lengths)
            for column, (which, length) in enumerate(_rows(encoded)):
                found[which] = best[:length, column].astype(np.int64)
        return found

    @IGNORE_OVERFLOW
    def probable_tags(self, texts: Sequence[Ids]) -> list[tuple[Ints, Floats]]:
        """Return the best tags (S,) of each text, and p(tag | text) (S, K); each row sums to 1.

        texts: as for `tags`. Each is read once.
        """
        found = [(np.zeros(0, np.int64), np.zeros((0, self.config.class_count)))] * len(texts)
        for encoded in self.iter_encoded(texts):
            logits = self._logits(encoded)
            best = self._best(logits, encoded.lengths)
            probabilities = self._probabilities(logits, encoded.lengths)
            for column, (which, length) in enumerate(_rows(encoded)):
                tags = best[:length, column].astype(np.int64)
                found[which] = tags, probabilities[:length, column].copy()
        return found

    @IGNORE_OVERFLOW
    def nats(self, texts: Sequence[Ids], tags: Sequence[Ints]) -> Floats:
        """Return −ln p(tags | text) (N,) of rows of tags, each (S,) as its text."""
        found = np.zeros(len(texts))
        for encoded in self.iter_encoded(texts):
            logits = self._logits(encoded)
            # Alone, the probability of a row of tags is the product of those of each.
            scores = logits if self._is_chain else log_softmax(logits)
            totals = self._log_partition(logits, encoded.lengths) if self._is_chain else None
            for column, (which, _) in enumerate(_rows(encoded)):
                path = np.asarray(tags[which])
                nats = -scores[np.arange(len(path)), column, path].sum()
                if totals is not None:
                    nats += totals[column] - self._path_score(path)
                found[which] = nats
        return found

    @property
    def _is_chain(self) -> bool:
        return self.config.transitions

    def _logits(self, encoded: Encoded) -> Floats:
        """Return the logits (T, N, K) of positions in float64."""
        weights = self.weights
        own = weights["embedding.weight"][encoded.ids]
        features = np.concatenate((encoded.features, own), 2)
        if self.config.head_size:
            features = np.tanh(features @ weights["hidden.weight"].T + weights["hidden.bias"])
        logits = features @ weights["output.weight"].T + weights["output.bias"]
        doubles: Floats = logits.astype(np.float64)
        if not np.isfinite(doubles).all():
            raise DivergedError(NOT_FINITE)
        return doubles

    def _best(self, logits: Floats, lengths: Ints) -> Ints:
        """Return the best tags (T, N) of a block by its logits (T, N, K)."""
        return self._best_path(logits, lengths) if self._is_chain else logits.argmax(2)

    def _probabilities(self, logits: Floats, lengths: Ints) -> Floats:
        """Return p(tag | text) (T, N, K) of a block by its logits (T, N, K)."""
        scores = logits
        if self._is_chain:
            scores = self._forward(logits) + self._backward(logits, lengths)
        return np.exp(log_softmax(scores))

    def _path_score(self, path: Ints) -> float:
        """Return the score of a row of tags (S,) by its transitions alone."""
        weights = self.weights
        pairs = weights["transitions.weight"][path[:-1], path[1:]].sum(dtype=np.float64)
        ends = weights["transitions.start"][path[0]] + weights["transitions.end"][path[-1]]
        return float(pairs + ends)

    def _best_path(self, logits: Floats, lengths: Ints) -> Ints:
        """Return the row of tags (T, N) with the highest score; 0 after a record's end."""
        into = np.ascontiguousarray(self.weights["transitions.weight"].T, np.float64)  # (to, from)
        best = self.weights["transitions.start"] + logits[0]
        before = np.zeros(logits.shape, np.int32)  # the tag that the best way to each comes from
        size = max(1, _MAX_PAIRS // into.size)
        active = _active(lengths)
        for t in range(1, len(logits)):
            for begin in range(0, active[t], size):
                rows = slice(begin, min(begin + size, active[t]))
                ways = best[rows, None, :] + into
                came = ways.argmax(2)
                top = np.take_along_axis(ways, came[:, :, None], 2)[:, :, 0]
                before[t, rows] = came
                best[rows] = top + logits[t, rows]
        tags = (best + self.weights["transitions.end"]).argmax(1)
        path = np.zeros(logits.shape[:2], np.int64)
        for t in range(len(logits) - 1, -1, -1):
            rows = slice(0, active[t])
            path[t, rows] = tags[rows]
            tags[rows] = before[t, np.arange(active[t]), tags[rows]]
        return path

    def _forward(self, logits: Floats) -> Floats:
        """Return ln Σ exp(score) (T, N, K) of all ways to each tag, with its own logit."""
        factors, most = self._factors()
        sums = np.empty_like(logits)
        sums[0] = self.weights["transitions.start"] + logits[0]
        for t in range(1, len(logits)):
            sums[t] = _log_product(sums[t - 1], factors) + most + logits[t]
        return sums

    def _backward(self, logits: Floats, lengths: Ints) -> Floats:
        """Return ln Σ exp(score) (T, N, K) of all ways from each tag to the record's end."""
        factors, most = self._factors()
        sums = np.empty_like(logits)
        sums[:] = self.weights["transitions.end"]
        active = _active(lengths)
        for t in range(len(logits) - 2, -1, -1):
            rows = slice(0, active[t + 1])  # those that go on after t
            after = sums[t + 1, rows] + logits[t + 1, rows]
            sums[t, rows] = _log_product(after, factors.T) + most
        return sums

    def _log_partition(self, logits: Floats, lengths: Ints) -> Floats:
        """Return ln Z (N,), the logarithm of the sum over all rows of tags."""
        last = self._forward(logits)[lengths - 1, np.arange(len(lengths))]
        ends = last + self.weights["transitions.end"]
        most = ends.max(1)
        totals: Floats = most + np.log(np.exp(ends - most[:, None]).sum(1))
        return totals

    def _factors(self) -> tuple[Floats, float]:
        """Return exp(w − most) (K, K) of the scores w of pairs, and the largest of them."""
        weight = self.weights["transitions.weight"].astype(np.float64)
        most = float(weight.max())
        return np.exp(weight - most), most


def _rows(encoded: Encoded) -> Iterator[tuple[int, int]]:
    """Yield where each record of a block stands among all, and its length."""
    return zip(encoded.which, encoded.lengths.tolist(), strict=True)


def _active(lengths: Ints) -> list[int]:
    """Return how many records are longer than each of 0 … T − 1; lengths: the longest first."""
    times = np.arange(int(lengths[0]))
    active: list[int] = np.searchsorted(-lengths, -times, side="left").tolist()
    return active


def _log_product(logs: Floats, factors: Floats) -> Floats:
    """Return ln(exp(logs) · factors) (N, K) of logs (N, K) and factors (K, K)."""
    largest = logs.max(1, keepdims=True)
    sums = np.exp(logs - largest) @ factors
    product: Floats = np.log(np.maximum(sums, _LEAST_SUM)) + largest
    return product
