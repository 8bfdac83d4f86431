"""Weights along the way: their files, and what happens to them in a run's folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.snapshot_file import pack_snapshot
from charrnn.errors import CheckpointError, StorageError

WEIGHTS = {"a": np.float32([[0.1, -2, 3e5]]), "b": np.float32([1e-9])}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "book")


def test_what_is_kept_is_read_back_in_half_precision(run: RunFolder) -> None:
    run.save_snapshot(12, WEIGHTS)
    run.save_snapshot(3, WEIGHTS)
    (first, weights), (second, _) = run.read_snapshots()

    assert (first, second) == (3, 12)
    assert weights["a"].dtype == np.float32
    np.testing.assert_array_equal(weights["a"], np.float32(np.float16([[0.1, -2, 65504]])))
    assert [path.name for path in run.snapshots] == [
        "step-0000003.safetensors",
        "step-0000012.safetensors",
    ]


def test_a_run_without_has_none(run: RunFolder) -> None:
    assert run.read_snapshots() == []
    run.rewind_snapshots(0)
    assert not run.path.exists()


def test_a_long_run_keeps_their_order(run: RunFolder) -> None:
    for step in (10**8, 9_999_999, 10**7):
        run.save_snapshot(step, {})

    assert [step for step, _ in run.read_snapshots()] == [9_999_999, 10**7, 10**8]


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_file_is_refused(run: RunFolder, damage: str) -> None:
    run.save_snapshot(3, WEIGHTS)
    path = run.snapshots[0]
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[-1]
    elif damage == "flipped":
        data[-1] ^= 1
    else:
        data = bytearray(b"no snapshot at all")
    path.write_bytes(data)

    with pytest.raises(CheckpointError, match=r"step-0000003\.safetensors"):
        run.read_snapshots()


def test_a_model_is_no_snapshot(run: RunFolder, make_model: Callable[..., ModelFile]) -> None:
    run.save_best(make_model())
    (run.path / "snapshots").mkdir()
    run.best.rename(run.path / "snapshots" / "step-0000003.safetensors")

    with pytest.raises(CheckpointError, match="not a snapshot"):
        run.read_snapshots()


def test_a_step_that_is_no_number_is_refused(run: RunFolder) -> None:
    run.save_snapshot(3, WEIGHTS)
    run.snapshots[0].write_bytes(pack_snapshot("three", WEIGHTS))  # type: ignore[arg-type]

    with pytest.raises(CheckpointError, match="does not describe a snapshot"):
        run.read_snapshots()


def test_later_ones_are_removed_where_a_run_goes_back(run: RunFolder) -> None:
    for step in (0, 4, 9):
        run.save_snapshot(step, {})
    run.rewind_snapshots(4)
    assert [step for step, _ in run.read_snapshots()] == [0, 4]
    run.rewind_snapshots(-1)
    assert run.read_snapshots() == []


def test_they_are_a_runs_own_files_and_others_beside_them_are_not(run: RunFolder) -> None:
    run.save_snapshot(3, {})
    assert run.foreign_files == []
    (run.path / "snapshots" / "notes.txt").write_text("mine", encoding="utf-8")
    (run.path / "snapshots" / "step-3.safetensors").write_bytes(b"")

    assert run.foreign_files == ["snapshots/notes.txt", "snapshots/step-3.safetensors"]


def test_what_a_killed_process_left_is_removed(run: RunFolder) -> None:
    run.save_snapshot(3, {})
    left = run.path / "snapshots" / ".step-0000007.safetensors.0123456789ab"
    left.write_bytes(b"half")
    assert run.foreign_files == []
    with run.lock():
        assert not left.exists()

    assert len(run.snapshots) == 1


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_not_followed(run: RunFolder, tmp_path: Path) -> None:
    elsewhere = RunFolder(tmp_path / "other")
    elsewhere.save_snapshot(9, {})
    run.path.mkdir()
    (run.path / "snapshots").symlink_to(elsewhere.path / "snapshots")
    run.rewind_snapshots(-1)

    assert len(elsewhere.snapshots) == 1
    assert run.snapshots == []
    assert run.foreign_files == ["snapshots"]
    with pytest.raises(StorageError, match="remove the link"):
        run.save_snapshot(1, {})
