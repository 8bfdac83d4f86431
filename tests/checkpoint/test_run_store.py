"""Holds the run folder to its word: names are safe, runs are found, and a run can go on."""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.checkpoint.model_file import ModelFile, pack_model, read_model
from charrnn.checkpoint.run_folder import DamagedState, RunFolder, format_toml
from charrnn.checkpoint.run_store import (
    claim_run,
    find_model,
    find_run,
    list_runs,
    remove_run,
    summarise_run,
)
from charrnn.errors import CheckpointError, ConfigError, RunLockedError, StorageError

BAD_NAMES = ["", ".", "..", "../x", "a/b", "/a", "a\\b", ".hidden", "-x", " a", "a ", "a\n", "a\0b"]
BAD_NAMES += ["a:b", "a*", "a?", 'a"', "a|b", "<a>", "\x7f", "\x1b[31m", "x" * 201]
BAD_NAMES += ["aux", "CON", "nul.txt", "com1", "a."]

MakeModel = Callable[..., ModelFile]
MakeRun = Callable[..., RunFolder]


@pytest.fixture
def make_run(tmp_path: Path, make_model: MakeModel) -> MakeRun:
    """Return a function that makes a run with a best model and a state.

    seconds: when it was written, since 1970; None for now.
    """

    def make(name: str, seconds: int | None = None, **settings: Any) -> RunFolder:
        model = make_model(**settings)
        with claim_run(tmp_path / "checkpoints", name, "book") as run:
            run.save_best(model)
            run.save_state(model, model.summary["step"], kept=2)
        if seconds is not None:
            os.utime(run.best, (seconds, seconds))
        return run

    return make


def error_of(name: str | None, checkpoints: Path) -> str:
    """Return the message of the CheckpointError that looking for a model ends in."""
    with pytest.raises(CheckpointError) as caught:
        find_model(name, checkpoints)
    return caught.value.message


# Names


def claim(checkpoints: Path, name: str | None = None) -> RunFolder:
    """Claim a run and save its settings alone, as one does that ends before its first save."""
    with claim_run(checkpoints, name, "book") as run:
        run.save_settings({"steps": 3})
    return run


def test_a_run_is_named_after_its_corpus_and_the_next_is_numbered(
    tmp_path: Path, make_model: MakeModel
) -> None:
    names = []
    for _ in range(3):
        with claim_run(tmp_path, None, "book") as run:
            run.save_state(make_model(), 7, kept=2)
        names.append(run.name)

    assert names == ["book", "book-2", "book-3"]


def test_a_number_that_became_free_is_taken_again(tmp_path: Path) -> None:
    for number in ("", "-3"):
        (tmp_path / f"book{number}").mkdir()
        (tmp_path / f"book{number}" / "best.safetensors").touch()

    assert claim(tmp_path).name == "book-2"


def test_a_name_is_not_free_while_its_owner_reads_the_text(tmp_path: Path) -> None:
    with ExitStack() as held:
        names = [held.enter_context(claim_run(tmp_path, None, "book")).name for _ in range(3)]

    assert names == ["book", "book-2", "book-3"]


@pytest.mark.parametrize("name", ["mine", None])
def test_a_claim_without_a_save_leaves_nothing(tmp_path: Path, name: str | None) -> None:
    with claim_run(tmp_path, name, "book") as run:
        assert run.path.is_dir()

    assert list(tmp_path.iterdir()) == []


def test_the_name_of_a_killed_claim_is_free(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    for name in (".lock", ".holder", "..holder.0123456789ab"):
        (tmp_path / "book" / name).touch()

    assert claim(tmp_path).name == "book"


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_a_file_or_folder_that_is_not_a_run_is_left_alone(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    if make is Path.mkdir:
        (tmp_path / "book").mkdir()
        (tmp_path / "book" / "diary.txt").touch()
    else:
        (tmp_path / "book").touch()

    assert claim(tmp_path).name == "book-2"


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("War and Peace", "War-and-Peace"),
        ("a/../b", "a-b"),
        ("红楼梦", "红楼梦"),
        (".hidden", "hidden"),
        ("v1.2", "v1-2"),
        ("", "run"),
        ("...", "run"),
        ("\x1b[31m", "31m"),
        ("x" * 99, "x" * 80),
    ],
)
def test_any_corpus_gives_a_plain_name(tmp_path: Path, corpus: str, name: str) -> None:
    with claim_run(tmp_path / "runs", None, corpus) as run:
        assert run.path == tmp_path / "runs" / name
        assert run.path.is_dir()


