"""charrnn train: settings from four places, the files of a run, and how it ends."""

from __future__ import annotations

import io
import json
import math
import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import main
from charrnn.config import RunConfig, TextConfig, TrainConfig, as_dict

Text = pytest.CaptureFixture[str]

SMALL = ["--steps", "6", "--hidden-size", "8"]
WORDS = "the cat sat on a mat and ran to see what an old dog had done in its house"
DEFAULTS = {k: v for c in (TextConfig, TrainConfig, RunConfig) for k, v in as_dict(c()).items()}


def make_text(length: int) -> str:
    """Return a text of a few words in random order, the same every time."""
    draw, words = random.Random(9), WORDS.split()
    return " ".join(draw.choice(words) for _ in range(length // 2))[: length - 1] + "\n"


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a text of 2000 characters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "CHARRNN_THREADS", "1"
    )  # two that wait for each other crawl on a busy machine
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    path = Path("book.txt")
    path.write_text(make_text(2000))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which `charrnn train book.txt` was run, with its run `book`."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "book.txt").write_text(make_text(2000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_CACHE", str(folder / "cache"))
        patch.setenv("CHARRNN_THREADS", "1")
        patch.chdir(folder)
        assert end_of("train", "book.txt", *SMALL, "--dropout", "0.25", "--quiet") == 0
    return folder


def end_of(*arguments: str) -> int | str | None:
    """Run the program in this process; give its exit code."""
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    return ending.value.code


def refusal(capsys: Text, *arguments: str) -> tuple[int | str | None, str]:
    """Return the exit code of a run that fails, and the last line of what it says."""
    code = end_of("train", *arguments, "--quiet")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return code, err.removeprefix("charrnn: ").removesuffix("\n")


def settings_of(capsys: Text, *arguments: str) -> dict[str, Any]:
    """Return what --print-config prints, read as TOML."""
    assert end_of("train", *arguments, "--print-config") == 0
    return tomllib.loads(capsys.readouterr().out)


def reports_of(capsys: Text, *arguments: str) -> list[dict[str, Any]]:
    """Train with --json; give the reports, held to JSON as others read it."""
    assert end_of("train", *arguments, "--json") == 0
    return [parse(line) for line in capsys.readouterr().out.splitlines()]


