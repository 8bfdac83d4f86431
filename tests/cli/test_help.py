"""The pages of help, the version, completion, and what is imported for them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest

import charrnn
from charrnn.cli.main import COMMANDS, cli
from charrnn.cli.options import RENAMED_OPTIONS, Command
from tests.cli.program import Text, complaint, end_of, output_of, run_without

CONTEXT = click.Context(cli)
GROUPS = [(), ("corpus",)]


def all_commands(group: click.Group) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, each of which the group imports."""
    for name in group.list_commands(CONTEXT):
        command = group.get_command(CONTEXT, name)
        below = all_commands(command) if isinstance(command, click.Group) else [()]
        yield from ((name, *words) for words in below)


def command_of(path: tuple[str, ...]) -> Command:
    command: click.Command | None = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(CONTEXT, name)
    assert isinstance(command, Command)
    return command


PATHS = list(all_commands(cli))
SHORTENED = [path for path in PATHS if command_of(path).common]


def options_on(page: str) -> list[str]:
    """Return the names that begin a row below the examples of a page of help."""
    return re.findall(r"^  (--?[\w-]+)", page.partition("\nExamples:\n")[2], re.M)


def examples_on(page: str) -> list[str]:
    return page.partition("\nExamples:\n")[2].partition("\n\n")[0].splitlines()


# ── pages ──


def test_every_command_has_its_page() -> None:
    assert {path[0] for path in PATHS} == set(COMMANDS)
    assert len(PATHS) > len(COMMANDS)


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_begins_with_usage_and_has_an_example(path: tuple[str, ...], capsys: Text) -> None:
    page = output_of(capsys, *path, "--help")

    assert page.startswith(f"Usage: {' '.join(('charrnn', *path))} ")
    assert f"\nExamples:\n  {' '.join(('charrnn', *path))}" in page
    assert output_of(capsys, *path, "-h") == page


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_has_at_most_14_options_and_3_examples(path: tuple[str, ...], capsys: Text) -> None:
    page = output_of(capsys, *path, "--help")

    assert 1 <= len(options_on(page)) <= 14
    assert 1 <= len(examples_on(page)) <= 3
    assert ("--help-all" in options_on(page)) == (path in SHORTENED)


