"""The scripts of tasks from their files to their tables, with a model that knows the answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import bayes_and_head
import cmudict
import couplets
import dates
import g2p
import intents
import predicting
import readings
import restore
import reviews
import segmentation
import task_scores

Answer = Callable[[str], str]
Asked = list[tuple[Any, dict[str, Any]]]


class Oracle:
    """A model that gives each text what a function says."""

    def __init__(self, answer: Answer, classes: Sequence[str] = ()) -> None:
        self.answer = answer
        self.classes_ = np.array(classes)

    def predict(self, texts: Sequence[str], beam: int = 1) -> list[str]:
        return [self.answer(text) for text in texts]

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        found = [self.answer(text) for text in texts]
        return np.array([[float(each == name) for name in self.classes_] for each in found])


def run(
    script: ModuleType,
    arguments: Sequence[object],
    model: Oracle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> tuple[list[str], Asked]:
    """Return the lines that a script prints, and what was trained with which settings."""
    asked: Asked = []

    def train(corpus: Path, folder: Path, settings: Mapping[str, Any]) -> tuple[Oracle, float]:
        assert corpus.exists()
        asked.append((corpus, dict(settings)))
        return model, 1.5

    def class_probs(texts: Sequence[str], classes: Sequence[str], folder: Path) -> np.ndarray:
        model.classes_ = np.array(classes)
        return model.predict_proba(texts)

    monkeypatch.setattr(task_scores, "class_probs", class_probs)
    owner = script if hasattr(script, "train") else task_scores
    monkeypatch.setattr(owner, "train", train)
    monkeypatch.setattr(task_scores, "DRAWS", 20)
    monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, arguments)])
    script.main()
    return capsys.readouterr().out.splitlines(), asked


def row_of(lines: Sequence[str], name: str) -> str:
    return next(line for line in lines if line.startswith(name))


def test_pronunciations_are_measured_by_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for language in ("ady", "gre"):
        (tmp_path / f"{language}_train.tsv").write_text("ab\tA B\n")
        (tmp_path / f"{language}_dev.tsv").write_text("ba\tB A\nb\tB\nb\tBB\ncc\tC C\n")
    model = Oracle(lambda word: {"ba": "B A", "b": "BB"}.get(word, "C"))
    arguments = [tmp_path, "--languages", "gre", "--budget", "7s", "--hidden-size", 8]

    lines, asked = run(g2p, arguments, model, monkeypatch, capsys)

    settings = {"budget": "7s", "seed": 1, "hidden_size": 8}
    pairs = {"pairs": True, "target_unit": "space"}
    assert asked == [(tmp_path / "gre_train.tsv", pairs | settings)]
    assert row_of(lines, "gre charrnn").split()[2] == "33.33%"
    assert row_of(lines, "mean of 1, charrnn").split()[4] == "33.33%"
    assert row_of(lines, "LSTM baseline").split()[-1] == "16.84%"


def test_two_ways_to_a_label_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for language in "xy":
        (tmp_path / f"{language}.txt").write_text("".join(f"{language}{i}\n" for i in range(50)))
    monkeypatch.setattr(bayes_and_head, "TABLE", tmp_path / "table.csv")
    monkeypatch.setattr(bayes_and_head, "PICTURE", tmp_path / "picture.svg")
    model = Oracle(lambda name: name[0])

    lines, asked = run(bayes_and_head, [tmp_path, "--counts", 5, 0], model, monkeypatch, capsys)

    assert [settings["task"] for _, settings in asked] == ["text", "classification"] * 2
    assert [line.split()[0] for line in lines[-4:]] == ["10", "10", "80", "80"]
    assert row_of(lines, "10 names, network").split()[3] == "100.00%"
    assert (tmp_path / "table.csv").read_text().splitlines()[1].startswith("text,2,5,10,1.0000,")
    picture = (tmp_path / "picture.svg").read_text()
    assert picture.count("<polyline") == 2
    assert picture.count("<circle") == 4


def test_speeds_are_shown_beside_a_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {
        "NAMES": 60,
        "LOOP_NAMES": 3,
        "WORDS": 5,
        "BEAM_WORDS": 5,
        "LOOP_WORDS": 2,
        "ROUNDS": 1,
    }
    for name, value in small.items():
        monkeypatch.setattr(predicting, name, value)
    monkeypatch.setattr(predicting, "SETTINGS", {"hidden_size": 8, "steps": 1})
    monkeypatch.setattr(predicting, "time_process", lambda *arguments: 0.25)
    threads = torch.get_num_threads()
    try:
        predicting.main()
    finally:
        torch.set_num_threads(threads)

    lines = [line for line in capsys.readouterr().out.splitlines() if line.count("  ") > 1]
    assert [line.split("  ")[0] for line in lines] == [
        *("names", "words, greedily", "words, by a beam of 5"),
        *("first answer, a name", "first answer, a word"),
    ]
    assert [line.endswith("×") for line in lines[:3]] == [True, True, False]
    assert lines[3].split()[-6:] == ["0.25", "s", "1.00", "×", "import", "torch"]


def test_more_names_of_a_language_contain_the_fewer() -> None:
    pairs = [(f"{language}{i}", language) for language in (0, 1) for i in range(20)]
    few, more = (bayes_and_head.draw_rows(pairs, count, 1) for count in (3, 10))

    assert (len(few), len(more)) == (6, 20)
    assert set(few) < set(more)


def test_words_of_the_dictionary_are_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cmudict.dict"
    path.write_text("".join(f"w{i} W AH{i % 3}\n" for i in range(300)))

    lines, asked = run(cmudict, [path], Oracle(lambda word: "W AH"), monkeypatch, capsys)

    assert {"pairs", "target_unit", "val_file"} < asked[0][1].keys()
    assert row_of(lines, "charrnn").split()[1] == "0.00%"
    assert lines[-1].endswith("words a second with a beam of 5")


def test_words_of_a_text_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "news.txt"
    path.write_text("ab/n c/v\n" * 18 + "ab/n d/v\n" * 2)
    model = Oracle(lambda text: "ab d" if text == "abd" else text)

    lines, asked = run(segmentation, [path], model, monkeypatch, capsys)

    assert asked[0][1]["tags"] == "spaces"
    figures = row_of(lines, "charrnn").split()
    assert (figures[1], figures[4]) == ("100.00%", "100.00%")
    assert row_of(lines, "longest match").split()[2] == "100.00%"


def test_readings_are_trained_on_as_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "phrases.json"
    path.write_text(json.dumps({f"重{chr(0x4E00 + i)}": [["z"], ["x"]] for i in range(100)}))
    model = Oracle(lambda text: f"{text[0]}\tz\n{text[1]}\ty\n")

    lines, asked = run(readings, [path], model, monkeypatch, capsys)

    assert asked[0][1]["tags"] == "columns"
    assert row_of(lines, "charrnn").split()[1] == "50.00%"
    assert row_of(lines, "charrnn").split()[4] == "0.00%"


def test_what_is_restored_is_compared_with_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("Ala ma kota.\n" * 20)

    lines, asked = run(restore, [path, "case"], Oracle(str.capitalize), monkeypatch, capsys)

    assert asked[0][1]["restore"] == "case"
    assert lines[0] == "234 characters to train on, 2 lines to test on"
    assert row_of(lines, "left as it is").split()[4:5] == ["66.67%"]
    assert row_of(lines, "charrnn").split()[1:5:3] == ["100.00%", "100.00%"]


def test_dates_are_held_out_by_day(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(day: date, form: str, language: str) -> str:
        return f"{language} {form} {day.isoformat()}"

    monkeypatch.setattr(dates, "load_format", lambda: write)
    model = Oracle(lambda text: text.split()[-1] if text[:2] != "pt" else "")

    lines, asked = run(dates, ["--days", 100], model, monkeypatch, capsys)

    assert asked[0][1]["pairs"] is True
    assert row_of(lines, "charrnn").split()[1] == "100.00%"
    assert row_of(lines, "unseen: pt").split()[2] == "0.00%"


def test_reviews_are_trained_on_as_a_file_a_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pos", "neg"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} {i}\n" for i in range(100)))
    model = Oracle(lambda text: text.split()[0], ["pos", "neg"])  # in an order of its own

    lines, asked = run(reviews, [tmp_path], model, monkeypatch, capsys)

    settings = {"task": "classification", "lines": True, "label": "file"}
    assert asked[0][1] == settings | {"budget": "3m", "seed": 1}
    assert row_of(lines, "charrnn").split()[1] == "100.00%"


def test_intents_are_trained_on_for_each_count_and_draw(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names, sentences = intents.read_intents(intents.DATA)
    intent_of = {text: name for name, own in zip(names, sentences, strict=True) for text in own}
    model = Oracle(intent_of.__getitem__, names)

    lines, asked = run(intents, ["--draws", 2], model, monkeypatch, capsys)

    assert len(asked) == 6
    assert sum(line.startswith("charrnn") and "100.00%" in line for line in lines) == 3


def test_couplets_are_trained_with_and_without_their_first_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    poems = [{"paragraphs": [f"一二三四{chr(0x4E00 + i)}，六七八九十。"]} for i in range(300)]
    (tmp_path / "poet.tang.0.json").write_text(json.dumps(poems))
    first_lines: list[str] = []

    def fit(path: str, **settings: Any) -> SimpleNamespace:
        first_lines.append(Path(path).read_text().split("\t")[0])
        nats = np.log(2) * (5 / 6) * (3 if "." in first_lines[-1] else 2)
        return SimpleNamespace(val_nats=nats, seconds=1.0)

    fake = SimpleNamespace(fit=fit, load=lambda name, checkpoints: Oracle(lambda text: "x" * 5))
    monkeypatch.setattr(couplets, "charrnn", fake)
    monkeypatch.setattr(sys, "argv", ["couplets.py", str(tmp_path)])
    couplets.main()

    lines = capsys.readouterr().out.splitlines()
    assert [line == "....." for line in first_lines] == [True, False]
    assert [line.split()[-5] for line in lines[2:4]] == ["3.000", "2.000"]
    assert lines[-1] == "the first line saves 1.000 bits per character"