@pytest.mark.parametrize("name", ["war-and-peace", "v1.2", "红楼梦", "a b", "x" * 200, "_"])
def test_a_name_that_is_given_is_kept(tmp_path: Path, name: str) -> None:
    assert claim(tmp_path, name).path == tmp_path / name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_an_invalid_folder_name_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{name!r} cannot name a run; use letters")):
        claim(tmp_path / "runs", name)

    assert list(tmp_path.iterdir()) == []


def test_a_taken_name_is_refused_with_both_options(make_run: MakeRun) -> None:
    run = make_run("mine")
    with pytest.raises(
        ConfigError, match=r"'mine'.* already; continue it with resume=.mine.,.* name"
    ):
        claim(run.path.parent, "mine")


@pytest.mark.parametrize("name", ["mine", None])
def test_a_run_that_saved_nothing_gives_its_name_free(tmp_path: Path, name: str | None) -> None:
    assert claim(tmp_path, name) == claim(tmp_path, name)


def test_a_name_that_is_being_claimed_is_locked(tmp_path: Path) -> None:
    with (
        claim_run(tmp_path, "mine", "book"),
        pytest.raises(RunLockedError, match=rf"process {os.getpid()} on host"),
    ):
        claim(tmp_path, "mine")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("not a folder")
    for name in ("mine", None):
        with pytest.raises(StorageError, match=r"cannot make .*checkpoints"):
            claim(tmp_path / "checkpoints", name)


# Replacing


def test_a_run_that_a_killed_process_set_aside_is_put_back(make_run: MakeRun) -> None:
    run = make_run("mine")
    run.path.rename(run.replaced)
    run.path.mkdir()
    run.save_settings({"steps": 3})
    (run.path / "best.safetensors").write_bytes(b"of the run that was to replace it")
    assert [each.name for each in list_runs(run.path.parent)] == ["mine"]
    with pytest.raises(
        ConfigError, match=r"resume=.mine., replace it with overwrite=True, or give"
    ):
        claim(run.path.parent, "mine")

    assert not run.replaced.exists()
    assert read_model(run.best).summary["step"] == 7
    assert run.step == 7


def test_a_run_that_was_replaced_by_a_killed_process_is_removed(make_run: MakeRun) -> None:
    old = make_run("mine")
    old.path.rename(old.replaced)
    (old.path.parent / "mine").mkdir()
    new = RunFolder(old.path)
    (old.path / "step-9.safetensors").write_bytes(
        (old.replaced / "step-7.safetensors").read_bytes()
    )
    with pytest.raises(ConfigError, match="already"):
        claim(old.path.parent, "mine")

    assert not old.replaced.exists()
    assert new.step == 9


def test_a_run_that_was_set_aside_is_named_where_it_is_missed(make_run: MakeRun) -> None:
    run = make_run("mine")
    run.path.rename(run.replaced)

    assert str(run.replaced) in error_of("mine", run.path.parent)
    assert list_runs(run.path.parent) == []
    assert find_model(str(run.replaced), run.path.parent).parent == run.replaced


def test_a_folder_with_other_files_is_not_replaced(make_run: MakeRun) -> None:
    run = make_run("mine")
    (run.path / "step-3.safetensors.damaged").touch()
    (run.path / "diary.txt").write_text("mine")
    with (
        pytest.raises(ConfigError, match=r"holds 'diary.txt', which no run writes; move it"),
        claim_run(run.path.parent, "mine", "book", overwrite=True),
    ):
        pass

    assert (run.path / "diary.txt").read_text() == "mine"
    assert not run.replaced.exists()


