"""Texts with blanks: what becomes literal, what a blank, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError
from charrnn.generation.constraints.pattern import template_pattern


@pytest.mark.parametrize(
    ("template", "fitting", "other"),
    [
        ("Name: {}\nAge: {[0-9]+}", "Name: Ann Lee\nAge: 42", "Name: \nAge: 42"),
        ("{}", "one line", "two\nlines"),
        ("{}, {}.", "a b, c, d.", "a, b. c."),
        ("{}]{}^{}", "a]b^c]", "a^b^c"),
        ("{}{[0-9]}", "a7", "7"),
        ("{[0-9]{2}}-{[a-z]{1,2}}", "42-ab", "4-ab"),
        ("{{{}}}", "{x}", "x"),
        ("a.b*{x|y}", "a.b*y", "aab*y"),
        (r"{\{+}!", "{{!", "!"),
        (r"{[^\}]}", "x", "}"),
        ("{a|b}c", "bc", "a"),
        ("no blank (at all)", "no blank (at all)", "no blank at all"),
        ("{(?s:.)}", "\n", ""),
        ("月{[一二]}日", "月二日", "月三日"),
    ],
)
def test_a_template_is_its_text_with_its_blanks(template: str, fitting: str, other: str) -> None:
    pattern = template_pattern(template)

    assert re.fullmatch(pattern, fitting)
    assert not re.fullmatch(pattern, other)


@given(st.text())
def test_text_without_braces_is_itself_alone(text: str) -> None:
    template = text.replace("{", "{{").replace("}", "}}")

    assert re.fullmatch(template_pattern(template), text)
    assert not re.fullmatch(template_pattern(template), text + "a")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a{b", "has a { at position 1 without its partner; write {{ for"),
        ("{[0-9]{2}", "has a { at position 0 without its partner; write {{ for"),
        ("a}b", "has a } at position 1 without its partner; write }} for"),
        ("{}}", "has a } at position 2 without its partner"),
        ("{a)(b}", "has the blank 'a)(b', which is not a pattern: unbalanced parenthesis"),
        ("x{*}", "has the blank '*', which is not a pattern: nothing to repeat"),
    ],
)
def test_what_is_not_a_template_is_refused_with_the_position(template: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        template_pattern(template)

    assert str(caught.value).startswith(f"template {template!r} ")
    assert words in str(caught.value)
