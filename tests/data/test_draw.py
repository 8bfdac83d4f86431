"""Which part each record goes to, read in stretches as read at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data import draw as drawing
from charrnn.data.build import cut_records
from charrnn.data.draw import PARTS, TEST, TRAIN, VAL, Ints, Parts, Shares, draw, mix_bits
from charrnn.data.records import Records
from charrnn.data.split import Split, choose_records, find_given, iter_parts
from charrnn.errors import CorpusError

FIRST = 1  # as of records: an END comes before them
PARTS_BY_SPLIT = {
    "auto": [1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0, 1, 1, 0, 1, 0, 0],
    "tail": [0] * 14 + [1] * 6,
    "blocks": [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1],
}


def draw_at_once(hashes: np.ndarray, ends: Ints, shares: Shares, first: int) -> Parts:
    """The same by the rule alone: kind after kind, lowest hash first."""
    sizes = dict.fromkeys(sorted(set(hashes.tolist())), 0)
    for each, size in zip(hashes.tolist(), np.diff(ends, prepend=first).tolist(), strict=True):
        sizes[each] += size
    parts = dict.fromkeys(sizes, TRAIN)
    below = 0.0
    for left, (part, share) in zip(range(len(shares.drawn), 0, -1), shares.drawn, strict=True):
        free = [kind for kind in sizes if parts[kind] == TRAIN]
        most = max(share * sum(sizes.values()), min(sizes[kind] for kind in free))
        small = [kind for kind in free if sizes[kind] <= most]
        below += share
        chosen = [kind for kind in small if kind <= max(small[0], int(below * 2.0**64))]
        for kind in chosen[: len(free) - left]:
            parts[kind] = part
    return np.array([parts[each] for each in hashes.tolist()], np.uint8)


KINDS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40)), min_size=4, max_size=60)
SHARES = st.sampled_from([Shares(0.1, 0.0), Shares(0.1, 0.2), Shares(0.0, 0.3), Shares(0.4, 0.1)])


@given(KINDS, SHARES, st.integers(1, 7))
def test_parts_are_those_of_the_rule_whatever_is_read_at_a_time(
    records: list[tuple[int, int]], shares: Shares, chunk: int
) -> None:
    hashes = mix_bits(np.array([kind for kind, _ in records], np.uint64))
    ends = FIRST + np.cumsum([size for _, size in records])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "CHUNK_RECORDS", chunk)
        if len(set(hashes.tolist())) <= len(shares.drawn):
            with pytest.raises(CorpusError, match="to draw from"):
                draw(hashes, ends, shares, first=FIRST)
            return
        parts = draw(hashes, ends, shares, first=FIRST)

    assert np.array_equal(parts, draw_at_once(hashes, ends, shares, FIRST))


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
@pytest.mark.parametrize("split", ["auto", "tail", "blocks"])
def test_records_are_cut_alike_whatever_is_read_at_a_time(
    monkeypatch: pytest.MonkeyPatch, split: str, chunk: int
) -> None:
    sizes = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4])
    ends = FIRST + np.cumsum(sizes)
    labels = np.arange(20, dtype=np.int32)[:, None]
    ids = np.repeat(np.arange(20), sizes)
    ids = np.concatenate([[99], ids])
    given_ends = ends[[4, 11, 19]]
    config = TextConfig(lines=True, split=split, val_fraction=0.3)
    monkeypatch.setattr(drawing, "CHUNK_RECORDS", chunk)
    monkeypatch.setattr("charrnn.data.split.CHUNK_TOKENS", 3 * chunk)
    chosen = choose_records(ends, mix_bits(np.arange(20, dtype=np.uint64)), given_ends, config)
    assert chosen.parts is not None
    cut = cut_records(Records(ends, labels), chosen)
    pieces = [np.concatenate(own) for own in zip(*iter_parts(ids, chosen), strict=True)]

    assert chosen.parts.tolist() == PARTS_BY_SPLIT[split]
    for index, (name, piece) in enumerate(zip(chosen.names, pieces, strict=True)):
        own = np.flatnonzero(chosen.parts == index)
        assert cut[name].labels[:, 0].tolist() == own.tolist()
        assert cut[name].ends.tolist() == (FIRST + np.cumsum(sizes[own])).tolist()
        assert piece.tolist() == np.repeat(own, sizes[own]).tolist()
    found = find_given(chosen, given_ends)
    assert found is not None
    is_val = chosen.parts == VAL
    assert found.tolist() == [
        int(sizes[: last + 1][is_val[: last + 1]].sum()) for last in (4, 11, 19)
    ]


def test_given_ends_are_found_inside_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "CHUNK_RECORDS", 2)
    ends = np.array([4, 10, 11, 20])
    split = Split("", "", PARTS, (0, 0), ends, np.array([TRAIN, VAL, TEST, VAL], np.uint8))
    found = find_given(split, np.array([0, 4, 7, 10, 11, 15, 20]))

    assert found is not None
    assert found.tolist() == [0, 0, 3, 6, 6, 10, 15]
    empty = split._replace(  # as the tail of a short file may be
        ends=np.array([4, 4, 4, 9, 9]), parts=np.array([TRAIN, VAL, TEST, VAL, TEST], np.uint8)
    )
    found = find_given(empty, np.array([0, 4, 9]))
    assert found is not None
    assert found.tolist() == [0, 0, 5]


def test_drawing_takes_little_memory_of_many_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "CHUNK_RECORDS", 20_000)
    count = 400_000
    ends = FIRST + np.cumsum(np.full(count, 5))
    for kinds in (count, 4):  # all different, or in a few groups
        hashes = mix_bits(np.arange(count, dtype=np.uint64) % np.uint64(kinds))
        tracemalloc.start()
        draw(hashes, ends, Shares(0.1, 0.0), first=FIRST)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert peak < 3 * count + 60 * 20_000
