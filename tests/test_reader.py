"""Holds the reader to its laws: any bytes in any cut read alike or end in one clear error."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError, StorageError
from charrnn.text import reader
from charrnn.text.reader import Source, hash_sources, iter_text, open_sources

Write = Callable[..., list[Source]]
CHUNKS = st.integers(1, 7)
LAW = settings(deadline=None)  # a busy machine breaks no law


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Give a function that puts each bytes object into a file and returns the sources."""
    folder = tmp_path_factory.mktemp("sources")

    def write_files(*contents: bytes, suffix: str = ".txt") -> list[Source]:
        sources = []
        for number, content in enumerate(contents):
            path = folder / f"{number}{suffix}"
            path.write_bytes(content)
            sources.append(Source(path, path.name))
        return sources

    return write_files


def read(sources: list[Source], chunk_bytes: int = 1 << 20, /, **options: str) -> str:
    """Join all pieces, read with chunks of that many bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "CHUNK_BYTES", chunk_bytes)
        return "".join(iter_text(sources, **options))


def names(*paths: object) -> list[str]:
    """Give the file names that the paths lead to."""
    with open_sources([str(path) for path in paths]) as sources:
        return [source.path.name for source in sources]


def translate(text: str) -> str:
    """Do to newlines, the obvious way, what the reader does."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def complaint(sources: list[Source], **options: str) -> str:
    """Give the message of the CorpusError that reading ends in."""
    with pytest.raises(CorpusError) as caught:
        read(sources, **options)
    return str(caught.value)


# Which files


def test_a_folder_gives_its_visible_files_at_any_depth_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", ".hidden.txt", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)

    assert names(tmp_path) == ["c.txt", "z.txt", "b.txt"]


def test_arguments_keep_their_order_and_a_file_comes_once(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "a")

    assert names(tmp_path / "c", tmp_path, tmp_path / "b", tmp_path / "link") == ["c", "a", "b"]


def test_a_folder_that_links_to_itself_is_walked_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "loop").symlink_to(tmp_path)

    assert names(tmp_path) == ["a.txt"]
    assert names(tmp_path / "**" / "*.txt") == ["a.txt"]
    assert names(tmp_path / "*") == ["a.txt"]


def test_a_pattern_gives_its_matches_in_order_without_the_hidden(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.md", ".d.txt", "sub/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)

    assert names(tmp_path / "*.txt") == ["a.txt", "b.txt"]
    assert names(tmp_path / "**/*.txt") == ["a.txt", "b.txt", "e.txt"]
    assert names(tmp_path / "s*") == ["e.txt"]
    assert names(tmp_path / ".*.txt") == [".d.txt"]


def test_a_relative_pattern_starts_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.chdir(tmp_path)

    with open_sources(["?.txt"]) as sources:
        assert sources == [Source(Path("a.txt"), "a.txt")]


def test_a_file_whose_name_looks_like_a_pattern_is_taken_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "[a].txt").write_text("literal")
    (tmp_path / "a.txt").write_text("match")

    assert names(tmp_path / "[a].txt") == ["[a].txt"]


@pytest.mark.parametrize("name", ["", "missing.txt", "*.none", "a**b", "nul\0byte", "[", "x" * 300])
def test_a_name_that_leads_nowhere_is_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match=r"no text at|cannot follow"), open_sources([name]):
        pass


def test_no_name_at_all_is_an_error() -> None:
    with pytest.raises(CorpusError, match="name a file"), open_sources([]):
        pass


def test_a_folder_with_nothing_visible_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("x")
    with pytest.raises(CorpusError, match="holds no file"), open_sources([str(tmp_path)]):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_by_name_and_skipped_in_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_text("a")

    assert names(tmp_path) == names(tmp_path / "*") == ["a.txt"]
    with pytest.raises(CorpusError, match="give - instead"), open_sources([str(tmp_path / "pipe")]):
        pass


def test_a_folder_that_may_not_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: str) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(CorpusError, match=r"cannot list .*: Permission denied"):
        names(tmp_path)


def test_a_folder_whose_files_may_not_be_looked_at_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setattr(Path, "is_file", fail)
    with pytest.raises(CorpusError, match=r"cannot read .*a\.txt: Permission denied"):
        names(tmp_path)


# Standard input


def test_standard_input_can_be_read_twice_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é\r\n".encode())))

    with open_sources(["-"]) as sources:
        assert [source.name for source in sources] == ["standard input"]
        assert read(sources) == read(sources) == "é\n"
        spool = sources[0].path
    assert not spool.parent.exists()


def test_standard_input_twice_is_an_error() -> None:
    with pytest.raises(CorpusError, match="give - once"), open_sources(["-", "-"]):
        pass


def test_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CorpusError, match="closed"), open_sources(["-"]):
        pass


