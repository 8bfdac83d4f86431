"""The commands that read models, the pages of help, and the exit code of every kind of error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import click
import pytest

import charrnn
from charrnn import errors
from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import cli, main
from charrnn.errors import CharRNNError

Make = Callable[..., ModelFile]
Text = pytest.CaptureFixture[str]

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]
CODES = {
    "CharRNNError": 1,
    "ConfigError": 2,
    "CorpusError": 3,
    "VocabError": 3,
    "CheckpointError": 4,
    "DivergedError": 5,
    "OutOfMemoryError": 6,
    "StorageError": 7,
    "RunLockedError": 8,
    "ProcessLostError": 9,
}


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))
        else:
            yield (*path, name)


GROUPS = [(), ("corpus",)]
COMMANDS = [path for path in all_commands(cli) if path not in GROUPS]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Make) -> list[RunFolder]:
    """Stand in a folder with three runs; the first was written last, the last first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    runs = [RunFolder(Path("checkpoints") / name) for name in ("beta", "alpha", "gamma")]
    for age, run in enumerate(runs):
        run.save_state(make_model(step=20 + age, val_nats=2 + age / 8), step=20 + age, kept=2)
        os.utime(run.states[0], (1_000_000 - age, 1_000_000 - age))
    return runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder in which a model was trained, on book.txt, and its run book."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "book.txt").write_text("ab éa\n" * 250, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        reports = charrnn.train("book.txt", steps=6, hidden_size=8, precision="fp32", threads=1)
        assert [type(report).__name__ for report in reports][-1] == "RunFinished"
    return folder


def end_of(*arguments: str) -> int | str | None:
    """Run the program in this process; give its exit code."""
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    return ending.value.code


