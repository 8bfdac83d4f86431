"""Models that a run learns from: which are taken, what a run keeps of them, and how it goes on."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.errors import CharRNNError, ConfigError
from charrnn.tasks.train import Opened, start_run
from charrnn.training.world import World

SMALL = {"hidden_size": 8, "steps": 4, "eval_every": 2, "batch_size": 4, "threads": 1}
TEXT = "The cat sat on the mat.\nA hat, a bat!\nThat is that.\n" * 30


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a text and a teacher."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(TEXT)
    run("book.txt", name="one", seed=1)
    return tmp_path


def run(*corpus: str, stop: int | None = None, **settings: Any) -> list[Any]:
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return stop is not None and asked > stop

    return list(start_run(corpus, SMALL | settings, should_stop=should_stop))


def weights_of(name: str) -> Any:
    return read_model(RunFolder(Path("checkpoints") / name).best).weights


def assert_same(one: Any, other: Any) -> None:
    for name in one:
        assert np.array_equal(one[name], other[name]), name


def test_a_run_says_from_which_models_it_learns_and_keeps_their_names() -> None:
    run("book.txt", name="two", seed=2)
    opened = run("book.txt", name="student", distill_from=("one", "two"))[1]
    assert isinstance(opened, Opened)
    assert opened.teachers == ("one", "two")
    summary = read_model(RunFolder(Path("checkpoints/student")).best).summary
    assert summary["settings"]["distill_from"] == ["one", "two"]


def test_another_teacher_makes_another_network() -> None:
    run("book.txt", name="two", seed=2)
    for name, teachers in (("a", ("one",)), ("b", ("two",)), ("c", ("one",)), ("d", ())):
        run("book.txt", name=name, distill_from=teachers)

    assert_same(weights_of("a"), weights_of("c"))
    for other in ("b", "d"):
        assert not np.array_equal(
            weights_of("a")["output.weight"], weights_of(other)["output.weight"]
        )


def test_a_stopped_run_goes_on_with_its_teachers() -> None:
    run("book.txt", name="whole", distill_from=("one",))
    run("book.txt", name="cut", distill_from=("one",), stop=2)
    again = run(resume="cut")

    assert again[1].teachers == ("one",)
    assert_same(weights_of("whole"), weights_of("cut"))


def test_the_same_command_finds_its_unfinished_run() -> None:
    run("book.txt", distill_from=("one",), stop=2)
    assert not run("book.txt", name="alone")[1].is_found
    assert run("book.txt", distill_from=("one",))[1].is_found


def test_a_resumed_run_keeps_its_teachers() -> None:
    run("book.txt", name="student", distill_from=("one",), stop=2)
    with pytest.raises(ConfigError, match=r"distill_from of run 'student' is .* and cannot"):
        run(resume="student", distill_from=("two",))


def test_records_are_written_too() -> None:
    run("book.txt", name="lines", lines=True)
    run("book.txt", name="student", lines=True, distill_from=("lines",))
    assert "labels.weight" not in weights_of("student")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lowercase": True}, "model 'one' has another vocabulary than book; distill_from takes"),
        ({"batch_size": 1}, "give batch_size=2 or more"),
        ({"task": "tagging", "tags": "spaces"}, "this run is for tagging; leave it out"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run("book.txt", **{"distill_from": ("one",)} | settings)


def test_labels_and_teachers_are_refused() -> None:
    rows = [f"{'abc'[k % 3]}\tthe {['cat', 'hat', 'mat'][k % 3]} sat on it" for k in range(60)]
    Path("rows.tsv").write_text("\n".join(rows) + "\n")
    settings = {"text_column": "2", "label_column": "1", "header": False}
    with pytest.raises(ConfigError, match="for texts without labels"):
        run("rows.tsv", distill_from=("one",), **settings)


def test_several_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match="trains in one process; start it without torchrun"):
        list(start_run(["book.txt"], SMALL | {"distill_from": ("one",)}, world=World(0, 2)))


def test_a_teacher_that_is_not_there_is_named() -> None:
    with pytest.raises(CharRNNError, match="twelve"):
        run("book.txt", distill_from=("twelve",))


def test_a_run_in_another_folder_finds_its_teachers_when_it_goes_on() -> None:
    run("book.txt", name="one", checkpoints="runs", seed=1)
    run("book.txt", name="student", checkpoints="runs", distill_from=("one",), stop=2)
    again = run(resume="runs/student")

    assert again[1].teachers == ("one",)


def test_a_run_whose_teacher_is_gone_says_so() -> None:
    run("book.txt", name="student", distill_from=("one",), stop=2)
    Path("checkpoints/one").rename("gone")
    with pytest.raises(CharRNNError, match=r"run 'student' learns from one: .*'one'"):
        run(resume="student")


def test_a_resumed_run_may_name_its_own_teachers_and_no_new_ones() -> None:
    run("book.txt", name="student", distill_from=("one",), stop=2)
    with pytest.raises(ConfigError, match="continues with the teachers that it has"):
        run(resume="student", teachers=2)
    assert run(resume="student", distill_from=("one",))[1].teachers == ("one",)


def test_a_run_with_teachers_is_repeated_by_its_settings() -> None:
    run("book.txt", name="student", distill_from=("one",), written_lanes=3)
    resolved = tomllib.loads(Path("checkpoints/student/resolved.toml").read_text())
    assert resolved["written_lanes"] == 3
    settings = {key: value for key, value in resolved.items() if key != "corpus"}
    list(start_run(["book.txt"], settings | {"name": "again"}))

    assert_same(weights_of("student"), weights_of("again"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"written_lanes": 2}, "this one does not; leave it out"),
        ({"written_lanes": 4, "distill_from": ("one",)}, "leaves none of 4 lanes for the text"),
    ],
)
def test_lanes_of_what_is_written_need_teachers_and_leave_some(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run("book.txt", **settings)


def test_an_epoch_is_one_of_the_text() -> None:
    *_, last = run("book.txt", distill_from=("one",), steps=None, epochs=2)
    assert last.finished.epochs == pytest.approx(2, abs=0.1)
    with pytest.raises(ConfigError, match="epochs=4"):
        list(start_run([], {"resume": "book"}))
