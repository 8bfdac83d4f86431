"""charrnn sweep: what is shown of the trials, as lines, as a table and as JSON, and how it ends."""

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
from tests.cli.program import Text, end_of, objects_of
from tests.faults.program import on_terminal

SMALL = ["sweep", "book.txt", "--seq-len", "5", "--batch-size", "2", "--threads", "1"]
OVER = ["--over", "hidden_size=4,6", "--over", "learning_rate=0.01,0.1", "--eta", "2"]
TRIED = [*SMALL, *OVER, "--steps", "8"]


def test_each_rung_is_a_line_and_the_end_has_a_table(book: str, capsys: Text) -> None:
    assert end_of(*TRIED) == 0
    out, err = capsys.readouterr()
    lines = err.splitlines()
    best = charrnn.list_runs()[0]

    assert out == ""
    assert lines[0] == "trying 4 trials of hidden_size × learning_rate → checkpoints/book-sweep"
    assert lines[1] == "4 to 1/4, 2 to 1/2, 1 to the end: the cost of 2.0 whole runs"
    rungs = [line for line in lines if ", place " in line]
    assert [line[:13] for line in rungs[:4]] == [f"book-sweep-0{i}" for i in range(1, 5)]
    assert rungs[0].startswith("book-sweep-01 (hidden_size 4, learning_rate 0.01), to 1/4: ")
    assert rungs[0].endswith(" bits per character, place 1 of 1")
    assert rungs[-1].endswith(f"to the end: {best['val_bpc']:.3f} bits per character, place 1 of 1")
    assert lines[2].startswith("trials are compared at step 2, soon after a warm-up of 100 steps")
    table = lines[len(rungs) + 3 :]
    assert table[0].split() == ["run", "hidden_size", "learning_rate", "bpc", "time"]
    assert table[2].split()[0] == best["name"]
    assert table[2].endswith("finished")
    assert lines[-5].startswith("best of 4 trials in 0:0")
    assert lines[-4].startswith(f"best:   {best['name']} (hidden_size ")
    assert lines[-3:] == [
        "table:  checkpoints/book-sweep/results.csv",
        f"next:   charrnn sample {best['name']}",
        "longer: charrnn train --config checkpoints/book-sweep/best.toml --budget 1h",
    ]


def test_the_command_at_the_end_trains_longer(book: str, capsys: Text) -> None:
    end_of(*TRIED, "--quiet")
    command = "train --config checkpoints/book-sweep/best.toml --budget 0.3s --name longer"

    assert capsys.readouterr().err == ""
    assert end_of(*command.split(), "--quiet") == 0
    assert {"longer", "book-sweep-01"} < {run["name"] for run in charrnn.list_runs()}


def test_the_commands_at_the_end_find_a_folder_of_ones_own(book: str, capsys: Text) -> None:
    assert end_of(*SMALL, "--over", "hidden_size=4,6", "--steps", "4", "--checkpoints", "own") == 0
    *_, sample, longer = (line.split() for line in capsys.readouterr().err.splitlines())

    assert end_of(*sample[2:], "--length", "3") == 0
    longer[longer.index("1h")] = "0.1s"
    assert end_of(*longer[2:], "--quiet", "--name", "mine") == 0
    assert Path("own/mine").is_dir()


def test_the_same_command_trains_on_with_the_best(book: str, capsys: Text) -> None:
    end_of(*TRIED, "--quiet")
    assert end_of(*TRIED, "--then-train", "0.3s") == 0
    lines = capsys.readouterr().err.splitlines()

    assert lines[0].startswith("continuing 4 trials")
    assert not any(", place " in line for line in lines)
    assert any("→ checkpoints/book-sweep-best" in line for line in lines)
    assert lines[-1].startswith("book-sweep-best: ")


def test_each_report_is_an_object(book: str, capsys: Text) -> None:
    found = objects_of(capsys, *TRIED)
    events = [each["event"] for each in found]

    assert events[:2] == ["reading", "sweep"]
    assert found[1]["counts"] == [4, 2, 1]
    assert [trial["rung_steps"] for trial in found[1]["trials"]] == [[2, 4, 8]] * 4
    assert events.count("trial") == events.count("trialended") == 7
    assert events.count("started") == 7
    assert events[-1] == "sweepfinished"
    assert found[-1]["best"] == charrnn.list_runs()[0]["name"]
    assert found[-1]["longer"] is None


def test_a_terminal_gets_a_table_that_is_redrawn(book: str) -> None:
    shown = on_terminal(lambda: end_of(*TRIED))

    assert shown.count("learning_rate") > 7
    assert "training " in shown
    assert "waiting" in shown
    assert shown.rstrip().endswith("--budget 1h")


def test_trials_that_fail_are_lines(book: str, capsys: Text) -> None:
    over = ["--over", "hidden_size=4,60000", "--steps", "4"]

    assert end_of(*SMALL, *over) == 0
    err = capsys.readouterr().err
    assert "book-sweep-02 (hidden_size 60000) failed: these sizes take at least" in err
    assert err.count("60000") == 2  # and in the table


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--over", "hiden_size=4,6"], "did you mean 'hidden_size'?"),
        (["--over", "hidden_size=4,0"], "trial hidden_size=0: hidden_size is 0"),
        ([], "there is nothing to try; say what, as in: --over hidden_size=128,256"),
        ([*OVER, "--hidden-size", "5"], "leave --hidden-size out"),
        ([*OVER, "--strategy", "tpe"], "'tpe' is not one of"),
        ([*OVER, "--budget", "1m", "--steps", "4"], "budget is of the whole sweep"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_a_line(
    book: str, arguments: list[str], words: str, capsys: Text
) -> None:
    assert end_of(*SMALL, *arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not Path("checkpoints").exists()


def test_ctrl_c_saves_the_trial_and_the_same_command_continues(book: str) -> None:
    command = [sys.executable, "-m", "charrnn", *SMALL, *OVER, "--steps", "40000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not list(Path().glob("checkpoints/book-sweep-01/step-*")):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert err.splitlines()[-1].endswith("in checkpoints/book-sweep-01; the same command continues")
    state = json.loads(Path("checkpoints/book-sweep/sweep.json").read_text())
    assert [trial["scores"] for trial in state["trials"]] == [[]] * 4


def test_several_processes_are_refused(
    book: str, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    from charrnn.training import world

    monkeypatch.setattr(world.World, "world_size", property(lambda _: 2), raising=False)
    assert end_of(*TRIED) == 2
    assert "start it without torchrun" in capsys.readouterr().err
