"""charrnn inspect: every view and every output of it, and every way it is refused."""

from __future__ import annotations

import csv
import html
import io
import itertools
import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile, pack_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.inspect import command
from charrnn.config import ModelConfig
from charrnn.storage import write_atomically
from charrnn.tasks.inspect import VIEWS
from charrnn.text.vocab import Vocab
from tests.cli.program import Text, complaint, end_of, run_without
from tests.generation.task_models import make_task_file

TEXT = "abba ab ba. ab (ba) aab. " * 16
CELLS = ("lstm", "gru", "rnn")
SHOWN = [view for view in VIEWS if view != "training"]  # which shows a run's metrics


def make_file(cell: str, alphabet: str = " ().ab") -> ModelFile:
    vocab = Vocab(alphabet)
    config = ModelConfig(
        cell=cell, vocab_size=vocab.size, embedding_size=3, hidden_size=4, num_layers=2
    )
    random = np.random.default_rng(1)
    weights = {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    return ModelFile(config, vocab, weights, {"step": 7, "val_nats": 1.5, "val_bpc": 2.2})


def save(name: str, file: ModelFile) -> None:
    path = Path("checkpoints", name, "best.safetensors")
    path.parent.mkdir(parents=True)
    write_atomically(path, pack_model(file))


def shown_by(capsys: Text, *arguments: str) -> str:
    """Return what a command that ends well writes to stdout; stderr has notes on the text."""
    assert end_of(*arguments) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for cell in CELLS:
        save(cell, make_file(cell))


@pytest.mark.parametrize("view", SHOWN)
def test_a_view_shows_models_side_by_side(view: str, capsys: Text) -> None:
    shown = shown_by(capsys, "inspect", view, "lstm", "rnn", "--text", TEXT, "--chars", "1000")

    assert "lstm" in shown
    assert "rnn" in shown


@pytest.mark.parametrize("view", SHOWN)
def test_a_view_is_json_a_table_and_a_picture(view: str, capsys: Text) -> None:
    given = ["inspect", view, "gru", "--text", TEXT, "--chars", "1000"]

    found = json.loads(shown_by(capsys, *given, "--json"))
    rows = [*csv.reader(io.StringIO(shown_by(capsys, *given, "--csv", "--svg", "pictures")))]

    assert found["view"] == view
    assert [*found["models"]] == ["gru"]
    assert rows[0][0] == "model"
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}
    picture = Path("pictures", f"{view}.svg").read_bytes()
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert b"nan" not in picture.lower()


def test_all_views_are_one_page_in_the_runs_folder(capsys: Text) -> None:
    shown = shown_by(capsys, "inspect", "lstm", "--text", TEXT, "--chars", "1000")
    page = Path("checkpoints", "lstm", "inspect.html")
    first = page.read_bytes()
    shown_by(capsys, "inspect", "lstm", "--text", TEXT, "--chars", "1000")

    assert "memory" in shown
    assert "training   left out" in shown
    assert b"Content-Security-Policy" in first
    assert page.read_bytes() == first  # the same input, the same bytes
    assert RunFolder(page.parent).foreign_files == []


def test_the_page_says_the_command_as_it_was_typed(capsys: Text) -> None:
    given = ["inspect", "gru", "--text", "ab <b> 'a", "--no-live", "--chars", "1000"]
    shown_by(capsys, *given, "--neuron", "h1.2", "--neuron", "h2.3", "--seed", "0")

    page = Path("checkpoints", "gru", "inspect.html").read_text(encoding="utf-8")
    [made_by] = re.findall(r"(charrnn inspect gru .*?) \(charrnn ", page)
    typed = shlex.split(html.unescape(made_by))
    assert typed[:3] == ["charrnn", "inspect", "gru"]
    pairs = {*itertools.pairwise(typed)}
    assert {("--text", given[3]), ("--chars", "1000"), ("--seed", "0")} <= pairs
    assert {("--neuron", "h1.2"), ("--neuron", "h2.3")} <= pairs
    assert "--no-live" in typed
    assert len(typed) == 14


