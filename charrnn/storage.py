"""The one place that writes a file: whole or not at all, even if the machine dies in between.

A file is written beside its place under a random name, flushed to the disk, renamed over the old
one, and the folder's entry is flushed too (rename is atomic in POSIX; without the last flush it
may be forgotten in a power cut). A flush that failed is not tried again: the kernel may have
dropped what it could not write, and would report success. It knows nothing of what bytes mean.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from charrnn.errors import StorageError

_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


def write_atomically(path: Path, data: bytes | bytearray | str) -> None:
    """Put `data` (text as UTF-8) at `path`, replacing what was there only when all of it is safe.

    A symbolic link there is replaced, not followed.

    Raises:
        StorageError: the disk is full, read-only, or the folder may not be written.
    """
    with open_atomically(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def open_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file that takes `path`'s place when the block ends without an error.

    Raises:
        StorageError: as `write_atomically`, or something other than a file stands there.
    """
    _check_place(path)
    temporary = path.with_name(f".{path.name[:80]}.{os.urandom(6).hex()}")
    with _writing(path):
        make_folder(path.parent)
        try:
            with _opened(temporary, _NEW) as descriptor:
                with os.fdopen(descriptor, "wb", closefd=False) as file:
                    yield file
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        flush_folder(path.parent)


@contextmanager
def open_at(path: Path, offset: int) -> Iterator[IO[bytes]]:
    """Yield a binary file that is written from byte `offset` on; the rest of it stays.

    So that several processes can fill one file. What lies in it is safe after `flush_file`.

    Raises:
        StorageError: as `write_atomically`.
    """
    with (
        _writing(path),
        _opened(path, os.O_WRONLY | os.O_CREAT) as descriptor,
        os.fdopen(descriptor, "wb", closefd=False) as file,
    ):
        file.seek(offset)
        yield file


def append_text(path: Path, text: str) -> None:
    """Add `text` (UTF-8) at the end of a log such as metrics.jsonl.

    A crash may cut its last line short, so readers skip what does not parse.

    Raises:
        StorageError: as `write_atomically`.
    """
    with _writing(path):
        make_folder(path.parent)
        with (
            _opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as descriptor,
            os.fdopen(descriptor, "ab", closefd=False) as file,
        ):
            file.write(text.encode())


def cut_file(path: Path, size_bytes: int) -> None:
    """Shorten a log to its first `size_bytes` for good; one that is missing or shorter stays.

    Raises:
        StorageError: it may not be written.
    """
    with _writing(path), suppress(FileNotFoundError), _opened(path, os.O_WRONLY) as descriptor:
        if os.fstat(descriptor).st_size > size_bytes:
            os.ftruncate(descriptor, size_bytes)
        os.fsync(descriptor)


def flush_file(path: Path) -> int:
    """Make a file and its entry survive a power cut; give its size in bytes, 0 if it is missing.

    Raises:
        StorageError: the disk could not take it.
    """
    with _writing(path), suppress(FileNotFoundError), _opened(path, os.O_WRONLY) as descriptor:
        os.fsync(descriptor)
        flush_folder(path.parent)
        return os.fstat(descriptor).st_size
    return 0


def make_folder(folder: Path) -> None:
    """Make the folder and those it lies in, and make their entries survive a power cut.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir() or folder == folder.parent:
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Make the folder's entries (a rename, a new file) survive a power cut.

    Raises:
        OSError: the disk could not take them.
    """
    if os.name != "posix":  # Windows opens no folders, and its renames are journalled
        return
    with _opened(folder, os.O_RDONLY) as descriptor:
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that flushes no folders
                raise


def check_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse to start `what` where the disk that `folder` lies on, or will, has not the room.

    A disk that does not tell its room is taken at its word.

    Raises:
        StorageError: less than `needed_bytes` are free.
    """
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        disk = shutil.disk_usage(folder)
    except OSError:
        return
    if disk.total and disk.free < needed_bytes:
        raise StorageError(
            f"{what} needs {format_bytes(needed_bytes)}, but the disk of {folder.resolve()} has "
            f"{format_bytes(disk.free)} free; free some, or name a folder on another disk by "
            "--checkpoints"
        )


def format_bytes(number: float) -> str:
    """Give 512 B, 1.4 MB or 2.0 GB (powers of ten)."""
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= divisor * 0.99995:
            return f"{number / divisor:.1f} {unit}"
    return f"{number:.0f} B"


def _check_place(path: Path) -> None:
    """Refuse to put a file in the place of a device, pipe or socket; a folder refuses itself."""
    with suppress(OSError):
        mode = path.lstat().st_mode
        if not any(test(mode) for test in (stat.S_ISREG, stat.S_ISLNK, stat.S_ISDIR)):
            raise StorageError(f"cannot write {path}: it is no file; name one, or a new one")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the file that could not be written."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Yield a descriptor; a new file's mode is the umask's. An error of closing it counts."""
    descriptor = os.open(path, flags | _FLAGS, 0o666)
    try:
        yield descriptor
    finally:
        with suppress(InterruptedError):  # by a signal, and closed all the same
            os.close(descriptor)
