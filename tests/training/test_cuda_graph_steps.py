"""A step that is captured and replayed comes to what it comes to when it runs eagerly.

On a CPU recorded operations stand in for the CUDA graph (cpu_graphs.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.config import TrainConfig
from charrnn.data.corpus import corpus_from_text
from charrnn.errors import ConfigError
from charrnn.model.cuda_graph import CudaGraphs
from charrnn.model.device import check_cuda_graph
from charrnn.model.network import CharRNN
from charrnn.training.loop import train
from charrnn.training.optimizer import clip_gradients
from charrnn.training.plan import make_plan
from charrnn.training.reports import Incident
from charrnn.training.step import TrainStep
from charrnn.training.trainer import StepResult, Trainer
from tests.training.cpu_graphs import CpuGraphs
from tests.training.small_runs import SMALL

CORPUS = corpus_from_text("the cat sat on the mat. " * 20)
STEPS, WINDOWS = 60, 43  # in an epoch
DEEP: dict[str, Any] = {
    "num_layers": 2,
    "dropout": 0.3,
    "tie_embeddings": True,
    "initial_state": "learned",
    "weight_decay_recurrent": 0.1,
    "warmup_steps": 9,
}


def make_config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL, "steps": STEPS, "device": "cpu", "cuda_graph": True, **settings})


def make_trainer(config: TrainConfig, device: str = "cpu", precision: Any = None) -> Trainer:
    plan = make_plan(config, CORPUS.vocab.size, len(CORPUS.train))
    return Trainer(plan, config, CORPUS, torch.device(device), precision or torch.float32)


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[CpuGraphs]:
    """Return the graphs of the trainers that are made from here on."""
    made: list[CpuGraphs] = []

    def make(device: torch.device, generator: torch.Generator) -> CpuGraphs:
        made.append(CpuGraphs(device, generator))
        return made[-1]

    monkeypatch.setattr("charrnn.training.trainer.is_asynchronous", lambda _: True)
    monkeypatch.setattr("charrnn.training.trainer.CudaGraphs", make)
    return made


def steps_of(trainer: Trainer, count: int) -> list[StepResult]:
    made = [update for _ in range(count) for update in trainer.advance(STEPS)]
    return made + trainer.flush()


def assert_same(one: Trainer, other: Trainer) -> None:
    for mine, theirs in zip(one.state_dict()[:2], other.state_dict()[:2], strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert np.array_equal(mine[name], theirs[name]), name


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("settings", [DEEP, {"optimizer": "adamw", "clip_grad_value": 0.01}])
def test_steps_done_again_are_those_made_anew_to_the_last_bit(
    cell: str, settings: dict[str, Any], graphs: list[CpuGraphs]
) -> None:
    recorded = make_trainer(make_config(cell=cell, **settings))
    plain = make_trainer(make_config(cell=cell, cuda_graph=False, **settings))

    assert steps_of(recorded, STEPS) == steps_of(plain, STEPS)
    assert_same(recorded, plain)
    assert graphs[0].replays == STEPS - len(range(0, STEPS, WINDOWS)) - 2 * 3


def test_steps_done_again_are_those_judged_by_the_host_but_for_rounded_rates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = DEEP | {"lr_schedule": "constant", "warmup_steps": 0, "learning_rate": 2**-7}
    recorded = make_trainer(make_config(**settings))
    monkeypatch.setattr("charrnn.training.trainer.is_asynchronous", lambda _: False)
    read = make_trainer(make_config(cuda_graph=False, **settings))

    for mine, theirs in zip(steps_of(recorded, 50), steps_of(read, 50), strict=True):
        assert mine.loss_sum == pytest.approx(theirs.loss_sum, rel=1e-5)
    mine, theirs = recorded.state_dict()[0], read.state_dict()[0]
    # A row of n-grams is divided by its own gradient, which may be next to nothing but rounding.
    atol = dict.fromkeys(mine, 2e-5) | {"ngrams.weight": 2e-4}
    assert all(np.allclose(mine[name], theirs[name], rtol=0, atol=atol[name]) for name in mine)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("has_scaler", [False, True])
def test_a_step_neither_asks_nor_tells_the_host_anything(
    cell: str, has_scaler: bool, graphs: list[CpuGraphs]
) -> None:
    trainer = make_trainer(make_config(cell=cell, **DEEP))
    trainer.update.scaler = torch.amp.GradScaler("cpu", enabled=has_scaler)

    assert [update.capture_error for update in steps_of(trainer, 40)] == [""] * 40
    assert graphs[0].replays == 33


def ask(parameters: Any, config: TrainConfig) -> Tensor:
    norm = clip_gradients(parameters, config)
    norm.item()
    return norm


def read(parameters: Any, config: TrainConfig) -> Tensor:
    norm = clip_gradients(parameters, config)
    norm.tolist()
    return norm


def tell(parameters: Any, config: TrainConfig) -> Tensor:
    return clip_gradients(parameters, config) * torch.tensor(1.0)


@pytest.mark.parametrize(
    ("broken", "said"), [(ask, "_local_scalar_dense"), (read, "tolist"), (tell, "lift_fresh")]
)
@pytest.mark.parametrize("has_scaler", [False, True])
def test_a_step_that_cannot_be_recorded_is_made_all_the_same_and_told_once(
    broken: Callable[..., Tensor],
    said: str,
    has_scaler: bool,
    graphs: list[CpuGraphs],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("charrnn.training.step.clip_gradients", broken)
    recorded, plain = (
        make_trainer(make_config(cuda_graph=graph, **DEEP)) for graph in (True, False)
    )
    for trainer in (recorded, plain):
        trainer.update.scaler = torch.amp.GradScaler("cpu", 2.0**70, enabled=has_scaler)
    updates = steps_of(recorded, 20)
    steps_of(plain, 20)

    (reason,) = [update.capture_error for update in updates if update.capture_error]
    assert reason == f"{said} is not permitted during capture"
    assert graphs[0].replays == 0
    assert_same(recorded, plain)


def test_a_run_says_that_it_goes_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.training.step.clip_gradients", ask)
    monkeypatch.setattr("charrnn.training.calibration.check_cuda_graph", lambda *_: None)
    reports = [each for each in train(CORPUS, make_config()) if isinstance(each, Incident)]

    assert [(each.kind, each.reason[:19]) for each in reports] == [("graph", "_local_scalar_dense")]


def test_what_was_recorded_goes_on_from_a_state_picked_up() -> None:
    recorded, plain = (
        make_trainer(make_config(cuda_graph=graph, **DEEP)) for graph in (True, False)
    )
    for trainer in (recorded, plain):
        steps_of(trainer, 35)
        before = trainer.state_dict()
        steps_of(trainer, 5)
        trainer.load_state_dict(*before)
        trainer.rate_factor = 0.5
        steps_of(trainer, 15)

    assert_same(recorded, plain)


@pytest.fixture
def factor(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Return what the nats of a window are multiplied with, where a recording finds it too."""
    honest, number = CharRNN.loss_sum, torch.ones(())

    def multiplied(self: CharRNN, *args: Any) -> Any:
        nats, state = honest(self, *args)
        return nats * number, state

    monkeypatch.setattr(CharRNN, "loss_sum", multiplied)
    return number


