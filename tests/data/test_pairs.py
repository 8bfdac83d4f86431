"""Pairs are read from tables and from parallel files; what is no pair is named with its place."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data.corpus import Corpus, corpus_from_text, open_corpus
from charrnn.data.examples import rows_of
from charrnn.errors import CharRNNError, ConfigError, CorpusError
from tests.text.reading import chunks_of

PAIRS = [("uno", "one"), ("dos", "two"), ("tres", "three"), ("dos", "")]
TABLE = "".join(f"{source}\t{target}\n" for source, target in PAIRS)

Row = tuple[str, str]


def write(folder: Path, name: str, content: str | bytes) -> str:
    """Write a file; return its path."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def open_pairs(paths: str | Sequence[str], **settings: Any) -> Corpus:
    """Open a corpus of pairs, of which nothing is held out unless a setting says so."""
    paths = [paths] if isinstance(paths, str) else paths
    return open_corpus(paths, TextConfig(**{"pairs": True, "val_fraction": 0} | settings))


def open_parallel(folder: Path, sources: str, targets: str, **settings: Any) -> Corpus:
    """Open a corpus of lines and what they become."""
    target_file = write(folder, "b.tgt", targets)
    source_file = write(folder, "a.src", sources)
    return open_pairs(source_file, pairs=False, target_file=target_file, **settings)


def pairs_of(corpus: Corpus, part: str = "train") -> list[Row]:
    """Return the pairs of a part."""
    target_vocab = corpus.target_vocab
    assert target_vocab is not None
    rows = rows_of(corpus, part)
    return [(corpus.vocab.decode(source), target_vocab.decode(target)) for source, target in rows]


def complaint(path: str, folder: Path, **settings: Any) -> str:
    """Return the message that opening a file of pairs ends in."""
    with pytest.raises((CorpusError, ConfigError)) as caught:
        open_pairs(path, **settings)
    return caught.value.message.replace(f"{folder}/", "")


# ── tables ──


def test_a_row_of_a_tsv_is_a_source_and_its_target(tmp_path: Path) -> None:
    assert pairs_of(open_pairs(write(tmp_path, "t.tsv", TABLE))) == PAIRS


def test_a_tsv_never_quotes_and_na_is_a_text(tmp_path: Path) -> None:
    corpus = open_pairs(write(tmp_path, "t.tsv", '"a\t"b"\nNA\tnull\nx,y\t1,2\n'))

    assert pairs_of(corpus) == [('"a', '"b"'), ("NA", "null"), ("x,y", "1,2")]


def test_a_csv_quotes_and_has_a_header(tmp_path: Path) -> None:
    table = 'source,target\n"a ""b""","c,\nd"\nNA,null\n'

    assert pairs_of(open_pairs(write(tmp_path, "t.csv", table))) == [
        ('a "b"', "c,\nd"),
        ("NA", "null"),
    ]


def test_a_csv_may_have_no_header_and_a_tsv_one(tmp_path: Path) -> None:
    of_csv = open_pairs(write(tmp_path, "t.csv", "a,b\nc,d\n"), header=False)
    of_tsv = open_pairs(write(tmp_path, "t.tsv", "x\ty\na\tb\n"), header=True)

    assert pairs_of(of_csv) == [("a", "b"), ("c", "d")]
    assert pairs_of(of_tsv) == [("a", "b")]


def test_columns_are_given_by_number(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "1\tone\tuno\n2\ttwo\tdos\n")

    assert pairs_of(open_pairs(path, source_column="3", target_column="2")) == [
        ("uno", "one"),
        ("dos", "two"),
    ]


def test_columns_are_given_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "id,en,es\n1,one,uno\n")

    assert pairs_of(open_pairs(path, source_column="es", target_column="en")) == [("uno", "one")]


