"""A run of another task than text, from its files to what its model says: in Python and by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint.model_file import pack_model, read_model, unpack_model
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.generation.bayes import macro_f1
from charrnn.tasks.fit import Result
from charrnn.tasks.task_model import TaskModel
from charrnn.tasks.task_result import TaskEvalResult
from charrnn.tasks.task_scores import count_edits
from charrnn.tasks.train import open_text
from charrnn.tasks.train_request import read_request
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.vocab import Vocab
from tests.cli.program import Text, complaint, end_of, give_input, objects_of, run_without
from tests.training.small_runs import SMALL, stop_after

pytestmark = pytest.mark.usefixtures("counted_steps")

WORDS = [a + b + c for a in "abcde" for b in "aeiou" for c in "xyzabc"]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Stand in a folder with a table of words and whether there is an "a" in them."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{word},{'with' if 'a' in word else 'without'}" for word in WORDS]
    Path("words.csv").write_text("\n".join(["word,kind", *rows]) + "\n", encoding="utf-8")
    return "words.csv"


def fit(path: str, **settings: Any) -> Result:
    table = {"text_column": "word", "label_column": "kind", "task": "classification"}
    sizes = {key: value for key, value in SMALL.items() if key != "seq_len"}
    sizes |= {"hidden_size": 12, "steps": 200, "learning_rate": 0.01, "batch_size": 8}
    return charrnn.fit(path, **{**sizes, **table, **settings})


def test_a_classifier_knows_its_classes_and_how_good_it_is(words: str) -> None:
    result = fit(words)
    model = result.model

    assert isinstance(model, TaskModel)
    assert model.classes_.tolist() == ["with", "without"]
    assert result.bpc is None
    assert result.scores["accuracy"] > 0.9
    probs = model.predict_proba(WORDS)
    assert probs.shape == (150, 2)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-12)
    assert (model.classes_[probs.argmax(1)] == model.predict(WORDS)).all()
    truth = ["with" if "a" in word else "without" for word in WORDS]
    assert model.score(WORDS, truth) == pytest.approx(
        float((model.predict(WORDS) == np.array(truth)).mean())
    )


def test_a_blank_text_and_characters_never_seen_do_no_harm(words: str) -> None:
    model = fit(words, steps=2).model
    share = sum("a" in word for word in WORDS) / len(WORDS)

    blank, other = model.predict_proba(["", "☃a☃"])
    assert blank[0] == pytest.approx(share, abs=0.01)
    np.testing.assert_allclose(other, model.predict_proba(["a"])[0])
    assert model.predict_proba([]).shape == (0, 2)
    with pytest.raises(ConfigError, match="2 texts cannot be compared with 1 targets"):
        model.score(["a", "b"], ["with"])


def test_a_run_of_a_task_continues_where_it_was_stopped(words: str) -> None:
    whole = fit(words, steps=40, name="whole")
    stopped = fit(words, steps=40, name="cut", should_stop=stop_after(17))
    assert stopped.reason == "stopped"
    again = fit(words, steps=40, name="cut")

    first, second = (read_model(each.path / "best.safetensors") for each in (whole, again))
    for name, weight in first.weights.items():
        np.testing.assert_array_equal(second.weights[name], weight, err_msg=name)
    assert first.summary["scores"] == second.summary["scores"]


def test_the_settings_in_force_repeat_the_run(words: str) -> None:
    first = fit(words, steps=20)
    config = str(first.path / "resolved.toml")
    assert end_of("train", "--config", config, "--name", "again", "--quiet") == 0
    second = read_model(Path("checkpoints/again/best.safetensors"))

    for name, weight in read_model(first.path / "best.safetensors").weights.items():
        np.testing.assert_array_equal(second.weights[name], weight, err_msg=name)


@pytest.mark.parametrize(
    "command",
    [
        ("sample", "words"),
        ("score", "words", "words.csv"),
        ("compress", "words", "words.csv"),
        ("fill", "words", "_a"),
    ],
    ids=lambda command: command[0],
)
def test_a_model_of_another_task_names_its_command(
    words: str, command: tuple[str, ...], capsys: Text
) -> None:
    fit(words, steps=2)
    capsys.readouterr()
    code, said = complaint(capsys, *command)
    assert code == 2
    assert "a model for classification, which writes no text" in said
    assert "charrnn predict" in said


def test_eval_says_how_good_a_classifier_is_on_any_records(words: str, capsys: Text) -> None:
    result = fit(words)
    end_of("eval", "words", "--json")
    own = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert own["split"] == "val"
    assert own["figures"]["accuracy"]["value"] == pytest.approx(result.scores["accuracy"])
    assert own["figures"]["macro_f1"]["low"] <= own["figures"]["macro_f1"]["value"]
    assert own["records"] == sum(each["records"] for each in own["classes"])

    table = "word,kind\nba,with\nbo,without\nbu,odd\n"
    Path("more.csv").write_text(table, encoding="utf-8")
    (other,) = objects_of(capsys, "eval", "words", "--file", "more.csv")
    assert (other["records"], other["unlabelled"]) == (2, 1)

    Path("odd.csv").write_text("word,kind\nbu,odd\n", encoding="utf-8")
    code, said = complaint(capsys, "eval", "words", "--file", "odd.csv")
    assert code == 3
    assert "none of the 1 records has a label that the model knows" in said
    assert "charrnn predict shows" in complaint(capsys, "eval", "words", "--text", "ba")[1]


def test_predict_and_eval_never_load_torch(words: str) -> None:
    fit(words, steps=2)
    run_without("torch", "predict", "words", "words.csv", "--text-column", "word")
    run_without("torch", "eval", "words")


def test_macro_f1_counts_classes_that_occur() -> None:
    truth = np.array([0, 0, 2])
    assert macro_f1(truth, truth, 5) == 1.0


def test_a_file_of_a_classifier_comes_back_whole_and_forged_ones_are_refused(words: str) -> None:
    path = fit(words, steps=2).path / "best.safetensors"
    file = read_model(path)
    again = unpack_model(pack_model(file), "again")
    assert again.config == file.config
    assert again.labels == file.labels

    for change in (
        {"labels": type(file.labels)()},
        {"config": replace(file.config, class_count=3)},
        {"config": replace(file.config, pooling="last")},
        {"config": replace(file.config, task="text", class_count=0)},
    ):
        with pytest.raises((CheckpointError, KeyError)):
            unpack_model(pack_model(replace(file, **change)), "forged")


def test_classes_that_are_none_are_refused(words: str) -> None:
    Path("one.csv").write_text("word,kind\na,x\nb,x\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="every label in 'kind' is 'x'"):
        fit("one.csv")
    rows = "".join(f"w{i},k{i}\n" for i in range(60))
    Path("free.csv").write_text("word,kind\n" + rows, encoding="utf-8")
    with pytest.raises(CorpusError, match="60 different values, so it looks like free text"):
        fit("free.csv")


@pytest.mark.parametrize("layers", [1, 2])
def test_a_language_model_gives_a_classifier_its_forward_half(words: str, layers: int) -> None:
    Path("text.txt").write_text(" ".join(WORDS[:60]) + "\n", encoding="utf-8")
    sizes = SMALL | {"hidden_size": 12, "steps": 3, "num_layers": layers}
    charrnn.fit("text.txt", name="lm", lines=False, **sizes)
    model = read_model(Path("checkpoints/lm/best.safetensors"))
    fit(words, init_from="lm", hidden_size=None, steps=1, learning_rate=1e-9, warmup_steps=0)
    found = read_model(Path("checkpoints/words/best.safetensors"))

    assert (found.config.hidden_size, found.config.num_layers) == (12, layers)
    assert found.config.bidirectional
    rows = model.vocab.ids_in(found.vocab)
    known = model.weights["embedding.weight"]
    np.testing.assert_allclose(found.weights["embedding.weight"][rows], known, atol=1e-6)
    for depth in range(layers):
        own = model.weights[f"layers.{depth}.weight_ih"]
        weight = found.weights[f"layers.{depth}.weight_ih"]
        np.testing.assert_allclose(weight[:, : own.shape[1]], own, atol=1e-6)
        name = f"layers.{depth}.weight_hh"
        np.testing.assert_allclose(found.weights[name], model.weights[name], atol=1e-6)


def test_a_classifier_keeps_what_it_knew_of_classes_it_sees_again(words: str) -> None:
    first = read_model(fit(words, steps=30, name="first", head_size=5).path / "best.safetensors")
    rows = [f"{word},{'axe' if 'x' in word else 'with'}" for word in WORDS]
    Path("more.csv").write_text("\n".join(["word,kind", *rows]) + "\n", encoding="utf-8")
    settings = {"hidden_size": None, "steps": 1, "learning_rate": 1e-9, "warmup_steps": 0}
    second = read_model(fit("more.csv", init_from="first", **settings).path / "best.safetensors")

    assert second.labels.columns[0].values == ("axe", "with")
    np.testing.assert_allclose(
        second.weights["output.weight"][1], first.weights["output.weight"][0], atol=1e-6
    )
    np.testing.assert_allclose(
        second.weights["hidden.weight"], first.weights["hidden.weight"], atol=1e-6
    )


def test_a_run_of_text_cannot_start_from_a_classifier(words: str) -> None:
    fit(words, steps=1)
    with pytest.raises(ConfigError, match="is for classification, and this run is for text"):
        charrnn.fit("words.csv", init_from="words", steps=1, lines=True)


def test_seeds_have_the_mean_and_the_spread_of_the_tasks_own_figures(
    words: str, capsys: Text
) -> None:
    table = ["--text-column", "word", "--label-column", "kind", "--task", "classification"]
    sizes = ["--hidden-size", "6", "--steps", "3", "--threads", "1", "--precision", "fp32"]
    assert end_of("train", words, *table, *sizes, "--seeds", "1,2", "--json") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["event"] == "summary"
    assert 0 <= last["scores"]["accuracy"]["mean"] <= 1
    assert last["mean_bpc"] is None

    assert end_of("train", words, *table, *sizes, "--seeds", "1,2") == 0
    said = capsys.readouterr().err
    assert "2 seeds: accuracy" in said
    assert "is trained already, as 'words-seed1': accuracy" in said


def test_a_pair_too_long_to_train_on_makes_no_other_target_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{word}\t{word[::-1]}" for word in WORDS]
    rows[::10] = [f"{row}{'x' * 900}" for row in rows[::10]]
    Path("pairs.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    sizes = {key: value for key, value in SMALL.items() if key != "seq_len"}
    result = charrnn.fit("pairs.tsv", pairs=True, val_fraction=0.3, **(sizes | {"steps": 1}))

    found = read_model(result.path / "best.safetensors").summary["target_bounds"]
    assert 3 * found[0] + found[1] == 3 + 2
    assert result.scores["edit_distance"] < 5  # of the pairs that are read


def notes_of(corpus: str, **settings: Any) -> list[str]:
    """Return what is noted of a corpus before a run trains on it."""
    text = open_text(read_request([corpus], {"val_fraction": 0, **settings}))
    return [note for note in text.notes if "--seq-len" in note]


def test_pairs_that_are_too_long_are_counted(tmp_path: Path) -> None:
    rows = ["abcd\tx", "a\tvwxyz", "abcde\tvwxy", "abcdefgh\tx"]
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")

    assert notes_of(str(path), pairs=True, seq_len=5) == [  # a target ends with an end
        "2 of 4 training pairs have more than 5 tokens and are left out; --seq-len changes that "
        "(the longest has 8)"
    ]
    assert notes_of(str(path), pairs=True, seq_len=8) == []
    assert notes_of(str(path), pairs=True) == []


def test_held_out_pairs_that_are_too_long_are_counted_too(tmp_path: Path) -> None:
    for name, text in {"a": "abc\tx\nb\ty\n", "v": f"{'c' * 600}\tx\n"}.items():
        (tmp_path / f"{name}.tsv").write_text(text, encoding="utf-8")

    assert notes_of(str(tmp_path / "a.tsv"), pairs=True, val_file=str(tmp_path / "v.tsv")) == [
        "1 of 1 held-out pair has more than 512 tokens and is left out; --seq-len changes that "
        "(the longest has 600)"
    ]


def test_records_that_are_cut_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("abcdefg\tx\nabc\tx\nabd\tyz\nab\tyz\n", encoding="utf-8")
    table = {"text_column": "1", "label_column": "2", "task": "classification"}
    rest = "read up to there; --seq-len changes that"

    assert notes_of(str(path), seq_len=4, **table) == [
        f"1 of 4 training records has more than 4 tokens and is {rest} (the longest has 7)"
    ]
    assert notes_of(str(path), seq_len=4, tags="spaces") == [  # tags of words: no spaces
        f"2 of 4 training records have more than 4 tokens and are {rest} (the longest has 8)"
    ]
    assert notes_of(str(path), **table) == []


def test_training_and_eval_agree_on_targets_of_which_a_source_has_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{word}\t{word[::-1] * times}" for word in WORDS for times in (1, 3)]
    Path("pairs.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    sizes = {key: value for key, value in SMALL.items() if key != "seq_len"}
    result = charrnn.fit("pairs.tsv", pairs=True, val_fraction=0.3, **(sizes | {"steps": 20}))

    figures = charrnn.evaluate(str(result.path)).figures
    assert {key: each.value for key, each in figures.items()} == pytest.approx(result.scores)


def test_edits_are_counted_to_the_nearest_of_several_targets() -> None:
    found = ["xyz", "", "AH K"]
    expected = [["xy", "xyzxyz"], ["ab", "c"], ["AH K", "B"]]

    counts = count_edits(found, expected, Vocab("xyz"))
    assert counts.tolist() == [[1, 0, 1, 2], [1, 0, 1, 1], [1, 1, 0, 4]]
    tokens = count_edits(found, expected, TokenVocab(tokens=("AH", "K")))
    assert tokens.tolist() == [[1, 0, 1, 1], [1, 0, 1, 1], [1, 1, 0, 2]]


def test_the_own_text_of_a_task_is_not_asked_of_standard_input(
    words: str, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_input(monkeypatch, Path(words).read_bytes())
    table = ["--text-column", "word", "--label-column", "kind", "--format", "csv"]
    sizes = ["--hidden-size", "6", "--steps", "1", "--threads", "1", "--precision", "fp32"]
    task = ["--task", "classification", "--name", "piped"]
    assert end_of("train", "-", *table, *task, *sizes, "--quiet") == 0
    capsys.readouterr()

    code, said = complaint(capsys, "eval", "piped")
    assert code == 3
    assert "standard input, which is not kept; name a text by --file" in said


def test_the_own_text_of_a_task_must_be_there_and_the_same(words: str, capsys: Text) -> None:
    fit(words, steps=1)
    text = Path(words).read_text(encoding="utf-8")
    Path(words).write_text(text.replace("bay", "bax"), encoding="utf-8")
    code, said = complaint(capsys, "eval", "words")
    assert code == 3
    assert "has changed since words was trained on it" in said

    Path(words).unlink()
    code, said = complaint(capsys, "eval", "words")
    assert code == 3
    assert "bring it back, or name a text by --file" in said


def test_a_run_that_starts_from_a_model_is_scored_on_its_own_text(words: str) -> None:
    fit(words, steps=1, name="first")
    rows = [f"{word},{kind}" for word in ("ba", "bo", "ca", "co") for kind in ("with", "odd")]
    Path("few.csv").write_text("\n".join(["word,kind", *rows]) + "\n", encoding="utf-8")
    sizes = {"hidden_size": None, "val_fraction": 0.5}
    result = fit("few.csv", init_from="first", steps=1, **sizes)

    assert len(read_model(result.path / "best.safetensors").vocab.alphabet) > 4
    scored = charrnn.evaluate(str(result.path))
    assert scored.figures["accuracy"].value == pytest.approx(result.scores["accuracy"])


@pytest.mark.parametrize(
    ("options", "words_said"),
    [
        (("--unknown", "skip", "--file", "words.csv"), "--unknown skip is for models of text"),
        (("--encoding", "utf-8"), "--encoding says how to read the text of --file"),
        (("--errors", "skip"), "--errors says how to read the text of --file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_eval_refuses_what_a_task_would_not_heed(
    words: str, options: tuple[str, ...], words_said: str, capsys: Text
) -> None:
    fit(words, steps=1)
    code, said = complaint(capsys, "eval", "words", *options)
    assert code == 2
    assert words_said in said


def test_eval_says_which_bytes_were_replaced_and_which_rows_left_out(
    words: str, capsys: Text
) -> None:
    fit(words, steps=1, skip_bad=True)
    Path("odd.csv").write_bytes(b"word,kind\nba,with\nb\xff,without\n,with\n")
    assert end_of("eval", "words", "--file", "odd.csv", "--errors", "replace") == 0
    said = capsys.readouterr().err
    assert "1 place, line 3" in said
    assert "1 row skipped: odd.csv:4" in said

    Path("odd.csv").write_bytes(b"word,kind\n,with\n")
    code, said = complaint(capsys, "eval", "words", "--file", "odd.csv")
    assert code == 3
    assert "no row can be read: 1 row skipped: odd.csv:2; leave --skip-bad out" in said


@pytest.mark.parametrize("task", [{"pairs": True}, {"tags": "slash"}], ids=str)
def test_eval_says_which_bytes_of_examples_were_replaced(
    task: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    monkeypatch.chdir(tmp_path)
    row = b"%s\t%s" if "pairs" in task else b"%s/%s"
    rows = [row % (word.encode(), word[:1].encode()) for word in WORDS]
    Path("rows.tsv").write_bytes(b"\n".join(rows) + b"\n")
    sizes = {key: value for key, value in SMALL.items() if key != "seq_len"}
    charrnn.fit("rows.tsv", **task, **(sizes | {"steps": 1}))
    Path("odd.tsv").write_bytes(b"\n".join([*rows[:2], row % (b"b\xff", b"b")]) + b"\n")
    capsys.readouterr()

    assert end_of("eval", "rows", "--file", "odd.tsv", "--errors", "replace") == 0
    assert "1 place, line 3" in capsys.readouterr().err


def test_the_whole_table_of_confused_classes_is_in_json(words: str, capsys: Text) -> None:
    kinds = [f"k{i % 13}" for i in range(26)]
    rows = {"many": [f"w{i},{kind}" for i, kind in enumerate(kinds)]}
    rows["alike"] = [f"w,{kind}" for kind in kinds]
    for name, lines in rows.items():
        Path(f"{name}.csv").write_text("\n".join(["word,kind", *lines]) + "\n", encoding="utf-8")
    fit("many.csv", steps=1)
    capsys.readouterr()

    (found,) = objects_of(capsys, "eval", "many", "--file", "alike.csv")
    assert len(found["confused"]) == 12
    assert sum(count for _, _, count in found["confused"]) == 24
    assert end_of("eval", "many", "--file", "alike.csv") == 0
    shown = capsys.readouterr().out.partition("most confused")[2].partition("over 26")[0]
    assert len([line for line in shown.splitlines() if line.startswith("k")]) == 10


def test_python_evaluates_a_task_too(words: str) -> None:
    result = fit(words, steps=20)
    scored = charrnn.evaluate(str(result.path))
    assert isinstance(scored, TaskEvalResult)
    assert scored.figures["accuracy"].value == pytest.approx(result.scores["accuracy"])


def test_labels_of_one_record_are_named_or_refused(words: str) -> None:
    text = "word,kind\n" + "".join(f"w{i},k{i % 3}\n" for i in range(30)) + "odd,one\n"
    Path("odd.csv").write_text(text, encoding="utf-8")
    notes: list[str] = []

    def keep(report: Any) -> None:
        notes.extend(report.corpus.notes if hasattr(report, "corpus") else ())

    fit("odd.csv", steps=1, on_report=keep)
    assert any("1 label has one record each" in note and "one;" in note for note in notes)

    rows = "".join(f"w{i},k{i}\n" for i in range(20))
    Path("own.csv").write_text("word,kind\n" + rows, encoding="utf-8")
    with pytest.raises(CorpusError, match="as many classes as texts"):
        fit("own.csv", steps=1)


def test_a_text_longer_than_any_in_training_is_said(words: str, capsys: Text) -> None:
    fit(words, steps=1)
    Path("long.txt").write_text("a" * 40 + "\n" + "b" * 600 + "\nba\n", encoding="utf-8")
    capsys.readouterr()
    assert end_of("predict", "words", "long.txt") == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 3
    assert "2 texts are longer than any in training, which had 3 tokens at most" in err
    assert "the longest has 600, of which 512 are read" in err
