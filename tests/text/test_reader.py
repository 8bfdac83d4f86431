"""Holds the reader to its laws: any bytes in any cut read alike or end in one clear error."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError
from charrnn.text import files, reader
from charrnn.text.files import Source
from charrnn.text.reader import iter_text
from tests.text.reading import Write, complaint, read_text

CHUNKS = st.integers(1, 7)


def translate(text: str) -> str:
    """Do to newlines, the obvious way, what the reader does."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


# Characters


@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from("\r\n")), chunk=CHUNKS)
@example(text="a\r\nb\rc\r", chunk=2)
def test_any_text_reads_back_with_its_newlines_translated(
    write: Write, text: str, chunk: int
) -> None:
    sources = write(text.encode())

    assert read_text(sources, chunk) == translate(text.removeprefix("\ufeff"))


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "gb18030", "hz", "shift_jis"],
)
@given(text=st.text(st.sampled_from("aé中国あー한Яß\r\n+-~\x1b\U0001f600")), chunk=CHUNKS)
def test_a_character_split_between_chunks_reads_whole(
    write: Write, encoding: str, text: str, chunk: int
) -> None:
    stored = text.encode(encoding, "ignore")
    try:
        expected = translate(stored.decode(encoding))
    except UnicodeError:  # a bare escape sign that the encoding has a meaning for
        return

    assert read_text(write(stored), chunk, encoding=encoding) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-7", "gb18030", "hz"])
@given(content=st.binary(max_size=40), chunk=CHUNKS)
@example(content=b"\xef\xbb", chunk=1)
@example(content=b"+2D0-", chunk=3)
def test_any_bytes_read_as_the_whole_would_or_raise_our_error(
    write: Write, encoding: str, content: bytes, chunk: int
) -> None:
    sources = write(content)
    try:
        text = read_text(sources, chunk, encoding=encoding)
    except CorpusError:
        return
    assert text == translate(content.decode(encoding).removeprefix("\ufeff"))


@given(texts=st.lists(st.text(st.sampled_from("ab\r\n"), max_size=4), max_size=4), chunk=CHUNKS)
def test_lines_of_different_files_never_merge(write: Write, texts: list[str], chunk: int) -> None:
    expected = ""
    for text in map(translate, texts):
        expected += "\n" * bool(text and expected and not expected.endswith("\n")) + text

    assert read_text(write(*[text.encode() for text in texts]), chunk) == expected


def test_each_file_loses_its_byte_order_mark_and_no_other_character(write: Write) -> None:
    assert read_text(write(b"\xef\xbb\xbfa\xef\xbb\xbf\n", b"\xef\xbb\xbfb")) == "a\ufeff\nb"


def test_pieces_are_never_empty_and_stay_near_the_chunk_size(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 5)
    sources = write(b"abcdefg\r\n" * 9, b"", b"x")
    lengths = [len(piece) for piece in iter_text(sources)]

    assert 1 <= min(lengths) <= max(lengths) <= 7


# Normal forms


@pytest.mark.parametrize("normalize", ["nfc", "nfkc"])
@given(
    text=st.text(
        st.characters(codec="utf-8") | st.sampled_from("eA\u0301\u0327\u1100\u1161\u11a8")
    ),
    chunk=CHUNKS,
)
def test_the_normal_form_of_pieces_is_that_of_the_whole(
    write: Write, normalize: str, text: str, chunk: int
) -> None:
    whole = translate(text.removeprefix("\ufeff"))
    sources = write(text.encode())

    expected = unicodedata.normalize("NFC" if normalize == "nfc" else "NFKC", whole)
    assert read_text(sources, chunk, normalize=normalize) == expected


def test_marks_that_all_compose_are_cut_at_the_limit(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_HELD_CHARS", 3)
    monkeypatch.setattr(files, "CHUNK_BYTES", 2)
    pieces = list(iter_text(write("\u0301".encode() * 9), normalize="nfc"))

    assert [len(piece) for piece in pieces] == [4, 4, 1]


# What cannot be read


def test_undecodable_bytes_are_named_with_offset_and_hint(write: Write) -> None:
    sources = write("ab\n列位看官，你道此书从何而来？".encode("gb18030"))

    assert complaint(sources) == (
        "0.txt is not utf-8: invalid start byte, bytes c1 (hex) at offset 3 (18 places, line 2); "
        "it looks like gb18030 (or euc_kr, big5): pass --encoding gb18030, or --encoding auto, "
        "which chooses one for each file"
    )


@given(before=st.integers(0, 30), chunk=CHUNKS)
def test_the_offset_counts_from_the_start_of_the_file(
    write: Write, before: int, chunk: int
) -> None:
    sources = write(b"\xef\xbb\xbf" + b"a" * before + "é".encode() + b"\xff")
    with pytest.raises(CorpusError, match=rf"bytes ff \(hex\) at offset {before + 5} "):
        read_text(sources, chunk)


def test_a_suggestion_comes_from_around_an_error_far_into_the_file(write: Write) -> None:
    russian = "Все счастливые семьи похожи друг на друга.\n".encode("cp1251")
    message = complaint(write(b"plain\n" * 300_000 + russian))

    assert "at offset 1800000 (35 places, line 300,001); it looks like cp1251" in message


def test_a_file_cut_off_inside_a_character_is_not_blamed_on_its_encoding(
    write: Write,
) -> None:
    message = complaint(write("中文".encode()[:-1]))

    assert "unexpected end of data, bytes e6 96 (hex) at offset 3 (1 place, line 1); no " in message


def test_utf16_without_its_mark_is_named(write: Write) -> None:
    message = complaint(write("Plain words\n".encode("utf-16-be")), encoding="utf-16")

    assert "; it looks like utf-16-be: pass --encoding utf-16-be, or" in message


def test_a_lone_surrogate_is_named(write: Write) -> None:
    assert "lone surrogate U+D83D" in complaint(write(b"a +2D0-"), encoding="utf-7")


def test_an_unknown_encoding_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="klingon"):
        iter_text([Source(tmp_path / "gone", "gone")], encoding="klingon")


def test_a_folder_in_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    assert complaint([Source(tmp_path, "books")]) == "cannot read books: Is a directory"
