"""Training to the end: what comes of a run, Ctrl-C, and the runs of several seeds."""

from __future__ import annotations

import os
import signal
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.errors import ConfigError
from charrnn.tasks.fit import (
    CellsFinished,
    CellStarted,
    SeedsFinished,
    SeedStarted,
    train_cells,
    train_seeds,
)
from charrnn.tasks.train import Opened, Reading
from charrnn.training import plan
from charrnn.training.reports import Evaluation, Progress, Started

SMALL: dict[str, Any] = {"steps": 3, "hidden_size": 6, "threads": 1}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with a text that is long enough for baselines."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("the cat sat on a mat and ran to see. " * 300, encoding="utf-8")


def interrupt_at(kind: type, count: int = 1) -> Callable[[object], None]:
    """Return a function that presses Ctrl-C at the report number `count` of that kind."""
    seen: list[object] = []

    def on_report(report: object) -> None:
        if isinstance(report, kind):
            seen.append(report)
            if len(seen) == count:
                os.kill(os.getpid(), signal.SIGINT)

    return on_report


def test_a_fit_trains_to_the_end_and_says_what_came_of_it() -> None:
    result = charrnn.fit("book.txt", **SMALL)
    summary = charrnn.describe("book")

    assert (result.run, result.path) == ("book", Path("checkpoints/book"))
    assert (result.reason, result.steps) == ("length", 3)
    assert (result.bpc, result.val_nats) == (summary["val_bpc"], summary["val_nats"])
    assert result.baselines_bpc == summary["baselines_bpc"]
    assert result.finished is not None
    assert result.seconds == result.finished.elapsed_seconds
    assert result.model is result.model
    assert result.model.summary == read_model(result.path / "best.safetensors").summary
    assert repr(result).startswith(f"<Result 'book': {result.bpc:.3f} bits per character after 3")
    assert "\n" not in repr(result)


def test_a_fit_on_labelled_records_says_how_well_labels_are_named() -> None:
    lines = [f"__label__{'ab'[i % 2]} {'xy'[i % 2] * 3}{i}" for i in range(600)]
    settings = SMALL | {"texts": "\n".join(lines), "lines": True, "label": "prefix", "name": "ab"}
    result = charrnn.fit(**settings)

    assert result.classification == charrnn.describe("ab")["classification"]
    assert result.classification["label"]["records"] > 20
    assert charrnn.fit("book.txt", **SMALL).classification == {}


def test_a_fit_without_held_out_text_has_no_figure() -> None:
    result = charrnn.fit("book.txt", **SMALL, val_fraction=0)

    assert (result.bpc, result.val_nats, result.baselines_bpc) == (None, None, {})
    assert "nothing held out" in repr(result)


def test_every_report_of_a_fit_is_passed_on() -> None:
    reports: list[object] = []
    charrnn.fit("book.txt", **SMALL, on_report=reports.append)

    assert list(map(type, reports)) == list(map(type, charrnn.train("book.txt", **SMALL, seed=2)))


def test_a_fit_that_is_asked_to_stop_returns_what_it_has() -> None:
    result = charrnn.fit("book.txt", **SMALL, should_stop=lambda: True)

    assert (result.reason, result.steps, RunFolder(result.path).step) == ("stopped", 1, 1)


def test_ctrl_c_saves_the_run_and_is_raised_again() -> None:
    with pytest.raises(KeyboardInterrupt):
        charrnn.fit("book.txt", **SMALL, on_report=interrupt_at(Evaluation))

    assert RunFolder(Path("checkpoints/book")).step == 2  # the step of that moment is finished
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert charrnn.fit(resume="book").steps == 3


def test_ctrl_c_before_training_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        charrnn.fit("book.txt", **SMALL, on_report=interrupt_at(Reading))

    assert not Path("checkpoints").exists()


def test_a_second_ctrl_c_ends_at_once() -> None:
    def press_twice(report: object) -> None:
        if isinstance(report, Progress):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        charrnn.fit("book.txt", **SMALL, on_report=press_twice)


def test_a_handler_of_the_program_stays() -> None:
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        result = charrnn.fit("book.txt", **SMALL, on_report=interrupt_at(Evaluation))
    finally:
        signal.signal(signal.SIGINT, before)

    assert result.reason == "length"


# ── seeds ──


def started_runs(reports: list[Any]) -> list[str]:
    return [report.run.name for report in reports if isinstance(report, Opened)]


def fit_seeds(seeds: Any, **settings: Any) -> tuple[SeedsFinished, list[Any]]:
    """Train, and return the result with all reports."""
    reports: list[Any] = []
    settings = {"steps": 2, "threads": 1} | settings
    return charrnn.fit_seeds("book.txt", seeds, **settings, on_report=reports.append), reports


