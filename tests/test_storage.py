"""Holds the one writer to its word: the old file or the new one, never less, and no litter."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from charrnn.errors import StorageError
from charrnn.storage import (
    append_text,
    check_room,
    cut_file,
    flush_file,
    flush_folder,
    make_folder,
    open_at,
    open_atomically,
    read_note,
    write_atomically,
)

Write = Callable[[Path, str], None]


@contextmanager
def in_time() -> Iterator[None]:
    """Fail, and do not hang, where the block takes more than a few seconds."""

    def fail(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(5)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def files(folder: Path) -> list[str]:
    """Name everything in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_text_and_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    write_atomically(tmp_path / "bytes", b"\x00\r\n\xff")
    write_atomically(tmp_path / "text", "é\r\n")

    assert (tmp_path / "bytes").read_bytes() == b"\x00\r\n\xff"
    assert (tmp_path / "text").read_bytes() == "é\r\n".encode()


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "file", "new")

    assert (tmp_path / "a" / "b" / "file").read_text() == "new"


def test_a_replaced_file_is_one_file(tmp_path: Path) -> None:
    for text in ("a longer old text", "new"):
        write_atomically(tmp_path / "file", text)

    assert files(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "new"


def test_a_reader_of_the_old_file_reads_it_to_its_end(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "old")
    with (tmp_path / "file").open() as old:
        write_atomically(tmp_path / "file", "new")
        assert old.read() == "old"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def write_half() -> None:
        with open_atomically(tmp_path / "file") as file:
            file.write(b"half of the new te")
            file.flush()
            raise error

    write_atomically(tmp_path / "file", "old")
    with pytest.raises(error):
        write_half()

    assert (tmp_path / "file").read_text() == "old"
    assert files(tmp_path) == ["file"]


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "file", []
    write_atomically(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(path.read_text()))
    write_atomically(path, "new")

    assert seen == ["old", "new"]


def test_a_full_disk_is_named_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    write_atomically(tmp_path / "file", "old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError) as caught:
        write_atomically(tmp_path / "file", "new")

    assert str(caught.value) == f"cannot write {tmp_path / 'file'}: No space left on device"
    assert (tmp_path / "file").read_text() == "old"
    assert files(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EINVAL])
def test_a_flush_that_failed_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    flushed = []

    def fail_once(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) == 1:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail_once)
    with pytest.raises(StorageError, match=os.strerror(code)):
        write_atomically(tmp_path / "file", "text")

    assert len(flushed) == 1
    assert files(tmp_path) == []


@pytest.mark.parametrize(("code", "is_fine"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_only_a_file_system_that_flushes_no_folders_may_leave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_fine: bool
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    if is_fine:
        flush_folder(tmp_path)
    else:
        with pytest.raises(OSError, match=os.strerror(code)):
            flush_folder(tmp_path)


@contextmanager
def failing_close(monkeypatch: pytest.MonkeyPatch, code: int) -> Iterator[None]:
    """Let every close report an error; the descriptor is closed all the same, as in Linux."""
    close = os.close

    def fail(descriptor: int) -> None:
        close(descriptor)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", fail)
        yield


def test_an_error_at_closing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "file", "old")
    with (
        failing_close(monkeypatch, errno.EIO),
        pytest.raises(StorageError, match=r"cannot write .*file: Input/output error"),
    ):
        write_atomically(tmp_path / "file", "new")

    assert (tmp_path / "file").read_text() == "old"
    assert files(tmp_path) == ["file"]


def test_a_signal_at_closing_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing_close(monkeypatch, errno.EINTR):
        write_atomically(tmp_path / "file", "new")
        append_text(tmp_path / "file", "er")

    assert (tmp_path / "file").read_text() == "newer"


def test_a_partial_write_leaves_the_old_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    write_atomically(tmp_path / "file", "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot write .*file: File too large"):
            write_atomically(tmp_path / "file", b"x" * 100_001)
        write_atomically(tmp_path / "other", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert (tmp_path / "file").read_text() == "old"
    assert files(tmp_path) == ["file", "other"]


def test_a_link_at_the_path_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    write_atomically(tmp_path / "file", "new")

    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_a_pipe_at_the_path_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(StorageError, match="it is not a file"):
        write_atomically(pipe, b"x")

    assert pipe.is_fifo()


def test_a_link_at_the_temporary_files_path_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: b"\x5a" * count)
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / f".file.{'5a' * 6}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="File exists"):
        write_atomically(tmp_path / "file", "new")

    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("name", ["f" * 250, "漢" * 80, "🐈" * 63])
def test_a_name_of_any_length_that_a_folder_takes_can_be_written(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, "text")

    assert files(tmp_path) == [name]


@pytest.mark.parametrize(
    ("umask", "mode"), [(0, 0o666), (0o022, 0o644), (0o027, 0o640), (0o077, 0o600)]
)
def test_the_umask_says_who_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int, mode: int
) -> None:
    set_umask = os.umask
    before = set_umask(umask)
    try:
        with monkeypatch.context() as patched:
            patched.delattr(os, "umask")  # setting it would show in other threads' files
            write_atomically(tmp_path / "file", "text")
    finally:
        set_umask(before)

    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("write", [write_atomically, append_text])
def test_a_folder_that_is_a_file_is_named(tmp_path: Path, write: Write) -> None:
    (tmp_path / "folder").write_text("not a folder")
    with pytest.raises(StorageError, match=r"cannot write .*file: (Not a dir|File exists)"):
        write(tmp_path / "folder" / "file", "text")


