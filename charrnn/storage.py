"""The one place that writes files: whole or not at all, even if the machine dies in between.

A file is written beside its target under a random name, flushed to the disk, renamed over the old
one, and the folder's entry is flushed too: rename is atomic in POSIX, but without the last flush a
power cut may undo it. A flush that failed is not tried again: the kernel may have dropped what it
could not write, and would report success (Rebello et al. 2020).

What is changed in place, such as a log, must be a plain file of its own: a link could lead to any
file of the user, and opening a pipe waits for its other end.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from charrnn.errors import StorageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

# Child processes do not inherit our descriptors, and Windows does not translate newlines.
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW
_NOT_PLAIN = "it is a pipe, socket or device"
_MAX_NOTE_BYTES = 1 << 20
_OF_WINDOWS = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.I | re.S
)
_LOCK = ".lock"  # of a folder of files in the making
_REPLACED = ".replaced"  # ends the name of what is being replaced
_ATTEMPTS = 5
_MAX_STEM = 60  # characters of up to 4 bytes; 14 bytes are added, and a name can have 255


def write_atomically(path: Path, data: bytes | bytearray | str) -> None:
    """Write `data` (text as UTF-8) to `path`; an old file stays until all of it is safe.

    A symbolic link at `path` is replaced, not followed.

    Raises:
        StorageError: the disk is full or read-only, or the folder may not be written.
    """
    with open_atomically(path) as file:
        file.write(to_bytes(data) if isinstance(data, str) else data)


@contextmanager
def open_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file that replaces `path` when the block ends without an error.

    Raises:
        StorageError: as `write_atomically`, or `path` is a device, pipe or socket.
    """
    with suppress(OSError):
        mode = path.lstat().st_mode
        # A folder is not checked for: the rename itself refuses it.
        if not any(test(mode) for test in (stat.S_ISREG, stat.S_ISLNK, stat.S_ISDIR)):
            raise StorageError(f"cannot write {path}: it is not a file; name a file, or a new one")
    temporary = path.with_name(f".{path.name[:_MAX_STEM]}.{os.urandom(6).hex()}")
    with write_errors(path):
        make_folder(path.parent)
        try:
            with _opened(temporary, _NEW) as descriptor:
                with os.fdopen(descriptor, "wb", closefd=False) as file:
                    yield file
                os.fsync(descriptor)  # the content before the name,
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        flush_folder(path.parent)  # and the name before we report success


