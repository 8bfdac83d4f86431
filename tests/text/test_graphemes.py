"""Holds the counting of clusters to Unicode's rules, however a text is cut."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError
from charrnn.text import graphemes
from charrnn.text.graphemes import ClusterCounter

pytest.importorskip("regex")

FAMILY = "👩\u200d👩\u200d👧"
PIECES = st.lists(
    st.sampled_from(["a", "\n", "e\u0301", FAMILY, "🇩", "🇪", "👍🏽", "क्ष", "ति", "한", "ᄀ", "ᅡ"])
)


def count(*pieces: str) -> dict[str, int]:
    counter = ClusterCounter()
    for piece in pieces:
        counter.feed(piece)
    return dict(counter.finish())


@pytest.mark.parametrize(
    "cluster", ["e\u0301", FAMILY, "👍🏽", "🇩🇪", "क्ष", "ति", "ที่", "\u1100\u1161\u11a8"]
)
def test_what_a_reader_sees_as_one_character_is_one_cluster(cluster: str) -> None:
    assert count(f"a{cluster}b{cluster}") == {cluster: 2}


def test_single_code_points_are_no_clusters() -> None:
    assert count("plain\n", "日本語한국어é😀") == {}


@given(PIECES, st.lists(st.integers(0, 60)))
def test_a_text_in_pieces_has_the_clusters_of_the_whole(parts: list[str], cuts: list[int]) -> None:
    text = "".join(parts)
    edges = [0, *sorted(cuts), len(text)]

    assert count(*(text[start:end] for start, end in pairwise(edges))) == count(text)


def test_too_many_kinds_are_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphemes, "MAX_KINDS", 2)

    with pytest.raises(CorpusError, match=r"more than 2 different clusters.*unit=.char."):
        count("a\u0301b\u0301c\u0301d")


def test_without_the_package_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "regex", None)

    with pytest.raises(ConfigError, match="pip install regex"):
        ClusterCounter()
