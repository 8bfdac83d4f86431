"""Holds the run folder to its word: names are safe, runs are found, one trains, no kill hurts."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.checkpoint.format import ModelFile, pack_model, read_model
from charrnn.checkpoint.store import (
    RunFolder,
    create_run,
    find_model,
    find_run,
    format_toml,
    list_runs,
    read_last,
    summarise_run,
)
from charrnn.errors import CheckpointError, ConfigError, RunLockedError, StorageError

KILLS = 200
LONGEST_LIFE_SECONDS = 0.015
BAD_NAMES = ["", ".", "..", "../x", "a/b", "/a", "a\\b", ".hidden", "-x", " a", "a ", "a\n", "a\0b"]
BAD_NAMES += ["a:b", "a*", "a?", 'a"', "a|b", "<a>", "\x7f", "\x1b[31m", "x" * 201]

MakeModel = Callable[..., ModelFile]
MakeRun = Callable[..., RunFolder]


@pytest.fixture
def make_run(tmp_path: Path, make_model: MakeModel) -> MakeRun:
    """Give a function that makes a run with a best and a last file, written that many seconds in.

    Without a time the clock says when.
    """

    def make(name: str, seconds: int | None = None, **settings: Any) -> RunFolder:
        run = create_run(tmp_path / "checkpoints", name, "book")
        for keep in (run.keep_best, run.keep_last):
            keep(make_model(**settings))
        if seconds is not None:
            os.utime(run.best, (seconds, seconds))
        return run

    return make


def complaint(name: str | None, checkpoints: Path) -> str:
    """Give the message of the CheckpointError that looking for a model ends in."""
    with pytest.raises(CheckpointError) as caught:
        find_model(name, checkpoints)
    return str(caught.value)


# Names


def test_a_run_is_named_after_its_corpus_and_the_next_is_numbered(tmp_path: Path) -> None:
    names = [create_run(tmp_path, None, "book").name for _ in range(3)]

    assert names == ["book", "book-2", "book-3"]


def test_a_number_that_became_free_is_taken_again(tmp_path: Path) -> None:
    for _ in range(3):
        create_run(tmp_path, None, "book")
    (tmp_path / "book-2").rmdir()

    assert create_run(tmp_path, None, "book").name == "book-2"


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
    run = create_run(tmp_path / "runs", None, corpus)

    assert run.path == tmp_path / "runs" / name
    assert run.path.is_dir()


@pytest.mark.parametrize("name", ["war-and-peace", "v1.2", "红楼梦", "a b", "x" * 200, "_"])
def test_a_name_that_is_given_is_kept(tmp_path: Path, name: str) -> None:
    assert create_run(tmp_path, name, "book").path == tmp_path / name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_is_no_folder_name_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{name!r} cannot name a run; use letters")):
        create_run(tmp_path / "runs", name, "book")

    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused_with_both_ways_out(make_run: MakeRun) -> None:
    run = make_run("mine")
    with pytest.raises(ConfigError, match=r"'mine'.* already; go on with --resume mine,.* --name"):
        create_run(run.path.parent, "mine", "book")


def test_a_run_that_saved_nothing_gives_its_name_free(tmp_path: Path) -> None:
    assert create_run(tmp_path, "mine", "book") == create_run(tmp_path, "mine", "book")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("not a folder")
    for name in ("mine", None):
        with pytest.raises(StorageError, match=r"cannot make .*checkpoints"):
            create_run(tmp_path / "checkpoints", name, "book")


# Finding


@pytest.mark.parametrize("where", ["mine", "checkpoints/mine", "checkpoints/mine/"])
def test_a_run_is_found_by_name_and_by_folder(
    make_run: MakeRun, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("mine")
    monkeypatch.chdir(run.path.parent.parent)

    assert find_model(where, Path("checkpoints")).resolve() == run.best
    assert find_run(where, Path("checkpoints")).path.resolve() == run.path


@pytest.mark.parametrize("file", ["best.safetensors", "last.safetensors"])
def test_a_file_of_a_run_is_that_file_and_means_that_run(make_run: MakeRun, file: str) -> None:
    run, elsewhere = make_run("mine"), Path("nowhere")

    assert find_model(str(run.path / file), elsewhere) == run.path / file
    assert find_run(str(run.path / file), elsewhere) == run


def test_a_model_file_needs_no_run(tmp_path: Path, make_model: MakeModel) -> None:
    (tmp_path / "gift.safetensors").write_bytes(pack_model(make_model()))
    name = str(tmp_path / "gift.safetensors")

    assert find_model(name, tmp_path / "none") == Path(name)


def test_before_the_first_evaluation_the_last_file_is_the_model(make_run: MakeRun) -> None:
    run = make_run("mine")
    run.best.unlink()

    assert find_model("mine", run.path.parent) == run.last
    assert find_model(None, run.path.parent) == run.last


def test_without_a_name_the_run_written_last_is_meant(make_run: MakeRun) -> None:
    for name, seconds in (("a", 1000), ("c", 3000), ("b", 2000)):
        run = make_run(name, seconds)

    assert find_model(None, run.path.parent) == run.path.parent / "c" / "best.safetensors"


def test_without_any_run_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert complaint(None, folder) == (
            f"there is no run in {folder} yet; make one with: charrnn train corpus.txt"
        )


def test_a_near_miss_is_answered_with_the_name_that_exists(make_run: MakeRun) -> None:
    run = make_run("shakespeare")

    assert complaint("shakespere", run.path.parent).endswith("did you mean 'shakespeare'?")
    assert complaint("quixote", run.path.parent).endswith("charrnn list shows the runs")


@pytest.mark.parametrize("name", ["", "..", "none/best.safetensors", "a\0b", "book.txt"])
def test_a_name_that_leads_to_no_model_is_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")

    assert f"there is no run or model file {name!r}" in complaint(name, Path("checkpoints"))


# Lists


def test_runs_are_listed_from_the_newest_without_what_is_no_run(make_run: MakeRun) -> None:
    for name, seconds in (("a", 1000), ("c", 3000), ("b", 2000), ("d", 2000)):
        run = make_run(name, seconds)
    (run.path.parent / "empty").mkdir()
    (run.path.parent / "README.md").write_text("text")

    assert [each.name for each in list_runs(run.path.parent)] == ["c", "d", "b", "a"]


def test_a_folder_that_does_not_exist_has_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == []


def test_a_run_is_summed_up_by_its_model_and_its_best_figures(make_run: MakeRun) -> None:
    run = make_run("mine", step=3, val_nats=1.25)

    assert summarise_run(run) == {
        "name": "mine",
        "corpus": "book",
        "model": "lstm 2×4",
        "parameters": read_model(run.best).parameters,
        "step": 3,
        "val_bpc": pytest.approx(1.8033688),
        "created": "2031-02-03T04:05:06+00:00",
    }


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_run_says_so_in_a_list(make_run: MakeRun, content: bytes | None) -> None:
    run = make_run("mine")
    run.best.write_bytes(run.best.read_bytes()[:-1] if content is None else content)
    row = summarise_run(run)

    assert row.keys() == {"name", "error"}
    assert row["error"].startswith(f"{run.best} is ")


# Going on


def test_the_state_to_go_on_from_is_the_last_that_was_kept(
    make_run: MakeRun, make_model: MakeModel
) -> None:
    run = make_run("mine", step=3)
    run.keep_last(make_model(step=5))

    assert read_last(run).progress == {"step": 5}
    assert read_model(run.best).summary["step"] == 3


def test_a_run_without_a_last_file_cannot_go_on(make_run: MakeRun) -> None:
    run = make_run("mine")
    run.last.unlink()
    with pytest.raises(CheckpointError, match=r"no last\.safetensors to go on from"):
        read_last(run)


def test_a_model_without_training_state_cannot_go_on(
    make_run: MakeRun, make_model: MakeModel
) -> None:
    run = make_run("mine")
    run.keep_last(replace(make_model(), progress=None, training={}))
    with pytest.raises(CheckpointError, match="a model but no training state"):
        read_last(run)


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


# One process at a time


def test_a_run_is_held_by_one_process_and_free_after_it(make_run: MakeRun) -> None:
    run = make_run("mine")
    message = r"another process trains .*mine.*--name"
    with run.lock(), pytest.raises(RunLockedError, match=message):
        RunFolder(run.path).lock()
    with RunFolder(run.path).lock():
        pass


def test_an_error_while_training_frees_the_run(make_run: MakeRun) -> None:
    run = make_run("mine")
    with pytest.raises(KeyboardInterrupt), run.lock():
        raise KeyboardInterrupt
    with RunFolder(run.path).lock():
        pass


def test_another_run_is_not_held(make_run: MakeRun) -> None:
    with make_run("mine").lock(), make_run("yours").lock():
        pass


def test_a_folder_that_is_gone_cannot_be_held(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot lock"):
        RunFolder(tmp_path / "file").lock()


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
    run.keep_settings({"corpus": ["bücher/a.txt"], "learning_rate": 1e-05})

    with (run.path / "config.toml").open("rb") as file:
        assert tomllib.load(file) == {"corpus": ["bücher/a.txt"], "learning_rate": 1e-05}


# Two hundred kills


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_a_writer_killed_at_any_moment_never_loses_what_it_reported(
    make_run: MakeRun, make_model: MakeModel
) -> None:
    run = make_run("mine")
    run.keep_last(make_model(step=0, hidden_size=32))
    command = [sys.executable, __file__, str(run.path)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    kills = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(kills) == KILLS
    assert [kill for kill in kills if kill[1] not in (kill[0], kill[0] + 1)] == []


def kill_writers(run: RunFolder) -> None:
    """Kill KILLS writers; for each write the last step it reported and the one that is found.

    This runs in a process of its own, which has no threads and may fork.
    """
    random = Random(5)
    for _ in range(KILLS):
        reported = kill_a_writer(run, random.uniform(0, LONGEST_LIFE_SECONDS))
        with run.lock():  # a killed process holds nothing
            found = read_last(run).summary["step"]
        sys.stdout.write(f"{reported} {found}\n")


def kill_a_writer(run: RunFolder, life_seconds: float) -> int:
    """Kill a writer so long after its first save and give the last step that it reported."""
    reports, pipe = os.pipe()
    process = os.fork()
    if not process:
        os.close(reports)
        write_until_killed(run, pipe)
    os.close(pipe)
    received = os.read(reports, 8)
    end = time.monotonic() + life_seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([reports], [], [], left)[0]:
            received = os.read(reports, 1 << 16)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    with os.fdopen(reports, "rb") as rest:
        received += rest.read()
    return int.from_bytes(received[-8:], "little")


def write_until_killed(run: RunFolder, pipe: int) -> NoReturn:
    """Save growing steps and report each one that is safe; stop when nobody listens any more."""
    try:
        with run.lock():
            model = read_last(run)
            for step in itertools.count(model.summary["step"] + 1):
                run.keep_last(replace(model, summary=model.summary | {"step": step}))
                os.write(pipe, step.to_bytes(8, "little"))
    finally:
        os._exit(1)


if __name__ == "__main__":
    kill_writers(RunFolder(Path(sys.argv[1])))


@pytest.mark.parametrize("find", [find_run, find_model])
def test_a_name_too_long_for_a_file_leads_nowhere(tmp_path: Path, find) -> None:
    with pytest.raises(CheckpointError, match="there is no run or model file"):
        find("x" * 300, tmp_path)


def test_a_name_too_long_in_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name a run"):
        create_run(tmp_path, "漢" * 100, "book")


def test_a_model_that_tells_nothing_of_its_training_says_so_in_a_list(tmp_path, make_model) -> None:
    run = RunFolder(tmp_path / "mine")
    run.keep_best(replace(make_model(), summary={}))
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
    run.keep_best(replace(model, summary=model.summary | nonsense))

    row = summarise_run(run)

    assert row.keys() == {"name", "error"}
    assert f"{run.best} is damaged: it does not say how it was trained" in row["error"]


def test_a_loss_that_is_no_number_is_left_out_of_a_list(
    make_run: MakeRun, make_model: MakeModel
) -> None:
    run, model = make_run("mine"), make_model()
    run.keep_best(replace(model, summary=model.summary | {"val_bpc": math.nan}))

    assert summarise_run(run)["val_bpc"] is None


@pytest.mark.parametrize("name", ["mine", None])
def test_a_folder_of_runs_that_cannot_be_read_is_named(tmp_path: Path, name: str | None) -> None:
    folder = tmp_path / ("x" * 300)
    for look in (list_runs, lambda folder: create_run(folder, name, "book")):
        with pytest.raises(CheckpointError, match=r"cannot read .*xxx.*: File name too long"):
            look(folder)


def test_metrics_that_cannot_be_read_are_named(make_run: MakeRun) -> None:
    run = make_run("mine")
    run.metrics.mkdir()

    with pytest.raises(CheckpointError, match=r"cannot read .*metrics\.jsonl: Is a directory"):
        run.rewind_metrics(3)
