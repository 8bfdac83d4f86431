"""docs/tasks.md: its commands and examples run in their order, on the data that stands there."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from charrnn.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
SMALL = {"STEPS": "2", "HIDDEN_SIZE": "6", "EMBEDDING_SIZE": "5", "THREADS": "1"}
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def run_python(code: str) -> None:
    small = "steps=2, hidden_size=6, embedding_size=5, threads=1"
    exec(compile(code.replace("steps=60", small), "docs/tasks.md", "exec"), {"__name__": "page"})


def run_line(line: str) -> None:
    """Run a command of the page, of a training that takes a moment."""
    if written := re.fullmatch(r"printf '(.*)' > (\S+)", line):
        Path(written[2]).write_text(ast.literal_eval(f"'{written[1]}'"), encoding="utf-8")
        return
    if cut := re.fullmatch(r"cut -f (\d) (\S+) > (\S+)", line):
        rows = Path(cut[2]).read_text(encoding="utf-8").splitlines()
        column = [row.split("\t")[int(cut[1]) - 1] for row in rows]
        Path(cut[3]).write_text("".join(f"{cell}\n" for cell in column), encoding="utf-8")
        return
    piped, command = re.fullmatch(r"(?:echo ['\"](.*)['\"] \| )?charrnn (.*)", line).groups()  # type: ignore[union-attr]
    arguments = shlex.split(re.sub(r" --(?:steps|hidden-size) \d+", "", command))
    if piped is not None:
        Path("piped.txt").write_text(f"{piped}\n", encoding="utf-8")
        arguments.append("piped.txt")
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code in (0, None), line


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in SMALL.items():
        monkeypatch.setenv(f"CHARRNN_{name}", value)
    tables = iter(["intents.tsv", "new.tsv"])

    for kind, block in BLOCKS:
        if kind == "tsv":
            Path(next(tables)).write_text(block, encoding="utf-8")
        elif kind == "python":
            run_python(block)
        else:
            for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
                run_line(line)

    assert next(tables, None) is None
    assert {path.name for path in Path("checkpoints").iterdir()} >= {"intents", "accents-2"}


def test_the_tables_are_as_large_as_the_page_says() -> None:
    intents, new = (block.splitlines() for kind, block in BLOCKS if kind == "tsv")

    assert len(intents) == 40
    assert len(new) == 20
    assert not {row.split("\t")[0] for row in intents} & {row.split("\t")[0] for row in new}
