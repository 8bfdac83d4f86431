"""Every run of a corpus is found where it occurs, and no other, however often it repeats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis.suffix_array import SuffixArray, sort_suffixes

TEXTS = st.lists(st.integers(0, 2), max_size=60)
RUNS = st.lists(st.integers(0, 3), min_size=1, max_size=6)


def ids(tokens: list[int], dtype: str = "u1") -> np.ndarray:
    return np.array(tokens, dtype=dtype)


@given(TEXTS)
def test_suffixes_are_sorted_as_lists_are(tokens):
    by_list = sorted(range(len(tokens)), key=lambda start: tokens[start:])

    assert sort_suffixes(ids(tokens)).tolist() == by_list


@pytest.mark.parametrize("period", [1, 2, 19, 999])
def test_suffixes_of_a_text_that_repeats_are_sorted_too(period):
    tokens = np.resize(np.random.default_rng(period).integers(0, 200, period), 3000)
    by_list = sorted(range(3000), key=lambda start: tokens[start:].tolist())

    assert sort_suffixes(tokens).tolist() == by_list


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i8"])
@given(tokens=TEXTS, run=RUNS)
def test_a_run_is_found_wherever_it_occurs(dtype, tokens, run):
    scale = 1 if dtype == "u1" else 255  # so that bytes from the last to the first sort otherwise
    corpus = SuffixArray(scale * ids(tokens, dtype))
    packed = corpus.pack(scale * ids(run, dtype))
    expected = [i for i in range(len(tokens)) if tokens[i : i + len(run)] == run]

    assert sorted(corpus.positions_of(packed).tolist()) == expected
    assert (packed in corpus) == bool(expected)


def test_ids_of_two_bytes_are_not_found_across_tokens():
    corpus = SuffixArray(ids([0x0102, 0x0304], "u2"))

    assert corpus.pack(ids([0x0304], "u2")) in corpus
    assert corpus.pack(ids([0x0203], "u2")) not in corpus
    assert corpus.ids.tolist() == [0x0102, 0x0304]


def test_packed_runs_can_be_joined():
    corpus = SuffixArray(ids([7, 300, 5], "u2"))
    joined = corpus.pack(ids([7], "u2")) + corpus.pack(ids([300], "u2"))

    assert joined == corpus.pack(ids([7, 300], "u2"))
    assert len(joined) == 2 * corpus.token_bytes


def test_a_run_that_occurs_everywhere_is_found_everywhere():
    corpus = SuffixArray(np.zeros(100_000, dtype=np.uint8))

    assert len(corpus.positions_of(bytes(50_000))) == 50_001
    assert bytes(100_001) not in corpus