def test_a_large_page_is_written_if_asked_for_and_its_size_is_said_before(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_MAX_PAGE_BYTES", 9_000)
    monkeypatch.setattr(command, "VIEWS", ("text", "guesses"))
    given = ["inspect", "gru", "--text", "abba", "--html", "page.html"]

    assert end_of(*given) == 2
    assert "write it by --large" in capsys.readouterr().err
    assert not Path("page.html").exists()
    assert end_of(*given, "--large") == 0
    notes = capsys.readouterr().err
    size = Path("page.html").stat().st_size / 1e6
    assert notes.index(f"writing {size:.1f} MB to page.html") < notes.index("wrote page.html")


def test_a_unit_that_one_model_lacks_is_shown_of_the_other(capsys: Text) -> None:
    given = ["inspect", "text", "rnn", "lstm", "--text", "abba", "--neuron", "c1.1", "--json"]
    assert end_of(*given) == 0
    shown, notes = capsys.readouterr()

    assert [*json.loads(shown)["models"]] == ["lstm"]
    assert "left out: rnn: " in notes


def test_all_views_are_one_json_object(capsys: Text) -> None:
    found = json.loads(
        shown_by(capsys, "inspect", "rnn", "--text", TEXT, "--chars", "1000", "--json")
    )

    assert {*found["views"]} | {*found["left_out"]} == set(VIEWS)
    assert not Path("checkpoints", "rnn", "inspect.html").exists()


def test_a_picture_is_drawn_as_png(capsys: Text) -> None:
    shown_by(capsys, "inspect", "text", "gru", "--text", "abba", "--png", "pictures")

    assert Path("pictures", "text.png").read_bytes().startswith(b"\x89PNG")


def test_looking_needs_no_torch() -> None:
    run_without("torch", "inspect", "text", "gru", "--text", "abba")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["text", "gru", "--text", "ab", "--file", "b.txt"], "--file and --text both"),
        (["text", "gru", "--text", "ab", "--json", "--csv"], "--json and --csv both"),
        (["gru", "--text", "ab", "--csv"], "the table of one view"),
        (["text", "gru", "--text", "ab", "--html", "a.html"], "--html is for the page"),
        (["text", "gru", "--text", "ab", "--open"], "--open is for the page"),
        (["text", "gru", "--text", "ab", "--at", "2"], "counted from 0; give a number up to 1"),
        (["text", "gru", "gru", "--text", "ab"], "named twice"),
        (["text", "gru", "other", "--text", "ab"], "different vocabularies"),
        (["text", "gru", "--text", "ab", "--neuron", "c1.0"], "c1.0"),
        (["text", "gru", "--text", "ab", "--neuron", "h9.0"], "has no layer 9; give one"),
        (["text", "gru"], "does not say which text"),
        (["text", "nothing", "--text", "ab"], "nothing"),
        (["decision", "gru", "--text", "ab"], "not a view of a model for text"),
        (["text", "kinds", "--text", "ab"], "take decision"),
        (["kinds"], "give it by --text"),
        (["kinds", "--text", "ab", "--html", "a.html"], "the page of a model of text, and this"),
        (["kinds", "--text", "ab", "--open"], "write the picture by --svg FOLDER"),
        (["text", "gru", "--text", "ab", "--large"], "--large is for the page of all views"),
        (["text", "gru", "--text", "ab", "--no-live"], "--no-live is for the page of all views"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(
    arguments: list[str], words: str, capsys: Text
) -> None:
    save("other", make_file("gru", " ().abc"))
    save("kinds", make_task_file("classification"))

    _, found = complaint(capsys, "inspect", *arguments)

    assert words in found


@pytest.mark.parametrize(
    ("kind", "view"),
    [
        ("classification", "decision"),
        ("tagging", "directions"),
        ("transitions", "directions"),
        ("seq2seq", "attention"),
        ("fixed", "attention"),
    ],
)
def test_a_model_of_another_task_has_a_view_of_its_own(kind: str, view: str, capsys: Text) -> None:
    save(kind, make_task_file(kind))
    given = ["inspect", kind, "--text", "a bé, ab"]

    shown = shown_by(capsys, *given, "--svg", "pictures")
    found = json.loads(shown_by(capsys, "inspect", view, *given[1:], "--json"))
    rows = [*csv.reader(io.StringIO(shown_by(capsys, *given, "--csv")))]

    assert kind in shown
    assert found["view"] == view
    assert len(rows) > 1
    assert ElementTree.parse(f"pictures/{view}.svg").getroot().tag.endswith("svg")
