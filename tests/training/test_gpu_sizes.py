"""What a time budget is worth on GPUs that are made up: units and lanes by speed and memory."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from charrnn.config import TrainConfig
from charrnn.training import calibration
from charrnn.training.calibration import Gpu, choose_plan, measure_gpu, size_for_gpu
from charrnn.training.distributed import Processes
from charrnn.training.memory import training_bytes
from charrnn.training.plan import Plan, make_plan
from charrnn.training.world import SINGLE_PROCESS, World

GB = 10**9
SPEEDS = [10.0**n for n in range(9, 17)]
BOOK, LIBRARY = 1_000_000, 10**9  # tokens
LONG: Any = SimpleNamespace(
    vocab=SimpleNamespace(size=65),
    train=range(LIBRARY),
    train_records=None,
    train_targets=None,
    target_vocab=None,
    label_count=None,
)


def plan_for(
    flop_per_second: float, memory_bytes: int = 80 * GB, tokens: int = LIBRARY, **settings: Any
) -> Plan:
    config = TrainConfig(**{"budget": "5m", **settings})
    gpu = Gpu(flop_per_second, memory_bytes)
    return make_plan(size_for_gpu(config, gpu, 65, tokens), 65, tokens)


def test_a_fast_gpu_with_much_text_takes_a_wide_network_and_many_lanes() -> None:
    plan = plan_for(6e14, cell="gru")

    assert (plan.model.hidden_size, plan.batch_size, plan.seq_len) == (1920, 256, 64)


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
@pytest.mark.parametrize("tokens", [100_000, BOOK, LIBRARY])
@pytest.mark.parametrize("tie", [None, True])
def test_sizes_are_those_of_the_persistent_kernel(cell: str, tokens: int, tie: bool | None) -> None:
    for speed in SPEEDS:
        plan = plan_for(speed, tokens=tokens, cell=cell, tie_embeddings=tie)

        assert plan.model.hidden_size % 128 == plan.model.embedding_size % 128 == 0
        assert plan.model.hidden_size <= 1024
        assert plan.batch_size % 8 == 0
        assert plan.batch_size <= 128
    if tokens == LIBRARY:
        assert plan.model.hidden_size == 1024


@pytest.mark.parametrize(
    ("settings", "embedding"),
    [
        ({}, 128),
        ({"embedding_size": 48}, 48),
        ({"hidden_size": 77}, 64),
        ({"hidden_size": 2048}, 64),
        ({"precision": "fp32"}, 64),
        ({"cell": "gru"}, 64),
        ({"tie_embeddings": True, "hidden_size": 384}, 384),
    ],
    ids=str,
)
def test_the_embedding_is_rounded_up_where_that_brings_the_kernel(
    settings: dict[str, Any], embedding: int
) -> None:
    assert plan_for(6e13, **settings).model.embedding_size == embedding


@pytest.mark.parametrize("tokens", [3_000, BOOK, LIBRARY])
def test_a_faster_gpu_never_takes_fewer_units_or_lanes(tokens: int) -> None:
    plans = [plan_for(speed, tokens=tokens) for speed in SPEEDS]

    for slower, faster in pairwise(plans):
        assert slower.model.hidden_size <= faster.model.hidden_size <= 4096
        assert slower.batch_size <= faster.batch_size <= 256
    if tokens == LIBRARY:
        assert plans[0].model.hidden_size < plans[3].model.hidden_size < plans[-1].model.hidden_size
        assert plans[0].batch_size < plans[-1].batch_size


def test_more_memory_never_takes_fewer_units_and_all_of_it_is_never_taken() -> None:
    plans = {
        gb: plan_for(1e16, gb * GB, budget="1d", cell="gru") for gb in (1, 2, 4, 8, 16, 32, 64)
    }

    units = [plan.model.hidden_size for plan in plans.values()]
    assert units == sorted(units)
    assert units[0] < units[-1]
    assert all(training_bytes(plan) <= gb * GB / 2 for gb, plan in plans.items())


def test_lanes_give_way_before_memory_runs_short() -> None:
    roomy, tight = (plan_for(1e16, memory, hidden_size=256) for memory in (80 * GB, GB // 10))

    assert roomy.batch_size > tight.batch_size >= 16
    assert tight.model.hidden_size == 256


def test_more_time_takes_a_wider_network() -> None:
    times = ("1m", "10m", "1h", "2d")
    units = [plan_for(6e14, budget=time, cell="gru").model.hidden_size for time in times]

    assert units == sorted(set(units))


def test_a_book_takes_no_more_units_than_it_fills_and_lanes_enough_for_many_updates() -> None:
    plan = plan_for(6e14, tokens=BOOK)

    assert plan.model.hidden_size == 256
    assert BOOK / (plan.batch_size * plan.seq_len) >= 64


@pytest.mark.parametrize("tokens", [9, 100, 270, 1000, 4000, 10_000])
def test_a_short_text_is_read_as_on_any_machine(tokens: int) -> None:
    plan, usual = plan_for(6e14, tokens=tokens), make_plan(TrainConfig(), 65, tokens)

    assert (plan.batch_size, plan.seq_len) == (usual.batch_size, usual.seq_len)
    assert plan.model.hidden_size == (64 if tokens < 5000 else 128)


def test_what_is_asked_for_is_not_chosen() -> None:
    config = TrainConfig(budget="5m", hidden_size=77, batch_size=9)
    sized = size_for_gpu(config, Gpu(6e14, 80 * GB), 65, LIBRARY)

    assert (sized.hidden_size, sized.batch_size) == (77, 9)


def test_lanes_follow_from_the_units_that_are_asked_for() -> None:
    narrow, wide = (plan_for(6e13, hidden_size=units) for units in (256, 2048))

    assert narrow.batch_size > wide.batch_size


def test_the_rate_is_that_of_large_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_LARGE", 16)
    monkeypatch.setattr(calibration, "free_bytes", lambda _: 7 * GB)
    clock = SimpleNamespace(
        perf_counter=map(float, [0, 9, 9, 9.5, 10, 10.25, *[11, 12] * 3]).__next__
    )
    monkeypatch.setattr(calibration, "time", clock)

    gpu = measure_gpu(torch.device("cpu"), torch.float32)
    assert gpu == Gpu(2 * 16**3 / 0.25, 7 * GB, has_persistent_kernel=False)


@pytest.mark.parametrize(
    ("major", "minor", "processors", "is_taken"),
    [
        (7, 0, 80, True),
        (7, 5, 72, False),
        (8, 0, 108, True),
        (8, 0, 56, False),
        (8, 6, 108, False),
        (9, 0, 132, True),
    ],
)
def test_the_persistent_kernel_is_for_some_gpus(
    major: int, minor: int, processors: int, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(major=major, minor=minor, multi_processor_count=processors)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)

    assert calibration.takes_persistent_kernel(torch.device("cuda")) == is_taken


def test_a_gpu_without_the_kernel_has_no_bound_from_it() -> None:
    config = TrainConfig(budget="5m")
    sized = size_for_gpu(config, Gpu(6e14, 80 * GB, has_persistent_kernel=False), 65, LIBRARY)

    assert (sized.hidden_size, sized.batch_size) == (1920, 128)


@pytest.mark.parametrize(("world", "units"), [(SINGLE_PROCESS, 640), (Processes(0, 4), 896)])
def test_a_run_on_a_gpu_is_sized_by_what_the_gpus_can_do_together(
    world: World, units: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "measure_gpu", lambda *_: Gpu(1e13, 80 * GB))
    monkeypatch.setattr(Processes, "broadcast", lambda _, value: value)
    config, device = TrainConfig(budget="5m", dropout=0.1), torch.device("cuda")
    plan = choose_plan(config, LONG, device, torch.float16, is_resumed=False, world=world)

    assert plan.model.hidden_size == units


@pytest.mark.parametrize(("device", "embedding"), [("cuda", 128), ("cpu", 64)])
def test_a_run_of_so_many_steps_has_the_embedding_of_its_device(
    device: str, embedding: int
) -> None:
    config = TrainConfig(steps=4000)
    where = torch.device(device)
    plan = choose_plan(config, LONG, where, torch.float16, is_resumed=False, world=SINGLE_PROCESS)

    assert (plan.model.hidden_size, plan.model.embedding_size) == (128, embedding)
