"""Values become labels: counted, put in buckets if numbers, refused if they tell nothing apart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.data.label_table import RowFinder, check_growth, describe_labels, make_labels
from charrnn.data.labels import BUCKETS, MAX_VALUES, NONE, LabelColumn, Labels
from charrnn.errors import CorpusError
from tests.data.test_records import records_of


def column_of(counts: dict[str, int], records: int = 10_000, least: int = 1) -> LabelColumn:
    """Return the column that values of such counts make."""
    labels, _ = make_labels(["l"], [Counter(counts)], records, least)
    return labels.columns[0]


def write(folder: Path, **texts: str) -> list[str]:
    """Write files a__b="…" as a/b.txt into a folder, and return its path."""
    folder /= "texts"  # apart from the cache
    for name, text in texts.items():
        path = folder / Path(*name.split("__")).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [str(folder)]


def rows_of(corpus: Corpus) -> list[tuple[str, list[int]]]:
    """Return the training records, each with the rows of its labels."""
    assert corpus.train_records is not None
    rows = corpus.train_records.labels.tolist()
    return list(zip(records_of(corpus), rows, strict=True))


# ── where labels come from ──


def test_the_label_of_a_record_is_its_file_or_its_folder(tmp_path: Path) -> None:
    paths = write(tmp_path, pos__a="x\ny\n", pos__b="z\n", neg__a="w\n")
    settings: dict[str, Any] = {"lines": True, "val_fraction": 0}
    by_file = open_corpus(paths, TextConfig(label="file", **settings))
    by_folder = open_corpus(paths, TextConfig(label="folder", **settings))

    assert rows_of(by_file) == [("w", [1]), ("x", [1]), ("y", [1]), ("z", [2])]
    assert by_file.labels.counts == {"file": {"a": 3, "b": 1}}
    assert rows_of(by_folder) == [("w", [1]), ("x", [2]), ("y", [2]), ("z", [2])]
    assert by_folder.labels.counts == {"folder": {"neg": 1, "pos": 3}}
    assert by_folder.notes[0].endswith(": 4 records, a line each; folder: 3 pos, 1 neg")


def test_a_file_that_is_renamed_has_its_new_label(tmp_path: Path) -> None:
    config = TextConfig(label="file", files=True, val_fraction=0)
    (paths,) = write(tmp_path, a="x", b="y")
    open_corpus([paths], config)
    (tmp_path / "texts" / "b.txt").rename(tmp_path / "texts" / "c.v2.txt")

    assert set(open_corpus([paths], config).labels.counts["file"]) == {"a", "c.v2"}


def test_words_before_the_text_are_labels_of_which_the_first_counts(tmp_path: Path) -> None:
    text = "__label__pos  good\n__label__neg __label__old bad one\nplain __label__x\n__label__x\n"
    paths = write(tmp_path, a=text)
    corpus = open_corpus(paths, TextConfig(label="prefix", lines=True, val_fraction=0))

    assert rows_of(corpus) == [("good", [2]), ("bad one", [1]), ("plain __label__x", [0])]
    assert "1 record with several labels before the text: the first one counts" in corpus.notes


def test_the_sign_of_such_words_is_a_setting(tmp_path: Path) -> None:
    paths = write(tmp_path, a="#en one\n#de zwei\n")
    config = TextConfig(label="prefix", label_prefix="#", lines=True, val_fraction=0)

    assert open_corpus(paths, config).labels.counts == {"label": {"de": 1, "en": 1}}


def test_labels_do_not_take_the_form_of_the_text(tmp_path: Path) -> None:
    paths = write(tmp_path, a="__label__Pos Good\n__label__Neg Bad\n")
    config = TextConfig(label="prefix", lines=True, lowercase=True, val_fraction=0)
    corpus = open_corpus(paths, config)

    assert records_of(corpus) == ["good", "bad"]
    assert set(corpus.labels.counts["label"]) == {"Pos", "Neg"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\nb\n", "no record has a label in 'label'"),
        ("__label__x a\n__label__x b\nc\n", "every label in 'label' is 'x', so there is nothing"),
    ],
)
def test_labels_that_tell_nothing_apart_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        open_corpus(write(tmp_path, a=text), TextConfig(label="prefix", lines=True))


# ── what becomes of the values ──


def test_labels_of_one_record_each_are_told() -> None:
    _, notes = make_labels(["l"], [Counter("abcd")], 4, 1)

    assert notes == ["l: each label has one record, so what they have in common cannot be learned"]


def test_rare_labels_are_left_out_and_told() -> None:
    counts = Counter({"a": 9, "b": 2, "c": 1, "d": 5})
    labels, notes = make_labels(["l"], [counts], 17, 3)

    assert labels.counts == {"l": {"a": 9, "d": 5}}
    assert notes == ["l: 2 labels of fewer than 3 records left out, with 3 records"]
    with pytest.raises(CorpusError, match="only one label of 'l' has 6 records or more; lower"):
        make_labels(["l"], [counts], 17, 6)


def test_few_numbers_are_values_in_their_order() -> None:
    column = column_of({"10": 1, "9": 2, "-1": 3})

    assert (column.values, column.edges) == (("-1", "9", "10"), ())


def test_many_numbers_become_buckets_named_by_their_range() -> None:
    column = column_of({str(year): 2 for year in range(1950, 2000)})

    assert len(column.values) == BUCKETS
    assert column.values[0] == "1950–1954"
    assert column.values[-1] == "1995–1999"
    assert set(column.counts) == {10}
    assert column.find("1954") == 0
    assert column.find("1954.5") == 0
    assert column.find("1955") == 1
    assert column.find("3000") == BUCKETS - 1


@given(
    st.dictionaries(st.integers(-99, 99).map(lambda n: str(n / 4)), st.integers(1, 50), min_size=21)
)
def test_every_number_is_in_the_bucket_that_counts_it(counts: dict[str, int]) -> None:
    column = column_of(counts)
    found = Counter(dict.fromkeys(range(len(column.values)), 0))
    for value, count in counts.items():
        index = column.find(value)
        assert index is not None
        found[index] += count

    assert 2 <= len(column.values) <= BUCKETS or max(counts.values()) * 2 > sum(counts.values())
    assert tuple(found.values()) == column.counts


@pytest.mark.parametrize("numbers", [60, MAX_VALUES + 1])
def test_a_column_of_texts_is_no_label(numbers: int) -> None:
    counts = {f"text {number}": 1 for number in range(numbers)}

    with pytest.raises(CorpusError, match="looks like free text and not like a label"):
        column_of(counts, records=numbers)


def test_such_a_column_is_refused_as_soon_as_it_is_one() -> None:
    values = Counter({f"{number}": 1 for number in range(MAX_VALUES + 1)})

    check_growth("l", values, ["7", ""])
    with pytest.raises(CorpusError, match="'l' has 10,001 different values"):
        check_growth("l", values, ["7", "seven"])


def test_as_many_names_as_half_of_the_records_may_be_labels() -> None:
    assert len(column_of({f"n{number}": 2 for number in range(60)}, records=120).values) == 60


# ── from values to rows ──


def test_rows_count_through_all_columns() -> None:
    labels = Labels((LabelColumn("a", ("x", "y"), (1, 1)), LabelColumn("b", ("x", "z"), (1, 1))))
    finder = RowFinder(labels)

    assert finder.find([("y", "x"), ("", "z"), ("z", "z")]).tolist() == [[2, 3], [NONE, 4], [0, 4]]
    assert finder.find([]).shape == (0, 2)
    assert labels.rows({"a": "y", "b": "x"}) == [2, 3]


def test_the_commonest_labels_are_named_first_and_buckets_in_their_order() -> None:
    names = Labels((LabelColumn("who", tuple("abcdef"), (1, 9, 3, 4, 5, 2)),))
    years = Labels((LabelColumn("year", ("1–2", "3"), (1, 9), (3.0,)),))

    assert describe_labels(names) == "who: 9 b, 5 e, 4 d, 3 c, and 2 more"
    assert describe_labels(years) == "year: 1 1–2, 9 3"
