"""Sets of characters by name, and what they allow a model to write."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

import numpy as np
import pytest

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.logit_bias import is_in, make_logit_bias
from charrnn.text.vocab import Vocab

LETTERS = Vocab("\n 1Laéǅ٣月")
BYTES = Vocab("\nab", has_bytes=True)


def left(vocab: Vocab = LETTERS, **settings: Any) -> str:
    """Return the characters of the alphabet that are not banned."""
    bias = make_logit_bias(vocab, SampleConfig(**settings))
    assert bias is not None
    return "".join(char for char, each in zip(vocab.alphabet, bias, strict=False) if each == 0)


def bytes_left(**settings: Any) -> set[int]:
    bias = make_logit_bias(BYTES, SampleConfig(**settings))
    assert bias is not None
    return set(np.flatnonzero(bias[len(BYTES.alphabet) :] == 0).tolist())


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("ascii", "\n 1La"),
        ("letters", "Laéǅ月"),
        ("digits", "1٣"),
        ("Lu", "L"),
        ("Lt", "ǅ"),
        ("Cc", "\n"),
        ("aL", "La"),
        ("1a", "1a"),
        ("é", "é"),
    ],
)
def test_a_set_has_its_members(name: str, members: str) -> None:
    assert left(only=(name,)) == members
    assert left(ban=(name,)) == "".join(char for char in LETTERS.alphabet if char not in members)


def test_every_category_of_a_character_is_a_name() -> None:
    examples = {unicodedata.category(chr(code)): chr(code) for code in range(sys.maxunicode + 1)}
    for unwritten in ("Cn", "Cs"):
        del examples[unwritten]

    assert [name for name, char in examples.items() if not is_in(char, name)] == []
    assert len(examples) == 28


def test_several_sets_are_joined_and_a_ban_wins() -> None:
    assert left(only=("digits", " ", "a"), ban=("٣",)) == " 1a"


def test_without_settings_there_is_no_bias() -> None:
    assert make_logit_bias(LETTERS, SampleConfig()) is None


def test_a_bias_is_added_for_each_set_that_a_character_is_in() -> None:
    bias = make_logit_bias(LETTERS, SampleConfig(bias=("digits=1.5", "1=-4", "a==2"), ban=("L",)))

    assert bias is not None
    assert bias.tolist() == [0, 0, -2.5, -np.inf, 2, 0, 0, 1.5, 0]


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"only": ("Sc",)}, "only 'Sc' leaves no character"),
        ({"ban": ("ascii", "letters", "digits")}, "ban 'ascii' with ban 'letters' with ban"),
        ({"only": ("a",), "ban": ("letters",)}, "only 'a' with ban 'letters' leaves"),
    ],
)
def test_a_ban_of_everything_is_refused_by_name(settings: dict[str, Any], asked: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_logit_bias(LETTERS, SampleConfig(**settings))

    assert asked in str(caught.value)
    assert repr(LETTERS.alphabet) in str(caught.value)


def test_a_bias_on_no_character_of_the_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'ß=1' names no character that this model has"):
        make_logit_bias(LETTERS, SampleConfig(bias=("ß=1",)))


@pytest.mark.parametrize("name", ["ß", "aß", "uL"])
def test_a_ban_of_a_character_that_the_model_never_writes_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"ban '{name}' has '[ßu]' \(U\+00(DF|75)\), which"):
        make_logit_bias(LETTERS, SampleConfig(ban=(name,)))
    assert make_logit_bias(BYTES, SampleConfig(ban=(name,))) is not None


def test_a_ban_of_a_set_may_be_on_no_character() -> None:
    assert left(ban=("So",)) == LETTERS.alphabet


def test_a_byte_below_128_is_its_character() -> None:
    assert 0x7E not in bytes_left(ban=("~",))
    assert 0x61 in bytes_left(ban=("~",))


def test_bytes_cannot_write_what_only_leaves_out() -> None:
    assert bytes_left(only=("letters",)) == {
        ord(char) for char in map(chr, range(128)) if char.isalpha()
    }


@pytest.mark.parametrize("name", ["é", "letters", "digits", "So"])
def test_bytes_cannot_write_what_a_ban_beyond_ascii_leaves_out(name: str) -> None:
    assert max(bytes_left(ban=(name,))) < 0x80


def test_a_ban_within_ascii_leaves_other_scripts_to_bytes() -> None:
    assert set(range(0x80, 0x100)) <= bytes_left(ban=("ascii",))
