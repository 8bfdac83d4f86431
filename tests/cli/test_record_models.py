"""Models of records on the command line: texts that end, labels, costs of ends, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import SampleConfig
from charrnn.data.labels import LabelColumn
from charrnn.errors import ConfigError
from charrnn.generation.labels import with_labels
from charrnn.tasks.model import Model
from charrnn.tasks.session import start_session
from charrnn.text.vocab import END
from tests.cli.program import Text, complaint, end_of, objects_of, output_of
from tests.generation.record_models import WHO, YEAR, make_records_file

PLAY = make_records_file("speech", labels=(WHO, YEAR), alphabet="\n ab", end_bias=1.0)


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with three runs: a list, documents, and a play with labels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    names = make_records_file("line", end_bias=1.0)
    RunFolder(Path("checkpoints/names")).save_best(names)
    notes = make_records_file("document", document_end="--", alphabet="\n ab", end_bias=1.0)
    RunFolder(Path("checkpoints/notes")).save_best(notes)
    RunFolder(Path("checkpoints/play")).save_best(PLAY)


def sample_text(capsys: Text, *options: str) -> str:
    return output_of(capsys, "sample", *options, "--seed", "1", "--temp", "1", "-q")


def objects(capsys: Text, *options: str) -> list[dict[str, Any]]:
    return objects_of(capsys, "sample", *options, "--seed", "1")


# ── sample ──


def test_texts_of_a_list_are_lines_without_a_blank_one_between_them(capsys: Text) -> None:
    model = charrnn.load("names")
    texts = [str(model.generate(seed=1, temperature=1.0, index=i)) for i in range(4)]

    assert sample_text(capsys, "names", "-n", "4") == "".join(f"{text}\n" for text in texts)


def test_a_text_streams_as_it_is_sampled_many_at_once(capsys: Text) -> None:
    (record,) = objects(capsys, "names", "--temp", "1")

    assert sample_text(capsys, "names") == record["text"] + "\n"
    assert record["stopped_by"] == "end"


def test_one_line_is_one_record(capsys: Text) -> None:
    records = objects(capsys, "names", "-n", "9", "--lines", "1")

    assert {record["stopped_by"] for record in records} == {"lines"}
    assert all(record["text"].strip() and "\n" not in record["text"] for record in records)


@pytest.mark.parametrize("name", ["names", "notes", "play"])
def test_a_saved_state_is_that_of_the_last_record(name: str, capsys: Text) -> None:
    sampled = sample_text(capsys, name, "--documents", "3", "--save-state", "state").rstrip("\n")
    models = charrnn.open_models(name).with_state("state")
    separator = str(models.generator.text_format.separator)

    after = charrnn.load(name).next_chars(sampled.split(separator)[2], 5)
    assert models.generator.next_chars("", 5, after=models.start) == after


def test_a_state_that_cannot_be_saved_is_refused_before_the_text(capsys: Text) -> None:
    options = ("--label", "ROMEO", "--label-strength", "2", "--save-state", "state")

    _, message = complaint(capsys, "sample", "play", *options)

    assert "--save-state works with one model" in message


def test_a_state_of_other_labels_says_so(capsys: Text) -> None:
    sample_text(capsys, "play", "--label", "ROMEO", "--save-state", "state")

    _, message = complaint(capsys, "sample", "play", "--load-state", "state")

    assert "name that model, with its --label if it had one, or save a state of this one" in message


def test_documents_stand_apart_by_their_mark(capsys: Text) -> None:
    (record,) = objects(capsys, "notes", "--documents", "3")

    assert record["text"].count("\n--\n") == 2
    assert record["stopped_by"] == "documents"


def test_the_end_has_its_log_probability(capsys: Text) -> None:
    (record,) = objects(capsys, "names", "--logprobs", "9")
    last = record["logprobs"][-1]
    bits = -sum(each["logprob"] for each in record["logprobs"]) / np.log(2)

    assert [each["char"] for each in record["logprobs"]] == [*record["text"], "<end>"]
    assert last["top"]["<end>"] == last["logprob"]
    assert record["bpc"] == pytest.approx(bits / (len(record["text"]) + 1), abs=1e-3)


def test_a_prompt_with_a_newline_is_shown_as_it_was_given(capsys: Text) -> None:
    text = sample_text(capsys, "names", "--prompt", "ab\na")

    assert text.startswith("ab\na")
    assert END not in text


@pytest.mark.parametrize(
    "options",
    [
        ["--unique", "-n", "3"],
        ["--best-of", "3"],
        ["--sort", "-n", "4"],
        ["--beam", "8", "--length", "5"],
        ["--regex", "a+"],
        ["--sentences", "1"],
        ["--stop", "ab"],
        ["--dry-penalty", "1", "--documents", "3"],
        ["--mirostat", "2"],
        ["--word-temperature", "2", "--documents", "2"],
        ["--prompt", "a", "--prompt", "b\n"],
    ],
    ids=" ".join,
)
def test_no_option_shows_the_end(options: list[str], capsys: Text) -> None:
    for name in ("names", "notes", "play"):
        for record in objects(capsys, name, *options):
            assert END not in record["text"] + record["prompt"]


# ── labels ──


def test_a_label_samples_from_the_model_with_it(capsys: Text) -> None:
    expected = str(Model(PLAY, ["who=JULIET"]).generate(seed=1, temperature=1.0))

    assert sample_text(capsys, "play", "--label", "JULIET") == expected + "\n" * (
        not expected.endswith("\n")
    )
    assert sample_text(capsys, "play") != sample_text(capsys, "play", "--label", "JULIET")


def test_labels_mix(capsys: Text) -> None:
    mixed = sample_text(capsys, "play", "--label", "ROMEO:0.7", "--label", "JULIET:0.3")
    model = Model(PLAY, ["ROMEO:0.7", "JULIET:0.3"])

    assert mixed.rstrip("\n") == str(model.generate(seed=1, temperature=1.0)).rstrip("\n")


@pytest.mark.parametrize("strength", [0.5, 1.5, 3.0])
def test_a_label_counts_as_much_as_its_strength(strength: float) -> None:
    models = charrnn.open_models("play", labels={"who": "ROMEO"}, label_strength=strength)
    with_label = dict(charrnn.load("play", labels=["ROMEO"]).next_chars("a", 5))
    without = dict(charrnn.load("play").next_chars("a", 5))
    weights = {c: with_label[c] ** strength * without[c] ** (1 - strength) for c in without}
    total = sum(weights.values())

    for char, probability in models.generator.next_chars("a", 5):
        assert probability == pytest.approx(weights[char] / total, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["play", "--label", "ROMIO"], "the nearest are 'ROMEO'"),
        (["names", "--label", "ROMEO"], "was trained without labels"),
        (["play", "--label-strength", "2"], "no label is given"),
        (["play", "--label", "ROMEO:0"], "the weight of label 'ROMEO' is 0; it must be above 0"),
        (["play", "--label", "who=ROMEO:-1"], "the weight of label 'ROMEO' is -1"),
        (["play", "--label", "ROMEO:1e9"], "the weight of label 'ROMEO' is 1e9"),
        (["play", "--label", "ROMEO", "--label-strength", "0"], "--label-strength"),
    ],
)
def test_a_label_that_is_not_there_is_refused(options: list[str], words: str, capsys: Text) -> None:
    code, line = complaint(capsys, "sample", *options)

    assert code == 2
    assert words in line


def test_each_model_of_a_blend_has_the_label(capsys: Text) -> None:
    alone = sample_text(capsys, "play", "--label", "ROMEO")

    assert sample_text(capsys, "-m", "play", "-m", "play:2", "--label", "ROMEO") == alone


def test_the_model_of_a_blend_that_lacks_the_label_is_named(capsys: Text) -> None:
    code, line = complaint(capsys, "sample", "-m", "play", "-m", "names", "--label", "ROMEO")

    assert code == 2
    assert "names: " in line
    assert "was trained without labels" in line


def test_json_names_the_labels_that_were_asked_for(capsys: Text) -> None:
    (with_label,) = objects(capsys, "play", "--label", "ROMEO:0.7", "--json")
    (without,) = objects(capsys, "play", "--json")

    assert with_label["labels"] == ["ROMEO:0.7"]
    assert "labels" not in without


def test_python_names_labels_too() -> None:
    model = charrnn.load("play")

    assert model.labels == {
        "who": {"ROMEO": 163, "JULIET": 118},
        "year": {"1597": 5, "1599": 4, "1603": 3},
    }
    both = [
        charrnn.load("play", labels=labels).score("ab").bits
        for labels in ({"who": "ROMEO", "year": "1599"}, ["ROMEO", "year=1599"])
    ]
    assert (both[0] == both[1]).all()
    assert charrnn.score("ab", "play", labels="ROMEO").bpc != charrnn.score("ab", "play").bpc
    with pytest.raises(ConfigError, match="labels is of type int"):
        charrnn.load("play", labels=3)  # type: ignore[arg-type]


# ── fill, score, compress, info ──


def test_fill_takes_a_label(capsys: Text) -> None:
    found = [
        objects_of(capsys, "fill", "play", "a_b", "--label", who)[0]["bits"]
        for who in ("ROMEO", "JULIET")
    ]
    best = charrnn.load("play", labels="ROMEO").fill("a_b").completions[0]

    assert found[0] == best.bits
    assert found[0] != found[1]


def test_score_tells_ends_apart_or_with_their_newlines(capsys: Text) -> None:
    Path("text.txt").write_text("ab\na\n")
    *lines, whole = objects_of(capsys, "score", "names", "text.txt")
    *_, note, total = objects_of(capsys, "score", "notes", "text.txt")

    assert [line["characters"] for line in lines] == [["a", "b", "\n"], ["a", "\n"]]
    assert (whole["chars"], whole["ends"]) == (5, 0)
    assert (total["chars"], total["ends"]) == (5, 1)  # no newline ends the text of a record
    assert note["end_bits"] == pytest.approx(total["end_bits"], abs=1e-4)
    assert total["bits"] == pytest.approx(total["bpc"] * 5)


def test_each_file_ends_a_record(capsys: Text) -> None:
    for name in ("one.txt", "two.txt"):
        Path("texts", name).parent.mkdir(exist_ok=True)
        Path("texts", name).write_text("ab")
    *lines, whole = objects_of(capsys, "score", "play", "texts", "--label", "ROMEO")

    assert [line["bits"] for line in lines] == [lines[0]["bits"]] * 2
    assert whole["ends"] == 2


@pytest.mark.parametrize("view", [[], ["--lines"], ["--map"], ["--html", "page.html"]])
def test_no_view_of_a_score_shows_the_end_itself(view: list[str], capsys: Text) -> None:
    Path("text.txt").write_text("ab\n--a")

    assert end_of("score", "notes", "text.txt", *view) == 0
    out, err = capsys.readouterr()
    assert END not in out + err
    assert "2 ends of records" in out
    if view[:1] == ["--html"]:
        assert END not in Path("page.html").read_text("utf-8")


def test_a_file_comes_back_with_its_label_alone(capsys: Text) -> None:
    Path("text.txt").write_text("ab\nab" * 20)
    assert end_of("compress", "play", "text.txt", "--label", "ROMEO") == 0
    capsys.readouterr()

    code, line = complaint(capsys, "decompress", "play", "text.txt.crnn", "-o", "out.txt")
    assert code == 4
    assert "--label" in line
    decompress = ("decompress", "play", "text.txt.crnn", "-o", "out.txt", "--label", "who=ROMEO")
    assert end_of(*decompress) == 0
    assert Path("out.txt").read_bytes() == Path("text.txt").read_bytes()
    packed = charrnn.compress(b"ab", "play", labels="JULIET")
    assert charrnn.decompress(packed.data, "play", labels={"who": "JULIET"}) == b"ab"


def test_info_lists_the_labels_and_says_what_a_record_is(capsys: Text) -> None:
    page = " ".join(output_of(capsys, "info", "play").split())

    assert "ROMEO (163), JULIET (118)" in page
    assert "what follows a label" in page
    assert "a line" in output_of(capsys, "info", "names")
    assert charrnn.describe("notes")["record"] == "a document, which ends with '--'"


def test_info_shows_the_most_frequent_labels_of_many(capsys: Text) -> None:
    column = LabelColumn("town", tuple(f"t{i}" for i in range(23)), tuple(range(23)))
    many = make_records_file("row", labels=(column,))
    RunFolder(Path("checkpoints/many")).save_best(many)

    page = " ".join(output_of(capsys, "info", "many").split())

    assert "label town t22 (22), t21 (21)," in page
    assert "t3 (3) and 3 more" in page


def test_info_gives_the_states_of_labels(capsys: Text) -> None:
    (plain,) = objects_of(capsys, "info", "play")
    (found,) = objects_of(capsys, "info", "play", "--label-states")
    path = Path("checkpoints/play/best.safetensors")
    fixed = with_labels(read_model(path), ["JULIET"])

    assert "label_states" not in plain
    assert plain["labels"]["who"]["ROMEO"] == 163
    states = found["label_states"]["who"]["JULIET"]
    assert states == [fixed.weights[f"layers.{i}.initial"][0].tolist() for i in range(2)]
    assert complaint(capsys, "info", "play", "--label-states")[0] == 2


def test_a_shell_completes_labels(capsys: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "charrnn sample play --label who="
    monkeypatch.setenv("_CHARRNN_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))

    answers = {line.removeprefix("plain,") for line in output_of(capsys).splitlines()}

    assert answers == {"who=ROMEO", "who=JULIET"}


# ── write ──


@pytest.mark.parametrize(
    ("name", "between"), [("names", "\n"), ("notes", "\n--\n"), ("play", "\n\n")]
)
def test_a_session_goes_on_with_a_new_record(name: str, between: str) -> None:
    model = charrnn.load(name)
    session = start_session(model, SampleConfig(seed=1), "a")
    stream = session.write()
    text = str(stream)
    after = session.take(text + END)

    assert stream.is_at_end
    assert after.text == "a" + text + between
    assert after.next_chars(4) == model.next_chars("", 4)
    assert after.undo().next_chars(4) == model.next_chars("a", 4)


def test_json_of_info_is_whole(capsys: Text) -> None:
    assert json.loads(output_of(capsys, "info", "names", "--json"))["has_end"] is True
