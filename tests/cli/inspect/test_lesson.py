"""charrnn inspect lesson: the list, the question, the page, the answer for those who ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.tasks import lessons
from charrnn.tasks.lessons import LESSONS
from tests.cli.program import Text, complaint, end_of, output_of


@pytest.fixture(autouse=True)
def _in_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a network that learns nothing, in no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lessons, "_TRAIN_CHARS", 3_000)
    monkeypatch.setattr(lessons, "_MEASURED_CHARS", 700)
    monkeypatch.setattr(
        lessons, "_SETTINGS", lessons._SETTINGS | {"steps": 2, "hidden_size": 5, "warmup_steps": 1}
    )


def test_lessons_are_listed_with_what_they_are_about(capsys: Text) -> None:
    shown = output_of(capsys, "inspect", "lesson")

    for lesson in LESSONS.values():
        assert f"{lesson.name} " in shown
        assert lesson.title in shown


def test_a_lesson_asks_its_question_and_keeps_the_answer(capsys: Text) -> None:
    assert end_of("inspect", "lesson", "quotes") == 0
    shown, notes = capsys.readouterr()

    lesson = LESSONS["quotes"]
    assert lesson.question in shown
    assert lesson.answer not in shown
    assert "charrnn inspect lesson quotes --answer" in shown
    page = Path("checkpoints", "lesson-quotes", "inspect.html")
    assert page.exists()
    assert f"{page.resolve().as_uri()}#view=text&t=" in notes


def fail(*arguments: object, **settings: object) -> None:
    raise AssertionError("trained again")


def test_the_answer_needs_no_training_where_that_run_is_there(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["inspect", "lesson", "quotes", "--seed", "0", "--checkpoints", "runs"]
    assert end_of(*given, "--no-live") == 0
    hint = "charrnn inspect lesson quotes --seed 0 --no-live --checkpoints runs --answer"
    assert hint in capsys.readouterr().out
    page = Path("runs", "lesson-quotes", "inspect.html").read_text(encoding="utf-8")
    assert 'id="weights-0"' not in page

    monkeypatch.setattr(lessons, "start_run", fail)
    assert end_of(*given, "--answer") == 0
    assert LESSONS["quotes"].answer in capsys.readouterr().out


def test_another_seed_is_another_lesson_and_0_is_one(capsys: Text) -> None:
    seeds = []
    for given in ([], ["--seed", "0"], ["--seed", "2", "--answer"]):
        assert end_of("inspect", "lesson", "quotes", *given) == 0
        summary = read_model(RunFolder(Path("checkpoints", "lesson-quotes")).model).summary
        seeds.append(summary["settings"]["seed"])

    assert seeds == [1, 0, 2]
    assert LESSONS["quotes"].answer in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lesson", "qoutes"], "did you mean quotes?"),
        (["lesson", "quotes", "copy"], "a lesson is one word"),
        (["lesson", "quotes", "--text", "ab"], "--text is not for a lesson"),
        (["lesson", "quotes", "--json"], "--json is not for a lesson"),
        (["lesson", "quotes", "--at", "3"], "--at is not for a lesson"),
        (["lesson", "quotes", "--neuron", "h1.0"], "--neuron is not for a lesson"),
        (["lesson", "quotes", "--layer", "1"], "--layer is not for a lesson"),
        (["lesson", "quotes", "--encoding", "utf-8"], "--encoding is not for a lesson"),
        (["lesson", "quotes", "--unknown", "map"], "--unknown is not for a lesson"),
        (["text", "--answer"], "--answer is of a lesson"),
    ],
)
def test_what_is_no_lesson_is_refused(arguments: list[str], words: str, capsys: Text) -> None:
    code, found = complaint(capsys, "inspect", *arguments)

    assert code == 2
    assert words in found