def test_json_objects_name_their_columns(tmp_path: Path) -> None:
    rows = [{"es": "uno", "en": "one"}, {"es": "a\nb", "en": ""}]
    path = write(tmp_path, "t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    corpus = open_pairs(path, source_column="es", target_column="en")

    assert pairs_of(corpus) == [("uno", "one"), ("a\nb", "")]


def test_json_objects_have_no_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", '{"a": "b"}\n')

    assert complaint(path, tmp_path) == (
        "t.jsonl has JSON objects, whose columns have no numbers; name them by --source-column and "
        "--target-column"
    )


def test_a_name_that_says_nothing_needs_a_format(tmp_path: Path) -> None:
    path = write(tmp_path, "t.txt", TABLE)

    assert complaint(path, tmp_path).startswith("the name of t.txt does not say how its columns")
    assert pairs_of(open_pairs(path, format="tsv")) == PAIRS


def test_pairs_of_several_files_follow_one_another(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.tsv", "a\tb\n"), write(tmp_path, "b.csv", "s,t\nc,d\n")]
    corpus = open_pairs(paths)

    assert pairs_of(corpus) == [("a", "b"), ("c", "d")]
    assert corpus.sources == tuple(paths)


def test_a_weight_repeats_the_pairs_of_its_file(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.tsv", "a\tb\n"), write(tmp_path, "b.tsv", "c\td\ne\t\n") + ":2"]
    corpus = open_pairs(paths)

    assert sorted(pairs_of(corpus)) == [("a", "b"), *[("c", "d")] * 2, *[("e", "")] * 2]
    assert any(note.endswith("b.tsv counts 2 times") for note in corpus.notes)


# ── bytes ──


@pytest.mark.parametrize(
    "content",
    [
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.removesuffix("\n").encode(),
        TABLE.replace("\n", "\n\n").encode(),
    ],
    ids=["crlf", "byte order mark", "no newline at the end", "blank lines"],
)
def test_how_lines_end_makes_no_difference(tmp_path: Path, content: bytes) -> None:
    assert pairs_of(open_pairs(write(tmp_path, "t.tsv", content))) == PAIRS


def test_a_packed_table_is_read_alike(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv.gz", gzip.compress(TABLE.encode()))

    assert pairs_of(open_pairs(path)) == PAIRS


def test_a_table_in_another_encoding_is_read_alike(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "año\tñ\n".encode("latin-1"))

    assert pairs_of(open_pairs(path, encoding="latin-1")) == [("año", "ñ")]


def test_bytes_that_are_replaced_are_noted_once(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", b"a\xff\tb\nc\td\n")
    corpus = open_pairs(path, errors="replace")

    assert pairs_of(corpus) == [("a\ufffd", "b"), ("c", "d")]
    assert f"{path}: bytes that are not in the encoding replaced: 1 place, line 1" in corpus.notes


def test_bytes_of_a_held_out_file_are_noted_too(tmp_path: Path) -> None:
    val_file = write(tmp_path, "v.tsv", b"c\td\n\xff\td\n")
    corpus = open_pairs(write(tmp_path, "t.tsv", "a\tb\n"), errors="replace", val_file=val_file)

    assert any(note.startswith(f"{val_file}: bytes that are not in") for note in corpus.notes)


def test_standard_input_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(TABLE.encode())))
    corpus = open_pairs("-", format="tsv")

    assert pairs_of(corpus) == PAIRS
    assert corpus.name == "stdin"


def test_standard_input_is_given_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(TABLE.encode())))

    with pytest.raises(CorpusError, match="standard input can be read only once"):
        open_pairs("-", pairs=False, target_file="-")


# ── the form of a text ──


def test_sources_and_targets_are_lowered_and_composed(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "E\u0301a\tO\u0308\n")
    corpus = open_pairs(path, lowercase=True, normalize="nfc")

    assert pairs_of(corpus) == [("\u00e9a", "\u00f6")]


def test_spaces_are_kept_but_around_tokens(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", " a b \t  K AE1  T \n")
    corpus = open_pairs(path, target_unit="space")

    assert pairs_of(corpus) == [(" a b ", "K AE1 T")]


# ── rows that are no pairs ──


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a\tb\n\tc\n", "t.tsv:2: the source is empty"),
        ("a\tb\nc\n", "t.tsv:2: the row has 1 column, and the first one 2"),
        ("a\tb\nc\td\te\n", "t.tsv:2: the row has 3 columns, and the first one 2"),
        (
            "a\tb\nc\t\U0010ffff\n",
            "t.tsv:2: the text holds U+10FFFF, which stands for the end of a record",
        ),
    ],
)
def test_a_row_that_is_no_pair_is_named_with_its_line(
    tmp_path: Path, table: str, message: str
) -> None:
    words = "; mend the row, or pass --skip-bad to leave such rows out"

    assert complaint(write(tmp_path, "t.tsv", table), tmp_path) == message + words


def test_a_source_of_tokens_is_empty_if_it_has_only_spaces(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "a\tb\n \tc\n")

    assert complaint(path, tmp_path, source_unit="space").startswith("t.tsv:2: the source is empty")
    assert pairs_of(open_pairs(path)) == [("a", "b"), (" ", "c")]


def test_rows_of_json_without_a_side_are_named_with_their_line(tmp_path: Path) -> None:
    columns = {"source_column": "s", "target_column": "t"}
    no_target = write(tmp_path, "t.jsonl", '{"s": "a", "t": "b"}\n{"s": "a"}\n')
    half = write(tmp_path, "u.jsonl", '{"s": "\\ud800", "t": "b"}\n')
    empty = write(tmp_path, "v.jsonl", '{"s": "", "t": "b"}\n')

    assert complaint(no_target, tmp_path, **columns).startswith(
        "t.jsonl:2: there is no 't' in this object; mend the row"
    )
    assert complaint(half, tmp_path, **columns).startswith(
        "u.jsonl:1: the text holds half of a surrogate pair"
    )
    assert complaint(empty, tmp_path, **columns).startswith("v.jsonl:1: the source is empty")


