"""Words are what a reader takes for words, in scripts with and without spaces."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.interpret.words import cut_into_words, find_words
from charrnn.text.vocab import Vocab


def words_of(text: str, vocab: Vocab | None = None) -> list[str]:
    vocab = vocab or Vocab.from_text(text)
    ids = vocab.encode(text)
    found = find_words(vocab, ids)
    pairs = zip(found.starts.tolist(), found.stops.tolist(), strict=True)
    return [vocab.decode(ids[start:stop]) for start, stop in pairs]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("To be, or not.\n", ["To", "be", "or", "not"]),
        ("don't 'tis rock'n'roll'", ["don't", "tis", "rock'n'roll"]),
        ("x1 = 20", ["x1", "20"]),
        ("山水。人 ab", ["山", "水", "人", "ab"]),
        ("e\u0301te\u0301 a", ["e\u0301te\u0301", "a"]),
        ("\u0301 a", ["a"]),
        ("...", []),
    ],
)
def test_words_are_runs_of_letters(text: str, expected: list[str]) -> None:
    assert words_of(text) == expected


def test_the_bytes_of_a_rare_letter_are_in_its_word() -> None:
    assert words_of("aéb a", Vocab(" ab", has_bytes=True)) == ["aéb", "a"]


def test_the_end_of_a_record_ends_a_word() -> None:
    vocab = Vocab("ab", has_end=True)
    ids = np.array([0, 1, 2, 1])

    assert find_words(vocab, ids).stops.tolist() == [2, 4]


def test_a_text_is_cut_at_each_end_of_a_word() -> None:
    vocab = Vocab(" ab")

    assert cut_into_words(vocab, vocab.encode(" ab  b")).tolist() == [0, 1, 3, 5, 6]
