"""What records cost: a line for each cell."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import records


def test_each_cell_is_timed_with_and_without_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.txt").write_text("".join(f"name {i % 300}\n" for i in range(600)))
    options = ["--hidden-size", "8", "--rounds", "1", "--steps", "1"]
    monkeypatch.setattr(sys, "argv", ["records.py", str(tmp_path / "names.txt"), *options])
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))

    records.main()

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["lstm", "gru", "rnn"]
    assert all("tokens/s, running text" in line for line in lines)
