"""Records in lanes: each lane reads one record after the other, in an order of its own.

The records of all epochs form an endless queue, each epoch in another order, and lane b takes the
records at b, b + B, b + 2B, ... A record that is longer than a window goes on in the next one, with
the state carried; where one ends the next starts, in the middle of a window. So no position is
padding, however unlike their lengths are, and lanes need not wait for each other.

Where each lane stands is a place in the queue and an offset in that record: what a checkpoint
holds. The order is computed and never stored, so it takes no memory: a Feistel network over the
numbers of the records, keyed by seed and epoch (Luby and Rackoff 1988).

S = tokens, R = records, B = lanes, T = window length, C = columns of labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.data.draw import mix_bits
from charrnn.data.labels import NONE
from charrnn.text.vocab import Ids
from charrnn.training.batches import Cursor, Window

Ints = NDArray[np.int64]

_BUFFERED_WINDOWS = 16
_ROUNDS = 4
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Places(NamedTuple):
    """Where each lane reads next: its record in the queue (B,), and how far it is in it (B,)."""

    queued: Ints
    offsets: Ints


@dataclass
class RecordLanes:
    """Windows of records: B lanes of T tokens, each with its target and its record's labels.

    ids: (S,), one end and then each record with its end. ends: (R,), where each record's end is
    passed. labels: (R, C), rows of labels. label_dropout: the share of records whose labels are
    hidden.
    """

    ids: Ids
    ends: Ints
    labels: NDArray[np.int32]
    batch_size: int
    seq_len: int
    seed: int
    label_dropout: float = 0.0
    is_endless: ClassVar[bool] = True
    has_whole_records: ClassVar[bool] = False
    _cursor: Cursor = field(default_factory=Cursor, init=False)
    _buffer: _Buffer = field(init=False)
    _read: int = field(default=0, init=False)  # windows of the buffer

    def __post_init__(self) -> None:
        self.seek(Cursor(), self.first_places())

    def first_places(self) -> Places:
        """Return where the lanes start."""
        return Places(np.arange(self.batch_size), np.zeros(self.batch_size, np.int64))

    def windows_in(self, epoch: int) -> int:
        """Return the number of windows that hold as many tokens as the records; at least one."""
        del epoch  # all are alike
        return max(1, (len(self.ids) - 1) // (self.batch_size * self.seq_len))

    def read(self, cursor: Cursor) -> Window:
        """Return the window at `cursor`, which is the one that comes next."""
        assert cursor == self._cursor
        columns = slice(self._read * self.seq_len, (self._read + 1) * self.seq_len)
        buffer = self._buffer
        return Window(
            buffer.inputs[:, columns], buffer.targets[:, columns], buffer.labels[:, columns]
        )

    def next(self, cursor: Cursor) -> Cursor:
        """Go on to the next window; return its cursor."""
        self._read += 1
        if self._read == _BUFFERED_WINDOWS:
            places = self._places()
            self._buffer = self._fill(places)
            self._read = 0
        is_last = cursor.window + 1 >= self.windows_in(cursor.epoch)
        self._cursor = Cursor(cursor.epoch + is_last, 0 if is_last else cursor.window + 1)
        return self._cursor

    def position(self, cursor: Cursor) -> tuple[int, int]:
        """Return where the first lane reads in `ids`, and 0: lanes are not equally far apart."""
        del cursor
        queued, offsets = self._places()
        record = int(self._record_at(queued[:1])[0])
        return int(self._starts(np.array([record]))[0] + offsets[0]), 0

    # ── checkpoints ──

    def state_dict(self) -> dict[str, Ints]:
        """Return where each lane reads next."""
        places = self._places()
        return {"lanes.records": places.queued, "lanes.offsets": places.offsets}

    def load_state_dict(self, cursor: Cursor, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue at `cursor`, from where `state_dict` says.

        Raises:
            LookupError, ValueError: these are no such places.
        """
        places = Places(arrays["lanes.records"], arrays["lanes.offsets"])
        for each in places:
            if each.shape != (self.batch_size,) or each.dtype != np.int64 or each.min() < 0:
                raise ValueError("a lane is at no place in the records")
        if (places.offsets >= self._lengths(self._record_at(places.queued))).any():
            raise ValueError("a lane is behind the end of its record")
        self.seek(self.check(cursor), places)

    def check(self, cursor: Cursor) -> Cursor:
        """Return the cursor if there is such a window; raise ValueError if not."""
        return cursor.check(self.windows_in(cursor.epoch))

    def seek(self, cursor: Cursor, places: Places) -> None:
        """Continue at these places."""
        self._cursor = cursor
        self._buffer = self._fill(places)
        self._read = 0

    def _places(self) -> Places:
        """Return where each lane reads next."""
        within = self._buffer.first_offsets + self._read * self.seq_len
        totals = self._buffer.totals
        passed = (totals <= within[:, None]).sum(1)  # whole records
        before = np.concatenate((np.zeros((self.batch_size, 1), np.int64), totals), 1)
        offsets = within - before[np.arange(self.batch_size), passed]
        return Places(self._buffer.first_queued + self.batch_size * passed, offsets)

    # ── the queue ──

    def _fill(self, places: Places) -> _Buffer:
        """Return the next tokens of every lane, some windows of them."""
        size = _BUFFERED_WINDOWS * self.seq_len
        mean = max(1, (len(self.ids) - 1) // len(self.ends))
        count = 8 + int(places.offsets.max() + size) // mean
        while True:  # until the shortest of the lanes has enough
            queued = places.queued[:, None] + self.batch_size * np.arange(count)
            records = self._record_at(queued)
            starts = self._starts(records)
            lengths = np.asarray(self.ends[records]) - starts
            totals = np.cumsum(lengths, axis=1)
            if (totals[:, -1] > places.offsets + size).all():
                break
            count += 8 + count // 4
        # Of each position: which record of its lane it is in, and where that is in the text.
        shifts = starts - totals + lengths
        targets = np.empty((self.batch_size, size), np.int64)
        inputs = np.empty_like(targets)
        labels = np.empty((*targets.shape, self.labels.shape[1]), np.int64)
        rows = self._labels_of(records, queued)
        for lane, offset in enumerate(places.offsets.tolist()):
            passed = np.clip(totals[lane], offset, offset + size)
            which = np.repeat(np.arange(count), np.diff(passed, prepend=offset))
            at = shifts[lane, which] + np.arange(offset, offset + size)
            targets[lane] = self.ids[at]
            inputs[lane, 0] = self.ids[at[0] - 1]
            labels[lane] = rows[lane, which]
        inputs[:, 1:] = targets[:, :-1]  # an end, too, is read after it was predicted
        return _Buffer(inputs, targets, labels, totals, places.queued, places.offsets)

    def _record_at(self, queued: Ints) -> Ints:
        """Return which record stands at each place of the queue."""
        epochs, numbers = np.divmod(queued, len(self.ends))
        return shuffle(numbers, len(self.ends), order_key(self.seed, epochs))

    def _starts(self, records: Ints) -> Ints:
        """Return where the first target of each record is: after the end before it."""
        return np.where(records > 0, np.asarray(self.ends[records - 1]), 1)

    def _lengths(self, records: Ints) -> Ints:
        return np.asarray(self.ends[records]) - self._starts(records)

    def _labels_of(self, records: Ints, queued: Ints) -> Ints:
        """Return the rows (..., C) of labels, of which some are hidden, with their whole record.

        All of a record's labels are hidden together, and besides that each by itself.
        """
        rows = np.asarray(self.labels[records]).astype(np.int64)
        if not (rows.shape[-1] and self.label_dropout):
            return rows
        columns = np.arange(rows.shape[-1] + 1).astype(np.uint64)
        keys: NDArray[np.uint64] = _mix(queued.astype(np.uint64) + _key(self.seed + 1))[..., None]
        chances = _mix(keys + columns) / 2.0**64
        is_hidden = chances < self.label_dropout
        together = is_hidden[..., :1]
        by_itself = is_hidden[..., 1:] & (rows.shape[-1] > 1)  # of one column it is the same
        return np.where(together | by_itself, NONE, rows)


class _Buffer(NamedTuple):
    """The next tokens of each lane: inputs, targets (B, W), labels (B, W, C).

    totals: (B, K), the tokens of the lane's first records together. first_queued, first_offsets:
    where the buffer begins.
    """

    inputs: Ints
    targets: Ints
    labels: Ints
    totals: Ints
    first_queued: Ints
    first_offsets: Ints


def shuffle(numbers: Ints, count: int, keys: NDArray[np.uint64]) -> Ints:
    """Return where each of `numbers`, 0 to count − 1, goes in the order of its key.

    For one key that is a permutation. Numbers whose image is outside go through again.

    >>> sorted(shuffle(np.arange(5), 5, np.full(5, 7, np.uint64)).tolist())
    [0, 1, 2, 3, 4]
    """
    bits = max(2, (count - 1).bit_length())
    right_bits = np.uint64(bits // 2)
    left_bits = np.uint64(bits) - right_bits
    keys = np.broadcast_to(keys, numbers.shape)
    values = numbers.astype(np.uint64)
    is_outside = np.ones(numbers.shape, np.bool_)
    while is_outside.any():
        mixed = values[is_outside]
        own_keys = keys[is_outside]
        widths = (left_bits, right_bits)
        for number in range(_ROUNDS):
            # The halves change sides, so that of an odd number of bits each has its own width.
            wide, narrow = widths if number % 2 == 0 else widths[::-1]
            left = mixed >> narrow
            right = mixed & ((np.uint64(1) << narrow) - np.uint64(1))
            noise = _mix(own_keys + right * _ODD + np.uint64(number))
            left ^= noise & ((np.uint64(1) << wide) - np.uint64(1))
            mixed = (right << wide) | left
        values[is_outside] = mixed
        is_outside = values >= count
    return values.astype(np.int64)


def order_key(seed: int, epochs: Ints | int) -> NDArray[np.uint64]:
    """Return the keys of the orders of epochs, of one (1,)."""
    return _mix(np.atleast_1d(epochs).astype(np.uint64) + _key(seed))


def _key(seed: int) -> np.uint64:
    return np.uint64(seed * int(_ODD) % 2**64)


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return hashes of numbers that may follow one another (splitmix64)."""
    return mix_bits(numbers + _ODD)
