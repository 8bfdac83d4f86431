"""Naive Bayes on n-grams of characters: what the scripts that tell labels apart compare with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

_BUCKETS = 1 << 18  # of hashed n-grams
_PRIME = 1_000_003
_MODULUS = 1 << 61


class NaiveBayes:
    """Labels of texts by the frequencies of their n-grams, with add-α smoothing.

    longest: n-grams have 1 to so many characters.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        count: int,
        alpha: float = 0.1,
        longest: int = 4,
    ) -> None:
        self._longest = longest
        frequencies = np.full((count, _BUCKETS), alpha, np.float32)
        for text, label in zip(texts, labels, strict=True):
            for bucket, number in grams(text, longest).items():
                frequencies[label, bucket] += number
        frequencies /= frequencies.sum(1, keepdims=True)
        self._log = np.log(frequencies, out=frequencies)  # in place: there may be many labels

    def predict(self, text: str) -> int:
        """Return the likeliest label, all alike beforehand."""
        found = grams(text, self._longest)
        buckets = np.fromiter(found.keys(), np.int64)
        numbers = np.fromiter(found.values(), np.float32)
        return int((self._log[:, buckets] @ numbers).argmax())


def grams(text: str, longest: int) -> Counter[int]:
    """Return how often each n-gram stands in a text, by its bucket."""
    found: Counter[int] = Counter()
    for size in range(1, longest + 1):
        for i in range(len(text) - size + 1):
            value = 0
            for char in text[i : i + size]:
                value = (value * _PRIME + ord(char) + size) % _MODULUS
            found[value % _BUCKETS] += 1
    return found
