"""charrnn train --seeds: several runs shown one after another, then their mean and spread."""

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


def test_each_run_is_shown_and_the_end_has_their_mean_and_spread(capsys: Text) -> None:
    assert end_of("--seeds", "1,2") == 0
    lines = capsys.readouterr().err.splitlines()
    one, two = (charrnn.describe(f"book-seed{seed}")["val_bpc"] for seed in (1, 2))

    assert [line for line in lines if line.startswith("seed ")] == [
        "seed 1 (1 of 2)",
        "seed 2 (2 of 2), with what the first run chose: "
        "embedding_size 6, tie_embeddings false, dropout 0.0, seq_len 64, batch_size 16, "
        "learning_rate 0.067",
    ]
    assert len([line for line in lines if line.startswith("best model")]) == 2
    mean, sd = (one + two) / 2, abs(one - two) / 2**0.5
    assert lines[-2].startswith(f"2 seeds: {mean:.3f} ± {sd:.3f} bits per character on text they")
    assert lines[-2].endswith(f"n − 1): {one:.3f}, {two:.3f}")
    assert lines[-1] == "next:  charrnn eval book-seed1 book-seed2"


def test_the_same_command_trains_nothing_again(capsys: Text) -> None:
    end_of("--seeds", "1,2", "--quiet")
    assert capsys.readouterr().err == ""
    assert end_of("--seeds", "1,2,3") == 0
    err = capsys.readouterr().err

    assert "seed 1 (1 of 3) is trained already, as 'book-seed1': " in err
    assert err.count("\nbest model") == 1
    assert charrnn.list_runs()[0]["name"] == "book-seed3"
    assert len(charrnn.list_runs()) == 3


