"""Lines that stand in a corpus are left out, however a text is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis.copies import KnownLines

NAMES = KnownLines(["ada\nbo\n\ncy"])


def left(*pieces: str, known: KnownLines = NAMES) -> str:
    return "".join(known.iter_new(pieces))


@given(st.text("ab\n", max_size=30), st.text("ab\n", max_size=30), st.data())
def test_a_line_stays_unless_it_stands_in_the_corpus(text, corpus, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    lines = text.splitlines(keepends=True)
    known = set(corpus.split("\n")) - {""}

    new = [line for line in lines if line.removesuffix("\n") not in known]

    assert left(*pieces, known=KnownLines([corpus])) == "".join(new)


def test_a_line_is_given_as_soon_as_it_ends():
    given_out = NAMES.iter_new(iter(["d", "i\nada\n", "e", "v"]))

    assert next(given_out) == "di\n"
    assert list(given_out) == ["ev"]


def test_a_part_of_a_line_is_no_line_of_the_corpus():
    assert left("ad\nadaa\n\nboo") == "ad\nadaa\n\nboo"


def test_an_empty_line_always_stays():
    assert left("ada\n\nbo\n\n") == "\n\n"


@pytest.mark.parametrize(
    ("line", "is_known"),
    [("ada", True), ("ada\n", True), ("cy", True), ("ad", False), ("ada\nbo", False), ("", False)],
)
def test_a_whole_line_of_the_corpus_is_known(line, is_known):
    assert (line in NAMES) == is_known


def test_texts_do_not_run_into_each_other():
    known = KnownLines(["ada\nbo", "cy"])

    assert "bo" in known
    assert "cy" in known
    assert "bocy" not in known
