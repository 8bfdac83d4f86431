"""Holds worker processes to their jobs and to their end: no error is lost, and none outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.config import TextConfig
from charrnn.data import build, workers
from charrnn.data.corpus import cache_folder, open_corpus
from charrnn.data.encode import count_job, run_job, write_job
from charrnn.data.workers import MAX_WORKERS, allowed_workers, open_workers
from charrnn.errors import ConfigError, CorpusError, StorageError
from charrnn.text.files import Source
from charrnn.text.vocab import Vocab

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
Started = list["subprocess.Popen[bytes]"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Return the list of processes that are started from now on."""
    processes: Started = []
    start = workers._start

    def note() -> subprocess.Popen[bytes]:
        processes.append(start())
        return processes[-1]

    monkeypatch.setattr(workers, "_start", note)
    return processes


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two processes build any text, in small parts."""
    monkeypatch.setattr(build, "PARALLEL_FROM_BYTES", 0)
    monkeypatch.setattr(build, "PART_BYTES", 100_000)
    monkeypatch.setenv("CHARRNN_WORKERS", "2")


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text("".join(f"{number} Wörter, 中\n" for number in range(30_000)), "utf-8")
    return path


def part(path: Path) -> list[Source]:
    return [Source(path, path.name)]


def blocked(tmp_path: Path) -> dict[str, object]:
    """Return a job that waits for ever: nobody writes into its pipe."""
    os.mkfifo(tmp_path / "pipe")
    return count_job(part(tmp_path / "pipe"), TextConfig())


def test_processes_give_what_this_one_does_in_order(tmp_path: Path) -> None:
    jobs = []
    for number, text in enumerate(("b\r\n", "", "ä中", "a" * 300_000)):
        (tmp_path / str(number)).write_bytes(text.encode())
        jobs.append(count_job(part(tmp_path / str(number)), TextConfig()))
    with open_workers(2) as run:
        assert list(run(jobs)) == [run_job(job) for job in jobs]


def test_a_file_name_of_any_bytes_reaches_a_process(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff \n.txt"))
    path.write_bytes(b"x")
    with open_workers(2) as run:
        assert next(run([count_job(part(path), TextConfig())]))["codes"] == [ord("x")]


def test_an_error_comes_out_of_a_process_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(b"ab\xff")
    broken = count_job(part(path), TextConfig())
    unwritable = write_job(broken, "", Vocab("ab"), tmp_path / "none" / "train.ids", 0)
    with open_workers(2) as run:
        with pytest.raises(CorpusError, match=r"^book\.txt is not utf-8: .* at offset 2 "):
            list(run([broken]))
        with pytest.raises(StorageError, match=r"^cannot write .*train\.ids: No such file"):
            list(run([unwritable]))


@needs_pipes
def test_a_process_that_is_killed_is_an_error_with_a_hint(tmp_path: Path, started: Started) -> None:
    with open_workers(2) as run:
        result = run([blocked(tmp_path)])
        for process in started:
            process.kill()
        with pytest.raises(CorpusError, match=r"ended from outside \(code -9\).*CHARRNN_WORKERS=1"):
            next(result)


@needs_pipes
@pytest.mark.parametrize("error", [KeyboardInterrupt, CorpusError])
def test_no_process_is_left_when_the_block_ends_early(
    tmp_path: Path, started: Started, error: type[BaseException]
) -> None:
    def stop() -> None:
        with open_workers(2) as run:
            run([blocked(tmp_path)] * 9)
            raise error

    with pytest.raises(error):
        stop()

    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2


def test_processes_end_when_the_one_that_started_them_is_killed() -> None:
    script = (
        "import os, signal\n"
        "from charrnn.data.workers import open_workers\n"
        "with open_workers(2): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # The pipe of its stderr, which they have inherited, ends only when the last of them does.
    killed = subprocess.run(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, timeout=60, check=False
    )

    assert killed.returncode == -signal.SIGKILL
    assert killed.stderr == b""


def test_a_process_that_cannot_be_started_is_an_error_with_a_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/python")
    with pytest.raises(CorpusError, match=r"cannot start .*CHARRNN_WORKERS=1"), open_workers(2):
        pass


@pytest.mark.parametrize("min_count", [1, 30])
@pytest.mark.usefixtures("many_parts")
def test_two_processes_build_what_one_does(
    book: Path, tmp_path: Path, started: Started, min_count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TextConfig(min_count=min_count)
    two = open_corpus([str(book)], config, tmp_path / "two")
    assert len(started) == 2
    monkeypatch.setenv("CHARRNN_WORKERS", "1")
    one = open_corpus([str(book)], config, tmp_path / "one")
    assert len(started) == 2

    assert (two.sha256, two.vocab, two.chars) == (one.sha256, one.vocab, one.chars)
    assert two.train.tobytes() == one.train.tobytes()
    assert two.val.tobytes() == one.val.tobytes()


@pytest.mark.usefixtures("many_parts")
def test_a_text_that_is_broken_far_into_it_leaves_nothing(book: Path, started: Started) -> None:
    size = book.stat().st_size
    with book.open("ab") as file:
        file.write(b"\xff" + b"more\n" * 20_000)
    with pytest.raises(CorpusError, match=rf"book\.txt is not utf-8: .* at offset {size} "):
        open_corpus([str(book)])

    assert not cache_folder().exists()
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2


@pytest.mark.usefixtures("many_parts")
def test_a_build_of_two_processes_that_is_interrupted_leaves_nothing(
    book: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "flush_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_corpus([str(book)])

    assert list(cache_folder().iterdir()) == []
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2


def test_a_small_text_starts_no_process(book: Path, started: Started) -> None:
    open_corpus([str(book)])

    assert started == []


def test_the_number_of_processes_is_that_of_the_environment_or_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert 1 <= allowed_workers() <= MAX_WORKERS
    monkeypatch.setenv("CHARRNN_WORKERS", "12")
    assert allowed_workers() == 12


@pytest.mark.parametrize("own", ["0", "-1", "two", "1.5", "²"])
def test_a_number_of_processes_that_is_none_is_refused(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_WORKERS", own)
    with pytest.raises(ConfigError, match=r"CHARRNN_WORKERS is .*; give a number of processes"):
        allowed_workers()
