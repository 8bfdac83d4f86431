"""--deterministic: the same run to the last bit, and torch left as it was found."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from charrnn.config import TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.errors import ConfigError
from charrnn.model import device
from charrnn.model.device import deterministic_algorithms
from charrnn.model.network import CharRNN
from charrnn.training.loop import train
from charrnn.training.reports import Finished, Report
from tests.training.small_runs import SMALL

CORPUS = corpus_from_text("the cat sat on the mat. " * 40)
MANY_LETTERS = corpus_from_text("".join(map(chr, range(0x4E00, 0x4E00 + 1100))) * 2)
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def last_weights(corpus: Corpus = CORPUS, **settings: object) -> dict[str, np.ndarray]:
    config = TrainConfig(**{**SMALL, "steps": 12, "dropout": 0.3, **settings})
    *_, finished = train(corpus, config)
    assert isinstance(finished, Finished)
    return finished.snapshot.weights | finished.snapshot.arrays


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name]), name


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_on_a_cpu_a_run_is_the_same_with_it_and_without(cell: str, optimizer: str) -> None:
    settings = {"device": "cpu", "cell": cell, "optimizer": optimizer}
    plain = last_weights(**settings)

    for _ in range(2):
        assert_same(last_weights(**settings, deterministic=True), plain)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_large_alphabet_takes_no_operation_that_is_refused(precision: str) -> None:
    settings = {"device": "cpu", "steps": 3, "precision": precision}
    plain = last_weights(MANY_LETTERS, **settings)

    assert_same(last_weights(MANY_LETTERS, **settings, deterministic=True), plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_on_a_gpu_two_runs_are_the_same(cell: str, precision: str) -> None:
    if os.environ.get(WORKSPACE) is None:
        pytest.skip(f"needs {WORKSPACE}, as other tests may have started CUDA")
    settings = {"device": "cuda", "cell": cell, "precision": precision, "deterministic": True}
    settings |= {"hidden_size": 96, "batch_size": 8, "seq_len": 24}

    assert_same(last_weights(**settings), last_weights(**settings))


def test_torch_refuses_what_does_not_repeat_while_it_trains_and_not_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest, seen = CharRNN.loss_sum, set()

    def watched(self: CharRNN, *args: object) -> object:
        seen.add((torch.get_deterministic_debug_mode(), torch.backends.cudnn.deterministic))
        return honest(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(CharRNN, "loss_sum", watched)
    last_weights(deterministic=True)
    assert seen == {(2, True)}

    seen.clear()
    last_weights()
    assert seen == {(0, False)}


def test_a_run_that_is_left_half_way_leaves_torch_as_it_was() -> None:
    reports = train(CORPUS, TrainConfig(**SMALL, steps=12, deterministic=True))
    first: Report = next(reports)
    reports.close()  # type: ignore[attr-defined]

    assert first
    assert torch.get_deterministic_debug_mode() == 0
    assert torch.utils.deterministic.fill_uninitialized_memory


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Have a GPU that is asked nothing, and cuBLAS not told anything yet."""
    monkeypatch.setattr(device, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setenv(WORKSPACE, "")
    monkeypatch.delenv(WORKSPACE)
    return monkeypatch


def asked(where: str) -> TrainConfig:
    return TrainConfig(device=where, deterministic=True)


def test_cublas_is_told_before_cuda_starts(gpu: pytest.MonkeyPatch) -> None:
    with deterministic_algorithms(asked("cuda")):
        assert os.environ[WORKSPACE] == ":16:8"


def test_what_cublas_was_told_stays_where_it_repeats_too(gpu: pytest.MonkeyPatch) -> None:
    gpu.setenv(WORKSPACE, ":4096:8")
    with deterministic_algorithms(asked("cuda")):
        assert os.environ[WORKSPACE] == ":4096:8"


@pytest.mark.parametrize(("told", "is_started"), [(":0:0", False), (None, True)])
def test_cublas_told_too_late_or_something_else_is_refused(
    told: str | None, is_started: bool, gpu: pytest.MonkeyPatch
) -> None:
    gpu.setattr(torch.cuda, "is_initialized", lambda: is_started)
    if told is not None:
        gpu.setenv(WORKSPACE, told)

    with (
        pytest.raises(ConfigError, match=r"needs CUBLAS_WORKSPACE_CONFIG to be :16:8 or :4096:8"),
        deterministic_algorithms(asked("cuda")),
    ):
        pass
    assert os.environ.get(WORKSPACE) == told


def test_a_device_without_such_operations_is_refused(gpu: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(ConfigError, match=r"on mps; leave deterministic out, or give device=.cpu."),
        deterministic_algorithms(asked("mps")),
    ):
        pass
