"""Kill a training process at any moment: what it reported as saved is there, and can go on.

The killing is done by a process of its own, which has no threads and may fork: a writer that does
nothing but save, and `charrnn train` itself, which is forked after the imports to be killed often.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NoReturn

import pytest

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder

KEPT = 2
LONGEST_LIFE_SECONDS = 0.005
LONGEST_TRAINING_SECONDS = 0.1
PATIENCE_SECONDS = 120
TINY = "--threads 1 --hidden-size 8 --batch-size 2 --steps 1000000 --eval-every 2 --snapshots 60"
TEXT = "to be or not to be\n" * 100
WORDS = [a + b + c for a in "torn" for b in "abe" for c in "nrst"]
TASKS = {
    "classification": (
        *("text.csv", "".join(f"{word},{word[0]}\n" for word in WORDS)),
        "--text-column 1 --label-column 2 --no-header --task classification",
    ),
    "tagging": ("text.txt", "".join(f"{word} to {word}\n" for word in WORDS), "--tags spaces"),
    "seq2seq": ("text.tsv", "".join(f"{word}\t{word[::-1]}\n" for word in WORDS), "--pairs"),
}
"""The name of a task's file, what stands in it, and how it is read."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory where there is one: a kill spares what no disk has seen yet."""
    if Path("/dev/shm").is_dir():
        with TemporaryDirectory(dir="/dev/shm") as name:
            yield Path(name)
    else:
        yield tmp_path


