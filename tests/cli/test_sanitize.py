"""Holds shown text to its promise: nothing in it commands a terminal or turns its reading order."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.cli.formatting import one_line, sanitize

CONTROLS = [chr(code) for code in (*range(0x20), 0x7F, *range(0x80, 0xA0))]
BIDIRECTIONAL = [
    char
    for char in map(chr, range(0x110000))
    if unicodedata.bidirectional(char)
    in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
]
MARKS = ["\u061c", "\u200e", "\u200f"]  # invisible, and they turn what stands beside them
BREAKS = ["\u2028", "\u2029"]
HARMFUL = {*CONTROLS, *BIDIRECTIONAL, *MARKS, *BREAKS} - {"\n", "\t"}
HALVES = [chr(0xD800), chr(0xDFFF)]  # of surrogate pairs
ANYTHING = st.text(st.characters(exclude_categories=()) | st.sampled_from(sorted(HARMFUL) + HALVES))


@given(ANYTHING)
def test_nothing_that_a_terminal_obeys_survives(text: str) -> None:
    visible = sanitize(text)

    assert not HARMFUL & set(visible)
    assert "Cs" not in map(unicodedata.category, visible)


@pytest.mark.parametrize("char", sorted(HARMFUL))
def test_each_control_leaves_a_sign_that_can_be_seen(char: str) -> None:
    assert sanitize(f"a{char}b")[1:-1].isprintable()
    assert len(sanitize(char)) >= 1


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))))
def test_all_other_text_stays_as_it_is(text: str) -> None:
    assert sanitize(text) == text


def test_newline_and_tab_stay() -> None:
    assert sanitize("a\n\tb") == "a\n\tb"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "␛[31mred"),
        ("a\rb", "a␍b"),
        ("\0", "␀"),
        ("\x7f", "␡"),
        ("\x9b2J", "<9B>2J"),
        ("\u202eabc", "<202E>abc"),
        ("\u2028", "<2028>"),
        ("\ud83d", "\ufffd"),
    ],
)
def test_a_sign_tells_what_stood_there(text: str, shown: str) -> None:
    assert sanitize(text) == shown


@given(ANYTHING)
def test_what_is_made_visible_once_stays(text: str) -> None:
    assert sanitize(sanitize(text)) == sanitize(text)


@given(ANYTHING)
def test_one_line_has_no_second(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


def test_a_line_end_is_shown_within_the_line() -> None:
    assert one_line("a\n\tb\r") == "a␤ b␍"
