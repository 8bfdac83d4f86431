"""The one place that writes a file: whole or not at all, even if the machine dies in between.

A file is written beside its place under a temporary name, flushed to the disk, renamed over the
old one, and the folder's entry is flushed too (rename is atomic in POSIX; without the last flush
it may be forgotten in a power cut). It knows nothing of what the bytes mean.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from charrnn.errors import StorageError


def write_atomically(path: Path, data: bytes | str) -> None:
    """Put `data` (text as UTF-8) at `path`, replacing what was there only when all of it is safe.

    Raises:
        StorageError: the disk is full, read-only, or the folder may not be written.
    """
    with open_atomically(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def open_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file that takes `path`'s place when the block ends without an error.

    Raises:
        StorageError: as `write_atomically`.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.")
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o666 & ~_umask())
            yield file
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
        temporary = None
        flush_folder(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                Path(temporary).unlink()


def append_text(path: Path, text: str) -> None:
    """Add `text` (UTF-8) at the end of a log such as metrics.jsonl.

    A crash may cut its last line short, so readers skip what does not parse.

    Raises:
        StorageError: as `write_atomically`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def flush_folder(folder: Path) -> None:
    """Make the folder's entries (a rename, a new file) survive a power cut."""
    if os.name != "posix":  # Windows opens no folders, and its renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """Read the umask, which can only be read by setting it."""
    umask = os.umask(0o022)
    os.umask(umask)
    return umask