def test_a_writer_killed_at_any_moment_never_loses_what_it_reported(
    folder: Path,
    make_model: Callable[..., ModelFile],
    times: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    run, kills = RunFolder(folder / "mine"), times(200, 10_000)
    run.save_state(make_model(step=0, hidden_size=32), 0, KEPT)
    rows = kill_elsewhere("writers", run.path, kills)

    assert len(rows) == kills
    assert [row for row in rows if not row[0] <= row[1] <= row[0] + 1] == []
    assert [row for row in rows if row[2]] == []
    assert {row[3] for row in rows} <= {1, KEPT, KEPT + 1}
    saves = rows[-1][1]
    figure(f"{kills} writers killed in {saves} saves, 0 damaged states, 0 steps back")


def test_training_killed_at_any_moment_goes_on_from_what_it_saved(
    folder: Path, times: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    kills = times(3, 300)
    rows = kill_elsewhere("training", folder, kills)

    assert len(rows) == kills
    assert [row for row in rows if row[0] > row[1]] == []
    assert [row for row in rows if row[2]] == []
    steps = [row[1] for row in rows]
    assert steps == sorted(set(steps))  # each went on from the one before
    figure(
        f"charrnn train killed {kills} times in {steps[-1]} steps, 0 damaged states, 0 steps back"
    )


def test_training_of_any_task_killed_at_any_moment_goes_on_from_what_it_saved(
    folder: Path, times: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    kills = times(2, 60)
    rows = kill_elsewhere("tasks", folder, kills)

    assert len(rows) == kills * len(TASKS)
    assert [row for row in rows if row[0] > row[1]] == []
    assert [row for row in rows if row[2]] == []
    for first in range(0, len(rows), kills):
        steps = [row[1] for row in rows[first : first + kills]]
        assert steps == sorted(set(steps))
    figure(f"charrnn train killed {kills} times for each task, 0 damaged states, 0 steps back")


def kill_elsewhere(what: str, folder: Path, kills: int) -> list[tuple[int, ...]]:
    """Run this file; give for each kill the step reported, the step found, and what is wrong."""
    command = [sys.executable, __file__, what, str(folder), str(kills)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]


def find_state(run: RunFolder) -> tuple[int, int, int]:
    """Return the step to go on from, the number of files that do not load, and of all states."""
    model, damaged = run.read_state()
    assert model.progress is not None
    files = [*run.states, *[run.best][: run.best.exists()]]
    assert all(read_model(path) for path in files)
    assert len(run.read_snapshots()) == len(run.snapshots)  # each loads
    assert run.foreign_files == []
    return model.progress["step"], len(damaged), len(run.states)


# A process that saves and saves


def kill_writers(folder: Path, kills: int) -> Iterator[tuple[int, ...]]:
    """Kill writers; yield the last step that each reported and what is found then."""
    random, run = Random(5), RunFolder(folder)
    for _ in range(kills):
        reported = kill_a_writer(run, random.uniform(0, LONGEST_LIFE_SECONDS))
        with run.lock():  # a killed process holds nothing
            yield reported, *find_state(run)
            hidden = {path.name for path in folder.glob(".*")}
            assert hidden == {".lock", ".holder"}, hidden


def kill_a_writer(run: RunFolder, life_seconds: float) -> int:
    """Kill a writer so long after its first save and give the last step that it reported."""
    reports, pipe = os.pipe()
    process = os.fork()
    if not process:
        os.close(reports)
        write_until_killed(run, pipe)
    os.close(pipe)
    received = os.read(reports, 8)
    end = time.monotonic() + life_seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([reports], [], [], left)[0]:
            received = os.read(reports, 1 << 16)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    with os.fdopen(reports, "rb") as rest:
        received += rest.read()
    return int.from_bytes(received[-8:], "little")


def write_until_killed(run: RunFolder, pipe: int) -> NoReturn:
    """Save growing steps and report each one that is safe; stop when nobody listens any more."""
    try:
        with run.lock():
            model, _ = run.read_state()
            assert model.progress is not None
            for step in itertools.count(model.progress["step"] + 1):
                progress = model.progress | {"step": step}
                run.save_state(replace(model, progress=progress), step, KEPT)
                os.write(pipe, step.to_bytes(8, "little"))
    finally:
        os._exit(1)


# charrnn train


def kill_training_of_text(folder: Path, kills: int) -> Iterator[tuple[int, ...]]:
    """Kill `charrnn train` of a text; yield what `kill_training` does."""
    text = folder / "text.txt"
    text.write_text(TEXT)
    yield from kill_training(folder, kills, [str(text), "--seq-len", "8"])


def kill_training_of_tasks(folder: Path, kills: int) -> Iterator[tuple[int, ...]]:
    """Kill `charrnn train` so often for each task; yield what `kill_training` does."""
    for task, (name, text, options) in TASKS.items():
        (folder / task).mkdir()
        path = folder / task / name
        path.write_text(text)
        yield from kill_training(folder / task, kills, [str(path), *options.split()])


def kill_training(folder: Path, kills: int, given: list[str]) -> Iterator[tuple[int, ...]]:
    """Kill `charrnn train`; yield the newest state seen before each kill and what is found then.

    given: the text, and how it is read.
    """
    from charrnn.cli.main import main
    from charrnn.tasks import train  # and torch, once for all

    assert train
    random, run = Random(5), RunFolder(folder / "checkpoints" / "mine")
    log = folder / "log.txt"
    new = ["train", *given, "--name", "mine", *TINY.split()]
    for kill in range(kills):
        words = ["train", "--resume", "mine"] if kill else new
        process = os.fork()
        if not process:
            run_until_killed(main, [*words, "--checkpoints", str(run.path.parent)], log)
        wait_for_a_save(run, process, log)
        time.sleep(random.uniform(0, LONGEST_TRAINING_SECONDS))
        seen = newest_step(run)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        yield seen, *find_state(run)


def run_until_killed(main: Callable[[], object], words: list[str], log: Path) -> NoReturn:
    """Be the command line; what it says goes to `log`."""
    try:
        with log.open("w") as output, redirect_stdout(output), redirect_stderr(output):
            sys.argv = ["charrnn", *words]
            main()
    finally:
        os._exit(1)


def wait_for_a_save(run: RunFolder, process: int, log: Path) -> None:
    before, end = newest_step(run), time.monotonic() + PATIENCE_SECONDS
    while newest_step(run) <= before:
        is_over = os.waitpid(process, os.WNOHANG)[0] or time.monotonic() > end
        assert not is_over, log.read_text()
        time.sleep(0.001)


def newest_step(run: RunFolder) -> int:
    """Return the newest state's step, by its name alone; -1 before the first."""
    return int(run.states[0].stem.removeprefix("step-")) if run.states else -1


if __name__ == "__main__":
    kills = {
        "writers": kill_writers,
        "training": kill_training_of_text,
        "tasks": kill_training_of_tasks,
    }
    kill = kills[sys.argv[1]]
    for row in kill(Path(sys.argv[2]), int(sys.argv[3])):
        sys.stdout.write(" ".join(map(str, row)) + "\n")
