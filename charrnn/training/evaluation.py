"""How good a model is on held-out text, in nats per character, by two protocols.

carried: the text is read from its start to its end with the state carried along. windowed:
consecutive windows of 256 characters, each from the initial state, which is how nanoGPT counts.
Both are total nats over total characters, and leave model and random state as they were.

S = symbols, B = lanes, T = window length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.model.network import CharRNN
from charrnn.text.vocab import Ids, Vocab

WINDOW = 256
LANES = 32
_WINDOWS_AT_ONCE = 64
_LARGEST_LOGITS = 1 << 25  # numbers in a block's logits: 128 MiB
_SHORTEST_LANE = 1024
_RUN_UP = 256


@dataclass(frozen=True)
class Score:
    """What a model makes of a text. The first character is given, so it is not counted."""

    loss_nats: float
    chars: int


def evaluate_carried(model: CharRNN, ids: Ids, vocab: Vocab) -> Score:
    """Score the text `ids` (S,) with the state carried from its start to its end.

    The text is read in lanes side by side. Each but the first runs up over the 256 characters
    before its own, uncounted; what a state would still know of anything earlier is too little to
    change the third decimal.
    """
    targets = len(ids) - 1
    lanes = max(1, min(LANES, targets // _SHORTEST_LANE))
    length = max(1, min(WINDOW, _LARGEST_LOGITS // (lanes * vocab.size)))
    return _score(model, ids, vocab, _carried_blocks(targets, lanes, length))


def evaluate_windowed(model: CharRNN, ids: Ids, vocab: Vocab, window: int = WINDOW) -> Score:
    """Score the text `ids` (S,) in windows that each start from the initial state."""
    at_once = max(1, min(_WINDOWS_AT_ONCE, _LARGEST_LOGITS // (window * vocab.size)))
    return _score(model, ids, vocab, _windowed_blocks(len(ids) - 1, window, at_once))


Block = tuple[NDArray[np.int64], NDArray[np.bool_], bool]
"""Positions (B, T) in the text, which of them count (B, T), and whether the state starts anew."""


def _carried_blocks(targets: int, lanes: int, length: int) -> Iterator[Block]:
    run_up = _RUN_UP if lanes > 1 else 0
    own = -(-(targets - run_up) // lanes)
    first = np.arange(lanes)[:, None] * own
    for start in range(0, run_up + own, length):
        steps = np.arange(start, min(start + length, run_up + own))
        positions = first + steps
        yield positions, (positions < targets) & ((steps >= run_up) | (first == 0)), start == 0


def _windowed_blocks(targets: int, window: int, at_once: int) -> Iterator[Block]:
    starts = np.arange(0, targets, window)
    for i in range(0, len(starts), at_once):
        positions = starts[i : i + at_once, None] + np.arange(min(window, targets))
        yield positions, positions < targets, True


@torch.inference_mode()
def _score(model: CharRNN, ids: Ids, vocab: Vocab, blocks: Iterator[Block]) -> Score:
    """Add up the nats of every position that counts."""
    device = model.output.weight.device
    total, state = 0.0, None
    for positions, is_counted, is_new in blocks:
        places = np.minimum(positions, len(ids) - 2)
        inputs, targets = (
            torch.from_numpy(ids[at].astype(np.int64)).to(device) for at in (places, places + 1)
        )
        nats, state = model.target_nats(inputs, targets, None if is_new else state)
        total += float(nats.cpu().numpy()[is_counted.T.ravel()].sum(dtype=np.float64))
    chars = vocab.count_characters(ids[1:])
    return Score(total / max(chars, 1), chars)
