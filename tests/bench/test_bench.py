"""charrnn bench: its rows, its tables, its JSON and its errors."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.bench import training
from charrnn.bench.speeds import EvaluationSpeed, MachineSpeed, SamplingSpeed, TrainingSpeed
from charrnn.cli.bench import SpeedDisplay, as_record, describe_training, show_speeds
from charrnn.cli.main import main
from charrnn.errors import ConfigError, OutOfMemoryError
from charrnn.tasks import benchmark
from charrnn.tasks.benchmark import QUICK, Measuring, measure_speeds

Text = pytest.CaptureFixture[str]

KINDS = (MachineSpeed, TrainingSpeed, EvaluationSpeed, SamplingSpeed)
MACHINE = MachineSpeed("Quick One", "cpu", 2, "9.9", 512, {"fp32": 1234.5, "bf16": 2e4}, 12.34)
TRAINING = TrainingSpeed(
    *("lstm", 1, 1024, 64, 64, "bf16"),
    *(1234.567, 3317.8, 236.9, 1206.22, 0.977, 1131.22, 1300.4, 1.1496),
)
EVALUATION = EvaluationSpeed("gru", 1, 128, 123_456.0, 36.6, 0.815)
SAMPLING = SamplingSpeed("rnn", 2, 256, 12_345.0, 22_222.0, 0.5555, 12.34)
TINY = ("bench", "--quick", "--cells", "rnn", "--hidden-sizes", "8,12", "--threads", "1")


@pytest.fixture(autouse=True)
def _small_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stand in an empty folder, and copy little."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(training, "_COPIED_NUMBERS", 1000)


def end_of(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    return ending.value.code


def numbers(record: dict[str, Any]) -> list[float]:
    return [value for value in record.values() if isinstance(value, int | float)]


# ── what is measured ──


def test_a_quick_bench_gives_a_line_for_each_figure_and_writes_no_files(
    tmp_path: Path, capsys: Text
) -> None:
    assert end_of(*TINY, "--json") == 0

    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [(record["kind"], record.get("hidden_size")) for record in records] == [
        ("machine", None),
        ("training", 8),
        ("training", 12),
        ("evaluation", 8),
        ("evaluation", 12),
        ("sampling", 256),
    ]
    assert all(math.isfinite(n) and n > 0 for record in records for n in numbers(record))
    assert all(record["products_share"] < 1.5 for record in records[1:])
    assert list(tmp_path.iterdir()) == []


def test_each_result_is_announced_with_its_number() -> None:
    results = list(measure_speeds(["rnn"], [8], {"threads": 1}, QUICK))

    announced, measured = results[::2], results[1::2]
    assert announced == [
        Measuring("the machine", 1, 4),
        Measuring("training rnn 1×8", 2, 4),
        Measuring("evaluating rnn 1×8", 3, 4),
        Measuring("sampling rnn 2×256", 4, 4),
    ]
    assert [type(result) for result in measured] == list(KINDS)


def test_settings_reach_the_steps_that_are_measured() -> None:
    settings = {"threads": 1, "batch_size": 3, "seq_len": 5, "precision": "fp32"}

    results = list(measure_speeds(["gru"], [8], settings, QUICK))

    step = next(result for result in results if isinstance(result, TrainingSpeed))
    assert (step.cell, step.batch_size, step.seq_len, step.precision) == ("gru", 3, 5, "fp32")


def test_left_out_sizes_are_those_of_a_run() -> None:
    results = list(measure_speeds(["rnn"], [8], {"threads": 1}, QUICK))

    step = next(result for result in results if isinstance(result, TrainingSpeed))
    assert (step.batch_size, step.seq_len) == (16, 64)


# ── what is shown ──


@pytest.mark.parametrize("columns", ["80", "40"])
def test_tables_are_whole_in_eighty_columns_and_no_narrower(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "0")  # no colours
    monkeypatch.setenv("COLUMNS", columns)
    for row in (MACHINE, TRAINING, EVALUATION, SAMPLING):
        show_speeds([row])

    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert "1,234.57" in out


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (TRAINING, "lstm 1×1024 64 bf16 1,234.57 3.32k 237 1,206.22 98% 1,131.22 1.15"),
        (EVALUATION, "gru 1×128 123k 37 82%"),
        (SAMPLING, "rnn 2×256 12.3k 22.2k 56% 12.3"),
        (replace(SAMPLING, ngram_order=5), "rnn 2×256 + n-grams 12.3k 22.2k 56% 12.3"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_row_shows_its_figures(row: Any, cells: str, capsys: Text) -> None:
    show_speeds([row])

    assert capsys.readouterr().out.splitlines()[-1].split() == cells.split()


def test_the_machine_stands_above_the_tables(capsys: Text) -> None:
    show_speeds([MACHINE])

    assert capsys.readouterr().out.splitlines() == [
        "Quick One, cpu, 2 threads, torch 9.9",
        "products of 512 × 512: fp32 1,234, bf16 20,000 GFLOP/s; memory 12.3 GB/s",
    ]


def test_rows_of_a_kind_share_a_table(capsys: Text) -> None:
    display = SpeedDisplay(as_json=False)
    for row in (MACHINE, TRAINING, TRAINING, EVALUATION):
        display.show(row)
    before = capsys.readouterr().out
    display.close()

    assert before.count("lstm 1×1024") == 2
    assert before.count("model") == 1
    assert "gru 1×128" not in before
    assert "gru 1×128" in capsys.readouterr().out


def test_the_end_is_a_sentence_on_a_novel(capsys: Text) -> None:
    display = SpeedDisplay(as_json=False)
    smaller = replace(TRAINING, hidden_size=256, chars_per_second=65_432.0)
    larger = replace(TRAINING, hidden_size=512, chars_per_second=64_000.0)
    other = replace(TRAINING, cell="rnn", hidden_size=2048)
    for row in (MACHINE, smaller, larger, other, SAMPLING):
        display.show(row)
    display.close()

    assert capsys.readouterr().out.endswith(
        "\n\nlstm of 512 units learns from about 64,000 characters a second: War and Peace (3.2 "
        "million) takes 50 s per epoch.\n"
    )


def test_a_long_epoch_is_told_in_minutes(capsys: Text) -> None:
    assert "about 3,300 characters a second: War and Peace (3.2 million) takes 16 minutes" in (
        describe_training([TRAINING])
    )


def test_a_terminal_shows_what_is_measured_on_a_line_that_is_erased(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    display = SpeedDisplay(as_json=True)
    display.show(Measuring("the machine", 1, 4))
    display.close()

    out, err = capsys.readouterr()
    assert out == ""
    assert "measuring the machine (1 of 4) …" in err
    assert err.endswith("\r\x1b[2K")
    assert "\n" not in err


def test_forced_colours_do_not_make_a_file_a_terminal(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    display = SpeedDisplay(as_json=True)
    display.show(Measuring("the machine", 1, 4))
    display.close()

    assert capsys.readouterr() == ("", "")


def test_ctrl_c_shows_what_was_measured_and_ends_with_130(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "measure_evaluation", interrupt)

    assert end_of(*TINY) == 130

    out, err = capsys.readouterr()
    assert "rnn 1×12" in out
    assert err.strip() == "charrnn: interrupted"


# ── what is documented ──


def test_every_key_of_the_json_is_documented_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bench.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (machine|training|evaluation|sampling) \| (.*?) \|", page, re.M)
    documented = {
        kind: [key for name, keys in rows if name == kind for key in re.findall(r"`(\w+)`", keys)]
        for kind, _ in rows
    }

    records = [as_record(row) for row in (MACHINE, TRAINING, EVALUATION, SAMPLING)]
    assert {record.pop("kind"): sorted(record) for record in records} == {
        kind: sorted(keys) for kind, keys in documented.items()
    }


def test_every_rate_and_time_carries_its_unit() -> None:
    names = [f.name for kind in KINDS for f in fields(kind) if "float" in str(f.type)]

    unit = re.compile(r"_(ms|per_second|share|speedup)$")
    assert [name for name in names if not unit.search(name)] == []


# ── what goes wrong ──


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cells", "lstm,lsmt"], "'lsmt' is not one of 'rnn', 'lstm', 'gru'. Did you mean 'lstm"),
        (["--cells", ""], "'' is not one of"),
        (["--hidden-sizes", "128,big"], "'big' is not a valid integer"),
        (["--hidden-sizes", "0"], "0 is not in the range"),
        (["--precision", "fp16", "--device", "cpu"], "precision fp16 needs a GPU"),
    ],
)
def test_a_wrong_option_ends_with_2_and_says_what_would_work(
    arguments: list[str], message: str, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "measure_machine", lambda *_: MACHINE)

    assert end_of("bench", *arguments) == 2

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


def test_a_precision_that_cannot_be_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(ConfigError, match="precision fp16 needs a GPU"):
        next(measure_speeds(["rnn"], [8], {"precision": "fp16", "device": "cpu"}, QUICK))


def test_an_unknown_cell_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(ConfigError, match="cell is 'mamba'; choose from rnn, lstm, gru"):
        next(measure_speeds(["mamba"], [8], {}, QUICK))


def raise_memory_error(*_: object) -> None:
    raise MemoryError


def raise_torchs_error(*_: object) -> None:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 TB")


@pytest.mark.parametrize("fail", [raise_memory_error, raise_torchs_error])
def test_sizes_that_do_not_fit_are_named(
    fail: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "measure_training", fail)

    with pytest.raises(OutOfMemoryError, match="training rnn 1×8; lower hidden_sizes"):
        list(measure_speeds(["rnn"], [8], {"threads": 1}, QUICK))


@pytest.mark.parametrize("what", ["machine", "sampling"])
def test_memory_that_no_size_would_save_is_not_blamed_on_sizes(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "measure_training", lambda *_: None)
    monkeypatch.setattr(benchmark, "measure_evaluation", lambda *_: None)
    monkeypatch.setattr(benchmark, f"measure_{what}", raise_memory_error)

    with pytest.raises(OutOfMemoryError, match=f"{what}.*; close other programs"):
        list(measure_speeds(["rnn"], [8], {"threads": 1}, QUICK))


def test_any_other_failure_is_not_called_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(benchmark, "measure_training", fail)

    with pytest.raises(RuntimeError, match="a bug"):
        list(measure_speeds(["rnn"], [8], {"threads": 1}, QUICK))
