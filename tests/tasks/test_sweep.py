"""A sweep from its settings to its best run: rungs by resuming, kills, failures, one at a time."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import chdir, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint import run_folder
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import TrainConfig
from charrnn.config.sweep import SweepConfig
from charrnn.errors import (
    CharRNNError,
    CheckpointError,
    ConfigError,
    DivergedError,
    OutOfMemoryError,
    RunLockedError,
)
from charrnn.tasks import sweep_runs, sweep_trials
from charrnn.tasks.sweep import SweepFinished, SweepReport, SweepStarted, TrialEnded, run_sweep
from charrnn.tasks.sweep_trials import (
    Trial,
    count_at_rungs,
    place_rungs,
    read_sweep,
    select_trials,
    whole_runs,
)
from charrnn.tasks.train import Opened, start_run
from charrnn.training.reports import Evaluation, Progress, Snapshot

OVER = ("hidden_size=4,6", "learning_rate=0.01,0.1")
HALVING: dict[str, Any] = {"eta": 2}
SMALL: dict[str, Any] = {"steps": 8, "seq_len": 5, "batch_size": 2, "threads": 1, "patience": 0}
FOLDER = Path("checkpoints/book-sweep")


def iter_sweep(*over: str, **settings: Any) -> Iterator[SweepReport]:
    names = ("strategy", "trials", "eta", "rungs", "budget", "then_train")
    own = {name: settings.pop(name) for name in names if name in settings}
    stop = settings.pop("should_stop", lambda: False)
    config = SweepConfig(over=over or OVER, **(own if over else HALVING | own))
    yield from run_sweep(config, ["book.txt"], SMALL | settings, should_stop=stop)


def sweep(*over: str, **settings: Any) -> SweepFinished:
    *_, last = iter_sweep(*over, **settings)
    assert isinstance(last, SweepFinished)
    return last


def state_of(trial: str, checkpoints: str = "checkpoints") -> ModelFile:
    return RunFolder(Path(checkpoints, trial)).read_state()[0]


def figures_of(finished: SweepFinished) -> list[tuple[Any, ...]]:
    """Return what a sweep found, without times."""
    return [(each.name, each.settings, each.scores, each.is_finished) for each in finished.trials]


# ── what is decided ──


@pytest.mark.parametrize(
    ("trials", "eta", "rungs", "counts", "cost"),
    [
        (9, 3, None, [9, 3, 1], 9 / 9 + 3 * 2 / 9 + 2 / 3),
        (27, 3, None, [27, 9, 3], 27 / 9 + 9 * 2 / 9 + 3 * 2 / 3),
        (27, 3, 4, [27, 9, 3, 1], 27 / 27 + 9 * 2 / 27 + 3 * 2 / 9 + 2 / 3),
        (10, 3, None, [10, 4, 2], 10 / 9 + 4 * 2 / 9 + 2 * 2 / 3),
        (2, 3, None, [2, 1], 2 / 3 + 2 / 3),
        (8, 2, None, [8, 4, 2], 8 / 4 + 4 / 4 + 2 / 2),
        (9, 3, 1, [9], 9),
    ],
)
def test_a_third_goes_on_at_each_rung(
    trials: int, eta: int, rungs: int | None, counts: list[int], cost: float
) -> None:
    assert count_at_rungs(trials, eta, rungs) == counts
    assert whole_runs(counts, eta) == pytest.approx(cost)


def test_rungs_lie_at_evaluations() -> None:
    for steps in (9, 10, 26, 100, 999, 12_345):
        places, spacing = place_rungs(steps, 20, None, rungs=3, eta=3)
        assert places[1] == 3 * places[0]
        assert places[-1] == steps
        assert places[0] % spacing == 0
        assert places[0] == pytest.approx(steps / 9, rel=0.2, abs=1)
    assert place_rungs(1000, 20, 50, rungs=2, eta=3) == ((350, 1000), 50)
    assert place_rungs(1000, 20, None, rungs=1, eta=3) == ((1000,), 50)
    with pytest.raises(ConfigError, match=r"give more time, 4 steps or more, or rungs=2"):
        place_rungs(3, 20, None, rungs=3, eta=3)


def test_the_best_go_on_and_failures_make_room() -> None:
    scores = [(2.0,), (1.0,), (), (3.0,), (1.0,), (4.0,)]
    trials = [Trial(i, str(i), {}, scores=own) for i, own in enumerate(scores, start=1)]
    trials[2] = Trial(3, "3", {}, error="diverged")

    assert [each.number for each in select_trials(trials, [6, 2], 1)] == [2, 5]
    assert [each.number for each in select_trials(trials, [6, 3], 1)] == [1, 2, 5]
    ended = Trial(7, "7", {}, scores=(0.5,), is_finished=True)  # early, by patience
    assert [each.number for each in select_trials([*trials, ended], [7, 2, 1], 2)] == [7]


# ── from end to end ──


def test_the_trials_are_runs_and_the_best_is_named(book: str) -> None:
    reports = list(iter_sweep())
    finished = reports[-1]
    assert isinstance(finished, SweepFinished)
    trained = [(each.rung, each.trial.number) for each in reports if isinstance(each, TrialEnded)]

    assert [rung for rung, _ in trained] == [0, 0, 0, 0, 1, 1, 2]
    assert [number for _, number in trained[:4]] == [1, 2, 3, 4]
    assert {run["name"] for run in charrnn.list_runs()} == {f"book-sweep-0{i}" for i in range(1, 5)}
    best = finished.best
    assert best.rung_steps == (2, 4, 8)
    assert best.val_nats == charrnn.describe(best.name)["val_nats"]
    assert best == finished.trials[0]
    # A run notices on the next step that it is to stop.
    assert [RunFolder(Path("checkpoints", each.name)).step for each in finished.trials] == [
        8,
        5,
        3,
        3,
    ]

    rows = list(csv.DictReader((FOLDER / "results.csv").read_text().splitlines()))
    assert rows[0]["run"] == best.name
    assert float(rows[0]["val_nats"]) == pytest.approx(best.val_nats, abs=1e-6)
    assert [row["steps"] for row in rows] == ["8", "4", "2", "2"]
    settings = tomllib.loads((FOLDER / "best.toml").read_text())
    assert {key: settings[key] for key in best.settings} == best.settings
    assert "steps" not in settings
    assert finished.command == f"charrnn train --config {FOLDER}/best.toml --budget 1h"


def test_a_promoted_run_is_that_of_the_same_settings_without_a_sweep(book: str) -> None:
    best = sweep().best
    own = tomllib.loads(Path("checkpoints", best.name, "config.toml").read_text())
    corpus = own.pop("corpus")
    list(start_run(corpus, own | {"checkpoints": "alone", "name": best.name}))

    for file in ("config.toml", "samples.txt", "resolved.toml"):
        pair = [Path(folder, best.name, file).read_bytes() for folder in ("checkpoints", "alone")]
        assert pair[0] == pair[1]
    times = {"created", "elapsed_seconds"}
    one, other = state_of(best.name), state_of(best.name, "alone")
    for arrays in ("weights", "training"):
        pairs = [getattr(each, arrays) for each in (one, other)]
        assert pairs[0].keys() == pairs[1].keys()
        assert all(pairs[0][key].tobytes() == pairs[1][key].tobytes() for key in pairs[0])
    assert one.progress is not None
    assert other.progress is not None
    ignored = times | {"logs"}  # of which metrics.jsonl has times too
    assert {k: v for k, v in one.progress.items() if k not in ignored} == {
        k: v for k, v in other.progress.items() if k not in ignored
    }
    assert {k: v for k, v in one.summary.items() if k not in times} == {
        k: v for k, v in other.summary.items() if k not in times
    }
    bests = [
        read_model(Path(each, best.name, "best.safetensors")) for each in ("checkpoints", "alone")
    ]
    assert all(np.array_equal(bests[0].weights[k], bests[1].weights[k]) for k in bests[0].weights)


def test_a_time_for_the_sweep_becomes_steps_that_are_kept(
    book: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"steps": None, "budget": "2s", "rungs": 2}
    reports = iter_sweep("hidden_size=4,6", "learning_rate=0.01,0.02", **own)
    with closing(reports):  # type: ignore[type-var]
        started = next(each for each in reports if isinstance(each, SweepStarted))
    one, two, three, four = started.trials

    assert started.trial_seconds == pytest.approx(2 / (4 / 3 + 2 * 2 / 3))
    assert (one.rung_steps, three.rung_steps) == (two.rung_steps, four.rung_steps)  # cost the same
    assert one.chosen == two.chosen
    assert one.rung_steps[0] * 3 == pytest.approx(one.rung_steps[1], rel=0.2)

    def unused(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(sweep_runs, "plan_trial", unused)
    again = next(
        each
        for each in iter_sweep("hidden_size=4,6", "learning_rate=0.01,0.02", **own)
        if isinstance(each, SweepStarted)
    )
    assert again.trials == started.trials
    assert again.is_found


def test_the_best_settings_are_trained_longer(book: str) -> None:
    longer = sweep("learning_rate=0.001,0.1", then_train="0.3s").longer
    assert longer is not None
    assert (longer.run, longer.reason) == ("book-sweep-best", "length")
    resolved = tomllib.loads((longer.path / "resolved.toml").read_text())
    best = tomllib.loads((FOLDER / "best.toml").read_text())
    assert {key: resolved[key] for key in best} == best
    again = sweep("learning_rate=0.001,0.1", then_train="0.3s").longer
    assert again is not None
    assert (again.run, again.reason, again.val_nats) == (longer.run, "before", longer.val_nats)


def test_the_other_strategies_train_every_trial_to_its_end(book: str) -> None:
    grid = sweep("hidden_size=4,6", strategy="grid")
    random = sweep("learning_rate=0.001..0.1:log", strategy="random", trials=2)

    assert [each.is_finished for each in (*grid.trials, *random.trials)] == [True] * 4
    assert random.path.name == "book-sweep2"  # it is another sweep
    assert grid.best.val_nats == min(each.val_nats for each in grid.trials)  # type: ignore[type-var]


# ── stopped, killed, failed ──


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SweepFinished:
    """Return what a sweep finds that nothing cuts off."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, chdir(folder):
        patch.setenv("CHARRNN_CACHE", str(folder / "cache"))
        letters = np.random.default_rng(3).choice(list("abcdé \n"), 2000)  # as the book's
        Path("book.txt").write_text("".join(letters), encoding="utf-8")
        return sweep()


