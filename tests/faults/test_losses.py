"""Losses that are no numbers, and memory that runs out: never saved, and survived or said."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.errors import DivergedError
from charrnn.model.network import CharRNN
from charrnn.tasks.train import start_run
from charrnn.training.reports import Finished, Incident, Snapshot
from charrnn.training.trainer import StepResult, Trainer
from tests.training.small_runs import SMALL

SIZES: dict[str, Any] = {**SMALL, "batch_size": 4, "on_unfinished": "new"}
STEPS = 40
KINDS = ["loss", "gradient", "weight"]


def inject(monkeypatch: pytest.MonkeyPatch, kind: str, value: float, windows: set[int]) -> None:
    """Spoil the loss, the gradients or the weights of some of the windows that are read."""
    honest_loss, honest_step = CharRNN.loss_sum, Trainer.advance
    read: list[int] = []

    def loss_sum(self: CharRNN, *args: Any) -> Any:
        nats, state = honest_loss(self, *args)
        if len(read) in windows and kind == "loss":
            return nats * value, state
        if len(read) in windows and kind == "gradient":
            nats.register_hook(lambda grad: grad * value)
        return nats, state

    def advance(self: Trainer, total_steps: int | None, **more: bool) -> StepResult:
        read.append(1)
        if len(read) in windows and kind == "weight":
            self.model.output.bias.data[0] = value
        return honest_step(self, total_steps, **more)

    monkeypatch.setattr(CharRNN, "loss_sum", loss_sum)
    monkeypatch.setattr(Trainer, "advance", advance)


def test_what_is_no_number_is_never_saved_and_the_run_goes_on_or_says_why_not(
    book: str,
    monkeypatch: pytest.MonkeyPatch,
    times: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    wanted, random = times(12, 500), Random(3)
    injected = saved = ended = went_on = rollbacks = 0
    while injected < wanted:
        count = random.choice([1, 1, 2, 3, 12])
        first = random.randrange(1, STEPS)
        windows = set(range(first, first + count))
        injected += len(windows & set(range(1, STEPS + 1)))
        value = random.choice([math.nan, math.inf, -math.inf])
        with monkeypatch.context() as patch:
            inject(patch, random.choice(KINDS), value, windows)
            settings = {**SIZES, "steps": STEPS, "eval_every": random.choice([5, 10, 40])}
            reports: list[Any] = []
            try:
                reports.extend(start_run([book], settings))
                assert isinstance(reports[-1].finished, Finished)
                assert reports[-1].finished.step == STEPS
                went_on += 1
            except DivergedError as error:
                assert "lower learning_rate" in str(error)  # noqa: PT017
                ended += 1
            rollbacks += sum(isinstance(r, Incident) and r.kind == "rollback" for r in reports)
            saved += sum(isinstance(report, Snapshot) for report in reports)
    for path in Path("checkpoints").iterdir():
        run = RunFolder(path)
        for file in [run.best, *run.states]:
            if file.exists():
                model = read_model(file)  # refuses weights that are not finite
                arrays = {**model.weights, **model.training}
                assert all(np.isfinite(array).all() for array in arrays.values()), file
    figure(
        f"{injected} steps spoiled; {saved} saves, all finite; {rollbacks} times gone back; "
        f"{went_on} runs went on to their end, {ended} ended with DivergedError"
    )

    assert went_on
    assert rollbacks


def test_memory_that_runs_out_at_any_step_costs_nothing_but_time(
    book: str,
    monkeypatch: pytest.MonkeyPatch,
    times: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    honest, runs = CharRNN.loss_sum, times(4, 60)
    for run in range(runs):
        room, calls, first = 1 + run % 3, [0], run % STEPS  # lanes at once, from that call on

        def greedy(self: CharRNN, ids: Any, *rest: Any, room=room, calls=calls, first=first) -> Any:
            calls[0] += 1
            if calls[0] > first and len(ids) > room:
                raise MemoryError
            return honest(self, ids, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(CharRNN, "loss_sum", greedy)
            *_, kept = start_run([book], {**SIZES, "steps": STEPS, "eval_every": 20})
        assert kept.finished.step == STEPS  # type: ignore[union-attr]
        assert kept.finished.snapshot.progress["slices"] == {1: 4, 2: 2, 3: 2}[room]  # type: ignore[union-attr]
    figure(f"{runs} runs short of memory, at their first window or later: all went on in slices")
