"""Lanes and windows: the order in which truncated BPTT reads a text.

The text is cut into B lanes, each a contiguous stretch; a step reads the next T characters of
every lane, and the state is carried from window to window. Each epoch starts at another offset so
that window edges move. Where a step reads is a pure function of seed and cursor: there is nothing
to save but the cursor. It knows nothing of torch.

S = tokens of the split, B = lanes, T = window length.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.errors import CorpusError
from charrnn.text.vocab import Ids, Vocab


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
                f"the training text has {len(self.ids):,} tokens; {self.batch_size} lanes of "
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
        """Give where the first lane's window starts in the text, and a lane's length in tokens."""
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


_LARGEST_SHARE = 0.25  # of the memory that is free on the device
_SIGNED = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By bytes: torch has few operations on wider numbers without a sign."""
_SENT_AT_ONCE = 1 << 24  # tokens


class Batches:
    """Hands over the windows of `lanes` on `device`."""

    def __init__(self, lanes: Lanes, vocab: Vocab, device: torch.device) -> None:
        self._lanes, self._vocab, self._device = lanes, vocab, device
        has_room = lanes.ids.nbytes <= _LARGEST_SHARE * free_bytes(device)
        self._text = send_text(lanes.ids, device) if has_room else None

    def read(self, cursor: Cursor) -> tuple[Tensor, Tensor, int]:
        """Give the inputs and targets (B, T) int64 at `cursor`, and the targets' characters."""
        if self._text is None:
            inputs, targets = self._lanes.read(cursor)
            chars = self._vocab.count_characters(targets.ravel())
            return self._send(inputs), self._send(targets), chars
        size = self._lanes.batch_size, self._lanes.seq_len
        block = cut(self._text, *self._lanes.place(cursor), *size)
        return block[:, :-1], block[:, 1:], self._count(cursor)

    def _count(self, cursor: Cursor) -> int:
        """Count the characters of the targets, whose ids the host has to look at in one case."""
        if self._vocab.has_bytes:
            return self._vocab.count_characters(self._lanes.read(cursor)[1].ravel())
        return self._lanes.batch_size * self._lanes.seq_len

    def _send(self, window: Ids) -> Tensor:
        tensor = torch.from_numpy(window)
        if self._device.type == "cuda":  # from elsewhere the copy would wait for the GPU
            return tensor.contiguous().pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)


def free_bytes(device: torch.device) -> int:
    """Give the memory that is free on a GPU; none where the host's own memory is read anyway."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def send_text(ids: Ids, device: torch.device) -> Tensor:
    """Give `ids` (S,) on `device` in as many bytes each, without a second copy on the host."""
    text = torch.empty(len(ids), dtype=_SIGNED[ids.dtype.itemsize], device=device)
    signed = str(text.dtype).removeprefix("torch.")
    for start in range(0, len(ids), _SENT_AT_ONCE):
        block = np.array(ids[start : start + _SENT_AT_ONCE]).view(signed)
        text[start : start + len(block)] = torch.from_numpy(block)
    return text


def cut(text: Tensor, start: int, lane_length: int, batch_size: int, seq_len: int) -> Tensor:
    """Give the window of all lanes and the token after it: (B, T + 1) int64.

    start: of the first lane's window in `text` (S,); the others lie lane_length apart.
    """
    block = text.as_strided((batch_size, seq_len + 1), (lane_length, 1), start).to(torch.int64)
    return block.bitwise_and_(0xFFFF) if text.dtype == torch.int16 else block
