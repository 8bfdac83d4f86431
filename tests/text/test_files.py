"""A file's bytes come as they are stored, unpacked and hashed, or end in one clear error."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.text import files
from charrnn.text.files import Source, hash_sources, iter_bytes

Write = Callable[..., list[Source]]


def read(sources: list[Source], chunk_bytes: int = 1 << 20) -> bytes:
    """Join the bytes of all sources, read in chunks of so many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK_BYTES", chunk_bytes)
        return b"".join(chunk for each in sources for chunk in iter_bytes(each))


def complaint(sources: list[Source]) -> str:
    """Give the message of the CorpusError that reading ends in."""
    with pytest.raises(CorpusError) as caught:
        read(sources)
    return str(caught.value)


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
        assert read(write(packed, suffix=suffix), 3) == "é\r\nb".encode()


def test_a_plain_text_named_gz_is_read_as_it_is(write: Write) -> None:
    assert read(write(b"plain", suffix=".gz")) == b"plain"


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
    monkeypatch.setattr(files, "MAX_UNPACKED_BYTES", 1000)

    assert "more than 1,000 bytes" in complaint(write(gzip.compress(b"a" * 1001), suffix=".gz"))
    assert len(read(write(gzip.compress(b"a" * 1000), suffix=".gz"))) == 1000


def test_a_gzip_file_may_unpack_to_a_hundred_times_its_size(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RATIO_FREE_BYTES", 1000)
    packed = gzip.compress(b"a" * 100_000)
    padding = gzip.compress(os.urandom(2000))  # of which the whole file gets larger

    assert f"more than {100 * len(packed):,} bytes" in complaint(write(packed, suffix=".gz"))
    assert read(write(gzip.compress(b"a" * 1000), suffix=".gz")) == b"a" * 1000
    sources = write(packed + padding, suffix=".gz")
    assert read(sources).startswith(b"a" * 100_000)
