"""Runs with teachers: their order and names, shares of the budget, and what the same call does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.errors import ConfigError
from charrnn.tasks import distill
from charrnn.tasks.distill import StudentStarted, TeacherStarted, train_with_teachers
from charrnn.tasks.recorder import RunFinished
from charrnn.tasks.train import Opened, start_run
from charrnn.training import plan
from charrnn.training.plan import TEACHERS_SHARE
from charrnn.training.reports import Progress, Started
from charrnn.training.world import World

SMALL: dict[str, Any] = {"steps": 2, "hidden_size": 6, "threads": 1}
TWO: dict[str, Any] = SMALL | {"teachers": 2}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with a text that is long enough for baselines."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("the cat sat on a mat and ran to see. " * 300, encoding="utf-8")


def train(**settings: Any) -> list[Any]:
    """Train on the book; return all reports."""
    return list(train_with_teachers(["book.txt"], settings))


def started_runs(reports: list[Any]) -> list[str]:
    return [report.run.name for report in reports if isinstance(report, Opened)]


def settings_of(name: str) -> dict[str, Any]:
    """Return the settings that a run's best model has."""
    found: dict[str, Any] = read_model(run_of(name).best).summary["settings"]
    return found


def run_of(name: str) -> RunFolder:
    return RunFolder(Path("checkpoints") / name)


def stop_in(name: str) -> Callable[[object], None]:
    """Return a function that presses Ctrl-C at the first step of the run of that name."""
    opened: list[str] = []

    def on_report(report: object) -> None:
        if isinstance(report, Opened):
            opened.append(report.run.name)
        elif isinstance(report, Progress) and opened[-1] == name:
            os.kill(os.getpid(), signal.SIGINT)

    return on_report


def stop_fit_in(place: str, /, **settings: Any) -> None:
    """Call `fit`, and press Ctrl-C at the first step of the run of that name."""
    with pytest.raises(KeyboardInterrupt):
        charrnn.fit("book.txt", **settings, on_report=stop_in(place))


