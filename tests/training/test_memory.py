"""What a run needs is known before it is allocated, and what there is, from whoever limits it."""

from __future__ import annotations

import math
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn.config import ModelConfig
from charrnn.errors import OutOfMemoryError
from charrnn.model.network import CharRNN
from charrnn.training import memory
from charrnn.training.memory import choose_micro_batches, machine_memory_bytes
from charrnn.training.plan import Plan

SHAPES = [
    {},
    {"cell": "rnn", "num_layers": 3},
    {"cell": "gru", "num_layers": 2, "tie_embeddings": True},
    {"tie_embeddings": True, "embedding_size": 6},
]
CPU = torch.device("cpu")


def make_plan(**sizes: Any) -> Plan:
    shape = {"vocab_size": 7, "embedding_size": 4, "hidden_size": 6, "num_layers": 1}
    windows = {"seq_len": 64, "batch_size": 16} | {
        key: sizes.pop(key) for key in ("seq_len", "batch_size") if key in sizes
    }
    return Plan(
        ModelConfig(**{**shape, **sizes}),
        **windows,
        learning_rate=1e-3,
        total_steps=1,
        eval_every=1,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_counted_from_the_shape_alone(shape: dict[str, Any]) -> None:
    config = make_plan(**shape).model
    network = CharRNN(config)
    learned = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)

    assert config.num_parameters == learned


def test_what_fits_is_read_in_one_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: 1 << 30)

    assert choose_micro_batches(make_plan(), CPU) == 1


def test_lanes_are_cut_until_a_window_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(hidden_size=512, seq_len=512, batch_size=64)
    whole = 4 * 64 * 512 * (4 + 5 * 512) + 4 * 64 * 512 * 7
    fixed = 8 * 4 * plan.model.num_parameters
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: fixed + whole // 5)

    assert choose_micro_batches(plan, CPU) == 8


def test_processes_of_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(hidden_size=512, seq_len=512, batch_size=64)
    whole = 4 * 64 * 512 * (4 + 5 * 512) + 4 * 64 * 512 * 7
    fixed = 8 * 4 * plan.model.num_parameters
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: 3 * (fixed + whole))

    assert choose_micro_batches(plan, CPU, processes=3) == 1
    assert choose_micro_batches(plan, CPU, processes=4) == 2


def test_sizes_that_cannot_fit_are_refused_with_both_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: 2_000_000_000)
    with pytest.raises(
        OutOfMemoryError, match=r"at least 137\.\d GB .* may have 2\.0 GB; lower hidden_size"
    ):
        choose_micro_batches(make_plan(hidden_size=32_768), CPU)


def test_where_the_system_does_not_tell_all_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: None)

    assert choose_micro_batches(make_plan(hidden_size=32_768), CPU) == 1


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "5000\n"}, 5000),
        ("0::/a/b\n", {"a/b/memory.max": "4000\n", "a/memory.max": "5000\n"}, 4000),
        ("9:cpu:/\n4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "3000\n"}, 3000),
        ("0::/a\n", {}, math.inf),
        ("0::/../../etc\n", {}, math.inf),
    ],
)
def test_a_control_group_limits_its_processes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    groups: str,
    files: dict[str, str],
    limit: float,
) -> None:
    without = machine_memory_bytes()
    assert without is not None
    (tmp_path / "own").write_text(groups)
    for name, content in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(content)
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")

    found = machine_memory_bytes()
    assert found == limit if limit < math.inf else found is not None and found > 1e8


def test_a_network_larger_than_the_machine_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("abc \n" * 500)
    command = [sys.executable, "-m", "charrnn", "train", "book.txt", "--hidden-size", "65536"]
    command += ["--num-layers", "8", "--steps", "3", "--quiet"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 6
    assert done.stderr.startswith("charrnn: these sizes take ")
    assert done.stderr.count("\n") == 1
    assert time.monotonic() - began < 60  # seconds, on a busy machine
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 3_000_000  # KiB
    assert not (tmp_path / "checkpoints").exists()
