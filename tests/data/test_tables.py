"""Rows of tables become records: quotes, headers, missing values, and rows that are none."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data import tables
from charrnn.data.corpus import Corpus, corpus_from_text, open_corpus
from charrnn.data.tables import find_layout
from charrnn.errors import ConfigError, CorpusError
from tests.data.test_records import records_of
from tests.text.reading import Write, chunks_of

CELLS = st.text(st.sampled_from('a"é,;\t\n '), max_size=6)


def open_table(folder: Path, content: str | bytes, name: str = "t.csv", **settings: Any) -> Corpus:
    """Open a corpus of one table, of which nothing is held out."""
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    config = TextConfig(**{"text_column": "text", "val_fraction": 0} | settings)
    return open_corpus([str(folder / name)], config)


def complaint(folder: Path, content: str, name: str = "t.csv", **settings: Any) -> str:
    """Return the message that opening a table ends in."""
    with pytest.raises((CorpusError, ConfigError)) as caught:
        open_table(folder, content, name, **settings)
    return caught.value.message.removeprefix(f"{folder}/")


# ── layouts ──


def test_a_csv_has_quotes_newlines_and_a_header(tmp_path: Path) -> None:
    table = 'id,text,label\r\n1,"a ""b"",\r\nc",x\r\n\r\n2,null,y\r\n3,NA,x\r\n'
    corpus = open_table(tmp_path, table.encode("utf-8-sig"), label_column="label")

    assert records_of(corpus) == ['a "b",\nc', "null", "NA"]
    assert corpus.labels.counts == {"label": {"x": 2, "y": 1}}
    assert corpus.notes[0] == ("t.csv: 3 records, column text; label: 2 x, 1 y; 0 rows skipped")


def test_a_tsv_has_neither_quotes_nor_a_header(tmp_path: Path) -> None:
    corpus = open_table(tmp_path, '"a\tb"\nc\td e\n', "t.tsv", text_column="1")

    assert records_of(corpus) == ['"a', "c"]


@pytest.mark.parametrize(
    ("name", "header", "column"), [("t.tsv", True, "text"), ("t.csv", False, "2")]
)
def test_whether_there_is_a_header_can_be_said(
    tmp_path: Path, name: str, header: bool, column: str
) -> None:
    table = "id,text\n1,a\n2,b\n".replace(",", "\t" if name == "t.tsv" else ",")
    corpus = open_table(tmp_path, table, name, text_column=column, header=header)

    assert records_of(corpus) == ["a", "b"] if header else ["text", "a", "b"]


def test_json_lines_have_keys_that_may_be_nested(tmp_path: Path) -> None:
    rows = [
        {"a": {"text": "one\ntwo"}, "year": 1990, "a.b": "dotted"},
        {"a": {"text": "é\u4e2d"}, "year": None, "a.b": "other"},
        {"a": {"text": "three"}, "year": 1991},
    ]
    lines = "\n\n".join(json.dumps(row) for row in rows)
    settings = {"text_column": "a.text", "label_column": "year,a.b"}
    corpus = open_table(tmp_path, lines, "t.jsonl", **settings)

    assert records_of(corpus) == ["one\ntwo", "é中", "three"]
    assert corpus.labels.counts == {
        "year": {"1990": 1, "1991": 1},
        "a.b": {"dotted": 1, "other": 1},
    }
    assert corpus.train_records is not None
    assert corpus.train_records.labels.tolist() == [[1, 3], [0, 4], [2, 0]]


@pytest.mark.parametrize(
    ("name", "format_", "layout"),
    [
        ("a.csv", "auto", "csv"),
        ("A.CSV.GZ", "auto", "csv"),
        ("a.tab", "auto", "tsv"),
        ("a.ndjson.xz", "auto", "jsonl"),
        ("a.csv", "tsv", "tsv"),
    ],
)
def test_the_layout_is_in_the_name_or_said(name: str, format_: str, layout: str) -> None:
    assert find_layout(name, format_) == layout


def test_a_name_that_says_nothing_needs_a_format(tmp_path: Path) -> None:
    message = complaint(tmp_path, "text\na\n", "t.txt")

    assert message.startswith("the name of ")
    assert message.endswith("let it end in .csv, .tsv or .jsonl, or give --format")
    assert records_of(open_table(tmp_path, "text\na\n", "t.txt", format="csv")) == ["a"]


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1), st.integers(1, 5))
def test_a_table_that_is_written_reads_back(
    write: Write, rows: list[tuple[str, str]], chunk: int
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([("other", "text"), *rows])
    (source,) = write(file.getvalue().encode())
    texts = [text.strip("\n") for _, text in rows if text.strip()]
    config = TextConfig(text_column="text", format="csv", skip_bad=True, val_fraction=0)
    with chunks_of(chunk):
        if not texts:
            with pytest.raises(CorpusError, match=r"no row can be read|is empty"):
                open_corpus([str(source.path)], config)
            return
        corpus = open_corpus([str(source.path)], config)

    assert records_of(corpus) == texts
    assert f"; {len(rows) - len(texts):,} row" in corpus.notes[0]


def test_a_table_in_memory_may_begin_with_a_byte_order_mark() -> None:
    config = TextConfig(text_column="text", format="csv", val_fraction=0)

    assert records_of(corpus_from_text("\ufefftext,l\na,x\n", config)) == ["a"]


# ── columns ──


def test_a_number_names_a_column_unless_a_name_is_that_number(tmp_path: Path) -> None:
    assert records_of(open_table(tmp_path, "a,b\nx,y\n", text_column="2")) == ["y"]
    assert records_of(open_table(tmp_path, "2,b\nx,y\n", text_column="2")) == ["x"]


@pytest.mark.parametrize(
    ("table", "name", "column", "words"),
    [
        ("a,b\nx,y\n", "t.csv", "text", "t.csv has no column 'text'; it has 'a', 'b'"),
        ("a,b\nx,y\n", "t.csv", "3", "t.csv has no column '3'; it has 'a', 'b'"),
        ("x\ty\n", "t.tsv", "3", "t.tsv has no column 3; it has 2"),
        ("x\ty\n", "t.tsv", "a", "t.tsv is read without a header, so column 'a' needs a number"),
        ("a,a\nx,y\n", "t.csv", "a", "t.csv has 2 columns 'a'; go by numbers"),
        ('{"b": 1}\n', "t.jsonl", "a", "t.jsonl:1: there is no 'a' in this object; it has 'b'"),
    ],
)
def test_a_missing_column_names_those_that_exist(
    tmp_path: Path, table: str, name: str, column: str, words: str
) -> None:
    assert complaint(tmp_path, table, name, text_column=column).startswith(words)


# ── rows that are no records ──

BAD_ROWS = [
    ("t.csv", "text,l\nok,x\none\nfine,y\n", 3, "the row has 1 column, and the first one 2"),
    ("t.csv", "text,l\nok,x\n  ,x\nfine,y\n", 3, "column 'text' is empty"),
    ("t.csv", 'text,l\nok,x\n"a"b,x\nfine,y\n', 3, "this is not CSV ("),
    ("t.csv", 'text,l\n"o\nk",x\none\n', 4, "the row has 1 column,"),
    ("t.csv", 'text,l\nok,x\n"open,x\n', 3, "a quote is opened and not closed"),
    ("t.jsonl", '{"text": "ok"}\n{"text": \n', 2, "this is not JSON ("),
    ("t.jsonl", '{"text": "ok"}\n["text"]\n', 2, "the line is not a JSON object"),
    ("t.jsonl", '{"text": "ok"}\n{"text": null, "l": 1}\n', 2, "there is no 'text' in this object"),
    ("t.jsonl", '{"text": "ok"}\n{"text": ["a"]}\n', 2, "'text' is no text, but [\"a\"]"),
    ("t.jsonl", '{"text": "ok"}\n{"text": "\\ud800"}\n', 2, "half of a surrogate pair"),
    ("t.jsonl", '{"text": "ok"}\n{"text": "\\udbff\\udfff"}\n', 2, "the text holds U+10FFFF"),
]


@pytest.mark.parametrize(("name", "table", "line", "words"), BAD_ROWS)
def test_a_row_that_is_no_record_is_named_with_its_line(
    tmp_path: Path, name: str, table: str, line: int, words: str
) -> None:
    message = complaint(tmp_path, table, name)

    assert message.startswith(f"{name}:{line}: ")
    assert words in message
    assert "mend the row, or pass" in message


@pytest.mark.parametrize(("name", "table", "line", "words"), BAD_ROWS)
def test_or_it_is_left_out_and_counted(
    tmp_path: Path, name: str, table: str, line: int, words: str
) -> None:
    corpus = open_table(tmp_path, table, name, skip_bad=True)

    assert records_of(corpus)[0].startswith("o")
    assert corpus.notes[0].endswith(f"; 1 row skipped: {tmp_path}/{name}:{line}")


def test_a_first_row_that_names_no_columns_cannot_be_left_out(tmp_path: Path) -> None:
    message = complaint(tmp_path, '"text"b,l\nok,x\n', skip_bad=True)

    assert message.startswith("t.csv:1: this is not CSV (")
    assert message.endswith("; mend the row")


def test_only_the_first_of_many_rows_are_named(tmp_path: Path) -> None:
    corpus = open_table(tmp_path, "text,l\nok,x\n" + "one\n" * 5, skip_bad=True)

    assert corpus.notes[0].count("t.csv:") == 1 + 3
    assert corpus.notes[0].endswith("t.csv:5, …")


def test_a_table_of_which_no_row_can_be_read_says_where_they_are(tmp_path: Path) -> None:
    message = complaint(tmp_path, "text,l\none\ntwo\n", skip_bad=True)

    assert message.startswith("no row can be read: 2 rows skipped: ")
    assert "t.csv:2, " in message
    assert message.endswith("t.csv:3; leave --skip-bad out to see why")


def test_an_overlong_field_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = csv.field_size_limit(10)
    monkeypatch.setattr(tables, "MAX_FIELD_CHARS", 10)
    try:
        message = complaint(tmp_path, "text\nfine\n" + "long" * 5 + "\n")
    finally:
        csv.field_size_limit(limit)

    assert message.startswith("t.csv:3: a field has more than 10 characters, so a quote may be")


def test_a_field_may_be_longer_than_pythons_own_limit(tmp_path: Path) -> None:
    (record,) = records_of(open_table(tmp_path, "text\n" + "long " * 40_000 + "\n"))

    assert len(record) == 200_000


# ── what goes with the text ──


def test_rows_of_one_group_are_on_one_side(tmp_path: Path) -> None:
    rows = "".join(f"text {number},{number % 40}\n" for number in range(400))
    settings = {"group_column": "author", "val_fraction": 0.2}
    corpus = open_table(tmp_path, "text,author\n" + rows, **settings)
    sides = [
        {int(record.split()[1]) % 40 for record in records_of(corpus, part)}
        for part in ("train", "val")
    ]

    assert sides[0] & sides[1] == set()
    assert len(sides[0] | sides[1]) == 40
    assert "drawn by hash of author" in corpus.held_out
    with pytest.raises(ConfigError, match="knows no groups"):
        TextConfig(text_column="text", group_column="author", split="tail")


def test_a_held_out_table_needs_no_groups(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text("text\nc\n")
    settings = {"group_column": "author", "val_file": str(tmp_path / "val.csv")}
    corpus = open_table(tmp_path, "text,author\na,x\nb,y\n", **settings)

    assert records_of(corpus) == ["a", "b"]
    assert records_of(corpus, "val") == ["c"]


def test_a_table_that_is_read_as_bytes_has_readable_labels(tmp_path: Path) -> None:
    settings = {"unit": "byte", "label_column": "größe"}
    corpus = open_table(tmp_path, "text,größe\né,weiß\nb,rot\n", **settings)

    assert corpus.vocab.is_binary
    assert corpus.train.tolist() == [256, 0xC3, 0xA9, 256, ord("b"), 256]
    assert corpus.labels.counts == {"größe": {"rot": 1, "weiß": 1}}


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", '"text",l\r\na,x\r\n'), ("t.jsonl", '{"text": "a"}\n'), ("t.tsv", "text\na\n")],
)
def test_a_byte_order_mark_is_no_part_of_a_table_of_bytes(
    tmp_path: Path, name: str, content: str
) -> None:
    marked = content.encode("utf-8-sig")
    corpus = open_table(tmp_path, marked, name, unit="byte", header=True)

    assert records_of(corpus) == ["a"]


def test_the_same_table_under_another_name_is_laid_out_anew(tmp_path: Path) -> None:
    first = open_table(tmp_path, "1,2\t3\n", "t.csv", text_column="1", header=False)
    second = open_table(tmp_path, "1,2\t3\n", "t.tsv", text_column="1", header=False)

    assert (records_of(first), records_of(second)) == (["1"], ["1,2"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"label_column": "x"}, "label_column is for the rows of a table"),
        ({"text_column": "t", "label_column": " ,"}, "label_column is ' ,', which names no column"),
        ({"format": "csv"}, "format csv is that of a table"),
        ({"text_column": "t", "format": "text"}, "format text has no columns"),
        ({"text_column": "t", "lines": True}, "both say what a record is"),
        ({"text_column": "t", "label": "file", "label_column": "x"}, "both say what the labels"),
    ],
)
def test_settings_that_clash_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TextConfig(**settings)
