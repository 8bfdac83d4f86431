"""Which patterns are read, which are refused by name and position, and what an NFA is made of."""

from __future__ import annotations

import pytest

from charrnn.errors import ConfigError
from charrnn.generation.constraints import regex as module
from charrnn.generation.constraints.regex import END, Chars, read_pattern, read_texts


def error_of(pattern: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_pattern(pattern, f"regex {pattern!r}")
    return str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "words", "position"),
    [
        ("ab(?=c)", "a look-around", 2),
        ("(?<=a)b", "a look-around", 0),
        ("a(?!b)", "a look-around", 1),
        ("a(?<!b)", "a look-around", 1),
        ("a(?!)", "a look-around", 1),
        (r"(a)\1", "a back-reference", 3),
        (r"[\1](a)b\1", "a back-reference", 8),
        (r"\\(?P<n>a)(?P=n)", "a back-reference", 10),
        ("(a)?(?(1)b|c)", "a condition", 4),
        ("[(?>](?>a*)", "an atomic group", 5),
        ("a+a++", "a possessive quantifier", 3),
        (r"\}+a{2}+", "a possessive quantifier", 6),
        ("(?#(?=)(?:x(?=a))", "a look-around", 11),
    ],
)
def test_what_no_automaton_follows_is_refused_by_name_and_position(
    pattern: str, words: str, position: int
) -> None:
    assert error_of(pattern).startswith(f"regex {pattern!r} has {words} at position {position}, ")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(a", "missing )"),
        ("(" * 5000 + ")" * 5000, "recursion"),
        ("a{99999999999999999999}", "too large"),
        ("a(?i)b", "global flags not at the start"),
    ],
)
def test_what_is_not_a_pattern_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    assert "is not a pattern: " in error_of(pattern)
    assert reason in error_of(pattern)


@pytest.mark.parametrize("pattern", ["(a{100}){100}", "(a?){4000000000}", "((a{9}){9})*" * 20])
def test_a_pattern_that_grows_too_large_is_refused_with_a_hint(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_NODES", 1000)

    assert "takes more than 1,000 nodes" in error_of(pattern)
    assert "write * or + instead of a count" in error_of(pattern)


def test_what_is_empty_can_be_counted_without_end() -> None:
    assert len(read_pattern("(?:){4294967290}(?:(?:){9})*", "regex").reads) < 9


def test_a_repeated_item_is_compiled_once() -> None:
    reads = read_pattern("[ab]{50}", "regex").reads

    assert sum(map(len, reads)) == 50
    assert len({id(chars.matcher) for found in reads for chars, _ in found}) == 1


def test_an_item_names_the_characters_that_stand_there_one_by_one() -> None:
    nfa = read_pattern(r"a[bc-d][^e]\w.(?:f|g)", "regex")
    named = [chars.named for found in nfa.reads for chars, _ in found]

    assert sorted(named) == ["", "", "", "a", "b", "fg"]


def test_texts_share_their_beginnings() -> None:
    nfa = read_texts(("tea", "ten", "te", "tea"), "choices")

    assert [chars for found in nfa.reads for chars, _ in found] == [Chars(char) for char in "tean"]
    assert sum(target == END for skips in nfa.skips for _, target in skips) == 3


def test_anchors_alone_look_around() -> None:
    assert read_pattern(r"a$", "regex").has_guards
    assert not read_pattern(r"a|b*", "regex").has_guards
