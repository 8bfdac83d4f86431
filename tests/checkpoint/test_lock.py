"""Holds the lock to its word: one process, freed with it, and named to those turned away."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint import lock
from charrnn.checkpoint.lock import hold_folder
from charrnn.errors import RunLockedError, StorageError
from tests.test_storage import in_time

NOBODY = 2**22 + 1  # one more than the highest process number that Linux gives


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_PATIENCE_SECONDS", 0)


def error_of(folder: Path) -> str:
    """Return the message that a second holder is turned away with."""
    with pytest.raises(RunLockedError) as caught, hold_folder(folder):
        pass
    return caught.value.message


def test_a_folder_is_held_by_one_and_free_after_it(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_folder(tmp_path):
            error_of(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_an_error_frees_the_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), hold_folder(tmp_path):
        raise KeyboardInterrupt
    with hold_folder(tmp_path):
        pass


def test_another_folder_is_not_held(tmp_path: Path) -> None:
    with hold_folder(tmp_path / "a"), hold_folder(tmp_path / "b"):
        pass


def test_the_error_names_the_holder_and_since_when(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        holder = json.loads((tmp_path / ".holder").read_text())
        assert holder.keys() == {"pid", "host", "since"}
        assert error_of(tmp_path) == (
            f"process {os.getpid()} on host {socket.gethostname()} has been training {tmp_path} "
            f"since {holder['since']}; wait for it, or train under another --name"
        )


@pytest.mark.parametrize(
    "holder",
    [
        None,
        "",
        "{",
        "[]",
        "[" * 100_000,
        {"pid": os.getpid(), "host": "far"},
        {"pid": "x", "host": "far", "since": "then"},
        {"pid": 1e999, "host": "far", "since": "then"},
        {"pid": 10**30, "host": socket.gethostname(), "since": "then"},
        {"pid": NOBODY, "host": socket.gethostname(), "since": "then"},
        {"pid": 1, "host": "far\x1b[31m", "since": "then"},
        {"pid": 1, "host": "far", "since": "then\nand now"},
    ],
)
def test_a_holder_that_cannot_be_read_or_is_dead_is_not_named(tmp_path: Path, holder: Any) -> None:
    with hold_folder(tmp_path):
        if holder is None:
            (tmp_path / ".holder").unlink()
        else:
            text = holder if isinstance(holder, str) else json.dumps(holder)
            (tmp_path / ".holder").write_text(text)
        assert error_of(tmp_path) == (
            f"another process is training {tmp_path}; wait for it, or train under another --name"
        )


def test_a_process_of_another_machine_is_believed_to_live(tmp_path: Path) -> None:
    holder = {"pid": NOBODY, "host": "far", "since": "2031-02-03"}
    with hold_folder(tmp_path):
        (tmp_path / ".holder").write_text(json.dumps(holder))
        assert error_of(tmp_path).startswith(f"process {NOBODY} on host far has been training")


def test_the_file_of_a_dead_holder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".holder").write_text(json.dumps({"pid": 1, "host": "far", "since": "then"}))
    with hold_folder(tmp_path):
        assert json.loads((tmp_path / ".holder").read_text())["pid"] == os.getpid()


def test_a_folder_that_cannot_be_held_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot lock .*file: "), hold_folder(tmp_path / "file"):
        pass


def test_a_holder_that_cannot_be_written_frees_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".holder").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*\.holder: "), hold_folder(tmp_path):
        pass
    (tmp_path / ".holder").rmdir()
    with hold_folder(tmp_path):
        pass


@pytest.mark.parametrize("name", [".lock", ".holder"])
def test_a_lock_that_is_a_link_changes_nothing_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    if name == ".lock":
        with pytest.raises(StorageError, match=r"\.lock is not a regular file; remove it"):
            hold_folder(tmp_path).__enter__()
    else:
        with hold_folder(tmp_path):
            pass

    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_a_holder_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        (tmp_path / ".holder").unlink()
        os.mkfifo(tmp_path / ".holder")
        with in_time():
            assert error_of(tmp_path).startswith("another process is training")
