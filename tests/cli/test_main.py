"""The exit code and the one line of every kind of error, and what a lost stdout ends in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from charrnn import errors
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import cli
from charrnn.errors import CharRNNError
from tests.cli.program import Text, complaint, end_of

KINDS = [
    kind
    for name, kind in vars(errors).items()
    if name.endswith("Error") and kind.__module__ == errors.__name__
]
CODES = {
    "CharRNNError": 1,
    "ConfigError": 2,
    "CorpusError": 3,
    "DownloadError": 3,
    "VocabError": 3,
    "CheckpointError": 4,
    "DivergedError": 5,
    "OutOfMemoryError": 6,
    "StorageError": 7,
    "RunLockedError": 8,
    "ProcessLostError": 9,
    "ExportError": 10,
}


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


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: Text) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("charrnn.cli.info.find_model", interrupt)

    assert end_of("info") == 130
    assert capsys.readouterr().err.strip() == "charrnn: interrupted"


# ── where stdout goes ──

SHORT_AND_LONG = [
    ["list"],
    ["list", "--json"],
    ["info", "beta"],
    ["corpus", "list"],
    ["corpus", "stats", "book.txt"],
    ["eval", "alpha", "--file", "book.txt"],
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
