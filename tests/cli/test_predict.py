"""charrnn predict: a line of output for each text, and every way it is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.model_file import ModelFile, pack_model
from charrnn.cli.formatting import describe_classification
from charrnn.data.labels import LabelColumn
from charrnn.storage import write_atomically
from charrnn.tasks.predict import iter_predictions
from charrnn.tasks.predictions import PredictRequest
from tests.cli.program import (
    Text,
    complaint,
    end_of,
    give_input,
    objects_of,
    output_of,
    run_without,
)
from tests.generation.record_models import WHO, YEAR, make_records_file

FIGURES = {"temperature": 1.5, "error": 0.0123, "accuracy": 0.8119, "nats": 0.5, "records": 40}
LINES = ["ab", "", "é ba", " ", "b"]


def save(name: str, file: ModelFile) -> None:
    path = Path("checkpoints", name, "best.safetensors")
    path.parent.mkdir(parents=True)
    write_atomically(path, pack_model(file))


def predict(lines: list[str], **settings: Any) -> list[Any]:
    file = make_records_file(labels=(YEAR,))
    return [*iter_predictions(file, lines, PredictRequest(**settings))]


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    save("years", make_records_file(labels=(YEAR,)))
    save("both", make_records_file(labels=(WHO, YEAR)))
    save("bare", make_records_file())
    Path("text.txt").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")


def test_each_line_gives_one_line_in_order(capsys: Text) -> None:
    lines = output_of(capsys, "predict", "years", "text.txt").splitlines()

    assert lines == [f"{each.label}\t{each.probability:.4f}" for each in predict(LINES)]


@pytest.mark.parametrize("names", [(), ("-",)], ids=["without", "dash"])
def test_standard_input_is_read(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    give_input(monkeypatch, "\n".join(LINES).encode())

    assert len(output_of(capsys, "predict", "years", *names).splitlines()) == len(LINES)


def test_top_gives_pairs_on_a_line_and_a_threshold_empties_places(capsys: Text) -> None:
    arguments = ("--top", "3", "--threshold", "0.3", "--prior", "uniform")
    lines = output_of(capsys, "predict", "years", "text.txt", *arguments).splitlines()

    for line, each in zip(lines, predict(LINES, top=3, prior="uniform"), strict=True):
        cells = [part for name, p in each.top for part in (name * (p >= 0.3), f"{p:.4f}")]
        assert line == "\t".join(cells)
    assert any(line.split("\t")[4] == "" for line in lines)


def test_objects_hold_the_text_and_the_labels(capsys: Text) -> None:
    arguments = ("predict", "years", "text.txt", "--top", "2", "--threshold", "0.5")
    found = objects_of(capsys, *arguments)

    for record, each in zip(found, predict(LINES, top=2, threshold=0.5), strict=True):
        top = [{"label": label, "probability": p} for label, p in each.top]
        figures = {"label": each.label, "probability": each.probability, "top": top}
        assert record == {"text": each.text, **figures}
    assert {record["label"] is None for record in found} == {True, False}


def test_each_file_is_one_text_with_its_name(capsys: Text) -> None:
    Path("more.txt").write_text("ab\n", encoding="utf-8")

    Path("other.txt").write_text("é\n", encoding="utf-8")

    one, other = objects_of(capsys, "predict", "years", "other.txt", "more.txt", "--files")
    assert (one["file"], other["file"]) == ("other.txt", "more.txt")
    assert (one["text"], other["text"]) == ("é\n", "ab\n")
    assert other["probability"] == pytest.approx(predict(["ab"])[0].probability)


def test_a_column_of_a_table_is_read(capsys: Text) -> None:
    Path("rows.csv").write_text('id,say\n1,"ab"\n2,\n3,b\n', encoding="utf-8")

    lines = output_of(capsys, "predict", "years", "rows.csv", "--text-column", "say")
    expected = [f"{each.label}\t{each.probability:.4f}" for each in predict(["ab", "", "b"])]
    assert lines.splitlines() == expected


def test_beginnings_and_columns_are_chosen(capsys: Text) -> None:
    whole = output_of(capsys, "predict", "years", "text.txt")

    assert output_of(capsys, "predict", "years", "text.txt", "--unfinished") != whole
    who = output_of(capsys, "predict", "both", "text.txt", "--column", "who")
    assert {line.split("\t")[0] for line in who.splitlines()} <= set(WHO.values)


def test_notes_go_to_stderr(capsys: Text) -> None:
    Path("odd.txt").write_bytes("A☃b\n".encode() + b"\xff\n")

    assert end_of("predict", "years", "odd.txt", "--errors", "replace") == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    assert err.splitlines() == [
        "odd.txt: bytes that are not in the encoding replaced: 1 place, line 2",
        "mapped: A → a (1 time), ☃ → nothing (1), � → nothing (1)",
    ]


def test_a_label_that_would_break_the_line_is_shown_as_signs(capsys: Text) -> None:
    odd = LabelColumn("year", ("a\tb\nc", "1599", "1603"), (900, 1, 1))
    save("odd", make_records_file(labels=(odd,)))
    Path("blank.txt").write_text("\n", encoding="utf-8")

    assert output_of(capsys, "predict", "odd", "blank.txt") == "a b␤c\t0.9956\n"
    assert objects_of(capsys, "predict", "odd", "blank.txt")[0]["label"] == "a\tb\nc"


def test_what_is_piped_in_is_answered_at_once() -> None:
    command = [sys.executable, "-m", "charrnn", "predict", "years"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in ("ab", ""):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            assert process.stdout.readline().count("\t") == 1
        process.stdin.close()
        assert process.stdout.read() == ""


def test_torch_is_never_loaded() -> None:
    run_without("torch", "predict", "years", "text.txt")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["bare", "text.txt"], 2, "trained without labels"),
        (["both", "text.txt"], 2, "give --column, of 'who', 'year'"),
        (["years", "text.txt", "--column", "who"], 2, "no column 'who'"),
        (["years", "text.txt", "--files", "--text-column", "say"], 2, "give one"),
        (["years", "text.txt", "--format", "csv"], 2, "give --text-column too"),
        (["years", "text.txt", "--text-column", "say"], 2, "give --format"),
        (["years", "nowhere.txt"], 3, "cannot find the text 'nowhere.txt'"),
        (["nobody", "text.txt"], 4, "nobody"),
        (["years", "text.txt", "--top", "0"], 2, "--top"),
        (["years", "text.txt", "--prior", "flat"], 2, "--prior"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_refused(
    capsys: Text, arguments: list[str], code: int, words: str
) -> None:
    found, message = complaint(capsys, "predict", *arguments)

    assert found == code
    assert words in message


def test_info_says_how_well_labels_are_named(capsys: Text) -> None:
    file = make_records_file(labels=(YEAR,))
    file.summary["classification"] = {"year": FIGURES}
    save("measured", file)

    shown = output_of(capsys, "info", "measured")
    assert "names the year of 81.2% of held-out records" in shown
    assert "expected calibration error 0.012" in shown
    (record,) = objects_of(capsys, "info", "measured")
    assert record["classification"] == {"year": FIGURES}


def test_training_ends_with_how_well_labels_are_named(capsys: Text) -> None:
    lines = "".join(f"{'ab' * (1 + i % 9)}\n" for i in range(400))
    for name in ("x", "y"):
        Path(name + ".txt").write_text(lines.replace("b", name), encoding="utf-8")
    settings = ["--lines", "--label", "file", "--steps", "9", "--hidden-size", "6"]
    command = ["train", "x.txt", "y.txt", *settings, "--name", "xy", "--threads", "1"]

    assert end_of(*command) == 0
    err = capsys.readouterr().err
    figures = json.loads(output_of(capsys, "info", "xy", "--json"))["classification"]
    assert set(figures) == {"file"}
    assert figures["file"]["records"] >= 20
    assert describe_classification("file", figures["file"]) in err
