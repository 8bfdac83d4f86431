"""The program run inside a test's process, and what it writes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from charrnn.cli.main import main

Text = pytest.CaptureFixture[str]

_REPORT_IMPORTS = """
import sys
from charrnn.cli.main import main
try:
    main(sys.argv[2:])
except SystemExit as error:
    loaded = set(sys.argv[1].split(",")) & set(sys.modules)
    sys.exit(error.code or (f"imported: {loaded}" if loaded else 0))
"""


def end_of(*arguments: str) -> int | str | None:
    """Run the program; return its exit code."""
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    return ending.value.code


def output_of(capsys: Text, *arguments: str) -> str:
    """Return what a command that ends well writes to stdout, and nothing to stderr."""
    code = end_of(*arguments)
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def objects_of(capsys: Text, *arguments: str) -> list[dict[str, Any]]:
    """Return the JSON objects that a command writes, parsed as strictly as the standard has it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    out = output_of(capsys, *arguments, "--json")
    return [json.loads(line, parse_constant=refuse) for line in out.splitlines()]


def complaint(capsys: Text, *arguments: str) -> tuple[int | str | None, str]:
    """Return the exit code and the one line of a command that fails."""
    code = end_of(*arguments)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return code, err


def give_input(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    """Let standard input hold these bytes."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


def run_without(modules: str, *arguments: str, **machine: str) -> None:
    """Run the program in a process of its own, in which it must not import `modules`: "a,b"."""
    command = [sys.executable, "-W", "error", "-c", _REPORT_IMPORTS, modules, *arguments]
    done = subprocess.run(command, env=os.environ | machine, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
