"""Planted texts: their secret, and what they cost, in closed form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from charrnn.corpora import planted
from charrnn.corpora.planted import Planted

MAKERS = (
    planted.make_alphabet,
    planted.make_quotes,
    planted.make_counting,
    planted.make_copy,
    planted.make_brackets,
    planted.make_column,
    planted.make_types,
    planted.make_parity,
    planted.make_speaker,
)
EACH = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
Maker = Callable[[int, int], Planted]


@EACH
def test_the_mean_cost_of_a_long_text_is_the_closed_form(make: Maker) -> None:
    text = make(60_000, 7)

    assert text.nats.mean() == pytest.approx(text.entropy_nats, rel=0.02)


@EACH
def test_there_is_a_cost_and_a_secret_for_each_character(make: Maker) -> None:
    text = make(500, 7)

    assert len(text.text) == len(text.hidden) == len(text.nats) == 500
    assert (text.nats >= 0).all()
    assert np.isfinite(text.hidden).any()


@EACH
def test_a_text_depends_on_its_seed_alone_and_a_longer_one_begins_the_same(make: Maker) -> None:
    assert make(300, 7).text == make(400, 7).text[:300]
    assert make(300, 7).text != make(300, 8).text


@EACH
def test_only_the_alphabet_can_be_read_without_a_memory(make: Maker) -> None:
    # A bigram is the best that a reader without memory can do.
    text = make(30_000, 7)
    codes = np.unique(np.array(list(text.text)), return_inverse=True)[1]
    pairs = np.zeros((codes.max() + 1,) * 2)
    np.add.at(pairs, (codes[:-1], codes[1:]), 1)
    chances = pairs / pairs.sum(1, keepdims=True)
    bigram_nats = -np.log(chances[codes[:-1], codes[1:]]).mean()

    if make is planted.make_alphabet:  # the last letter is enough
        assert text.nats.mean() == pytest.approx(bigram_nats, abs=0.01)
    else:
        assert text.nats.mean() < bigram_nats - 0.01


def lines_of(make: Maker) -> list[str]:
    return make(3_000, 7).text.split("\n")[:-1]


def test_alphabets_begin_anywhere_and_end_with_z() -> None:
    lines = lines_of(planted.make_alphabet)

    assert all(line in planted.LETTERS and line.endswith("z") for line in lines)
    assert {line[0] for line in lines} > {"a"}


def test_a_quotation_is_where_an_odd_number_of_marks_stood_before() -> None:
    text = planted.make_quotes(3_000, 7)
    marks = np.cumsum([char == '"' for char in text.text])

    np.testing.assert_array_equal(text.hidden, marks % 2)


def test_each_line_has_as_many_b_as_a() -> None:
    for line in lines_of(planted.make_counting):
        left, right = line.split("X")
        assert len(left) == len(right) <= planted.LONGEST
        assert set(left + right) == {"a", "b"}


def test_a_word_is_copied_after_the_dots() -> None:
    for line in lines_of(planted.make_copy):
        first, second = line.split("." * planted.DELAY)
        assert first == second
        assert len(first) == planted.WORD


def test_brackets_are_balanced_and_the_secret_is_their_depth() -> None:
    text = planted.make_brackets(3_000, 7)
    steps = {"(": 1, ")": -1, "x": 0}

    np.testing.assert_array_equal(text.hidden, np.cumsum([steps[char] for char in text.text]))
    assert (text.hidden.min(), text.hidden.max()) == (0, planted.DEPTH)


def test_lines_have_exactly_so_many_characters() -> None:
    assert {len(line) for line in lines_of(planted.make_column)} == {planted.WIDTH}


def test_the_end_of_a_line_goes_with_its_beginning() -> None:
    assert {line[0] + line[-1] for line in lines_of(planted.make_types)} == {"AX", "BY"}


def test_the_sign_after_the_bits_says_whether_the_number_of_1_is_odd() -> None:
    for line in lines_of(planted.make_parity):
        bits, sign = line.split("=")
        assert sign == "eo"[bits.count("1") % 2]


def test_each_speaker_prefers_other_letters() -> None:
    speech = {"P": "", "Q": ""}
    for line in planted.make_speaker(20_000, 7).text.split("\n")[:-1]:
        name, words = line.split(":")
        speech[name] += words

    assert speech["P"].count("a") > 3 * speech["P"].count("d")
    assert speech["Q"].count("d") > 3 * speech["Q"].count("a")
