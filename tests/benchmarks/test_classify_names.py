"""Names of languages: what is trained on, what is tested, and the figures of guessing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import CorpusError

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import classify_names
from classify_names import majority, measure, read_pairs, split


def write_names(folder: Path, sizes: dict[str, int]) -> None:
    for language, size in sizes.items():
        lines = "".join(f"{language}{i}\n" for i in range(size)) + f"{language}0\n both \n\n"
        (folder / f"{language}.txt").write_text(lines, encoding="utf-8")


def test_a_name_counts_once_in_each_language(tmp_path: Path) -> None:
    write_names(tmp_path, {"x": 3, "y": 2})

    languages, pairs = read_pairs(tmp_path)

    assert languages == ["x", "y"]
    assert [text for text, language in pairs if language == 1] == ["y0", "y1", "both"]
    assert len(pairs) == 4 + 3


def test_one_language_is_not_enough(tmp_path: Path) -> None:
    write_names(tmp_path, {"x": 3})
    with pytest.raises(CorpusError, match=r"1 files"):
        read_pairs(tmp_path)


def test_a_fifth_of_each_language_is_tested() -> None:
    pairs = [
        (f"{language}{i}", language) for language, size in enumerate((50, 20)) for i in range(size)
    ]
    train, test = split(pairs)

    assert [sum(own == language for _, own in test) for language in (0, 1)] == [10, 4]
    assert sorted(train + test) == sorted(pairs)
    assert set(split(pairs[::-1])[1]) == set(test)  # by hash, not by place


def test_guessing_is_as_good_as_the_shares_say() -> None:
    probs = majority([("a", 0)] * 3 + [("b", 1)], 4, 2)
    row = measure("majority", probs, np.array([0, 0, 0, 1]), 1.5).split()

    # 75 %; F1 of 6/7 and 0; −(3 ln ¾ + ln ¼)/4; as sure as it is right.
    assert row == ["majority", "75.00%", "0.429", "0.562", "0.000", "1.5"]


def test_a_model_is_trained_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_names(tmp_path, {"x": 60, "y": 50})
    options = ["classify_names.py", str(tmp_path), "--budget", "1s", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", options)
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))

    classify_names.main()

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "112 names of 2 languages: 90 to train on, 22 to test on"
    assert [line.split()[0] for line in lines[2:]][-2] == "charrnn"
    assert lines[-1].endswith("names a second by charrnn predict")
