"""A run can be described and repeated: the settings in force, and how its length came about."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile, describe_model, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import TextConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.tasks import machine_speeds
from charrnn.tasks.machine_speeds import read_speeds, save_speeds
from charrnn.tasks.train import RunReport, start_run
from charrnn.training import calibration, clock, loop
from tests.training.small_runs import SMALL, STEPS, stop_after

pytestmark = pytest.mark.usefixtures("counted_steps")

UNSET = {  # of a run by steps, on running text
    *("budget", "epochs", "length_history", "document_end", "val_file", "text_column", "header"),
    *("label", "label_regex", "label_column", "group_column", "label_size"),
    *("target_file", "val_target_file", "tags", "restore"),
    *("parameters", "max_norm_input", "max_norm_recurrent", "max_norm_output", "sample_prompt"),
    "written_lanes",
    "weight_decay_ngrams",  # the text is too short for n-grams
}


def run(stop: int | None = None, **settings: Any) -> list[RunReport]:
    """Train on book.txt to the end, or for `stop` steps."""
    should_stop = stop_after(stop) if stop else lambda: False
    return list(
        start_run([] if "resume" in settings else ["book.txt"], settings, should_stop=should_stop)
    )


def resolved(name: str) -> dict[str, Any]:
    """Return what a run's resolved.toml holds."""
    return tomllib.loads(Path("checkpoints", name, "resolved.toml").read_text())


def repeat(name: str, **settings: Any) -> ModelFile:
    """Train by a run's resolved.toml; return the best model."""
    given = resolved(name)
    given.pop("corpus")
    run(**given, name="again", **settings)
    return best("again")


def best(name: str) -> ModelFile:
    """Return a run's best model."""
    return read_model(RunFolder(Path("checkpoints", name)).best)


def have_same_weights(one: ModelFile, other: ModelFile) -> bool:
    """Return whether two models are equal bit for bit."""
    return all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.fixture
