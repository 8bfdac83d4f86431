"""Names lead to the files that a person means, and their bytes come as stored, unpacked or hashed.

Everything else ends in one clear error.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError, StorageError
from charrnn.text import files
from charrnn.text.files import Source, hash_sources, open_sources
from tests.text.reading import Write, complaint, read_bytes


def names(*paths: object) -> list[str]:
    """Return the names of the files that the paths lead to."""
    with open_sources([str(path) for path in paths]) as sources:
        return [source.path.name for source in sources]


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
        assert sources == [Source(Path("a.txt"), "a.txt", is_found=True)]


def test_a_file_whose_name_looks_like_a_pattern_is_taken_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "[a].txt").write_text("literal")
    (tmp_path / "a.txt").write_text("match")

    assert names(tmp_path / "[a].txt") == ["[a].txt"]


@pytest.mark.parametrize("name", ["", "missing.txt", "*.none", "a**b", "nul\0byte", "[", "x" * 300])
def test_a_name_that_leads_nowhere_is_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match=r"cannot find the text|cannot follow"):
        names(name)


def test_a_text_in_the_place_of_a_path_is_not_quoted_whole() -> None:
    with pytest.raises(CorpusError, match="cannot find the text") as caught:
        names("It was the best of times. " * 200)

    assert len(str(caught.value)) < 500


def test_no_name_at_all_is_an_error() -> None:
    with pytest.raises(CorpusError, match="name a file"), open_sources([]):
        pass


def test_a_folder_with_nothing_visible_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("x")
    with pytest.raises(CorpusError, match="has no files"), open_sources([str(tmp_path)]):
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
    with pytest.raises(CorpusError, match=r"cannot read .*: Permission denied"):
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


# Weights


def test_sources_know_the_path_that_led_to_them_and_its_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt", "c.txt"):
        Path(name).write_text(name)

    with open_sources(["b.txt", "./*.txt:3"], has_weights=True) as sources:
        found = [(source.name, source.given, source.weight) for source in sources]
    assert found == [("b.txt", "b.txt", 1), ("a.txt", "./*.txt", 3), ("c.txt", "./*.txt", 3)]


def test_where_no_weight_can_count_the_colon_is_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")

    with pytest.raises(CorpusError, match=r"cannot find the text '.*a\.txt:2'"):
        names(tmp_path / "a.txt:2")


# Standard input


def test_standard_input_can_be_read_twice_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é\r\n".encode())))

    with open_sources(["-"]) as sources:
        assert [source.name for source in sources] == ["standard input"]
        assert read_bytes(sources) == read_bytes(sources) == "é\r\n".encode()
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


# Packed files


def test_a_gzip_file_is_unpacked_in_all_its_members(write: Write) -> None:
    packed = gzip.compress("é\r".encode()) + gzip.compress(b"\nb")

    for suffix in (".gz", ".GZ"):
        assert read_bytes(write(packed, suffix=suffix), 3) == "é\r\nb".encode()


def test_a_plain_text_named_gz_is_read_as_it_is(write: Write) -> None:
    assert read_bytes(write(b"plain", suffix=".gz")) == b"plain"


@given(cut=st.integers(2, 30), flip=st.integers(2, 30))
def test_a_damaged_gzip_file_reads_or_raises_our_error(write: Write, cut: int, flip: int) -> None:
    packed = bytearray(gzip.compress(b"some text, and other words", mtime=0))
    packed[flip] ^= 0x55
    for content in (bytes(packed), bytes(packed[:cut])):
        with contextlib.suppress(CorpusError):
            read_bytes(write(content, suffix=".gz"))


def test_a_truncated_gzip_file_is_named_as_damaged(write: Write) -> None:
    assert "damaged" in complaint(write(gzip.compress(b"text")[:-3], suffix=".gz"))


def test_a_gzip_file_that_unpacks_without_end_is_stopped(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_UNPACKED_BYTES", 1000)

    assert "more than 1,000 bytes" in complaint(write(gzip.compress(b"a" * 1001), suffix=".gz"))
    assert len(read_bytes(write(gzip.compress(b"a" * 1000), suffix=".gz"))) == 1000


def test_a_gzip_file_may_unpack_to_a_hundred_times_its_size(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RATIO_FREE_BYTES", 1000)
    packed = gzip.compress(b"a" * 100_000)
    padding = gzip.compress(os.urandom(2000))  # of which the whole file gets larger

    assert f"more than {100 * len(packed):,} bytes" in complaint(write(packed, suffix=".gz"))
    assert read_bytes(write(gzip.compress(b"a" * 1000), suffix=".gz")) == b"a" * 1000
    sources = write(packed + padding, suffix=".gz")
    assert read_bytes(sources).startswith(b"a" * 100_000)
