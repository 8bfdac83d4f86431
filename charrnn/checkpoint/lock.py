"""One process at a time in a folder, and who it is.

The kernel's lock on `.lock` dies with its process, so nothing has to be cleared after a crash;
`.holder` beside it only names the process to those who are turned away.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from charrnn.errors import RunLockedError, StorageError
from charrnn.storage import write_atomically

LOCK, HOLDER = ".lock", ".holder"
_PATIENCE_SECONDS = 1.0  # for a process that has the lock and is about to write its name


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process until the block ends.

    Raises:
        RunLockedError: another one has it.
        StorageError: the folder may not be written.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunLockedError(
            f"{_name_holder(folder)}; wait for it, or train under another --name"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot lock {folder}: {error.strerror or error}") from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        write_atomically(folder / HOLDER, json.dumps(holder) + "\n")
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER).unlink()
        lock.release()


def _name_holder(folder: Path) -> str:
    """Say who has the folder, as far as it can be found out."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while (holder := _read_holder(folder)) is None and time.monotonic() < end:
        time.sleep(0.02)
    if holder is None:
        return f"another process trains {folder}"
    pid, host, since = holder
    return f"process {pid} on host {host} has been training {folder} since {since}"


def _read_holder(folder: Path) -> tuple[int, str, str] | None:
    """Give process, host and time; None where they cannot be read or are of a dead process."""
    try:
        holder = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        pid, host, since = int(holder["pid"]), str(holder["host"]), str(holder["since"])
        is_dead = host == socket.gethostname() and not _is_alive(pid)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return None if is_dead or not (host + since).isprintable() else (pid, host, since)


def _is_alive(pid: int) -> bool:
    """Tell whether a process of this machine runs."""
    if os.name != "posix":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