def test_a_disk_too_full_for_standard_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x")))
    monkeypatch.setattr("shutil.copyfileobj", fail)
    with pytest.raises(StorageError, match=r"No space left.*TMPDIR"), open_sources(["-"]):
        pass


# The hash


def test_the_hash_of_one_file_is_its_sha256(write: Write) -> None:
    assert hash_sources(write(b"abc")) == hashlib.sha256(b"abc").hexdigest()


def test_the_hash_of_several_files_is_that_of_their_digests(write: Write) -> None:
    digests = [hashlib.sha256(content).hexdigest() for content in (b"ab", b"c")]

    assert hash_sources(write(b"ab", b"c")) == hashlib.sha256("".join(digests).encode()).hexdigest()


def test_the_hash_knows_where_files_end(write: Write) -> None:
    assert hash_sources(write(b"ab", b"c")) != hash_sources(write(b"a", b"bc"))


def test_hashing_a_file_that_vanished_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"cannot read gone\.txt: No such file"):
        hash_sources([Source(tmp_path / "gone.txt", "gone.txt")])


# Characters


@LAW
@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from("\r\n")), chunk=CHUNKS)
@example(text="a\r\nb\rc\r", chunk=2)
def test_any_text_reads_back_with_its_newlines_translated(
    write: Write, text: str, chunk: int
) -> None:
    sources = write(text.encode())

    assert read(sources, chunk) == translate(text.removeprefix("\ufeff"))


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "gb18030", "hz", "shift_jis"],
)
@LAW
@given(text=st.text(st.sampled_from("aé中国あー한Яß\r\n+-~\x1b\U0001f600")), chunk=CHUNKS)
def test_a_character_split_between_chunks_reads_whole(
    write: Write, encoding: str, text: str, chunk: int
) -> None:
    stored = text.encode(encoding, "ignore")
    try:
        expected = translate(stored.decode(encoding))
    except UnicodeError:  # a bare escape sign that the encoding has a meaning for
        return

    assert read(write(stored), chunk, encoding=encoding) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-7", "gb18030", "hz"])
@LAW
@given(content=st.binary(max_size=40), chunk=CHUNKS)
@example(content=b"\xef\xbb", chunk=1)
@example(content=b"+2D0-", chunk=3)
def test_any_bytes_read_as_the_whole_would_or_raise_our_error(
    write: Write, encoding: str, content: bytes, chunk: int
) -> None:
    sources = write(content)
    try:
        text = read(sources, chunk, encoding=encoding)
    except CorpusError:
        return
    assert text == translate(content.decode(encoding).removeprefix("\ufeff"))


@LAW
@given(texts=st.lists(st.text(st.sampled_from("ab\r\n"), max_size=4), max_size=4), chunk=CHUNKS)
def test_lines_of_different_files_never_merge(write: Write, texts: list[str], chunk: int) -> None:
    expected = ""
    for text in map(translate, texts):
        expected += "\n" * bool(text and expected and not expected.endswith("\n")) + text

    assert read(write(*[text.encode() for text in texts]), chunk) == expected


@LAW
@given(
    texts=st.lists(st.text(st.sampled_from("ab-\n"), max_size=5), max_size=4),
    end=st.text(st.sampled_from("a-\n"), min_size=1, max_size=3),
    chunk=CHUNKS,
)
@example(texts=["a\n", "", "b\n\n", "\n"], end="\n\n", chunk=1)
def test_every_file_ends_as_a_document_by_the_fewest_characters(
    write: Write, texts: list[str], end: str, chunk: int
) -> None:
    def ended(text: str) -> str:
        longer = (text + end[start:] for start in range(len(end), -1, -1))
        return next(each for each in longer if each.endswith(end)) if text else ""

    sources = write(*[text.encode() for text in texts])

    assert read(sources, chunk, document_end=end) == "".join(map(ended, texts))


def test_a_document_is_brought_into_its_normal_form_before_it_is_ended(write: Write) -> None:
    sources = write("cafe\u0301".encode(), b"e")

    assert read(sources, 1, normalize="nfc", document_end="é") == "caféeé"


def test_each_file_loses_its_byte_order_mark_and_no_other_character(write: Write) -> None:
    assert read(write(b"\xef\xbb\xbfa\xef\xbb\xbf\n", b"\xef\xbb\xbfb")) == "a\ufeff\nb"


def test_pieces_are_never_empty_and_stay_near_the_chunk_size(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "CHUNK_BYTES", 5)
    sources = write(b"abcdefg\r\n" * 9, b"", b"x")
    for end in (None, "\n", "--"):
        lengths = [len(piece) for piece in iter_text(sources, document_end=end)]

        assert 1 <= min(lengths) <= max(lengths) <= 7


