"""One file of a corpus: its bytes as they are stored, unpacked or hashed, in bounded memory.

A file that changes after it was found is an error, and so is a .gz file that is a bomb. What the
bytes mean, and how a file was found, is not known here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charrnn.errors import CorpusError

CHUNK_BYTES = 1 << 20
MAX_UNPACKED_BYTES = 64 << 30  # of one .gz file
MAX_UNPACKED_RATIO = 100  # to its packed size; prose has 3, and deflate ends at 1,032
RATIO_FREE_BYTES = 256 << 20  # may be unpacked whatever the ratio
_BUFFER_BYTES = 1 << 16

_State = tuple[int, int]  # a file's size in bytes and the time of its last change in nanoseconds


@dataclass(frozen=True)
class Source:
    """One file of a corpus: where it lies, and the name to show for it.

    state: what it was like when it was found, to be held to; None for as it is when opened.
    start, stop: the bytes of it that are read, as they are stored; all of them by default.
    """

    path: Path
    name: str
    state: _State | None = field(default=None, compare=False, repr=False)
    start: int = 0
    stop: int | None = None

    @property
    def size_bytes(self) -> int:
        """How long it was when it was found, packed where it is."""
        return (self.state or _state_of(self.path))[0]


def make_source(path: Path, name: str) -> Source:
    """Give a file as it is now, to be held to that.

    Raises:
        CorpusError: it cannot be looked at.
    """
    try:
        return Source(path, name, _state_of(path))
    except OSError as error:
        raise CorpusError(f"cannot read {name}: {error.strerror or error}") from error


@contextmanager
def open_source(source: Source) -> Iterator[io.BufferedReader[_SteadyFile]]:
    """Open a source's stored bytes and turn every failure to read them into a CorpusError."""
    try:
        with io.BufferedReader(_SteadyFile(source), _BUFFER_BYTES) as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(f"{source.name} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise CorpusError(f"cannot read {source.name}: {error.strerror or error}") from error


def iter_bytes(source: Source) -> Iterator[bytes]:
    """Yield a source's bytes in chunks, unpacked where name and content both say gzip.

    Raises:
        CorpusError: the file cannot be read or unpacked, is a bomb, or changes meanwhile.
    """
    if source.start or source.stop is not None:
        yield from _iter_range(source)
        return
    with open_source(source) as stored:
        is_packed = source.path.suffix.lower() == ".gz" and stored.peek(2)[:2] == b"\x1f\x8b"
        file = gzip.GzipFile(fileobj=stored) if is_packed else stored
        size, most = 0, _most_unpacked(os.fstat(stored.fileno()).st_size)
        while chunk := file.read(CHUNK_BYTES):
            size += len(chunk)
            if is_packed and size > most:
                raise CorpusError(
                    f"{source.name} unpacks to more than {most:,} bytes, which no usual text does; "
                    "if it really is one, unpack it first"
                )
            yield chunk


def hash_sources(sources: Sequence[Source]) -> str:
    """Give the SHA-256, in hex, of one file's stored bytes; of several, that of their digests.

    Raises:
        CorpusError: a file cannot be read, or changes meanwhile.
    """
    first, *others = digests = [_hash_source(source) for source in sources]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if others else first


class _SteadyFile(io.FileIO):
    """A source's stored bytes, which cannot be read on once the file is not what it was."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.path)
        self._source = source
        self._state = source.state or _state_of(source.path)

    def readinto(self, buffer: Any, /) -> int | None:
        """Read some bytes, and look at the file afterwards."""
        size = super().readinto(buffer)
        if _state_of(self._source.path) != self._state:
            raise CorpusError(
                f"{self._source.name} changed while it was read; run the command again"
            )
        return size


def _iter_range(source: Source) -> Iterator[bytes]:
    """Yield the bytes from source.start to source.stop in chunks, as they are stored."""
    with open_source(source) as stored:
        place = stored.seek(source.start)
        stop = sys.maxsize if source.stop is None else source.stop
        while chunk := stored.read(min(CHUNK_BYTES, stop - place)):
            place += len(chunk)
            yield chunk


def _most_unpacked(packed_bytes: int) -> int:
    """Give how many bytes a .gz file of that size may unpack to."""
    return min(MAX_UNPACKED_BYTES, max(RATIO_FREE_BYTES, MAX_UNPACKED_RATIO * packed_bytes))


def _hash_source(source: Source) -> str:
    digest = hashlib.sha256()
    with open_source(source) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _state_of(path: Path) -> _State:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
