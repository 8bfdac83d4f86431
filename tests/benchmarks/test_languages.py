"""Declarations in many languages: which paragraphs are trained on, and which are tested."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import CorpusError

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import languages
from languages import accuracy, draw, read_paragraphs, read_rows
from naive_bayes import NaiveBayes


def write_page(folder: Path, name: str, count: int) -> None:
    body = "".join(f"<p class='x'>{name}  <b>no.</b>\n{i} &amp; more</p>" for i in range(count))
    (folder / f"{name}.html").write_text(f"<h1>title</h1>{body}<p> </p>", encoding="utf-8")


def test_paragraphs_are_texts_without_tags(tmp_path: Path) -> None:
    write_page(tmp_path, "a", 2)

    assert read_paragraphs(tmp_path / "a.html") == ["a no. 0 & more", "a no. 1 & more"]


def test_the_last_fifth_of_a_page_is_tested(tmp_path: Path) -> None:
    for name, count in (("a", 40), ("b", 39), ("c", 50)):
        write_page(tmp_path, name, count)

    languages, train, test = read_rows(tmp_path)

    assert languages == ["a", "c"]
    assert [sum(own == number for _, own in train) for number in (0, 1)] == [32, 40]
    assert [text for text, own in test if own == 0] == [f"a no. {i} & more" for i in range(32, 40)]
    assert sorted(draw(test, 5)) == sorted(draw(test[::-1], 5))
    with pytest.raises(CorpusError, match="no two files"):
        read_rows(tmp_path / "none")


def test_naive_bayes_names_the_nearest_label() -> None:
    bayes = NaiveBayes(["abab", "xyxy", "bbaa"], [0, 1, 0], 2, longest=2)

    assert [bayes.predict(text) for text in ("ba", "yx")] == [0, 1]


def test_an_accuracy_has_its_interval() -> None:
    assert accuracy([1, 1, 1, 0], np.array([1, 1, 1, 1])) == " 75.00% ± 42.44%"


def test_a_model_is_trained_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("aba", "xyx"):
        write_page(tmp_path, name, 50)
    options = ["--budget", "1s", "--hidden-size", "16", "--rows", "10"]
    monkeypatch.setattr(sys, "argv", ["languages.py", str(tmp_path), *options])
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))

    languages.main()

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "100 paragraphs of 2 languages: 80 to train on, 20 to test on"
    assert [line.split(":")[0] for line in lines[1:3]] == [
        "naive Bayes, 20 characters",
        "naive Bayes, 50 characters",
    ]
    assert lines[3].startswith("trained ")
    assert lines[-1].startswith("charrnn, 50 characters: ")
