"""Where a text ends, and that nothing past the end is read or shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.config import SampleConfig
from charrnn.inference.stops import (
    LONGEST_MATCH,
    Writing,
    until_match,
    until_text,
    up_to_lines,
    up_to_seconds,
    up_to_sentences,
)

stop_texts = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3)


def first_stop(text: str, stops: list[str]) -> str:
    """The slow twin of stopping: cut at the stop text that is complete first, or longest."""
    ends = [
        (text.find(stop) + len(stop), text.find(stop)) for stop in stops if text.find(stop) >= 0
    ]
    return text[: min(ends)[1]] if ends else text


# ── a text ──


@given(st.text("abc", max_size=30), stop_texts)
@example("aab", ["ab"])  # a beginning of the stop text that is not one
@example("ababab", ["abab"])
@example("abcabd", ["abd", "bc"])  # complete first, though it begins later
@example("xabcd", ["bcd", "abcd"])  # complete together: the longer one is left out
def test_text_ends_before_the_first_stop_text_and_is_complete_up_to_it(
    text: str, stops: list[str]
) -> None:
    assert "".join(until_text(iter(text), tuple(stops))) == first_stop(text, stops)


@given(st.lists(st.text("ab", min_size=1, max_size=3), max_size=12), stop_texts)
def test_what_is_held_back_could_still_be_a_stop_text(chars: list[str], stops: list[str]) -> None:
    text, seen, given_out = "".join(chars), "", ""

    def one_by_one() -> Any:
        nonlocal seen
        for char in text:
            held = seen.removeprefix(given_out)
            assert held == "" or any(stop.startswith(held) for stop in stops)
            seen += char
            yield char

    for piece in until_text(one_by_one(), tuple(stops)):
        given_out += piece

    assert given_out == first_stop(text, stops)


@pytest.mark.parametrize("lead", range(6))
def test_a_stop_text_is_found_wherever_it_begins(lead: int) -> None:
    text = "x" * lead + "STOP" + "y" * 3

    assert "".join(until_text(iter(text), ("STOP",))) == "x" * lead


def test_nothing_is_read_past_a_stop_text() -> None:
    chars = iter("abcdef")

    assert [*until_text(chars, ("bc",))] == ["a"]
    assert [*chars] == ["d", "e", "f"]


@given(st.text("a😀月", max_size=20), st.text("a😀月", min_size=1, max_size=3))
def test_no_part_of_a_stop_text_of_any_script_is_shown(text: str, stop: str) -> None:
    assert "".join(until_text(iter(text), (stop,))) == text.partition(stop)[0]


# ── a pattern ──


def first_match(text: str, pattern: str) -> str:
    """The slow twin of a pattern: cut at the match in the shortest beginning that has one."""
    matches = (re.search(pattern, text[:end]) for end in range(1, len(text) + 1))
    return next((text[: match.start()] for match in matches if match), text)


PATTERNS = ["ab", "a+b", "a{2,}", "b(?=a)", "(?<=b)a", "^b", "[ab]c|cc", "a.*c", "(?=bb)"]


@given(st.text("abc", max_size=30), st.sampled_from(PATTERNS))
def test_text_ends_before_the_first_match(text: str, pattern: str) -> None:
    assert "".join(until_match(iter(text), re.compile(pattern))) == first_match(text, pattern)


@given(st.lists(st.text("abc", min_size=1, max_size=4), max_size=9), st.sampled_from(PATTERNS))
def test_a_match_is_found_however_the_text_is_cut(pieces: list[str], pattern: str) -> None:
    shown = "".join(until_match(iter(pieces), re.compile(pattern)))

    assert shown == first_match("".join(pieces), pattern)


@pytest.mark.parametrize("lead", [0, 1, LONGEST_MATCH, 3 * LONGEST_MATCH + 7])
def test_a_match_of_the_greatest_length_is_found_wherever_it_begins(lead: int) -> None:
    text = "x" * lead + "(" + "y" * (LONGEST_MATCH - 2) + ")" + "z"

    assert "".join(until_match(iter(text), re.compile(r"\(y+\)"))) == "x" * lead


def test_no_more_is_held_back_than_the_greatest_length() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "x"

    assert next(until_match(endless(), re.compile("y"))) == "x"
    assert read == LONGEST_MATCH + 1


# ── lines, sentences, seconds ──


@pytest.mark.parametrize(("lines", "expected"), [(1, "a"), (2, "a\n"), (3, "a\n\nb"), (4, None)])
def test_text_ends_before_the_newline_of_its_last_line(lines: int, expected: str | None) -> None:
    text = "a\n\nb\nc"

    assert "".join(up_to_lines(iter(text), lines)) == (text if expected is None else expected)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? ", ["One.", " Two!", " Three?"]),
        ("It is 3.14 or so. Yes. ", ["It is 3.14 or so.", " Yes."]),
        ("Well... no?! So. ", ["Well...", " no?!", " So."]),
        ("\u201cStop.\u201d (He did.) Go. ", ["\u201cStop.\u201d", " (He did.)", " Go."]),
        ("床前明月光。疑是地上霜！舉頭？x", ["床前明月光。", "疑是地上霜！", "舉頭？"]),
        ("「是。」他說。「好！」x", ["「是。」", "他說。", "「好！」"]),
        ("好。Yes. No.\n", ["好。", "Yes.", " No."]),
    ],
)
def test_text_ends_with_the_marks_of_its_last_sentence(text: str, sentences: list[str]) -> None:
    for count in range(1, len(sentences) + 1):
        assert "".join(up_to_sentences(iter(text), count)) == "".join(sentences[:count])


def test_text_ends_with_the_first_character_after_the_time() -> None:
    clock = iter([100.0, 101.0, 102.9, 103.0, 104.0])

    assert "".join(up_to_seconds(cycle("ab"), 3, clock.__next__)) == "aba"


# ── reasons ──


@pytest.mark.parametrize(
    ("settings", "text", "reason"),
    [
        ({"length": 3}, "a.\n", "length"),
        ({"length": 0}, "", "length"),
        ({"lines": 2}, "a.\nb a.", "lines"),
        ({"sentences": 1}, "a.", "sentences"),
        ({"stop": ("b",)}, "a.\n", "stop"),
        ({"stop_regex": r"b\s"}, "a.\n", "stop-regex"),
        ({"seconds": 1e-9}, "a", "seconds"),
        ({"length": 4, "stop": ("b",)}, "a.\n", "stop"),
        ({"length": 4, "stop": ("b x",)}, "a.\nb", "length"),
        ({"lines": 1, "sentences": 1, "stop": (".",)}, "a", "stop"),
        ({"lines": 1, "stop": ("\nb",)}, "a.", "lines"),
    ],
)
def test_the_reason_is_that_of_the_rule_which_ended_the_text(
    settings: dict[str, Any], text: str, reason: str
) -> None:
    writing = Writing(cycle("a.\nb "), SampleConfig(**settings))

    assert ("".join(writing), writing.reason) == (text, reason)


def test_there_is_no_reason_before_the_end() -> None:
    writing = Writing(cycle("ab"), SampleConfig(length=2))

    assert [(piece, writing.reason) for piece in writing] == [("a", None), ("b", None)]
    assert writing.reason == "length"


def test_a_text_that_has_ended_stays_at_its_end() -> None:
    chars = iter("abcdef")
    writing = Writing(chars, SampleConfig(stop=("bc",)))

    assert [*writing, *writing] == ["a"]
    assert next(chars) == "d"
