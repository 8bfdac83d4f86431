"""Weights of texts: what is read more often in an epoch, and what stays as it is."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.config import TextConfig
from charrnn.data import split
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.text.vocab import END

BOOK = "".join(f"The {i} of May was a day of rain, and nobody came to see us.\n" for i in range(90))
LETTERS = "".join(f"Dear Anna, this is letter {i}; write soon!\n" for i in range(50))
WORDS = "".join(f"{a}{b}{c}\n" for a in "aeiou" for b in "klmn" for c in "rst")

RUNNING: list[dict[str, Any]] = [
    {},
    {"split": "tail"},
    {"split": "tail", "test_fraction": 0.1},
    {"split": "blocks", "test_fraction": 0.2},
    {"split": "records"},
    {"val_fraction": 0.0},
    {"val_file": "held.txt"},
    {"unit": "byte"},
    {"min_count": 60},
]
RECORDS: list[dict[str, Any]] = [
    {"lines": True},
    {"lines": True, "split": "tail"},
    {"lines": True, "split": "blocks", "test_fraction": 0.2},
    {"lines": True, "val_fraction": 0.0},
    {"document_end": "5"},
]


@pytest.fixture(autouse=True)
def _texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with a book, letters, a list of words, and a text to hold out."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("book", BOOK), ("letters", LETTERS), ("words", WORDS)):
        Path(f"{name}.txt").write_text(text)
    Path("held.txt").write_text(LETTERS[:300])


def open_texts(*paths: str, **settings: Any) -> Corpus:
    return open_corpus(paths, TextConfig(**{"lines": False, **settings}))


def text_of(corpus: Corpus, part: str = "train") -> str:
    return corpus.vocab.decode(getattr(corpus, part))


def assert_same(one: Corpus, other: Corpus, *parts: str) -> None:
    """Hold parts to the same ids and records."""
    for part in parts:
        np.testing.assert_array_equal(getattr(one, part), getattr(other, part))
        assert getattr(one, f"{part}_chars") == getattr(other, f"{part}_chars")
        records, others = (getattr(each, f"{part}_records") for each in (one, other))
        assert (records is None) == (others is None)
        if records is not None:
            np.testing.assert_array_equal(records.ends, others.ends)
            np.testing.assert_array_equal(records.labels, others.labels)


@pytest.mark.parametrize("settings", RUNNING + RECORDS)
def test_a_weight_of_1_is_none(settings: dict[str, Any]) -> None:
    weighted = open_texts("book.txt:1", "letters.txt:1", **settings)
    plain = open_texts("book.txt", "letters.txt", **settings)

    assert_same(weighted, plain, "train", "val", "test")
    assert weighted.notes == plain.notes


@pytest.mark.parametrize("settings", RUNNING)
def test_of_running_text_the_training_part_alone_comes_several_times(
    settings: dict[str, Any],
) -> None:
    plain = open_texts("book.txt", "letters.txt", **settings)
    weighted = open_texts("book.txt", "letters.txt:3", **settings)

    before, after = text_of(plain), text_of(weighted)
    assert after == 2 * before[before.index("Dear") :] + before
    assert_same(plain, weighted, "val", "test")
    assert weighted.train_chars == len(after)


@pytest.mark.parametrize("settings", RECORDS)
def test_of_records_those_for_training_alone_come_several_times(settings: dict[str, Any]) -> None:
    plain = open_texts("book.txt", "letters.txt", **settings)
    weighted = open_texts("book.txt", "letters.txt:3", **settings)

    before, after = (text_of(each)[1:].split(END)[:-1] for each in (plain, weighted))
    letters = [record for record in before if "Dear" in record or "letter" in record]
    assert after == 2 * letters + before
    assert_same(plain, weighted, "val", "test")
    assert weighted.train_records is not None
    ends = np.flatnonzero(weighted.train == weighted.vocab.end)[1:] + 1
    np.testing.assert_array_equal(weighted.train_records.ends, ends)
    assert weighted.train_chars == len(weighted.train) - 1


@pytest.mark.parametrize("split_by", ["tail", "blocks", "records"])
def test_characters_of_several_code_points_come_again_as_they_are(split_by: str) -> None:
    Path("letters.txt").write_text(LETTERS.replace("e", "e\u0301"), encoding="utf-8")
    settings: dict[str, Any] = {"unit": "grapheme", "split": split_by}
    plain = open_texts("book.txt", "letters.txt", **settings)
    weighted = open_texts("book.txt", "letters.txt:3", **settings)

    before, after = text_of(plain), text_of(weighted)
    assert len(after) > len(weighted.train)  # a cluster is one token
    assert after == 2 * before[before.index("De") :] + before
    assert weighted.train_chars == weighted.vocab.count_characters(weighted.train)
    assert_same(plain, weighted, "val")
    assert weighted.val_source_ends == plain.val_source_ends
    assert weighted.val_source_ends[-1] == len(weighted.val)


def test_labels_follow_their_records() -> None:
    for folder in ("old", "new"):
        Path(folder).mkdir()
        Path(folder, "a.txt").write_text(WORDS if folder == "new" else LETTERS)
    settings: dict[str, Any] = {"lines": True, "label": "folder", "val_fraction": 0.3}
    corpus = open_texts("old/", "new/:2", **settings)

    records = corpus.train_records
    assert records is not None
    is_letter = ["Dear" in each for each in text_of(corpus)[1:].split(END)[:-1]]
    (column,) = corpus.labels.columns
    rows = {name: corpus.labels.rows({"folder": name}) for name in column.values}
    expected = [rows["old" if old else "new"] for old in is_letter]
    np.testing.assert_array_equal(records.labels.tolist(), [list(row) for row in expected])


def test_a_single_text_may_be_read_several_times() -> None:
    plain = open_texts("book.txt")
    weighted = open_texts("book.txt:4")

    assert text_of(weighted) == 4 * text_of(plain)
    assert_same(plain, weighted, "val")
    assert weighted.sources == ()
    assert weighted.val_source_ends == ()


def test_the_weight_of_a_folder_or_a_pattern_goes_for_all_its_files() -> None:
    Path("poems").mkdir()
    for name in "ab":
        Path("poems", f"{name}.txt").write_text(f"{name}{LETTERS}")

    for path in ("poems:2", "poems/:2", "poems/*.txt:2"):
        text = text_of(open_texts("book.txt", path))
        assert [text.count("aDear"), text.count("bDear"), text.count("The 3 of")] == [2, 2, 1]


def test_a_file_that_two_paths_lead_to_has_the_first_weight() -> None:
    text = text_of(open_texts("letters.txt:2", "./*.txt:3"))

    assert [text.count("letter 3;"), text.count("The 3 of"), text.count("aks\n")] == [2, 3, 3]


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("is_sorted", [False, True])
def test_lines_are_never_joined_by_coming_again(is_sorted: bool, end: str) -> None:
    words = sorted(WORDS.split())
    if not is_sorted:
        random.Random(1).shuffle(words)
    Path("words.txt").write_text("\n".join(words) + end)
    corpus = open_texts("words.txt:5", split="records")

    assert corpus.held_out.endswith(split.SHUFFLED) == is_sorted
    assert set(text_of(corpus).split()) <= set(words)
    assert max(Counter(text_of(corpus).split()).values()) >= 5


def test_a_text_is_not_copied_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_texts("book.txt", "letters.txt:3", split="tail")
    monkeypatch.setattr(split, "CHUNK_TOKENS", 97)
    ends = np.array([1000, len(whole.train)])
    cut = split.Split("tail", "", ("train", "val"), (0, 0), ends, np.array([0, 1], np.uint8))
    pieces = split.iter_parts(whole.train, cut._replace(times=np.array([2, 1])))

    train, val = zip(*pieces, strict=True)
    assert max(map(len, train + val)) == 97
    np.testing.assert_array_equal(
        np.concatenate(train), np.concatenate([whole.train[:1000], whole.train[:1000]])
    )
    np.testing.assert_array_equal(np.concatenate(val), whole.train[1000:])


def test_what_counts_several_times_is_said() -> None:
    notes = open_texts("book.txt", "letters.txt:5").notes

    assert "letters.txt counts 5 times" in notes
    assert not any("book.txt counts" in note for note in notes)


def test_built_ids_are_found_again_by_their_weights() -> None:
    sizes = [
        open_texts("book.txt", path).train_chars for path in 2 * ("letters.txt", "letters.txt:2")
    ]

    assert sizes[:2] == sizes[2:]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("weight", ["", ":3"])
@pytest.mark.parametrize("settings", [{}, {"split": "records"}, {"min_count": 60}, *RECORDS[:3]])
def test_the_held_out_text_of_each_path_is_told_apart(
    settings: dict[str, Any], weight: str
) -> None:
    for name in ("book.txt", "letters.txt"):  # so that each has a tail in that of all
        Path(name).write_text(Path(name).read_text() if name == "book.txt" else LETTERS * 2)
    corpus = open_texts("book.txt", f"letters.txt{weight}", **settings)

    assert corpus.sources == ("book.txt", "letters.txt")
    cut, end = corpus.val_source_ends
    assert end == len(corpus.val)
    book, letters = corpus.vocab.decode(corpus.val[:cut]), corpus.vocab.decode(corpus.val[cut:])
    assert ("May" in book) == (settings.get("split") != "tail")
    assert "letter" not in book
    assert "May" not in letters
    assert "letter" in letters


@pytest.mark.parametrize(
    ("paths", "settings"),
    [
        (("book.txt",), {}),
        (("book.txt", "letters.txt"), {"val_file": "held.txt"}),
        (("book.txt", "letters.txt"), {"val_fraction": 0.0}),
    ],
)
def test_where_no_path_has_held_out_text_of_its_own_none_is_told_apart(
    paths: tuple[str, ...], settings: dict[str, Any]
) -> None:
    assert open_texts(*paths, **settings).val_source_ends == ()


def test_files_that_are_no_text_leave_their_path_without_any() -> None:
    Path("images").mkdir()
    Path("images/a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    corpus = open_texts("book.txt", "images/:7", "letters.txt:2")

    first, second, third = corpus.val_source_ends
    assert 0 < first == second < third == len(corpus.val)
    assert text_of(corpus).count("letter 3;") == 2