def test_or_they_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "a\tb\n\tc\nd\ne\tf\n")
    corpus = open_pairs(path, skip_bad=True)

    assert pairs_of(corpus) == [("a", "b"), ("e", "f")]
    assert f"2 rows skipped: {path}:2, {path}:3" in corpus.notes[0]


def test_a_table_of_which_no_row_is_a_pair_says_where_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, "t.tsv", "\tb\n\tc\n")

    assert complaint(path, tmp_path, skip_bad=True) == (
        "no row can be read: 2 rows skipped: t.tsv:1, t.tsv:2; leave --skip-bad out to see why"
    )


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        ("a\tb\n", {"target_column": "3"}, "t.tsv has no column 3; it has 2"),
        (
            "a\tb\n",
            {"source_column": "es", "header": True},
            "t.tsv has no column 'es'; it has 'a', 'b'",
        ),
        (
            "a\tb\n",
            {"source_column": "es"},
            "t.tsv is read without a header, so column 'es' needs a number from 1 to 2, or "
            "--header, if the first row names the columns",
        ),
        ("", {}, "t.tsv has no pairs; give a few hundred at least"),
        (
            "a\t\nb\t\n",
            {},
            "every target of t.tsv is empty; give targets, or other columns of the table",
        ),
        ("a\t \n", {"target_unit": "space"}, "every target of t.tsv is empty; give targets, or "),
    ],
)
def test_a_table_without_pairs_is_refused(
    tmp_path: Path, table: str, settings: dict[str, Any], message: str
) -> None:
    found = complaint(write(tmp_path, "t.tsv", table), tmp_path, **settings)

    assert found.startswith(message)


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path) -> None:
    message = complaint(write(tmp_path, "t.tsv", b"a\tb\nc\xff\td\n"), tmp_path)

    assert "t.tsv" in message
    assert "line 2" in message


# ── parallel files ──


def test_each_line_becomes_the_one_with_its_number(tmp_path: Path) -> None:
    corpus = open_parallel(tmp_path, "uno\ndos\n\ttres\n", "one\n\nthree\tx")

    assert pairs_of(corpus) == [("uno", "one"), ("dos", ""), ("\ttres", "three\tx")]


@pytest.mark.parametrize("chunk_bytes", [1, 2, 5])
def test_lines_are_whole_however_their_files_are_cut(tmp_path: Path, chunk_bytes: int) -> None:
    with chunks_of(chunk_bytes):
        corpus = open_parallel(tmp_path, "é\r\nb b\r\n", "x\n\n")

    assert pairs_of(corpus) == [("é", "x"), ("b b", "")]


@pytest.mark.parametrize(
    ("sources", "targets", "counts"),
    [("a\nb\nc\n", "x\n", (3, 1)), ("a\n", "x\ny\nz\nw", (1, 4)), ("", "x\n", (0, 1))],
)
def test_different_numbers_of_lines_are_both_named(
    tmp_path: Path, sources: str, targets: str, counts: tuple[int, int]
) -> None:
    with pytest.raises(CorpusError) as caught:
        open_parallel(tmp_path, sources, targets)

    assert caught.value.message.replace(f"{tmp_path}/", "") == (
        f"a.src has {counts[0]} lines and b.tgt {counts[1]}; each line needs the one that it "
        "becomes"
    )


def test_an_empty_line_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"a\.src:2: the source is empty; mend the row"):
        open_parallel(tmp_path, "a\n\nb\n", "x\ny\nz\n")

    corpus = open_parallel(tmp_path, "a\n\nb\n", "x\ny\nz\n", skip_bad=True)
    assert pairs_of(corpus) == [("a", "x"), ("b", "z")]


def test_a_target_that_is_no_text_is_named_in_its_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"b\.tgt:2: the text holds U\+10FFFF"):
        open_parallel(tmp_path, "a\nb\n", "x\n\U0010ffff\n")


def test_a_folder_of_sources_has_no_lines_to_count(tmp_path: Path) -> None:
    paths = [write(tmp_path, name, "a\n") for name in ("a.src", "b.src")]
    target_file = write(tmp_path, "c.tgt", "x\ny\n")

    with pytest.raises(CorpusError, match="there are 2 files of sources, and with target_file"):
        open_pairs(paths, pairs=False, target_file=target_file)


def test_held_out_lines_have_targets_of_their_own(tmp_path: Path) -> None:
    held_out = {
        "val_file": write(tmp_path, "v.src", "c\n"),
        "val_target_file": write(tmp_path, "v.tgt", "z\n"),
    }
    corpus = open_parallel(tmp_path, "a\nb\n", "x\ny\n", **held_out)

    assert pairs_of(corpus) == [("a", "x"), ("b", "y")]
    assert pairs_of(corpus, "val") == [("c", "z")]


