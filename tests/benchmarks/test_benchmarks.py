"""The search and the grid: what is drawn, what a table that was cut off gives, the verdict."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.errors import ConfigError, StorageError
from charrnn.text.vocab import Vocab

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import curves
import grid
import plot
import rows as rows_module
import runs as runs_module
import search
import units
from rows import Run, complete, make_run, measure
from runs import RunFailedError, as_options, train
from table import Table

BLANK = {"name": "", "size": "7", "note": ""}
TEXT = "the cat sat on the mat. " * 40


@pytest.fixture
def text() -> tuple[str, Corpus]:
    return "cats.txt", corpus_from_text(TEXT, name="cats")


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path / "tables" / "sizes.csv", BLANK)


class Trainer:
    """Stands in for a training process; what it reaches is its dropout. `made` are its settings."""

    def __init__(self) -> None:
        self.made: list[Mapping[str, Any]] = []
        self.failing: dict[int, BaseException] = {}

    def __call__(self, path: str, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        self.made.append(settings)
        if error := self.failing.pop(len(self.made), None):
            raise error
        val = float(settings.get("dropout", 0.6))
        figures = {"best_val_nats": val, "best_val_windowed_nats": val, "best_train_nats": 0.5}
        counts = {"step": 10, "best_step": 9, "chars_seen": 640, "elapsed_seconds": 2.5}
        plan = {"seq_len": 64, "total_steps": None, "model": {"hidden_size": 96, "dropout": val}}
        return {
            "started": {"device": "cpu", "precision": "fp32", "threads": 1, "plan": plan},
            "progress": {"chars_per_second": 320.0},
            "finished": figures | counts,
        }


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    trainer = Trainer()
    monkeypatch.setattr(rows_module, "train", trainer)
    return trainer


@pytest.fixture
def make_runs(text: tuple[str, Corpus]) -> Callable[..., list[Run]]:
    """Return a function that makes drawn runs of 2 s, one for each dropout."""

    def make(*dropouts: float) -> list[Run]:
        return [
            make_run(text, "drawn", i, budget="2s", dropout=dropout)
            for i, dropout in enumerate(dropouts, start=1)
        ]

    return make


def test_a_draw_is_the_same_on_every_day() -> None:
    drawn = search.draw_settings("names", seed=1, index=3)

    assert list(drawn) == list(search.RANGES)
    assert {name: drawn[name] for name in ("cell", "hidden_size", "dropout", "learning_rate")} == {
        "cell": "lstm",
        "hidden_size": 96,
        "dropout": 0.31,
        "learning_rate": 0.00698,
    }


@pytest.mark.parametrize("other", [("tang", 1, 3), ("names", 2, 3), ("names", 1, 4)])
def test_corpus_seed_and_index_each_change_the_draw(other: tuple[str, int, int]) -> None:
    assert search.draw_settings(*other) != search.draw_settings("names", 1, 3)


def test_whatever_is_drawn_can_be_trained() -> None:
    drawn = [search.draw_settings("names", 1, index) for index in range(300)]

    for settings in drawn:
        TrainConfig(**settings)
    assert {settings["hidden_size"] for settings in drawn} <= set(range(64, 769, 32))
    assert {64, 768} < {settings["hidden_size"] for settings in drawn}
    assert all(16 <= settings["embedding_size"] <= 256 for settings in drawn)
    assert all(32 <= settings["seq_len"] <= 256 for settings in drawn)
    assert all(1e-3 <= settings["learning_rate"] <= 1.2e-2 for settings in drawn)
    assert 200 < sum(settings["cell"] == "lstm" for settings in drawn) < 300


def test_short_runs_with_defaults_are_made_three_times(text: tuple[str, Corpus]) -> None:
    options = argparse.Namespace(budget="60s", seed=5, runs=2, defaults=None)
    planned = search.plan_runs(text, options)
    long = search.plan_runs(text, argparse.Namespace(**vars(options) | {"budget": "1h"}))

    assert [(run.row["kind"], run.row["index"], run.row["seed"]) for run in planned] == [
        ("default", "1", "5"),
        ("default", "2", "6"),
        ("default", "3", "7"),
        ("drawn", "1", "5"),
        ("drawn", "2", "5"),
    ]
    assert planned[0].settings == {"budget": "60s", "seed": 5}
    assert [run.row["kind"] for run in long] == ["default", "drawn", "drawn"]


def test_rows_are_read_as_they_were_written(table: Table) -> None:
    assert table.open() == []
    rows = [{"name": "a, b", "size": "3", "note": 'says "no"'}, {**BLANK, "name": "c", "size": "4"}]
    for row in rows:
        table.add(row)

    assert table.open() == rows


def test_a_line_that_was_cut_short_is_no_row_and_spoils_no_other(table: Table) -> None:
    table.open()
    table.add({"name": "a", "size": "3", "note": ""})
    with table.path.open("a", encoding="utf-8") as file:
        file.write("b,4")

    assert [row["name"] for row in table.open()] == ["a"]
    table.add({"name": "c", "size": "5", "note": ""})
    assert [row["name"] for row in table.open()] == ["a", "c"]


def test_an_older_table_takes_the_new_column_with_what_it_stood_for(table: Table) -> None:
    table.path.parent.mkdir()
    table.path.write_text("name,note\na,old\n", encoding="utf-8")
    table.open()
    table.add({"name": "b", "size": "8", "note": "new"})

    assert table.path.read_text("utf-8") == "name,size,note\na,7,old\nb,8,new\n"


def test_a_file_that_is_no_such_table_is_left_alone(table: Table) -> None:
    table.path.parent.mkdir()
    table.path.write_text("name,price\na,3\n", encoding="utf-8")

    with pytest.raises(ConfigError, match=r"sizes\.csv has a column 'price'.*table"):
        table.open()
    assert table.path.read_text("utf-8") == "name,price\na,3\n"


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read the table"):
        Table(tmp_path, BLANK).open()


def test_a_picture_of_no_table_of_runs_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    with pytest.raises(StorageError, match=r"cannot read the table .*prices\.csv"):
        plot.medians(path)
    path.write_text("name,price\na,3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"prices\.csv has no column 'corpus'"):
        plot.medians(path)


def test_a_stopped_search_goes_on_where_it_was(
    tmp_path: Path,
    trainer: Trainer,
    make_runs: Callable[..., list[Run]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, wanted = tmp_path / "t.csv", make_runs(0.1, 0.2, 0.3)
    trainer.failing = {2: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        complete(path, wanted)
    assert "the same command goes on" in capsys.readouterr().out

    rows = complete(path, wanted)

    assert [settings["dropout"] for settings in trainer.made] == [0.1, 0.2, 0.2, 0.3]
    assert [row["val_nats"] for row in rows] == ["0.1", "0.2", "0.3"]
    assert rows == complete(path, wanted)
    assert len(trainer.made) == 4


def test_a_run_that_fails_has_a_row_that_says_why_and_is_not_made_again(
    tmp_path: Path, trainer: Trainer, make_runs: Callable[..., list[Run]]
) -> None:
    path, wanted = tmp_path / "t.csv", make_runs(0.1, 0.2)
    trainer.failing = {1: RunFailedError("exit 5: the loss\nbecame nan")}
    complete(path, wanted)
    rows = complete(path, wanted)

    assert [(row["error"], row["val_nats"]) for row in rows] == [
        ("exit 5: the loss became nan", ""),
        ("", "0.2"),
    ]
    assert len(trainer.made) == 2


def test_a_run_is_known_by_what_it_asked_for(
    tmp_path: Path, trainer: Trainer, text: tuple[str, Corpus]
) -> None:
    path = tmp_path / "t.csv"
    asked: list[dict[str, Any]] = [{}, {"dropout": 0.6}, {"dropout": 0.6, "residual": True}, {}]
    rows = complete(path, [make_run(text, "grid", 1, budget="2s", **each) for each in asked])

    assert [row["asked"] for row in rows] == ["", "dropout", "residual dropout"]
    assert {row["dropout"] for row in rows} == {"0.6"}


def test_a_row_says_what_was_chosen_and_what_was_reached(
    tmp_path: Path, trainer: Trainer, make_runs: Callable[..., list[Run]]
) -> None:
    (row,) = complete(tmp_path / "t.csv", make_runs(0.25))
    chosen = {name: row[name] for name in ("corpus", "train_chars", "budget_seconds", "dropout")}

    assert chosen == {
        "corpus": "cats",
        "train_chars": "864",
        "budget_seconds": "2.0",
        "dropout": "0.25",
    }
    assert (row["hidden_size"], row["seq_len"]) == ("96", "64")
    assert (row["steps"], row["best_step"], row["ms_per_step"]) == ("10", "9", "200.0")


@pytest.mark.parametrize(("best", "answer"), [(0.581, "yes"), (0.579, "no")])
def test_the_verdict_holds_the_median_default_to_the_best_draw(
    tmp_path: Path,
    trainer: Trainer,
    make_runs: Callable[..., list[Run]],
    text: tuple[str, Corpus],
    best: float,
    answer: str,
) -> None:
    wanted = [make_run(text, "default", 1, budget="2s"), *make_runs(0.9, best, 0.8)]
    said = search.format_verdict(wanted, complete(tmp_path / "t.csv", wanted))

    assert f"difference  {0.6 - best:+.4f} nats" in said
    assert f"within 0.02 nats of the best found: {answer}" in said
    assert "run 2 of seed 1, the best of 3" in said
    assert f"--dropout {best}" in said


def test_there_is_no_verdict_on_defaults_that_failed(
    tmp_path: Path,
    trainer: Trainer,
    make_runs: Callable[..., list[Run]],
    text: tuple[str, Corpus],
) -> None:
    wanted = [make_run(text, "default", 1, budget="2s"), *make_runs(0.9)]
    trainer.failing = {1: RunFailedError("exit 1: no luck")}

    said = search.format_verdict(wanted, complete(tmp_path / "t.csv", wanted))
    assert said == "cats, 2 s: no default run ended well; see the table"


def test_a_grid_is_every_combination_the_short_runs_first(text: tuple[str, Corpus]) -> None:
    axes: dict[str, list[Any]] = {"hidden_size": [8, 16], "dropout": [0.0, 0.5], "residual": []}
    planned = list(grid.plan_runs(dict([text]), ["1m", "2s"], [1], axes))
    names = ("budget", "hidden_size", "dropout")

    assert [tuple(run.settings[name] for name in names) for run in planned] == [
        (budget, hidden, dropout)
        for budget in ("2s", "1m")
        for hidden in (8, 16)
        for dropout in (0.0, 0.5)
    ]
    assert "skip" not in planned[0].settings


def test_a_grid_ends_with_the_best_of_each_text_and_time(
    tmp_path: Path, trainer: Trainer, text: tuple[str, Corpus]
) -> None:
    axes = {"hidden_size": [8], "dropout": [0.4, 0.2, 0.3]}
    planned = list(grid.plan_runs(dict([text]), ["2s", "3s"], [1], axes))

    assert grid.format_best(planned, complete(tmp_path / "t.csv", planned)).splitlines() == [
        f"cats {time}: best 0.2 nats with --budget {time} --seed 1 --hidden-size 8 --dropout 0.2"
        for time in ("2s", "3s")
    ]


def test_settings_become_options_typed_or_from_a_table() -> None:
    typed = as_options({"hidden_size": 8, "residual": True, "tie_embeddings": False})

    assert typed == ["--hidden-size", "8", "--residual", "--no-tie-embeddings"]
    assert as_options({"hidden_size": "8", "residual": "True", "tie_embeddings": "False"}) == typed


def test_a_process_that_fails_gives_the_last_line_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 6, "", "a warning\ncharrnn: no memory\n")

    monkeypatch.setattr(runs_module.subprocess, "run", run)
    with pytest.raises(RunFailedError, match=r"^exit 6: charrnn: no memory$"):
        train("cats.txt", {"budget": "2s"})


def test_a_real_process_fills_a_row_and_heeds_no_variable_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: tuple[str, Corpus]
) -> None:
    path = tmp_path / "cats.txt"
    path.write_text(TEXT, encoding="utf-8")
    monkeypatch.setenv("CHARRNN_DROPOUT", "7")
    run = make_run((str(path), text[1]), "drawn", 1, steps=3, hidden_size=4, threads=1)
    figures = measure(run)

    assert "error" not in figures
    assert (figures["steps"], figures["threads"], figures["device"]) == ("3", "1", "cpu")
    assert (figures["embedding_size"], figures["dropout"]) == ("4", "0.0")
    assert float(figures["val_nats"]) == pytest.approx(2.5, abs=0.5)


def test_a_doubling_of_time_gains_the_share_of_the_loss_that_goes() -> None:
    figures = ((10, 1.0, 2.0), (20, 2.0, 1.9), (200, 20.0, 1.5))
    rows = [
        dict(zip(("budget_seconds", "epochs", "val_nats"), row, strict=True)) for row in figures
    ]

    assert list(curves.doublings(rows, "budget_seconds", ())) == [(1.0, pytest.approx(0.05))]


def test_only_runs_of_one_text_are_a_doubling_of_its_time_or_its_length() -> None:
    short = {"corpus": "cats", "budget_seconds": 10.0, "epochs": 1.0, "val_nats": 2.0}
    rows = [short, {**short, "budget_seconds": 20.0}, {**short, "budget_seconds": 40.0}]
    dogs = [{**row, "corpus": "dogs", "val_nats": 9.0} for row in rows]

    points = curves.find_points(rows, "budget_seconds", ())
    assert curves.find_points(rows + dogs, "budget_seconds", ()) == sorted(points * 2)
    with pytest.raises(ConfigError, match=r"have 0 pairs of runs .* name a CORPUS"):
        curves.find_points([rows[0], dogs[1]], "budget_seconds", ())


def test_a_part_of_a_text_is_as_long_as_its_row_says(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    def train(path: str, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        lengths.append(len(Path(path).read_text(encoding="utf-8")))
        return {"finished": {"epochs": 1.0, "best_val_nats": 2.0}}

    monkeypatch.setattr(curves, "train", train)
    monkeypatch.setattr(curves, "locate_texts", list)
    monkeypatch.setattr(curves, "open_corpus", lambda *_: corpus_from_text(TEXT, name="cats"))
    rows = list(curves.measure("cats.txt", ["2s"], [1, 7], seed=1))

    assert [row["corpus"] for row in rows] == ["cats", "cats"]
    assert [row["train_chars"] for row in rows] == lengths == [864, 123]


def test_the_fit_finds_the_curve_that_points_lie_on() -> None:
    points = [(epochs, 0.04 * epochs**-0.5) for epochs in (0.5, 1.0, 4.0, 16.0)]

    assert curves.fit_power(points) == (pytest.approx(0.04), pytest.approx(-0.5))
    assert curves.fit_logarithm([(1.0, 0.1), (2.0, 0.3), (8.0, 0.7)]) == (0.1, 0.2)


def test_the_time_to_a_loss_is_the_shortest_budget_that_reaches_it() -> None:
    points = [(5.0, 1.9), (10.0, 1.7), (60.0, 1.5)]

    assert plot.time_to(1.75, points) == 10
    assert plot.time_to(1.0, points) == float("inf")


def test_the_picture_places_more_time_to_the_right_and_less_loss_below() -> None:
    picture = plot.draw([(5.0, 1.9), (60.0, 1.5)])
    places = re.search(r'points="([\d.]+),([\d.]+) ([\d.]+),([\d.]+)"', picture)

    assert places is not None
    x1, y1, x2, y2 = map(float, places.groups())
    assert x2 > x1
    assert y2 > y1  # SVG counts from the top
    assert picture.count("<circle") == 3


def test_units_are_compared_in_the_same_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., ModelFile]
) -> None:
    corpus = {"train_chars": 2000}
    summary = {"step": 7, "val_bpc": 1.25, "val_bits_per_byte": 0.75, "corpus": corpus}
    vocab = Vocab("\n ab", clusters=("ab",))
    model = replace(make_model(), summary=summary, vocab=vocab)
    monkeypatch.setattr(units, "train", lambda *_: model)
    path = tmp_path / "text.txt"
    path.write_text("abab a\n" * 10)

    (row,) = units.measure(str(path), ["grapheme"], "2s", 1)

    tokens = round(2000 * 5 / 7)
    assert row == ("text.txt", "grapheme", tokens, 5, 1, 7, "1.2500", "0.7500")
    assert len(row) == len(units.COLUMNS)
