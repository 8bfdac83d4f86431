"""Holds the one writer to its word: the old file or the new one, never less, and no litter."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.errors import StorageError
from charrnn.storage import append_text, open_atomically, write_atomically

Write = Callable[[Path, str], None]


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


@pytest.mark.parametrize(
    ("umask", "mode"), [(0, 0o666), (0o022, 0o644), (0o027, 0o640), (0o077, 0o600)]
)
def test_the_umask_says_who_may_read(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", "text")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)

    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("write", [write_atomically, append_text])
def test_a_folder_that_is_a_file_is_named(tmp_path: Path, write: Write) -> None:
    (tmp_path / "folder").write_text("not a folder")
    with pytest.raises(StorageError, match=r"cannot write .*file: (Not a dir|File exists)"):
        write(tmp_path / "folder" / "file", "text")


@pytest.mark.parametrize("write", [write_atomically, append_text])
def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path, write: Write) -> None:
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
