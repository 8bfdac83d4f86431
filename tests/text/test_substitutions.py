"""What stands for a character that a model never saw: a table, laws, and what an error advises."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import VocabError
from charrnn.text.substitutions import describe_changes, fit_text, map_text
from charrnn.text.vocab import Vocab

ASCII = "".join(map(chr, range(0x20, 0x7F)))
LOWER = "".join(char for char in ASCII if not char.isupper())


def vocab_of(alphabet: str) -> Vocab:
    return Vocab("".join(sorted(set(alphabet))))


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("text", "alphabet", "mapped"),
    [
        # quotes, dashes, signs
        ("“Don’t—‘ever’…”", ASCII, "\"Don't-'ever'...\""),
        ("«a»", ASCII, '"a"'),
        ("«a»", "“”a", "“a”"),
        ('"a"', "„“a", "“a“"),
        ("a—b", "ab-–", "a–b"),  # the nearest dash, not the plainest
        ("a–b", "ab—-", "a—b"),
        ("−1×2", ASCII, "-1x2"),
        ("a\u00a0b\u2009c\td", ASCII, "a b c d"),
        ("a\u200bb\ufeff", ASCII, "ab"),
        # normal forms
        (nfd("người"), "người", "người"),
        ("người", nfd("người"), nfd("người")),
        (nfd("한글"), "한글", "한글"),
        ("\u212b", "Å", "Å"),  # Ångström sign
        ("e\u0301", "e", "e"),  # no accent at all
        # full-width and back
        ("ＡＢＣ，１", ASCII, "ABC,1"),
        ("Hi, 你", "Ｈｉ，　你", "Ｈｉ，　你"),
        ("a,b.", "ab，。", "a，b。"),
        ("ﬁn ½", ASCII + "⁄", "fin 1⁄2"),
        # case, near before far
        ("HELLO", LOWER, "hello"),
        ("hello", "HELO", "HELLO"),
        ("É", "éE", "é"),
        ("É", LOWER, "e"),
        ("Ａ", LOWER, "a"),
        ("ß", "s", "ss"),
        ("Σς", "σ", "σσ"),
        # what has nothing near it stays
        ("a☃b", ASCII, "a☃b"),
    ],
)
def test_the_nearest_character_that_is_known_stands_for_one_that_is_not(
    text: str, alphabet: str, mapped: str
) -> None:
    assert map_text(text, vocab_of(alphabet)).text == mapped


@given(st.text(), st.text(ASCII + "éß—“한\u0301", min_size=1))
def test_known_characters_stay_and_a_mapped_text_stays_as_it_is(text: str, alphabet: str) -> None:
    vocab = vocab_of(alphabet)

    mapped = map_text(text, vocab)

    assert map_text(mapped.text, vocab).text == mapped.text
    assert map_text(alphabet, vocab).text == alphabet
    assert len(vocab.find_unknown(mapped.text)) <= len(vocab.find_unknown(text))
    assert bool(mapped.changes) == (mapped.text != text)


@given(st.text())
def test_skip_leaves_out_what_is_unknown_and_nothing_else(text: str) -> None:
    vocab = vocab_of(ASCII)

    skipped = fit_text(text, vocab, "skip")

    assert skipped.text == "".join(char for char in text if char in ASCII)
    assert skipped.changes.total() == len(text) - len(skipped.text)


@pytest.mark.parametrize("unknown", ["error", "skip", "map"])
def test_a_text_that_can_be_encoded_comes_back_as_it_is(unknown: str) -> None:
    text = nfd("é") + "☃\0"

    def to_nfc(text: str) -> str:
        return unicodedata.normalize("NFC", text)

    assert fit_text(text, vocab_of("é☃\0"), unknown, to_nfc).text == text
    assert fit_text(text, Vocab("a", has_bytes=True), unknown).text == text


@pytest.mark.parametrize(
    ("text", "alphabet", "words"),
    [
        ("“a”", ASCII, r"never saw '“' \(U\+201C .* MARK\); pass unknown=.map. \(“ → \", ” → \"\)"),
        ("Hi", LOWER, r"'H' \(.*\): it knows only lower case; pass unknown=.map. \(H → h\), or"),
        (nfd("é"), "é", r"\): the text is in another normal form than the model's; pass unknown"),
        (
            "☃",
            ASCII,
            r"SNOWMAN\); remove it, or pass unknown=.skip. to leave it out \(map does so too,",
        ),
        ("☃☂", ASCII, r"remove them, or pass unknown=.skip. to leave them out \(map does"),
        ("“☃", ASCII, r"map. \(“ → \"\), or skip to leave it out; map leaves out ☃ too, as"),
    ],
)
def test_an_error_names_the_way_out(text: str, alphabet: str, words: str) -> None:
    with pytest.raises(VocabError, match=words):
        fit_text(text, vocab_of(alphabet), "error")


def test_what_has_nothing_near_it_is_left_out_and_told() -> None:
    fitted = fit_text("“☃a☃", vocab_of(ASCII), "map")

    assert fitted.text == '"a'
    assert describe_changes(fitted.changes) == 'mapped: ☃ → nothing (2 times), “ → " (1)'


def test_half_of_a_surrogate_pair_is_no_character() -> None:
    with pytest.raises(VocabError, match="half of a surrogate pair"):
        fit_text("a\ud800", vocab_of(ASCII), "skip")


def test_changes_are_told_in_one_line_the_most_frequent_first() -> None:
    changes = map_text(nfd("é") + "\u00a0" + "“" * 1200, vocab_of('é "')).changes

    assert describe_changes(changes) == (
        'mapped: “ → " (1,200 times), é in its other normal form (1), U+00A0 → space (1)'.replace(
            "é", nfd("é")
        )
    )
    assert describe_changes(Counter(map(str, range(20)))).endswith("7 (1) and 12 more")
