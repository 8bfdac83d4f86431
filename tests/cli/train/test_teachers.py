"""charrnn train --teachers: what is shown of the runs, and how the same command continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import charrnn
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import main

Text = pytest.CaptureFixture[str]
SMALL = ["book.txt", "--steps", "2", "--hidden-size", "6", "--threads", "1"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with a text."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("the cat sat on a mat and ran to see. " * 300, encoding="utf-8")


def end_of(*arguments: str) -> int | str | None:
    """Run `charrnn train` in this process; return its exit code."""
    with pytest.raises(SystemExit) as ending:
        main(["train", *SMALL, *arguments])
    return ending.value.code


def kill_in(run: str, number: signal.Signals, *arguments: str) -> tuple[int, str]:
    """Send a signal once the run has a state; return the exit code and the last line of stderr."""
    command = [sys.executable, "-m", "charrnn", "train", *SMALL, "--steps=300", "--eval-every=20"]
    with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True) as process:
        while not list(Path("checkpoints").glob(f"{run}/step-*")) and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=60)
    return process.returncode, err.splitlines()[-1]


def test_lines_say_what_comes_why_and_how_to_turn_it_off(capsys: Text) -> None:
    assert end_of("--teachers", "2") == 0
    lines = capsys.readouterr().err.splitlines()

    assert (
        lines[0] == "first 2 teachers, then the run that learns from what they write and the text"
    )
    assert lines[1].endswith("keeps much of that; --teachers 0 trains one alone")
    assert lines[2] == "teacher 1 of 2 (seed 1001)"
    assert any(
        line.startswith("teacher 2 of 2 (seed 2001), with what the first run chose: embedding_size")
        for line in lines
    )
    assert "now the run that learns from book-teacher1, book-teacher2 and the text" in lines
    assert lines[-1] == "next:  charrnn sample book --temp 0.8"


def test_lines_have_the_shares_of_a_budget(capsys: Text) -> None:
    with pytest.raises(SystemExit):
        main(["train", "book.txt", "--hidden-size=6", "--threads=1", "--budget=2s", "--teachers=1"])
    lines = capsys.readouterr().err.splitlines()

    assert lines[0].startswith("first 1 teacher, 0:01 each, then the run")
    assert "now the run that learns from book-teacher1 and the text, for 0:01" in lines


def test_teachers_that_are_trained_are_named(capsys: Text) -> None:
    end_of("--teachers", "1", "--quiet")
    assert capsys.readouterr().err == ""
    bpc = charrnn.describe("book-teacher1")["val_bpc"]
    assert end_of("--teachers", "1") == 0

    line = f"is trained already, as 'book-teacher1': {bpc:.3f} bits per character"
    assert f"teacher 1 of 1 (seed 1001) {line}\n" in capsys.readouterr().err


def test_json_lines_have_the_teachers_and_the_run_that_learns_from_them(capsys: Text) -> None:
    end_of("--teachers", "1", "--quiet")
    assert end_of("--teachers", "2", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    one, two = (each for each in events if each["event"] == "teacher")
    (student,) = (each for each in events if each["event"] == "student")

    assert one == {
        "event": "teacher",
        "seed": 1001,
        "number": 1,
        "total": 2,
        "budget_seconds": None,
        "sizes": {},
        "done": "checkpoints/book-teacher1",
    }
    assert (two["seed"], two["number"], two["done"]) == (2001, 2, None)
    assert two["sizes"]["seq_len"] == 64
    assert student == {
        "event": "student",
        "teachers": ["checkpoints/book-teacher1", "checkpoints/book-teacher2"],
        "bpc": [charrnn.describe(f"book-teacher{n}")["val_bpc"] for n in (1, 2)],
        "budget_seconds": None,
    }
    assert (events[-1]["event"], events[-1]["model"]) == (
        "finished",
        "checkpoints/book-2/best.safetensors",
    )


def test_ctrl_c_in_a_teacher_saves_it_and_the_same_command_continues() -> None:
    code, line = kill_in("book-teacher2", signal.SIGINT, "--teachers=2")

    assert code == 130
    assert line.endswith("in checkpoints/book-teacher2; the same command continues")
    assert not Path("checkpoints/book").exists()


def test_ctrl_c_in_the_run_itself_says_how_it_is_resumed() -> None:
    code, line = kill_in("book", signal.SIGINT, "--teachers=1")

    assert code == 130
    assert line.endswith("in checkpoints/book; continue with: charrnn train --resume book")
    assert RunFolder(Path("checkpoints/book-teacher1")).states


@pytest.mark.parametrize("run", ["book-teacher1", "book-teacher2", "book"])
def test_a_killed_command_continues_where_it_was(capsys: Text, run: str) -> None:
    settings = ("--steps=300", "--eval-every=20", "--teachers=2")
    code, _ = kill_in(run, signal.SIGKILL, *settings)
    assert code == -signal.SIGKILL
    assert end_of(*settings, "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    opened = [each for each in events if each["event"] == "opened"]

    runs = ["book-teacher1", "book-teacher2", "book"]
    assert [Path(each["run"]).name for each in opened] == runs[runs.index(run) :]
    assert opened[0]["resumed_step"] > 0
    assert events[-1]["step"] == 300


def test_what_does_not_go_with_teachers_is_refused_in_a_line(capsys: Text) -> None:
    assert end_of("--teachers", "2", "--val-file", "-") == 2
    err = capsys.readouterr().err

    assert "give a file, or --teachers 0" in err
    assert err.count("\n") == 1
    assert not Path("checkpoints").exists()


def test_several_processes_are_refused(capsys: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.training import world

    monkeypatch.setattr(world.World, "world_size", property(lambda _: 2), raising=False)
    assert end_of("--teachers", "2") == 2
    assert "start it without torchrun" in capsys.readouterr().err


def test_seeds_have_no_teachers(capsys: Text) -> None:
    assert end_of("--seeds", "1,2", "--teachers", "2") == 2
    assert "leave --teachers out" in capsys.readouterr().err