@pytest.mark.parametrize("write", [write_atomically, append_text])
def test_a_folder_at_the_path_is_named(tmp_path: Path, write: Write) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        write(tmp_path / "file", "text")

    assert files(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
@pytest.mark.parametrize("write", [write_atomically, append_text])
def test_a_read_only_folder_is_named(tmp_path: Path, write: Write) -> None:
    (tmp_path / "folder").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        write(tmp_path / "folder" / "file", "text")


def test_a_log_grows_line_by_line_in_utf8(tmp_path: Path) -> None:
    for line in ("é\n", "b\n"):
        append_text(tmp_path / "new" / "log", line)

    assert (tmp_path / "new" / "log").read_bytes() == "é\nb\n".encode()


def test_a_log_is_cut_to_a_size_and_never_made_longer(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append_text(log, "12345")
    for size_bytes in (9, 3, 4):
        cut_file(log, size_bytes)

    assert log.read_text() == "123"


def test_flushing_a_log_returns_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_text(tmp_path / "log", "é\n")
    seen: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(os.fstat(descriptor).st_ino))

    assert flush_file(tmp_path / "log") == 3
    assert seen == [(tmp_path / "log").stat().st_ino, tmp_path.stat().st_ino]


def test_a_log_that_is_missing_stays_missing(tmp_path: Path) -> None:
    assert flush_file(tmp_path / "log") == 0
    cut_file(tmp_path / "log", 5)

    assert files(tmp_path) == []


def write_at(path: Path) -> None:
    with open_at(path, 0) as file:
        file.write(b"new")


CHANGES: list[Callable[[Path], object]] = [
    lambda path: append_text(path, "new"),
    lambda path: cut_file(path, 0),
    flush_file,
    write_at,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_link_leads_to_is_not_changed(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"cannot write .*log: it is a link, .*; remove the lin"):
        change(tmp_path / "log")

    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert (tmp_path / "log").is_symlink()


@pytest.mark.parametrize("is_read", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_a_pipe_is_refused_without_waiting_for_its_other_end(
    tmp_path: Path, change: Callable[[Path], object], is_read: bool
) -> None:
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK) if is_read else None
    with in_time(), pytest.raises(StorageError, match="it is a pipe, socket or device"):
        change(tmp_path / "log")

    if reader is not None:
        os.close(reader)


@pytest.mark.parametrize("change", CHANGES)
def test_a_second_name_of_a_log_keeps_what_it_has(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    append_text(tmp_path / "log", "old")
    (tmp_path / "snapshot").hardlink_to(tmp_path / "log")
    change(tmp_path / "log")
    append_text(tmp_path / "log", "more")

    assert (tmp_path / "snapshot").read_text() == "old"
    assert (tmp_path / "log").read_text() in {"oldnewmore", "more", "oldmore", "newmore"}
    assert files(tmp_path) == ["log", "snapshot"]


def test_a_note_is_read_from_a_small_file_alone(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"{}")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 40)
    os.mkfifo(tmp_path / "pipe")

    assert read_note(tmp_path / "note") == b"{}"
    for name in ("large", "pipe", "missing", "."):
        with in_time(), pytest.raises(OSError, match=r"too large|a pipe|No such|a folder"):
            read_note(tmp_path / name)


@pytest.mark.parametrize("touch", [flush_file, lambda path: cut_file(path, 0)])
def test_a_log_that_is_a_folder_is_named(tmp_path: Path, touch: Callable[[Path], None]) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*log: Is a directory"):
        touch(tmp_path / "log")


def test_the_entry_of_every_new_folder_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(os.fstat(descriptor).st_ino))
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")

    assert seen == [tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino]


@pytest.mark.parametrize("is_made", [True, False])
def test_a_disk_with_too_little_room_is_named_with_both_sizes_and_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_made: bool
) -> None:
    asked: list[Path] = []

    def free(folder: Path) -> shutil._ntuple_diskusage:
        asked.append(folder)
        return shutil._ntuple_diskusage(10**9, 10**9 - 300_000_000, 300_000_000)

    monkeypatch.setattr(shutil, "disk_usage", free)
    folder = tmp_path if is_made else tmp_path / "checkpoints" / "mine"
    check_room(folder, 300_000_000, "a run")
    with pytest.raises(StorageError) as caught:
        check_room(folder, 1_250_000_000, "a run")

    assert asked == [tmp_path, tmp_path]
    assert caught.value.message == (
        f"a run needs 1.2 GB, but the disk of {tmp_path} has 300.0 MB free; free some space, or "
        "name a folder on another disk with --checkpoints"
    )


@pytest.mark.parametrize("answer", [OSError("unknown"), (0, 0, 0)])
def test_a_disk_of_unknown_room_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: OSError | tuple[int, int, int]
) -> None:
    def tell(_: Path) -> shutil._ntuple_diskusage:
        if isinstance(answer, OSError):
            raise answer
        return shutil._ntuple_diskusage(*answer)

    monkeypatch.setattr(shutil, "disk_usage", tell)
    check_room(tmp_path, 1 << 60, "a run")


def test_the_room_of_this_disk_is_known(tmp_path: Path) -> None:
    check_room(tmp_path, 1, "a run")
    with pytest.raises(StorageError, match=r"a run needs 1152921504\.6 GB, but the disk of"):
        check_room(tmp_path / "new", 1 << 60, "a run")
