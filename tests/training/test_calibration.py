"""The probe of the machine's speed."""

from __future__ import annotations

import itertools
from itertools import chain

import pytest
import torch

from charrnn.config import TrainConfig
from charrnn.data.corpus import corpus_from_text
from charrnn.training import calibration
from charrnn.training.calibration import machine_speed, measure_speed, measure_step
from charrnn.training.plan import make_plan

CPU = torch.device("cpu")


def clock_of(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Make every pass take so long."""
    ticks = itertools.count(step=seconds)
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: next(ticks))


def test_a_machine_twice_as_fast_as_the_reference_has_speed_2(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock_of(monkeypatch, calibration._REFERENCE_SECONDS / 2)

    assert measure_speed(CPU, torch.float32) == pytest.approx(2.0)


@pytest.mark.parametrize(("seconds", "speed"), [(1e3, 1 / 16), (1e-9, 256.0)])
def test_an_odd_clock_cannot_ask_for_an_odd_network(
    seconds: float, speed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_of(monkeypatch, seconds)

    assert measure_speed(CPU, torch.float32) == speed


def step_seconds(budget: str) -> float:
    config = TrainConfig(budget=budget, hidden_size=4, threads=1)
    corpus = corpus_from_text("abcdefgh" * 100)
    plan = make_plan(config, corpus.vocab.size, len(corpus.train))
    return measure_step(plan, config, corpus, CPU, torch.float32)


def test_a_step_is_the_mean_of_four_after_the_first_two_where_nothing_else_ran(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = [[61, 63, 66, 70], [80, 90, 100, 110], [111, 112, 114, 116], [120, 124, 128, 132]]
    ends = iter([0.0, 50, 60, *chain(*rounds)])
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: next(ends))

    assert step_seconds("1d") == 1.5


def test_the_fewer_steps_that_time_allows_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter([0.0, 50, 60, 61, 63, 1e9])
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: next(ends))

    assert step_seconds("1d") == (1e9 - 60) / 3


def test_slow_steps_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter([0.0, 5, 9])
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: next(ends))

    assert step_seconds("10s") == 4


def test_the_probe_leaves_torchs_random_state_as_it_was() -> None:
    before = torch.random.get_rng_state()
    measure_speed(CPU, torch.float32)

    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_speed_that_is_known_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(device="cpu", precision="fp32", threads=1)
    speeds: dict[str, float] = {}
    monkeypatch.setattr(calibration, "measure_speed", lambda *_: 3.0)
    assert machine_speed(config, speeds) == 3.0
    assert speeds == {"layer, cpu, fp32, 1 threads": 3.0}

    monkeypatch.setattr(calibration, "measure_speed", pytest.fail)
    assert machine_speed(config, speeds) == 3.0
    assert machine_speed(config, {"layer, cpu, fp32, 1 threads": 1e9}) == 256.0