def test_each_seed_gets_a_run_and_all_a_mean_and_a_spread() -> None:
    group, reports = fit_seeds([1, 5], hidden_size=6)
    values = [charrnn.describe(f"book-seed{seed}")["val_bpc"] for seed in (1, 5)]

    assert (
        started_runs(reports)
        == [each.run for each in group.results]
        == ["book-seed1", "book-seed5"]
    )
    assert [each.bpc for each in group.results] == values
    assert group.mean_bpc == pytest.approx(sum(values) / 2)
    assert group.sd_bpc == pytest.approx(statistics.stdev(values))
    assert group.sd_bpc == pytest.approx(abs(values[0] - values[1]) / 2**0.5)  # n − 1
    alone = charrnn.fit("book.txt", steps=2, hidden_size=6, threads=1, seed=5, on_unfinished="new")
    assert alone.bpc == values[1]


def test_the_others_keep_what_the_first_run_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    group, reports = fit_seeds([1, 2], num_layers=2)
    first, second = (report.plan for report in reports if isinstance(report, Started))
    begun = [report for report in reports if isinstance(report, SeedStarted)]

    assert first == second
    assert begun[0].sizes == {}
    assert begun[1].sizes["hidden_size"] == first.model.hidden_size
    assert begun[1].sizes["learning_rate"] == first.learning_rate
    assert read_model(group.results[1].path / "best.safetensors").summary["settings"]["seq_len"]

    # A machine that would choose otherwise now: the finished runs still say what was chosen.
    monkeypatch.setattr(plan, "_TEXT_SIZES", dict.fromkeys(("plain", "ngrams"), ((10**9, 7),)))
    again, reports = fit_seeds([1, 2, 3], num_layers=2)
    assert started_runs(reports) == ["book-seed3"]
    assert next(r.plan.model for r in reports if isinstance(r, Started)) == first.model
    assert again.results[0].reason == "before"


def test_nothing_is_trained_twice_even_if_a_run_is_renamed() -> None:
    first, _ = fit_seeds([1, 2], hidden_size=6)
    Path("checkpoints/book-seed1").rename("checkpoints/mine")
    again, reports = fit_seeds([1, 2], hidden_size=6)

    assert started_runs(reports) == []
    assert [each.run for each in again.results] == ["mine", "book-seed2"]
    assert [each.bpc for each in again.results] == [each.bpc for each in first.results]
    assert [each.baselines_bpc for each in again.results] == [
        e.baselines_bpc for e in first.results
    ]


def test_what_was_interrupted_continues_where_it_stopped() -> None:
    whole, _ = fit_seeds([1, 2, 3], hidden_size=6, checkpoints="whole")
    with pytest.raises(KeyboardInterrupt):
        charrnn.fit_seeds(
            "book.txt",
            [1, 2, 3],
            steps=2,
            hidden_size=6,
            threads=1,
            on_report=interrupt_at(Progress, count=3),  # in the second run
        )
    assert not Path("checkpoints/book-seed3").exists()
    Path("checkpoints/book-seed2").rename("checkpoints/second")
    again, reports = fit_seeds([1, 2, 3], hidden_size=6)

    assert started_runs(reports) == ["second", "book-seed3"]
    assert [r.resumed_step for r in reports if isinstance(r, Opened)] == [1, None]
    assert [each.bpc for each in again.results] == [each.bpc for each in whole.results]


def test_a_run_that_shall_not_continue_is_left_alone() -> None:
    settings: dict[str, Any] = {"steps": 2, "hidden_size": 6, "threads": 1}
    with pytest.raises(KeyboardInterrupt):
        charrnn.fit_seeds("book.txt", [1, 2], **settings, on_report=interrupt_at(Progress))
    asked: list[Any] = []
    reports = train_seeds(
        [1, 2], ["book.txt"], settings, should_continue=lambda found: bool(asked.append(found))
    )

    assert started_runs(list(reports)) == ["book-2-seed1", "book-seed2"]
    assert [(found.run.name, found.step) for found in asked] == [("book-seed1", 1)]


def test_runs_of_other_settings_are_left_alone() -> None:
    fit_seeds([1, 2], hidden_size=6)
    _, other = fit_seeds([1, 2], hidden_size=5)
    _, new = fit_seeds([1, 2], hidden_size=6, on_unfinished="new")
    _, text = fit_seeds([1, 2], hidden_size=6, name="mine", val_fraction=0.2)

    assert started_runs(other) == ["book-2-seed1", "book-2-seed2"]
    assert started_runs(new) == ["book-3-seed1", "book-3-seed2"]
    assert started_runs(text) == ["mine-seed1", "mine-seed2"]


def test_seeds_of_texts_in_memory() -> None:
    texts = "the cat sat on a mat. " * 100
    group = charrnn.fit_seeds(texts=texts, seeds=[1, 2], **SMALL)
    again = charrnn.fit_seeds(texts=texts, seeds=[1, 2], **SMALL)

    assert [each.reason for each in again.results] == ["before", "before"]
    assert [each.bpc for each in again.results] == [each.bpc for each in group.results]