# Normal forms


@pytest.mark.parametrize("normalize", ["nfc", "nfkc"])
@LAW
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
    assert read(sources, chunk, normalize=normalize) == expected


def test_a_run_without_a_place_to_cut_is_cut_at_the_bound(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_HELD_CHARS", 3)
    monkeypatch.setattr(reader, "CHUNK_BYTES", 2)
    pieces = list(iter_text(write("\u0301".encode() * 9), normalize="nfc"))

    assert [len(piece) for piece in pieces] == [4, 4, 1]


# What cannot be read


def test_undecodable_bytes_are_named_with_place_and_remedy(write: Write) -> None:
    sources = write("ab\n列位看官，你道此书从何而来？".encode("gb18030"))

    assert complaint(sources) == (
        "0.txt is not utf-8: invalid start byte, bytes c1 (hex) at offset 3; "
        "it reads as gb18030, euc_kr, big5: pass --encoding gb18030"
    )


@LAW
@given(before=st.integers(0, 30), chunk=CHUNKS)
def test_the_offset_counts_from_the_start_of_the_file(
    write: Write, before: int, chunk: int
) -> None:
    sources = write(b"\xef\xbb\xbf" + b"a" * before + "é".encode() + b"\xff")
    with pytest.raises(CorpusError, match=rf"bytes ff \(hex\) at offset {before + 5};"):
        read(sources, chunk)


def test_a_suggestion_comes_from_around_an_error_far_into_the_file(write: Write) -> None:
    russian = "Все счастливые семьи похожи друг на друга.\n".encode("cp1251")
    message = complaint(write(b"plain\n" * 300_000 + russian))

    assert "at offset 1800000; it reads as cp1251" in message


def test_a_file_cut_off_inside_a_character_is_not_blamed_on_its_encoding(write: Write) -> None:
    message = complaint(write("中文".encode()[:-1]))

    assert "unexpected end of data, bytes e6 96 (hex) at offset 3; no usual encoding" in message


def test_utf16_without_its_mark_is_named(write: Write) -> None:
    message = complaint(write("Plain words\n".encode("utf-16-be")), encoding="utf-16")

    assert message.endswith("it reads as utf-16-be: pass --encoding utf-16-be")


def test_a_lone_surrogate_is_named(write: Write) -> None:
    assert "lone surrogate U+D83D" in complaint(write(b"a +2D0-"), encoding="utf-7")


def test_an_unknown_encoding_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="klingon"):
        iter_text([Source(tmp_path / "gone", "gone")], encoding="klingon")


def test_a_folder_in_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    assert complaint([Source(tmp_path, "books")]) == "cannot read books: Is a directory"


# Packed files


def test_a_gzip_file_is_unpacked_in_all_its_members(write: Write) -> None:
    packed = gzip.compress("é\r".encode()) + gzip.compress(b"\nb")

    for suffix in (".gz", ".GZ"):
        assert read(write(packed, suffix=suffix), 3) == "é\nb"


def test_a_plain_text_named_gz_is_read_as_it_is(write: Write) -> None:
    assert read(write(b"plain", suffix=".gz")) == "plain"


@LAW
@given(cut=st.integers(2, 30), flip=st.integers(2, 30))
def test_a_damaged_gzip_file_reads_or_raises_our_error(write: Write, cut: int, flip: int) -> None:
    packed = bytearray(gzip.compress(b"some text, and other words", mtime=0))
    packed[flip] ^= 0x55
    for content in (bytes(packed), bytes(packed[:cut])):
        with contextlib.suppress(CorpusError):
            read(write(content, suffix=".gz"))


def test_a_truncated_gzip_file_is_named_as_damaged(write: Write) -> None:
    assert "damaged" in complaint(write(gzip.compress(b"text")[:-3], suffix=".gz"))


def test_a_gzip_file_that_unpacks_without_end_is_stopped(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MAX_UNPACKED_BYTES", 1000)

    assert "more than 1,000 bytes" in complaint(write(gzip.compress(b"a" * 1001), suffix=".gz"))
    assert len(read(write(gzip.compress(b"a" * 1000), suffix=".gz"))) == 1000


def test_a_gzip_file_may_unpack_to_a_hundred_times_its_size(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "RATIO_FREE_BYTES", 1000)
    packed = gzip.compress(b"a" * 100_000)
    padding = gzip.compress(os.urandom(2000))  # of which the whole file gets larger

    assert f"more than {100 * len(packed):,} bytes" in complaint(write(packed, suffix=".gz"))
    assert read(write(gzip.compress(b"a" * 1000), suffix=".gz")) == "a" * 1000
    sources = write(packed + padding, suffix=".gz")
    assert read(sources, encoding="latin-1").startswith("a" * 100_000)
