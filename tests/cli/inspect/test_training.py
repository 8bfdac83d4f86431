"""The view `training` on a terminal, in a pipe and without colours."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

import charrnn
from charrnn.cli.inspect.training import show_training
from charrnn.cli.main import main
from tests.interpret.test_training import LINES, evaluation, progress, report_of, snapshots_of


def shown(width: int, *lines: Any, **more: Any) -> str:
    report = report_of(*lines, **more)
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show_training({"book[1]": report, "other": report}, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_an_evaluation_without_its_time_has_an_empty_cell() -> None:
    text = shown(80, progress(10), evaluation(20, elapsed_seconds=None, chars_seen=None))

    assert "nan" not in text


def test_curves_evaluations_groups_and_incidents_are_printed() -> None:
    text = shown(80, *LINES)

    assert "book[1], held-out text" in text
    assert "gzip 3.50, 5-gram 2.25 bits per character" in text
    assert "2.250 best" in text
    assert "recurrent.f" in text
    assert "step 25: spike" in text
    assert max(map(len, text.splitlines())) <= 80


def test_snapshots_show_the_loss_and_the_units_that_were_asked_for() -> None:
    text = shown(80, *LINES, snapshots=snapshots_of(), neurons=("h1.2",))

    assert "the weights along the way, on the text in view" in text
    assert "h1.2 at each character, by step" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_wide_character_has_a_bar_as_wide() -> None:
    report = report_of(*LINES, snapshots=snapshots_of(), neurons=("h1.2",))
    assert report.snapshots is not None
    wide = replace(report, snapshots=replace(report.snapshots, symbols=["月"] * 30))
    console = Console(file=io.StringIO(), width=45, color_system=None)
    show_training({"book": wide}, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    text, first = lines[-4:-2]

    assert text.strip() == "月" * 17
    assert len(first.split()[1]) == 34
    assert first.split()[1][0] == first.split()[1][1]


def test_a_run_that_was_stopped_early_is_shown() -> None:
    assert "Loss against steps" in shown(80, progress(3))
    assert "evaluations" in shown(80, evaluation(3, val_nats=None, groups={}))


def test_a_pipe_gets_a_chart_of_common_width() -> None:
    assert max(map(len, shown(10_000, *LINES).splitlines())) <= 120


def test_the_command_shows_a_run(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    charrnn.fit(book, steps=12, hidden_size=6, threads=1, snapshots=4, name="a")
    with pytest.raises(SystemExit) as ending:
        main(["inspect", "training", "a", "--neuron", "c1.3"])
    out = capsys.readouterr().out

    assert ending.value.code == 0
    assert "a: evaluations, bits per character" in out
    assert "c1.3 at each character" in out


def test_the_table_is_printed_as_csv(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    charrnn.fit(book, steps=12, hidden_size=6, threads=1, name="a")
    with pytest.raises(SystemExit):
        main(["inspect", "training", "a", "--csv"])
    lines = capsys.readouterr().out.splitlines()

    assert "step" in lines[0].split(",")
    assert "recurrent.f_update_norm" in lines[0].split(",")
    assert len(lines) > 2