@pytest.mark.parametrize(
    ("seeds", "settings", "words"),
    [
        ([1], {}, "seeds are '1'; give two or more"),
        ([1, 1], {}, "all different"),
        ([1, -1], {}, "seed is -1; it must be at least 0"),
        ([1, 2], {"seed": 3}, "leave seed out"),
        ([1, 2], {"resume": "book"}, "leave resume out"),
        ([1, 2], {"val_file": "-"}, "standard input cannot be read"),
        ("1,2", {}, "seed is '1'; it must be a whole number"),
    ],
)
def test_what_does_not_go_with_seeds_is_refused(seeds: Any, settings: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fit_seeds(seeds, **settings)
    assert not Path("checkpoints").exists()


# ── cells ──


def fit_cells(cells: Any, **settings: Any) -> tuple[CellsFinished, list[Any]]:
    """Train, and return the result with all reports."""
    reports: list[Any] = []
    settings = {"steps": 2, "threads": 1} | settings
    return charrnn.fit_cells("book.txt", cells, **settings, on_report=reports.append), reports


def test_each_cell_gets_a_run_with_the_sizes_of_the_first_and_a_rate_of_its_own() -> None:
    group, reports = fit_cells(["rnn", "gru"])
    first, second = (report.plan for report in reports if isinstance(report, Started))
    begun = [report for report in reports if isinstance(report, CellStarted)]

    assert started_runs(reports) == ["book-rnn", "book-gru"]
    assert [(each.cell, each.number, each.total) for each in begun] == [
        ("rnn", 1, 2),
        ("gru", 2, 2),
    ]
    assert (first.model.cell, second.model.cell) == ("rnn", "gru")
    assert first.model.hidden_size == second.model.hidden_size
    assert "learning_rate" not in begun[1].sizes
    # Rates have two digits.
    assert second.learning_rate == pytest.approx(2 * first.learning_rate, rel=0.05)
    assert [each.bpc for each in group.results] == [
        charrnn.describe(f"book-{cell}")["val_bpc"] for cell in ("rnn", "gru")
    ]
    assert [each.parameters for each in group.results] == [
        first.model.num_parameters,
        second.model.num_parameters,
    ]
    assert all(each.chars_per_second > 0 for each in group.results)


def test_cells_of_so_many_parameters_have_units_of_their_own() -> None:
    group, reports = fit_cells(["rnn", "lstm", "gru"], parameters="20k")
    models = {r.plan.model.cell: r.plan.model for r in reports if isinstance(r, Started)}

    assert all(19_000 < each.parameters - each.ngram_parameters <= 20_000 for each in group.results)
    assert models["rnn"].hidden_size > models["gru"].hidden_size > models["lstm"].hidden_size
    assert len({model.dropout for model in models.values()}) == 1


def test_cells_that_are_trained_are_not_trained_again() -> None:
    first, _ = fit_cells(["rnn", "gru"], parameters="3k")
    again, reports = fit_cells(["rnn", "gru", "lstm"], parameters="3k")

    assert started_runs(reports) == ["book-lstm"]
    assert [each.reason for each in again.results] == ["before", "before", "length"]
    assert [(e.bpc, e.parameters) for e in again.results[:2]] == [
        (e.bpc, e.parameters) for e in first.results
    ]


def test_cells_that_were_stopped_end_without_a_result() -> None:
    settings = {"steps": 5, "threads": 1, "hidden_size": 6}
    reports = list(train_cells(["rnn", "gru"], ["book.txt"], settings, should_stop=lambda: True))

    assert not any(isinstance(report, CellsFinished) for report in reports)
    assert started_runs(reports) == ["book-rnn"]


@pytest.mark.parametrize(
    ("cells", "settings", "words"),
    [
        (["rnn"], {}, "cells are 'rnn'; give two or three"),
        (["rnn", "rnn"], {}, "all different"),
        (["rnn", "mlp"], {}, "cell is 'mlp'; choose from"),
        (["rnn", "gru"], {"cell": "lstm"}, "leave cell out"),
        (["rnn", "gru"], {"nonlinearity": "relu"}, "leave nonlinearity out"),
        (["rnn", "gru"], {"init_from": "book"}, "leave init_from or cells out"),
        (["rnn", "gru"], {"resume": "book"}, "leave resume out"),
        (["rnn", "gru"], {"val_file": "-"}, "standard input cannot be read"),
    ],
)
def test_what_does_not_go_with_cells_is_refused(cells: Any, settings: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fit_cells(cells, **settings)
    assert not Path("checkpoints").exists()


def test_seeds_of_so_many_parameters_keep_the_units_of_the_first() -> None:
    _, reports = fit_seeds([1, 2], parameters="3k")
    first, second = (report.plan.model for report in reports if isinstance(report, Started))

    assert first == second
    assert first.num_dense_parameters <= 3_000 < first.num_parameters
