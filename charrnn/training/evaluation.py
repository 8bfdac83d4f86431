"""How good a model is on held-out text, in nats per character, by two protocols.

carried: the text is read from its start to its end with the state carried along. windowed:
consecutive windows of 256 characters, each from the initial state; nanoGPT draws its own at random.
Both are total nats over total characters, and leave model and random state as they were. Several
models read the same blocks side by side, and the average of their predictions is scored with them.

S = symbols, B = lanes, T = window length, M = models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.model.network import CharRNN, State
from charrnn.text.vocab import Ids, Vocab
from charrnn.training.distributed import ALONE, Peers

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


Watch = Callable[[int], None]
"""Is told how many more symbols have been scored; what it raises ends the scoring."""


def unwatched(_: int) -> None:
    """Tell nobody."""


def evaluate_carried(
    model: CharRNN, ids: Ids, vocab: Vocab, watch: Watch = unwatched, peers: Peers = ALONE
) -> Score:
    """Score the text `ids` (S,) with the state carried from its start to its end.

    The text is read in lanes side by side. Each but the first runs up over the 256 characters
    before its own, uncounted; what a state would still know of anything earlier is too little to
    change the third decimal. Several processes share out the lanes, or windows, of each block.
    """
    return compare_carried([model], ids, vocab, watch, peers)[0]


def evaluate_windowed(
    model: CharRNN,
    ids: Ids,
    vocab: Vocab,
    window: int = WINDOW,
    watch: Watch = unwatched,
    peers: Peers = ALONE,
) -> Score:
    """Score the text `ids` (S,) in windows that each start from the initial state."""
    return compare_windowed([model], ids, vocab, watch, window, peers)[0]


def compare_carried(
    models: Sequence[CharRNN],
    ids: Ids,
    vocab: Vocab,
    watch: Watch = unwatched,
    peers: Peers = ALONE,
) -> list[Score]:
    """Give each model's score as `evaluate_carried` does, then that of their average."""
    targets = len(ids) - 1
    lanes = max(1, min(LANES, targets // _SHORTEST_LANE))
    length = max(1, min(WINDOW, _LARGEST_LOGITS // (lanes * vocab.size)))
    return _score(models, ids, vocab, _carried_blocks(targets, lanes, length), watch, peers)


def compare_windowed(
    models: Sequence[CharRNN],
    ids: Ids,
    vocab: Vocab,
    watch: Watch = unwatched,
    window: int = WINDOW,
    peers: Peers = ALONE,
) -> list[Score]:
    """Give each model's score as `evaluate_windowed` does, then that of their average."""
    at_once = max(1, min(_WINDOWS_AT_ONCE, _LARGEST_LOGITS // (window * vocab.size)))
    blocks = _windowed_blocks(len(ids) - 1, window, at_once)
    return _score(models, ids, vocab, blocks, watch, peers)


def with_average(nats: Tensor) -> Tensor:
    """Add the average's row to the nats (M, N) of N targets: (M + 1, N).

    The average gives a target the mean of the M probabilities.
    """
    average = math.log(len(nats)) - torch.logsumexp(-nats, 0, keepdim=True)
    return torch.cat((nats, average))


def make_scores(total_nats: NDArray[np.float64], ids: Ids, vocab: Vocab) -> list[Score]:
    """Turn the nats of whole texts (M + 1,) into scores per character."""
    chars = vocab.count_characters(ids[1:])
    return [Score(total / max(chars, 1), chars) for total in total_nats.tolist()]


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
def _score(
    models: Sequence[CharRNN],
    ids: Ids,
    vocab: Vocab,
    blocks: Iterator[Block],
    watch: Watch,
    peers: Peers,
) -> list[Score]:
    """Add up the nats of every position that counts: of each model, then of their average."""
    totals = np.zeros(len(models) + 1)
    states: list[State | None] = [None] * len(models)
    for positions, is_counted, is_new in blocks:
        own = peers.share(len(positions))
        if own.start < own.stop:
            before = [None] * len(models) if is_new else states
            nats, states = _read_block(models, ids, positions[own], before)
            totals += nats[:, is_counted[own].T.ravel()].sum(1, dtype=np.float64)
        watch(int(is_counted.sum()))
    peers.add_up([torch.from_numpy(totals)])
    return make_scores(totals, ids, vocab)


def _read_block(
    models: Sequence[CharRNN],
    ids: Ids,
    positions: NDArray[np.int64],
    states: Sequence[State | None],
) -> tuple[NDArray[np.float32], list[State | None]]:
    """Give the nats (M + 1, T·B) of a block's targets, and each model's state after it."""
    device, places = models[0].output.weight.device, np.minimum(positions, len(ids) - 2)
    inputs, targets = (
        torch.from_numpy(ids[at].astype(np.int64)).to(device) for at in (places, places + 1)
    )
    read = [m.target_nats(inputs, targets, s) for m, s in zip(models, states, strict=True)]
    nats = with_average(torch.stack([nats for nats, _ in read])).cpu().numpy()
    return nats, [state for _, state in read]
