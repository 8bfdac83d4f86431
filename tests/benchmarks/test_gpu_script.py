"""The script for a GPU: what its parts find, on a processor, and what becomes of one that fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.cpu_graphs import CpuGraphs

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import gpu
from gpu import Row, Setup

ROOT = Path(__file__).parents[2]
TINY = Setup("cpu", "text.txt", 1000.0, **gpu.TINY)


def test_a_step_stands_beside_the_bare_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    one = {row.what: row.value for row in gpu.measure_training(TINY, layers=1)}
    two = [row.what for row in gpu.measure_training(TINY, layers=2)]

    assert list(one) == ["a step", "cuDNN alone", "a step, beside the faster bare calls"]
    assert one["a step, beside the faster bare calls"] == pytest.approx(
        one["a step"] / one["cuDNN alone"]
    )
    assert two[1:3] == ["cuDNN alone", "cuDNN alone, layer by layer"]


def test_bare_layers_are_as_large_as_those_of_the_network() -> None:
    trainer, plan = gpu.make_trainer(TINY, 2)
    cpu = torch.device("cpu")
    stack = [gpu.bare_layer(plan, 1, torch.float32, cpu, depth) for depth in range(2)]
    whole = gpu.bare_layer(plan, 2, torch.float32, cpu)
    cells = [layer.cell for layer in trainer.model.layers]

    for bare in ([p for layer in stack for p in layer.parameters()], [*whole.parameters()]):
        assert [p.shape for p in bare] == [p.shape for cell in cells for p in cell.parameters()]


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_graph_is_measured_beside_eager_steps_and_says_why_there_is_none(
    is_broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def make(*arguments: Any) -> CpuGraphs:
        made.append(CpuGraphs(*arguments))
        if is_broken:
            monkeypatch.setattr(made[-1], "capture", refuse)
        return made[-1]

    def refuse(_: object) -> None:
        raise RuntimeError("not today\nor tomorrow")

    monkeypatch.setattr("charrnn.training.trainer.is_asynchronous", lambda _: True)
    monkeypatch.setattr("charrnn.training.trainer.CudaGraphs", make)
    monkeypatch.setattr(Setup, "is_cuda", True)
    # On a processor rows of n-grams have sparse gradients, which such steps cannot read.
    monkeypatch.setattr(gpu, "make_trainer", partial(gpu.make_trainer, ngram_order=1))
    rows = list(gpu.measure_training(TINY, layers=1))

    failed = [row.shown for row in rows if row.has_failed]
    assert failed == (["was not captured: not today"] if is_broken else [])
    assert "a step as a CUDA graph" in [row.what for row in rows]
    assert rows[-1].what == "a CUDA graph makes a step"
    if not is_broken:
        assert made[0].replays >= gpu._STEPS_PER_ROUND


@pytest.mark.parametrize(
    ("kernels", "is_wanted", "shown", "has_failed"),
    [
        ({"RNN_blockPersist_fp_LSTM": 30.0, "gemm": 10.0}, True, "persistent, 75 % of", False),
        ({"gemm": 10.0}, True, "not persistent, 2.00 ms a step; most time: gemm", True),
        ({"gemm": 10.0}, False, "not persistent, 2.00 ms a step; most time: gemm", False),
        ({}, True, "the profiler saw no kernel", True),
    ],
)
def test_the_persistent_kernel_is_known_by_its_name(
    kernels: Mapping[str, float], is_wanted: bool, shown: str, has_failed: bool
) -> None:
    row = gpu.describe_kernels("1 × 512", kernels, 0.002, is_wanted=is_wanted)

    assert row.shown.startswith(shown.replace(" %", "%"))
    assert row.has_failed == has_failed
    assert row.value["kernels_us"] == kernels


def test_on_a_processor_the_profiler_sees_no_kernel() -> None:
    rows = list(gpu.find_kernels(TINY))

    assert [row.what for row in rows] == [f"1 × 8, embedding {e}, 3 lanes" for e in (4, 2)]
    assert {row.shown for row in rows} == {"the profiler saw no kernel"}
    assert not any(row.has_failed for row in rows)


def test_pytests_report_becomes_rows() -> None:
    printed = """\
