"""Benchmarks of tasks: how their files are read, what is tested, and the figures of guessing."""

from __future__ import annotations

import gzip
import json
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import CorpusError

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import cmudict
import couplets
import dates
import g2p
import intents
import readings
import restore
import reviews
import segmentation
from task_scores import place


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_review_counts_once_and_one_of_both_kinds_never(tmp_path: Path) -> None:
    write(tmp_path / "pos.txt", "fine  book\nfine book\nso so\n")
    write(tmp_path / "neg.txt", "so so\nbad\n\n")

    assert reviews.read_reviews(tmp_path) == [("bad", 0), ("fine book", 1)]
    with pytest.raises(CorpusError, match=r"neg\.txt is not there"):
        reviews.read_reviews(tmp_path / "none")


def test_a_tenth_of_the_reviews_is_tested() -> None:
    rows = [(f"review {i}", i % 2) for i in range(1000)]
    own, others = reviews.split(rows)

    assert sorted(own + others) == sorted(rows)
    assert len(others) == pytest.approx(100, abs=30)


def test_there_are_20_intents_of_40_distinct_sentences() -> None:
    names, sentences = intents.read_intents(intents.DATA)
    texts = [text.lower() for own in sentences for text in own]

    assert len(names) == 20
    assert {len(own) for own in sentences} == {40}
    assert len(set(texts)) == 800
    assert all(" ".join(text.split()) == text for text in texts)


def test_fewer_sentences_are_inside_more_and_the_last_are_never_drawn() -> None:
    sentences = [[f"{name}{i}" for i in range(13)] for name in "xyz"]
    few = intents.draw(sentences, 1, seed=5)
    more = intents.draw(sentences, 3, seed=5)

    assert [number for _, number in more] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert set(few) < set(more) == {(f"{'xyz'[k]}{i}", k) for k in range(3) for i in range(3)}
    assert len({tuple(intents.draw(sentences, 1, seed)) for seed in range(20)}) > 1


def test_an_intent_needs_its_tab(tmp_path: Path) -> None:
    path = write(tmp_path / "intents.tsv", "good\tx\nbad\n")
    with pytest.raises(CorpusError, match=r"intents\.tsv:2"):
        intents.read_intents(path)


def test_sentences_are_tidied_for_other_programs() -> None:
    assert intents.tidy([("What's UP?", 3)]) == [("what ' s up ? ", 3)]


def test_pronunciations_of_a_word_are_grouped(tmp_path: Path) -> None:
    path = write(tmp_path / "ady_dev.tsv", "а\ta\nб\tb\nа\taː\n")

    assert g2p.group(g2p.read_pairs(path)) == {"а": ["a", "aː"], "б": ["b"]}
    with pytest.raises(CorpusError, match=r"bad\.tsv:1 has 1 columns"):
        g2p.read_pairs(write(tmp_path / "bad.tsv", "x y\n"))


def test_languages_are_those_of_the_folder_or_those_asked_for(tmp_path: Path) -> None:
    for language in ("gre", "ady"):
        write(tmp_path / f"{language}_train.tsv", "")

    assert g2p.find_languages(tmp_path, "") == ["ady", "gre"]
    assert g2p.find_languages(tmp_path, "gre") == ["gre"]
    with pytest.raises(CorpusError, match=r"has ady, gre; .*languages asks for xyz"):
        g2p.find_languages(tmp_path, "xyz")


def test_the_mean_of_languages_counts_each_alike() -> None:
    figure = g2p.macro([np.arange(40) < 10, np.arange(10) < 5])

    assert figure.value == pytest.approx(0.375)
    assert figure.low < 0.375 < figure.high


def test_the_dictionary_is_read_without_stress(tmp_path: Path) -> None:
    text = "a AH0\na(2) EY1\nread R EH1 D # past\nread(2) R IY1 D\nread(3) R EH0 D\n(x P\n"
    pairs = cmudict.read_dictionary(write(tmp_path / "dict", text))

    read = [("read", "R EH D"), ("read", "R IY D")]
    assert pairs == [("a", "AH"), ("a", "EY"), *read, ("(x", "P")]
    with pytest.raises(CorpusError, match="dict:1"):
        cmudict.read_dictionary(write(tmp_path / "dict", "word\n"))


def test_a_word_stands_in_one_part() -> None:
    pairs = [(f"word {i % 600}", f"phones {i}") for i in range(1200)]
    train, val, test = (dict(part) for part in cmudict.split(pairs))

    assert len(train) + len(val) + len(test) == 600
    assert len(val) == pytest.approx(30, abs=15)
    assert len(test) == pytest.approx(30, abs=15)


def test_a_day_stands_in_one_part() -> None:
    pairs = [(f"text {i}", f"day {i % 600}") for i in range(1200)]
    train, val, test = ({day for _, day in part} for part in dates.split(pairs))

    assert len(train) + len(val) + len(test) == 600
    assert len(val) == pytest.approx(60, abs=20)
    assert len(test) == pytest.approx(60, abs=20)


def test_words_are_read_without_their_tags(tmp_path: Path) -> None:
    path = write(tmp_path / "news.txt", "我/r  在/p  1/2/m\n\n[中央/n  电台/n]nt\n")

    assert segmentation.read_lines(path) == [["我", "在", "1/2"], ["中央", "电台"]]


def test_the_longest_match_takes_the_longest_word() -> None:
    found = segmentation.longest_match("abcabd", {"a", "ab", "abc"}, 3)

    assert found == ["abc", "ab", "d"]


