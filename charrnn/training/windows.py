"""Lanes and windows: the order in which truncated BPTT reads a text.

The text is cut into B lanes, each a contiguous stretch; a step reads the next T characters of
every lane, and the state is carried from window to window. Each epoch starts at another offset so
that window edges move. Where a step reads is a pure function of seed and cursor: there is nothing
to save but the cursor. It knows nothing of torch.

S = symbols of the split, B = lanes, T = window length.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError
from charrnn.text.vocab import Ids


@dataclass(frozen=True)
class Cursor:
    """A place in the reading order: the epoch, and the window in it."""

    epoch: int = 0
    window: int = 0


@dataclass(frozen=True)
class Lanes:
    """Cuts `ids` (S,) into windows of inputs and targets, both (B, T)."""

    ids: Ids
    batch_size: int
    seq_len: int
    seed: int

    def __post_init__(self) -> None:
        needed = self.batch_size * self.seq_len + 1
        if len(self.ids) < needed:
            raise CorpusError(
                f"the training text has {len(self.ids):,} symbols; {self.batch_size} lanes of "
                f"{self.seq_len} need {needed:,}: give more text, or lower --batch-size or "
                "--seq-len (left out, they are chosen to fit)"
            )

    def windows_in(self, epoch: int) -> int:
        """Count the windows of an epoch; at least one."""
        return self._lane_length(epoch) // self.seq_len

    def read(self, cursor: Cursor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the inputs and, one character further on, the targets at `cursor`."""
        start, length = self.place(cursor)
        lane = np.arange(self.batch_size)[:, None] * length
        block = self.ids[lane + start + np.arange(self.seq_len + 1)].astype(np.int64)
        return block[:, :-1], block[:, 1:]

    def place(self, cursor: Cursor) -> tuple[int, int]:
        """Give where the first lane's window starts in the text, and a lane's length in symbols."""
        start = self._offset(cursor.epoch) + cursor.window * self.seq_len
        return start, self._lane_length(cursor.epoch)

    def after(self, cursor: Cursor) -> Cursor:
        """Give the cursor of the next window; at an epoch's end, that of a new epoch."""
        if cursor.window + 1 < self.windows_in(cursor.epoch):
            return Cursor(cursor.epoch, cursor.window + 1)
        return Cursor(cursor.epoch + 1)

    def check(self, cursor: Cursor) -> Cursor:
        """Give the cursor back if it is a place in this text.

        Raises:
            ValueError: it is not.
        """
        if cursor.epoch < 0 or not 0 <= cursor.window < self.windows_in(cursor.epoch):
            raise ValueError(f"there is no window {cursor.window} in epoch {cursor.epoch}")
        return cursor

    def _offset(self, epoch: int) -> int:
        slack = len(self.ids) - 1 - self.batch_size * self.seq_len
        return _draw(self.seed, epoch, min(self.seq_len, slack + 1))

    def _lane_length(self, epoch: int) -> int:
        return (len(self.ids) - 1 - self._offset(epoch)) // self.batch_size


@lru_cache(maxsize=4)  # asked for at every step, and a generator takes long to make
def _draw(seed: int, epoch: int, choices: int) -> int:
    return int(np.random.default_rng([seed, epoch]).integers(choices))