def test_a_name_without_a_run_may_be_overwritten(tmp_path: Path) -> None:
    with claim_run(tmp_path, "mine", "book", overwrite=True) as run:
        assert run.path == tmp_path / "mine"


# Normal forms

NFC = "caf\u00e9"
NFD = "cafe\u0301"


@pytest.mark.parametrize("given", [NFC, NFD])
@pytest.mark.parametrize("stored", [NFC, NFD])
def test_a_name_is_one_run_in_either_normal_form(
    make_run: MakeRun, given: str, stored: str
) -> None:
    checkpoints = make_run("other").path.parent
    run = make_run(NFC)
    assert run.path.name == NFC
    run.path.rename(checkpoints / stored)
    run = RunFolder(checkpoints / stored)

    assert find_run(given, checkpoints) == run
    assert find_run(str(checkpoints / given), Path("nowhere")) == run
    assert find_model(str(checkpoints / given / "best.safetensors"), Path("nowhere")) == run.best
    assert {each.name for each in list_runs(checkpoints)} == {NFC, "other"}
    with pytest.raises(ConfigError, match="already"):
        claim(checkpoints, given)


@pytest.mark.parametrize("given", [NFC, NFD])
def test_a_new_run_is_named_in_one_form(tmp_path: Path, given: str) -> None:
    with claim_run(tmp_path, None, given) as run:
        assert run.path.name == NFC
    assert claim(tmp_path, given).path.name == NFC


def test_a_corpus_name_in_the_other_form_takes_no_folder_that_looks_taken(tmp_path: Path) -> None:
    (tmp_path / NFD).mkdir()
    (tmp_path / NFD / "best.safetensors").touch()

    assert claim_run(tmp_path, None, NFC).__enter__().name == f"{NFC}-2"


def test_a_long_name_is_not_quoted_whole(tmp_path: Path) -> None:
    assert len(error_of("It was the best of times. " * 200, tmp_path)) < 300


# Finding


