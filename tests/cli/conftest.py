"""The runs that the tests of commands read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder


@pytest.fixture
def runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., ModelFile]
) -> list[RunFolder]:
    """Stand in a folder with three runs; the first was written last, the last first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    runs = [RunFolder(Path("checkpoints") / name) for name in ("beta", "alpha", "gamma")]
    for age, run in enumerate(runs):
        run.save_state(make_model(step=20 + age, val_nats=2 + age / 8), step=20 + age, kept=2)
        os.utime(run.states[0], (1_000_000 - age, 1_000_000 - age))
    return runs
