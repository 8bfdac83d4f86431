"""The public functions: train on a text, load the model, let it write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoint.model_file import read_model
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.generation.model import Model
from charrnn.tasks.recorder import RunFinished
from charrnn.tasks.train import Opened, RunReport
from charrnn.training.reports import Evaluation, Progress

SMALL: dict[str, Any] = {"steps": 4, "hidden_size": 8, "embedding_size": 5, "threads": 1}


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a text of 900 characters."""
    monkeypatch.chdir(tmp_path)
    path = Path("book.txt")
    path.write_text("the cat\n sat. cafés " * 45, encoding="utf-8")
    return path


def kinds_of(reports: list[RunReport]) -> list[str]:
    return [type(report).__name__ for report in reports]


def last_of(reports: list[RunReport]) -> RunFinished:
    assert isinstance(reports[-1], RunFinished)
    return reports[-1]


def test_training_yields_a_report_of_each_thing_that_happens(book: Path) -> None:
    reports = list(charrnn.train(book, **SMALL))

    assert kinds_of(reports)[:3] == ["Reading", "Opened", "Started"]
    assert kinds_of(reports)[3:-2] == ["Progress", "Evaluation", "Written", "Snapshot"] * 4
    assert kinds_of(reports)[-2:] == ["Finished", "RunFinished"]


def test_what_was_trained_can_be_loaded_and_writes(book: Path) -> None:
    run = last_of(list(charrnn.train(book, **SMALL))).run

    for model in (charrnn.load(), charrnn.load("book"), charrnn.load(run.path)):
        assert len("".join(model.generate("cat", length=25, seed=1))) == 25


def test_loading_gives_the_model_of_the_file(book: Path) -> None:
    best = last_of(list(charrnn.train(book, **SMALL))).run.best

    model = charrnn.load(best)

    assert isinstance(model, charrnn.Model)
    assert (model.config.hidden_size, model.config.embedding_size) == (8, 5)
    assert model.vocab.alphabet == "".join(sorted(set(book.read_text(encoding="utf-8"))))
    assert model.summary == read_model(best).summary


def test_several_texts_are_trained_on_as_one(book: Path) -> None:
    Path("more.txt").write_text("zzz " * 50)

    _, opened, *_ = charrnn.train(["book.txt", "more.txt"], **SMALL)

    assert isinstance(opened, Opened)
    assert opened.corpus.chars == 900 + len("\n") + 200  # a line's end parts two texts
    assert "z" in opened.corpus.vocab.alphabet


def test_the_folder_and_name_of_a_run_can_be_chosen(book: Path) -> None:
    list(charrnn.train(book, **SMALL, name="mine", checkpoints="runs"))

    assert read_model(Path("runs/mine/best.safetensors")).config.hidden_size == 8
    assert len("".join(charrnn.load("mine", checkpoints="runs").generate(length=7))) == 7


def test_a_prompt_is_normalised_as_the_text_was(book: Path) -> None:
    decomposed = "cafe\u0301s the cat "
    Path("book.txt").write_text(decomposed * 50, encoding="utf-8")
    list(charrnn.train(book, **SMALL, normalize="nfc"))
    model = charrnn.load()

    assert "\u0301" not in model.vocab.alphabet
    assert [*model.generate(decomposed, length=9, seed=1)] == [
        *model.generate("caf\u00e9s the cat ", length=9, seed=1)
    ]


def train_until(step: int, **settings: Any) -> list[Any]:
    """Train and ask for a stop once that step was reported."""
    reports: list[Any] = []

    def is_reached() -> bool:
        return any(isinstance(each, Progress) and each.step >= step for each in reports)

    for report in charrnn.train(**settings, should_stop=is_reached):
        reports.append(report)
    return reports


def test_a_run_is_asked_to_stop_after_every_step(book: Path) -> None:
    kept = last_of(train_until(2, corpus=book, **SMALL))

    assert (kept.finished.reason, kept.finished.step) == ("stopped", 2)
    assert kept.run.step == 2


def test_a_stopped_run_goes_on_from_where_it_stopped(book: Path) -> None:
    train_until(2, corpus=book, **SMALL)

    reports = list(charrnn.train(resume="book"))

    assert [report.step for report in reports if isinstance(report, Evaluation)] == [2, 3, 4]
    assert last_of(reports).run.path == Path("checkpoints/book")


def test_nothing_happens_before_the_first_report_is_taken(book: Path) -> None:
    charrnn.train(book, **SMALL)

    assert not Path("checkpoints").exists()


def test_a_setting_that_is_none_of_ours_is_refused(book: Path) -> None:
    with pytest.raises(ConfigError, match="there is no setting 'hiden_size'"):
        next(charrnn.train(book, hiden_size=8))


def test_a_text_that_is_not_there_is_refused(book: Path) -> None:
    with pytest.raises(CorpusError, match=r"nowhere\.txt"):
        list(charrnn.train("nowhere.txt", **SMALL))


def test_a_model_that_is_not_there_is_refused(book: Path) -> None:
    with pytest.raises(CheckpointError, match="no run or model file 'nowhere' in checkpoints"):
        charrnn.load("nowhere")


def test_the_package_shows_its_public_names_alone() -> None:
    assert dir(charrnn) == ["Model", "__version__", "blend", "guide_away", "load", "train"]
    assert charrnn.Model is Model


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'charrnn' has no attribute 'nonsense'"):
        charrnn.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import charrnn", set()),
        ("import charrnn; charrnn.load", {"numpy"}),
        ("import charrnn; charrnn.Model; charrnn.train", {"numpy"}),
    ],
)
def test_importing_loads_no_more_than_is_used(code: str, loaded: set[str]) -> None:
    heavy = "{'torch', 'numpy', 'rich', 'click'} & set(sys.modules)"
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}; import sys; print(*{heavy})"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert set(process.stdout.split()) == loaded
    assert process.stderr == ""
