"""Whole records in batches of like length: each once an epoch, and the same from any cursor."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.errors import CorpusError
from charrnn.training import record_batches
from charrnn.training.batches import Cursor
from charrnn.training.record_batches import RecordBatches

END = 9
LENGTHS = np.random.default_rng(4).integers(1, 12, 70)


def make_batches(batch_size: int = 4, longest: int = 99, seed: int = 3) -> RecordBatches:
    pieces = [np.array([END])]
    for number, length in enumerate(LENGTHS.tolist()):
        pieces.append(np.array([*((number + np.arange(length)) % 7), END]))
    ends = 1 + np.cumsum(LENGTHS + 1)
    classes = np.arange(70) % 5 - 1  # every fifth has none
    return RecordBatches(np.concatenate(pieces), ends, classes, batch_size, seed, longest)


def read_epoch(batches: RecordBatches, epoch: int = 0) -> list[tuple[int, ...]]:
    """Return each record of an epoch: its class and its ids."""
    found = []
    for window in range(batches.windows_in(epoch)):
        inputs, targets, lengths = batches.read(Cursor(epoch, window))
        assert inputs.shape == (len(targets), lengths.max())
        for row, target, length in zip(inputs, targets, lengths, strict=True):
            assert not row[length:].any()
            found.append((int(target), *row[:length].tolist()))
    return found


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("block", [1, 3, 64])
def test_an_epoch_has_each_record_with_a_class_once(
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
    assert sorted(first) == sorted(second) == sorted(expected)
    assert first != second


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


def test_records_without_any_class_are_refused() -> None:
    batches = make_batches()
    with pytest.raises(CorpusError, match="none of the 70 training records has a label"):
        RecordBatches(batches.ids, batches.ends, np.full(70, -1), 4, 3, 99)
