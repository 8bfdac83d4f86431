"""Damaged texts and their tags: what is taken out comes back exactly, whatever the text is."""

from __future__ import annotations

import unicodedata
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.data.restore import (
    KEEP,
    choose_tags,
    damage,
    damage_line,
    read_damaged,
    repair,
    simplify,
)
from charrnn.data.tags import MAX_RECORD_CHARS
from charrnn.errors import CorpusError

KINDS = ("case", "punctuation", "diacritics", "spaces")
SUBSETS = [set(each) for size in range(1, 5) for each in combinations(KINDS, size)]
LIKELY = "aAzZéÉịİıłŁøñйЙёЁßẞǅΣσςά \t\u00a0.,;:!?-—'’“”/%_^=+U|0١你가がकि"
LIKELY += "\u0301\u0323\u0308\u05b8\u064e\u0338"
TEXTS = st.text() | st.text(LIKELY, max_size=20) | st.text("aB ,.“é", max_size=20)


@given(TEXTS, st.sampled_from(SUBSETS))
@example("й\u0301 ǿ Ǿ İ i\u0307 ı I", {"case", "diacritics"})
@example("  “Ça”  va — bien ?! ", {"case", "punctuation", "diacritics"})
@example("...", set(KINDS))
def test_what_is_taken_out_comes_back_exactly(text: str, kinds: set[str]) -> None:
    source, target = damage(text, kinds)

    assert len(source) == len(target)
    assert repair(source, target) == unicodedata.normalize("NFC", text)
    assert bool(source) == bool(text)


@given(TEXTS, st.sampled_from(SUBSETS))
def test_a_damaged_text_is_damaged_no_more(text: str, kinds: set[str]) -> None:
    source, _ = damage(text, kinds)
    again = damage(source, kinds)

    # A letter may be left beside the sign that was part of a word before.
    if "punctuation" not in kinds:
        assert again.source == unicodedata.normalize("NFC", source)


@given(TEXTS, st.lists(st.text("=U/+^,. x\u0301“") | st.sampled_from([KEEP, "U", "+\u0301", "/"])))
def test_any_tags_make_some_text(text: str, tags: list[str]) -> None:
    assert repair(text, tags[: len(text)]) == repair(text, tags)
    assert not set(repair("", tags))


def damaged(text: str, *kinds: str) -> tuple[str, list[str]]:
    source, target = damage(text, kinds)
    return source, list(target)


def test_case_is_one_tag_for_all_letters() -> None:
    assert damaged("Où LÀ ẞ", "case") == ("où là ẞ", ["U", KEEP, KEEP, "U", "U", KEEP, KEEP])


def test_diacritics_are_marks_that_capitals_share() -> None:
    assert damaged("áÁ łŁ ß", "diacritics") == (
        "aA lL ß",
        ["+\u0301", "+\u0301", KEEP, "/", "/", KEEP, KEEP],
    )
    assert damaged("ĄǾ", "case", "diacritics") == ("ao", ["U+\u0328", "U/+\u0301"])


@pytest.mark.parametrize("letters", ["йЙїЇ", "がカ゚", "한글", "कि", "≠", "ß", "æ", "ð"])
def test_letters_that_nobody_writes_without_their_marks_stay(letters: str) -> None:
    source, target = damage(letters, {"diacritics"})

    assert source == letters
    assert set(target) == {KEEP}


def test_vowel_points_of_arabic_are_diacritics() -> None:
    assert damaged("كَتَبَ", "diacritics") == ("كتب", ["+\u064e"] * 3)


def test_punctuation_goes_with_the_character_before_it() -> None:
    assert damaged("“So, it — is.”", "punctuation") == (
        "So it is",
        ["“^=", "=,", KEEP, KEEP, KEEP, "=— ", KEEP, "=.”"],
    )


@pytest.mark.parametrize("text", ["don't", "3.14", "well-known", "a--b", "50%", "and/or"])
def test_punctuation_within_words_and_numbers_stays(text: str) -> None:
    assert damage(text, {"punctuation"}).source == text


def test_chinese_punctuation_is_taken_out_without_spaces_around() -> None:
    assert damaged("好，好——好。", "punctuation") == ("好好好", ["=，", "=——", "=。"])


def test_spaces_go_with_the_character_before_them() -> None:
    assert damaged("the cat, it", "spaces") == (
        "thecat,it",
        [KEEP, KEEP, "= ", KEEP, KEEP, KEEP, "= ", KEEP, KEEP],
    )
    assert damaged("A, b", "spaces", "punctuation", "case") == ("ab", ["U, ", KEEP])


def test_a_text_of_punctuation_alone_stays_whole() -> None:
    assert damaged("— !", "punctuation", "spaces") == ("— !", [KEEP] * 3)


def test_a_tag_that_fits_no_character_changes_nothing() -> None:
    assert repair("ß1", ["U/+\u0301", "U+\u0301"]) == "ß\u03011"
    assert repair("ab", ["letters", "“^U"]) == "aB"


def test_lines_become_records_and_blank_ones_do_not() -> None:
    records = list(read_damaged("f.txt", ["Ab\n\n  \n ", "C\nD"], {"case"}))

    assert [repair(each.source, each.target) for each in records] == ["Ab", "C", "D"]
    assert [each.source for each in records] == ["ab", "c", "d"]


def test_long_lines_are_cut_after_sentences() -> None:
    line = "It is so. " * 80
    records = list(read_damaged("f.txt", [line], {"case", "punctuation"}))

    assert " ".join(repair(each.source, each.target) for each in records) == line.strip()
    assert all(0 < len(each.source) <= MAX_RECORD_CHARS for each in records)


@given(TEXTS, st.sampled_from(SUBSETS), st.integers(2, 9))
def test_the_parts_of_a_line_make_the_whole(line: str, kinds: set[str], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.data.tags.MAX_RECORD_CHARS", most)
        parts = list(damage_line(line, kinds))

    texts = [part.before + repair(*part.example) + part.after for part in parts]
    assert "".join(texts) == unicodedata.normalize("NFC", line)
    assert not any(part.example.source[:1].isspace() for part in parts)


def test_the_character_that_ends_records_is_refused() -> None:
    with pytest.raises(CorpusError, match=r"^f\.txt:2: "):
        list(read_damaged("f.txt", ["a\n\U0010ffff"], {"case"}))


def test_a_letter_has_the_tag_of_any_other() -> None:
    counts = Counter(damage("Ça, là. Été. Voilà, où? Là.", {"case", "diacritics"}).target)

    assert set(counts) == {KEEP, "U", "+\u0300", "+\u0301", "U+\u0301", "U+\u0327"}


def test_the_commonest_tags_are_chosen() -> None:
    counts = {"U": 5, "+\u0301": 2, "U,": 2, "U!": 1, KEEP: 40}

    assert choose_tags(counts, most=3) == (KEEP, "U", "+\u0301")
    assert choose_tags(counts) == (KEEP, "U", "+\u0301", "U,")
    assert choose_tags({}) == (KEEP,)


@pytest.mark.parametrize(
    ("tag", "simple"),
    [
        ("U,", "U,"),
        ("U,”", "U,"),
        ("“^U", "U"),
        ("“^U, — ", "U,"),
        ("+\u0301", KEEP),
        ("=,”", KEEP),
    ],
)
def test_a_tag_that_was_not_chosen_becomes_the_closest_one(tag: str, simple: str) -> None:
    assert simplify(tag, {KEEP, "U", "U,"}) == simple
