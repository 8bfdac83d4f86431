"""Lanes, windows and batches: the order in which truncated BPTT reads a text, on any device.

The text is cut into B lanes, each a contiguous stretch; a step reads the next T tokens of every
lane, and the state is carried from window to window. Each epoch starts at another offset, so that
window edges move. Where a step reads depends on seed and cursor alone: there is nothing to save
but the cursor.

S = tokens of the split, B = lanes, T = window length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import CorpusError, counted
from charrnn.text.vocab import Ids, Vocab

_LARGEST_SHARE = 0.25  # of the memory that is free on the device
_SIGNED = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By bytes: torch has few operations on wider unsigned numbers."""
_SENT_AT_ONCE = 1 << 24  # tokens


@dataclass(frozen=True)
class Cursor:
    """A place in the reading order: the epoch, and the window in it."""

    epoch: int = 0
    window: int = 0

    def check(self, windows: int) -> Cursor:
        """Return the cursor if its epoch, of so many windows, has it.

        Raises:
            ValueError: it has not.
        """
        if self.epoch < 0 or not 0 <= self.window < windows:
            raise ValueError(f"there is no window {self.window} in epoch {self.epoch}")
        return self


class Window(NamedTuple):
    """What a step reads: inputs and, one token further on, targets, each (B, T) int64.

    labels: (B, T, C) int64, the rows of the labels of each position's record; C is 0 without any.
    Where whole records are read, targets are classes (B,) or sequences (B, U) padded with −1, and
    labels (B,) say how many of the inputs belong to each record.

    With teachers, likely (B, T, K) int64 are the tokens that may come next, and shares (B, T, K)
    the probability that each of them should have; those of a position add up to 1.
    """

    inputs: Any
    targets: Any
    labels: Any
    likely: Any = None
    shares: Any = None

    def map(self, change: Callable[[Any], Any]) -> Window:
        """Return the window with each part changed that it has."""
        return Window(*(None if part is None else change(part) for part in self))

    def select(self, lanes: slice) -> Window:
        """Return the window of some of the lanes."""
        return self.map(lambda part: part[lanes])


@dataclass(frozen=True)
class Lanes:
    """Cuts `ids` (S,) into windows of B lanes of T tokens.

    >>> Lanes(np.arange(9), batch_size=2, seq_len=2, seed=1).read(Cursor()).targets.shape
    (2, 2)
    """

    ids: Ids
    batch_size: int
    seq_len: int
    seed: int
    is_endless: ClassVar[bool] = False  # an epoch does not go on where the one before ends
    has_whole_records: ClassVar[bool] = False

    def __post_init__(self) -> None:
        needed = self.batch_size * self.seq_len + 1
        if len(self.ids) < needed:
            raise CorpusError(
                f"the training text has {counted(len(self.ids), 'token')}, but "
                f"{counted(self.batch_size, 'lane')} of {self.seq_len} take {needed:,}: give more "
                "text, or lower --batch-size or --seq-len (left out, they are chosen to fit)"
            )

    def windows_in(self, epoch: int) -> int:
        """Return the number of windows in an epoch; at least one."""
        return self._layout(epoch)[1] // self.seq_len

    def read(self, cursor: Cursor) -> Window:
        """Return the window at `cursor`."""
        start, length = self.position(cursor)
        lane = np.arange(self.batch_size)[:, None] * length
        block = self.ids[lane + start + np.arange(self.seq_len + 1)].astype(np.int64)
        inputs = block[:, :-1]
        return Window(inputs, block[:, 1:], np.empty((*inputs.shape, 0), np.int64))

    def position(self, cursor: Cursor) -> tuple[int, int]:
        """Return where the first lane's window starts in the text, and a lane's length."""
        offset, lane_length = self._layout(cursor.epoch)
        return offset + cursor.window * self.seq_len, lane_length

    def next(self, cursor: Cursor) -> Cursor:
        """Return the cursor of the next window; at an epoch's end, that of a new epoch."""
        _, lane_length = self._layout(cursor.epoch)
        if cursor.window + 1 < lane_length // self.seq_len:
            return Cursor(cursor.epoch, cursor.window + 1)
        return Cursor(cursor.epoch + 1)

    def check(self, cursor: Cursor) -> Cursor:
        """Return the cursor if it is a place in this text; raise ValueError if not."""
        return cursor.check(self.windows_in(cursor.epoch))

    def _layout(self, epoch: int) -> tuple[int, int]:
        """Return the offset at which an epoch starts, and the length of its lanes in tokens."""
        slack = len(self.ids) - 1 - self.batch_size * self.seq_len
        offset = _random_offset(self.seed, epoch, min(self.seq_len, slack + 1))
        return offset, (len(self.ids) - 1 - offset) // self.batch_size