..F.s
FAILED tests/model/test_a.py::test_b[rnn] - assert 1 == 2
SKIPPED [1] tests/model/test_a.py:9: needs a variable
1 failed, 3 passed, 1 skipped in 3.21s
"""
    rows = list(gpu.read_test_report(printed, 1))

    assert rows == [
        Row("all", "1 failed, 3 passed, 1 skipped in 3.21s", 1, has_failed=True),
        Row("tests/model/test_a.py::test_b[rnn]", "assert 1 == 2", has_failed=True),
        Row("skipped", "[1] tests/model/test_a.py:9: needs a variable"),
    ]
    assert [row.has_failed for row in gpu.read_test_report("", 5)] == [True]


def test_tests_that_need_a_gpu_are_marked_and_no_others() -> None:
    files = ["tests/model/test_deterministic.py", "tests/generation/test_gpu.py"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "gpu", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    names = {line.partition("::")[2].partition("[")[0] for line in done.stdout.splitlines()}

    assert names - {""} == {
        "test_on_a_gpu_two_runs_are_the_same",
        "test_a_gpu_samples_most_texts_as_the_ordinary_sampler",
        "test_a_replayed_block_is_the_one_that_is_sampled_eagerly",
    }


def test_files_with_such_tests_are_found() -> None:
    found = {Path(each).name for each in gpu.find_tests()}

    assert {"test_deterministic.py", "test_gpu.py", "test_cuda_graph_steps.py"} <= found
    assert Path(__file__).name not in found


def test_weights_that_differ_are_named() -> None:
    one = {"a": np.zeros(3), "b": np.ones(2), "c": np.ones(2)}
    other = {"a": np.zeros(3), "b": np.array([1, 1.5]), "c": np.array([1, 1.25])}
    differing = gpu.max_differences(one, other)

    assert differing == {"b": 0.5, "c": 0.25}
    assert gpu.describe_differences(differing) == "2 arrays differ, most b, by 0.5"
    assert gpu.describe_differences({}) == "equal weights"


def test_the_time_to_a_loss_is_doubled_and_then_bisected(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = []

    def train(path: str, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        budgets.append(float(settings["budget"].removesuffix("s")))
        nats = 2 - 0.1 * np.log2(budgets[-1])
        figures = {"best_val_windowed_nats": nats, "best_val_nats": nats - 0.1, "step": 77}
        return {
            "started": {"plan": {"model": {"num_layers": 1, "hidden_size": 8}}},
            "finished": figures,
        }

    monkeypatch.setattr(gpu, "train", train)
    rows = list(gpu.reach_loss(Setup("cpu", "text.txt", 1000.0, target_nats=1.74)))

    assert budgets == [1, 2, 4, 8, 5.66, 6.73]
    assert rows[-1].what == "to 1.74 nats"
    assert rows[-1].shown.endswith("s, a whole process")
    late = list(gpu.reach_loss(Setup("cpu", "text.txt", 20.0, target_nats=1.74)))
    assert [row.has_failed for row in late] == [True]


# ── parts as processes ──


@pytest.mark.parametrize(
    ("program", "seconds", "shown"),
    [
        ("import threading; threading.Event().wait()", 0.2, "stopped after 0 s"),
        ("import os; os.kill(os.getpid(), 9)", 600.0, "its process ended with -9"),
    ],
)
def test_a_part_that_hangs_or_dies_keeps_its_rows_and_says_so(
    program: str, seconds: float, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "part.py"
    row = json.dumps({"what": "speed", "shown": "9", "value": 9})
    script.write_text(f"print({row!r}, flush=True); print('{{\"wha', flush=True); {program}")
    monkeypatch.setattr(gpu, "__file__", str(script))
    rows = list(gpu.run_part("kernels", seconds, []))

    assert rows[-1] == Row("all", shown, has_failed=True)
    if seconds > 1:
        assert rows[:-1] == [Row("speed", "9", 9)]


def test_a_part_that_raises_has_a_row_with_the_first_line_of_the_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Setup) -> Any:
        yield Row("speed", "9", 9)
        raise RuntimeError("CUDA error: it broke\nand more")

    monkeypatch.setitem(gpu.PARTS, "kernels", (broken, 1.0))
    code = gpu.run_only("kernels", TINY)
    out, err = capsys.readouterr()

    assert code == 1
    assert list(gpu.read_rows(out)) == [
        Row("speed", "9", 9),
        Row("all", "RuntimeError: CUDA error: it broke", has_failed=True),
    ]
    assert "Traceback" in err


def test_a_failure_is_a_row_and_not_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"kernels": Row("all", "no", has_failed=True), "loss": Row("to 1.5 nats", "9 s", 9.0)}
    monkeypatch.setattr(gpu, "run_part", lambda name, *_: iter([rows[name]]))
    code = gpu.run_all(["kernels", "loss"], [], {"torch": "2"})
    head, failed, fine, last = capsys.readouterr().out.splitlines()

    assert code == 1
    assert head == "torch 2"
    assert failed.split() == ["kernels", "all", "FAILED", "no"]
    assert fine.split() == ["loss", "to", "1.5", "nats", "9", "s"]
    assert [row["part"] for row in json.loads(last)["rows"]] == ["kernels", "loss"]


def test_a_rehearsal_runs_a_part_in_a_process_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = gpu.run_all(["sampling"], ["--rehearse"], gpu.describe_machine(is_cuda=False))
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert code == 0
    assert [row["what"] for row in figures["rows"]] == ["6 texts, eager", "6 whole texts"]
    assert all(row["value"] > 0 for row in figures["rows"])


def test_all_parts_end_within_ten_minutes() -> None:
    assert sum(seconds for _, seconds in gpu.PARTS.values()) <= gpu._ALL_SECONDS < 600


def test_without_a_gpu_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    gpu.main()

    said = (
        f"PyTorch {torch.__version__} finds no NVIDIA GPU on this machine, so nothing was measured"
    )
    assert capsys.readouterr().out.splitlines() == [said]


def test_an_unknown_part_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "kernel"])
    with pytest.raises(SystemExit):
        gpu.main()

    assert "there is no part 'kernel'; choose from tests, training-1" in capsys.readouterr().err