def _lock_in(folder: Path) -> BaseFileLock:
    """Return the lock of a folder of files in the making, which is not waited for."""
    from filelock import FileLock  # takes 50 ms, and most commands export nothing

    return FileLock(folder / _LOCK, timeout=0)


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` for files in the making; it is removed at the end.

    `move_into_place` takes what is to stay out of it. A folder that a killed process left for the
    same target is removed first: nobody holds the lock in it.

    Raises:
        StorageError: as `write_atomically`.
    """
    with write_errors(target):
        make_folder(target.parent)
        _remove_unlocked(target)
        folder, lock = _make_locked(target)
        try:
            yield folder
        finally:
            lock.release()  # first, as Windows removes no file that is open
            shutil.rmtree(folder, ignore_errors=True)


def _make_locked(target: Path) -> tuple[Path, BaseFileLock]:
    """Return a new folder beside `target` and its lock, held if the file system has locks."""
    for _ in range(_ATTEMPTS):
        folder = target.with_name(f".{target.name[:_MAX_STEM]}.{os.urandom(6).hex()}")
        folder.mkdir()
        lock = _lock_in(folder)
        with suppress(OSError, NotImplementedError):
            lock.acquire()
        # Before that, another process could take it for one that was left, and remove it.
        is_there = (folder / _LOCK).exists() if lock.is_locked else folder.is_dir()
        if is_there:
            return folder, lock
        lock.release()
    raise OSError(errno.EBUSY, "another process removes the folder of files in the making")


def _remove_unlocked(target: Path) -> None:
    """Remove the folders of `_make_locked` that no process holds, so far as that is known."""
    name = re.compile(rf"\.{re.escape(target.name[:_MAX_STEM])}\.[0-9a-f]{{12}}")
    for folder in target.parent.iterdir():
        lock = folder / _LOCK
        is_ours = name.fullmatch(folder.name) and not folder.is_symlink()
        if not is_ours or lock.is_symlink() or not lock.is_file():
            continue
        if any(folder.rglob(f"*{_REPLACED}")):  # which may be nowhere else
            continue
        with suppress(OSError, NotImplementedError):
            with _lock_in(folder):
                shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)  # the lock itself, on Windows


def move_into_place(moves: Mapping[Path, Path]) -> None:
    """Rename files or folders, source → target: all of them, or none.

    What stood at a target is replaced, and comes back if a later move fails. Sources and targets
    are on one disk; sources are flushed already.

    Raises:
        StorageError: one cannot be moved.
    """
    replaced: dict[Path, Path] = {}
    placed: list[Path] = []
    is_atomic = len(moves) == 1 and not any(
        path.is_dir() for pair in moves.items() for path in pair
    )
    try:
        for source, target in moves.items():
            with write_errors(target):
                if is_atomic:
                    source.replace(target)
                    continue
                if os.path.lexists(target):
                    aside = source.with_name(f"{source.name}{_REPLACED}")
                    target.rename(aside)
                    replaced[target] = aside
                placed.append(target)
                source.rename(target)
    except BaseException:
        for target in placed:
            with suppress(OSError):
                _remove(target)
        for target, aside in replaced.items():
            aside.rename(target)
        raise
    for folder in {target.parent for target in moves.values()}:
        with write_errors(folder):
            flush_folder(folder)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def open_at(path: Path, offset: int) -> Iterator[IO[bytes]]:
    """Yield a binary file to write from byte `offset` on; the rest of the file stays.

    Several processes can fill one file this way. `flush_file` makes it safe.

    Raises:
        StorageError: as `write_atomically`.
    """
    with write_errors(path), open_plain(path, os.O_WRONLY | os.O_CREAT) as file:
        file.seek(offset)
        yield file


def append_text(path: Path, text: str | bytes) -> None:
    """Append `text` (UTF-8), or bytes as they are, to a log such as metrics.jsonl.

    A crash may cut its last line short, so readers skip what does not parse.

    Raises:
        StorageError: as `write_atomically`.
    """
    with write_errors(path):
        make_folder(path.parent)
        with open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
            file.write(to_bytes(text) if isinstance(text, str) else text)


def cut_file(path: Path, size_bytes: int) -> None:
    """Shorten a log to its first `size_bytes` for good; one that is missing or shorter stays.

    Raises:
        StorageError: the file may not be written.
    """
    with write_errors(path), suppress(FileNotFoundError), _plain(path, os.O_WRONLY) as descriptor:
        if os.fstat(descriptor).st_size > size_bytes:
            os.ftruncate(descriptor, size_bytes)
        os.fsync(descriptor)


def flush_file(path: Path) -> int:
    """Make a file and its entry survive a power cut; return its size in bytes, 0 if missing.

    Raises:
        StorageError: the disk did not take it.
    """
    with write_errors(path), suppress(FileNotFoundError), _plain(path, os.O_WRONLY) as descriptor:
        os.fsync(descriptor)
        flush_folder(path.parent)
        return os.fstat(descriptor).st_size
    return 0


@contextmanager
def open_plain(path: Path, flags: int = os.O_RDONLY) -> Iterator[BufferedRandom]:
    """Yield a binary file, opened by os.open's `flags`: a regular file, and never a pipe.

    A link may lead to one that is read, not to one that is written. A file to write that has a
    second name, as `cp -al` gives it, is copied first: the other name keeps what it has.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    mode = "wb" if flags & os.O_WRONLY else "rb"  # "wb" does not truncate what is open
    with _plain(path, flags) as descriptor, os.fdopen(descriptor, mode, closefd=False) as file:
        yield cast(BufferedRandom, file)


@contextmanager
def _plain(path: Path, flags: int) -> Iterator[int]:
    """Yield the descriptor of a regular file, as `open_plain` says."""
    is_written = bool(flags & os.O_WRONLY)
    with _opened(path, flags | _NO_WAIT | _NO_FOLLOW * is_written) as descriptor:
        status = os.fstat(descriptor)  # of what is open: the path may lead elsewhere by now
        if not stat.S_ISREG(status.st_mode):
            is_folder = stat.S_ISDIR(status.st_mode)
            raise OSError(errno.EINVAL, "it is a folder" if is_folder else _NOT_PLAIN)
        if not (is_written and status.st_nlink > 1):
            yield descriptor
            return
    with open_plain(path) as shared, open_atomically(path) as own:
        shutil.copyfileobj(shared, own)
    with _plain(path, flags) as descriptor:
        yield descriptor


def read_note(path: Path) -> bytes:
    """Return the content of a small file of ours, such as a lock's holder.

    Raises:
        OSError: it cannot be opened, or is not a regular file of at most a megabyte.
    """
    with open_plain(path) as file:
        data = file.read(_MAX_NOTE_BYTES + 1)
    if len(data) > _MAX_NOTE_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data


def make_folder(folder: Path) -> None:
    """Make the folder and its parents, and make their entries survive a power cut.

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
        OSError: the disk did not take them.
    """
    if os.name != "posix":  # Windows opens no folders, and its renames are journalled
        return
    with _opened(folder, os.O_RDONLY) as descriptor:
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # of a file system that cannot flush folders
                raise


def check_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse to start `what` if the disk of `folder`, which need not exist yet, is too full.

    Raises:
        StorageError: less than `needed_bytes` are free.
    """
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        disk = shutil.disk_usage(folder)
    except OSError:
        return
    # Some network file systems report a size of 0: then we try rather than refuse.
    if disk.total and disk.free < needed_bytes:
        raise StorageError(
            f"{what} needs {format_bytes(needed_bytes)}, but the disk of {folder.resolve()} has "
            f"{format_bytes(disk.free)} free; free some space, or name a folder on another disk "
            "with --checkpoints"
        )


def is_reserved(name: str) -> bool:
    """Return whether Windows gives no file or folder this name: that of a device, or "book.".

    >>> is_reserved("nul.txt"), is_reserved("nullable.txt")
    (True, False)
    """
    return name.endswith((".", " ")) or _OF_WINDOWS.fullmatch(name) is not None


def to_bytes(text: str) -> bytes:
    """Return a text as UTF-8; bytes that a binary model wrote come back as they were."""
    return text.encode("utf-8", "surrogateescape")


def format_bytes(number: float) -> str:
    """Return a size in powers of ten.

    >>> format_bytes(512), format_bytes(1.4e6)
    ('512 B', '1.4 MB')
    """
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= divisor * 0.99995:  # what rounds to 1.0 of this unit
            return f"{number / divisor:.1f} {unit}"
    return f"{number:.0f} B"


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a StorageError that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        if error.errno == errno.ELOOP and path.is_symlink():
            reason = "it is a link, whose target is not ours to change; remove the link"
        raise StorageError(f"cannot write {path}: {reason}") from error


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Yield a descriptor; a new file's mode is the umask's. An error of closing it counts."""
    try:
        descriptor = os.open(path, flags | _FLAGS, 0o666)
    except OSError as error:
        if error.errno != errno.ENXIO:  # of a socket, and of a pipe that nobody reads
            raise
        raise OSError(errno.EINVAL, _NOT_PLAIN) from error
    try:
        yield descriptor
    finally:
        with suppress(InterruptedError):  # by a signal: Linux has closed it all the same
            os.close(descriptor)