@lru_cache(maxsize=4)  # asked for at every step, and a generator takes long to make
def _random_offset(seed: int, epoch: int, choices: int) -> int:
    return int(np.random.default_rng([seed, epoch]).integers(choices))


class AnyLanes(Protocol):
    """What reads a text in windows: `Lanes`, or `RecordLanes` where it is made of records.

    Or `RecordBatches`, where a window is some whole records with what they become.
    """

    has_whole_records: ClassVar[bool]

    @property
    def ids(self) -> Ids: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def seq_len(self) -> int: ...

    def read(self, cursor: Cursor) -> Window: ...

    def position(self, cursor: Cursor) -> tuple[int, int]: ...


class Batches:
    """Hands over the windows of `lanes` on the device that trains.

    A GPU would wait for every window that the host cuts and sends. If the text takes little of its
    memory, all of it is stored there, in the width of its ids, and is cut there. Otherwise a window
    goes through pinned memory, from which it is copied while the GPU computes.
    """

    def __init__(self, lanes: AnyLanes, vocab: Vocab, device: torch.device) -> None:
        self._lanes = lanes
        self._vocab = vocab
        self._is_one_to_one = vocab.is_one_to_one
        self._device = device
        has_room = lanes.ids.nbytes <= _LARGEST_SHARE * free_bytes(device)
        is_cut_there = isinstance(lanes, Lanes) and has_room
        self._text = send_text(lanes.ids, device) if is_cut_there else None

    def read(self, cursor: Cursor) -> tuple[Window, int]:
        """Return the window at `cursor`, as tensors, and how many characters its targets are.

        Of whole records return how many targets there are: classes, tags or target tokens.
        """
        lanes = self._lanes
        chars = lanes.batch_size * lanes.seq_len
        is_counted = not self._is_one_to_one and not lanes.has_whole_records
        if self._text is None or is_counted:
            window = lanes.read(cursor)
            if is_counted:
                chars = self._vocab.count_characters(window.targets.ravel())
            elif lanes.has_whole_records:  # what counts is what they become
                chars = int(np.count_nonzero(window.targets >= 0))
        if self._text is not None:
            block = cut(self._text, *lanes.position(cursor), lanes.batch_size, lanes.seq_len)
            inputs = block[:, :-1]
            return Window(inputs, block[:, 1:], inputs.new_empty(*inputs.shape, 0)), chars
        tensors = Window(*map(torch.from_numpy, window[:3]))  # what teachers write comes later
        return tensors if self._device.type == "cpu" else tensors.map(self._send), chars

    def count_characters(self, targets: Tensor) -> int:
        """Return how many characters these tokens are."""
        if self._is_one_to_one:
            return targets.numel()
        return self._vocab.count_characters(targets.cpu().numpy().ravel())

    def _send(self, part: Tensor) -> Tensor:
        """Return a tensor of the host on the device."""
        if self._device.type == "cuda":  # without pinning, the copy would wait for the GPU
            return part.pin_memory().to(self._device, non_blocking=True)
        return part.to(self._device)


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free on a GPU; 0 elsewhere, where the host's is read anyway."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def send_text(ids: Ids, device: torch.device) -> Tensor:
    """Return `ids` (S,) on `device` in their own width, without a second copy on the host."""
    text = torch.empty(len(ids), dtype=_SIGNED[ids.dtype.itemsize], device=device)
    signed = str(text.dtype).removeprefix("torch.")
    for start in range(0, len(ids), _SENT_AT_ONCE):
        block = np.array(ids[start : start + _SENT_AT_ONCE]).view(signed)
        text[start : start + len(block)] = torch.from_numpy(block)
    return text


def cut(text: Tensor, start: int, lane_length: int, batch_size: int, seq_len: int) -> Tensor:
    """Return the window of all lanes and the token after it: (B, T + 1) int64.

    start: of the first lane's window in `text` (S,); the others are lane_length apart.

    >>> cut(torch.arange(8), 1, 4, batch_size=2, seq_len=2).tolist()
    [[1, 2, 3], [5, 6, 7]]
    """
    block = text.as_strided((batch_size, seq_len + 1), (lane_length, 1), start).to(torch.int64)
    return block.bitwise_and_(0xFFFF) if text.dtype == torch.int16 else block