def test_json_lines_end_with_a_summary(capsys: Text) -> None:
    assert end_of("--seeds", "1,2", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    group = charrnn.fit_seeds("book.txt", [1, 2], steps=2, hidden_size=6, threads=1)

    assert [each["event"] for each in events].count("finished") == 2
    assert [each["event"] for each in events].count("summary") == 1
    assert events[-1] == {
        "event": "summary",
        "seeds": [1, 2],
        "runs": ["checkpoints/book-seed1", "checkpoints/book-seed2"],
        "bpc": [each.bpc for each in group.results],
        "mean_bpc": group.mean_bpc,
        "sd_bpc": group.sd_bpc,
    }
    assert [each["sizes"].get("seq_len") for each in events if each["event"] == "seed"] == [
        None,
        64,
    ]


def test_ctrl_c_saves_the_run_of_that_moment_and_the_same_command_continues() -> None:
    command = [sys.executable, "-m", "charrnn", "train", *SMALL, "--steps=300", "--seeds=1,2"]
    with subprocess.Popen(
        [*command, "--eval-every=20"], stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(Path().glob("checkpoints/book-seed1/step-*")):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert err.splitlines()[-1].endswith("in checkpoints/book-seed1; the same command continues")
    assert not Path("checkpoints/book-seed2").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "1,2", "--seed", "3"], "each run; leave --seed out"),
        (["--seeds", "1,2", "--resume", "book"], "by itself; leave --resume out"),
        (["--seeds", "1"], "give two or more, all different, such as 1,2,3"),
        (["--seeds", "1,x"], "'1,x' is no list of seeds, such as 1,2,3"),
    ],
)
def test_what_does_not_go_with_seeds_is_refused_in_a_line(
    capsys: Text, arguments: list[str], message: str
) -> None:
    assert end_of(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not Path("checkpoints").exists()


def test_several_processes_are_refused(capsys: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.training import world

    monkeypatch.setattr(world.World, "world_size", property(lambda _: 2), raising=False)
    assert end_of("--seeds", "1,2") == 2
    assert "start it without torchrun" in capsys.readouterr().err


def test_the_settings_that_are_printed_have_the_seeds(capsys: Text) -> None:
    assert end_of("--seeds", "1,2", "--print-config") == 0
    Path("mine.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert end_of("--config", "mine.toml", "--print-config") == 0
    out = capsys.readouterr().out
    assert 'seeds = "1,2"\n' in out
    assert "seed =" not in out


def test_the_printed_settings_train_the_seeds(capsys: Text) -> None:
    assert end_of("--seeds", "1,2", "--print-config") == 0
    Path("mine.toml").write_text(f"seed = 4\n{capsys.readouterr().out}", encoding="utf-8")

    assert end_of("--config", "mine.toml", "--quiet") == 0
    assert {run["name"] for run in charrnn.list_runs()} == {"book-seed1", "book-seed2"}


def test_the_settings_of_a_run_are_those_of_the_seeds(capsys: Text) -> None:
    assert end_of("--quiet") == 0
    with Path("checkpoints/book/resolved.toml").open("a", encoding="utf-8") as file:
        file.write('length_history = "1:2:1"\n')  # as of a run by --budget
    arguments = ["--config", "checkpoints/book/resolved.toml", "--seeds", "1,2"]

    with pytest.raises(SystemExit) as ending:
        main(["train", *arguments, "--quiet"])
    assert (ending.value.code, capsys.readouterr().err) == (0, "")
    assert len(charrnn.list_runs()) == 3


def test_another_length_replaces_that_of_a_file_with_its_history(capsys: Text) -> None:
    Path("mine.toml").write_text('steps = 9\nlength_history = "1:9:1"\n', encoding="utf-8")

    assert end_of("--config", "mine.toml", "--print-config") == 0  # --steps 2
    assert "length_history" not in capsys.readouterr().out


def test_cells_end_with_a_table_and_the_command_that_looks_inside(capsys: Text) -> None:
    assert end_of("--cells", "rnn,gru", "--ngram-order", "1") == 0
    lines = capsys.readouterr().err.splitlines()
    rnn, gru = (charrnn.describe(f"book-{cell}") for cell in ("rnn", "gru"))

    assert "cell rnn (1 of 2)" in lines
    assert any(line.startswith("cell gru (2 of 2), with what the first") for line in lines)
    rows = [line.split() for line in lines[-3:-1]]
    assert [row[:4] for row in rows] == [
        ["rnn", f"{rnn['parameters']:,}", f"{rnn['val_bpc']:.3f}", "2"],
        ["gru", f"{gru['parameters']:,}", f"{gru['val_bpc']:.3f}", "2"],
    ]
    assert lines[-1] == "next:  charrnn inspect book-rnn book-gru"


def test_the_table_of_cells_tells_parameters_in_n_grams_apart(capsys: Text) -> None:
    assert end_of("--cells", "rnn,gru", "--ngram-rows", "16") == 0
    lines = capsys.readouterr().err.splitlines()
    results = [charrnn.load(f"book-{cell}").config for cell in ("rnn", "gru")]

    for line, model in zip(lines[-3:-1], results, strict=True):
        table = 16 * model.embedding_size
        assert f" {model.num_parameters - table:,} + {table} in n-grams " in line
        assert len(line) <= 80


def test_cells_as_json_end_with_a_summary(capsys: Text) -> None:
    assert end_of("--cells", "rnn,gru", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    group = charrnn.fit_cells("book.txt", ["rnn", "gru"], steps=2, hidden_size=6, threads=1)

    assert [each["cell"] for each in events if each["event"] == "cell"] == ["rnn", "gru"]
    assert events[-1] == {
        "event": "summary",
        "cells": ["rnn", "gru"],
        "runs": ["checkpoints/book-rnn", "checkpoints/book-gru"],
        "parameters": [each.parameters for each in group.results],
        "bpc": [each.bpc for each in group.results],
        "chars_per_second": [each.chars_per_second for each in group.results],
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cells", "rnn,mlp"], "'mlp' is no cell; choose from rnn, lstm, gru"),
        (["--cells", "rnn,gru", "--seeds", "1,2"], "--cells and --seeds both"),
        (["--cells", "rnn,gru", "--cell", "gru"], "leave --cell out"),
        (["--parameters", "5"], "hidden_size 6 and parameters 5 both say"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(
    arguments: list[str], words: str, capsys: Text
) -> None:
    assert end_of(*arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_the_settings_of_cells_are_printed_as_one_configuration(capsys: Text) -> None:
    end_of("--cells", "rnn,gru", "--print-config")
    lines = capsys.readouterr().out.splitlines()

    assert 'cells = "rnn,gru"' in lines
    assert not any(line.startswith("cell =") for line in lines)
