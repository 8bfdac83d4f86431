"""Holds the judgement of encodings to real sentences, and the refusal of what is no encoding."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError
from charrnn.text.encodings import MAX_SUGGESTIONS, find_codec, suggest_encodings

CHINESE = "红楼梦第一回，甄士隐梦幻识通灵。\n列位看官：你道此书从何而来？说起根由虽近荒唐。\n"
TAIWANESE = "今天天氣很好，我們一起去公園散步吧。\n學而時習之，不亦說乎？\n"
JAPANESE = "吾輩は猫である。名前はまだ無い。\nどこで生れたかとんと見当がつかぬ。\n"
KOREAN = "모든 국민은 법 앞에 평등하다. 누구든지 차별을 받지 아니한다.\n"
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастлива по-своему.\n"
FRENCH = (
    "Longtemps, je me suis couché de bonne heure. À peine ma bougie éteinte, c'était la nuit.\n"
)
GERMAN = (
    "Habe nun, ach! Philosophie, Juristerei und Medizin durchaus studiert, mit heißem Bemühn.\n"
)
POLISH = "Dziś piękność twą w całej ozdobie widzę i opisuję, bo tęsknię po tobie.\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "utf-8"),
        (CHINESE, "gb18030"),
        (CHINESE, "utf-16"),
        (CHINESE, "utf-16-le"),
        (CHINESE, "utf-16-be"),
        (CHINESE, "utf-32"),
        (TAIWANESE, "big5"),
        (TAIWANESE, "gb18030"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "utf-16-le"),
        (KOREAN, "euc_kr"),
        (KOREAN, "utf-16-be"),
        (RUSSIAN, "utf-8"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (FRENCH, "utf-16-le"),
        (FRENCH, "cp1252"),
        (GERMAN, "cp1252"),
        (GERMAN, "utf-8"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859-2"),
    ],
)
def test_the_first_suggestion_is_the_encoding_of_a_real_sentence(text: str, encoding: str) -> None:
    assert suggest_encodings(text.encode(encoding))[0] == encoding


@pytest.mark.parametrize("text", [FRENCH, GERMAN])
def test_of_encodings_that_read_a_text_alike_only_one_is_named(text: str) -> None:
    suggestions = suggest_encodings(text.encode("latin-1"))

    assert suggestions[0] == "cp1252"
    assert "latin-1" not in suggestions


def test_curly_quotes_in_english_text_mean_cp1252() -> None:
    sample = "“It’s a truth universally acknowledged”, she said.".encode("cp1252")

    assert suggest_encodings(sample)[0] == "cp1252"


def test_a_character_cut_off_at_the_end_does_not_rule_an_encoding_out() -> None:
    assert suggest_encodings(CHINESE.rstrip().encode("gb18030")[:-1])[0] == "gb18030"


def test_utf8_with_one_damaged_byte_gets_no_suggestion() -> None:
    for text in (CHINESE, RUSSIAN, FRENCH):
        assert suggest_encodings(text.encode() + b"\xff" + text.encode()) == []


def test_what_is_no_text_gets_no_suggestion() -> None:
    assert suggest_encodings(bytes(range(256)) * 7) == []


@given(st.binary(max_size=60))
def test_any_sample_gets_few_suggestions_that_all_decode_it(sample: bytes) -> None:
    suggestions = suggest_encodings(sample)

    assert len(suggestions) <= MAX_SUGGESTIONS
    for encoding in suggestions:
        codecs.getincrementaldecoder(encoding)().decode(sample)


@pytest.mark.parametrize(
    ("asked", "name"), [("UTF8", "utf-8"), ("latin1", "iso8859-1"), ("GB18030", "gb18030")]
)
def test_a_codec_is_found_under_any_of_its_names(asked: str, name: str) -> None:
    assert find_codec(asked) == name


@pytest.mark.parametrize(
    "asked",
    ["", "klingon", "a\0b", "\udc80", "rot13", "base64", "idna", "undefined", "unicode_escape"],
)
def test_what_does_not_decode_files_is_refused_with_a_hint(asked: str) -> None:
    with pytest.raises(ConfigError, match=r"not an encoding of text files.*use one such as utf-8"):
        find_codec(asked)