def test_unknown_words_are_counted_by_where_they_stand() -> None:
    assert segmentation.unknown_found(["ab", "cd", "x"], ["a", "b", "cd", "x"], {"a", "b"}) == (
        2,
        2,
    )
    assert segmentation.unknown_found(["abc"], ["ab", "c"], {"ab"}) == (0, 1)


def test_phrases_have_a_reading_for_each_character(tmp_path: Path) -> None:
    phrases = {"重要": [["zhòng", "x"], ["yào"]], "重": [["a"], ["b"]]}
    path = write(tmp_path / "phrases.json", json.dumps(phrases))

    assert readings.read_phrases(path) == [("重要", ["zhòng", "yào"])]
    with pytest.raises(CorpusError, match="holds no phrases"):
        readings.read_phrases(write(path, "[]"))


def test_the_most_frequent_reading_is_measured_by_character_and_phrase() -> None:
    phrases = [("ab", ["1", "2"]), ("ba", ["2", "3"]), ("aa", ["1", "1"])]

    assert readings.most_frequent(phrases) == {"a": "1", "b": "2"}
    chars, whole = readings.measure([["1", "2"], ["2", "1"], ["1"]], phrases)
    assert (chars.value, whole.value) == (pytest.approx(4 / 6), pytest.approx(1 / 3))
    assert readings.readings_of("重\tzhòng\n要\tyào\n") == ["zhòng", "yào"]


def test_phrases_are_split_by_hash() -> None:
    phrases = [(f"{i}", ["x"]) for i in range(300)]
    own, others = readings.split(phrases)

    assert sorted(own + others) == sorted(phrases)
    assert all(place(text) < readings.TEST_SHARE for text, _ in others)


def test_a_man_page_is_read_without_its_signs(tmp_path: Path) -> None:
    page = '.SH NAZWA\nls \\- \\fBpisze\\fP tres\u0301c\u0301\n\\" no\n\n\\fI\\,X\\/\\fP\\(aq \n'
    for name in ("man1/ls.1.gz", "man2/ls.2.gz"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(gzip.compress(page.encode()))

    assert restore.read_text(tmp_path) == "ls - pisze treść\nX'\n"
    with pytest.raises(CorpusError, match="is empty"):
        restore.read_text(write(tmp_path / "none.txt", ""))


@pytest.mark.parametrize(
    ("kind", "damaged"), [("case", "żółw i̇d ß İ"), ("diacritics", "Zolw id ß I")]
)
def test_damage_keeps_the_length(kind: str, damaged: str) -> None:
    text = "Żółw i̇d ß İ" if kind == "case" else "Żółw íd ß İ"

    assert restore.damage(text, kind) == damaged
    assert len(damaged) == len(text)


def test_the_most_frequent_form_of_a_word_is_restored() -> None:
    assert restore.most_frequent("To to TO to Be", "case") == {"to": "to", "be": "Be"}


def test_restored_words_and_characters_are_counted() -> None:
    lines = ["Ab Cd -", "ef"]
    words, f1 = restore.measure(["Ab cD -", "efg"], lines, "case")

    assert words.value == pytest.approx(1 / 3)
    assert f1.value == pytest.approx(2 * 1 / (2 + 2))  # A right; D found; A, C true


def test_days_are_drawn_once_in_their_range() -> None:
    days = dates.draw_days(500, seed=2)

    assert len(set(days)) == 500
    assert min(days) >= dates.FIRST
    assert max(days) <= dates.LAST


def test_what_may_be_two_days_is_left_out() -> None:
    def short(day: date, form: str, language: str) -> str:
        order = "%d/%m" if language == "fr" else "%m/%d"
        return day.strftime(f"{form[0]}\u00a0{order}")

    pairs = dates.write_pairs([date(2001, 2, 3), date(2001, 3, 2)], ["fr", "en"], short)
    assert pairs == []
    pairs = dates.write_pairs([date(2001, 2, 3)], ["fr", "en"], short)
    assert pairs == [(f"{f} {d}", "2001-02-03") for d in ("03/02", "02/03") for f in "flm"]


def test_couplets_have_two_lines_of_five_or_seven(tmp_path: Path) -> None:
    lines = [
        "春眠不覺曉，處處聞啼鳥。",
        "一二三，四五六。",
        "一二三四五，六七八九。",
        "夜來風雨聲，花落知多少？",
    ]
    poems = [
        {"paragraphs": [*lines, f"一二三四五六七，{chr(ord('一') + i)}二三四五六七。"]}
        for i in range(200)
    ]
    write(tmp_path / "poet.tang.0.json", json.dumps(poems))
    own, held_out = couplets.read_couplets(tmp_path)

    assert len(own) + len(held_out) == 202
    assert not set(own) & set(held_out)
    assert 0 < len(held_out) < 30
    assert ("夜來風雨聲", "花落知多少") in own + held_out
    assert couplets.without_first([("春眠", "夜來")]) == [("..", "夜來")]
    with pytest.raises(CorpusError, match=r"no poet\.tang"):
        couplets.read_couplets(tmp_path / "none")


def test_bits_are_per_character_and_count_the_end() -> None:
    nats = np.log(2)  # a bit for each of 5 + 1 and 7 + 1 tokens

    assert couplets.bits_per_char(nats, [("", "x" * 5), ("", "x" * 7)]) == pytest.approx(14 / 12)
