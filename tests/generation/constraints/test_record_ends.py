"""Constraints on texts that a model of records may end."""

from __future__ import annotations

from typing import Any

import pytest

from charrnn.tasks.model import Model
from tests.generation.record_models import make_records_file

COUNT = 30


def make_texts(end_bias: float, alphabet: str = ' "()ab', **settings: Any) -> list[tuple[str, str]]:
    """Return texts, each with why it ended; the first ones sampled alone, to be the same."""
    model = Model(make_records_file(alphabet=alphabet, end_bias=end_bias))
    settings = {"seed": 3, "temperature": 1.0} | settings
    many = [(each.text, each.stopped_by) for each in model.generate_many(count=COUNT, **settings)]
    for index in range(4):
        stream = model.generate(index=index, **settings)
        assert (str(stream), stream.reason) == many[index]
    return many


def test_a_pattern_that_could_go_on_ends_where_the_record_does() -> None:
    texts = make_texts(1.0, regex="a+b*")

    assert all(reason == "match" for _, reason in texts)
    assert {len(text) for text, _ in texts} >= {1, 2}
    assert all(text and set(text) <= {"a", "b"} and "ba" not in text for text, _ in texts)


def test_no_end_comes_before_a_match() -> None:
    assert {text for text, _ in make_texts(20.0, regex="aab+")} == {"aab"}


@pytest.mark.parametrize("settings", [{"choices": ("ab", "abba")}, {"template": "ab{a+}"}])
def test_choices_and_templates_are_completed(settings: dict[str, Any]) -> None:
    texts = {text for text, _ in make_texts(20.0, **settings)}

    assert texts == ({"ab"} if "choices" in settings else {"aba"})


def test_no_record_ends_within_brackets() -> None:
    texts = make_texts(2.0, balanced=True, length=12)

    assert any(reason == "end" for _, reason in texts)
    for text, _ in texts:
        assert text.count("(") == text.count(")")
        assert text.count('"') % 2 == 0


@pytest.mark.parametrize("alphabet", [" abé", "abé"])
@pytest.mark.parametrize("has_bytes", [False, True])
def test_no_record_ends_before_its_words(alphabet: str, has_bytes: bool) -> None:
    model = Model(make_records_file(alphabet=alphabet, has_bytes=has_bytes, end_bias=4.0))
    texts = [*model.generate_many(seed=3, must=("ab",), length=12, count=COUNT, only=("ab ",))]

    assert {each.stopped_by for each in texts} >= {"end"}
    assert all("ab" in each.text.split() for each in texts)


def test_no_record_ends_with_a_banned_word() -> None:
    texts = make_texts(3.0, alphabet=" ab", ban_word=("ab",), length=12)
    banned = [text for text, _ in texts if "ab" in text.split()]

    assert not banned
    assert any(reason == "end" for _, reason in texts)


def test_a_banned_word_is_found_in_each_record() -> None:
    texts = make_texts(2.0, alphabet="ab", ban_word=("ab",), length=30, documents=4)

    assert any(text.count("\n") == 3 for text, _ in texts)
    assert not [text for text, _ in texts if "ab" in text.split("\n")]