@pytest.fixture
def by_rule(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the rule choose two teachers; return the speeds that it is asked with."""
    speeds: list[float] = []

    def choose(_: object, __: int, ___: int, speed: float) -> int:
        speeds.append(speed)
        return 2

    monkeypatch.setattr(distill, "choose_teachers", choose)
    return speeds


# ── the runs ──


def test_teachers_come_first_and_the_last_report_is_of_the_run_that_learns_from_them() -> None:
    reports = train(**TWO)
    teachers = [report for report in reports if isinstance(report, TeacherStarted)]
    (student,) = (report for report in reports if isinstance(report, StudentStarted))

    assert started_runs(reports) == ["book-teacher1", "book-teacher2", "book"]
    assert [(t.number, t.total, t.seed, t.done) for t in teachers] == [
        (1, 2, 1001, None),
        (2, 2, 2001, None),
    ]
    assert [each.run for each in student.teachers] == ["book-teacher1", "book-teacher2"]
    assert isinstance(reports[-1], RunFinished)
    assert reports[-1].run.name == "book"
    assert settings_of("book")["distill_from"] == ["book-teacher1", "book-teacher2"]
    assert settings_of("book")["seed"] == 1
    assert [settings_of(f"book-teacher{n}")["seed"] for n in (1, 2)] == [1001, 2001]
    assert "distill_from" not in settings_of("book-teacher1")


def test_teachers_have_the_steps_of_the_run_and_are_what_their_seeds_train_alone() -> None:
    train(**TWO)
    alone = charrnn.fit("book.txt", **SMALL, seed=2001, on_unfinished="new")

    assert [settings_of(name)["steps"] for name in ("book-teacher1", "book")] == [2, 2]
    assert charrnn.describe("book-teacher2")["val_bpc"] == alone.bpc


def test_what_the_first_teacher_chooses_the_others_keep_and_the_run_chooses_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports = []
    for report in train_with_teachers(["book.txt"], {"steps": 2, "threads": 1, "teachers": 2}):
        reports.append(report)
        if isinstance(report, StudentStarted):
            monkeypatch.setattr(plan, "_TEXT_SIZES", {"teachers": ((10**9, 7),)})
    first, second, student = (r.plan for r in reports if isinstance(r, Started))
    begun = [report for report in reports if isinstance(report, TeacherStarted)]

    assert first == second
    assert begun[0].sizes == {}
    assert begun[1].sizes["hidden_size"] == first.model.hidden_size != 7
    assert student.model.hidden_size == 7


def test_a_budget_is_shared_out() -> None:
    reports = train(budget="0.7s", hidden_size=6, threads=1, teachers=3)
    teachers = [report for report in reports if isinstance(report, TeacherStarted)]
    (student,) = (report for report in reports if isinstance(report, StudentStarted))

    assert [each.budget_seconds for each in teachers] == [round(TEACHERS_SHARE * 0.7 / 3, 3)] * 3
    total = sum(each.budget_seconds for each in (*teachers, student))
    assert total == pytest.approx(0.7)
    assert settings_of("book-teacher3")["budget"] == f"{teachers[0].budget_seconds}s"
    assert settings_of("book")["budget"] == f"{student.budget_seconds}s"


def test_seeds_wrap_at_the_largest() -> None:
    reports = train(**SMALL, teachers=1, seed=2**63 - 1)

    assert next(r.seed for r in reports if isinstance(r, TeacherStarted)) == 999


def test_a_given_name_is_that_of_all_runs() -> None:
    assert started_runs(train(**TWO, name="mine")) == ["mine-teacher1", "mine-teacher2", "mine"]


def test_runs_of_other_settings_keep_their_names() -> None:
    train(**SMALL, teachers=0)

    assert started_runs(train(**TWO)) == ["book-2-teacher1", "book-2-teacher2", "book-2"]


def test_texts_in_memory_have_teachers() -> None:
    texts = "the cat sat on a mat. " * 100
    result = charrnn.fit(texts=texts, **TWO, name="mine")

    assert result.run == "mine"
    assert run_of("mine-teacher2").best.exists()


# ── none ──


@pytest.mark.parametrize(
    "settings",
    [{}, {"teachers": 0}, {"budget": "0.2s"}, {"budget": "0.2s", "teachers": 0}],
)
def test_without_teachers_the_reports_are_those_of_a_run_alone(settings: dict[str, Any]) -> None:
    own = {"hidden_size": 6, "threads": 1} | ({} if "budget" in settings else {"steps": 2})
    kinds = [
        type(report) for report in train(**own, **settings) if not isinstance(report, Progress)
    ]
    alone = start_run(["book.txt"], own | settings | {"on_unfinished": "new"})

    assert kinds[:3] == [type(report) for report in alone][:3]
    assert len(charrnn.list_runs()) == 2


def test_a_run_that_has_teachers_already_trains_none() -> None:
    train(**TWO)
    own = SMALL | {"distill_from": ("book-teacher1",), "name": "mine"}

    assert started_runs(train(**own)) == ["mine"]
    assert started_runs(train(resume="mine", steps=3)) == ["mine"]


def test_the_rule_counts_the_teachers_of_a_budget(by_rule: list[float]) -> None:
    budget = {"budget": "0.4s", "hidden_size": 6, "threads": 1}

    assert started_runs(train(**budget)) == ["book-teacher1", "book-teacher2", "book"]
    assert len(by_rule) == 2
    assert 0 < by_rule[1] <= by_rule[0]  # the fastest machine, and this one
    assert started_runs(train(**budget, teachers=0, name="alone")) == ["alone"]
    assert started_runs(train(**SMALL, name="by-steps")) == ["by-steps"]


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0.1},
        {"val_fraction": 0.0},
        {"lines": True, "label": "prefix"},
        {"lines": True, "label": "prefix", "task": "classification"},
    ],
)
def test_the_rule_is_not_asked_where_a_run_can_have_no_teachers(
    by_rule: list[float], settings: dict[str, Any]
) -> None:
    lines = [f"__label__{'ab'[i % 2]} {'xy'[i % 2] * 3}{i}" for i in range(400)]
    Path("book.txt").write_text("\n".join(lines), encoding="utf-8")
    length = {} if "epochs" in settings else {"budget": "0.2s"}

    assert started_runs(train(**length, hidden_size=6, threads=1, **settings)) == ["book"]
    assert by_rule == []


def test_a_run_alone_that_was_stopped_continues_alone(
    monkeypatch: pytest.MonkeyPatch, by_rule: list[float]
) -> None:
    budget = {"budget": "5s", "hidden_size": 6, "threads": 1}
    with monkeypatch.context() as patch:
        patch.setattr(distill, "choose_teachers", lambda *_: 0)
        stop_fit_in("book", **budget)

    reports = train_with_teachers(["book.txt"], budget)
    assert next(report for report in reports if isinstance(report, Opened)).run.name == "book"
    reports.close()


def test_a_machine_that_seems_faster_begins_no_other_teachers(
    monkeypatch: pytest.MonkeyPatch, by_rule: list[float]
) -> None:
    budget = {"budget": "20s", "hidden_size": 6, "threads": 1}
    stop_fit_in("book-teacher1", **budget)
    monkeypatch.setattr(distill, "choose_teachers", lambda *_: 3)

    reports = train_with_teachers(["book.txt"], budget)
    begun = next(report for report in reports if isinstance(report, TeacherStarted))
    opened = next(report for report in reports if isinstance(report, Opened))
    reports.close()
    assert (begun.total, opened.run.name, opened.is_found) == (2, "book-teacher1", True)


# ── the same call again ──


@pytest.mark.parametrize("place", ["book-teacher1", "book-teacher2", "book"])
def test_what_was_stopped_continues_where_it_was(place: str) -> None:
    train(**TWO, checkpoints="whole")
    stop_fit_in(place, **TWO)
    names = ["book-teacher1", "book-teacher2", "book"]
    assert not any(run_of(name).has_model for name in names[names.index(place) + 1 :])
    reports = train(**TWO)

    assert started_runs(reports) == names[names.index(place) :]
    assert next(r.resumed_step for r in reports if isinstance(r, Opened)) == 1
    done = [r.done and r.done.reason for r in reports if isinstance(r, TeacherStarted)]
    assert done == [
        "before" if names.index(name) < names.index(place) else None for name in names[:2]
    ]
    for name in names:
        whole = charrnn.describe(name, checkpoints="whole")
        assert charrnn.describe(name)["val_bpc"] == whole["val_bpc"]


def test_a_budget_that_was_stopped_continues_in_its_runs() -> None:
    budget = {"budget": "3.1s", "hidden_size": 6, "threads": 1, "teachers": 3}
    stop_fit_in("book-teacher2", **budget)

    reports = train_with_teachers(["book.txt"], budget)
    opened = next(report for report in reports if isinstance(report, Opened))
    reports.close()
    assert (opened.run.name, opened.is_found) == ("book-teacher2", True)


def test_a_stop_in_a_teacher_ends_all() -> None:
    reports = list(train_with_teachers(["book.txt"], TWO, should_stop=lambda: True))

    assert started_runs(reports) == ["book-teacher1"]
    assert reports[-1].finished.reason == "stopped"


def test_teachers_that_are_trained_are_not_trained_again() -> None:
    first = train(**TWO)
    again = train(**TWO)

    assert started_runs(again) == ["book-2"]
    assert settings_of("book-2") == settings_of("book")
    assert again[-1].finished.best_val_nats == first[-1].finished.best_val_nats
    done = [report.done for report in again if isinstance(report, TeacherStarted)]
    assert [each.run for each in done] == ["book-teacher1", "book-teacher2"]
    assert [each.bpc for each in done] == [charrnn.describe(each.run)["val_bpc"] for each in done]


def test_more_teachers_keep_the_sizes_of_those_that_are_there() -> None:
    own = {"steps": 2, "threads": 1}
    train(**own, teachers=1)
    reports = train(**own, teachers=2)

    assert started_runs(reports) == ["book-teacher2", "book-2"]
    models = [read_model(run_of(f"book-teacher{n}").best).config for n in (1, 2)]
    assert models[0] == models[1]


def test_a_teacher_keeps_one_state_and_can_go_on() -> None:
    train(**TWO | {"steps": 6, "eval_every": 2})
    teacher = run_of("book-teacher1")

    assert len(teacher.states) == 1
    assert len(run_of("book").states) == 2
    list(start_run([], {"resume": teacher.name, "steps": 7}))
    assert teacher.step == 7
    assert [run["name"] for run in charrnn.list_runs() if "error" in run] == []


def test_an_unfinished_teacher_of_another_name_is_left_alone() -> None:
    stop_fit_in("mine-teacher1", **TWO | {"name": "mine"})
    names = started_runs(train(**TWO, name="book"))

    assert names == ["book-teacher1", "book-teacher2", "book"]


def test_new_runs_are_asked_for_with_new_teachers() -> None:
    train(**TWO)
    names = started_runs(train(**TWO, on_unfinished="new"))

    assert names == ["book-2-teacher1", "book-2-teacher2", "book-2"]


def test_a_run_is_replaced_after_its_teachers_which_are_trained_once() -> None:
    train(**SMALL, teachers=0, name="mine")
    train(**SMALL | {"steps": 3}, teachers=0, name="mine-teacher1")
    own = TWO | {"name": "mine", "overwrite": True}
    stop_fit_in("mine-teacher2", **own)
    reports = train(**own)

    assert started_runs(reports) == ["mine-teacher2", "mine"]
    assert settings_of("mine")["distill_from"] == ["mine-teacher1", "mine-teacher2"]


def test_a_name_that_is_taken_is_refused_before_teachers_are_trained() -> None:
    train(**SMALL, teachers=0, name="mine")

    with pytest.raises(ConfigError, match="there is a run 'mine' in checkpoints already"):
        train(**TWO, name="mine")
    assert [run["name"] for run in charrnn.list_runs()] == ["mine"]


def test_a_teacher_that_shall_not_continue_is_left_alone() -> None:
    stop_fit_in("book-teacher1", **TWO)
    asked: list[Any] = []
    reports = train_with_teachers(
        ["book.txt"], TWO, should_continue=lambda found: bool(asked.append(found))
    )

    assert started_runs(list(reports)) == ["book-2-teacher1", "book-teacher2", "book"]
    assert [found.run.name for found in asked] == ["book-teacher1"]


# ── what does not go together ──


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"init_from": "book"}, "leave init_from or teachers out"),
        ({"task": "classification", "lines": True, "label": "prefix"}, "of task classification"),
        ({"lines": True, "label": "prefix"}, "this one has labels; leave teachers out"),
        ({"val_file": "-"}, "standard input cannot be read once for each teacher"),
        ({"distill_from": ("book",)}, "teachers trains others; give one"),
        ({"teachers": 17}, "teachers is 17; it must be at most 16"),
    ],
)
def test_what_does_not_go_with_teachers_is_refused(settings: dict[str, Any], words: str) -> None:
    lines = [f"__label__{'ab'[i % 2]} {'xy'[i % 2] * 3}{i}" for i in range(400)]
    Path("book.txt").write_text("\n".join(lines), encoding="utf-8")

    with pytest.raises(ConfigError, match=words):
        charrnn.fit("book.txt", **TWO | settings)
    assert not Path("checkpoints").exists()


def test_several_processes_are_refused() -> None:
    with pytest.raises(ConfigError, match="start it without torchrun"):
        list(train_with_teachers(["book.txt"], TWO, world=World(0, 2)))


def test_runs_that_are_compared_have_no_teachers() -> None:
    with pytest.raises(ConfigError, match="leave teachers out"):
        charrnn.fit_seeds("book.txt", [1, 2], **TWO)
    with pytest.raises(ConfigError, match="leave teachers out"):
        charrnn.fit_cells("book.txt", ["rnn", "gru"], **TWO)
    with pytest.raises(ConfigError, match="leave teachers out"):
        charrnn.sweep("book.txt", {"hidden_size": [5, 6]}, teachers=2)
    assert not Path("checkpoints").exists()
