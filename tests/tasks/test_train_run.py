"""A run from its settings to its files: what is kept, and what resuming may and may not do."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import pack_model, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.run_store import find_run
from charrnn.config import TextConfig
from charrnn.data.corpus import corpus_from_text
from charrnn.errors import (
    CharRNNError,
    CheckpointError,
    ConfigError,
    CorpusError,
    DivergedError,
    RunLockedError,
    StorageError,
)
from charrnn.model.network import CharRNN
from charrnn.tasks.corpus_stats import summarise_corpus
from charrnn.tasks.eval_text import EvalTextRequest, NamedModel, read_eval_text
from charrnn.tasks.evaluate import evaluate_models
from charrnn.tasks.model import Model
from charrnn.tasks.recorder import RunFinished, Written
from charrnn.tasks.train import Opened, RunReport, start_run
from charrnn.tasks.train_request import UnfinishedRun, read_texts
from charrnn.text.vocab import END
from charrnn.training.loop import train
from charrnn.training.reports import Evaluation, Progress, Report, Snapshot
from tests.test_storage import in_time
from tests.training.small_runs import SMALL, STEPS, stop_after

pytestmark = pytest.mark.usefixtures("counted_steps")


def run(corpus: str | None, stop: int | None = None, **settings: Any) -> list[RunReport]:
    """Train to the end, or for `stop` steps."""
    resumed = {"threads": 1} if "resume" in settings else SMALL
    should_stop = stop_after(stop) if stop else lambda: False
    paths = [] if corpus is None else [corpus]
    return list(start_run(paths, {**resumed, **settings}, should_stop=should_stop))


def test_training_never_looks_at_the_part_for_testing(book: str) -> None:
    text = Path(book).read_text(encoding="utf-8")
    test = text[-len(text) // 5 :]
    for name, end in (("one", test), ("two", test[::-1])):  # the alphabet stays the same
        Path(f"{name}.txt").write_text(text.removesuffix(test) + end, encoding="utf-8")
        run(f"{name}.txt", steps=6, eval_every=3, test_fraction=0.2, split="tail")
    run("one.txt", steps=1, name="whole")

    one, two, whole = (
        read_model(RunFolder(Path("checkpoints") / name).best) for name in ("one", "two", "whole")
    )
    assert all(np.array_equal(one.weights[key], two.weights[key]) for key in one.weights)
    figures = ("val_nats", "val_windowed_nats", "train_eval_nats", "baselines_bpc")
    assert [one.summary[key] for key in figures] == [two.summary[key] for key in figures]
    sizes = [f"{part}_chars" for part in ("train", "val", "test")]
    assert sum(one.summary["corpus"][size] for size in sizes) == len(text)
    assert one.summary["corpus"]["test_chars"] == len(test)
    assert "test_chars" not in whole.summary["corpus"]


def test_the_file_holds_the_score_on_the_whole_held_out_text(book: str) -> None:
    run(book, steps=10, eval_chars=20)
    best = RunFolder(Path("checkpoints/book")).best
    result = evaluate_models([("book", best)], EvalTextRequest())
    (scores,) = result.models

    summary = read_model(best).summary
    assert summary["val_nats"] == pytest.approx(scores.carried.nats, rel=1e-6)
    assert summary["val_windowed_nats"] == pytest.approx(scores.windowed.nats, rel=1e-6)
    assert summary["val_windowed_bpc"] == pytest.approx(scores.windowed.bpc, rel=1e-6)
    assert summary["corpus"]["val_chars"] == result.chars + 1


def test_file_and_metrics_hold_the_score_on_training_text(book: str) -> None:
    kept = run(book, steps=10, dropout=0.5)[-1]
    folder = RunFolder(Path("checkpoints/book"))
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]

    known = kept.finished.best_train_eval_nats  # type: ignore[union-attr]
    assert known is not None
    assert read_model(folder.best).summary["train_eval_nats"] == known
    assert (lines[-1]["event"], lines[-1]["train_eval_nats"]) == ("finished", known)
    assert lines[-1]["val_nats"] == kept.finished.best_val_nats  # type: ignore[union-attr]


def test_the_file_holds_the_scores_of_simpler_models(book: str) -> None:
    Path("book.txt").write_text(Path("book.txt").read_text("utf-8") * 5, encoding="utf-8")
    kept = run(book, steps=2)[-1]

    summary = read_model(RunFolder(Path("checkpoints/book")).best).summary
    assert set(summary["baselines_bpc"]) == {"gzip", "xz", "5-gram"}
    assert summary["baselines_bpc"] == kept.baselines_bpc  # type: ignore[union-attr]
    assert summarise_corpus([book], TextConfig()).baselines_bpc == summary["baselines_bpc"]


def test_a_short_held_out_text_is_compared_with_nothing(book: str) -> None:
    run(book, steps=2)

    assert read_model(RunFolder(Path("checkpoints/book")).best).summary["baselines_bpc"] == {}


def test_a_run_cut_off_and_resumed_leaves_the_same_files(book: str) -> None:
    run(book, steps=60, eval_every=20, dropout=0.2, name="uncut")
    run(book, steps=60, eval_every=20, dropout=0.2, name="cut", stop=33)
    run(None, resume="cut")

    uncut, cut = (find_run(name, Path("checkpoints")) for name in ("uncut", "cut"))
    for ours, theirs in zip([cut.best, *cut.states], [uncut.best, *uncut.states], strict=True):
        one, other = read_model(ours), read_model(theirs)
        assert all(np.array_equal(one.weights[n], other.weights[n]) for n in other.weights)
        assert all(np.array_equal(one.training[n], other.training[n]) for n in other.training)


def test_metrics_after_the_save_are_written_once(book: str) -> None:
    run(book, steps=60, eval_every=20, name="uncut")
    run(book, steps=60, eval_every=20, name="cut", stop=33)
    metrics = Path("checkpoints/cut/metrics.jsonl")
    metrics.write_text(metrics.read_text() + '{"event": "progress", "step": 34}\n{"event": "pro')
    run(None, resume="cut")

    seen = {name: steps_of(Path("checkpoints", name)) for name in ("cut", "uncut")}
    assert seen["cut"] == seen["uncut"]


def steps_of(folder: Path) -> list[tuple[str, int]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [(line["event"], line.get("step", 0)) for line in lines]


def test_a_time_budget_continues_where_it_was_cut_off(book: str) -> None:
    cut = run(book, budget="4s", stop=120, eval_every=121)
    resumed = run(None, resume="book")

    spent = [r.elapsed_seconds for r in (cut[-1].finished, resumed[-1].finished)]  # type: ignore[union-attr]
    assert spent[0] < 4  # seconds
    assert spent[1] > 3
    assert resumed[-1].finished.step > 125  # type: ignore[union-attr]


def test_evaluations_can_be_spaced_differently_on_resuming(book: str) -> None:
    run(book, steps=60, eval_every=20, stop=30)
    resumed = run(None, resume="book", eval_every=6)

    assert [r.step for r in resumed if isinstance(r, Evaluation)] == [*(30, 36, 42, 48, 54, 60)]


def test_a_run_can_be_made_longer(book: str) -> None:
    run(book, steps=10)
    resumed = run(None, resume="book", steps=25)

    assert resumed[-1].finished.step == 25  # type: ignore[union-attr]


def test_a_longer_run_compares_with_the_part_that_evaluations_score(book: str) -> None:
    text = Path("book.txt").read_text("utf-8")
    Path("book.txt").write_text(text * 2 + "zqxj" * 8 + text[:100], encoding="utf-8")
    settings = {"eval_chars": 40, "val_fraction": 0.2, "lr_schedule": "constant", "eval_every": 20}
    run(book, steps=40, **settings)
    first = read_model(RunFolder(Path("checkpoints/book")).best).summary
    resumed = run(None, resume="book", steps=400)

    best_so_far = [r.best_val_nats for r in resumed if isinstance(r, Evaluation)]
    assert first["eval_nats"] != first["val_nats"]
    assert max(best_so_far) <= first["eval_nats"]
    assert any(r.is_best for r in resumed if isinstance(r, Evaluation))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"hidden_size": 7},
            r"hidden_size of run 'book' is 6 and cannot change; leave hidden_si",
        ),
        (
            {"residual": True},
            r"residual of run 'book' is False and cannot .*, or start a new run$",
        ),
        ({"dropout": 0.9}, r"dropout of run 'book' is 0\.\d+ \(chosen\) .* by init_from=.book.$"),
        ({"document_end": "--"}, r"document_end of run 'book' is not set and cannot change"),
        ({"steps": 5}, r"this run has made 6 steps; give steps above that"),
        ({"steps": 6.0}, r"must be a whole number"),
        ({"epochs": 0.01}, r"this run has read its text 0\.03 times; give epochs above that"),
        ({"budget": "0.00001s"}, r"this run has trained for \d+ s; give budget above that"),
        ({"name": "other"}, r"keeps its name, 'book'; leave name out"),
        ({}, r"this run is finished"),
    ],
)
def test_a_run_that_cannot_continue_as_asked_is_refused(
    book: str, settings: Any, complaint: str
) -> None:
    run(book, steps=6)
    before = {path: path.read_bytes() for path in Path("checkpoints/book").glob("*.*")}

    with pytest.raises(ConfigError, match=complaint):
        run(None, resume="book", **settings)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("length", [{"steps": 20}, {"epochs": 0.05}, {"budget": "0.001s"}])
def test_a_stopped_run_never_passes_a_shorter_length(book: str, length: dict[str, Any]) -> None:
    run(book, steps=90, stop=30)
    with pytest.raises(ConfigError, match="above that"):
        run(None, resume="book", **length)
    resumed = run(None, resume="book", steps=31)

    assert resumed[-1].finished.step == 31  # type: ignore[union-attr]


def test_the_learning_rate_changes_from_where_a_run_is_resumed(book: str) -> None:
    schedule = {"steps": 60, "eval_every": 20, "learning_rate": 0.02, "lr_schedule": "linear"}
    for name in ("whole", "cut"):
        run(book, **schedule, name=name, stop=20)
    whole = run(None, resume="whole", learning_rate=0.01)
    run(None, resume="cut", learning_rate=0.01, stop=15)
    run(None, resume="cut")

    rates = {r.step: r.learning_rate for r in whole if isinstance(r, Progress)}
    warm_up = 6  # a tenth
    assert rates[22] == pytest.approx(0.01 * (1 - (21 - warm_up) / (60 - warm_up)))
    one, other = (read_model(find_run(n, Path("checkpoints")).states[0]) for n in ("whole", "cut"))
    assert one.summary["settings"]["learning_rate"] == 0.01
    assert all(np.array_equal(one.weights[n], other.weights[n]) for n in other.weights)


def test_a_value_that_was_chosen_is_no_change(book: str) -> None:
    run(book, steps=9, stop=4)
    last = read_model(RunFolder(Path("checkpoints/book")).states[0])
    resumed = run(None, resume="book", dropout=last.config.dropout, num_layers=1)

    assert resumed[-1].finished.step == 9  # type: ignore[union-attr]


def test_a_corpus_that_moved_is_named_with_the_command_that_finds_it(book: str) -> None:
    run(book, steps=9, stop=4)
    Path("elsewhere").mkdir()
    Path(book).rename("elsewhere/book.txt")
    with pytest.raises(CorpusError) as caught:
        run(None, resume="book")

    assert caught.value.message == (
        f"cannot find 'book.txt' in {Path.cwd()}; if you moved it: "
        "charrnn train NEW_PLACE --resume book"
    )
    assert run("elsewhere/book.txt", resume="book")[-1].finished.step == 9  # type: ignore[union-attr]


def test_a_held_out_file_that_moved_is_named_by_its_option(book: str) -> None:
    Path("held.txt").write_text(Path(book).read_text("utf-8")[:300], encoding="utf-8")
    run(book, steps=9, val_file="held.txt", stop=4)
    Path("held.txt").unlink()
    with pytest.raises(CorpusError, match=r'train\(resume="book", val_file="NEW_PLACE"\)'):
        run(None, resume="book")


def test_a_text_that_changed_can_be_trained_on_from_the_weights(book: str) -> None:
    run(book, steps=9, stop=4)
    with Path(book).open("a") as file:
        file.write("more")
    with pytest.raises(CheckpointError, match=r'charrnn\.train\("book\.txt", init_from="book"\)$'):
        run(None, resume="book")


# Several texts


@pytest.fixture
def letters(book: str) -> list[str]:
    """Write letters beside the book, which count three times."""
    letters = "".join(f"Dear Anna, {number} is enough.\n" for number in range(60))
    Path("letters.txt").write_text(letters)
    return [book, "letters.txt:3"]


def train_on(paths: list[str], stop: int | None = None, **settings: Any) -> list[RunReport]:
    should_stop = stop_after(stop) if stop else lambda: False
    return list(start_run(paths, {**SMALL, **settings}, should_stop=should_stop))


@pytest.mark.parametrize("lines", [False, True])
def test_a_run_on_weighted_texts_continues_bit_for_bit(letters: list[str], lines: bool) -> None:
    settings: dict[str, Any] = {"steps": 60, "eval_every": 20, "dropout": 0.2, "lines": lines}
    train_on(letters, name="uncut", **settings)
    train_on(letters, name="cut", stop=33, **settings)
    run(None, resume="cut")

    uncut, cut = (find_run(name, Path("checkpoints")) for name in ("uncut", "cut"))
    for ours, theirs in zip([cut.best, *cut.states], [uncut.best, *uncut.states], strict=True):
        one, other = read_model(ours), read_model(theirs)
        assert all(np.array_equal(one.weights[n], other.weights[n]) for n in other.weights)
        assert all(np.array_equal(one.training[n], other.training[n]) for n in other.training)
    assert one.summary["corpus"]["paths"] == letters
    by_source = [read_model(each.best).summary["val_by_source_nats"] for each in (uncut, cut)]
    assert by_source[0] == by_source[1]
    assert list(by_source[0]) == ["book.txt", "letters.txt"]


def test_the_same_command_finds_an_unfinished_run_of_the_same_weights_alone(
    letters: list[str],
) -> None:
    train_on(letters, steps=9, stop=4)
    others = train_on([letters[0], "letters.txt:2"], steps=9, stop=2)
    again = train_on(letters, steps=9)

    steps = [each.resumed_step for each in others + again if isinstance(each, Opened)]
    assert steps == [None, 4]


@pytest.mark.parametrize("weights", [("", ""), ("", ":2"), (":3", "")])
def test_a_run_is_not_resumed_by_other_weights(
    letters: list[str], weights: tuple[str, str]
) -> None:
    train_on(letters, steps=9, stop=4, name="mine")
    paths = [f"book.txt{weights[0]}", f"letters.txt{weights[1]}"]
    with pytest.raises(CheckpointError) as caught:
        list(start_run(paths, {"resume": "mine"}))

    assert "trained on book.txt letters.txt:3" in caught.value.message


def test_weighted_texts_that_moved_are_found_by_the_command_that_the_message_names(
    letters: list[str],
) -> None:
    train_on(letters, steps=9, stop=4, name="mine")
    Path("letters.txt").rename("elsewhere.txt")
    with pytest.raises(CorpusError) as caught:
        run(None, resume="mine")

    assert caught.value.message.endswith("charrnn train book.txt NEW_PLACE:3 --resume mine")
    reports = list(start_run(["book.txt", "elsewhere.txt:3"], {"resume": "mine"}))
    assert reports[-1].finished.step == 9  # type: ignore[union-attr]


def test_the_held_out_part_of_weighted_texts_is_found_again(letters: list[str]) -> None:
    train_on(letters, steps=9, name="mine")
    file = read_model(find_run("mine", Path("checkpoints")).best)
    models = [NamedModel("mine", file)]

    for files in ((), ("book.txt", "letters.txt"), ("book.txt", "letters.txt:3")):
        ids = read_eval_text(models, EvalTextRequest(files=files, split="val")).ids
        assert file.vocab.count_characters(ids) == file.summary["corpus"]["val_chars"]


# Left early


@pytest.mark.parametrize("kind", [Progress, Evaluation, Snapshot, Written])
def test_a_run_that_is_left_continues_bit_for_bit(book: str, kind: type) -> None:
    settings = {**SMALL, "steps": 40, "eval_every": 15, "dropout": 0.2}
    list(start_run([book], {**settings, "name": "whole"}))
    for report in start_run([book], {**settings, "name": "left"}):
        if isinstance(report, kind):
            break
    run(None, resume="left")

    whole, left = (RunFolder(Path("checkpoints", name)) for name in ("whole", "left"))
    assert steps_of(left.path) == steps_of(whole.path)
    assert (left.path / "samples.txt").read_bytes() == (whole.path / "samples.txt").read_bytes()
    for ours, theirs in zip([left.best, *left.states], [whole.best, *whole.states], strict=True):
        one, other = read_model(ours), read_model(theirs)
        assert all(np.array_equal(one.weights[n], other.weights[n]) for n in other.weights)
        assert all(np.array_equal(one.training[n], other.training[n]) for n in other.training)


def test_an_error_in_the_callers_loop_saves_the_run(book: str) -> None:
    def fail() -> None:
        for report in start_run([book], {**SMALL, "steps": 40}):
            if isinstance(report, Progress):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert (RunFolder(Path("checkpoints/book")).step or 0) >= 1


# Texts in memory


def test_texts_train_as_files_of_them_do(book: str) -> None:
    text = Path(book).read_text("utf-8")
    parts = [text[:900], text[900:].replace("\n", "\r\n")]
    for number, part in enumerate(parts):
        Path(f"{number}.txt").write_bytes(part.encode())
    settings = {**SMALL, "steps": 9}
    list(start_run(["0.txt", "1.txt"], {**settings, "name": "files"}))
    list(start_run([], {**settings, "name": "texts"}, texts=parts))

    one, other = (
        read_model(Path("checkpoints", n, "best.safetensors")) for n in ("files", "texts")
    )
    assert all(np.array_equal(one.weights[n], other.weights[n]) for n in one.weights)
    assert other.summary["corpus"]["paths"] == []


def test_texts_are_documents_of_their_normal_form() -> None:
    config = TextConfig(document_end="--", split="tail", val_fraction=0)

    texts = read_texts(["E\u0301-", "b\r"], TextConfig(normalize="nfc", lowercase=True))
    corpus = corpus_from_text(["\u00e9-", "b"], config)

    assert texts == ("\u00e9-", "b\n")
    assert corpus.vocab.decode(corpus.train) == f"{END}\u00e9-{END}b{END}"


def test_a_run_on_texts_resumes_with_the_same_texts_alone(book: str) -> None:
    text = Path(book).read_text("utf-8")
    settings = {**SMALL, "steps": 40}
    list(start_run([], settings, texts=[text], should_stop=stop_after(5)))
    with pytest.raises(ConfigError, match=r"texts in memory; give them again.*resume='text'"):
        run(None, resume="text")
    with pytest.raises(CheckpointError, match="not the texts that run 'text' was trained on"):
        list(start_run([], {"resume": "text"}, texts=[text + "more"]))
    with pytest.raises(CorpusError, match="was trained on a text in memory"):
        evaluate_models([("text", RunFolder(Path("checkpoints/text")).model)], EvalTextRequest())
    reports = list(start_run([], {"resume": "text", "threads": 1}, texts=[text]))

    assert reports[1].resumed_step == 5  # type: ignore[union-attr]
    assert reports[-1].finished.step == 40  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("texts", "settings", "complaint"),
    [
        (["ab\ud800"], {}, "character 2 of text 0 is half of a surrogate pair"),
        (["a", 5], {}, "text 1 is of type int; give a str"),
        (["a"], {"val_file": "b.txt"}, "val_file goes with files"),
        ([""], {}, "the text is empty"),
    ],
)
def test_texts_that_cannot_be_trained_on_are_refused(
    book: str, texts: Any, settings: Any, complaint: str
) -> None:
    with pytest.raises(CharRNNError, match=complaint):
        list(start_run([], settings, texts=texts))


def test_a_corpus_and_texts_are_not_taken_together(book: str) -> None:
    with pytest.raises(ConfigError, match="corpus and texts both"):
        list(start_run([book], {}, texts=["abc"]))


# Overwriting


def test_a_run_is_replaced_once_the_new_one_has_a_state(book: str) -> None:
    run(book, steps=9, name="mine")
    old = {path.name for path in Path("checkpoints/mine").iterdir()}
    seen = []
    for report in start_run([book], {**SMALL, "steps": 20, "name": "mine", "overwrite": True}):
        folders = sorted(path.name for path in Path("checkpoints").iterdir())
        seen.append((type(report).__name__, ".mine.replaced" in folders))

    assert seen[1:3] == [("Opened", True), ("Started", True)]
    assert ("Evaluation", True) in seen
    assert seen[-1] == ("RunFinished", False)
    assert dict(seen)["Snapshot"] is False
    assert RunFolder(Path("checkpoints/mine")).step == 20
    assert "step-9.safetensors" in old


def test_a_run_is_put_back_where_the_new_one_saves_nothing(book: str) -> None:
    run(book, steps=9, name="mine")
    before = {path.name: path.read_bytes() for path in Path("checkpoints/mine").glob("*.*")}
    for report in start_run([book], {**SMALL, "steps": 20, "name": "mine", "overwrite": True}):
        if isinstance(report, Opened):
            break

    assert [path.name for path in Path("checkpoints").iterdir()] == ["mine"]
    assert {p.name: p.read_bytes() for p in Path("checkpoints/mine").glob("*.*")} == before


def test_a_run_that_is_being_trained_is_not_replaced(book: str) -> None:
    run(book, steps=9, name="mine")
    settings = {**SMALL, "steps": 20, "name": "mine", "overwrite": True}
    with RunFolder(Path("checkpoints/mine")).lock(), pytest.raises(RunLockedError):
        list(start_run([book], settings))

    assert RunFolder(Path("checkpoints/mine")).step == 9


# Damage done on purpose


@pytest.mark.parametrize("name", ["samples.txt", "metrics.jsonl"])
def test_a_log_that_is_a_link_ends_a_resume_before_it_changes_anything(
    book: str, name: str
) -> None:
    run(book, steps=60, eval_every=20, stop=30)
    Path("mine").write_text("not yours " * 99)
    Path("checkpoints/book", name).unlink()
    Path("checkpoints/book", name).symlink_to(Path("mine").absolute())
    with pytest.raises(StorageError, match="it is a link"):
        run(None, resume="book")

    assert Path("mine").read_text() == "not yours " * 99


def test_the_logs_of_a_run_that_saved_nothing_are_not_continued(book: str) -> None:
    Path("checkpoints/book").mkdir(parents=True)
    for name in ("config.toml", "metrics.jsonl", "samples.txt"):
        Path("checkpoints/book", name).write_text('{"event": "progress", "step": 7}\n')
    run(book, steps=4)

    assert ("progress", 7) not in steps_of(Path("checkpoints/book"))
    assert Path("checkpoints/book/samples.txt").read_text().startswith("── step")


def test_a_run_folder_that_is_a_link_is_resumed_where_it_leads(book: str) -> None:
    run(book, steps=60, stop=5)
    Path("checkpoints/book").rename("elsewhere")
    Path("checkpoints/book").symlink_to(Path("elsewhere").absolute())
    run(None, resume="book", stop=5)

    assert Path("checkpoints/book").is_symlink()
    assert RunFolder(Path("elsewhere")).step == 10


def test_a_snapshot_by_hard_links_stays_as_it_is(book: str) -> None:
    run(book, steps=60, eval_every=20, stop=30)
    Path("snapshot").mkdir()
    files = [path for path in Path("checkpoints/book").iterdir() if path.name[0] != "."]
    for path in files:
        Path("snapshot", path.name).hardlink_to(path)
    before = {path.name: path.read_bytes() for path in Path("snapshot").iterdir()}
    run(None, resume="book")

    assert {path.name: path.read_bytes() for path in Path("snapshot").iterdir()} == before


def damage(progress: dict[str, Any]) -> RunFolder:
    """Give the newest state of the run `book` other progress, and a digest that fits it."""
    folder = RunFolder(Path("checkpoints/book"))
    state = read_model(folder.states[0])
    changed = {k: v for k, v in (state.progress or {}).items() if k not in progress}
    changed |= {key: value for key, value in progress.items() if value is not None}
    folder.states[0].write_bytes(pack_model(replace(state, progress=changed)))
    return folder


PLAN: dict[str, Any] = {"seq_len": 5, "batch_size": 2, "learning_rate": 0.01}
PLAN |= {"total_steps": 60, "eval_every": 20}


@pytest.mark.parametrize("step", [None, 0, 41, 10**30])
def test_a_state_of_another_step_than_its_name_says_is_damaged(book: str, step: Any) -> None:
    run(book, steps=60, eval_every=20, stop=30)
    damage({"step": step})
    opened = run(None, resume="book")[1]

    assert opened.resumed_step == 20  # type: ignore[union-attr]
    assert "step-30.safetensors is damaged: it is of step" in opened.damaged[0].reason  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "progress",
    [
        {"plan": None},
        {"plan": PLAN | {"learning_rate": 1e308}},
        {"plan": PLAN | {"seq_len": 0}},
        {"plan": {key: PLAN[key] for key in ("total_steps", "eval_every")}},
        {"length": None},
        {"level": None},
    ],
)
def test_progress_that_no_run_writes_is_refused(book: str, progress: dict[str, Any]) -> None:
    run(book, steps=60, eval_every=20, stop=30)
    damage(progress)
    with pytest.raises(CheckpointError, match="does not fit"):
        run(None, resume="book")


@pytest.mark.parametrize("logs", [None, {}, {"metrics.jsonl": 1 << 60}, {"../../mine": 0}])
def test_sizes_of_logs_that_do_not_fit_change_no_file(book: str, logs: Any) -> None:
    run(book, steps=60, eval_every=20, stop=30)
    Path("mine").write_text("not yours")
    damage({"logs": logs})

    assert run(None, resume="book")[-1].finished.step == 60  # type: ignore[union-attr]
    assert Path("mine").read_text() == "not yours"


def test_the_best_model_of_another_run_is_not_taken_for_this_ones(book: str) -> None:
    run(book, steps=9, name="other", hidden_size=7)
    run(book, steps=60, eval_every=20, stop=30)
    shutil.copy("checkpoints/other/best.safetensors", "checkpoints/book/best.safetensors")
    reports = run(None, resume="book")

    assert "it has another shape" in reports[1].damaged[0].reason  # type: ignore[union-attr]
    assert reports[-1].finished.step == 60  # type: ignore[union-attr]


def test_a_settings_file_that_disagrees_with_the_state_is_not_believed(book: str) -> None:
    run(book, steps=60, stop=5)
    settings = Path("checkpoints/book/config.toml")
    settings.write_text(settings.read_text().replace("hidden_size = 6", "hidden_size = 7"))
    run(book, steps=60, hidden_size=7, stop=5)

    assert sorted(path.name for path in Path("checkpoints").iterdir()) == ["book", "book-2"]


def test_a_settings_file_that_is_a_pipe_is_not_waited_for(book: str) -> None:
    run(book, steps=60, stop=5)
    Path("checkpoints/book/config.toml").unlink()
    os.mkfifo("checkpoints/book/config.toml")
    with in_time():
        run(book, steps=3)


def test_a_run_that_is_being_trained_is_refused_before_it_is_read(book: str) -> None:
    run(book, steps=60, stop=5)
    folder = RunFolder(Path("checkpoints/book"))
    folder.states[0].write_bytes(b"half of what the other process is writing")

    with (
        folder.lock(),
        pytest.raises(RunLockedError, match=rf"process {os.getpid()} on host .* has been training"),
    ):
        run(None, resume="book")


def test_the_best_so_far_is_in_the_last_file_after_a_resume(book: str) -> None:
    run(book, steps=90, eval_every=20, stop=30)
    best = read_model(RunFolder(Path("checkpoints/book")).best).summary["val_nats"]
    run(None, resume="book", stop=3)

    assert read_model(RunFolder(Path("checkpoints/book")).states[0]).summary["val_nats"] == best


def test_a_resumed_run_keeps_its_document_end(book: str) -> None:
    run(book, steps=9, document_end="b", stop=4)
    run(None, resume="book", document_end="b")
    last, _ = RunFolder(Path("checkpoints/book")).read_state()
    text_read = read_eval_text([NamedModel("book", last)], EvalTextRequest())

    assert last.summary["step"] == 9
    assert Model(last).text_format.document_end == "b"
    assert last.vocab.decode(text_read.ids).endswith(END)


def test_the_largest_seed_trains(book: str) -> None:
    assert isinstance(run(book, steps=2, seed=2**63 - 1, dropout=0.1)[-1], RunFinished)


def test_metrics_are_json_even_where_a_figure_is_none(
    book: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_without_norm(*args: Any, **kwargs: Any) -> Iterator[Report]:
        for report in train(*args, **kwargs):
            is_progress = isinstance(report, Progress)
            yield replace(report, gradient_norm=math.nan) if is_progress else report

    monkeypatch.setattr("charrnn.training.loop.train", train_without_norm)
    run(book, steps=4)

    for line in Path("checkpoints/book/metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_the_name_of_a_run_that_never_saved_is_free_again(book: str) -> None:
    reports = start_run([book], {**SMALL, "steps": 5})
    next(reports)
    next(reports)
    reports.close()  # type: ignore[attr-defined]
    run(book, steps=2)

    assert [path.name for path in Path("checkpoints").iterdir()] == ["book"]


def test_a_file_name_that_is_not_utf_8_is_refused(book: str) -> None:
    with pytest.raises(CorpusError, match="is not valid UTF-8; rename the file"):
        run("caf\udce9.txt", steps=2)


@pytest.mark.parametrize("name", ["target_file", "val_target_file"])
def test_a_name_of_a_file_of_targets_is_utf_8_too(book: str, name: str) -> None:
    files = {"target_file": book, "val_file": book, "val_target_file": book}

    with pytest.raises(CorpusError, match=r"the file name 'caf\\udce9.txt' is not valid UTF-8"):
        run(book, **(files | {name: "caf\udce9.txt"}), steps=2)


def test_one_standard_input_cannot_be_two_texts(book: str) -> None:
    with pytest.raises(ConfigError, match="are both standard input"):
        run("-", val_file="-", steps=2)


def test_chinese_in_gb18030_becomes_the_same_ids_as_in_utf_8(book: str) -> None:
    hanzi = [chr(0x4E00 + i) for i in range(3000)]
    text = "".join(np.random.default_rng(0).permutation(hanzi * 2)) + "\n"
    Path("utf8.txt").write_text(text, encoding="utf-8")
    Path("gb.txt").write_text(text, encoding="gb18030")
    settings = {"steps": 2, "eval_chars": 50}
    one = run("utf8.txt", **settings)[1].corpus  # type: ignore[union-attr]
    other = run("gb.txt", encoding="gb18030", **settings)[1].corpus  # type: ignore[union-attr]

    assert one.vocab == other.vocab
    assert np.array_equal(one.train, other.train)
    assert np.array_equal(one.val, other.val)


def test_a_snapshot_follows_every_evaluation(book: str) -> None:
    reports = run(book, steps=30, eval_every=10)

    assert [r.step for r in reports if isinstance(r, Snapshot)] == [10, 20, 30]


# The same command again


def test_the_same_command_continues_its_unfinished_run(book: str) -> None:
    run(book, steps=60, eval_every=20, name="uncut")
    run(book, steps=60, eval_every=20, stop=33)
    reports = run(book, steps=60, eval_every=20)

    opened = reports[1]
    assert isinstance(opened, Opened)
    assert (opened.run.name, opened.resumed_step, opened.is_found) == ("book", 33, True)
    assert sorted(path.name for path in Path("checkpoints").iterdir()) == ["book", "uncut"]
    book_run, uncut = (RunFolder(Path("checkpoints", name)) for name in ("book", "uncut"))
    one, other = read_model(book_run.best), read_model(uncut.best)
    assert all(np.array_equal(one.weights[n], other.weights[n]) for n in other.weights)


def test_a_finished_run_is_not_continued(book: str) -> None:
    for _ in range(2):
        run(book, steps=6)

    assert sorted(path.name for path in Path("checkpoints").iterdir()) == ["book", "book-2"]


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 61},
        {"seed": 2},
        {"on_unfinished": "new"},
        {"learning_rate": 0.01},
        {"document_end": "b"},
    ],
)
def test_another_command_starts_another_run(book: str, change: dict[str, Any]) -> None:
    run(book, steps=60, stop=5)
    run(book, **({"steps": 60} | change), stop=5)

    assert sorted(path.name for path in Path("checkpoints").iterdir()) == ["book", "book-2"]


def test_a_text_that_changed_starts_another_run(book: str) -> None:
    run(book, steps=60, stop=5)
    Path(book).write_text("another text\n" * 200)
    run(book, steps=60, stop=5)

    assert sorted(path.name for path in Path("checkpoints").iterdir()) == ["book", "book-2"]


def test_an_unfinished_run_can_be_left_alone(book: str) -> None:
    run(book, steps=60, stop=5)
    asked: list[UnfinishedRun] = []

    def refuse(found: UnfinishedRun) -> bool:
        asked.append(found)
        return False

    settings = {**SMALL, "steps": 60}
    list(start_run([book], settings, should_stop=stop_after(5), should_continue=refuse))

    assert [(found.run.name, found.step) for found in asked] == [("book", 5)]
    assert sorted(path.name for path in Path("checkpoints").iterdir()) == ["book", "book-2"]


def test_a_named_run_continues_under_its_name(book: str) -> None:
    run(book, steps=60, name="mine", stop=5)
    reports = run(book, steps=60, name="mine", stop=5)

    assert reports[-1].finished.step == 10  # type: ignore[union-attr]


# Damage


def test_a_damaged_state_is_named_and_the_one_before_continues(book: str) -> None:
    run(book, steps=90, eval_every=30, name="uncut")
    run(book, steps=90, eval_every=30, stop=70, name="cut")
    folder = RunFolder(Path("checkpoints/cut"))
    newest = folder.states[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    reports = run(None, resume="cut")

    opened = reports[1]
    assert isinstance(opened, Opened)
    assert [(each.path, each.step) for each in opened.damaged] == [(newest, 70)]
    assert opened.resumed_step == 60
    assert steps_of(folder.path) == steps_of(Path("checkpoints/uncut"))
    assert [path.name for path in folder.states] == ["step-90.safetensors", "step-60.safetensors"]
    assert newest.with_name("step-70.safetensors.damaged").exists()


def test_a_damaged_best_model_is_named_and_replaced(book: str) -> None:
    run(book, steps=60, eval_every=20, stop=30)
    folder = RunFolder(Path("checkpoints/book"))
    folder.best.write_bytes(b"nothing of what it was")
    reports = run(None, resume="book")

    assert [each.path for each in reports[1].damaged] == [folder.best]  # type: ignore[union-attr]
    assert read_model(folder.best).summary["step"] in (40, 60)


def test_more_states_are_kept_where_asked_for(book: str) -> None:
    run(book, steps=60, eval_every=10, keep_checkpoints=4)

    names = [path.name for path in RunFolder(Path("checkpoints/book")).states]
    assert names == [f"step-{step}.safetensors" for step in (60, 50, 40, 30)]


def test_a_disk_without_room_is_refused_before_there_is_a_folder(
    book: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(StorageError, match=r"what this run keeps needs 1\.\d MB, .* 1\.0 MB free"):
        run(book, steps=6)

    assert not Path("checkpoints").exists()


def test_a_run_that_diverges_names_its_best_model(
    book: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = CharRNN.loss_sum

    def poisoned(self: CharRNN, *args: Any) -> Any:
        nats, state = honest(self, *args)
        return nats * (math.nan if len(STEPS) - first > 25 else 1.0), state

    first = len(STEPS)
    monkeypatch.setattr(CharRNN, "loss_sum", poisoned)
    with pytest.raises(DivergedError, match=r"; the best model before that is .*best\.safetensors"):
        run(book, steps=60, eval_every=20)

    logged = map(json.loads, Path("checkpoints/book/metrics.jsonl").read_text().splitlines())
    kinds = [line["kind"] for line in logged if line["event"] == "incident"]
    assert kinds == [*["dropped"] * 3, "rollback"] * 3 + ["dropped"] * 3


# A state from somebody else


FORGERIES: list[Any] = [None, -1, 10**15, 1e300, "x", [], [1, 2, 3], {}, {"step": -5}, True]


def forge(run: RunFolder, **progress: Any) -> None:
    """Write the run's only state anew, well signed, with something in `progress` changed."""
    model, _ = run.read_state()
    for path in run.states[1:]:
        path.unlink()
    assert model.progress is not None
    forged = replace(model, progress=model.progress | progress)
    run.states[0].write_bytes(pack_model(forged))


def test_a_forged_state_continues_or_is_refused_and_nothing_else(book: str) -> None:
    run(book, steps=40, eval_every=10, stop=15)
    folder = RunFolder(Path("checkpoints/book"))
    honest = folder.states[0].read_bytes()
    model, _ = folder.read_state()
    refused = continued = 0
    for key in model.progress or {}:
        for value in FORGERIES:
            folder.states[0].write_bytes(honest)
            forge(folder, **{key: value})
            try:
                reports = start_run([], {"resume": "book", "threads": 1}, should_stop=lambda: True)
                list(reports)
                continued += 1
            except CharRNNError as error:
                assert str(error).isprintable()  # noqa: PT017
                refused += 1
            for path in folder.states:
                path.unlink()
            (folder.path / "step-15.safetensors").write_bytes(honest)

    assert refused > 100
    assert continued > 10