def parse(text: str) -> Any:
    """Read strict JSON, which has no word for what is not a number."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


# ── the files of a run ──


def test_a_run_leaves_its_files(finished: Path) -> None:
    names = {path.name for path in (finished / "checkpoints/book").glob("[!.]*")}

    assert names == {
        "best.safetensors",
        "step-5.safetensors",
        "step-6.safetensors",
        "metrics.jsonl",
        "config.toml",
        "resolved.toml",
        "samples.txt",
    }


def test_the_model_is_of_the_sizes_that_were_asked_for(finished: Path) -> None:
    model = read_model(finished / "checkpoints/book/best.safetensors")

    assert (model.config.hidden_size, model.config.dropout) == (8, 0.25)
    assert model.vocab.alphabet == "".join(sorted(set(make_text(2000))))


def test_metrics_hold_a_line_for_each_evaluation(finished: Path) -> None:
    lines = (finished / "checkpoints/book/metrics.jsonl").read_text().splitlines()

    evaluations = [each for each in map(parse, lines) if each["event"] == "evaluation"]
    assert [each["step"] for each in evaluations] == [1, 2, 3, 4, 5, 6]
    best = min(each["val_nats"] for each in evaluations)
    assert read_model(finished / "checkpoints/book/best.safetensors").summary["val_nats"] == best


def test_samples_hold_what_the_model_wrote_at_each_evaluation(finished: Path) -> None:
    headings = (finished / "checkpoints/book/samples.txt").read_text(encoding="utf-8").split("── ")

    assert [each.split(",")[0] for each in headings if each.startswith("step")] == [
        f"step {step}" for step in range(1, 7)
    ]


def test_the_last_sample_is_what_the_model_writes(finished: Path) -> None:
    run = finished / "checkpoints/book"
    text = "".join(charrnn.load(run).generate(length=240, seed=1))

    assert (run / "samples.txt").read_text(encoding="utf-8").endswith(f"──\n{text}\n\n")


def test_the_settings_in_a_run_make_another_run_like_it(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    run = Path("checkpoints/book")

    assert end_of("train", "--config", str(run / "config.toml"), "--name", "again", "-q") == 0

    again = read_model(Path("checkpoints/again/best.safetensors")).summary
    before = read_model(run / "best.safetensors").summary
    assert again["settings"] == before["settings"]
    assert again["val_nats"] == before["val_nats"]


def test_the_name_of_the_corpus_is_numbered_where_a_run_has_it(
    finished: Path, tmp_path: Path
) -> None:
    checkpoints = tmp_path / "runs"
    small = ["--steps", "1", "--hidden-size", "8", "--checkpoints", str(checkpoints)]
    for _ in range(3):
        assert end_of("train", str(finished / "book.txt"), *small, "--quiet") == 0

    assert {path.name for path in checkpoints.iterdir()} == {"book", "book-2", "book-3"}


def test_a_name_that_a_run_has_already_is_refused(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    monkeypatch.chdir(finished)

    code, line = refusal(capsys, "book.txt", *SMALL, "--name", "book")

    assert code == 2
    assert "there is a run 'book'" in line
    assert "--resume book" in line


def test_a_tiny_text_trains_with_all_else_left_alone(book: Path) -> None:
    Path("tiny.txt").write_text(make_text(300))

    assert end_of("train", "tiny.txt", "--steps", "6", "--quiet") == 0

    assert len("".join(charrnn.load("tiny").generate(length=30))) == 30


def test_a_text_of_one_character_trains_to_the_end(book: Path, capsys: Text) -> None:
    Path("same.txt").write_text("a" * 600)

    assert end_of("train", "same.txt", *SMALL) == 0

    assert "next:  charrnn sample same" in capsys.readouterr().err


def test_the_text_may_come_from_stdin(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(book.read_bytes())))

    assert end_of("train", "-", *SMALL, "--quiet") == 0

    summary = read_model(Path("checkpoints/stdin/best.safetensors")).summary
    assert summary["corpus"]["train_chars"] + summary["corpus"]["val_chars"] == 2000


# ── what is shown ──


def test_off_a_terminal_there_are_plain_lines_on_stderr_alone(book: Path, capsys: Text) -> None:
    assert end_of("train", "book.txt", *SMALL) == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    lines = err.splitlines()
    assert lines[0].startswith("book: 2,000 characters, ")
    assert [line.split(" · ")[0] for line in lines if " val " in line] == [
        f"step {step}" for step in range(1, 7)
    ]
    assert lines[-1] == "next:  charrnn sample book --temp 0.8"


def test_quiet_says_nothing(book: Path, capsys: Text) -> None:
    assert end_of("train", "book.txt", *SMALL, "--quiet") == 0

    assert capsys.readouterr() == ("", "")


def test_json_reports_come_in_order_one_object_a_line(book: Path, capsys: Text) -> None:
    events = [report["event"] for report in reports_of(capsys, "book.txt", *SMALL)]

    assert events[:3] == ["reading", "opened", "started"]
    assert events[3:-1] == ["progress", "evaluation", "written"] * 6
    assert events[-1] == "finished"


def test_json_reports_carry_the_figures(book: Path, capsys: Text) -> None:
    by_event = {report["event"]: report for report in reports_of(capsys, "book.txt", *SMALL)}

    vocab_size = len(set(make_text(2000)))
    room_bytes = by_event["opened"].pop("room_bytes")
    kept = [path.stat().st_size for path in Path("checkpoints/book").glob("*.*")]
    assert sum(kept) < room_bytes < 2e6
    assert by_event["opened"] == {
        "event": "opened",
        "run": str(Path("checkpoints/book")),
        "corpus": "book",
        "chars": 2000,
        "vocab_size": vocab_size,
        "held_out": "the last 10% of the text",
        "notes": [],
        "resumed_step": None,
        "is_found": False,
        "init_from": None,
        "distill_from": [],
        "damaged": [],
    }
    assert by_event["started"]["plan"]["model"]["hidden_size"] == 8
    assert by_event["written"]["text"] == "".join(charrnn.load("book").generate(length=240, seed=1))
    best = read_model(Path("checkpoints/book/best.safetensors")).summary
    assert by_event["finished"]["best_val_nats"] == best["val_nats"]
    assert by_event["finished"]["best_val_windowed_nats"] == best["val_windowed_nats"]
    assert by_event["finished"]["reason"] == "length"


def test_the_opening_says_what_is_held_out_for_testing(book: Path, capsys: Text) -> None:
    held_out = "the last 30% of the text: 10% for validation, 20% for testing"
    opened = reports_of(capsys, "book.txt", *SMALL, "--test-fraction", "0.2")[1]

    assert (opened["chars"], opened["held_out"]) == (2000, held_out)
    assert opened["notes"] == [f"held out: {held_out}"]


def test_the_end_says_what_each_text_costs_and_info_repeats_it(book: Path, capsys: Text) -> None:
    Path("letters.txt").write_text("Dear Anna, I write to you again; do answer me.\n" * 30)
    assert end_of("train", "book.txt", "letters.txt:5", *SMALL, "--name", "two") == 0
    lines = capsys.readouterr().err.splitlines()

    assert "letters.txt counts 5 times" in lines
    (line,) = (line for line in lines if line.startswith("held out, by text: "))
    figures = re.fullmatch(
        r"book.txt (\d\.\d\d), letters.txt (\d\.\d\d) bits per character",
        line.removeprefix("held out, by text: "),
    )
    assert figures
    assert end_of("info", "two") == 0
    assert f"by text {figures[0]}" in " ".join(capsys.readouterr().out.split())
    assert end_of("info", "two", "--json") == 0
    by_source = json.loads(capsys.readouterr().out)["val_by_source_nats"]
    assert [f"{nats / math.log(2):.2f}" for nats in by_source.values()] == [*figures.groups()]
    assert list(by_source) == ["book.txt", "letters.txt"]


def test_a_weight_that_is_none_ends_with_3(book: Path, capsys: Text) -> None:
    code, line = refusal(capsys, "book.txt:0")

    assert code == 3
    assert line.startswith("the weight in 'book.txt:0' is 0; give a whole number from 1 to 1,000")


def test_a_run_stopped_before_its_first_evaluation_describes_itself_in_json(
    book: Path, capsys: Text
) -> None:
    stopped = charrnn.train(book, steps=9, eval_every=9, hidden_size=8, should_stop=lambda: True)
    assert [type(report).__name__ for report in stopped][-1] == "RunFinished"

    assert end_of("info", "book", "--json") == 0

    description = parse(capsys.readouterr().out)
    assert (description["step"], description["val_nats"]) == (1, None)


# ── settings ──


def test_without_any_setting_the_defaults_are_printed(capsys: Text) -> None:
    printed = settings_of(capsys)

    assert printed == {key: value for key, value in DEFAULTS.items() if value is not None}


def test_printed_settings_read_back_are_printed_the_same(book: Path, capsys: Text) -> None:
    given = [
        "--cell",
        "gru",
        "--tie-embeddings",
        "--learning-rate",
        "0.003",
        "--name",
        "päper \\ 2",
    ]
    first = settings_of(capsys, "book.txt", "other.txt", *given, *SMALL)
    Path("mine.toml").write_text(_printed(capsys, "book.txt", "other.txt", *given, *SMALL))

    assert settings_of(capsys, "--config", "mine.toml") == first
    assert first["corpus"] == ["book.txt", "other.txt"]
    assert (first["tie_embeddings"], first["learning_rate"]) == (True, 0.003)


def _printed(capsys: Text, *arguments: str) -> str:
    assert end_of("train", *arguments, "--print-config") == 0
    return capsys.readouterr().out


def test_a_flag_goes_before_the_environment_and_that_before_the_file(
    book: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.toml").write_text("hidden_size = 11\nnum-layers = 3\nbatch_size = 5\n")
    monkeypatch.setenv("CHARRNN_HIDDEN_SIZE", "12")
    monkeypatch.setenv("CHARRNN_NUM_LAYERS", "4")

    printed = settings_of(capsys, "--config", "mine.toml", "--hidden-size", "13")

    assert printed["hidden_size"] == 13
    assert printed["num_layers"] == 4
    assert printed["batch_size"] == 5
    assert printed["warmup_steps"] == TrainConfig().warmup_steps


@pytest.mark.parametrize(
    ("flags", "variable", "length"),
    [
        (["--budget", "1s"], "CHARRNN_STEPS", {"budget": "1s"}),
        (["--epochs", "2"], "CHARRNN_BUDGET", {"epochs": 2.0}),
        ([], "CHARRNN_STEPS", {"steps": 5}),
        (["--steps", "7"], None, {"steps": 7}),
        ([], None, {"epochs": 3.0}),
    ],
)
def test_a_length_from_a_stronger_place_drops_those_of_weaker_ones(
    book: Path,
    capsys: Text,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    variable: str | None,
    length: dict[str, Any],
) -> None:
    Path("mine.toml").write_text("epochs = 3\n")
    if variable:
        monkeypatch.setenv(variable, "5")

    printed = settings_of(capsys, "--config", "mine.toml", *flags)

    assert {k: printed[k] for k in ("budget", "epochs", "steps") if k in printed} == length


def test_two_lengths_from_one_place_clash(
    book: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.toml").write_text("epochs = 3\nbudget = 60\n")
    message = "budget and epochs both say how long to train; give one"

    assert refusal(capsys, "book.txt", "--config", "mine.toml") == (2, message)
    monkeypatch.setenv("CHARRNN_EPOCHS", "1")
    monkeypatch.setenv("CHARRNN_BUDGET", "1m")
    assert refusal(capsys, "book.txt", "--config", "mine.toml") == (2, message)


def test_numbers_in_a_file_may_stand_for_texts(book: Path, capsys: Text) -> None:
    Path("mine.toml").write_text("budget = 60\nname = 2031\n")

    printed = settings_of(capsys, "--config", "mine.toml")

    assert (printed["budget"], printed["name"]) == ("60", "2031")


def test_a_file_can_ask_for_json_by_the_name_of_the_flag(book: Path, capsys: Text) -> None:
    Path("mine.toml").write_text("json = true\nsteps = 1\nhidden-size = 8\n")

    assert end_of("train", "book.txt", "--config", "mine.toml") == 0

    assert parse(capsys.readouterr().out.splitlines()[-1])["event"] == "finished"


@pytest.mark.parametrize("key", ["config", "as_json", "q"])
def test_a_file_cannot_name_what_is_no_setting(book: Path, capsys: Text, key: str) -> None:
    Path("mine.toml").write_text(f"{key} = true\n")

    code, line = refusal(capsys, "book.txt", "--config", "mine.toml")

    assert code == 2
    assert line.startswith(f"mine.toml: train has no setting {key!r}")


def test_a_setting_spelled_in_two_ways_is_refused(book: Path, capsys: Text) -> None:
    Path("mine.toml").write_text("batch-size = 8\nbatch_size = 9\n")

    assert refusal(capsys, "book.txt", "--config", "mine.toml") == (
        2,
        "mine.toml: batch_size is set twice, with - and with _; keep one",
    )


def test_a_flag_can_undo_what_the_file_turned_on(book: Path, capsys: Text) -> None:
    Path("mine.toml").write_text("residual = true\n")

    assert settings_of(capsys, "--config", "mine.toml")["residual"] is True
    assert settings_of(capsys, "--config", "mine.toml", "--no-residual")["residual"] is False


def test_the_environment_sets_the_size_of_a_network(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_HIDDEN_SIZE", "7")

    assert end_of("train", "book.txt", "--steps", "1", "--quiet") == 0

    assert read_model(Path("checkpoints/book/best.safetensors")).config.hidden_size == 7


def test_a_tied_output_may_have_an_embedding_of_any_size(book: Path, capsys: Text) -> None:
    tied = ["--tie-embeddings", "--embedding-size", "3"]
    assert end_of("train", "book.txt", *SMALL, *tied, "--quiet") == 0

    weights = read_model(Path("checkpoints/book/best.safetensors")).weights
    assert weights["projection.weight"].shape == (3, 8)
    assert "output.weight" not in weights
    assert end_of("sample", "book", "--length", "30") == 0
    assert len(capsys.readouterr().out) >= 30


def test_an_unknown_key_of_a_file_is_answered_with_the_one_that_was_meant(
    book: Path, capsys: Text
) -> None:
    Path("mine.toml").write_text("hiden_size = 8\n")

    code, line = refusal(capsys, "book.txt", "--config", "mine.toml")

    assert code == 2
    assert line == "mine.toml: train has no setting 'hiden_size'; did you mean 'hidden_size'?"


@pytest.mark.parametrize("content", [b"steps = \n", b"\xff\xfe", b"steps = 1\nsteps = 2\n"])
def test_a_file_that_is_not_toml_is_refused(book: Path, capsys: Text, content: bytes) -> None:
    Path("mine.toml").write_bytes(content)

    code, line = refusal(capsys, "book.txt", "--config", "mine.toml")

    assert code == 2
    assert "cannot use the configuration mine.toml" in line


@pytest.mark.parametrize("value", ["8.7", "true", '"many"', "0", "[8]"])
def test_a_value_of_a_file_that_is_no_size_is_refused(book: Path, capsys: Text, value: str) -> None:
    Path("mine.toml").write_text(f"hidden_size = {value}\n")

    code, line = refusal(capsys, "book.txt", "--steps", "1", "--config", "mine.toml")

    assert code == 2
    assert "hidden" in line


# ── what is refused ──


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "5", "--budget", "1m"], "budget and steps both say how long to train"),
        (["--steps", "5", "--epochs", "1"], "epochs and steps both say how long to train"),
        (["--budget", "soon"], "'soon' is not a length of time"),
        (["--cell", "lstn"], "Did you mean 'lstm'?"),
        (["--hidden-size", "0"], "0 is not in the range"),
        (["--nonlinearity", "relu"], "works only with cell rnn"),
        (["--encoding", "klingon"], "klingon"),
        (["--name", "../up", *SMALL], "cannot name a run"),
        (["--name", "-x", *SMALL], "'-x' cannot name a run"),
        (["--frobnicate"], "--frobnicate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_setting_that_cannot_be_ends_with_2(
    book: Path, capsys: Text, arguments: list[str], message: str
) -> None:
    code, line = refusal(capsys, "book.txt", *arguments)

    assert code == 2
    assert message in line


def test_no_corpus_ends_with_2(book: Path, capsys: Text) -> None:
    code, line = refusal(capsys)

    assert code == 2
    assert "no corpus is given" in line


def test_a_text_that_is_not_there_ends_with_3(book: Path, capsys: Text) -> None:
    code, line = refusal(capsys, "nowhere.txt")

    assert code == 3
    assert "nowhere.txt" in line


def test_a_text_that_is_not_in_its_encoding_ends_with_3(book: Path, capsys: Text) -> None:
    Path("latin.txt").write_bytes(b"caf\xe9 " * 99)

    code, line = refusal(capsys, "latin.txt")

    assert code == 3
    assert "latin.txt" in line
    assert "--encoding" in line


def test_a_text_too_short_to_hold_out_anything_ends_with_3(book: Path, capsys: Text) -> None:
    Path("short.txt").write_text("too short")

    code, line = refusal(capsys, "short.txt", *SMALL)

    assert code == 3
    assert "has 9 characters, of which 1 is held out" in line


def test_a_text_that_cannot_be_trained_on_leaves_no_run(book: Path, capsys: Text) -> None:
    Path("short.txt").write_text("too short")

    refusal(capsys, "short.txt", *SMALL)

    assert not Path("checkpoints/short").exists()


def test_windows_longer_than_the_text_end_with_3(book: Path, capsys: Text) -> None:
    code, line = refusal(capsys, "book.txt", *SMALL, "--seq-len", "999", "--batch-size", "2")

    assert code == 3
    assert "1800" in line.replace(",", "")
    assert "1999" in line.replace(",", "")


def test_a_run_to_resume_that_is_not_there_ends_with_4(book: Path, capsys: Text) -> None:
    code, line = refusal(capsys, "--resume", "bok")

    assert code == 4
    assert f"there is no run or model file 'bok' in {Path('checkpoints').absolute()}" in line


def test_a_resumed_run_cannot_change_its_network(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    monkeypatch.chdir(finished)

    code, line = refusal(capsys, "--resume", "book", "--hidden-size", "9")

    assert code == 2
    assert "hidden_size of run 'book' is 8 and cannot change" in line


def test_a_run_is_not_resumed_on_another_text(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    monkeypatch.chdir(finished)
    Path("other.txt").write_text(make_text(2001))

    code, line = refusal(capsys, "other.txt", "--resume", "book", "--steps", "9")

    assert code == 4
    assert "the text of other is not the one that run 'book' was trained on" in line
    assert line.endswith("charrnn train other.txt --init-from book")


def test_a_run_that_was_resumed_is_the_run_that_went_through(book: Path) -> None:
    longer = [
        "--steps",
        "6",
        "--hidden-size",
        "8",
        "--dropout",
        "0.25",
        "--lr-schedule",
        "constant",
    ]
    assert end_of("train", "book.txt", *longer, "--name", "whole", "-q") == 0
    assert end_of("train", "book.txt", "--steps", "2", *longer[2:], "--name", "half", "-q") == 0

    assert end_of("train", "--resume", "half", "--steps", "6", "--quiet") == 0

    whole, half = (
        read_model(Path(f"checkpoints/{n}/step-6.safetensors")) for n in ("whole", "half")
    )
    assert half.summary["step"] == 6
    assert all((half.weights[name] == weight).all() for name, weight in whole.weights.items())


# ── how it is stopped ──


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_saves_the_run_and_says_how_to_go_on(book: Path, name: str, code: int) -> None:
    command = [sys.executable, "-W", "error", "-m", "charrnn", "train", "book.txt"]
    command += ["--steps", "1000000", "--eval-every", "20", "--hidden-size", "8", "--patience", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(" val " in line for line in process.stderr)
        process.send_signal(getattr(signal, name))
        _, rest = process.communicate(timeout=60)

    assert process.returncode == code
    line = r"charrnn: stopped; saved after step ([\d,]+) in (\S+); continue with: (.*)"
    found = re.fullmatch(line, rest.splitlines()[-1])
    assert found is not None
    steps = int(found[1].replace(",", ""))
    assert found.groups()[1:] == ("checkpoints/book", "charrnn train --resume book")
    assert RunFolder(Path("checkpoints/book")).step == steps
    assert end_of("train", "--resume", "book", "--steps", str(steps + 3), "--quiet") == 0
    assert RunFolder(Path("checkpoints/book")).step == steps + 3


ENDLESS = ["--steps", "1000000", "--eval-every", "20", "--hidden-size", "8", "--patience", "0"]


def test_a_pipe_that_nobody_reads_ends_a_run_and_saves_it(book: Path) -> None:
    command = [sys.executable, "-m", "charrnn", "train", "book.txt", *ENDLESS, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(9):
            assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""

    assert process.returncode == 141
    assert RunFolder(Path("checkpoints/book")).step


@pytest.mark.skipif(not hasattr(os, "forkpty"), reason="needs pseudo-terminals")
def test_a_terminal_that_is_closed_ends_a_run_and_saves_it(book: Path) -> None:
    process, terminal = start_on_a_terminal("train", "book.txt", *ENDLESS)
    read_until(terminal, b"it writes")
    os.close(terminal)
    _, status = os.waitpid(process, 0)

    assert os.waitstatus_to_exitcode(status) == 129
    run = RunFolder(Path("checkpoints/book"))
    assert run.read_state()[0].progress is not None


@pytest.mark.skipif(not hasattr(os, "forkpty"), reason="needs pseudo-terminals")
@pytest.mark.parametrize(("answer", "names"), [(b"\n", ["book"]), (b"n\n", ["book", "book-2"])])
def test_on_a_terminal_an_unfinished_run_is_offered(
    book: Path, answer: bytes, names: list[str]
) -> None:
    process, terminal = start_on_a_terminal("train", "book.txt", *ENDLESS)
    read_until(terminal, b"it writes")
    os.write(terminal, b"\x03")
    read_until(terminal, b"continue with: charrnn train --resume book")
    os.waitpid(process, 0)

    process, terminal = start_on_a_terminal("train", "book.txt", *ENDLESS)
    read_until(terminal, b"(run 'book'). Continue? [Y/n]:")
    os.write(terminal, answer)
    read_until(terminal, b"it writes")
    os.write(terminal, b"\x03")
    read_until(terminal, b"charrnn: stopped; saved")
    _, status = os.waitpid(process, 0)

    assert os.waitstatus_to_exitcode(status) == 130
    assert sorted(path.name for path in Path("checkpoints").iterdir()) == names


def start_on_a_terminal(*arguments: str) -> tuple[int, int]:
    """Start the program on a pseudo-terminal; give its process and the terminal's other end."""
    process, terminal = pty.fork()
    if not process:
        os.environ |= {"TERM": "xterm", "COLUMNS": "200"}
        os.execv(sys.executable, [sys.executable, "-m", "charrnn", *arguments, "--threads", "1"])
    return process, terminal


