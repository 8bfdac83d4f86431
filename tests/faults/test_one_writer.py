"""Many start at once on one run: one trains, the others learn who does; readers see whole files.

The starting is done by a process of its own, which has no threads and may fork.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.run_store import claim_run, find_model, list_runs, summarise_run
from charrnn.errors import ConfigError, RunLockedError

Times = Callable[[int, int], int]
Start = Callable[[], AbstractContextManager[object]]
KEPT, SAVES = 2, 10
NEW_NAMES = 12

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


@pytest.mark.parametrize("way", ["lock", "claim"])
def test_of_many_that_start_at_once_one_trains_and_the_others_learn_who(
    tmp_path: Path, times: Times, figure: Callable[[str], None], way: str
) -> None:
    starts = times(20, 200)
    (tmp_path / "mine").mkdir()
    answers = start_elsewhere(way, tmp_path, starts)
    held = [each["pid"] for each in answers if "run" in each]
    refused = [each["error"] for each in answers if "error" in each]

    assert (len(held), len(refused)) == (1, starts - 1)
    message = f"RunLockedError: process {held[0]} on host "
    assert [each for each in refused if not each.startswith(message)] == []
    figure(f"{starts} starts at once: 1 trains, {len(refused)} refused by its name")


def test_of_many_that_start_at_once_without_a_name_each_gets_its_own(tmp_path: Path) -> None:
    answers = start_elsewhere("name", tmp_path, NEW_NAMES)
    names = {Path(each["run"]).name for each in answers}

    assert names == {"book", *(f"book-{number}" for number in range(2, NEW_NAMES + 1))}


def start_elsewhere(way: str, folder: Path, starts: int) -> list[dict[str, Any]]:
    """Run this file; give what each process that started says."""
    command = [sys.executable, __file__, way, str(folder), str(starts)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def start_at_once(start: Start, starts: int) -> list[dict[str, Any]]:
    """Let that many processes start when a pipe closes; those that got a run hold it to the end."""
    (wait, begin), (answers, answer), (hold, end) = os.pipe(), os.pipe(), os.pipe()
    processes = []
    for _ in range(starts):
        processes.append(os.fork())
        if not processes[-1]:
            for mine in (begin, end, answers):
                os.close(mine)
            start_when_told(start, wait, answer, hold)
    os.close(answer)
    os.close(begin)
    with os.fdopen(answers) as lines:
        found = [json.loads(next(lines)) for _ in range(starts)]
    os.close(end)
    codes = [os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in processes]
    assert codes == [0] * starts
    return found


def start_when_told(start: Start, wait: int, answer: int, hold: int) -> NoReturn:
    def say(**words: object) -> None:
        os.write(answer, json.dumps({"pid": os.getpid()} | words).encode() + b"\n")

    code = 1
    try:
        os.read(wait, 1)
        try:
            with start() as run:
                say(run=str(run))
                os.read(hold, 1)
        except (RunLockedError, ConfigError) as error:
            say(error=f"{type(error).__name__}: {error}")
        code = 0
    finally:
        os._exit(code)


def lock_mine(folder: Path) -> AbstractContextManager[object]:
    return RunFolder(folder / "mine").lock()


def claim_mine(folder: Path) -> AbstractContextManager[object]:
    return claim_run(folder, "mine", "book")


@contextmanager
def claim_any(folder: Path) -> Iterator[Path]:
    with claim_run(folder, None, "book") as run:
        yield run.path


# A holder that dies


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path, times: Times) -> None:
    takeovers = times(3, 50)
    for _ in range(takeovers):
        with running("hold", tmp_path) as holder:
            with pytest.raises(RunLockedError, match=f"process {holder} on"), lock_mine(tmp_path):
                pass
            os.kill(holder, signal.SIGKILL)
        assert json.loads((tmp_path / "mine" / ".holder").read_text())["pid"] == holder
        with lock_mine(tmp_path):
            assert json.loads((tmp_path / "mine" / ".holder").read_text())["pid"] == os.getpid()


@contextmanager
def running(what: str, folder: Path) -> Iterator[int]:
    """Return the number of a process that does this forever and has begun; kill it at the end."""
    command = [sys.executable, __file__, what, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process.pid
            assert process.poll() in (None, -signal.SIGKILL)
        finally:
            process.kill()


def say_begun() -> None:
    sys.stdout.write("begun\n")
    sys.stdout.flush()


def hold(folder: Path) -> None:
    with lock_mine(folder):
        say_begun()
        signal.pause()


# Readers


@pytest.mark.parametrize("has_best", [True, False])
def test_readers_beside_a_writer_see_whole_files_alone(
    tmp_path: Path,
    make_model: Callable[..., ModelFile],
    times: Times,
    figure: Callable[[str], None],
    has_best: bool,
) -> None:
    run, reads = RunFolder(tmp_path / "mine"), times(200, 5_000)
    run.save_state(make_model(step=0, hidden_size=32), 0, KEPT)
    if has_best:
        run.save_best(make_model(step=0, hidden_size=32))
    seen: list[int] = []
    with running("save", run.path):
        while len(seen) < reads or seen[-1] < SAVES:
            assert [each.name for each in list_runs(tmp_path)] == ["mine"]
            row = summarise_run(run)
            assert "error" not in row, row
            seen.append(row["step"])
            if has_best:
                assert read_model(find_model("mine", tmp_path)).summary["step"] >= row["step"]

    assert seen == sorted(seen)
    figure(f"{len(seen)} times listed, summed up and read beside {seen[-1]} saves, all whole")


def save(path: Path) -> None:
    """Save as fast as possible, forever."""
    run = RunFolder(path)
    with run.lock():
        model, _ = run.read_state()
        for step in itertools.count(1):
            newer = replace(model, summary=model.summary | {"step": step})
            if run.best.exists():
                run.save_best(newer)
            run.save_state(newer, step, KEPT)
            if step == 1:
                say_begun()


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what in ("hold", "save"):
        {"hold": hold, "save": save}[what](folder)
    else:
        starts = {"lock": lock_mine, "claim": claim_mine, "name": claim_any}
        for found in start_at_once(lambda: starts[what](folder), int(sys.argv[3])):
            sys.stdout.write(json.dumps(found) + "\n")