@pytest.mark.parametrize("path", SHORTENED, ids=" ".join)
def test_the_whole_help_has_every_option_and_example(path: tuple[str, ...], capsys: Text) -> None:
    command = command_of(path)
    short = output_of(capsys, *path, "--help")

    page = output_of(capsys, *path, "--help-all")

    own = [param for param in command.params if isinstance(param, click.Option)]
    assert all(len({*param.opts} & {*options_on(page)}) == 1 for param in own)
    assert len(options_on(page)) == len(own) + 1
    assert {*options_on(short)} < {*options_on(page)}
    assert [line.strip() for line in examples_on(page)] == command.examples
    words = " ".join(("charrnn", *path))
    assert short.endswith(f"\n{words} --help-all shows all {len(own) + 1} options.\n")


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_no_line_of_help_is_wider_than_80_columns(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    page = output_of(capsys, *path, "--help-all" if path in SHORTENED else "--help")

    assert [line for line in page.splitlines() if len(line) > 80] == []


def test_a_range_shows_no_upper_bound_that_nobody_reaches(capsys: Text) -> None:
    page = output_of(capsys, "train", "--help-all")

    assert "1<=x<=65536" in page
    assert re.search(r"--seed N [^-]*x>=0\]", page)
    assert [n for n in re.findall(r"x<=?(\d+)", page) if int(n) > 100_000] == []


def test_the_common_options_stand_in_the_order_in_which_they_are_named() -> None:
    @click.command("demo", cls=Command, common=("second", "first"), examples="demo 1\ndemo 2")
    @click.option("--first")
    @click.option("--rare")
    @click.option("--second")
    def demo() -> None:
        """Do something.

        With these options.

        Details.
        """

    short = demo.get_help(click.Context(demo, info_name="demo"))
    whole = demo.get_full_help(click.Context(demo, info_name="demo"))

    assert options_on(short) == ["--second", "--first", "--help-all", "--help"]
    assert options_on(whole) == ["--first", "--rare", "--second", "--help-all", "--help"]
    assert "With these" in short
    assert "Details." not in short
    assert "Details." in whole


def test_the_first_page_names_every_command(capsys: Text) -> None:
    page = output_of(capsys, "--help")

    assert page.startswith("Usage: charrnn ")
    assert "charrnn train book.txt" in page
    assert all(f"\n  {name} " in page for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_first_page_describes_a_command_by_its_first_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    description = COMMANDS[name][1]
    monkeypatch.setenv("COLUMNS", "80")

    command = cli.get_command(CONTEXT, name)

    assert command is not None
    assert str(command.help).splitlines()[0] == description
    lines = output_of(capsys, "--help").splitlines()
    assert [line.split(maxsplit=1) for line in lines].count([name, description]) == 1


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: " ".join(("charrnn", *path)))
def test_without_a_command_the_page_of_help_is_shown(path: tuple[str, ...], capsys: Text) -> None:
    page = output_of(capsys, *path, "--help")

    assert end_of(*path) == 2

    out, err = capsys.readouterr()
    assert out + err == page


def test_the_program_shows_its_version() -> None:
    process = subprocess.run(
        [sys.executable, "-W", "error", "-m", "charrnn", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert process.stdout == f"charrnn, version {charrnn.__version__}\n"
    assert charrnn.__version__ == version("charrnn")


# ── mistyped and renamed ──


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        (["smaple"], "charrnn --help)"),
        (["sample", "--tmep", "1"], "charrnn sample --help-all)"),
        (["completion"], "charrnn completion --help)"),
    ],
)
def test_a_mistyped_command_line_ends_with_2_and_names_the_page_to_read(
    arguments: list[str], page: str, capsys: Text
) -> None:
    code, line = complaint(capsys, *arguments)

    assert code == 2
    assert line.startswith("charrnn: ")
    assert line.endswith(f"(see {page}\n")


@pytest.mark.parametrize("old", RENAMED_OPTIONS)
def test_a_renamed_option_is_answered_with_its_new_name(old: str, capsys: Text) -> None:
    new = RENAMED_OPTIONS[old]
    knowing = [path for path in PATHS if any(new in p.opts for p in command_of(path).params)]
    assert knowing

    for path in knowing:
        code, line = complaint(capsys, *path, old, "1")
        assert code == 2
        assert f"No such option '{old}'; it is now '{new}'." in line


def test_a_renamed_flag_is_known_by_its_negation_too(capsys: Text) -> None:
    _, line = complaint(capsys, "train", "--no-skip")

    assert "No such option '--no-skip'; it is now '--no-residual'." in line


# ── completion ──


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_each_shell(shell: str, capsys: Text) -> None:
    assert f"_CHARRNN_COMPLETE={shell}_complete" in output_of(capsys, "completion", shell)


def test_a_shell_without_completion_is_refused(capsys: Text) -> None:
    code, line = complaint(capsys, "completion", "tcsh")

    assert code == 2
    assert "'tcsh'" in line


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("charrnn sample ", {"alpha", "beta", "gamma", "caf\u00e9"}),
        ("charrnn info al", {"alpha"}),
        ("charrnn eval alpha be", {"beta"}),
        ("charrnn in", {"info", "inspect"}),
        ("charrnn --v", {"--version"}),
        ("charrnn sample --no-p", {"--no-prompt"}),
        ("charrnn train --help", {"--help", "--help-all"}),
        ("charrnn train --lr-schedule c", {"cosine", "constant"}),
        ("charrnn train --resume ga", {"gamma"}),
        ("charrnn train --help-all --resume ga", {"gamma"}),
        ("charrnn info caf\u00e9", {"caf\u00e9"}),
        ("charrnn info cafe\u0301", {"caf\u00e9"}),
    ],
)
def test_completion_offers_runs_commands_options_and_values(
    tmp_path: Path,
    capsys: Text,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    offered: set[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("alpha", "beta", "gamma", "cafe\u0301"):
        (run := Path("checkpoints", name)).mkdir(parents=True)
        (run / "best.safetensors").touch()
    monkeypatch.setenv("_CHARRNN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))

    answers = output_of(capsys).splitlines()

    assert {answer.removeprefix("plain,") for answer in answers} == offered


# ── imports ──


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["sample", "--help"]])
def test_what_begins_at_once_imports_neither_torch_nor_rich(arguments: list[str]) -> None:
    run_without("torch,rich", *arguments)


def test_completion_of_a_command_imports_no_command() -> None:
    words = {"COMP_WORDS": "charrnn s", "COMP_CWORD": "1", "_CHARRNN_COMPLETE": "bash_complete"}

    run_without("torch,rich,numpy", **words)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_page_of_help_imports_torch(name: str) -> None:
    run_without("torch", name, "--help")
