"""Records are read whole: from lines, files, documents and speeches, however the text is cut."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data.corpus import Corpus, corpus_from_text, open_corpus
from charrnn.data.lists import LIST_NOTE
from charrnn.data.records import Found, Records, join_parts, read_records, split_at
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.vocab import END, Vocab
from tests.text.reading import Write, chunks_of

PARTS = ("train", "val", "test")
NAMES = [f"name {number:b}" for number in range(200)]
PLAY = "A play\n\nROMEO:\nO, speak again!\n\nJULIET:\nAy me.\nWhat?\n\nROMEO:\nShe speaks.\n"

TextOf = Callable[[Path], str]


def open_text(folder: Path, content: str | bytes, name: str = "a.txt", **settings: Any) -> Corpus:
    """Open a corpus of one file."""
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return open_corpus([str(folder / name)], TextConfig(**settings))


def records_of(corpus: Corpus, part: str = "train") -> list[str]:
    """Return the records of a part, taken by their ends."""
    ids = getattr(corpus, part)
    records: Records = getattr(corpus, f"{part}_records")
    starts = [1, *records.ends[:-1].tolist()]
    pieces = [ids[start:end] for start, end in zip(starts, records.ends.tolist(), strict=False)]
    assert all(int(piece[-1]) == corpus.vocab.end for piece in pieces)
    return [corpus.vocab.decode(piece[:-1]) for piece in pieces]


def all_records(corpus: Corpus) -> list[str]:
    return [record for part in PARTS[:2] for record in records_of(corpus, part)]


def read(text: str | Iterable[str], **settings: Any) -> list[str]:
    """Return the records of one text, which may come in pieces."""
    pieces = [text] if isinstance(text, str) else text
    blocks = read_records("a.txt", pieces, TextConfig(**settings), Found())
    return [record for block in blocks for record in block.texts]


# ── what a record is ──


def test_each_line_is_a_record_and_a_blank_one_is_none(tmp_path: Path) -> None:
    corpus = open_text(tmp_path, "ada\r\n\r\n  \nbo b\n\nali", lines=True, val_fraction=0)

    assert records_of(corpus) == ["ada", "bo b", "ali"]
    assert corpus.vocab.decode(corpus.train) == f"{END}ada{END}bo b{END}ali{END}"
    assert "\n" not in corpus.vocab.alphabet
    assert corpus.record_kind == "line"


def test_each_file_is_a_record_without_the_newlines_around_it(tmp_path: Path) -> None:
    for name, text in (("1.txt", "\n one\n\ntwo\n\n"), ("2.txt", ""), ("3.txt", "three")):
        (tmp_path / name).write_text(text)
    corpus = open_corpus([str(tmp_path)], TextConfig(files=True, val_fraction=0))

    assert records_of(corpus) == [" one\n\ntwo", "three"]


def test_documents_end_at_their_mark_and_at_the_end_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("one\n---\n\ntwo\n---\n---\n \n---\n")
    (tmp_path / "2.txt").write_text("three")
    corpus = open_corpus([str(tmp_path)], TextConfig(document_end="---", val_fraction=0))

    assert records_of(corpus) == ["one", "two", "three"]
    assert "-" not in corpus.vocab.alphabet


def test_a_line_that_matches_begins_a_speech_with_its_groups_as_labels(tmp_path: Path) -> None:
    regex = "^(?P<speaker>[A-Z]+):$"
    corpus = open_text(tmp_path, PLAY, label_regex=regex, val_fraction=0)
    (column,) = corpus.labels.columns
    records = corpus.train_records

    assert records_of(corpus) == ["A play", "O, speak again!", "Ay me.\nWhat?", "She speaks."]
    assert (column.name, column.values, column.counts) == ("speaker", ("JULIET", "ROMEO"), (1, 2))
    assert records is not None
    assert records.labels.tolist() == [[0], [2], [1], [2]]


def test_what_follows_a_match_in_its_line_begins_the_speech(tmp_path: Path) -> None:
    chat = "Ann: hi\nthere\nBo Li: yes: no\nAnn: bye\n"
    corpus = open_text(tmp_path, chat, label_regex="^(?P<who>[^:]+): ", val_fraction=0)

    assert records_of(corpus) == ["hi\nthere", "yes: no", "bye"]
    assert corpus.labels.counts == {"who": {"Ann": 2, "Bo Li": 1}}


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        ("^[A-Z]+:$", "has no named group"),
        ("^(?P<who>[A-Z+:$", "is not a pattern"),
    ],
)
def test_a_pattern_without_a_label_is_refused(regex: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TextConfig(label_regex=regex)


def test_a_pattern_that_matches_no_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no line matches label_regex"):
        open_text(tmp_path, PLAY, label_regex="^(?P<who>[0-9]+)$")


def test_a_mark_that_stands_nowhere_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"document_end '\[SEP\]' stands nowhere in the text; give"
    ):
        open_text(tmp_path, "\n".join(NAMES), document_end="[SEP]")


def test_files_without_a_mark_are_a_document_each(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    (tmp_path / "val.text").write_text("a[SEP]b")
    config = TextConfig(document_end="[SEP]", val_file=str(tmp_path / "val.text"))
    corpus = open_corpus([str(tmp_path / f"{number}.txt") for number in range(4)], config)

    assert records_of(corpus) == [f"text {number}" for number in range(4)]
    nowhere = "document_end '[SEP]' stands nowhere in the text: each file is a document"
    assert nowhere in corpus.notes


@pytest.mark.parametrize("kind", [{"lines": True}, {"document_end": "-"}])
def test_a_training_text_of_blank_records_is_empty(tmp_path: Path, kind: dict[str, Any]) -> None:
    (tmp_path / "val.text").write_text("a-\nb")
    with pytest.raises(CorpusError, match="is empty"):
        open_text(tmp_path, "\n \n\n", **kind, val_file=str(tmp_path / "val.text"))


@pytest.mark.parametrize("space", [" ", "\t", "\n", "  "])
@pytest.mark.parametrize("unit", ["char", "byte"])
def test_a_prefix_ends_at_any_white_space_and_its_label_is_readable(
    tmp_path: Path, space: str, unit: str
) -> None:
    text = f"§ weiß{space}a b--§ rot{space}c--d"
    settings = {"document_end": "--", "label": "prefix", "label_prefix": "§ ", "unit": unit}
    corpus = open_text(tmp_path, text, val_fraction=0, **settings)

    assert records_of(corpus) == ["a b", "c", "d"]
    assert corpus.labels.counts == {"label": {"rot": 1, "weiß": 1}}


def test_a_prefix_that_all_words_begin_with_is_refused() -> None:
    with pytest.raises(ConfigError, match="label_prefix is empty"):
        TextConfig(lines=True, label="prefix", label_prefix="")


def test_the_speakers_of_a_play_that_is_read_as_bytes_are_readable(tmp_path: Path) -> None:
    play = "JÜRGEN:\nJa.\nANNA:\nNein.\n"
    corpus = open_text(tmp_path, play, label_regex="^(?P<who>.+):$", unit="byte", val_fraction=0)

    assert corpus.labels.counts == {"who": {"ANNA": 1, "JÜRGEN": 1}}


# ── however the text is cut ──

MARKS = st.text(st.sampled_from("a-\n"), min_size=1, max_size=3)


@given(st.text(st.sampled_from("a-\n"), max_size=12), MARKS, st.integers(1, 4))
def test_what_stands_between_marks_is_that_of_the_whole_text(
    text: str, mark: str, size: int
) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    assert [part for some in split_at(pieces, mark) for part in some] == text.split(mark)


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\U0010ffff"))),
    st.integers(1, 5),
)
def test_lines_that_are_joined_read_back(write: Write, lines: list[str], chunk: int) -> None:
    text = "\n".join(lines)
    (source,) = write(text.encode())
    kept = [line for line in text.removeprefix("\ufeff").split("\n") if line.strip()]
    with chunks_of(chunk):
        if not kept:
            with pytest.raises(CorpusError, match="is empty"):
                open_corpus([str(source.path)], TextConfig(lines=True, val_fraction=0))
            return
        corpus = open_corpus([str(source.path)], TextConfig(lines=True, val_fraction=0))

    assert records_of(corpus) == kept


@given(
    texts=st.lists(st.text(st.sampled_from("ab中é\n-"), max_size=9), min_size=1, max_size=4),
    kind=st.sampled_from([{"lines": True}, {"files": True}, {"document_end": "-"}]),
    min_count=st.sampled_from([1, 3]),
    unit=st.sampled_from(["char", "byte"]),
    chunk=st.integers(1, 5),
)
@example(["a", "\n"], {"lines": True}, 1, "byte", 1)
def test_records_of_files_are_those_of_their_texts_in_memory(
    write: Write, texts: list[str], kind: dict[str, Any], min_count: int, unit: str, chunk: int
) -> None:
    settings = {"unit": "byte"} if unit == "byte" else {"min_count": min_count}
    config = TextConfig(**kind, **settings, val_fraction=0)
    sources = write(*[text.encode() for text in texts])
    in_memory = [text.encode().decode("ascii", "surrogateescape") for text in texts]
    try:
        expected = corpus_from_text(in_memory if unit == "byte" else texts, config)
    except CorpusError:
        with pytest.raises(CorpusError, match=r"is empty|stands nowhere"):
            open_corpus([str(source.path) for source in sources], config)
        return
    with chunks_of(chunk):
        corpus = open_corpus([str(source.path) for source in sources], config)

    assert corpus.vocab == expected.vocab
    assert corpus.train.tolist() == expected.train.tolist()
    assert corpus.train_chars == expected.train_chars
    assert corpus.train_chars == corpus.vocab.count_characters(corpus.train) - 1
    assert records_of(corpus) == records_of(expected)


# ── the end of a record ──


def test_a_text_that_holds_what_stands_for_an_end_is_refused_with_its_place(
    tmp_path: Path,
) -> None:
    with pytest.raises(CorpusError, match=r"a\.txt:3: the text holds U\+10FFFF"):
        open_text(tmp_path, f"a\nb\nc{END}", lines=True)


def test_running_text_may_hold_it(tmp_path: Path) -> None:
    corpus = open_text(tmp_path, f"a\nb\nc{END}", val_fraction=0)

    assert corpus.vocab.decode(corpus.train) == f"a\nb\nc{END}"
    assert (corpus.record_kind, corpus.train_records) == ("", None)


def test_an_end_counts_as_one_character_and_the_first_as_none(tmp_path: Path) -> None:
    corpus = open_text(tmp_path, "é\nbb\n", lines=True, val_fraction=0, min_count=2)

    assert corpus.vocab == Vocab("b", has_bytes=True, has_end=True)
    assert len(corpus.train) == 1 + 3 + 3
    assert corpus.chars == 2 + 3


def test_files_that_are_read_as_bytes_end_their_records_too(tmp_path: Path) -> None:
    corpus = open_text(tmp_path, b"\xff\x00\n\x80", lines=True, val_fraction=0, unit="byte")

    assert corpus.train.tolist() == [256, 255, 0, 256, 128, 256]


def test_the_form_of_the_text_is_that_of_the_settings(tmp_path: Path) -> None:
    settings = {"lowercase": True, "normalize": "nfc", "lines": True, "val_fraction": 0}
    corpus = open_text(tmp_path, "A\u030aB\nÖ\n", **settings)

    assert records_of(corpus) == ["åb", "ö"]


def test_a_packed_file_in_another_encoding_is_read_alike(tmp_path: Path) -> None:
    packed = gzip.compress("ä\nö\n".encode("utf-16"))
    corpus = open_text(tmp_path, packed, "a.txt.gz", encoding="utf-16", lines=True, val_fraction=0)

    assert records_of(corpus) == ["ä", "ö"]


# ── what is held out ──


def test_records_are_drawn_and_equal_ones_are_on_one_side(tmp_path: Path) -> None:
    lines = [*NAMES, *NAMES[::2]]
    for _ in range(2):  # built, then from the cache
        corpus = open_text(tmp_path, "\n".join(lines), lines=True, test_fraction=0.1)
        parts = [records_of(corpus, part) for part in PARTS]

        assert sorted(chain.from_iterable(parts)) == sorted(lines)
        assert sum(len(set(part)) for part in parts) == len(set(lines))
        assert all(0.04 < len(part) / len(lines) < 0.2 for part in parts[1:])
        assert all(int(getattr(corpus, part)[0]) == corpus.vocab.end for part in PARTS)
        counts = [len(part) for part in parts]
        assert corpus.held_out == (
            f"{counts[1] + counts[2]} of 300 lines, drawn by hash: {counts[1]} for validation, "
            f"{counts[2]} for testing"
        )
        chars = (corpus.train_chars, corpus.val_chars, corpus.test_chars)
        assert chars == tuple(sum(map(len, part)) + len(part) for part in parts)


@given(st.sets(st.text(st.sampled_from("ab中é "), min_size=1, max_size=5), min_size=9))
def test_a_record_stays_on_its_side_when_others_are_added(more: set[str]) -> None:
    config = TextConfig(lines=True, min_count=2)
    before = corpus_from_text("\n".join(NAMES), config)
    after = corpus_from_text("\n".join([*sorted(more), *NAMES]), config)

    for part in PARTS[:2]:
        assert set(records_of(before, part)) <= set(records_of(after, part))


def test_a_tail_is_one_of_whole_records(tmp_path: Path) -> None:
    corpus = open_text(tmp_path, "\n".join(NAMES), lines=True, split="tail")

    assert all_records(corpus) == NAMES
    assert 0 < len(records_of(corpus, "val")) < 30
    assert corpus.split_method == "tail"


def test_blocks_are_the_tails_of_files(tmp_path: Path) -> None:
    for number in range(3):
        lines = [f"{number} {name}" for name in NAMES]
        (tmp_path / f"{number}.txt").write_text("\n".join(lines))
    corpus = open_corpus([str(tmp_path)], TextConfig(lines=True, split="blocks"))
    val = records_of(corpus, "val")

    assert corpus.held_out.endswith(" of 600 lines, the last 10% of each of 3 files")
    assert {line[0] for line in val} == {"0", "1", "2"}
    assert all(line[2:] in NAMES[-30:] for line in val)


def test_of_files_that_are_records_no_tail_can_be_held_out() -> None:
    with pytest.raises(ConfigError, match="a file is one record; leave split out"):
        TextConfig(files=True, split="blocks")


def test_a_long_record_is_not_held_out_for_its_end() -> None:
    texts = [f"a{number}\n" + "b" * 300 for number in range(5)] + ["c\nd\ne"]
    corpus = corpus_from_text(texts, TextConfig(lines=True, split="blocks"))

    assert records_of(corpus, "val") == ["e"]


@given(
    st.lists(st.integers(1, 60), min_size=3, max_size=8),
    st.sampled_from([(0.1, 0.0), (0.1, 0.1), (0.5, 0.2), (0.0, 0.3)]),
    st.sampled_from(["tail", "blocks"]),
)
def test_no_part_that_is_asked_for_is_empty(
    lengths: list[int], shares: tuple[float, float], split: str
) -> None:
    text = "\n".join("ab"[i % 2] * length for i, length in enumerate(lengths))
    val, test = shares
    config = TextConfig(lines=True, split=split, val_fraction=val, test_fraction=test)
    corpus = corpus_from_text(text, config)
    parts = {part: records_of(corpus, part) for part in PARTS[: 3 if test else 2]}

    assert sorted(chain.from_iterable(parts.values())) == sorted(text.split("\n"))
    assert parts["train"][0] == text.split("\n")[0]
    assert bool(parts["val"]) == bool(val)
    assert bool(parts.get("test")) == bool(test)


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("auto", "only one record to draw from; give more, or hold"),
        ("tail", "only 1 record to hold out from; give more, or hold"),
    ],
)
def test_of_one_record_nothing_can_be_held_out(split: str, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        corpus_from_text(["the whole text"], TextConfig(files=True, split=split))


def test_a_held_out_file_is_read_alike_with_the_labels_of_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("__label__b x\n__label__new y\nz\n")
    settings = {"label": "prefix", "lines": True, "val_file": str(tmp_path / "val.txt")}
    for _ in range(2):
        corpus = open_text(tmp_path, "__label__a p\n__label__b q\n", **settings)

        assert records_of(corpus) == ["p", "q"]
        assert records_of(corpus, "val") == ["x", "y", "z"]
        assert corpus.val_records is not None
        assert corpus.val_records.labels.tolist() == [[2], [0], [0]]
        assert corpus.labels.counts == {"label": {"a": 1, "b": 1}}
        assert (corpus.train_chars, corpus.val_chars) == (4, 6)


def test_where_nothing_is_held_out_all_records_are_trained_on(tmp_path: Path) -> None:
    corpus = open_text(tmp_path, "b\na\n", lines=True, val_fraction=0)

    assert records_of(corpus) == ["b", "a"]
    assert len(corpus.val) == 0
    assert corpus.val_records is not None
    assert len(corpus.val_records) == 0
    assert corpus.split_method == "none"


# ── lines by themselves ──


def test_a_list_is_read_as_lines_and_says_so(tmp_path: Path) -> None:
    for _ in range(2):
        corpus = open_text(tmp_path, "\n".join(NAMES))

        assert corpus.record_kind == "line"
        assert corpus.notes[:2] == ("a.txt: 200 records, a line each", LIST_NOTE)
    assert corpus_from_text("\n".join(NAMES)).record_kind == "line"


@pytest.mark.parametrize("lines", [True, False])
def test_what_is_asked_for_goes_before_what_is_chosen(tmp_path: Path, lines: bool) -> None:
    verse = "".join(f"{name}, and so on.\n" for name in NAMES)
    corpora = [open_text(tmp_path, text, lines=lines) for text in (verse, "\n".join(NAMES))]

    assert [bool(corpus.record_kind) for corpus in corpora] == [lines, lines]
    assert not any(LIST_NOTE in corpus.notes for corpus in corpora)
    assert open_text(tmp_path, verse).record_kind == ""


def test_other_records_are_not_looked_at_as_lists(tmp_path: Path) -> None:
    assert open_text(tmp_path, "\n".join(NAMES), document_end="1").record_kind == "document"
    assert open_text(tmp_path, "\n".join(NAMES), unit="byte").record_kind == ""


def test_each_kind_of_record_has_ids_of_its_own(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [
        {"lines": False},
        {"lines": True},
        {"document_end": "1"},
        {"document_end": "0"},
        {"label_regex": "^name (?P<number>10*)1"},
    ]
    counts = [open_text(tmp_path, "\n".join(NAMES), **kind).chars for kind in [*kinds, *kinds]]

    assert counts[:5] == counts[5:]
    assert len(set(counts[1:5])) == 4


# ── texts in memory ──


def test_texts_in_memory_are_speeches_and_rows_too() -> None:
    speeches = corpus_from_text(
        PLAY, TextConfig(label_regex="^(?P<speaker>[A-Z]+):$", val_fraction=0)
    )
    table = ["text,label\na,x\nb,y\n", "label,text\nx,c\n"]
    rows = corpus_from_text(
        table, TextConfig(text_column="text", label_column="label", format="csv", val_fraction=0)
    )

    assert records_of(speeches) == ["A play", "O, speak again!", "Ay me.\nWhat?", "She speaks."]
    assert speeches.labels.counts == {"speaker": {"JULIET": 1, "ROMEO": 2}}
    assert records_of(rows) == ["a", "b", "c"]
    assert rows.train_records is not None
    assert rows.train_records.labels.tolist() == [[1], [2], [1]]
    with pytest.raises(CorpusError, match="text 0 has no file that could be a label"):
        corpus_from_text("a\nb", TextConfig(lines=True, label="file"))


def test_texts_that_are_cut_otherwise_are_other_records() -> None:
    config = TextConfig(files=True, val_fraction=0)
    first, second = (corpus_from_text(texts, config) for texts in (["ab", "c"], ["a", "bc"]))

    assert first.sha256 != second.sha256


@pytest.mark.parametrize("split", ["records", "tail"])
def test_the_split_of_texts_in_memory_is_that_of_their_file(tmp_path: Path, split: str) -> None:
    config = TextConfig(lines=True, split=split, test_fraction=0.1)
    in_memory = corpus_from_text("\n".join(NAMES), config)
    of_file = open_text(tmp_path, "\n".join(NAMES), lines=True, split=split, test_fraction=0.1)

    for part in PARTS:
        assert getattr(in_memory, part).tolist() == getattr(of_file, part).tolist()
        assert records_of(in_memory, part) == records_of(of_file, part)
    assert in_memory.held_out == of_file.held_out


def test_the_folder_of_a_held_out_file_is_its_label_wherever_it_is_now(tmp_path: Path) -> None:
    for folder, text in (("a", "p"), ("b", "q")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.txt").write_text(text)
    own = [str(tmp_path / folder) for folder in "ab"]
    rows = []
    for name in ("val", "a"):
        path = tmp_path / "held" / name / "x.txt"
        path.parent.mkdir(parents=True)
        path.write_text("x")
        corpus = open_corpus(own, TextConfig(files=True, label="folder", val_file=str(path)))
        assert corpus.val_records is not None
        rows += corpus.val_records.labels.tolist()

    assert rows == [[0], [1]]  # not known, then that of folder a


# ── parts together ──


@given(st.lists(st.lists(st.text("ab", min_size=1, max_size=3)), min_size=1, max_size=4))
def test_parts_that_are_joined_are_one_text(parts: list[list[str]]) -> None:
    vocab = Vocab("ab", has_end=True)

    def records(texts: list[str]) -> tuple[Any, Records]:
        ids = vocab.encode(END.join(["", *texts, ""]) if texts else "")
        ends = (np.flatnonzero(ids == vocab.end)[1:] + 1).astype(np.int64)
        return ids, Records(ends, np.zeros((len(ends), 0), np.int32))

    ids, joined = join_parts([records(part) for part in parts])
    expected, whole = records(list(chain.from_iterable(parts)))

    assert ids.tolist() == expected.tolist()
    assert joined.ends.tolist() == whole.ends.tolist()
