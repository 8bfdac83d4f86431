"""charrnn predict with models of other tasks than text: tags, what is restored, and targets."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.model_file import pack_model
from charrnn.data.tags import read_tagged
from charrnn.errors import ConfigError
from charrnn.generation.tagger import Tagger
from charrnn.storage import write_atomically
from charrnn.tasks.predict import iter_predictions
from charrnn.tasks.predictions import Prediction, PredictRequest
from charrnn.tasks.task_model import TaskModel
from tests.cli.program import (
    Text,
    complaint,
    end_of,
    give_input,
    objects_of,
    output_of,
    run_without,
)
from tests.generation.task_models import KINDS, WORD_TAGS, make_task_file

LINES = ["ab a", "", "éb, ba", " ", "b"]
TAGGERS = ["tagging", "transitions"]
CONVERTERS = ["seq2seq", "phones", "fixed"]


def predict(kind: str, **settings: Any) -> list[Prediction]:
    return [*iter_predictions(make_task_file(kind), LINES, PredictRequest(**settings))]


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for kind in KINDS:
        path = Path("checkpoints", kind, "best.safetensors")
        path.parent.mkdir(parents=True)
        write_atomically(path, pack_model(make_task_file(kind)))
    Path("text.txt").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")


@pytest.mark.parametrize("kind", [*TAGGERS, *CONVERTERS])
def test_each_line_becomes_one_line_in_order_and_blank_lines_stay(capsys: Text, kind: str) -> None:
    lines = output_of(capsys, "predict", kind, "text.txt").split("\n")

    assert lines == [*(each.label for each in predict(kind)), ""]
    assert lines[1] == ""
    assert any(lines)


@pytest.mark.parametrize("kind", CONVERTERS)
def test_top_writes_several_targets_each_with_its_probability(capsys: Text, kind: str) -> None:
    lines = output_of(capsys, "predict", kind, "text.txt", "--top", "3").splitlines()

    for line, each in zip(lines, predict(kind, top=3), strict=True):
        cells = [part for target, p in each.top for part in (target, f"{p:.4f}")]
        assert line == "\t".join(cells)
    assert len(lines[0].split("\t")) == 6
    assert lines[1] == ""


def test_n_best_is_another_name_of_top(capsys: Text) -> None:
    by_top = output_of(capsys, "predict", "seq2seq", "text.txt", "--top", "2")
    assert output_of(capsys, "predict", "seq2seq", "text.txt", "--n-best", "2") == by_top


def test_a_target_with_newlines_and_tabs_is_one_line(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict_odd(*_: Any) -> list[Prediction]:
        return [Prediction("b", "x\ny\tz", 0.5, (("x\ny\tz", 0.5),))]

    monkeypatch.setattr("charrnn.tasks.predict_targets.TargetPredictor.predict", predict_odd)
    assert output_of(capsys, "predict", "seq2seq", "text.txt") == "x␤y z\n"


def test_an_empty_line_stands_after_each_text_of_tags_in_columns(capsys: Text) -> None:
    file = make_task_file("tagging", labels=WORD_TAGS, settings={"tags": "columns"})
    write_atomically(Path("checkpoints", "tagging", "best.safetensors"), pack_model(file))
    Path("text.txt").write_text("ab\n\nb a\n", encoding="utf-8")
    first, blank, last = iter_predictions(file, ["ab", "", "b a"])

    out = output_of(capsys, "predict", "tagging", "text.txt")

    assert blank.label == ""
    assert out == f"{first.label}\n\n\n{last.label}\n\n"
    found = [(each.source, each.target) for each in read_tagged("out", [out], "columns")]
    assert found == [(each.tagged, each.tags) for each in (first, last)]


def test_a_wider_beam_finds_what_is_at_least_as_likely(capsys: Text) -> None:
    narrow, wide = (
        objects_of(capsys, "predict", "seq2seq", "text.txt", "--beam", width)
        for width in ("1", "20")
    )
    for greedy, best in zip(narrow, wide, strict=True):
        assert best["text"] == greedy["text"]
    assert wide[0]["target"] == predict("seq2seq", beam=20)[0].label
    assert narrow[0]["target"] == predict("seq2seq", beam=1)[0].label


def test_objects_of_targets_hold_all_that_were_asked_for(capsys: Text) -> None:
    found = objects_of(capsys, "predict", "phones", "text.txt", "--top", "2")

    for record, each in zip(found, predict("phones", top=2), strict=True):
        top = [{"target": target, "probability": p} for target, p in each.top]
        figures = {"target": each.label, "probability": each.probability, "top": top}
        assert record == {"text": each.text, **figures}


@pytest.mark.parametrize("kind", TAGGERS)
def test_objects_of_tags_hold_each_character_with_its_tag(capsys: Text, kind: str) -> None:
    found = objects_of(capsys, "predict", kind, "text.txt")

    for record, each in zip(found, predict(kind), strict=True):
        assert record["text"] == each.text
        assert record["tagged"] == each.label
        assert record["probability"] == min(record["probabilities"], default=1.0)
        sizes = {len(record[name]) for name in ("chars", "tags", "probabilities")}
        assert len(sizes) == 1
    assert found[1]["tags"] == []


@pytest.mark.parametrize("kind", TAGGERS)
def test_a_text_to_tag_is_read_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = []
    iter_encoded = Tagger.iter_encoded

    def count(tagger: Tagger, texts: Any) -> Any:
        blocks.append(len(texts))
        return iter_encoded(tagger, texts)

    monkeypatch.setattr(Tagger, "iter_encoded", count)
    predict(kind)
    assert len(blocks) == 1


@pytest.mark.parametrize(
    ("kind", "heading"), [("tagging", "tagged"), ("seq2seq", "target"), ("classification", "label")]
)
def test_a_table_has_a_row_for_each_line(capsys: Text, kind: str, heading: str) -> None:
    Path("text.txt").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    out = output_of(capsys, "predict", kind, "text.txt", "--csv")
    rows = [*csv.reader(io.StringIO(out, newline=""))]

    assert rows[0] == ["text", heading, "probability"]
    for row, each in zip(rows[1:], predict(kind), strict=True):
        assert row == [each.text, each.label, f"{each.probability:.6g}"]


@pytest.mark.parametrize(
    ("kind", "name"), [("seq2seq", "target"), ("fixed", "target"), ("classification", "label")]
)
def test_a_table_has_columns_for_all_that_were_asked_for(
    capsys: Text, kind: str, name: str
) -> None:
    out = output_of(capsys, "predict", kind, "text.txt", "--csv", "--top", "3")
    rows = [*csv.reader(io.StringIO(out, newline=""))]

    more = [f"{name} 2", "probability 2", f"{name} 3", "probability 3"]
    assert rows[0] == ["text", name, "probability", *more]
    for row, each in zip(rows[1:], predict(kind, top=3), strict=True):
        top = each.top or (("", 1.0),)
        cells = [cell for found, p in top for cell in (found, f"{p:.6g}")]
        assert row == [each.text, *cells, *[""] * (6 - len(cells))]


def test_a_table_of_files_has_their_names(capsys: Text) -> None:
    Path("text.txt").write_text("ab a", encoding="utf-8")
    Path("more.txt").write_text("ba", encoding="utf-8")
    out = output_of(capsys, "predict", "seq2seq", "text.txt", "more.txt", "--csv", "--files")
    rows = [*csv.reader(io.StringIO(out, newline=""))]

    assert rows[0] == ["file", "text", "target", "probability"]
    assert [row[0] for row in rows[1:]] == ["text.txt", "more.txt"]


def test_a_label_below_the_threshold_is_empty_in_a_table(capsys: Text) -> None:
    options = ("--csv", "--top", "2", "--threshold", "0.5")
    out = output_of(capsys, "predict", "classification", "text.txt", *options)
    rows = [*csv.reader(io.StringIO(out, newline=""))]

    for row, each in zip(rows[1:], predict("classification", top=2), strict=True):
        assert row[1::2] == [label * (p >= 0.5) for label, p in each.top]


def test_python_refuses_to_return_several_answers_as_one() -> None:
    model = TaskModel(make_task_file("seq2seq"))
    assert model.predict(["ab a"], top=1).tolist() == [predict("seq2seq")[0].label]
    with pytest.raises(ConfigError, match="leave top out"):
        model.predict(["ab a"], top=3)


def test_what_a_text_holds_reaches_a_piped_table_as_it_is(capsys: Text) -> None:
    Path("odd.txt").write_text('a\x1b[2Jb, "b"\n', encoding="utf-8")
    assert end_of("predict", "seq2seq", "odd.txt", "--csv") == 0
    rows = [*csv.reader(io.StringIO(capsys.readouterr().out, newline=""))]
    assert rows[1][0] == 'a\x1b[2Jb, "b"'


def test_confidence_leaves_what_is_unsure_as_it_was(capsys: Text) -> None:
    sure = output_of(capsys, "predict", "tagging", "text.txt", "--confidence", "1")
    assert sure.splitlines() == LINES
    assert output_of(capsys, "predict", "tagging", "text.txt").splitlines() != LINES


@pytest.mark.parametrize("kind", ["transitions", "phones"])
def test_what_is_piped_in_is_answered_at_once_and_in_order(kind: str) -> None:
    command = [sys.executable, "-m", "charrnn", "predict", kind]
    expected = [each.label for each in predict(kind)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line, label in zip(LINES, expected, strict=True):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{label}\n"
        process.stdin.close()
        assert process.stdout.read() == ""


def test_a_last_line_without_a_newline_is_answered_too(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_input(monkeypatch, b"ab a\r\nb")
    lines = output_of(capsys, "predict", "transitions").splitlines()
    assert lines == [predict("transitions")[0].label, predict("transitions")[-1].label]


def test_torch_is_never_loaded() -> None:
    run_without("torch", "predict", "transitions", "text.txt")
    run_without("torch", "predict", "phones", "text.txt")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tagging", "--top", "2"], "--top is for models of text or classification or seq2seq"),
        (
            ["tagging", "--beam", "2"],
            "--beam is for models of seq2seq, and this one is",
        ),
        (["tagging", "--threshold", "0.5"], "--threshold is for models of text or classification"),
        (["tagging", "--unfinished"], "--unfinished is for models of text"),
        (["transitions", "--confidence", "0.5"], "this model restores nothing; leave it out"),
        (["seq2seq", "--confidence", "0.5"], "--confidence is for models of tagging"),
        (["seq2seq", "--column", "tag"], "--column is for models of text or classification"),
        (["seq2seq", "--prior", "uniform"], "--prior is for models of text or classification"),
        (["seq2seq", "--top", "6", "--beam", "5"], "give --beam 6 or more"),
        (["seq2seq", "--beam", "0"], "--beam"),
        (["classification", "--beam", "2"], "--beam is for models of seq2seq"),
        (["classification", "--column", "tag"], "the model has 'kind'"),
        (["seq2seq", "--json", "--csv"], "give one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_option_of_another_task_is_refused_with_the_way_out(
    capsys: Text, arguments: list[str], words: str
) -> None:
    code, message = complaint(capsys, "predict", arguments[0], "text.txt", *arguments[1:])

    assert code == 2
    assert words in message
