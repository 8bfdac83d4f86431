"""Where a text ends, and that nothing past the end is read or shown."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation import pattern_search
from charrnn.generation.stopping import (
    LONGEST_MATCH,
    Rule,
    StoppingCriteria,
    TextStream,
    UntilMatch,
    UntilText,
    UpToFinish,
    UpToSeconds,
    UpToSentences,
)
from tests.reference.constraint import random_pattern

stop_texts = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3)


def pieces_shown(chars: Iterator[str], rule: Rule) -> Iterator[str]:
    """Yield what is shown after each character up to the end, then what was held back."""
    for char in chars:
        shown, is_over = rule.feed(char)
        yield shown
        if is_over:
            return
    yield rule.flush()


def shown(chars: Iterator[str], rule: Rule) -> str:
    return "".join(pieces_shown(chars, rule))


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
def test_text_ends_right_before_the_first_stop_text(text: str, stops: list[str]) -> None:
    assert shown(iter(text), UntilText(tuple(stops))) == first_stop(text, stops)


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

    for piece in pieces_shown(one_by_one(), UntilText(tuple(stops))):
        given_out += piece

    assert given_out == first_stop(text, stops)


@pytest.mark.parametrize("lead", range(6))
def test_a_stop_text_is_found_wherever_it_begins(lead: int) -> None:
    text = "x" * lead + "STOP" + "y" * 3

    assert shown(iter(text), UntilText(("STOP",))) == "x" * lead


def test_nothing_is_read_past_a_stop_text() -> None:
    chars = iter("abcdef")

    assert [*pieces_shown(chars, UntilText(("bc",)))] == ["a", "", ""]
    assert [*chars] == ["d", "e", "f"]


@given(st.text("a😀月", max_size=20), st.text("a😀月", min_size=1, max_size=3))
def test_no_part_of_a_stop_text_of_any_script_is_shown(text: str, stop: str) -> None:
    assert shown(iter(text), UntilText((stop,))) == text.partition(stop)[0]


# ── a pattern ──


def first_match(text: str, pattern: str) -> str:
    """The slow twin of a pattern: cut at the match in the shortest beginning that has one."""
    matches = (re.search(pattern, text[:end]) for end in range(1, len(text) + 1))
    return next((text[: match.start()] for match in matches if match), text)


PATTERNS = ["ab", "a+b", "a{2,}", "b(?=a)", "(?<=b)a", "^b", "[ab]c|cc", "a.*c", "(?=bb)"]


@given(st.text("abc", max_size=30), st.sampled_from(PATTERNS))
def test_text_ends_before_the_first_match(text: str, pattern: str) -> None:
    assert shown(iter(text), UntilMatch(re.compile(pattern))) == first_match(text, pattern)


@pytest.mark.parametrize("lead", [0, 1, LONGEST_MATCH, 3 * LONGEST_MATCH + 7])
def test_a_match_of_the_greatest_length_is_found_wherever_it_begins(lead: int) -> None:
    text = "x" * lead + "(" + "y" * (LONGEST_MATCH - 2) + ")" + "z"

    assert shown(iter(text), UntilMatch(re.compile(r"\(y+\)"))) == "x" * lead


def test_no_more_is_held_back_than_the_greatest_length() -> None:
    rule = UntilMatch(re.compile("y"))

    assert {rule.feed("x") for _ in range(LONGEST_MATCH)} == {("", False)}
    assert rule.feed("x") == ("x", False)


@pytest.mark.parametrize("kept_nodes", [1, 1_000_000])
def test_any_pattern_ends_a_text_where_re_finds_its_first_match(
    kept_nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pattern_search, "_KEPT_NODES", kept_nodes)
    pattern_search._make_automaton.cache_clear()
    source = random.Random(5)
    for _ in range(300):
        pattern = random_pattern(source)
        text = "".join(source.choices("\n -1abÉé月", k=12))

        assert shown(iter(text), UntilMatch(re.compile(pattern))) == first_match(text, pattern)


@pytest.mark.parametrize("pattern", [r"(\w+\s?)+#", "(a|b|ab){1,150}#", r"(.*b){9}#", r"(a*)*\b#"])
def test_no_pattern_makes_a_character_dear(pattern: str) -> None:
    text = "ab aab" * 99

    with pattern_search.time_limit(10):
        assert shown(iter(text + "#"), UntilMatch(re.compile(pattern))) != text + "#"


AROUND = r"(?=(\w+\s?)+#)."  # which only re can search for, by trying all ways


def test_what_only_re_can_search_for_is_cut_off_by_the_seconds() -> None:
    stream = TextStream(cycle("ab"), StoppingCriteria(SampleConfig(seconds=0.2, stop_regex=AROUND)))

    with pattern_search.time_limit(10):
        assert set("".join(stream)) == set("ab")
    assert stream.reason == "seconds"


def test_what_only_re_can_search_for_may_not_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern_search, "_MOST_SECONDS", 0.1)
    handler = signal.getsignal(signal.SIGALRM)

    with pytest.raises(ConfigError, match=r"takes more than 0.1 second at one character; nest no"):
        shown(cycle("ab"), UntilMatch(re.compile(AROUND)))
    assert signal.getsignal(signal.SIGALRM) is handler


def test_what_only_re_can_search_for_is_refused_where_its_time_has_no_limit() -> None:
    def criteria() -> StoppingCriteria:
        return StoppingCriteria(SampleConfig(stop_regex="(a)\\1"))

    with ThreadPoolExecutor(1) as threads:
        error = threads.submit(criteria).exception()

    assert isinstance(error, ConfigError)
    assert "only the main thread can limit the time of that" in str(error)
    assert criteria().has_rules


def test_a_stop_pattern_that_is_too_large_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"stop_regex '.*' takes more than 3,000 nodes; ask for"):
        StoppingCriteria(SampleConfig(stop_regex="((a|b){1,60}){60}"))


# ── lines, sentences, seconds ──


@pytest.mark.parametrize(("lines", "expected"), [(1, "a"), (2, "a\n"), (3, "a\n\nb"), (4, None)])
def test_text_ends_before_the_newline_of_its_last_line(lines: int, expected: str | None) -> None:
    text = "a\n\nb\nc"

    assert shown(iter(text), UntilText(("\n",), lines)) == (text if expected is None else expected)


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
        assert shown(iter(text), UpToSentences(count)) == "".join(sentences[:count])


def test_text_ends_with_the_first_character_after_the_time() -> None:
    clock = iter([100.0, 101.0, 102.9, 103.0, 104.0])

    assert shown(cycle("ab"), UpToSeconds(3, clock.__next__)) == "aba"


# ── reasons ──


@pytest.mark.parametrize(
    ("settings", "text", "reason"),
    [
        ({"length": 3}, "a.\n", "length"),
        ({"length": 0}, "", "length"),
        ({"length": 3, "regex": "a.\n"}, "a.\n", "match"),
        ({"lines": 2}, "a.\nb a.", "lines"),
        ({"sentences": 1}, "a.", "sentences"),
        ({"stop": ("b",)}, "a.\n", "stop"),
        ({"stop_regex": r"b\s"}, "a.\n", "stop-regex"),
        ({"seconds": 1e-9}, "a", "seconds"),
        ({"length": 4, "stop": ("b",)}, "a.\n", "stop"),
        ({"length": 4, "stop": ("b x",)}, "a.\nb", "length"),
        ({"length": 4, "stop": ("b x",), "stop_regex": "b"}, "a.\n", "stop-regex"),
        ({"lines": 1, "sentences": 1, "stop": (".",)}, "a", "stop"),
        ({"lines": 1, "stop": ("\nb",)}, "a.", "lines"),
    ],
)
def test_the_reason_is_that_of_the_rule_which_ended_the_text(
    settings: dict[str, Any], text: str, reason: str
) -> None:
    stream = TextStream(cycle("a.\nb "), StoppingCriteria(SampleConfig(**settings)))

    assert ("".join(stream), stream.reason) == (text, reason)


def test_there_is_no_reason_before_the_end() -> None:
    stream = TextStream(cycle("ab"), StoppingCriteria(SampleConfig(length=2)))

    assert [(piece, stream.reason) for piece in stream] == [("a", None), ("b", "length")]


def test_a_text_that_has_ended_stays_at_its_end() -> None:
    chars = iter("abcdef")
    stream = TextStream(chars, StoppingCriteria(SampleConfig(stop=("bc",))))

    assert [*stream, *stream] == ["a"]
    assert next(chars) == "d"


def test_a_constraint_that_ends_the_text_shows_what_was_held_back() -> None:
    stream = TextStream(iter("xab"), StoppingCriteria(SampleConfig(stop=("abc",))), "match")

    assert ("".join(stream), stream.reason) == ("xab", "match")


@pytest.mark.parametrize(("documents", "text"), [(1, "a"), (2, "a##b"), (4, "a##b####c")])
def test_text_ends_before_the_end_of_its_last_document(documents: int, text: str) -> None:
    stream = TextStream(
        iter("a##b####c###d"), StoppingCriteria(SampleConfig(documents=documents), "##")
    )

    assert ("".join(stream), stream.reason) == (text, "documents")


# ── a finished text ──


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("one. two. three four.", "one. two."),  # the first sentence from 8 characters on
        ("one two. three", "one two."),  # exactly there
        ("one two three four five", "one two three"),  # no sentence by 12: with the word
        ("one two three\nfour", "one two three"),
        ("onetwo “three.” four", "onetwo “three.”"),
        ("床前明月光，疑是地上霜。举头", "床前明月光，疑是地上霜。"),
        ("床前明月光，疑是地上霜举头\n望", "床前明月光，疑是地上霜举头"),
        ("indivisible-indivisible", "indivisible-indi"),  # twice the length is the limit
    ],
)
def test_a_text_is_finished_with_a_sentence_or_else_a_word(text: str, written: str) -> None:
    criteria = StoppingCriteria(SampleConfig(length=16), None, 8)

    assert str(TextStream(iter(text), criteria)) == written
    assert criteria.reason == "length"


@given(st.text("ab. \n。", max_size=60), st.integers(1, 20))
def test_a_finished_text_is_a_beginning_and_no_longer_than_it_must_be(
    text: str, length: int
) -> None:
    written = shown(iter(text), UpToFinish(length))

    assert text.startswith(written)
    assert len(written) >= min(length, len(text))
    assert not re.search(r"\s", written[length + length // 2 :])
