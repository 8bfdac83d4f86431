"""Windows that are cut on the device hold what those cut on the host do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charrnn.config import TextConfig
from charrnn.data.corpus import corpus_from_text
from charrnn.text.vocab import Ids, Vocab
from charrnn.training import batches
from charrnn.training.batches import Batches, Cursor, Lanes, send_text

CPU = torch.device("cpu")
VOCAB = Vocab("abcde")


def make_lanes(ids: Ids) -> Lanes:
    return Lanes(ids, batch_size=3, seq_len=4, seed=7)


def give_room(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    monkeypatch.setattr(batches, "free_bytes", lambda _: free_bytes)


def refuse_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no window be cut on the host."""

    def refused(self: Lanes, cursor: Cursor) -> object:
        raise AssertionError(f"the host cut {cursor}")

    monkeypatch.setattr(Lanes, "read", refused)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_every_window_of_two_epochs_is_the_hosts(
    dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = min(np.iinfo(dtype).max, 1_999_999)
    ids = np.random.default_rng(5).integers(0, largest + 1, 101).astype(dtype)
    ids[3] = largest
    lanes, cursor = make_lanes(ids), Cursor()
    expected = {}
    while cursor.epoch < 2:
        expected[cursor] = lanes.read(cursor)
        cursor = lanes.next(cursor)
    give_room(monkeypatch, 1 << 30)
    refuse_to_read(monkeypatch)
    resident = Batches(lanes, VOCAB, CPU)

    assert len({cursor.epoch for cursor in expected}) == 2
    for cursor, window in expected.items():
        (inputs, targets, *_), chars = resident.read(cursor)
        assert inputs.dtype == targets.dtype == torch.int64
        assert np.array_equal(inputs.numpy(), window.inputs)
        assert np.array_equal(targets.numpy(), window.targets)
        assert chars == targets.numel()


def test_the_text_takes_on_the_device_what_it_takes_on_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "_SENT_AT_ONCE", 7)
    ids = np.arange(40_000, 40_100).astype(np.uint16)
    ids.setflags(write=False)  # as a file's are
    text = send_text(ids, CPU)

    assert text.nbytes == ids.nbytes
    assert np.array_equal(text.numpy().view(np.uint16), ids)


def test_a_text_of_up_to_a_quarter_of_the_free_memory_lies_on_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = np.tile(np.arange(5, dtype=np.uint8), 20)
    for free, is_resident in ((400, True), (399, False)):
        give_room(monkeypatch, free)
        assert (Batches(make_lanes(ids), VOCAB, CPU)._text is not None) is is_resident


def test_a_cpu_reads_the_text_where_it_is() -> None:
    assert batches.free_bytes(CPU) == 0


def test_characters_of_several_tokens_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = corpus_from_text("aé大b" * 40, TextConfig(min_count=41))  # all written as bytes
    lanes = make_lanes(corpus.train)
    counts = []
    for free in (0, 1 << 30):
        give_room(monkeypatch, free)
        counts.append(Batches(lanes, corpus.vocab, CPU).read(Cursor(0, 2))[1])

    assert counts[0] == counts[1] < 3 * 4
