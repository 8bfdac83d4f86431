"""Constrained texts match in full, and have the model's probabilities among the matches."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.constraints.pattern import make_constraint
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab
from tests.reference.constraint import (
    enumerate_by_constraint,
    enumerate_by_rule,
    make_model,
    sample_text,
    texts_up_to,
)

SMALL = Vocab("\nab")
LETTERS = Vocab("".join(sorted("\n .,:{}" + string.ascii_letters + string.digits)))
CHINESE = Vocab("".join(sorted("\n，。春眠不觉曉晓处處闻聞啼鸟鳥夜来風风雨声聲花落知多少一二三")))
BYTES = Vocab("\nab", has_bytes=True)


def make(vocab: Vocab, is_allowed: Any = None, **settings: Any) -> Constraint:
    constraint = make_constraint(vocab, SampleConfig(**settings), is_allowed)
    assert constraint is not None
    return constraint


def error_of(vocab: Vocab = SMALL, is_allowed: Any = None, **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make_constraint(vocab, SampleConfig(**settings), is_allowed)
    return str(caught.value)


def sample_texts(
    vocab: Vocab, count: int = 40, is_allowed: Any = None, **settings: Any
) -> list[str]:
    constraint = make(vocab, is_allowed, **settings)
    random = np.random.default_rng(5)
    return [sample_text(constraint, vocab, random) for _ in range(count)]


def without(vocab: Vocab, chars: str) -> Any:
    is_allowed = np.ones(vocab.size, np.bool_)
    is_allowed[vocab.encode(chars)] = False
    return is_allowed


def test_without_a_form_there_is_no_constraint() -> None:
    assert make_constraint(SMALL, SampleConfig(), None) is None


# The distribution


@pytest.mark.parametrize(
    "pattern",
    [
        "a*b",
        "(a|b)*",
        "a?b?\n?",
        "(ab|ba){1,2}",
        "[^a]+|a{4}",
        "(?m)(?:^a+$\n?)+",
        r".{2}\b.*",
        "a{0}",
    ],
)
def test_texts_have_the_probabilities_of_the_rule(pattern: str) -> None:
    length, model = 4, make_model(3)
    constraint = make(SMALL, regex=pattern, length=length)
    matches = {text for text in texts_up_to(length, "\nab") if re.fullmatch(pattern, text)}

    expected = enumerate_by_rule(matches, "\nab", model)
    assert enumerate_by_constraint(constraint, SMALL, model) == pytest.approx(expected, abs=1e-6)
    assert sum(expected.values()) == pytest.approx(1)


def test_choices_have_the_probabilities_that_the_model_gives_them() -> None:
    choices, model = ("ab", "abba", "b", "a\nb"), make_model(3)
    found = enumerate_by_constraint(make(SMALL, choices=choices), SMALL, model)

    assert found == pytest.approx(enumerate_by_rule(choices, "\nab", model), abs=1e-6)
    assert set(found) == set(choices)


def test_what_is_banned_has_no_share() -> None:
    model, is_allowed = make_model(3), without(SMALL, "b")
    found = enumerate_by_constraint(
        make(SMALL, is_allowed, regex="[ab]{2}.", length=3), SMALL, model
    )

    assert set(found) == {"aaa"}


def test_a_text_that_bytes_write_has_the_probability_of_all_of_them() -> None:
    model = make_model(BYTES.size)
    found = enumerate_by_constraint(make(BYTES, regex="(?:月|é|日)a?", length=2), BYTES, model)

    assert set(found) == {"月", "é", "日", "月a", "éa", "日a"}
    assert sum(found.values()) == pytest.approx(1)
    share = model("")[3 + np.array([0xE6, 0xC3])]
    assert found["é"] + found["éa"] == pytest.approx(share[1] / share.sum())


# Every output


@pytest.mark.parametrize(
    ("vocab", "settings", "pattern"),
    [
        (LETTERS, {"regex": r"[A-Z][a-z]+( [a-z]+)*\."}, r"[A-Z][a-z]+( [a-z]+)*\."),
        (LETTERS, {"template": "Name: {}\nAge: {[0-9]{1,2}}."}, r"Name: .+\nAge: \d{1,2}\."),
        (LETTERS, {"template": "{{{}}}"}, r"\{.+\}"),
        (LETTERS, {"choices": ("Rome", "Paris", "Oslo")}, "Rome|Paris|Oslo"),
        (LETTERS, {"regex": "(?i)(yes|no)"}, "(?i)(yes|no)"),
        (CHINESE, {"regex": r"(\w{5}，\w{5}。\n){2}"}, r"(\w{5}，\w{5}。\n){2}"),
        (CHINESE, {"template": "春{[^，。\n]{4}}。"}, "春[^，。\n]{4}。"),
        (CHINESE, {"choices": ("春眠不觉晓", "处处闻啼鸟")}, "春眠不觉晓|处处闻啼鸟"),
        (BYTES, {"regex": "a[月日]+(?:é|É)?b"}, "a[月日]+(?:é|É)?b"),
        (BYTES, {"choices": ("日本", "日", "ab日")}, "日本?|ab日"),
        (BYTES, {"template": "「{}」 ~ {[ab]}", "length": 20}, "「[\nab]+」 ~ [ab]"),
    ],
)
def test_every_output_matches_in_full(vocab: Vocab, settings: Any, pattern: str) -> None:
    texts = sample_texts(vocab, **({"length": 60} | settings))

    assert [text for text in texts if not re.fullmatch(pattern, text)] == []
    assert len(set(texts)) > 1


@pytest.mark.parametrize("length", range(5, 12))
def test_at_the_length_a_text_is_complete_and_no_longer(length: int) -> None:
    pattern = r"[a-z]+( [a-z]{3})*\.!?"
    texts = sample_texts(LETTERS, regex=rf"[A-Z]{pattern}", length=length)

    assert all(re.fullmatch(f"[A-Z]{pattern}", text) for text in texts)
    assert max(map(len, texts)) == length


def test_a_model_writes_matches_and_says_so(make_model: Callable[..., ModelFile]) -> None:
    model = Model(make_model())
    for index in range(20):
        stream = model.generate("b", regex="[ab]{2,4}é( é)?", length=8, seed=3, index=index)
        assert re.fullmatch("[ab]{2,4}é( é)?", "".join(stream))
        assert stream.reason in ("match", "length")


def test_a_text_is_over_where_it_can_become_no_other() -> None:
    constraint = make(SMALL, regex="a(?:b|aa)?", length=2)
    state = constraint.initial_state(SMALL.encode("bbb"))
    after = constraint.advance(1, state)

    assert not constraint.is_finished(state)
    assert not constraint.is_finished(after)
    assert constraint.mask(after) is None
    assert constraint.advance(1, after) is None  # aaa would be too long
    assert constraint.is_finished(constraint.advance(2, after))


def test_before_a_match_every_dead_end_is_forbidden() -> None:
    constraint = make(SMALL, regex="a{2,}b{3}|b", length=6)
    mask = [constraint.mask(constraint.initial_state(SMALL.encode("")))]
    state = constraint.initial_state(SMALL.encode(""))
    for _ in range(3):
        state = constraint.advance(1, state)
        mask.append(constraint.mask(state))

    allowed = ["".join(SMALL.alphabet[i] for i in np.flatnonzero(each == 0)) for each in mask]
    assert allowed == ["ab", "a", "ab", "b"]


def test_a_length_of_nothing_takes_a_pattern_that_matches_nothing() -> None:
    assert sample_texts(SMALL, regex="a*", length=0, count=2) == ["", ""]
    assert "needs at least 1 character, as in 'a', and length is 0" in error_of(
        regex="a+", length=0
    )


# Errors


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"regex": "b[0-9]a"}, "'b[0-9]a' needs characters such as '0' (U+0030), which this model"),
        ({"regex": "é{2}"}, "regex 'é{2}' needs 'é' (U+00E9), which this model cannot"),
        ({"regex": r"\ud800"}, r"no text matches regex '\\ud800'; correct it"),
        ({"template": "1{}2"}, "template '1{}2' needs '1' (U+0031), '2' (U+0032), which"),
        ({"choices": ("a", "c")}, "choices cannot be written: the model never saw 'c' (U+0063"),
        ({"regex": "b{7}", "length": 6}, "needs at least 7 characters, as in 'bbbbbbb', and"),
        ({"regex": "b{90}", "length": 6}, f"90 characters, as in '{'b' * 40}…', and length is 6"),
        ({"choices": ("abba", "bab"), "length": 2}, "choices needs at least 3 characters"),
        ({"regex": r"b\Aa"}, r"no text matches regex 'b\\Aa'; correct it"),
        ({"regex": "(?=a)"}, "has a look-around at position 0"),
        ({"template": "a{"}, "template 'a{' has a { at position 1 without its partner"),
        ({"template": r"a{(.)\1}"}, "has a back-reference"),
        ({"template": "{(?i)a}b"}, "is not a pattern: global flags not at the start"),
    ],
)
def test_what_cannot_be_written_is_refused_with_what_is_missing(settings: Any, words: str) -> None:
    assert words in error_of(**settings)


def test_what_is_banned_and_needed_is_named() -> None:
    is_allowed = without(SMALL, "b")

    assert "regex 'a+b' needs 'b' (U+0062), which only and ban leave out" in error_of(
        SMALL, is_allowed, regex="a+b"
    )
    assert sample_texts(SMALL, is_allowed=is_allowed, choices=("ab", "aa"), count=3) == ["aa"] * 3


def test_bytes_write_what_is_named_and_no_class() -> None:
    assert "characters such as '0' (U+0030)" in error_of(BYTES, regex="月[0-9]")
    assert sample_texts(BYTES, regex="月[9]", count=2) == ["月9"] * 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"regex": "a", "template": "b"}, "regex and template each say what the text must be"),
        ({"choices": ("a",), "balanced": True}, "choices and balanced each say"),
        ({"regex": "a", "lines": 2}, "lines could end the text before regex is complete"),
        ({"balanced": True, "stop": ("a",)}, "stop could end the text before balanced is"),
        ({"regex": ""}, "regex is empty"),
        ({"template": ""}, "template is empty"),
        ({"choices": ("a", "")}, "choices is empty"),
        ({"regex": "a("}, "regex is 'a(', which is not a valid regular expression: missing )"),
    ],
)
def test_settings_that_clash_or_are_empty_are_refused(settings: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SampleConfig(**settings)

    assert str(caught.value).startswith(words)