def test_a_sweep_that_is_left_again_and_again_ends_the_same(
    book: str, whole: SweepFinished
) -> None:
    kinds = [SweepStarted, Opened, Progress, Evaluation, Snapshot, TrialEnded]
    last: SweepReport | None = None
    for attempt in range(60):
        seen = 0
        with closing(iter_sweep()) as reports:  # type: ignore[type-var]
            for last in reports:
                seen += isinstance(last, kinds[attempt % len(kinds)])
                if seen > attempt % 2:
                    break
        if isinstance(last, SweepFinished):
            break

    assert attempt > 8
    assert isinstance(last, SweepFinished)
    assert figures_of(last) == figures_of(whole)


class Killed(BaseException):
    """What no code of ours catches: as if the process had ended there."""


def test_a_sweep_killed_at_one_write_after_another_ends_the_same(
    book: str, whole: SweepFinished, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = 0
    last_write = 0

    def dying(write: Callable[..., None]) -> Callable[..., None]:
        """Return a write that is killed before it does anything, or after, at its turn."""

        def write_or_die(*arguments: Any) -> None:
            nonlocal writes
            writes += 1
            if writes == last_write and writes % 2:
                raise Killed
            write(*arguments)
            if writes == last_write:
                raise Killed

        return write_or_die

    for module in (run_folder, sweep_trials):
        for name in ("write_atomically", "append_text"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, dying(getattr(module, name)))
    kills = 0
    while True:
        writes = 0
        last_write += 1
        try:
            finished = sweep()
            break
        except Killed:
            kills += 1

    assert kills > 10
    assert figures_of(finished) == figures_of(whole)


def test_a_run_killed_before_its_first_state_starts_again(book: str, whole: SweepFinished) -> None:
    with closing(iter_sweep()) as reports:  # type: ignore[type-var]
        for report in reports:
            if isinstance(report, Evaluation):
                break
    run = RunFolder(Path("checkpoints/book-sweep-01"))
    for state in run.states:
        state.unlink()
    assert run.best.exists()

    assert figures_of(sweep()) == figures_of(whole)


def test_a_stop_saves_the_trial_and_the_same_command_continues(book: str) -> None:
    steps: list[int] = []

    def is_stopped() -> bool:
        steps.append(1)
        return len(steps) > 10

    reports = list(iter_sweep(should_stop=is_stopped))
    assert not any(isinstance(each, SweepFinished) for each in reports)
    assert sweep().best.is_finished


def test_a_finished_sweep_trains_nothing_again(book: str) -> None:
    first = sweep()
    reports = list(iter_sweep())

    assert [type(each).__name__ for each in reports] == ["Reading", "SweepStarted", "SweepFinished"]
    assert reports[-1] == first


def test_a_trial_that_fails_is_recorded_and_the_others_go_on(
    book: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = sweep_runs.start_run

    def diverging(corpus: Any, settings: Any, **more: Any) -> Iterator[Any]:
        reports = begin(corpus, settings, **more)
        for report in reports:
            yield report
            if settings["learning_rate"] == 0.1 and isinstance(report, Progress):
                reports.close()
                raise DivergedError("the loss became NaN")

    monkeypatch.setattr(sweep_runs, "start_run", diverging)
    finished = sweep("hidden_size=4,60000", "learning_rate=0.01,0.1", rungs=2)
    failed = {each.number: each.error for each in finished.trials if each.error}

    assert finished.best.number == 1
    assert failed[2] == "the loss became NaN"
    assert failed[3].startswith("these sizes take at least")
    rows = list(csv.DictReader((FOLDER / "results.csv").read_text().splitlines()))
    assert [row["error"][:5] for row in rows] == ["", "the l", "these", "these"]
    assert [
        each.error
        for each in sweep("hidden_size=4,60000", "learning_rate=0.01,0.1", rungs=2).trials
    ]


def fail_after(
    monkeypatch: pytest.MonkeyPatch, names: set[str], step: int, error: CharRNNError
) -> None:
    """Let the runs of these names fail once they are past a step."""
    begin = sweep_runs.start_run

    def failing(corpus: Any, settings: Any, **more: Any) -> Iterator[Any]:
        reports = begin(corpus, settings, **more)
        for report in reports:
            yield report
            if settings["name"] in names and isinstance(report, Progress) and report.step > step:
                reports.close()
                raise error

    monkeypatch.setattr(sweep_runs, "start_run", failing)


@pytest.mark.parametrize("failures", [1, 2])
def test_a_trial_that_fails_late_makes_room_for_the_next_at_once(
    book: str, whole: SweepFinished, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    expected = [each.name for each in whole.trials[:failures]]
    fail_after(monkeypatch, set(expected), 5, DivergedError("the loss became NaN"))
    finished = sweep()

    failed = {each.name for each in finished.trials if each.error}
    assert expected[0] in failed
    assert failed <= set(expected)
    assert finished.best.is_finished
    assert finished.best.name not in expected
    assert figures_of(sweep()) == figures_of(finished)  # nothing was left to do


def test_a_trial_out_of_memory_is_tried_again_when_the_sweep_continues(
    book: str, whole: SweepFinished, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = {whole.best.name}
    with monkeypatch.context() as patch:
        fail_after(patch, lost, 5, OutOfMemoryError("there is not enough memory"))
        first = sweep()
    assert {each.name for each in first.trials if each.error} == lost

    again = sweep()
    assert not [each for each in again.trials if each.error]
    assert again.best.name == whole.best.name
    assert again.best.scores == whole.best.scores


@pytest.mark.parametrize("length", [{"steps": 4}, {"steps": None, "budget": "1s"}])
def test_a_trial_too_large_to_be_planned_is_planned_when_the_sweep_continues(
    book: str, monkeypatch: pytest.MonkeyPatch, length: dict[str, Any]
) -> None:
    plan = sweep_runs.plan_trial

    def planning(config: TrainConfig, *more: Any) -> Any:
        if config.hidden_size == 6:
            raise OutOfMemoryError("there is not enough memory")
        return plan(config, *more)

    with monkeypatch.context() as patch:
        patch.setattr(sweep_runs, "plan_trial", planning)
        first = sweep("hidden_size=4,6", rungs=1, **length)
    assert [each.error for each in first.trials] == ["", "there is not enough memory"]

    again = sweep("hidden_size=4,6", rungs=1, **length)
    assert [(each.error, each.is_finished) for each in again.trials] == [("", True)] * 2


def test_a_trial_that_cannot_be_planned_again_stays_out(
    book: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise ConfigError("a trial of 1 steps is too short")

    first = sweep("hidden_size=4,60000", rungs=1)
    plan = sweep_runs.plan_trial
    monkeypatch.setattr(
        sweep_runs, "plan_trial", lambda config, *more: plan(replace(config, hidden_size=6), *more)
    )
    monkeypatch.setattr(sweep_runs, "place_rungs", refused)

    assert sweep("hidden_size=4,60000", rungs=1) == first


def test_a_trial_that_patience_ends_has_the_step_of_its_end(book: str) -> None:
    own = {"steps": 400, "patience": 2, "eval_every": 4, "rungs": 2, "ema_decay": 0.0}
    finished = sweep("learning_rate=0.9,1.0", **own)
    rows = list(csv.DictReader((FOLDER / "results.csv").read_text().splitlines()))
    ended = [each for each in finished.trials if each.is_finished]

    assert ended
    for trial in ended:
        step = RunFolder(Path("checkpoints", trial.name)).step
        assert step is not None
        assert step < 400
        row = next(each for each in rows if each["run"] == trial.name)
        assert row["steps"] == str(step)


def test_the_next_command_names_another_folder_of_runs(book: str) -> None:
    command = sweep("hidden_size=4,6", checkpoints="my runs").command
    assert command == (
        "charrnn train --config 'my runs/book-sweep/best.toml' --budget 1h --checkpoints 'my runs'"
    )


def test_a_sweep_without_a_trial_that_ends_says_why(book: str) -> None:
    with pytest.raises(ConfigError, match="no trial came to its end; the first that failed: these"):
        sweep("hidden_size=50000,60000")


def test_one_process_has_a_sweep_at_a_time(book: str) -> None:
    reports = iter_sweep(name="mine")
    with closing(reports):  # type: ignore[type-var]
        assert any(isinstance(each, SweepStarted) for each in reports)
        with pytest.raises(RunLockedError):
            sweep(name="mine")


# ── what is refused ──


@pytest.mark.parametrize(
    ("over", "settings", "words"),
    [
        (
            ("hidden_size=4,-1",),
            {},
            "trial hidden_size=-1: hidden_size is -1; it must be at least 1",
        ),
        (("learning_rate=0.1,99",), {}, "trial learning_rate=99.0: learning_rate is 99"),
        (("cell=gru,gur",), {}, "cell is 'gur'; choose from"),
        (("cell=gru,lstm",), {"nonlinearity": "relu"}, "nonlinearity"),
        (("hidden_size=4,6",), {"hidden_size": 5}, "leave --hidden-size out"),
        (("hidden_size=4,6",), {"budget": "1m"}, "budget is of the whole sweep, and steps of each"),
        (("hidden_size=4,6",), {"resume": "x"}, "leave --resume out"),
        (("hidden_size=4,6",), {"val_fraction": 0.0}, "so trials cannot be compared"),
        (("hidden_size=4,6",), {"steps": 1, "rungs": 2}, "is too short for 2 rungs"),
        (("hidden_size=4,6",), {"name": "-x"}, "cannot name a run"),
    ],
)
def test_every_combination_is_checked_before_anything_is_trained(
    book: str, over: tuple[str, ...], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        sweep(*over, **settings)
    assert words in refused.value.message
    assert not list(Path().glob("checkpoints/*/*"))


def test_another_sweep_of_the_same_name_is_refused(book: str) -> None:
    sweep("hidden_size=4,6", name="mine")
    with pytest.raises(
        ConfigError, match=r"has over \['hidden_size=4,6'\], not \['hidden_size=4,8'\]"
    ):
        sweep("hidden_size=4,8", name="mine")
    with pytest.raises(ConfigError, match="has steps 8, not 9"):
        sweep("hidden_size=4,6", name="mine", steps=9)
    with pytest.raises(ConfigError, match="'mine-01' is the name of a run"):
        sweep("hidden_size=4,6", name="mine-01")
    list(start_run([book], SMALL | {"name": "your-02"}))
    with pytest.raises(ConfigError, match="there is a run 'your-02' already"):
        sweep("hidden_size=4,6", name="your")


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("trials"),
        lambda values: values.update(version=2),
        lambda values: values["trials"][0].update(scores=["low"]),
        lambda values: values["trials"][0].update(extra=1),
        lambda values: values["trials"][0].update(rung_steps=[-3]),
    ],
)
def test_a_damaged_sweep_is_refused(book: str, damage: Callable[[Any], object]) -> None:
    sweep("hidden_size=4,6", name="mine")
    path = Path("checkpoints/mine/sweep.json")
    values = json.loads(path.read_text())
    damage(values)
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"cannot continue the sweep of .*sweep.json"):
        sweep("hidden_size=4,6", name="mine")


def test_python_returns_what_was_found(book: str) -> None:
    reports: list[object] = []
    over = {"hidden_size": [4, 6], "learning_rate": "0.01..0.1:log:2"}
    found = charrnn.sweep(book, over, rungs=2, **SMALL, on_report=reports.append)

    assert found.best.name in {run["name"] for run in charrnn.list_runs()}
    assert isinstance(reports[0], object)
    assert read_sweep(found.path) is not None
    assert found.seconds == sum(each.seconds for each in found.trials)
    with pytest.raises(ConfigError, match="the same call continues it"):
        charrnn.sweep(book, over, rungs=2, name="new", **SMALL, should_stop=lambda: True)
