"""Windows on the device that trains on them.

A GPU would wait for every window that the host cuts and sends. Where the text takes little of its
memory it lies there whole, in the width that its ids have, and is cut there; else a window goes
through pinned memory, from which a copy runs beside the computation.

S = symbols of the split, B = lanes, T = window length.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from charrnn.text.vocab import Ids, Vocab
from charrnn.training.windows import Cursor, Lanes

_LARGEST_SHARE = 0.25  # of the memory that is free on the device
_SIGNED = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By bytes: torch has few operations on wider numbers without a sign."""
_SENT_AT_ONCE = 1 << 24  # symbols


class Feed:
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
    """Give the window of all lanes and the symbol after it: (B, T + 1) int64.

    start: of the first lane's window in `text` (S,); the others lie lane_length apart.
    """
    block = text.as_strided((batch_size, seq_len + 1), (lane_length, 1), start).to(torch.int64)
    return block.bitwise_and_(0xFFFF) if text.dtype == torch.int16 else block