def test_a_window_gone_wrong_is_dropped_by_a_recording_too(factor: Tensor) -> None:
    recorded, plain = (
        make_trainer(make_config(cuda_graph=graph, **DEEP)) for graph in (True, False)
    )
    made = []
    for trainer in (recorded, plain):
        updates = []
        for step in range(60):
            factor.fill_(float("nan") if step in (40, 55) else 1.0)
            updates += trainer.advance(STEPS)
        updates += trainer.flush()
        made.append([update.is_finite for update in updates])

    assert made[0] == made[1] == [step not in (40, 55) for step in range(60)]
    assert_same(recorded, plain)


def test_the_scale_of_gradients_is_found_by_recordings_too(factor: Tensor) -> None:
    factor.fill_(2.0**12)
    recorded, plain = (
        make_trainer(make_config(cuda_graph=graph, **DEEP)) for graph in (True, False)
    )
    for trainer in (recorded, plain):
        scaler = torch.amp.GradScaler("cpu", 2.0**127, 2.0, 0.5, growth_interval=9)
        trainer.update.scaler = scaler

    assert str(steps_of(recorded, 40)) == str(steps_of(plain, 40))  # the first norms are NaN
    assert recorded.state_dict()[2] == plain.state_dict()[2]
    assert_same(recorded, plain)


