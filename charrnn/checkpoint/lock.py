"""One process at a time in a folder, and which process it is.

The kernel's lock on `.lock` ends with its process, so nothing has to be cleared after a crash;
`.holder` beside it only names the process in the message to others.
"""

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from charrnn.errors import RunLockedError, StorageError
from charrnn.storage import read_note, write_atomically

LOCK = ".lock"
HOLDER = ".holder"
_PATIENCE_SECONDS = 1.0  # with a process that has the lock and is about to write its name


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process until the block ends.

    Raises:
        RunLockedError: another process holds it.
        StorageError: the folder may not be written.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        # Older versions of filelock truncate what a link leads to.
        if os.path.lexists(folder / LOCK) and not stat.S_ISREG((folder / LOCK).lstat().st_mode):
            raise StorageError(
                f"cannot lock {folder}: {folder / LOCK} is not a regular file; remove it"
            )
        lock.acquire()
    except Timeout as error:
        raise RunLockedError(
            f"{_describe_holder(folder)}; wait for it, or train under another --name"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot lock {folder}: {error.strerror or error}") from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        write_atomically(folder / HOLDER, json.dumps(holder) + "\n")
        yield
    finally:
        # Before the lock: the next process writes its own.
        with suppress(OSError):
            (folder / HOLDER).unlink()
        lock.release()


def _describe_holder(folder: Path) -> str:
    """Return a sentence on who trains in the folder, as far as it can be found out."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while (holder := _read_holder(folder)) is None and time.monotonic() < end:
        time.sleep(0.02)
    return holder or f"another process is training {folder}"


def _read_holder(folder: Path) -> str | None:
    """Return the sentence of `.holder`; None if unreadable, or left by a dead process."""
    try:
        holder = json.loads(read_note(folder / HOLDER))
        pid = int(holder["pid"])
        host = str(holder["host"])
        since = str(holder["since"])
        is_dead = host == socket.gethostname() and not _is_alive(pid)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    if is_dead or not (host + since).isprintable():  # it could harm the terminal that shows it
        return None
    return f"process {pid} on host {host} has been training {folder} since {since}"


def _is_alive(pid: int) -> bool:
    """Return whether a process of this machine runs."""
    if os.name != "posix":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user's
        return True
    return True
