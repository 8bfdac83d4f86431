"""Holds the cached SHA-256 to the truth: what was touched is read again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.data import fingerprint as module
from charrnn.data.fingerprint import Fingerprint
from charrnn.text.files import Source

TEXT = b"It was the best of times.\n"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_bytes(TEXT)
    return path


@pytest.fixture
def is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files count as large and as written long ago."""
    monkeypatch.setattr(module, "CACHED_FROM_BYTES", 1)
    monkeypatch.setattr(module, "SETTLED_SECONDS", -3600)


def look(*paths: Path) -> Fingerprint:
    sources = [Source(path, path.name) for path in paths]
    return Fingerprint(sources, paths[0].parent / "cache")


def touch(path: Path, act: Callable[[], object]) -> None:
    """Do it until the clock of the file system has moved on."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        act()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


needs_times = pytest.mark.skipif(os.name != "posix", reason="no time of status change")


@needs_times
@pytest.mark.usefixtures("is_settled")
def test_an_unchanged_file_is_not_read_again(book: Path) -> None:
    assert look(book).sha256 is None
    assert look(book).compute() == sha256(TEXT)
    assert look(book).sha256 == sha256(TEXT)


@needs_times
@pytest.mark.usefixtures("is_settled")
def test_an_edit_that_restores_size_and_time_is_noticed(book: Path) -> None:
    first = look(book)
    first.compute()
    stamp = book.stat()

    def edit() -> None:
        book.write_bytes(TEXT.upper())
        os.utime(book, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    touch(book, edit)

    assert (book.stat().st_size, book.stat().st_mtime_ns) == (stamp.st_size, stamp.st_mtime_ns)
    assert not first.is_unchanged()
    assert look(book).sha256 is None
    assert look(book).compute() == sha256(TEXT.upper())


@needs_times
@pytest.mark.usefixtures("is_settled")
def test_a_file_with_new_times_only_is_read_again_and_unchanged(book: Path) -> None:
    first = look(book)
    first.compute()
    touch(book, lambda: book.chmod(0o600))

    assert look(book).sha256 is None
    assert first.is_unchanged()


@pytest.mark.usefixtures("is_settled")
def test_other_files_have_a_hash_of_their_own(book: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_bytes(b"other")
    look(book).compute()

    assert look(book, other).sha256 is None
    assert look(other, book).compute() != look(book, other).compute()


def test_a_file_that_was_written_just_now_is_read_each_time(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHED_FROM_BYTES", 1)
    monkeypatch.setattr(module, "SETTLED_SECONDS", 3600)
    look(book).compute()

    assert look(book).sha256 is None


def test_a_small_text_is_not_cached(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLED_SECONDS", -3600)
    look(book).compute()

    assert not (book.parent / "cache").exists()


@needs_times
@pytest.mark.usefixtures("is_settled")
@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe", b"0" * 129, b"null", b"x " + b"0" * 64])
def test_a_cached_hash_that_is_garbage_is_not_believed(book: Path, garbage: bytes) -> None:
    look(book).compute()
    (cached,) = (book.parent / "cache" / "hashes").iterdir()
    cached.write_bytes(garbage)

    assert look(book).sha256 is None
    assert look(book).compute() == sha256(TEXT)


@needs_times
@pytest.mark.usefixtures("is_settled")
def test_a_cache_that_cannot_be_written_costs_no_more_than_time(book: Path) -> None:
    (book.parent / "cache").write_bytes(b"no folder")

    assert look(book).compute() == sha256(TEXT)