@pytest.mark.parametrize("where", ["mine", "checkpoints/mine", "checkpoints/mine/"])
def test_a_run_is_found_by_name_and_by_folder(
    make_run: MakeRun, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("mine")
    monkeypatch.chdir(run.path.parent.parent)

    assert find_model(where, Path("checkpoints")).resolve() == run.best
    assert find_run(where, Path("checkpoints")).path.resolve() == run.path


@pytest.mark.parametrize("file", ["best.safetensors", "step-7.safetensors"])
def test_a_file_of_a_run_is_that_file_and_means_that_run(make_run: MakeRun, file: str) -> None:
    run, elsewhere = make_run("mine"), Path("nowhere")

    assert find_model(str(run.path / file), elsewhere) == run.path / file
    assert find_run(str(run.path / file), elsewhere) == run


def test_a_model_file_needs_no_run(tmp_path: Path, make_model: MakeModel) -> None:
    (tmp_path / "gift.safetensors").write_bytes(pack_model(make_model()))
    name = str(tmp_path / "gift.safetensors")

    assert find_model(name, tmp_path / "none") == Path(name)


def test_before_the_first_evaluation_the_newest_state_is_the_model(
    make_run: MakeRun, make_model: MakeModel
) -> None:
    run = make_run("mine", step=7)
    run.save_state(make_model(step=10), 10, kept=2)
    run.best.unlink()

    assert find_model("mine", run.path.parent) == run.path / "step-10.safetensors"
    assert find_model(None, run.path.parent) == run.path / "step-10.safetensors"


def test_a_run_without_any_model_names_the_best_one(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "none").model == tmp_path / "none" / "best.safetensors"


def test_without_a_name_the_run_written_last_is_meant(make_run: MakeRun) -> None:
    for name, seconds in (("a", 1000), ("c", 3000), ("b", 2000)):
        run = make_run(name, seconds)

    assert find_model(None, run.path.parent) == run.path.parent / "c" / "best.safetensors"


def test_without_any_run_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert error_of(None, folder) == (
            f"no runs in {folder}. Runs are kept in the folder where you ran train: cd there, or "
            "pass --checkpoints FOLDER. To make one: charrnn train corpus.txt"
        )


def test_a_near_miss_is_answered_with_the_name_that_exists(make_run: MakeRun) -> None:
    run = make_run("shakespeare")

    assert error_of("shakespere", run.path.parent).endswith("did you mean 'shakespeare'?")
    assert error_of("quixote", run.path.parent).endswith("charrnn list shows the runs")


@pytest.mark.parametrize("name", ["", "..", "none/best.safetensors", "a\0b", "book.txt"])
def test_a_name_without_a_model_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")

    assert f"there is no run or model file {name!r}" in error_of(name, Path("checkpoints"))


# Lists


def test_a_run_whose_state_is_replaced_while_it_is_looked_at_has_a_model(
    three_states: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest, exists = three_states.model, Path.exists

    def replaced(path: Path) -> bool:
        if path == newest and exists(newest):
            newest.rename(newest.with_name("step-99.safetensors"))
        return exists(path)

    monkeypatch.setattr(Path, "exists", replaced)

    assert three_states.has_model
    assert three_states.model.name == "step-99.safetensors"


def test_runs_are_listed_from_the_newest_without_other_files(make_run: MakeRun) -> None:
    for name, seconds in (("a", 1000), ("c", 3000), ("b", 2000), ("d", 2000)):
        run = make_run(name, seconds)
    (run.path.parent / "empty").mkdir()
    (run.path.parent / "README.md").write_text("text")

    assert [each.name for each in list_runs(run.path.parent)] == ["c", "d", "b", "a"]


def test_a_folder_that_does_not_exist_has_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == []


def test_a_run_is_summarised_by_its_model_and_best_figures(make_run: MakeRun) -> None:
    run = make_run("mine", step=3, val_nats=1.25)

    assert summarise_run(run) == {
        "name": "mine",
        "corpus": "book",
        "model": "lstm 2×4",
        "parameters": read_model(run.best).config.num_parameters,
        "step": 3,
        "val_bpc": pytest.approx(1.8033688),
        "scores": {},
        "created": "2031-02-03T04:05:06+00:00",
        "last_step": 3,
        "total_steps": None,
        "is_finished": False,
        "elapsed_seconds": None,
        "saved": "2031-02-03T04:05:06+00:00",
        "task": "text",
        "cell": "lstm",
        "disk_bytes": sum(path.stat().st_size for path in run.path.iterdir()),
    }


def test_a_removed_run_leaves_nothing(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("mine", step=3, val_nats=1.25)
    other = make_run("other", step=3, val_nats=1.25)
    before = run.path.with_name(".mine.removed")  # what a killed removal left
    before.mkdir()

    remove_run(run)

    assert list(other.path.parent.iterdir()) == [other.path]


def test_on_windows_no_folder_is_moved_with_its_lock_open(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("mine", step=3, val_nats=1.25)
    rename = Path.rename
    moved: list[str] = []

    def rename_closed(path: Path, target: Path) -> Path:
        if path.is_dir():
            with RunFolder(path).lock():  # nobody else has it
                moved.append(target.name)
            (path / ".lock").unlink()
        return rename(path, target)

    monkeypatch.setattr("charrnn.checkpoint.run_store._IS_WINDOWS", True)
    monkeypatch.setattr(Path, "rename", rename_closed)
    with claim_run(run.path.parent, "mine", "book", overwrite=True):
        pass
    assert run.has_model
    remove_run(run)

    assert moved == [".mine.replaced", "mine", ".mine.removed"]


def test_what_killed_removals_left_goes_with_the_next_one(make_run: MakeRun) -> None:
    run = make_run("mine", step=3, val_nats=1.25)
    folder = run.path.parent
    left = make_run("left", step=3, val_nats=1.25)
    left.path.rename(left.removed)
    (folder / ".theirs.removed").mkdir()
    (folder / ".theirs.removed" / "letter.txt").write_text("mine", encoding="utf-8")

    remove_run(run)

    assert [path.name for path in folder.iterdir()] == [".theirs.removed"]


def test_what_a_killed_removal_left_goes_with_a_run_of_that_name(make_run: MakeRun) -> None:
    old = make_run("mine", step=3, val_nats=1.25)
    old.path.rename(old.removed)

    with claim_run(old.path.parent, "mine", "book") as run:
        assert not run.removed.exists()


def test_a_run_with_a_file_of_someone_else_is_not_removed(make_run: MakeRun) -> None:
    run = make_run("mine", step=3, val_nats=1.25)
    (run.path / "notes.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(ConfigError, match="which no run writes"):
        remove_run(run)

    assert run.best.exists()


def test_a_run_that_is_trained_is_not_removed(make_run: MakeRun) -> None:
    run = make_run("mine", step=3, val_nats=1.25)

    with run.lock(), pytest.raises(RunLockedError):
        remove_run(run)

    assert run.best.exists()


def test_a_link_to_a_run_is_not_followed(make_run: MakeRun) -> None:
    run = make_run("mine", step=3, val_nats=1.25)
    link = run.path.with_name("link")
    link.symlink_to(run.path, target_is_directory=True)

    with pytest.raises(ConfigError, match="is a link to another place"):
        remove_run(RunFolder(link))

    assert run.best.exists()


@pytest.mark.parametrize("is_finished", [False, True])
def test_the_newest_state_says_how_far_a_run_came(
    make_run: MakeRun, make_model: MakeModel, is_finished: bool
) -> None:
    run = make_run("mine", step=3)
    progress = {"step": 40, "plan": {"total_steps": 200}, "is_finished": is_finished}
    state = replace(make_model(step=40), progress=progress)
    run.save_state(
        replace(state, summary=state.summary | {"elapsed_seconds": 75.5, "created": "today"}), 40, 2
    )
    run.save_state(make_model(step=50), 50, kept=2)
    spoil(run, 50)

    row = summarise_run(run)

    assert (row["step"], row["created"]) == (3, "2031-02-03T04:05:06+00:00")
    assert (row["last_step"], row["total_steps"]) == (40, 200)
    assert (row["is_finished"], row["elapsed_seconds"], row["saved"]) == (
        is_finished,
        75.5,
        "today",
    )


def test_a_summary_reads_no_array_of_a_file(
    make_run: MakeRun, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("mine")
    run.save_state(make_model(step=50), 50, kept=2)
    monkeypatch.setattr("charrnn.checkpoint.container._check_memory", pytest.fail)
    monkeypatch.setattr("charrnn.checkpoint.container._view_arrays", pytest.fail)

    assert "error" not in summarise_run(run)


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_run_says_so_in_a_list(make_run: MakeRun, content: bytes | None) -> None:
    run = make_run("mine")
    run.best.write_bytes(run.best.read_bytes()[:-1] if content is None else content)
    row = summarise_run(run)

    assert row.keys() == {"name", "error"}
    assert row["error"].startswith(f"{run.best} is ")


# Going on


def states(run: RunFolder) -> list[str]:
    return [path.name for path in run.states]


def spoil(run: RunFolder, *steps: int) -> None:
    """Cut the states of these steps short."""
    for step in steps:
        path = run.path / f"step-{step}.safetensors"
        path.write_bytes(path.read_bytes()[:-1])


@pytest.fixture
def three_states(make_run: MakeRun, make_model: MakeModel) -> RunFolder:
    """Make a run with the states of steps 7, 9 and 10."""
    run = make_run("mine", step=7)
    for step in (9, 10):
        run.save_state(make_model(step=step), step, kept=3)
    return run


def test_states_are_listed_by_number_from_the_newest(three_states: RunFolder) -> None:
    for name in ("step-011.safetensors", "step-12", "step--1.safetensors", "step-١.safetensors"):
        (three_states.path / name).touch()

    assert states(three_states) == [f"step-{n}.safetensors" for n in (10, 9, 7)]
    assert states(RunFolder(three_states.path / "none")) == []


@pytest.mark.parametrize(("kept", "left"), [(1, [11]), (2, [11, 10]), (3, [11, 10, 9])])
def test_the_requested_number_of_states_is_kept(
    three_states: RunFolder, make_model: MakeModel, kept: int, left: list[int]
) -> None:
    three_states.save_state(make_model(step=11), 11, kept)

    assert states(three_states) == [f"step-{n}.safetensors" for n in left]


def test_saving_an_earlier_step_removes_later_states_and_keeps_earlier_ones(
    three_states: RunFolder, make_model: MakeModel
) -> None:
    three_states.save_state(make_model(step=8), 8, kept=2)

    assert states(three_states) == ["step-8.safetensors", "step-7.safetensors"]


def test_the_same_step_may_be_saved_again(three_states: RunFolder, make_model: MakeModel) -> None:
    three_states.save_state(make_model(step=10, val_nats=1.25), 10, kept=3)

    assert states(three_states) == [f"step-{n}.safetensors" for n in (10, 9, 7)]
    assert three_states.read_state()[0].summary["val_nats"] == 1.25


def test_an_old_state_stays_until_the_new_one_is_safe(
    three_states: RunFolder, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"cannot write .*step-11.*: Input/output error"):
        three_states.save_state(make_model(step=11), 11, kept=1)

    assert states(three_states) == [f"step-{n}.safetensors" for n in (10, 9, 7)]


def test_an_old_state_that_cannot_be_removed_hurts_nobody(
    three_states: RunFolder, make_model: MakeModel
) -> None:
    (three_states.path / "step-7.safetensors").unlink()
    (three_states.path / "step-7.safetensors").mkdir()
    three_states.save_state(make_model(step=11), 11, kept=1)

    assert states(three_states) == ["step-11.safetensors", "step-7.safetensors"]


def test_the_state_to_resume_from_is_the_newest(three_states: RunFolder) -> None:
    model, damaged = three_states.read_state()

    assert (model.progress, damaged) == ({"step": 10}, [])
    assert read_model(three_states.best).summary["step"] == 7


def test_damaged_states_are_named_and_the_one_before_them_is_taken(
    three_states: RunFolder,
) -> None:
    spoil(three_states, 9, 10)
    model, damaged = three_states.read_state()

    assert model.progress == {"step": 7}
    assert [(each.path, each.step) for each in damaged] == [
        (three_states.path / f"step-{n}.safetensors", n) for n in (10, 9)
    ]
    for each in damaged:
        assert isinstance(each, DamagedState)
        assert each.reason.startswith(f"{each.path} is damaged")


def test_a_state_without_training_arrays_cannot_be_resumed(
    three_states: RunFolder, make_model: MakeModel
) -> None:
    three_states.save_state(replace(make_model(), progress=None, training={}), 11, kept=3)
    model, damaged = three_states.read_state()

    assert model.progress == {"step": 10}
    assert [each.step for each in damaged] == [11]
    assert damaged[0].reason.endswith("step-11.safetensors holds a model but no training state")


def resume_error(run: RunFolder) -> str:
    with pytest.raises(CheckpointError) as caught:
        run.read_state()
    return caught.value.message


def test_a_run_without_states_names_its_best_weights(make_run: MakeRun) -> None:
    run = make_run("mine")
    for path in run.states:
        path.unlink()

    assert resume_error(run) == (
        f"{run.path} has no state to resume from; start a new run, from its best weights: "
        f"charrnn train ... --init-from {run.best}"
    )


def test_a_run_with_only_damaged_states_names_them_and_its_best_weights(
    three_states: RunFolder,
) -> None:
    spoil(three_states, 7, 9, 10)
    message = resume_error(three_states)

    assert message.startswith(f"{three_states.path} has no state to resume from; ")
    for step in (7, 9, 10):
        assert f"step-{step}.safetensors is damaged" in message
    assert message.endswith(f"--init-from {three_states.best}")
    assert "\n" not in message


@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_an_unreadable_best_model_is_not_suggested(
    three_states: RunFolder, content: bytes | None
) -> None:
    spoil(three_states, 7, 9, 10)
    three_states.best.unlink()
    if content is not None:
        three_states.best.write_bytes(content)

    assert resume_error(three_states).endswith("; start a new run")


def test_logs_grow_by_one_entry_at_a_time(make_run: MakeRun) -> None:
    run = make_run("mine")
    for step in (3, 5):
        run.log_metrics({"step": step, "text": "é\n"})
        run.log_sample(step, 1.25, "To bé,\nor not")

    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 3, "text": "é\n"},
        {"step": 5, "text": "é\n"},
    ]
    assert (run.path / "samples.txt").read_text(encoding="utf-8") == (
        "── step 3, val 1.2500 ──\nTo bé,\nor not\n\n── step 5, val 1.2500 ──\nTo bé,\nor not\n\n"
    )


def test_logs_are_cut_back_to_where_they_were(make_run: MakeRun) -> None:
    run = make_run("mine")
    assert run.log_positions() == {"metrics.jsonl": 0, "samples.txt": 0}

    run.log_metrics({"step": 3})
    run.log_sample(3, 1.25, "é")
    positions = run.log_positions()
    before = [(run.path / name).read_bytes() for name in positions]
    run.log_metrics({"step": 5})
    run.log_sample(5, 1.25, "cut")
    run.rewind_logs(positions)

    assert positions == {"metrics.jsonl": 12, "samples.txt": len(before[1])}
    assert [(run.path / name).read_bytes() for name in positions] == before


def test_logs_are_flushed_before_their_sizes_are_used(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    run = make_run("mine")
    run.log_metrics({"step": 3})
    monkeypatch.setattr(os, "fsync", fail)
    for touch in (run.log_positions, lambda: run.rewind_logs({"metrics.jsonl": 3})):
        with pytest.raises(StorageError, match=r"cannot write .*metrics\.jsonl: Input/output"):
            touch()


@pytest.mark.parametrize(
    "positions", [{}, {"metrics.jsonl": 99}, {"../diary.txt": 0}, {"config.toml": 0}]
)
def test_only_a_log_that_is_longer_is_cut(make_run: MakeRun, positions: dict[str, int]) -> None:
    run = make_run("mine")
    run.log_metrics({"step": 3})
    run.save_settings({"steps": 3})
    (run.path.parent / "diary.txt").write_text("mine")
    run.rewind_logs(positions)

    assert run.metrics.read_text() == '{"step": 3}\n'
    assert (run.path / "config.toml").read_text() == "steps = 3\n"
    assert (run.path.parent / "diary.txt").read_text() == "mine"


@pytest.mark.parametrize("size", [-1, True, 1.0, "0", None, [0], math.inf])
def test_an_invalid_size_cuts_nothing(make_run: MakeRun, size: Any) -> None:
    run = make_run("mine")
    run.log_metrics({"step": 3})
    for name in ("metrics.jsonl", "samples.txt"):
        sizes = {"metrics.jsonl": 0, "samples.txt": 0} | {name: size}
        message = (
            f"{run.path} cannot be resumed: {size!r} is not a valid size of {name}; start a new run"
        )
        with pytest.raises(CheckpointError, match=re.escape(message)):
            run.rewind_logs(sizes)

    assert run.metrics.read_text() == '{"step": 3}\n'


def test_a_log_that_cannot_be_written_is_named(make_run: MakeRun) -> None:
    run = make_run("mine")
    run.metrics.mkdir()
    for touch in (run.log_positions, lambda: run.rewind_logs({"metrics.jsonl": 0})):
        with pytest.raises(StorageError, match=r"cannot write .*metrics\.jsonl: Is a directory"):
            touch()


# Leftovers


def test_only_leftovers_of_killed_writers_are_removed(make_run: MakeRun) -> None:
    run = make_run("mine")
    kept = [".hidden", ".best.safetensors.bak", ".gitkeep", ".step-x.safetensors.0123456789ab"]
    leftovers = [
        ".best.safetensors.0123456789ab",
        ".step-12.safetensors.0123456789ab",
        ".config.toml.0123456789ab",
        "..holder.0123456789ab",
    ]
    for name in (*kept, *leftovers):
        (run.path / name).touch()
    with run.lock():
        pass

    there = {path.name for path in run.path.iterdir()}
    assert there == {*kept, ".lock", "best.safetensors", "step-7.safetensors"}


def test_temporary_files_of_a_live_writer_stay(make_run: MakeRun) -> None:
    run = make_run("mine")
    with run.lock():
        (run.path / ".step-12.safetensors.0123456789ab").touch()
        with pytest.raises(RunLockedError), RunFolder(run.path).lock():
            pass
        assert (run.path / ".step-12.safetensors.0123456789ab").exists()


# Settings as TOML


PLAIN = st.text() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), PLAIN | st.lists(PLAIN)))
def test_settings_come_back_from_toml(settings: dict[str, Any]) -> None:
    assert tomllib.loads(format_toml(settings)) == settings


@given(st.characters(categories=("Cc", "Cf", "Zl", "Zp")))
def test_text_that_toml_forbids_is_escaped(char: str) -> None:
    assert tomllib.loads(format_toml({"stop": f'"{char}\\'})) == {"stop": f'"{char}\\'}


def test_a_setting_that_is_not_given_is_left_out_of_toml() -> None:
    assert format_toml({"seed": None, "steps": 3, "corpus": ["a"]}) == 'steps = 3\ncorpus = ["a"]\n'


def test_settings_are_kept_where_they_can_be_used_again(make_run: MakeRun) -> None:
    run = make_run("mine")
    run.save_settings({"corpus": ["bücher/a.txt"], "learning_rate": 1e-05})

    with (run.path / "config.toml").open("rb") as file:
        assert tomllib.load(file) == {"corpus": ["bücher/a.txt"], "learning_rate": 1e-05}


@pytest.mark.parametrize("find", [find_run, find_model])
def test_a_name_too_long_for_a_file_finds_nothing(tmp_path: Path, find) -> None:
    with pytest.raises(CheckpointError, match="there is no run or model file"):
        find("x" * 300, tmp_path)


def test_a_name_too_long_in_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name a run"):
        claim(tmp_path, "漢" * 100)


def test_a_model_without_a_training_summary_is_an_error_in_a_list(tmp_path, make_model) -> None:
    run = RunFolder(tmp_path / "mine")
    run.save_best(replace(make_model(), summary={}))
    assert summarise_run(run).keys() == {"name", "error"}


@pytest.mark.parametrize(
    "nonsense",
    [
        {"val_bpc": "x"},
        {"val_bpc": [1]},
        {"step": None},
        {"step": "many"},
        {"step": math.inf},
        {"corpus": {}},
    ],
)
def test_a_model_whose_figures_are_nonsense_is_damaged(
    make_run: MakeRun, make_model: MakeModel, nonsense: dict[str, Any]
) -> None:
    run, model = make_run("mine"), make_model()
    run.save_best(replace(model, summary=model.summary | nonsense))

    row = summarise_run(run)

    assert row.keys() == {"name", "error"}
    assert f"{run.best} is damaged: it does not say how it was trained" in row["error"]


def test_a_nan_loss_is_left_out_of_a_list(make_run: MakeRun, make_model: MakeModel) -> None:
    run, model = make_run("mine"), make_model()
    run.save_best(replace(model, summary=model.summary | {"val_bpc": math.nan}))

    assert summarise_run(run)["val_bpc"] is None


@pytest.mark.parametrize("name", ["mine", None])
def test_a_folder_of_runs_that_cannot_be_read_is_named(tmp_path: Path, name: str | None) -> None:
    folder = tmp_path / ("x" * 300)
    for look in (list_runs, lambda folder: claim(folder, name)):
        with pytest.raises(
            (CheckpointError, StorageError), match=r"cannot (read|make) .*xxx.*: File name too long"
        ):
            look(folder)
