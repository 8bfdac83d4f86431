"""One file of a corpus: its bytes as they are stored, unpacked or hashed, in bounded memory.

A file that changes after it was found is an error, and so is a .gz file that is a bomb. What the
bytes mean, and how a file was found, is not known here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from charrnn.errors import CorpusError, StorageError

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


@contextmanager
def open_sources(paths: Sequence[str]) -> Iterator[list[Source]]:
    """Yield the files that `paths` name: files, folders, glob patterns, and - for standard input.

    They come in the order given, sorted within a folder or pattern, each once. Standard input is
    kept in a temporary file, so that it can be read twice, until the block ends.

    Raises:
        CorpusError: a name leads to no readable text file, or there is no name.
        StorageError: standard input does not fit on the disk.
    """
    if not paths:
        raise CorpusError("no text was given; name a file, a folder, a pattern, or - for stdin")
    if list(paths).count("-") > 1:
        raise CorpusError("standard input can be read only once; give - once")
    with ExitStack() as stack:
        sources: dict[str, Source] = {}
        real_folder = cache(os.path.realpath)
        for name in paths:
            if name == "-":
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="charrnn-"))
                found = [make_source(_spool_stdin(Path(folder)), "standard input")]
            else:
                found = [make_source(path, str(path)) for path in _find_files(name)]
            for source in found:
                sources.setdefault(_real_path(source.path, real_folder), source)
        yield list(sources.values())


def _real_path(path: Path, real_folder: Callable[[Path], str]) -> str:
    """Give where a file lies without links; a folder is followed once for all files in it."""
    if path.is_symlink():
        return str(path.resolve())
    return os.path.join(real_folder(path.parent), path.name)  # noqa: PTH118 (ten times as fast)


def _find_files(name: str) -> list[Path]:
    """Give the files that `_list_files` finds, unless folders lie too deep for Python."""
    try:
        return _list_files(name)
    except RecursionError as error:
        raise CorpusError(f"the folders in {name!r} lie too deep; name those below") from error


def _list_files(name: str) -> list[Path]:
    """Give the file of that name, the files of that folder, or those that match the pattern."""
    path = Path(name)
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116 (Path("") would be the working folder)
    except (OSError, ValueError) as error:
        if re.search(r"[*?\[]", name) and (files := _match_pattern(path)):
            return files
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(
            f"no text at {name!r} ({reason}); check the path, which starts from {Path.cwd()}"
        ) from error
    if stat.S_ISDIR(mode):
        if files := _walk_folder(path):
            return files
        raise CorpusError(f"the folder {name} holds no file (hidden ones do not count)")
    if not stat.S_ISREG(mode):
        raise CorpusError(f"{name} is not a regular file; pipe its content in and give - instead")
    return [path]


def _walk_folder(folder: Path) -> list[Path]:
    """List the regular files under a folder, sorted, without the hidden; links to folders stay."""

    def fail(error: OSError) -> None:
        raise CorpusError(f"cannot list {error.filename}: {error.strerror}") from error

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(_keep_regular(files))


def _match_pattern(pattern: Path) -> list[Path]:
    """List the files that match a glob pattern, and those in folders that match, sorted."""
    # pathlib's ** follows no links to folders, unlike the glob module's; but it finds hidden names.
    dotted = [part for part in pattern.parts if part.startswith(".")]
    try:
        matches = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    except (OSError, ValueError) as error:
        raise CorpusError(f"cannot follow the pattern {str(pattern)!r}: {error}") from error
    files: list[Path] = []
    for match in matches:
        hidden = [part for part in match.parts if part.startswith(".")]
        if all(any(fnmatchcase(part, shown) for shown in dotted) for part in hidden):
            files += _walk_folder(match) if match.is_dir() else [match]
    return _keep_regular(files)


def _keep_regular(paths: list[Path]) -> list[Path]:
    """Leave out pipes, devices, and links that lead nowhere."""
    try:
        return [path for path in paths if path.is_file()]
    except OSError as error:
        raise CorpusError(f"cannot read {error.filename}: {error.strerror}") from error


def _spool_stdin(folder: Path) -> Path:
    """Copy standard input, as bytes, into a file in `folder`."""
    if sys.stdin is None:
        raise CorpusError("standard input is closed; name a file instead of -")
    path = folder / "stdin"
    try:
        with path.open("wb") as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool, CHUNK_BYTES)
    except OSError as error:
        raise StorageError(
            f"cannot keep standard input in {folder}: {error.strerror or error}; "
            "set TMPDIR to a folder with more room, or name a file"
        ) from error
    return path
