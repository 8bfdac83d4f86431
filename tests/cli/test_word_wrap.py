"""Text broken between words as it comes: nothing is lost, no line is too wide, no word is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from charrnn.cli.word_wrap import WordWrap

TEXTS = st.text("ab, é\n\t中。", max_size=60)
WIDTHS = st.integers(2, 12)


def wrap(text: str, width: int, column: int = 0) -> str:
    wrapping = WordWrap(column)
    return wrapping.feed(text, width) + wrapping.end(width)


@pytest.mark.parametrize(
    ("text", "width", "written"),
    [
        ("one two three", 7, "one two\nthree"),
        ("one two  three", 7, "one two\n three"),
        ("one two ", 7, "one two\n"),
        ("one two\nthree", 7, "one two\nthree"),
        ("indivisible", 5, "indiv\nisibl\ne"),
        ("一二三", 5, "一二\n三"),
        ("a一b", 3, "a一\nb"),
        ("\ta", 10, "        a"),
    ],
)
def test_a_line_is_broken_where_a_word_does_not_fit(text: str, width: int, written: str) -> None:
    assert wrap(text, width) == written


def test_a_line_that_was_begun_counts() -> None:
    assert wrap("two", 5, column=3) == "\ntwo"
    assert wrap("two", 6, column=3) == "two"


def test_a_word_is_written_once_it_is_whole() -> None:
    wrapping = WordWrap()

    assert [wrapping.feed(char, 9) for char in "ab c"] == ["", "", "ab ", ""]
    assert (wrapping.end(9), wrapping.column) == ("c", 4)


@given(TEXTS, WIDTHS)
def test_nothing_is_lost_and_no_line_is_too_wide(text: str, width: int) -> None:
    written = wrap(text, width)

    assert "".join(written.split()) == "".join(text.split())
    assert all(cell_len(line) <= width for line in written.split("\n"))


@given(TEXTS, WIDTHS)
def test_no_word_is_cut_that_fits_into_a_line(text: str, width: int) -> None:
    spaced = text.replace("中", " 中 ").replace("。", " 。 ")
    words = [word for word in spaced.split() if cell_len(word) <= width]

    rows = wrap(spaced, width).split()
    assert [word for word in words if word not in rows] == []


@given(TEXTS, WIDTHS, st.integers(0, 60))
def test_it_does_not_matter_in_which_pieces_a_text_comes(text: str, width: int, cut: int) -> None:
    wrapping = WordWrap()
    written = (
        wrapping.feed(text[:cut], width) + wrapping.feed(text[cut:], width) + wrapping.end(width)
    )

    assert written == wrap(text, width)
