"""What can be said of the records of a text: how many, how long, how often the same, how labelled.

R = records.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from charrnn.data.labels import Labels


@dataclass(frozen=True)
class LabelBalance:
    """How evenly the records of a text are spread over the labels of one column.

    counts: of each label. majority_share: of the commonest label, among records that have one: what
    it is worth to guess it always. entropy_bits: of the labels.
    """

    counts: dict[str, int]
    majority_share: float
    entropy_bits: float

    @classmethod
    def of(cls, counts: dict[str, int]) -> LabelBalance:
        """Measure the counts of one column.

        >>> LabelBalance.of({"pos": 3, "neg": 1}).majority_share
        0.75
        """
        total = sum(counts.values())
        shares = [count / total for count in counts.values() if count]
        return cls(counts, max(shares), -sum(share * math.log2(share) for share in shares))


@dataclass(frozen=True)
class RecordStats:
    """The figures of the records of a text.

    kind: "line", "file", "document", "row" or "speech". p50_chars and the like: percentiles of
    their lengths, without their ends. duplicates: those that stand before in the same words.
    labels: by column.
    """

    kind: str
    number: int
    p50_chars: int
    p95_chars: int
    max_chars: int
    duplicates: int
    labels: dict[str, LabelBalance] = field(default_factory=dict)

    @property
    def duplicate_share(self) -> float:
        """The share of records that stand before in the same words."""
        return self.duplicates / self.number

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        labels = {name: dict(vars(each)) for name, each in self.labels.items()}
        return vars(self) | {"duplicate_share": self.duplicate_share, "labels": labels}


class RecordMeter:
    """Takes records as they are read: 12 bytes of memory for each."""

    def __init__(self) -> None:
        self._chars = array("I")
        self._hashes = array("q")

    def add(self, texts: Sequence[str]) -> None:
        """Measure some records."""
        self._chars.extend(map(len, texts))
        self._hashes.extend(map(hash, texts))

    def stats(self, kind: str, labels: Labels) -> RecordStats:
        """Return the figures of the records so far, one or more; labels: of all of them."""
        chars = np.frombuffer(self._chars, np.uintc)
        p50, p95 = np.percentile(chars, [50, 95], method="lower").tolist()
        different = len(np.unique(np.frombuffer(self._hashes, np.int64)))
        balances = {name: LabelBalance.of(counts) for name, counts in labels.counts.items()}
        return RecordStats(
            kind, len(chars), p50, p95, int(chars.max()), len(chars) - different, balances
        )
