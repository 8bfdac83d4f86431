"""The files of a corpus: which files a name means, and their bytes as stored, unpacked or hashed.

Memory stays bounded. A file that changes after it was found is an error, and so is a packed file
that unpacks to far more than a text does. `reader` turns the bytes into characters.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

from charrnn.config.weights import split_weight
from charrnn.errors import CorpusError, StorageError

TEXT_GIVEN = "text given"  # what a literal text is called in results
CHUNK_BYTES = 1 << 20
MAX_UNPACKED_BYTES = 64 << 30  # of one packed file
MAX_UNPACKED_RATIO = 100  # unpacked to packed size; prose has 3 to 5, deflate's limit is 1,032
RATIO_FREE_BYTES = 256 << 20  # may be unpacked whatever the ratio
_BUFFER_BYTES = 1 << 16
_MAX_SHOWN = 200  # characters of a path, which may be a whole text by mistake

# The first bytes of packed files, by the ending of their names. `open_packed` reads them.
_PACKED = {
    ".gz": b"\x1f\x8b",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ\0",
    ".zst": b"\x28\xb5\x2f\xfd",
}


class FileStamp(NamedTuple):
    """What changes when a file is written."""

    size_bytes: int
    mtime_ns: int  # of the last write


@dataclass(frozen=True)
class Source:
    """One file of a corpus, or the stretch of its stored bytes from `start` to `stop`.

    is_found: a folder or a pattern led to it, not its own name. codec: to read it by, once that is
    known. given: the path that led to it, as it was given; weight: how often training reads it in
    an epoch.
    """

    path: Path
    name: str  # what messages call it
    # The file must still have this stamp when it is read; None accepts it as it is then.
    stamp: FileStamp | None = field(default=None, compare=False, repr=False)
    start: int = 0
    stop: int | None = None  # the end of the file
    is_found: bool = False
    codec: str | None = None
    given: str = field(default="", compare=False)
    weight: int = 1

    @property
    def size_bytes(self) -> int:
        """The size of the stored file, all of it."""
        return (self.stamp or _stamp_of(self.path, self.name)).size_bytes

    @property
    def is_named_packed(self) -> bool:
        """Whether the file's name ends as that of a packed file, in any case."""
        return self.path.suffix.lower() in _PACKED


@contextmanager
def open_sources(paths: Sequence[str], *, has_weights: bool = False) -> Iterator[list[Source]]:
    """Yield the sources that `paths` name: files, folders, glob patterns, "-" for standard input.

    They keep the order given, sorted within a folder or pattern, and each file comes once. Standard
    input is in a temporary file until the block ends, because a text is read twice.

    has_weights: a path may end in a weight, as for `split_weight`.

    Raises:
        CorpusError: a path leads to no readable file, or there is no path; a weight is none.
        StorageError: standard input does not fit on the disk.
    """
    if not paths:
        raise CorpusError("no text was given; name a file, a folder, a pattern, or - for stdin")
    if list(paths).count("-") > 1:
        raise CorpusError("standard input can be read only once; give - once")
    sources: dict[str, Source] = {}  # by real path, so that links to one file count once
    real_folder = cache(os.path.realpath)  # followed once for all the files of a folder
    with ExitStack() as stack:
        for path_given in paths:
            name, weight = split_weight(path_given) if has_weights else (path_given, 1)
            if name == "-":
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="charrnn-")))
                found = {_spool_stdin(folder): "standard input"}
            else:
                try:
                    found = {path: str(path) for path in _find_files(name)}
                except OSError as error:  # a folder that may not be listed
                    raise _read_error(error.filename, error) from error
                except RecursionError as error:  # the walks of Python 3.11 call themselves
                    raise CorpusError(
                        f"the folders in {name!r} are nested too deeply; name a folder further down"
                    ) from error
            for path, shown in found.items():
                real = os.path.join(real_folder(path.parent), path.name)  # noqa: PTH118 (10 × faster)
                if path.is_symlink():
                    real = str(path.resolve())
                source = Source(
                    path,
                    shown,
                    _stamp_of(path, shown),
                    is_found=shown != name,
                    given=name,
                    weight=weight,
                )
                sources.setdefault(real, source)
        yield list(sources.values())


@contextmanager
def open_bytes(data: bytes, name: str) -> Iterator[Source]:
    """Yield bytes in memory as a source; as a file's, the name may say that they are packed."""
    with TemporaryDirectory(prefix="charrnn-") as folder:
        path = Path(folder, "bytes" + Path(name).suffix)
        yield Source(_spool(io.BytesIO(data), path, name), name)


def iter_bytes(source: Source, *, is_raw: bool = False) -> Iterator[bytes]:
    """Yield a source's bytes in chunks, unpacked where name and content both say that it is packed.

    is_raw: as they are stored, packed or not.

    Raises:
        CorpusError: the file cannot be read or unpacked, unpacks to too much, or has changed.
    """
    with open_source(source) as stored:
        # A plain text named .gz is read as it is; a packed one is never cut into stretches.
        signature = _PACKED.get(source.path.suffix.lower())
        if signature and not is_raw and stored.peek(8).startswith(signature):
            yield from _iter_unpacked(source, stored)
            return
        position = stored.seek(source.start)
        stop = sys.maxsize if source.stop is None else source.stop
        while chunk := stored.read(min(CHUNK_BYTES, stop - position)):
            position += len(chunk)
            yield chunk


