"""Records in batches: whole records of like length side by side, in another order each epoch.

The records of an epoch are taken in the order of `record_lanes`, some thousand at a time; those are
sorted by length and cut into batches, which come in a random order. So little of a batch is
padding, and what stands together differs from epoch to epoch. Where a batch reads depends on seed
and cursor alone: there is nothing to save but the cursor.

S = tokens, R = records, B = records of a batch, T = tokens of the longest of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from charrnn.data.draw import Ints, segment_sizes
from charrnn.errors import CorpusError, counted
from charrnn.text.vocab import Ids
from charrnn.training.batches import Cursor, Window
from charrnn.training.record_lanes import order_key, shuffle

_BLOCK_BATCHES = 64  # sorted together
_FIRST = 1  # where the first record begins: before it stands an END


@dataclass
class RecordBatches:
    """Batches of the records of a class each.

    ids: (S,), one end and then each record with its end. ends: (R,), where each record's end is
    passed. classes: (R,) from 0; records below 0 have none, and are left out. longest: of a longer
    record so many tokens are read.

    Raises:
        CorpusError: no record has a class.
    """

    ids: Ids
    ends: Ints
    classes: Ints
    batch_size: int
    seed: int
    longest: int
    is_endless: ClassVar[bool] = False
    _block: tuple[int, int] = field(default=(-1, -1), init=False)
    _batches: list[Ints] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._known = np.flatnonzero(self.classes >= 0)
        if not len(self._known):
            found = counted(len(self.ends), "training record")
            raise CorpusError(f"none of the {found} has a label; give records with labels")

    def windows_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        del epoch  # all are alike
        return -(-len(self._known) // self.batch_size)

    def read(self, cursor: Cursor) -> Window:
        """Return the batch at `cursor`: inputs (B, T), targets (B,) and lengths (B,) as labels.

        What comes after a record's end is 0.
        """
        block, batch = divmod(cursor.window, _BLOCK_BATCHES)
        if self._block != (cursor.epoch, block):
            self._batches = self._cut(cursor.epoch, block)
            self._block = (cursor.epoch, block)
        records = self._batches[batch]
        lengths = self._lengths(records)
        inputs = np.zeros((len(records), int(lengths.max())), np.int64)
        for row, (end, length) in enumerate(zip(self._stops(records), lengths, strict=True)):
            inputs[row, :length] = self.ids[end - length : end]
        return Window(inputs, self.classes[records].astype(np.int64), lengths)

    def position(self, cursor: Cursor) -> tuple[int, int]:
        """Return where the first record of a batch starts in `ids`, and 0."""
        self.read(cursor)
        record = self._batches[cursor.window % _BLOCK_BATCHES][:1]
        return int(self._stops(record)[0] - self._lengths(record)[0]), 0

    def next(self, cursor: Cursor) -> Cursor:
        """Return the cursor of the next batch; at an epoch's end, that of a new epoch."""
        if cursor.window + 1 < self.windows_in(cursor.epoch):
            return Cursor(cursor.epoch, cursor.window + 1)
        return Cursor(cursor.epoch + 1)

    def check(self, cursor: Cursor) -> Cursor:
        """Return the cursor if there is such a batch; raise ValueError if not."""
        return cursor.check(self.windows_in(cursor.epoch))

    def _cut(self, epoch: int, block: int) -> list[Ints]:
        """Return the records of each batch of a block."""
        count = len(self._known)
        first = block * _BLOCK_BATCHES * self.batch_size
        last = min(first + _BLOCK_BATCHES * self.batch_size, count)
        key = order_key(self.seed, epoch)
        records = self._known[shuffle(np.arange(first, last), count, key)]
        records = records[np.argsort(self._lengths(records), kind="stable")]
        batches = [
            records[begin : begin + self.batch_size]
            for begin in range(0, len(records), self.batch_size)
        ]
        order = shuffle(np.arange(len(batches)), len(batches), order_key(self.seed + 1, epoch))
        return [batches[number] for number in order.tolist()]

    def _lengths(self, records: Ints) -> Ints:
        """Return how many tokens of each record are read: without its end, `longest` at most."""
        return np.minimum(segment_sizes(self.ends, records, _FIRST) - 1, self.longest)

    def _stops(self, records: Ints) -> Ints:
        """Return where what is read of each record ends."""
        cut = segment_sizes(self.ends, records, _FIRST) - 1 - self._lengths(records)
        stops: Ints = self.ends[records] - 1 - cut
        return stops