# ── texts in memory ──


def test_tables_in_memory_are_pairs_too() -> None:
    config = TextConfig(pairs=True, format="tsv", val_fraction=0)

    assert pairs_of(corpus_from_text(["a\tb\n", "c\td"], config)) == [("a", "b"), ("c", "d")]


def test_a_text_in_memory_has_no_file_of_targets(tmp_path: Path) -> None:
    config = TextConfig(target_file=write(tmp_path, "t.tgt", "x\n"))

    with pytest.raises(ConfigError, match="target_file goes with files"):
        corpus_from_text("a\n", config)


# ── whatever is in a file ──

SIDES = st.text(st.characters(exclude_characters="\n\r\t\U0010ffff", exclude_categories=["Cs"]))
ROWS = st.lists(st.tuples(SIDES.filter(bool), SIDES), min_size=1, max_size=9)


@given(ROWS.filter(lambda rows: any(target for _, target in rows)), st.booleans())
def test_any_rows_come_back_from_their_ids(rows: list[Row], is_wide: bool) -> None:
    texts = [f"{source}\t{target}\n" for source, target in rows]
    rows = [row for row, text in zip(rows, texts, strict=True) if not text.isspace()]
    config = TextConfig(pairs=True, format="tsv", val_fraction=0, min_count=1 + is_wide)
    if not any(target for _, target in rows):
        return
    text = "".join(texts)

    # A mark at the start of a text is none of its characters.
    if not text.startswith("\ufeff"):
        assert pairs_of(corpus_from_text(text, config)) == rows


WORDS = st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1), min_size=1, max_size=4)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_any_tokens_come_back_from_their_ids(rows: list[tuple[list[str], list[str]]]) -> None:
    pairs = [(" ".join(source), " ".join(target)) for source, target in rows]
    text = "".join(f"{source}\t{target}\n" for source, target in pairs)
    units = {"source_unit": "space", "target_unit": "space"}
    config = TextConfig(pairs=True, format="tsv", val_fraction=0, **units)

    assert pairs_of(corpus_from_text(text, config)) == pairs


def hostile_field(chance: random.Random) -> bytes:
    """Return a field that no good table has."""
    kind = chance.randrange(9)
    if kind == 0:
        return chance.randbytes(chance.randrange(9))
    if kind == 1:
        return b"\0" * chance.randrange(4)
    if kind == 2:
        return "\ud800".encode(errors="surrogatepass")
    if kind == 3:
        return "\U0010ffff".encode()
    if kind == 4:
        return b"x" * chance.randrange(10_000)
    if kind == 5:
        return chance.choice([b'"', b'"a', b'a"b"', b'""', b"\t\t", b"\r", b"\xef\xbb\xbf"])
    return chance.choice(["a", "ё", "e\u0301", "👩‍👩‍👧", " ", "\x85", "\u2028"]).encode()


def hostile_row(chance: random.Random, layout: str) -> bytes:
    """Return a row of a hostile table, which often has too many fields or too few."""
    fields = [hostile_field(chance) for _ in range(chance.choice([2, 2, 2, 2, 1, 3]))]
    if layout != "jsonl":
        return (b"\t" if layout == "tsv" else b",").join(fields)
    texts = [field.decode("utf-8", "surrogateescape") for field in fields]
    return json.dumps(dict(zip("abc", texts, strict=False))).encode()[
        : chance.choice([9, 99, None])
    ]


@pytest.mark.parametrize("skip_bad", [False, True])
def test_10_000_hostile_rows_are_pairs_or_are_named(tmp_path: Path, skip_bad: bool) -> None:
    chance = random.Random(1)
    corpora: list[Corpus] = []
    messages: list[str] = []
    for number in range(300):
        layout = chance.choice(["tsv", "csv", "jsonl"])
        first = {"tsv": b"a\tb", "csv": b"a,b", "jsonl": b'{"a": "a", "b": "b"}'}[layout]
        rows = [hostile_row(chance, layout) for _ in range(chance.choice([1, 2, 99]))]
        path = write(tmp_path, f"t.{layout}", b"\n".join([first, *rows]))
        columns = {"source_column": "a", "target_column": "b"} if layout != "tsv" else {}
        errors = "strict" if number % 9 == 0 else "replace"
        try:
            corpora.append(open_pairs(path, skip_bad=skip_bad, errors=errors, **columns))
        except CharRNNError as error:
            messages.append(error.message)
    assert all(re.search(r"\bt\.(tsv|csv|jsonl)\b", message) for message in messages)
    assert min(len(messages), len(corpora)) > 20
    assert all(map(pairs_of, corpora))
