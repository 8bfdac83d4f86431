"""Steps whose outcome is read later come to what those come to that are read at once.

The code that runs on a GPU runs here on a CPU's tensors.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from charrnn.config import TrainConfig
from charrnn.data.corpus import corpus_from_text
from charrnn.errors import DivergedError
from charrnn.model.network import CharRNN
from charrnn.training.batches import Cursor
from charrnn.training.loop import train
from charrnn.training.plan import make_plan
from charrnn.training.reports import Evaluation, Finished, Incident, Progress, Report, Snapshot
from charrnn.training.trainer import PendingResults, StepResult, Trainer
from tests.training.small_runs import SMALL, STEPS, stop_after

pytestmark = pytest.mark.usefixtures("counted_steps")
CORPUS = corpus_from_text("the cat sat on the mat. " * 40)
EXACT = {"lr_schedule": "constant", "warmup_steps": 0, "learning_rate": 2**-7}
"""Rates that float32 holds: on a GPU they are numbers of that kind."""


def defer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.training.trainer.is_asynchronous", lambda _: True)


def make_config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL, **EXACT, "steps": 90, "device": "cpu", **settings})


def make_trainer(config: TrainConfig) -> Trainer:
    plan = make_plan(config, CORPUS.vocab.size, len(CORPUS.train))
    return Trainer(plan, config, CORPUS, torch.device("cpu"), torch.float32)


def poison(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Make the loss of these windows no number, and so each gradient of theirs."""
    honest, first = CharRNN.loss_sum, len(STEPS)

    def poisoned(self: CharRNN, *args: Any) -> Any:
        nats, state = honest(self, *args)
        return nats * (math.nan if len(STEPS) - first in steps else 1.0), state

    monkeypatch.setattr(CharRNN, "loss_sum", poisoned)


def run(monkeypatch: pytest.MonkeyPatch, config: TrainConfig, *poisoned: int) -> list[Report]:
    with monkeypatch.context() as patch:
        poison(patch, *poisoned)
        return list(train(CORPUS, config))


def of(kind: type, reports: list[Report]) -> list[Any]:
    return [report for report in reports if isinstance(report, kind)]


def arrays_of(reports: list[Report]) -> dict[str, Any]:
    snapshot = of(Finished, reports)[-1].snapshot
    return snapshot.arrays | snapshot.weights


