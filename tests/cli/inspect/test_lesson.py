"""charrnn inspect lesson: the list, the question, the page, the answer for those who ask."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_the_answer_is_given_to_those_who_ask(capsys: Text) -> None:
    assert end_of("inspect", "lesson", "copy", "--answer") == 0

    assert LESSONS["copy"].answer in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lesson", "qoutes"], "did you mean quotes?"),
        (["lesson", "quotes", "copy"], "a lesson is one word"),
        (["lesson", "quotes", "--text", "ab"], "--text is not for a lesson"),
        (["lesson", "quotes", "--json"], "--json is not for a lesson"),
        (["text", "--answer"], "--answer is of a lesson"),
    ],
)
def test_what_is_no_lesson_is_refused(arguments: list[str], words: str, capsys: Text) -> None:
    code, found = complaint(capsys, "inspect", *arguments)

    assert code == 2
    assert words in found
