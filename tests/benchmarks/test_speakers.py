"""Speakers of a play: with and without them, and samples that a classifier judges."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import speakers


def test_models_are_trained_with_and_without_speakers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    random.seed(2)
    names = {"ROMEO": "love and light", "JULIET": "night and name"}
    said = random.choices(list(names), k=60)
    speeches = (f"{who}:\n{' '.join(random.choices(names[who].split(), k=4))}\n" for who in said)
    (tmp_path / "play.txt").write_text("\n".join(speeches))
    options = ["speakers.py", str(tmp_path / "play.txt"), "--budget", "1s", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", [*options, "--least", "5", "--samples", "4"])
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))

    speakers.main()

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "seed 1, with speakers",
        "seed 1, without",
        "seed 1",
        "with speakers",
        "without",
    ]
    assert "of 4 samples" in lines[2]
