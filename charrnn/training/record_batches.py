"""Records in batches: whole records of like length side by side, in another order each epoch.

The records of an epoch are taken in the order of `record_lanes`, some thousand at a time; those are
sorted by length and cut into batches, which come in a random order. So little of a batch is
padding, and what stands together differs from epoch to epoch. Where a batch reads depends on seed
and cursor alone: there is nothing to save but the cursor.

S = tokens, R = records, B = records of a batch, T = tokens of the longest of them, U = tokens of
the longest target.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from charrnn.data.corpus import Corpus
from charrnn.data.draw import Ints, segment_sizes
from charrnn.data.records import Records, Targets
from charrnn.errors import CorpusError, counted
from charrnn.text.vocab import Ids
from charrnn.training.batches import Cursor, Window
from charrnn.training.record_lanes import order_key, shuffle

_BLOCK_BATCHES = 64  # sorted together
_FIRST = 1  # where the first record begins: before it stands an END
NO_TARGET = -1  # what a batch of targets is filled with


@dataclass(frozen=True)
class TaskRecords:
    """Records, and what each becomes.

    ids: (S,), one end and then each record with its end. ends: (R,), where each record's end is
    passed. targets: the class (R,) of each, from 0, or −1 where it has none; or a sequence of each.
    longest: the most tokens that are read of a record, and of its target. is_aligned: a target is
    as long as its record, and is cut with it; a pair of which one side is too long is left out.
    """

    ids: Ids
    ends: Ints
    targets: Ints | Targets
    longest: int
    is_aligned: bool = True

    def known(self) -> Ints:
        """Return the records that have a target, in their order."""
        if not isinstance(self.targets, Targets):
            return np.flatnonzero(self.targets >= 0)
        if self.is_aligned:
            return np.arange(len(self.ends))
        every = np.arange(len(self.ends))
        is_short = segment_sizes(self.ends, every, _FIRST) - 1 <= self.longest
        is_short &= segment_sizes(self.targets.ends, every, 0) <= self.longest
        return np.flatnonzero(is_short)

    def lengths(self, records: Ints) -> Ints:
        """Return how many tokens of each record are read: without its end, `longest` at most."""
        return np.minimum(segment_sizes(self.ends, records, _FIRST) - 1, self.longest)

    def target_lengths(self, records: Ints) -> Ints:
        """Return how many targets each record has."""
        if not isinstance(self.targets, Targets):
            return np.ones(len(records), np.int64)
        return np.minimum(segment_sizes(self.targets.ends, records, 0), self.longest)

    def starts(self, records: Ints) -> Ints:
        """Return where each record begins in `ids`."""
        return np.asarray(self.ends)[records] - segment_sizes(self.ends, records, _FIRST)

    def window(self, records: Ints) -> Window:
        """Return records side by side: inputs (B, T), targets (B,) or (B, U), lengths as labels.

        What comes after a record's end is 0, after that of a target −1.
        """
        lengths = self.lengths(records)
        inputs = _side_by_side(self.ids, self.starts(records), lengths, 0)
        targets: Any = self.targets
        if isinstance(targets, Targets):
            sizes = segment_sizes(targets.ends, records, 0)
            starts = np.asarray(targets.ends)[records] - sizes
            own = np.minimum(sizes, self.longest)
            found = _side_by_side(targets.ids, starts, own, NO_TARGET)
        else:
            found = targets[records].astype(np.int64)
        return Window(inputs, found, lengths)


def records_of(corpus: Corpus, part: str, task: str, longest: int) -> TaskRecords:
    """Return the records of a part, "train" or "val", with what each becomes.

    Raises:
        CorpusError: no record has a label or a target.
    """
    records: Records | None = getattr(corpus, f"{part}_records")
    if records is None:
        raise CorpusError(f"{corpus.name} has no records; say what one is, as by --lines")
    targets: Ints | Targets | None = getattr(corpus, f"{part}_targets")
    if task == "classification":
        targets = np.asarray(records.labels[:, 0]).astype(np.int64) - 1  # NONE is 0
    assert targets is not None
    found = TaskRecords(
        getattr(corpus, part), records.ends, targets, longest, is_aligned=task != "seq2seq"
    )
    if len(records) and not len(found.known()):
        where = "training" if part == "train" else "held-out"
        missing = "a label" if task == "classification" else f"at most {longest:,} tokens"
        raise CorpusError(
            f"none of the {counted(len(records), f'{where} record')} has {missing}; give others"
        )
    return found


def _side_by_side(ids: Ids, starts: Ints, lengths: Ints, filler: int) -> Ints:
    """Return stretches of ids as rows (B, T), each filled up to the longest."""
    within = np.arange(int(lengths.max()))
    is_inside = within < lengths[:, None]
    at = np.minimum(starts[:, None] + within, max(len(ids) - 1, 0))
    return np.where(is_inside, np.asarray(ids[at]).astype(np.int64), filler)


@dataclass
class RecordBatches:
    """Batches of records with what they become; all have `batch_size` records.

    Where the last batch of an epoch has too few, the first records of the epoch come once more.
    """

    records: TaskRecords
    batch_size: int
    seed: int
    is_endless: ClassVar[bool] = False
    has_whole_records: ClassVar[bool] = True
    _block: tuple[int, int] = field(default=(-1, -1), init=False)
    _batches: list[Ints] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._known = self.records.known()
        targets = self.records.target_lengths(self._known).mean()
        self.targets_per_batch = float(targets) * self.batch_size

    @property
    def ids(self) -> Ids:
        """The ids that the records are in."""
        return self.records.ids

    @property
    def seq_len(self) -> int:
        """The most tokens that a record has in a batch."""
        return self.records.longest

    def windows_in(self, epoch: int) -> int:
        """Return the number of batches in an epoch."""
        del epoch  # all are alike
        return -(-len(self._known) // self.batch_size)

    def read(self, cursor: Cursor) -> Window:
        """Return the batch at `cursor`, as `TaskRecords.window` makes it."""
        return self.records.window(self._records_at(cursor))

    def position(self, cursor: Cursor) -> tuple[int, int]:
        """Return where the first record of a batch starts in `ids`, and 0."""
        return int(self.records.starts(self._records_at(cursor)[:1])[0]), 0

    def next(self, cursor: Cursor) -> Cursor:
        """Return the cursor of the next batch; at an epoch's end, that of a new epoch."""
        if cursor.window + 1 < self.windows_in(cursor.epoch):
            return Cursor(cursor.epoch, cursor.window + 1)
        return Cursor(cursor.epoch + 1)

    def check(self, cursor: Cursor) -> Cursor:
        """Return the cursor if there is such a batch; raise ValueError if not."""
        return cursor.check(self.windows_in(cursor.epoch))

    def _records_at(self, cursor: Cursor) -> Ints:
        block, batch = divmod(cursor.window, _BLOCK_BATCHES)
        if self._block != (cursor.epoch, block):
            self._batches = self._cut(cursor.epoch, block)
            self._block = (cursor.epoch, block)
        return self._batches[batch]

    def _cut(self, epoch: int, block: int) -> list[Ints]:
        """Return the records of each batch of a block."""
        count = len(self._known)
        first = block * _BLOCK_BATCHES * self.batch_size
        whole = self.windows_in(epoch) * self.batch_size
        last = min(first + _BLOCK_BATCHES * self.batch_size, whole)
        key = order_key(self.seed, epoch)
        records = self._known[shuffle(np.arange(first, last) % count, count, key)]
        targets = self.records.target_lengths(records)
        records = records[np.lexsort((targets, self.records.lengths(records)))]
        batches = records.reshape(-1, self.batch_size)
        order = shuffle(np.arange(len(batches)), len(batches), order_key(self.seed + 1, epoch))
        return [batches[number] for number in order.tolist()]
