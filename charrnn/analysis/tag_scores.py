"""How well tags are found: places, words of a segmentation, and what is restored to a damaged text.

Every figure is of counts: how many are right, how many were found, how many there are. Tags come as
rows, one for each record, the true ones and those that were found.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from charrnn.data.tags import find_words

Rows = Sequence[Sequence[str]]


class Score(NamedTuple):
    """How many of something were found rightly, how many were found, and how many there are."""

    right: int
    found: int
    expected: int

    @property
    def precision(self) -> float:
        """The share of what was found that is right; NaN where nothing was found."""
        return self.right / self.found if self.found else math.nan

    @property
    def recall(self) -> float:
        """The share of what there is that was found; NaN where there is nothing."""
        return self.right / self.expected if self.expected else math.nan

    @property
    def f1(self) -> float:
        """The harmonic mean of both; NaN where there is nothing and nothing was found.

        >>> Score(right=2, found=4, expected=4).f1
        0.5
        """
        total = self.found + self.expected
        return 2 * self.right / total if total else math.nan


def tag_accuracy(expected: Rows, found: Rows) -> float:
    """Return the share of places whose tag is right; NaN without places.

    >>> tag_accuracy([("B", "E", "S", "S")], [("B", "E", "B", "E")])
    0.5
    """
    right = [a == b for a, b in _pairs(expected, found)]
    return sum(right) / len(right) if right else math.nan


def scores_by_tag(expected: Rows, found: Rows) -> dict[str, Score]:
    """Return the score of each tag, the commonest first.

    >>> scores_by_tag([("B", "E", "S")], [("B", "E", "B")])["B"]
    Score(right=1, found=2, expected=1)
    """
    pairs = Counter(_pairs(expected, found))
    all_expected: Counter[str] = Counter()
    all_found: Counter[str] = Counter()
    for (a, b), count in pairs.items():
        all_expected[a] += count
        all_found[b] += count
    tags = sorted({*all_expected, *all_found}, key=lambda tag: (-all_expected[tag], tag))
    return {tag: Score(pairs[tag, tag], all_found[tag], all_expected[tag]) for tag in tags}


def word_score(expected: Rows, found: Rows, *, has_names: bool = False) -> Score:
    """Return the score of the words of a segmentation: right are those with both borders right.

    has_names: their names must be right too, as the noun of B-noun E-noun, which is that of the
    word's first tag. Sproat & Emerson 2003 count so.

    >>> word_score([("B", "E", "S", "S")], [("B", "E", "B", "E")])
    Score(right=1, found=2, expected=3)
    """
    right = all_found = all_expected = 0
    for true_tags, tags in zip(expected, found, strict=True):
        true_words = _word_set(true_tags, has_names)
        words = _word_set(tags, has_names)
        right += len(true_words & words)
        all_found += len(words)
        all_expected += len(true_words)
    return Score(right, all_found, all_expected)


def place_score(expected: Rows, found: Rows, keep: str = "=") -> Score:
    """Return the score of the places where the true text is not the damaged one.

    keep: the tag of a place where it is.

    >>> place_score([("U", "=", "=,", "=")], [("U", "=", "=", "U")])
    Score(right=1, found=2, expected=2)
    """
    right = all_found = all_expected = 0
    for a, b in _pairs(expected, found):
        right += a == b != keep
        all_found += b != keep
        all_expected += a != keep
    return Score(right, all_found, all_expected)


def restored_words(sources: Sequence[str], expected: Rows, found: Rows) -> tuple[int, int]:
    """Return how many words of damaged texts are restored rightly, and how many there are.

    A word ends before a space, or where the true tag puts one. What comes after a word, such as a
    comma, belongs to it.

    >>> restored_words(["so it is"], [("U", "=,", *"======")], [("U", *"=======")])
    (2, 3)
    """
    right = total = 0
    for source, true_tags, tags in zip(sources, expected, found, strict=True):
        for word in _split_words(source, true_tags):
            total += 1
            right += tuple(true_tags[word]) == tuple(tags[word])
    return right, total


def _pairs(expected: Rows, found: Rows) -> Iterator[tuple[str, str]]:
    """Yield the true tag and the one that was found of each place of all rows."""
    for true_tags, tags in zip(expected, found, strict=True):
        yield from zip(true_tags, tags, strict=True)


def _word_set(tags: Sequence[str], has_names: bool) -> set[tuple[int, int, str]]:
    """Return the words of a row of tags as their borders and names."""
    return {
        (word.start, word.stop, tags[word.start].partition("-")[2] if has_names else "")
        for word in find_words(tags)
    }


def _split_words(source: str, tags: Sequence[str]) -> Iterator[slice]:
    """Yield where the words of a damaged text are; the space before a word is part of it."""
    start = 0
    has_letters = False
    for place, (char, tag) in enumerate(zip(source, tags, strict=True)):
        if char.isspace() and has_letters:
            yield slice(start, place)
            start = place
            has_letters = False
        has_letters |= not char.isspace()
        after = tag.rpartition("^")[2]  # before a ^ comes what the text begins with
        if has_letters and any(each.isspace() for each in after):
            yield slice(start, place + 1)
            start = place + 1
            has_letters = False
    if has_letters:
        yield slice(start, len(source))
