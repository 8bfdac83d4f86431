"""A sweep is removed with its trials, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import charrnn
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.errors import CheckpointError, ConfigError, RunLockedError
from charrnn.storage import write_atomically
from charrnn.tasks.sweep_trials import SweepState, Trial, save_sweep
from tests.cli.program import Text, end_of
from tests.formats.models import make_file

SWEEP = RunFolder(Path("checkpoints", "book-sweep"))
TRIALS = ("book-sweep-01", "book-sweep-02", "book-sweep-03")


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with a sweep, of whose three trials two have begun, and two other runs."""
    monkeypatch.chdir(tmp_path)
    for name in (*TRIALS[:2], "book-sweep-best", "book"):
        RunFolder(Path("checkpoints", name)).save_state(make_file(), step=7, kept=1)
    save(TRIALS)


def save(trials: tuple[str, ...]) -> None:
    named = tuple(Trial(number, name, {}) for number, name in enumerate(trials, start=1))
    save_sweep(SWEEP.path, SweepState({}, (3, 1), named))
    write_atomically(SWEEP.path / "best.toml", "")


def folders() -> set[str]:
    return {path.name for path in Path("checkpoints").iterdir()}


@pytest.mark.parametrize("name", ["book-sweep", "checkpoints/book-sweep"])
def test_a_sweep_goes_with_its_trials(name: str, capsys: Text) -> None:
    assert end_of("remove", name, "book-sweep-01", "--yes") == 0

    assert folders() == {"book-sweep-best", "book"}
    removed = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert removed == [f"checkpoints/{each}" for each in (*TRIALS[:2], "book-sweep")]


def test_a_trial_goes_without_its_sweep() -> None:
    charrnn.remove("book-sweep-01")

    assert folders() == {"book-sweep", "book-sweep-02", "book-sweep-best", "book"}
    charrnn.remove("book-sweep")
    assert folders() == {"book-sweep-best", "book"}


def test_a_sweep_that_runs_keeps_its_trials() -> None:
    before = folders()

    with SWEEP.lock(), pytest.raises(RunLockedError):
        charrnn.remove("book-sweep")
    assert folders() == before


def test_a_file_of_someone_else_keeps_the_sweep() -> None:
    (SWEEP.path / "letter.txt").write_text("mine", encoding="utf-8")
    before = folders()

    with pytest.raises(ConfigError, match=r"holds 'letter\.txt', which no run writes"):
        charrnn.remove("book-sweep")
    assert folders() == before


@pytest.mark.parametrize("trial", ["book", "../book-sweep-1", "book-sweep-/../book"])
def test_a_forged_sweep_removes_no_other_run(trial: str) -> None:
    save((trial,))
    before = folders()

    with pytest.raises((CheckpointError, ConfigError)):
        charrnn.remove("book-sweep")
    assert folders() == before