def run_short(monkeypatch: pytest.MonkeyPatch, is_now: Callable[[TrainStep], bool]) -> list[int]:
    """Let memory run out where `is_now` says so; give the slices of each try."""
    honest, tries = TrainStep._forward_backward, []

    def short(self: TrainStep, *args: Any) -> Any:
        made = honest(self, *args)
        tries.append(self.micro_batches)
        if is_now(self):
            raise MemoryError
        return made

    monkeypatch.setattr(TrainStep, "_forward_backward", short)
    return tries


def test_a_window_read_in_slices_is_recorded_anew(
    graphs: list[CpuGraphs], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers = []
    for graph in (True, False):
        with monkeypatch.context() as patch:
            trainer = make_trainer(make_config(cuda_graph=graph, **DEEP))
            run_short(patch, lambda own, who=trainer: who.epoch == 1 and own.micro_batches == 1)
            steps_of(trainer, STEPS)
        trainers.append(trainer)

    assert [trainer.micro_batches for trainer in trainers] == [2, 2]
    assert_same(*trainers)
    assert graphs[0].replays == STEPS - 2 - 2 * 3


def test_memory_that_suffices_for_a_step_but_not_for_its_recording_cuts_no_slices(
    graphs: list[CpuGraphs], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, plain = (
        make_trainer(make_config(cuda_graph=graph, **DEEP)) for graph in (True, False)
    )
    run_short(monkeypatch, lambda own: own._graphs.is_capturing)
    updates = steps_of(trainer, 40)
    steps_of(plain, 40)

    assert [update.capture_error for update in updates if update.capture_error] == [
        "not enough memory"
    ]
    assert (trainer.micro_batches, graphs[0].replays) == (1, 0)
    assert_same(trainer, plain)


@pytest.mark.parametrize(
    ("device", "processes", "message"),
    [
        (
            "cpu",
            1,
            "cuda_graph captures steps on a CUDA GPU, and this run is on cpu; leave it out",
        ),
        (
            "cuda",
            2,
            "cuda_graph captures the steps of one process, and 2 train together; leave it",
        ),
    ],
)
def test_where_no_step_can_be_recorded_it_is_refused(
    device: str, processes: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_cuda_graph(make_config(), torch.device(device), processes)
    check_cuda_graph(make_config(cuda_graph=False), torch.device(device), processes)
    check_cuda_graph(make_config(), torch.device("cuda"), 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
def test_on_a_gpu_recorded_steps_are_those_made_anew(
    cell: str, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.training.trainer.CudaGraphs", CudaGraphs)
    trainers = [
        make_trainer(make_config(cell=cell, cuda_graph=graph, **DEEP), "cuda", precision)
        for graph in (True, False)
    ]
    recorded, plain = (steps_of(trainer, 50) for trainer in trainers)

    assert not any(update.capture_error for update in recorded)
    for mine, theirs in zip(recorded, plain, strict=True):
        assert mine.loss_sum == pytest.approx(theirs.loss_sum, rel=1e-3)


LIMITS = {"max_norm_input": 0.6, "max_norm_recurrent": 0.7, "max_norm_output": 0.5}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_limits_on_rows_are_part_of_a_graph(optimizer: str) -> None:
    config = make_config(optimizer=optimizer, **LIMITS)
    captured = make_trainer(config)
    eager = make_trainer(make_config(optimizer=optimizer, cuda_graph=False, **LIMITS))
    steps_of(captured, 20)
    steps_of(eager, 20)
    largest = [
        p.detach().norm(dim=1).max()
        for n, p in captured.model.named_parameters()
        if "weight_hh" in n
    ]

    assert_same(captured, eager)
    assert max(map(float, largest)) <= 0.7 * (1 + 1e-6)


def test_a_measured_step_is_no_graph_and_changes_nothing(graphs: list[CpuGraphs]) -> None:
    measured, plain = make_trainer(make_config(**DEEP)), make_trainer(make_config(**DEEP))
    for step in range(24):
        measured.advance(STEPS, is_measured=step % 6 == 5)
        plain.advance(STEPS)
    measured.flush()
    plain.flush()
    groups = measured.read_groups()

    assert_same(measured, plain)
    assert 0 < graphs[0].replays < graphs[1].replays
    assert {"recurrent.f", "embedding", "initial"} <= set(groups)
    assert groups["recurrent.f"]["update"] > groups["recurrent.f"]["decay"] > 0
