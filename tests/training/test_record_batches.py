"""Whole records in batches of like length: each once an epoch, and the same from any cursor."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from charrnn.data.records import Targets
from charrnn.training import record_batches
from charrnn.training.batches import Cursor
from charrnn.training.record_batches import NO_TARGET, RecordBatches, TaskRecords

END = 9
LENGTHS = np.random.default_rng(4).integers(1, 12, 70)
TARGET_LENGTHS = np.random.default_rng(5).integers(1, 9, 70)
CLASSES = np.arange(70) % 5 - 1  # every fifth has none


def make_records(longest: int = 99, targets: object = None, is_aligned: bool = True) -> TaskRecords:
    pieces = [np.array([END])]
    for number, length in enumerate(LENGTHS.tolist()):
        pieces.append(np.array([*((number + np.arange(length)) % 7), END]))
    ends = 1 + np.cumsum(LENGTHS + 1)
    chosen: object = CLASSES if targets is None else targets
    return TaskRecords(np.concatenate(pieces), ends, chosen, longest, is_aligned)  # type: ignore[arg-type]


def make_batches(batch_size: int = 4, longest: int = 99, seed: int = 3) -> RecordBatches:
    return RecordBatches(make_records(longest), batch_size, seed)


def sequences(lengths: np.ndarray) -> Targets:
    """Return targets of these lengths, each of the number of its record."""
    return Targets(np.repeat(np.arange(70), lengths), np.cumsum(lengths))


def read_epoch(batches: RecordBatches, epoch: int = 0) -> list[tuple[int, ...]]:
    """Return each record of an epoch: its class and its ids."""
    found = []
    for window in range(batches.windows_in(epoch)):
        inputs, targets, lengths, *_ = batches.read(Cursor(epoch, window))
        assert inputs.shape == (batches.batch_size, lengths.max())
        for row, target, length in zip(inputs, targets, lengths, strict=True):
            assert not row[length:].any()
            found.append((int(target), *row[:length].tolist()))
    return found


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("block", [1, 3, 64])
def test_an_epoch_has_each_record_with_a_class_and_fills_up_its_last_batch(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, block: int
) -> None:
    monkeypatch.setattr(record_batches, "_BLOCK_BATCHES", block)
    batches = make_batches(batch_size)
    expected = [
        (number % 5 - 1, *((number + np.arange(length)) % 7).tolist())
        for number, length in enumerate(LENGTHS.tolist())
        if number % 5
    ]

    first, second = (read_epoch(batches, epoch) for epoch in (0, 1))
    assert first != second
    for epoch in (first, second):
        assert set(epoch) == set(expected)
        more = Counter(epoch) - Counter(expected)
        assert more.total() == len(epoch) - len(expected) == -len(expected) % batch_size


def test_records_of_a_batch_are_of_like_length() -> None:
    batches = make_batches()
    windows = [batches.read(Cursor(0, window)) for window in range(batches.windows_in(0))]

    read = sum(int(window.labels.sum()) for window in windows)
    assert read / sum(window.inputs.size for window in windows) > 0.9


def test_a_batch_depends_on_its_cursor_alone() -> None:
    cursor, seen = Cursor(), []
    batches = make_batches()
    for _ in range(40):
        seen.append((cursor, batches.read(cursor).inputs))
        assert batches.check(cursor) == cursor
        cursor = batches.next(cursor)
    for place, inputs in reversed(seen):
        again = make_batches()
        assert np.array_equal(again.read(place).inputs, inputs)
        start, _ = again.position(place)
        assert again.ids[start] == inputs[0, 0]
    with pytest.raises(ValueError, match="no window 99"):
        batches.check(Cursor(0, 99))


def test_of_a_long_record_the_beginning_is_read() -> None:
    short = {record[: 1 + 5] for record in read_epoch(make_batches())}

    assert set(read_epoch(make_batches(longest=5))) == short


def test_a_target_stands_beside_its_record_and_is_filled_up() -> None:
    records = make_records(targets=sequences(TARGET_LENGTHS), is_aligned=False)
    batches = RecordBatches(records, 4, seed=3)

    seen = []
    for window in range(batches.windows_in(0)):
        inputs, targets, *_ = batches.read(Cursor(0, window))
        for row, target in zip(inputs, targets, strict=True):
            number = int(target[0])
            assert row[0] == number % 7  # the records begin so
            length = TARGET_LENGTHS[number]
            assert (target[:length] == number).all()
            assert (target[length:] == NO_TARGET).all()
            seen.append(number)
    assert set(seen) == set(range(70))
    assert batches.targets_per_batch == pytest.approx(4 * TARGET_LENGTHS.mean())


def test_tags_are_cut_with_their_record_and_a_long_pair_is_left_out() -> None:
    tags = make_records(longest=5, targets=sequences(LENGTHS))
    assert len(tags.known()) == 70
    window = tags.window(np.array([3, 8]))
    assert window.inputs.shape == window.targets.shape == (2, min(5, max(LENGTHS[[3, 8]])))

    pairs = make_records(longest=5, targets=sequences(TARGET_LENGTHS), is_aligned=False)
    is_short = (LENGTHS <= 5) & (TARGET_LENGTHS <= 5)
    assert pairs.known().tolist() == np.flatnonzero(is_short).tolist()
