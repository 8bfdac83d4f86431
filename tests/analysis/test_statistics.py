"""Holds the statistics of a text to closed forms, and to not caring where it was cut."""

from __future__ import annotations

import math
import random
import unicodedata
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.analysis import statistics
from charrnn.analysis.statistics import CorpusStats, RareCharacter, measure_text


def measure(text: str) -> CorpusStats:
    return measure_text([text])


def entropy_by_hand(text: str, order: int) -> float:
    """Return H(c | order characters before) in bits, term by term."""
    grams = Counter(text[i : i + order + 1] for i in range(len(text) - order))
    contexts = Counter[str]()
    for gram, count in grams.items():
        contexts[gram[:-1]] += count
    total = sum(grams.values())
    return sum(n / total * math.log2(contexts[gram[:-1]] / n) for gram, n in grams.items())


def test_a_text_without_characters_has_only_zeros():
    stats = measure_text([])
    assert (stats.characters, stats.utf8_bytes, stats.alphabet) == (0, 0, ())
    assert (stats.lines, stats.longest_line, stats.duplicate_line_share) == (0, 0, 0.0)
    assert (stats.order0_bpc, stats.order1_bpc, stats.order2_bpc) == (0.0, 0.0, 0.0)


def test_bytes_are_those_of_utf8():
    text = "aé大😀"
    assert measure(text).utf8_bytes == len(text.encode()) == 10


def test_the_alphabet_is_sorted_and_counted():
    assert measure("大banana").alphabet == (("a", 3), ("b", 1), ("n", 2), ("大", 1))


def test_the_rarest_come_first_with_their_names():
    assert measure("aaa大大\x07").rarest(2) == (
        RareCharacter("\x07", "U+0007", "control", 1),
        RareCharacter("大", "U+5927", "CJK UNIFIED IDEOGRAPH-5927", 2),
    )


@pytest.mark.parametrize(
    ("text", "lines"), [("a", 1), ("a\n", 1), ("a\nb", 2), ("a\n\n", 2), ("\n", 1), ("", 0)]
)
def test_a_line_needs_no_end_to_count(text, lines):
    assert measure(text).lines == lines


def test_the_longest_line_is_counted_without_its_end():
    assert measure("ab\nabcde\nabc\n").longest_line == 5


def test_a_line_longer_than_is_compared_still_has_its_length(monkeypatch):
    monkeypatch.setattr(statistics, "_BLOCK_CHARS", 3)
    monkeypatch.setattr(statistics, "MAX_LINE_CHARS", 4)
    assert measure("abcdefghij\nab").longest_line == 10


def test_lines_seen_before_are_duplicates_unless_empty():
    stats = measure("a\n\nb\na\n\na\nc")
    assert (stats.duplicate_line_share, stats.compared_lines) == (2 / 5, 5)


def test_lines_beyond_the_cap_are_not_compared(monkeypatch):
    monkeypatch.setattr(statistics, "_BLOCK_CHARS", 4)
    monkeypatch.setattr(statistics, "MAX_LINES", 2)
    stats = measure("a\nb\n" + "a\n" * 50)
    assert (stats.duplicate_line_share, stats.compared_lines, stats.lines) == (0.0, 2, 52)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a\nb\nb\n\nc", 1.0),
        ("c\nb\na", 0.0),
        ("a\nc\nb", 0.5),
        ("", 0.0),
        ("\n\n", 0.0),
        ("a", 0.0),
    ],
)
@pytest.mark.parametrize("block_chars", [2, 1 << 20])
def test_lines_that_are_in_order_are_counted(monkeypatch, text, share, block_chars):
    monkeypatch.setattr(statistics, "_BLOCK_CHARS", block_chars)
    assert measure(text).ordered_line_share == share


def test_trouble_is_counted_by_its_kind():
    stats = measure("tab\tis fine\n\ufffd\ufffd \r\x00\x85\x7f \ue000\U0010fffd")
    assert (stats.replacement_chars, stats.control_chars, stats.private_use_chars) == (2, 4, 2)


@pytest.mark.parametrize("codec", ["cp1252", "latin-1"])
def test_utf8_read_by_another_codec_is_seen(codec):
    assert measure("é ü".encode().decode(codec)).mojibake_pairs == 2


def test_curly_quotes_read_by_another_codec_are_seen():
    assert measure("it’s".encode().decode("cp1252")).mojibake_pairs == 1


def test_text_in_other_languages_is_no_mojibake():
    text = "À São João, Ânimo, NÃO; Ğ Ñandú, « Â bas » — “Ünïcode”… Привет, 你好, €5"
    assert measure(text).mojibake_pairs == 0


@pytest.mark.parametrize("word", ["người", "한국어", "がぎぐ"])
def test_a_text_in_nfd_is_seen(word):
    composed = unicodedata.normalize("NFC", word)
    decomposed = unicodedata.normalize("NFD", word)
    assert measure(composed).decomposed_chars == 0
    assert measure(decomposed).decomposed_chars == len(decomposed) - len(composed)


def test_a_uniform_alphabet_costs_log2_of_its_size():
    assert measure("abcdefg" * 11).order0_bpc == pytest.approx(math.log2(7))


def test_an_alternation_is_certain_given_one_character():
    stats = measure("ab" * 100)
    assert (stats.order0_bpc, stats.order1_bpc, stats.order2_bpc) == (1.0, 0.0, 0.0)


def test_a_pattern_of_two_before_is_seen_by_order_two_alone():
    stats = measure("aabb" * 100)
    assert stats.order1_bpc == pytest.approx(1, abs=0.01)
    assert stats.order2_bpc == 0.0


def test_noise_is_noise_in_every_order():
    stats = measure("".join(random.Random(1).choices("abcd", k=50_000)))
    for bpc in (stats.order0_bpc, stats.order1_bpc, stats.order2_bpc):
        assert bpc == pytest.approx(2, abs=0.01)


@given(st.text(st.sampled_from("ab\n大😀"), max_size=40))
@example("a")
@example("ab")
@example("aba")
def test_entropies_are_those_counted_by_hand(text):
    stats = measure(text)
    for order, bpc in enumerate((stats.order0_bpc, stats.order1_bpc, stats.order2_bpc)):
        assert bpc == pytest.approx(entropy_by_hand(text, order), abs=1e-9)


def test_entropies_hold_for_the_characters_before_the_cap(monkeypatch):
    monkeypatch.setattr(statistics, "_BLOCK_CHARS", 5)
    monkeypatch.setattr(statistics, "MAX_TRIGRAMS", 6)
    text = "abcdefghijklmnopqrstuvwxyz"
    stats = measure(text)
    assert stats.entropy_chars == 10
    assert stats.order1_bpc == entropy_by_hand(text[:10], 1)
    assert stats.order0_bpc == pytest.approx(math.log2(26))


TEXTS = st.text(st.sampled_from("ab\n\r\tÃ©€â™é大😀\ufffd\ud800"), max_size=60)


@given(TEXTS, st.lists(st.integers(0, 60)), st.integers(1, 9))
def test_no_figure_depends_on_how_the_text_is_cut(text, cuts, block_chars):
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_BLOCK_CHARS", block_chars)
        cut = measure_text(iter(pieces))
    assert cut == measure(text)