def output_of(capsys: Text, *arguments: str) -> str:
    """Give what a command that ends well writes to stdout, and nothing to stderr."""
    assert end_of(*arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def complaint(capsys: Text, *arguments: str) -> tuple[int | str | None, str]:
    """Give the exit code and the one line of a command that fails."""
    code = end_of(*arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return code, err


# ── info ──


def test_info_gives_shape_and_figures_as_json(trained: Path, capsys: Text) -> None:
    path = trained / "checkpoints" / "book"

    description = json.loads(output_of(capsys, "info", str(path), "--json"))

    assert description["path"] == str(path / "best.safetensors")
    assert {key: description[key] for key in ("cell", "hidden_size", "num_layers", "step")} == {
        "cell": "lstm",
        "hidden_size": 8,
        "num_layers": 1,
        "step": 6,
    }
    assert description["alphabet"] == "\n abé"
    assert description["vocab_size"] == 5
    assert description["parameters"] == 5 * 8 + 4 * 8 * (8 + 8 + 2) + 8 * 5 + 5
    assert description["val_bpc"] == pytest.approx(description["val_nats"] / 0.6931471805599453)
    assert description["val_windowed_nats"] == pytest.approx(description["val_nats"], abs=0.1)
    assert description["chars_seen"] > 6 * 8


def test_info_shows_the_newest_run_where_none_is_named(runs: list[RunFolder], capsys: Text) -> None:
    assert json.loads(output_of(capsys, "info", "--json"))["path"] == str(runs[0].states[0])


def test_info_prefers_the_best_model_of_a_run_to_the_last(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    runs[1].save_best(make_model(step=3))

    assert json.loads(output_of(capsys, "info", "alpha", "--json"))["step"] == 3


def test_info_tells_a_person_the_same(runs: list[RunFolder], capsys: Text) -> None:
    rows = [line.split(maxsplit=1) for line in output_of(capsys, "info", "beta").splitlines()]

    table = {row[0]: row[1].strip() for row in rows}
    assert table["path"] == str(runs[0].states[0])
    assert (table["hidden_size"], table["step"], table["val_nats"]) == ("4", "20", "2.0000")
    assert table["alphabet"] == "␤ abé"
    assert table["corpus.name"] == "book"


def test_info_lets_no_control_character_of_a_file_through(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    model = make_model()
    summary = model.summary | {"corpus": {"name": "\x1b[31mred[/red]"}}
    runs[0].save_state(replace(model, summary=summary), step=20, kept=2)

    shown = output_of(capsys, "info", "beta") + output_of(capsys, "list")

    assert "\x1b" not in shown
    assert shown.count("␛[31mred[/red]") == 2


# ── list ──


def test_list_has_the_newest_run_first(runs: list[RunFolder], capsys: Text) -> None:
    rows = [json.loads(line) for line in output_of(capsys, "list", "--json").splitlines()]

    assert [row["name"] for row in rows] == ["beta", "alpha", "gamma"]
    assert rows[2] == {
        "name": "gamma",
        "corpus": "book",
        "model": "lstm 2×4",
        "parameters": 344,
        "step": 22,
        "val_bpc": pytest.approx(2.25 / 0.6931471805599453),
        "created": "2031-02-03T04:05:06+00:00",
    }


def test_list_shows_a_person_one_line_a_run(runs: list[RunFolder], capsys: Text) -> None:
    lines = [line.split() for line in output_of(capsys, "list").splitlines()]

    assert [line for line in lines if line and line[0] in {"alpha", "beta", "gamma"}] == [
        ["beta", "book", "lstm", "2×4", "344", "20", "2.885", "2031-02-03"],
        ["alpha", "book", "lstm", "2×4", "344", "21", "3.066", "2031-02-03"],
        ["gamma", "book", "lstm", "2×4", "344", "22", "3.246", "2031-02-03"],
    ]


def test_list_names_a_damaged_run_and_shows_the_others(runs: list[RunFolder], capsys: Text) -> None:
    runs[0].states[0].write_bytes(runs[0].states[0].read_bytes()[:-1])

    rows = [json.loads(line) for line in output_of(capsys, "list", "--json").splitlines()]

    errors_by_name = {row["name"]: row.get("error") for row in rows}
    assert "is damaged" in errors_by_name.pop("beta")
    assert errors_by_name == {"alpha": None, "gamma": None}


def test_list_shows_a_signed_file_of_nonsense_as_damaged(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    model = make_model()
    forged = replace(model, summary=model.summary | {"val_bpc": "x"})
    runs[0].save_state(forged, step=20, kept=2)

    shown = output_of(capsys, "list")

    assert "is damaged: it does not say how it was trained" in shown
    assert "3.066" in shown


def test_list_of_no_runs_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    monkeypatch.chdir(tmp_path)

    assert end_of("list") == 0

    assert capsys.readouterr() == (
        "",
        "no runs in checkpoints yet; make one with: charrnn train corpus.txt\n",
    )


@pytest.mark.parametrize("command", ["list", "info"])
def test_the_folder_of_runs_can_be_named(
    runs: list[RunFolder], capsys: Text, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    there = output_of(capsys, command, "--json")
    Path("checkpoints").rename("elsewhere")
    by_option = output_of(capsys, command, "--json", "--checkpoints", "elsewhere")
    monkeypatch.setenv("CHARRNN_CHECKPOINTS", "elsewhere")

    assert by_option == there.replace("checkpoints", "elsewhere")
    assert output_of(capsys, command, "--json") == by_option


# ── damaged and missing files ──


@pytest.mark.parametrize("command", ["info", "sample", "eval"])
@pytest.mark.parametrize("damage", [b"", b"no model at all", None], ids=["empty", "other", "bit"])
def test_a_damaged_file_ends_with_4_and_one_line(
    runs: list[RunFolder], capsys: Text, command: str, damage: bytes | None
) -> None:
    raw = bytearray(runs[0].states[0].read_bytes())
    raw[-9] ^= 1
    runs[0].states[0].write_bytes(raw if damage is None else damage)

    code, line = complaint(capsys, command, "beta")

    assert code == 4
    assert str(runs[0].states[0]) in line


@pytest.mark.parametrize("command", ["info", "sample", "eval"])
def test_a_missing_model_ends_with_4_and_one_line(
    runs: list[RunFolder], capsys: Text, command: str
) -> None:
    code, line = complaint(capsys, command, "delta")

    assert code == 4
    assert "there is no run or model file 'delta'" in line


@pytest.mark.parametrize("command", [["list"], ["info"], ["sample"], ["info", "beta"]])
def test_a_folder_that_cannot_be_read_ends_with_4_and_one_line(
    command: list[str], capsys: Text
) -> None:
    code, line = complaint(capsys, *command, "--checkpoints", "x" * 300)

    assert code == 4
    assert line.startswith("charrnn: cannot read xxx")
    assert line.endswith("x: File name too long\n")


# ── help, version, completion ──


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_begins_with_usage_and_has_an_example(path: tuple[str, ...], capsys: Text) -> None:
    page = output_of(capsys, *path, "--help")

    assert page.startswith(f"Usage: {' '.join(('charrnn', *path))} ")
    assert f"\nExamples:\n  {' '.join(('charrnn', *path))}" in page


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_short_option_gives_the_same_help(path: tuple[str, ...], capsys: Text) -> None:
    assert output_of(capsys, *path, "-h") == output_of(capsys, *path, "--help")


def test_the_first_page_names_every_command(capsys: Text) -> None:
    page = output_of(capsys, "--help")

    assert page.startswith("Usage: charrnn ")
    assert "charrnn train book.txt" in page
    assert all(f"\n  {name} " in page for name in cli.commands)


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: " ".join(("charrnn", *path)))
def test_without_a_command_the_page_of_help_is_shown(path: tuple[str, ...], capsys: Text) -> None:
    page = output_of(capsys, *path, "--help")

    assert end_of(*path) == 2

    out, err = capsys.readouterr()
    assert out + err == page


def test_help_of_sample_says_the_order_of_the_filters(capsys: Text) -> None:
    page = " ".join(output_of(capsys, "sample", "--help").split())

    assert (
        "in the order repetition, presence, frequency and loop penalty, bias, only and ban, "
        "constraint, novel, temperature, top-n-sigma, top-k, typical, top-p, min-p, XTC, mirostat"
    ) in page


def test_the_program_tells_its_version() -> None:
    process = subprocess.run(
        [sys.executable, "-W", "error", "-m", "charrnn", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert process.stdout == f"charrnn, version {charrnn.__version__}\n"
    assert charrnn.__version__ == version("charrnn")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_each_shell(shell: str, capsys: Text) -> None:
    script = output_of(capsys, "completion", shell)

    assert f"_CHARRNN_COMPLETE={shell}_complete" in script


def test_a_shell_without_completion_is_refused(capsys: Text) -> None:
    code, line = complaint(capsys, "completion", "tcsh")

    assert code == 2
    assert "'tcsh'" in line


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("charrnn sample ", {"alpha", "beta", "gamma"}),
        ("charrnn info al", {"alpha"}),
        ("charrnn eval alpha be", {"beta"}),
        ("charrnn in", {"info"}),
        ("charrnn sample --no-p", {"--no-prompt"}),
        ("charrnn train --lr-schedule c", {"cosine", "constant"}),
        ("charrnn train --resume ga", {"gamma"}),
    ],
)
def test_completion_offers_runs_commands_options_and_values(
    runs: list[RunFolder],
    capsys: Text,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    offered: set[str],
) -> None:
    monkeypatch.setenv("_CHARRNN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))

    answers = output_of(capsys).splitlines()

    assert {answer.removeprefix("plain,") for answer in answers} == offered


# ── exit codes ──


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_has_its_exit_code_and_one_line(
    kind: type[CharRNNError], monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind("two\nlines and \x1b[31ma colour")

    monkeypatch.setattr(cli, "main", fail)

    code, line = complaint(capsys)

    assert code == CODES[kind.__name__]
    assert line == "charrnn: two␤lines and ␛[31ma colour\n"


@pytest.mark.parametrize("arguments", [["smaple"], ["sample", "--tmep", "1"], ["completion"]])
def test_a_mistyped_command_line_ends_with_2_and_one_line(
    arguments: list[str], capsys: Text
) -> None:
    code, line = complaint(capsys, *arguments)

    assert code == 2
    assert line.startswith("charrnn: ")
    assert line.endswith("--help)\n")


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: Text) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("charrnn.checkpoint.run_store.find_model", interrupt)

    assert end_of("info") == 130
    assert capsys.readouterr().err.strip() == "charrnn: interrupted"


# ── where stdout goes ──

SHORT_AND_LONG = [
    ["list"],
    ["list", "--json"],
    ["info", "beta"],
    ["corpus", "list"],
    ["corpus", "stats", "book.txt"],
    ["eval", "alpha", "--on", "book.txt"],
    ["--help"],
    ["list", "--help"],
    ["--version"],
]


@pytest.mark.parametrize("arguments", SHORT_AND_LONG, ids=" ".join)
def test_a_pipe_that_nobody_reads_ends_any_command_with_141(
    runs: list[RunFolder], arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    Path("book.txt").write_text("ab " * 400)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        code = end_of(*arguments)

    assert code == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("arguments", [["list"], ["sample"], ["train", "x.txt", "--json"]])
def test_a_stdout_that_is_closed_ends_any_command_with_7_and_one_line(
    runs: list[RunFolder], arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)  # as Python has it then
        code = end_of(*arguments)

    assert code == 7
    assert capsys.readouterr().err == "charrnn: cannot write: standard output is closed\n"
