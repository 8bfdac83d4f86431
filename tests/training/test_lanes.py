"""Lanes and windows: what truncated BPTT reads, and in which order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.training.batches import Cursor, Lanes

sizes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 40), st.integers(0, 9))


def make_lanes(batch_size: int, seq_len: int, spare: int, seed: int = 0) -> Lanes:
    ids = np.arange(batch_size * seq_len + 1 + spare, dtype=np.uint16)
    return Lanes(ids, batch_size, seq_len, seed)


def read_epoch(lanes: Lanes, epoch: int) -> np.ndarray:
    """Return all targets of an epoch: (B, windows·T)."""
    windows = range(lanes.windows_in(epoch))
    return np.concatenate([lanes.read(Cursor(epoch, each)).targets for each in windows], axis=1)


@given(sizes)
def test_targets_are_the_inputs_one_character_on(size: tuple[int, int, int, int]) -> None:
    inputs, targets, *_ = make_lanes(*size).read(Cursor())

    assert (targets == inputs + 1).all()


@given(sizes, st.integers(0, 5))
def test_every_character_is_a_target_at_most_once_an_epoch(
    size: tuple[int, int, int, int], epoch: int
) -> None:
    targets = read_epoch(make_lanes(*size), epoch).ravel()

    assert len(set(targets)) == len(targets)


@given(sizes, st.integers(0, 5))
def test_every_lane_is_one_contiguous_stretch(size: tuple[int, int, int, int], epoch: int) -> None:
    assert (np.diff(read_epoch(make_lanes(*size), epoch), axis=1) == 1).all()


@given(sizes, st.integers(0, 5))
def test_an_epoch_leaves_out_less_than_a_window_a_lane_and_the_offset(
    size: tuple[int, int, int, int], epoch: int
) -> None:
    lanes = make_lanes(*size)
    left_out = len(lanes.ids) - 1 - read_epoch(lanes, epoch).size

    assert left_out < lanes.seq_len + lanes.batch_size * lanes.seq_len


def test_window_edges_move_from_epoch_to_epoch() -> None:
    lanes = make_lanes(batch_size=2, seq_len=5, spare=30)

    assert len({int(lanes.read(Cursor(epoch)).inputs[0, 0]) for epoch in range(20)}) == 5


def test_the_cursor_goes_through_the_windows_and_then_to_the_next_epoch() -> None:
    lanes = make_lanes(batch_size=1, seq_len=3, spare=6)
    cursors = [Cursor()]
    while cursors[-1].epoch == 0:
        cursors.append(lanes.next(cursors[-1]))

    assert [c.window for c in cursors[:-1]] == list(range(lanes.windows_in(0)))
    assert cursors[-1] == Cursor(1, 0)


def test_the_same_seed_reads_the_same_and_another_does_not() -> None:
    first, same, other = (make_lanes(2, 5, 300, seed) for seed in (1, 1, 2))

    assert (read_epoch(first, 3) == read_epoch(same, 3)).all()
    assert any(first._layout(epoch) != other._layout(epoch) for epoch in range(5))


def test_a_text_too_short_for_the_windows_is_refused_with_the_numbers() -> None:
    with pytest.raises(CorpusError, match=r"has 12 tokens, but 3 lanes of 4 take 13"):
        Lanes(np.zeros(12, np.uint8), 3, 4, 0)


def test_ids_come_out_as_int64_whatever_their_type_on_disk() -> None:
    assert make_lanes(2, 3, 1).read(Cursor()).inputs.dtype == np.int64
