"""Signals at random moments of every phase: answered at once, all saved, the right exit code."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.run_folder import RunFolder

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
LONGEST_SECONDS = 2.0
LATEST_SECONDS = 0.8  # after the start
PATIENCE_SECONDS = 60.0
SMALL = ["--steps", "1000000", "--threads", "1", "--patience", "0", "--on-unfinished", "resume"]
LONG = ["--eval-every", "4", "--val-fraction", "0.5", "--eval-chars", "0"]
TASK = ["--hidden-size", "8", "--eval-every", "3", *SMALL]
COMMANDS = {
    "train, saving often": ["train", "book.txt", "--hidden-size", "8", "--eval-every", "3", *SMALL],
    "train, evaluating long": ["train", "long.txt", "--hidden-size", "64", *SMALL, *LONG],
    "train, reading long": ["train", "large.txt", "--hidden-size", "8", *SMALL],
    "train, default size": ["train", "long.txt", "--eval-every", "20", *SMALL],
    "train, classification": [
        *("train", "kinds.csv", "--text-column", "1", "--label-column", "2", "--no-header"),
        *("--task", "classification", *TASK),
    ],
    "train, tagging": ["train", "words.txt", "--tags", "spaces", *TASK],
    "train, seq2seq": ["train", "pairs.tsv", "--pairs", *TASK],
    "sample": ["sample", "--length", "100000000", "model.safetensors"],
}
SAVED = re.compile(
    r"charrnn: stopped; saved after step ([\d,]+) in (\S+); continue with: charrnn .*\n"
)
NOTHING_YET = "charrnn: stopped before training began, so nothing is lost; the same command starts"


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Let signals be heard where the tests run in the background, which ignores some."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path, make_model: Callable[..., Any]) -> Path:
    """Return a folder with three texts and a model."""
    letters = random.Random(2)
    for name, length in (("book", 3000), ("long", 200_000), ("large", 10_000_000)):
        line = "".join(letters.choices("abcde \n", k=3000))
        (tmp_path / f"{name}.txt").write_text((line * (length // 3000 + 1))[:length])
    words = [a + b + c for a in "torn" for b in "abe" for c in "nrst"]
    rows = {"kinds.csv": "{0},{0[0]}\n", "words.txt": "{0} to {0}\n", "pairs.tsv": "{0}\tto {0}\n"}
    for name, row in rows.items():
        (tmp_path / name).write_text("".join(row.format(word) for word in words))
    RunFolder(tmp_path / "one").save_best(make_model())
    (tmp_path / "one" / "best.safetensors").rename(tmp_path / "model.safetensors")
    return tmp_path


def check(trial: dict[str, Any]) -> str:
    """Hold one trial to what is promised; give how it ended."""
    number, error = trial["signal"], trial["error"]
    if trial["command"] == "sample":
        assert trial["code"] in (SIGNALS[number], -number), trial
        assert error in ("", "charrnn: interrupted\n"), trial
        return "sampling"
    if trial["code"] == -number:  # before the program could ask for the signal
        return "not begun"
    assert trial["code"] == SIGNALS[number], trial
    if error.startswith(NOTHING_YET):
        return "nothing yet"
    found = SAVED.fullmatch(error)
    assert found is not None, trial
    assert trial["saved"] == [int(found[1].replace(",", "")), 0], trial
    return "saved"


def read_saved(error: str, folder: Path) -> list[int] | None:
    """Return the step that the run of a last line would go on from, and its damaged states."""
    found = SAVED.fullmatch(error)
    if found is None:
        return None
    state, damaged = RunFolder(folder / found[2]).read_state()
    return [(state.progress or {})["step"], len(damaged)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_a_signal_at_any_moment_saves_all_and_ends_the_program(
    folder: Path, times: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    trials = nursery(folder, times(10, 1000))
    endings = Counter(check(trial) for trial in trials)
    seconds = sorted(trial["seconds"] for trial in trials)
    p99 = seconds[int(0.99 * len(seconds))]
    figure(
        f"{len(trials)} signals: {dict(endings)}; answered in {seconds[len(seconds) // 2]:.2f} s "
        f"(median), {p99:.2f} s (p99), {seconds[-1]:.2f} s (longest)"
    )

    assert len(trials) == times(10, 1000)
    assert endings["saved"] > len(trials) // 10
    assert p99 <= LONGEST_SECONDS


def nursery(folder: Path, count: int) -> list[dict[str, Any]]:
    """Run trials in processes forked from one that has the modules loaded; give what they did."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(count)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def try_all(count: int) -> None:
    """Start a command, signal it after a while, and write a line of what came of it."""
    import charrnn.cli.main
    import charrnn.cli.train.display
    import charrnn.training.loop  # noqa: F401 (loaded here once, not in every trial)

    source = random.Random(6)
    for i in range(count):
        command = list(COMMANDS)[i % len(COMMANDS)]
        number, delay = source.choice(list(SIGNALS)), source.uniform(0, LATEST_SECONDS)
        if "reading" in command:
            subprocess.run(["rm", "-rf", os.environ["CHARRNN_CACHE"]], check=True)
        ready, pipe = os.pipe()
        process = os.fork()
        if not process:
            become(COMMANDS[command], pipe)
        os.close(pipe)
        os.read(ready, 1)  # a signal before Python has set up a forked process would be lost
        os.close(ready)
        time.sleep(delay)
        began = time.monotonic()
        os.kill(process, number)
        status = wait_for(process)
        error = Path("stderr").read_text()
        trial = {
            "command": command,
            "signal": number,
            "delay": delay,
            "code": os.waitstatus_to_exitcode(status),
            "seconds": time.monotonic() - began,
            "error": error,
            "saved": read_saved(error, Path()),
        }
        sys.stdout.write(json.dumps(trial) + "\n")


def wait_for(process: int) -> int:
    """Return the status that a process ends with; one that goes on is killed."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


def become(arguments: list[str], ready: int) -> None:
    """Be the program from here on, with its streams in files."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    from charrnn.cli.main import main

    os.write(ready, b".")
    os.close(ready)
    try:
        main([*arguments, *(["--quiet"] if arguments[0] == "train" else [])])
    except SystemExit as ending:
        sys.stderr.flush()
        os._exit(ending.code if isinstance(ending.code, int) else 1)
    finally:
        os._exit(99)


# From the very start of the process, when modules are still being loaded


def test_a_signal_while_the_program_loads_ends_it_in_one_line(
    folder: Path, times: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    source, count = random.Random(8), times(3, 100)
    endings: Counter[str] = Counter()
    for i in range(count):
        number, delay = source.choice(list(SIGNALS)), source.uniform(0, 2.5)
        command = [sys.executable, "-m", "charrnn", *COMMANDS["train, saving often"], "--quiet"]
        with subprocess.Popen(
            command, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            time.sleep(delay if count > 3 else (0.5, 0.9, 1.5)[i])
            began = time.monotonic()
            process.send_signal(number)
            _, error = process.communicate()
        trial = {
            "command": "train",
            "signal": number,
            "delay": delay,
            "code": process.returncode,
            "seconds": time.monotonic() - began,
            "error": error,
            "saved": read_saved(error, folder),
        }
        assert trial["seconds"] <= LONGEST_SECONDS, trial
        endings[check(trial)] += 1
    figure(f"{count} signals within 2.5 s of the start: {dict(endings)}")

    assert sum(endings.values()) == count


if __name__ == "__main__":
    try_all(int(sys.argv[1]))
