"""Which n-grams of a text are chosen: those that a network forms, in little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from charrnn.text.ngrams import MASK, STEP, find_ngrams

V, N, END = 5, 4, 4
KEYS = np.array([3, 1, 9, 2, 7])  # of the tokens, in any order
RECORDS = np.array([END, 0, 1, END, 2, END, 3, 0, 1, 2, 0, END, END, 1, 1, 3])


def formed_codes(ids: np.ndarray, end: int | None) -> dict[int, int]:
    """Return how often each n-gram is formed by a network that reads ids one by one."""
    counts: dict[int, int] = {}
    keys = [0] * N
    for number, token in enumerate(ids.tolist()):
        keys = [int(KEYS[token]), *keys[:-1]]
        code = keys[0]
        for n, older in enumerate(keys[1:], 2):
            code = (code * STEP + older) & MASK
            if token != end and number >= n - 1:
                counts[code] = counts.get(code, 0) + 1
        if token == end:
            keys = [0] * N
    return counts


@pytest.mark.parametrize("end", [None, END])
def test_the_n_grams_found_are_those_that_a_network_forms(end: int | None) -> None:
    ids = np.concatenate([np.tile(RECORDS, 6), RECORDS[:9], [2, 3]])  # some occur too seldom
    counts = formed_codes(ids, end)
    frequent = {code: count for code, count in counts.items() if count >= 4}
    found = find_ngrams(ids, N, KEYS, end).tolist()

    assert 10 < len(frequent) < len(counts)
    assert len(found) == len(set(found))
    assert set(found) == set(frequent)
    assert [frequent[code] for code in found] == sorted(frequent.values(), reverse=True)


def test_nothing_crosses_the_end_of_a_record_and_its_start_counts() -> None:
    ids = np.tile([0, END, 1, END], 9)
    starts = {(int(KEYS[token]) * STEP**older) & MASK for token in (0, 1) for older in (1, 2, 3)}

    assert set(find_ngrams(ids, N, KEYS, END).tolist()) == starts


def test_a_text_that_is_counted_in_parts_has_the_same_n_grams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = np.tile(RECORDS, 90)
    whole = find_ngrams(ids, N, KEYS, END)
    monkeypatch.setattr("charrnn.text.ngrams._MOST_COUNTED", 1_000)
    monkeypatch.setattr("charrnn.text.ngrams._PARTS", 3)

    assert set(find_ngrams(ids, N, KEYS, END).tolist()) >= set(whole.tolist())


def test_longer_n_grams_take_no_more_memory() -> None:
    ids = np.tile(np.arange(V), 40_000).astype(np.uint16)
    peaks = []
    for order in (3, 9):
        tracemalloc.start()
        find_ngrams(ids, order, KEYS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize("length", [0, 1, 3])
def test_a_text_shorter_than_an_n_gram_has_none(length: int) -> None:
    assert not len(find_ngrams(RECORDS[:length], N, KEYS))
    assert not len(find_ngrams(RECORDS[:length], N, KEYS, END))
