"""Records in lanes: each is read whole, in another order each epoch, and nothing is padding."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data.labels import NONE
from charrnn.training.batches import Cursor, Window
from charrnn.training.record_lanes import RecordLanes, shuffle

END = 9


def make_lanes(
    records: list[list[int]], batch_size: int = 2, seq_len: int = 5, **settings: float
) -> RecordLanes:
    """Return the lanes of records, each of which has its own number as its label."""
    ids = [END]
    ends = []
    for record in records:
        ids += [*record, END]
        ends.append(len(ids))
    labels = np.arange(1, len(records) + 1, dtype=np.int32)[:, None]
    whole = np.array(ids, np.uint8)
    return RecordLanes(whole, np.array(ends), labels, batch_size, seq_len, 3, **settings)


def windows_of(lanes: RecordLanes, count: int) -> list[Window]:
    windows = []
    cursor = Cursor()
    for _ in range(count):
        windows.append(lanes.read(cursor))
        cursor = lanes.next(cursor)
    return windows


def records_read(lanes: RecordLanes, windows: int) -> list[list[tuple[int, list[int]]]]:
    """Return the records of each lane that were read whole, each with its label."""
    read = windows_of(lanes, windows)
    inputs, targets, labels = (
        np.concatenate(part, 1) for part in zip(*(window[:3] for window in read), strict=True)
    )
    found = []
    for own_inputs, own_targets, own_labels in zip(inputs, targets, labels[..., 0], strict=True):
        starts = [*np.flatnonzero(own_inputs == END).tolist()]
        assert starts[0] == 0
        lane = []
        for begin, stop in pairwise(starts):
            record = own_targets[begin:stop].tolist()
            assert record[-1] == END
            assert own_inputs[begin + 1 : stop].tolist() == record[:-1]
            assert len({*own_labels[begin:stop].tolist()}) == 1
            lane.append((int(own_labels[begin]), record[:-1]))
        found.append(lane)
    return found


record_lists = st.lists(st.lists(st.integers(0, 8), max_size=12), min_size=1, max_size=9)


@given(record_lists, st.integers(1, 4), st.integers(1, 7))
def test_lanes_hold_whole_records_with_their_labels(
    records: list[list[int]], batch_size: int, seq_len: int
) -> None:
    lanes = make_lanes(records, batch_size, seq_len)

    for lane in records_read(lanes, 40):
        assert all(records[label - 1] == record for label, record in lane)


@given(record_lists, st.integers(1, 4))
def test_each_epoch_of_the_queue_has_every_record_once(
    records: list[list[int]], batch_size: int
) -> None:
    lanes = make_lanes(records, batch_size, 8)

    queued = np.arange(3 * len(records))
    read = lanes._record_at(queued).reshape(3, -1)

    assert all(sorted(epoch) == list(range(len(records))) for epoch in read.tolist())


def test_epochs_have_other_orders_and_so_have_seeds() -> None:
    records = [[i % 9] for i in range(50)]
    lanes = make_lanes(records)
    other = make_lanes(records)
    other.seed = 4
    orders = lanes._record_at(np.arange(150)).reshape(3, -1).tolist()
    orders.append(other._record_at(np.arange(50)).tolist())

    assert len({tuple(order) for order in orders}) == 4
    assert list(range(50)) not in orders


def test_all_lanes_together_read_the_queue_in_order() -> None:
    records = [[i] * (1 + i % 4) for i in range(8)]
    lanes = make_lanes(records, batch_size=3)
    order = (1 + lanes._record_at(np.arange(24))).tolist()

    for number, lane in enumerate(records_read(lanes, 20)):
        expected = order[number::3]
        read = [label for label, _ in lane]
        assert read[: len(expected)] == expected[: len(read)]


@pytest.mark.parametrize("cut", [1, 3, 15, 16, 17, 40])
def test_lanes_continue_from_their_places_as_if_nothing_had_happened(cut: int) -> None:
    records = [[i % 9] * (1 + 3 * i % 11) for i in range(13)]
    lanes = make_lanes(records, batch_size=3, label_dropout=0.3)
    whole = windows_of(make_lanes(records, batch_size=3, label_dropout=0.3), 60)
    windows_of(lanes, cut)
    places = lanes.state_dict()
    cursor = lanes._cursor

    resumed = make_lanes(records, batch_size=3, label_dropout=0.3)
    resumed.load_state_dict(cursor, places)

    for expected in whole[cut:]:
        for ours, theirs in zip(resumed.read(cursor), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        cursor = resumed.next(cursor)


def test_places_that_are_none_are_refused() -> None:
    lanes = make_lanes([[1, 2], [3]])
    places = lanes.state_dict()

    for name, value in (("lanes.offsets", [0, 3]), ("lanes.records", [0, -1])):
        with pytest.raises(ValueError, match="a lane is"):
            lanes.load_state_dict(Cursor(), places | {name: np.array(value)})


def test_labels_are_hidden_for_whole_records_about_as_often_as_asked() -> None:
    records = [[i % 9] * 3 for i in range(500)]
    lanes = make_lanes(records, batch_size=2, seq_len=50, label_dropout=0.3)
    read = windows_of(lanes, 60)
    labels = np.concatenate([each.labels for each in read], 1)[..., 0].reshape(-1, 4)

    assert (labels == labels[:, :1]).all()  # four targets each
    assert 0.25 < (labels[:, 0] == NONE).mean() < 0.35


@given(st.integers(1, 300), st.integers(0, 2**63))
def test_an_order_has_every_number_once(count: int, key: int) -> None:
    keys = np.full(count, key, np.uint64)

    assert sorted(shuffle(np.arange(count), count, keys).tolist()) == list(range(count))


def test_an_order_is_about_even() -> None:
    count = 997
    places = np.array(
        [shuffle(np.arange(count), count, np.full(count, key, np.uint64)) for key in range(200)]
    )

    assert abs(places[:, 0].mean() / count - 0.5) < 0.08
    steps = np.diff(places, axis=1)
    assert abs((steps > 0).mean() - 0.5) < 0.02
    assert abs(np.corrcoef(places[:, 10], places[:, 11])[0, 1]) < 0.25