def read_until(terminal: int, words: bytes) -> None:
    """Read what is written to a terminal until those words have come."""
    seen = b""
    while words not in seen:
        assert select.select([terminal], [], [], 60)[0], seen
        seen += os.read(terminal, 1 << 16)


def test_the_command_that_goes_on_names_the_folder_where_it_is_not_the_usual_one(
    book: Path, capsys: Text
) -> None:
    assert end_of("train", "book.txt", *SMALL, "--checkpoints", "my/checkpoints") == 0

    assert capsys.readouterr().err.splitlines()[-1] == (
        f"next:  charrnn sample {Path('my/checkpoints/book')} --temp 0.8"
    )


def test_a_terminal_that_is_gone_ends_no_run(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Closed())

    assert end_of("train", "book.txt", *SMALL) == 0
    assert RunFolder(Path("checkpoints/book")).step == 6


def test_the_first_signal_asks_for_an_end_and_the_second_ends_at_once(
    book: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    def pressed_twice(*_: object, should_stop: Callable[[], bool], **__: object) -> Iterator[Any]:
        assert not should_stop()
        signal.raise_signal(signal.SIGINT)
        assert should_stop()
        signal.raise_signal(signal.SIGINT)
        yield pytest.fail("the second signal did nothing")

    monkeypatch.setattr("charrnn.tasks.distill.train_with_teachers", pressed_twice)

    assert end_of("train", "book.txt", "--quiet") == 130
    assert "charrnn: stopped before training began" in capsys.readouterr().err


def test_after_a_run_ctrl_c_means_what_it_meant_before(book: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    assert end_of("train", "book.txt", "--steps", "1", "--hidden-size", "8", "--quiet") == 0

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