def assert_same(a: dict[str, Any], b: dict[str, Any], atol: float = 0.0) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert np.allclose(a[name], b[name], rtol=0, atol=atol), name


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("initial", ["zero", "learned"])
def test_a_run_comes_to_the_same_to_the_last_bit(
    cell: str, initial: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"cell": cell, "optimizer": "adamw", "initial_state": initial, "dropout": 0.3}
    config = make_config(**settings, weight_decay_recurrent=0.1, eval_every=30)
    read = run(monkeypatch, config)
    defer(monkeypatch)
    unread = run(monkeypatch, config)

    assert_same(arrays_of(unread), arrays_of(read))
    for name in ("step", "train_nats", "val_nats", "chars_seen"):
        expected = [getattr(report, name) for report in of(Evaluation, read)]
        assert [getattr(report, name) for report in of(Evaluation, unread)] == expected


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_rates_that_float32_rounds_change_next_to_nothing(
    cell: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"lr_schedule": "cosine", "learning_rate": 0.01, "warmup_steps": 9}
    config = make_config(cell=cell, optimizer=optimizer, weight_decay_recurrent=0.1, **rates)
    read = run(monkeypatch, config)
    defer(monkeypatch)

    assert_same(arrays_of(run(monkeypatch, config)), arrays_of(read), atol=2e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_window_gone_wrong_is_dropped_and_told_as_at_once(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1: before there is a direction; 12 and 70: between two new ones of Muon's
    config, wrong = make_config(optimizer=optimizer), (1, 12, 13, 70)
    read = run(monkeypatch, config, *wrong)
    defer(monkeypatch)
    unread = run(monkeypatch, config, *wrong)

    told = [(each.kind, each.step, each.position) for each in of(Incident, read)]
    assert [step for _, step, _ in told] == list(wrong)
    assert [(each.kind, each.step, each.position) for each in of(Incident, unread)] == told
    assert of(Finished, unread)[0].snapshot.progress["updates"] == 86
    assert all(math.isfinite(report.train_nats) for report in of(Progress, unread))
    if optimizer == "adamw":  # Muon's next directions come by the count, which is known later
        assert_same(arrays_of(unread), arrays_of(read))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_window_gone_wrong_leaves_everything_as_it_was(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    defer(monkeypatch)
    trainer = make_trainer(make_config(optimizer=optimizer))
    for _ in range(8):
        trainer.advance(None)
    trainer.flush()
    weights, arrays, rest = trainer.state_dict()
    poison(monkeypatch, 1)
    updates = trainer.advance(None) + trainer.flush()
    after, later, end = trainer.state_dict()

    assert [update.is_finite for update in updates] == [False]
    assert (end["updates"], end["step"]) == (rest["updates"], rest["step"] + 1)
    assert_same(after, weights)
    states = {name for name in arrays if name.startswith("state")}
    assert_same(*({k: v for k, v in each.items() if k not in states} for each in (later, arrays)))
    assert states
    assert not any(later[name].any() for name in states)  # the initial state


def test_a_state_that_is_no_number_is_not_carried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    defer(monkeypatch)
    trainer, honest = make_trainer(make_config()), CharRNN.loss_sum

    def broken(self: CharRNN, *args: Any) -> Any:
        nats, state = honest(self, *args)
        return nats, tuple(tuple(part / 0 for part in layer) for layer in state)

    monkeypatch.setattr(CharRNN, "loss_sum", broken)
    (update,) = trainer.advance(None)
    arrays = trainer.state_dict()[1]

    assert update.is_finite
    assert not any(array.any() for name, array in arrays.items() if name.startswith("state"))


def test_three_in_a_row_go_back_to_what_was_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    defer(monkeypatch)
    reports = run(monkeypatch, make_config(eval_every=30), 47, 48, 49)

    (rollback,) = (each for each in of(Incident, reports) if each.kind == "rollback")
    assert (rollback.back_to_step, rollback.rate_factor) == (30, 0.5)
    assert rollback.step >= 49
    assert [report.step for report in of(Evaluation, reports)] == [30, 60, 90]
    assert all(np.isfinite(array).all() for array in arrays_of(reports).values())


def test_a_loss_that_stays_no_number_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    defer(monkeypatch)
    poison(monkeypatch, *range(12, 9999))

    with pytest.raises(DivergedError, match=r"lower learning_rate than"):
        list(train(CORPUS, make_config(eval_every=10)))


@pytest.mark.parametrize("clip_grad_value", [0.0, 5.0])
def test_a_gradient_scaler_finds_its_scale_as_at_once(
    clip_grad_value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = CharRNN.loss_sum

    def steep(self: CharRNN, *args: Any) -> Any:
        nats, state = honest(self, *args)
        return nats * 2**12, state

    monkeypatch.setattr(CharRNN, "loss_sum", steep)
    config = make_config(clip_grad_value=clip_grad_value, optimizer="adamw")
    ends = []
    for _ in range(2):
        trainer = make_trainer(config)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=2**-3)
        trainer.update.scaler = scaler
        updates = [update for _ in range(20) for update in trainer.advance(None)]
        updates += trainer.flush()
        ends.append((trainer.state_dict(), [update.is_finite for update in updates]))
        defer(monkeypatch)
    (read, is_made), (unread, is_made_unread) = ends

    assert is_made == is_made_unread == [True] * 20
    assert 1 < unread[2]["updates"] < 20
    assert unread[2] == read[2]
    assert_same(unread[0] | unread[1], read[0] | read[1])


@pytest.mark.parametrize("cut", [1, 43])
def test_a_stop_tells_and_keeps_every_step(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config()
    defer(monkeypatch)
    uncut = list(train(CORPUS, config))
    stopped = list(train(CORPUS, config, should_stop=stop_after(cut)))
    snapshot = of(Snapshot, stopped)[-1]
    resumed = list(train(CORPUS, config, resume=snapshot))

    assert (snapshot.step, snapshot.progress["updates"]) == (cut, cut)
    assert of(Finished, stopped)[0].chars_seen == cut * 10
    assert_same(arrays_of(resumed), arrays_of(uncut))


@pytest.mark.parametrize("is_late", [False, True])
def test_steps_that_take_long_are_told_of_one_by_one(
    is_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, honest = SimpleNamespace(seconds=0.0), Trainer.advance
    clock.perf_counter = lambda: clock.seconds

    def slow(self: Trainer, total_steps: int | None, **more: bool) -> Any:
        clock.seconds += 1
        return honest(self, total_steps, **more)

    monkeypatch.setattr("charrnn.training.trainer.is_asynchronous", lambda _: is_late)
    monkeypatch.setattr("charrnn.training.loop.time", clock)
    monkeypatch.setattr(Trainer, "advance", slow)
    reports = of(Progress, list(train(CORPUS, make_config(steps=9, eval_every=9999))))

    assert [report.step for report in reports if not report.is_milestone] == [*range(2, 10)]


class ReadingsBack(TorchDispatchMode):
    """Counts the operations that make a host wait for its device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waiting = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select")
        self.count += func._schema.name.removeprefix("aten::") in waiting
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("has_scaler", [False, True])
def test_no_step_reads_anything_back(
    cell: str, optimizer: str, has_scaler: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for is_deferred in (False, True):
        monkeypatch.setattr("charrnn.training.trainer.is_asynchronous", lambda _, d=is_deferred: d)
        trainer = make_trainer(make_config(cell=cell, optimizer=optimizer, dropout=0.3))
        trainer.update.scaler = torch.amp.GradScaler("cpu", enabled=has_scaler)
        for _ in range(3):
            trainer.advance(None)
        trainer.flush()  # room for four more
        with ReadingsBack() as seen:
            for _ in range(3):
                trainer.advance(None)
        counts.append(seen.count)

    assert counts[0] >= 3  # the norm of each step; on a CPU a list is read without an operation
    assert counts[1] == 0


def test_batches_grow_while_all_goes_well_and_start_again_when_it_does_not() -> None:
    known = StepResult(1, Cursor(), 0.0, 0.0, chars=10, is_finite=True, micro_batches=1)
    unread = PendingResults(is_async=True)
    sizes = []
    for is_moved in [True] * 9 + [False]:
        figures = torch.tensor([2.0, 1.0, is_moved, is_moved, is_moved])
        size = 1
        while not unread.add(figures, known):
            size += 1
        updates, unmoved = unread.read()
        assert (len(updates), unmoved) == (size, 0 if is_moved else size)
        sizes.append(size)

    assert sizes == [1, 2, 4, 8, 16, 32, 32, 32, 32, 32]
    assert unread.add(figures, known)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
@pytest.mark.parametrize("is_resident", [False, True])
def test_on_a_gpu_torch_sees_no_step_wait(
    cell: str, precision: torch.dtype, is_resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.training.batches.free_bytes", lambda _: is_resident << 30)
    config = make_config(cell=cell, dropout=0.3)
    plan = make_plan(config, CORPUS.vocab.size, len(CORPUS.train))
    trainer = Trainer(plan, config, CORPUS, torch.device("cuda"), precision)
    while not any(update.is_finite for update in trainer.advance(None)):
        pass
    trainer.flush()
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert trainer.advance(None) == []
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(trainer.flush()) == 1