def hash_sources(sources: Sequence[Source]) -> str:
    """Return the SHA-256 (hex) of one file's stored bytes, or of the digests of several files."""
    digests = []
    for source in sources:
        with open_source(source) as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    # A hash of digests depends on where each file ends; one of the joined bytes does not.
    joined = "".join(digests)
    return joined if len(digests) == 1 else hashlib.sha256(joined.encode()).hexdigest()


@contextmanager
def open_source(source: Source) -> Iterator[io.BufferedReader[_UnchangedFile]]:
    """Open a source's stored bytes and turn every failure to read them into a CorpusError."""
    try:
        with io.BufferedReader(_UnchangedFile(source), _BUFFER_BYTES) as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise CorpusError(f"{source.name} is a damaged packed file: {error}") from error
    except OSError as error:
        raise _read_error(source.name, error) from error


class _UnchangedFile(io.FileIO):
    """A source's stored bytes; reading fails once the file's stamp is another one."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.path)
        self._source = source
        self._stamp = source.stamp or _stamp_of(source.path, source.name)

    def readinto(self, buffer: Any, /) -> int | None:
        """Read some bytes, then check the stamp: a check before would miss a change meanwhile."""
        size = super().readinto(buffer)
        name = self._source.name
        if _stamp_of(self._source.path, name) != self._stamp:
            raise CorpusError(f"{name} changed while it was read; run the command again")
        return size


def _iter_unpacked(source: Source, stored: io.BufferedReader[_UnchangedFile]) -> Iterator[bytes]:
    """Yield the unpacked bytes of a packed file, and stop one that would fill the disk."""
    limit_bytes = _max_unpacked_bytes(source.size_bytes)
    size = 0
    file = _open_packed(source, stored)
    while chunk := file.read(CHUNK_BYTES):
        size += len(chunk)
        if size > limit_bytes:
            raise CorpusError(
                f"{source.name} unpacks to more than {limit_bytes:,} bytes, which no usual text "
                "does; if you trust it, unpack it yourself and give that file"
            )
        yield chunk


def _open_packed(source: Source, stored: Any) -> Any:
    """Open a packed file to read what is in it."""
    match source.path.suffix.lower():
        case ".gz":
            return gzip.GzipFile(fileobj=stored)
        case ".bz2":
            return bz2.BZ2File(stored)
        case ".xz":
            return lzma.LZMAFile(stored)
    try:
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14 has it
    except ImportError as error:
        raise CorpusError(
            f"{source.name} is Zstandard data, which this Python cannot read (3.14 can); unpack it "
            "with unzstd and give that file"
        ) from error
    return zstd.ZstdFile(stored)


def _max_unpacked_bytes(packed_bytes: int) -> int:
    return min(MAX_UNPACKED_BYTES, max(RATIO_FREE_BYTES, MAX_UNPACKED_RATIO * packed_bytes))


def _stamp_of(path: Path, name: str) -> FileStamp:
    try:
        status = path.stat()
    except OSError as error:
        raise _read_error(name, error) from error
    return FileStamp(status.st_size, status.st_mtime_ns)


def _read_error(name: str, error: OSError) -> CorpusError:
    return CorpusError(f"cannot read {name}: {error.strerror or error}")


def _find_files(name: str) -> list[Path]:
    """List the file of that name, the files of that folder, or those that match the pattern."""
    path = Path(name)
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116 (Path("") would be the working folder)
    except (OSError, ValueError) as error:
        # A name is a pattern only if no file has it: a file may be called [a].txt.
        if re.search(r"[*?\[]", name) and (files := _match_pattern(path)):
            return files
        reason = getattr(error, "strerror", None) or error
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        shown = name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}…"
        raise CorpusError(
            f"cannot find the text {shown!r}{where} ({reason}); if you moved it, give its new path"
        ) from error
    if stat.S_ISREG(mode):
        return [path]
    if not stat.S_ISDIR(mode):
        raise CorpusError(f"{name} is not a regular file; pipe its content in and give - instead")
    if files := _walk_folder(path):
        return files
    raise CorpusError(f"the folder {name} has no files (hidden files do not count)")


def _walk_folder(folder: Path) -> list[Path]:
    """List the regular files under a folder, sorted; no hidden ones, no links to folders."""

    def fail(error: OSError) -> None:
        raise error

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(path for path in files if path.is_file())


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
    return [path for path in files if path.is_file()]  # no pipes, devices, or dead links


def _spool_stdin(folder: Path) -> Path:
    """Copy standard input, as bytes, into a file in `folder`."""
    if sys.stdin is None:
        raise CorpusError("standard input is closed; name a file instead of -")
    return _spool(sys.stdin.buffer, folder / "stdin", "standard input")


def _spool(file: IO[bytes], path: Path, name: str) -> Path:
    """Copy what is left of an open file to `path`."""
    try:
        with path.open("wb") as spool:
            shutil.copyfileobj(file, spool, CHUNK_BYTES)
    except OSError as error:
        raise StorageError(
            f"cannot keep {name} in {path.parent}: {error.strerror or error}; "
            "set TMPDIR to a folder with more room, or name a file"
        ) from error
    return path
