"""A pattern's cells take what Python's re matches, and align what fills each blank."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import FillConfig
from charrnn.errors import ConfigError, VocabError
from charrnn.generation.infill.pattern import Pattern, make_pattern
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab

Make = Callable[..., ModelFile]
LETTERS, BYTES = Vocab("\n abé"), Vocab("\n abé", has_bytes=True)
GAP = 2


def make(text: str, vocab: Vocab = LETTERS, **settings: Any) -> Pattern:
    return make_pattern(text, FillConfig(**{"max_gap": GAP} | settings), vocab, str)


def texts_of(pattern: Pattern, vocab: Vocab = LETTERS) -> list[str]:
    """Return every text that fits."""
    found, prefixes = [], [((), pattern.start)]
    while prefixes:
        ids, at = prefixes.pop()
        if pattern.is_complete(at):
            found.append(vocab.decode(ids))
        tokens = pattern.next_tokens(at)[0].tolist()
        assert bool(tokens) == pattern.can_continue(at)
        prefixes += [((*ids, token), pattern.step(at, token)) for token in tokens]
    return sorted(found)


def expression(pattern: str) -> re.Pattern[str]:
    """Return the pattern as one of Python's re."""
    signs = {"_": "(.)", "*": f"(.{{0,{GAP}}})"}
    return re.compile("".join(signs.get(char, re.escape(char)) for char in pattern), re.DOTALL)


@given(st.text("ab_*", min_size=1, max_size=7), st.text("aab", max_size=8))
def test_the_cells_take_what_the_regular_expression_matches(marked: str, text: str) -> None:
    assume(("_" in marked or "*" in marked) and marked[-1] != "*")
    pattern, ids = make(marked), LETTERS.encode(text).tolist()
    at = pattern.start
    for token in ids:
        tokens, reached = pattern.next_tokens(at)
        reached_by = dict(zip(tokens.tolist(), reached.tolist(), strict=True))
        at = pattern.step(at, token)
        assert reached_by.get(token, 0) == at.bit_length()

    assert pattern.is_complete(at) == bool(expression(marked).fullmatch(text))
    if pattern.is_complete(at):
        assert_aligned(marked, text, pattern.align(ids))


def assert_aligned(marked: str, text: str, spans: list[tuple[int, int]]) -> None:
    """Check that between the spans stands the pattern's own, and that each has a size that fits."""
    pieces, start = [], 0
    for span in spans:
        pieces.append(text[start : span[0]])
        start = span[1]
    assert [*pieces, text[start:]] == re.split(r"[_*]", marked)
    sizes = {"_": {1}, "*": {*range(GAP + 1)}}
    signs = [char for char in marked if char in sizes]
    assert all(end - start in sizes[sign] for sign, (start, end) in zip(signs, spans, strict=True))


def test_every_text_that_fits_is_found_once() -> None:
    texts = texts_of(make("a*b*a"))

    assert len(texts) == len({*texts})
    assert "abba" in texts


def test_of_several_alignments_the_last_gaps_are_the_shortest() -> None:
    assert make("*a*b").align(LETTERS.encode("aab").tolist()) == [(0, 1), (2, 2)]


def test_a_line_ends_after_the_text_and_nowhere_before() -> None:
    texts = texts_of(make("a_*", line=True))

    assert all(text[-1] == "\n" and text.count("\n") == 1 for text in texts)
    assert len(texts) == 4 * (1 + 4 + 16)


def test_only_and_ban_hold_for_the_blanks_alone() -> None:
    texts = texts_of(make("\n_é", only=("ascii",), ban=("b", " ")))

    assert texts == ["\n\né", "\naé"]


def test_other_signs_leave_the_usual_ones_to_the_text() -> None:
    vocab = Vocab("*_ab")

    assert texts_of(make("_*?", vocab, blank="?", gap=""), vocab) == ["_**", "_*_", "_*a", "_*b"]
    assert texts_of(make("_-*", vocab, blank="", gap="-", max_gap=1), vocab)[:2] == ["_*", "_**"]


def test_given_characters_may_be_written_as_bytes_and_blanks_may_not() -> None:
    assert texts_of(make("日_", BYTES), BYTES) == [f"日{char}" for char in BYTES.alphabet]


def test_spans_are_counted_in_characters(make_model: Make) -> None:
    model = Model(replace(make_model(vocab_size=BYTES.size), vocab=BYTES))

    found = model.fill("日_本*é", max_gap=1, count=999)

    assert len(found.completions) == 5 * 6
    for each in found.completions:
        (first, last), gap = each.filled
        assert (first, last) == (1, 2)
        assert gap == (3, len(each.text) - 1)


def test_the_text_is_read_in_the_model_s_normal_form(make_model: Make) -> None:
    model = Model(replace(make_model(), summary={"settings": {"normalize": "nfc"}}))

    found = model.fill("e\u0301_", count=1)

    assert found.completions[0].text[0] == "é"


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        ("ab", {}, "nothing to fill: write _ for an unknown character or [*] for any number of"),
        ("", {}, "nothing to fill"),
        ("ab", {"blank": "?", "gap": ""}, "fill: write [?] for an unknown character; blank"),
        ("a*", {}, "ends with the gap [*], which nothing ends: .* line=True"),
        ("_" + "a" * 10_000, {}, "has 10,001 characters, .* at most 10,000"),
        ("*" * 5000 + "a", {}, "has 10,001 characters, with its gaps at their longest"),
        ("_", {"only": ("digits",)}, "only 'digits' leaves no character"),
    ],
)
def test_a_text_that_cannot_be_filled_is_refused(
    text: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        make(text, **settings)


def test_an_unknown_character_is_named() -> None:
    with pytest.raises(VocabError, match=r"never saw 'q' \(U\+0071 LATIN SMALL LETTER Q\)"):
        make("q_")


def test_blanks_that_only_bytes_could_fill_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="no character of this model's alphabet is allowed in a blank"
    ):
        make("_", BYTES, only=("digits",))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"blank": "__"}, "blank is '__'; it must be one character"),
        ({"gap": "_"}, "blank and gap are both '_'"),
        ({"ban": ("",)}, "ban is empty"),
        ({"max_gap": 0}, "max_gap is 0"),
        ({"temperature": 0.0}, "temperature is 0"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FillConfig(**settings)
