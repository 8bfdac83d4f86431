"""Scores of tags, against sets that are written out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis.tag_scores import (
    Score,
    place_score,
    restored_words,
    scores_by_tag,
    tag_accuracy,
    word_score,
)
from charrnn.data.restore import damage

ROWS = st.lists(st.tuples(st.sampled_from("BMES"), st.sampled_from("BMES")), max_size=9)


def test_precision_recall_and_f1_are_shares() -> None:
    score = Score(right=3, found=4, expected=6)

    assert score.precision == 0.75
    assert score.recall == 0.5
    assert score.f1 == pytest.approx(2 * 0.75 * 0.5 / 1.25)


def test_nothing_of_nothing_has_no_score() -> None:
    nothing = Score(0, 0, 0)

    figures = (nothing.precision, nothing.recall, nothing.f1, tag_accuracy([], []))
    assert all(map(math.isnan, figures))
    assert Score(0, 0, 5).f1 == 0


def test_a_word_is_right_if_both_its_borders_are() -> None:
    expected = [("B", "E", "B", "M", "E", "S"), ("S", "S")]
    found = [("B", "E", "B", "E", "S", "S"), ("B", "E")]

    # 0-2, 2-5, 5-6, and 0-1, 1-2; found are 0-2, 2-4, 4-5, 5-6, and 0-2.
    assert word_score(expected, found) == Score(right=2, found=5, expected=5)


def test_the_name_of_a_word_counts_by_request() -> None:
    expected = [("B-n", "E-n", "S-v")]
    found = [("B-n", "E-v", "S-n")]

    assert word_score(expected, found) == Score(2, 2, 2)
    assert word_score(expected, found, has_names=True) == Score(1, 2, 2)


@given(ROWS)
def test_right_words_are_no_more_than_there_are(rows: list[tuple[str, str]]) -> None:
    expected, found = [a for a, _ in rows], [b for _, b in rows]
    score = word_score([expected], [found])

    assert 0 <= score.right <= min(score.found, score.expected)
    assert not rows or word_score([expected], [expected]).f1 == 1


def test_each_tag_has_its_own_score() -> None:
    scores = scores_by_tag([("a", "a", "b"), ("c",)], [("a", "b", "b"), ("d",)])

    assert scores == {"a": (1, 1, 2), "b": (1, 2, 1), "c": (0, 0, 1), "d": (0, 1, 0)}
    assert list(scores) == ["a", "b", "c", "d"]


def test_places_that_stay_do_not_count() -> None:
    expected = [("=", "U", "=,", "U")]
    found = [("U", "U", "=.", "=")]

    assert place_score(expected, found) == Score(right=1, found=3, expected=3)


@pytest.mark.parametrize("kinds", [{"case", "punctuation"}, {"case", "punctuation", "spaces"}])
def test_a_restored_word_is_right_with_all_that_belongs_to_it(kinds: set[str]) -> None:
    source, target = damage("“So”, “that” is  It.", kinds)
    assert restored_words([source], [target], [target]) == (4, 4)

    for place, right in ((1, 3), (len(source) - 1, 3), (0, 3)):
        wrong = list(target)
        wrong[place] = "=?"
        assert restored_words([source], [target], [wrong]) == (right, 4)


def test_rows_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        tag_accuracy([("a", "b")], [("a",)])