def unsteady(book: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Stand beside book.txt on a machine whose steps get slower: a budget's length changes."""

    class Seconds:
        def perf_counter(self) -> float:
            return len(STEPS) * 0.01 + max(0, len(STEPS) - 60) * 0.01

    monkeypatch.setattr(clock, "time", Seconds())
    monkeypatch.setattr(calibration, "measure_step", lambda *_: 0.01)
    return book


def test_a_run_by_budget_is_repeated_bit_for_bit_by_its_resolved_settings(unsteady: str) -> None:
    run(**SMALL, budget="1.5s", eval_every=20, name="first")
    first = best("first")
    history = resolved("first")["length_history"]
    again = repeat("first")

    assert len(history.split()) > 1, "the length changed on the way"
    assert have_same_weights(first, again)
    assert first.summary["val_nats"] == again.summary["val_nats"]
    assert resolved("again") == resolved("first")


def test_a_run_that_was_stopped_and_resumed_is_repeated_too(unsteady: str) -> None:
    run(**SMALL, budget="1.5s", eval_every=20, name="first", stop=25)
    run(resume="first")

    assert have_same_weights(best("first"), repeat("first"))


def test_a_run_on_a_text_too_short_for_n_grams_is_repeated_whatever_their_decay(book: str) -> None:
    settings = SMALL | {"ngram_order": None, "ngram_rows": None}
    run(steps=5, name="first", weight_decay_ngrams=0.5, **settings)

    assert not best("first").config.ngram_rows
    assert have_same_weights(best("first"), repeat("first"))


def test_a_repetition_may_be_stopped_and_resumed(unsteady: str) -> None:
    run(**SMALL, budget="1.5s", eval_every=20, name="first")
    repeat_settings = {k: v for k, v in resolved("first").items() if k != "corpus"}
    run(**repeat_settings, name="again", stop=70)
    run(resume="again")

    assert have_same_weights(best("first"), best("again"))


def test_a_repetition_that_was_killed_is_resumed_with_all_its_changes(unsteady: str) -> None:
    run(**SMALL, budget="1.5s", eval_every=20, name="first")
    settings = {k: v for k, v in resolved("first").items() if k != "corpus"}
    change = int(settings["length_history"].split()[1].split(":")[0])
    end = len(STEPS) + change + 3

    def kill() -> bool:  # nothing is saved then
        if len(STEPS) >= end:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        list(start_run(["book.txt"], {**settings, "name": "again"}, should_stop=kill))
    run(resume="again")

    assert have_same_weights(best("first"), best("again"))


def test_a_run_without_a_held_out_part_is_repeated_too(
    unsteady: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_SNAPSHOT_SECONDS", 0.0)  # a save is an evaluation there
    run(**SMALL, budget="1.5s", val_fraction=0.0, name="first")
    monkeypatch.setattr(loop, "_SNAPSHOT_SECONDS", 60.0)

    assert have_same_weights(best("first"), repeat("first"))


@pytest.mark.parametrize("changed", [{"eval_every": 17}, {"patience": 1}, {"learning_rate": 0.001}])
def test_a_run_continued_with_another_setting_says_that_it_is_not_repeated(
    changed: dict[str, Any], book: str
) -> None:
    run(**SMALL, steps=6, name="first", stop=3)
    run(resume="first", **changed, stop=1)
    run(resume="first")  # as if nothing had been

    assert "not the same" in Path("checkpoints/first/resolved.toml").read_text().splitlines()[0]


def test_a_stopped_run_resumed_by_its_own_resolved_settings_ends(unsteady: str) -> None:
    run(**SMALL, budget="1.5s", eval_every=20, name="first", stop=45)
    settings = resolved("first")
    lengths = {name: settings[name] for name in ("steps", "length_history")}
    *_, last = run(resume="first", **lengths)

    assert last.finished.step == settings["steps"]  # type: ignore[union-attr]


def test_a_repetition_resumed_with_the_same_number_of_steps_is_still_one(unsteady: str) -> None:
    run(**SMALL, budget="1.5s", eval_every=20, name="first")
    settings = {k: v for k, v in resolved("first").items() if k != "corpus"}
    run(**settings, name="again", stop=18)
    run(resume="again", steps=settings["steps"])

    assert have_same_weights(best("first"), best("again"))


def test_the_first_line_says_what_cannot_be_repeated(book: str) -> None:
    run(**SMALL, budget="9h", name="early", stop=1)
    run(**SMALL, steps=9, name="stopped", stop=3)
    list(start_run([], {**SMALL, "steps": 3, "name": "text"}, texts=["abcdef " * 99]))
    first = {
        name: Path("checkpoints", name, "resolved.toml").read_text().splitlines()[0]
        for name in ("early", "stopped", "text")
    }

    assert "stopped before its number of steps was known" in first["early"]
    assert first["stopped"].endswith("bit for bit; it was stopped after step 3")
    assert "its text is in no file" in first["text"]


def test_the_split_in_force_is_described(book: str) -> None:
    run(**SMALL, steps=2, name="first")

    assert resolved("first")["split"] == "tail"


def test_the_length_changes_are_reported_and_logged(unsteady: str) -> None:
    reports = run(**SMALL, budget="1.5s", eval_every=20, name="first")
    lines = map(json.loads, Path("checkpoints/first/metrics.jsonl").read_text().splitlines())
    events = [line for line in lines if line["event"] in ("started", "length")]
    told = [vars(each) for each in reports if type(each).__name__ == "Length"]

    assert events[0]["event"] == "started"
    assert events[0]["plan"]["model"]["hidden_size"] == 6
    assert [{k: v for k, v in each.items() if k != "event"} for each in events[1:]] == told
    assert told[-1]["total_steps"] == resolved("first")["steps"]


def test_every_setting_in_force_is_described(book: str) -> None:
    run(steps=3, num_layers=1, hidden_size=6, name="chosen", device="cpu")
    description = describe_model(best("chosen"))
    settings = description["resolved"]
    names = {item.name for cls in (TextConfig, TrainConfig) for item in fields(cls)}

    assert settings.keys() >= names
    assert {name for name in names if settings[name] is None} <= UNSET
    assert settings["steps"] == 3
    assert settings["learning_rate"] > 0
    assert settings["precision"] in ("fp32", "bf16")
    assert {"corpus": ["book.txt"]} | {k: v for k, v in settings.items() if v is not None} == (
        resolved("chosen")
    )


def test_before_a_budget_has_become_steps_the_budget_is_what_is_in_force(book: str) -> None:
    run(**SMALL, budget="9h", name="long", stop=1)

    assert best_or_state("long").summary["resolved"]["budget"] == "9h"


def best_or_state(name: str) -> ModelFile:
    """Return a run's model, whether it was evaluated or not."""
    return read_model(RunFolder(Path("checkpoints", name)).model)


def test_a_run_continued_with_another_length_says_that_it_is_not_repeated(book: str) -> None:
    run(**SMALL, steps=4, name="first")
    run(resume="first", steps=8)
    text = Path("checkpoints/first/resolved.toml").read_text()

    assert "makes one like it, not the same: it was rolled back" in text.splitlines()[0]
    assert resolved("first")["steps"] == 8


@pytest.mark.parametrize("text", ["", "1:2", "a:b:c", "3:9:1 2:9:1", "1:9:1,2:9:1", "9:9:1"])
def test_a_malformed_history_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="length_history is"):
        TrainConfig(steps=9, length_history=text)


@pytest.mark.parametrize("length", [{"steps": 8}, {"budget": "9s"}, {}])
def test_a_history_belongs_to_its_number_of_steps(length: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="length_history ends with 9 steps; give steps=9"):
        TrainConfig(**length, length_history="1:9:3")


def test_a_busy_machine_chooses_the_sizes_of_a_quiet_one(
    book: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("book.txt").write_text("The quick brown fox jumps over the lazy dog.\n" * 2000)
    sizes = []
    for speed in (2.0, 0.1, 1.9, 0.3):
        monkeypatch.setattr(calibration, "measure_speed", lambda *_, speed=speed: speed)
        started = start_run(["book.txt"], {"budget": "20s", "dropout": 0.0, "threads": 1})
        report = next(each for each in started if type(each).__name__ == "Started")
        sizes.append(report.plan.model.hidden_size)  # type: ignore[union-attr]
        assert report.plan.machine_speed == 2.0  # type: ignore[union-attr]
        started.close()  # type: ignore[attr-defined]

    assert sizes == [256] * 4


def test_a_faster_measurement_is_kept(tmp_path: Path) -> None:
    save_speeds({"layer": 1.5})

    assert read_speeds() == {"layer": 1.5}


def test_another_machine_measures_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    save_speeds({"layer": 1.5})
    monkeypatch.setattr(machine_speeds, "_machine", lambda: "another")

    assert read_speeds() == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"ME": 1}',
        "\xff",
        *(
            f'{{"ME": {{"layer": {speed}}}}}'
            for speed in ('"fast"', "true", "-1.0", "1e999", "NaN", "1")
        ),
        "[" * 100_000,
    ],
)
def test_a_damaged_file_of_speeds_is_no_obstacle(text: str, tmp_path: Path) -> None:
    path = tmp_path / "charrnn-cache" / "speeds.json"
    path.parent.mkdir()
    path.write_text(text.replace("ME", machine_speeds._machine()), encoding="latin-1")

    assert read_speeds() == {}
    save_speeds({"layer": 1.5})
    assert read_speeds() == {"layer": 1.5}


def test_a_pipe_in_the_place_of_the_file_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "charrnn-cache" / "speeds.json"
    path.parent.mkdir()
    os.mkfifo(path)

    assert read_speeds() == {}


def test_two_runs_at_once_keep_the_higher_speed() -> None:
    save_speeds({"layer": 3.0, "other": 1.0})
    save_speeds({"layer": 1.4})

    assert read_speeds() == {"layer": 3.0, "other": 1.0}


def test_a_folder_that_cannot_be_made_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "file" / "cache"))
    save_speeds({"layer": 1.5})

    assert read_speeds() == {}
