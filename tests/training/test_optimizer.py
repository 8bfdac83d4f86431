"""Schedules, clipping, AdamW and the weight average, against closed forms and torch's own."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.network import CharRNN
from charrnn.training.optimizer import (
    Optimizer,
    Schedule,
    clip_gradients,
    ema_weight_at,
    update_average,
    weight_decay_of,
)


def rates(schedule: str, total: int = 100, **settings: float) -> list[float]:
    config = TrainConfig(lr_schedule=schedule, warmup_steps=4, **settings)
    return [Schedule(0.5, config, total).rate_at(step) for step in range(total + 1)]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "exponential", "constant"])
def test_the_rate_rises_in_a_line_to_its_peak(schedule: str) -> None:
    assert rates(schedule)[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_linear_and_cosine_end_at_zero(schedule: str) -> None:
    assert rates(schedule)[100] == pytest.approx(0, abs=1e-12)


def test_linear_is_half_way_down_half_way_through() -> None:
    assert rates("linear")[52] == pytest.approx(0.25)


def test_cosine_is_half_way_down_half_way_through() -> None:
    assert rates("cosine")[52] == pytest.approx(0.25)


def test_exponential_multiplies_by_its_coefficient_each_step() -> None:
    after = rates("exponential", decay_rate=0.9)

    assert after[24] == pytest.approx(0.5 * 0.9**20)


def test_constant_stays() -> None:
    assert set(rates("constant")[4:]) == {0.5}


def test_a_short_run_warms_up_for_a_tenth_of_it() -> None:
    config = TrainConfig(lr_schedule="constant", warmup_steps=100)

    assert Schedule(1.0, config, 20).rate_at(2) == 1.0


def test_the_rate_in_the_warm_up_does_not_depend_on_a_length_not_yet_known() -> None:
    config = TrainConfig(warmup_steps=10)

    assert Schedule(1.0, config).rate_at(3) == Schedule(1.0, config, 500).rate_at(3)


LENGTHS = (None, 500, 900, 2000, 2001)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "exponential", "constant"])
@pytest.mark.parametrize("before", LENGTHS)
@pytest.mark.parametrize("after", LENGTHS)
@pytest.mark.parametrize("step", [1, 30, 60, 140, 440])
def test_a_rate_makes_no_jump_where_the_length_changes(
    schedule: str, before: int | None, after: int | None, step: int
) -> None:
    peak = 0.5
    config = TrainConfig(lr_schedule=schedule, warmup_steps=100)
    schedule_of_run = Schedule(peak, config, before)
    known = schedule_of_run.rate_at(step)
    schedule_of_run.change_length(step, after)
    rates = [schedule_of_run.rate_at(each) for each in range(step, after or 2000)]

    changes = [abs(b - a) for a, b in pairwise([known, *rates])]
    steepest = peak / 7 if after == 500 and step == 440 else peak / 20  # only 60 steps are left
    assert max(changes) < steepest
    assert min(rates) >= 0
    assert max(rates) <= peak


def test_the_rate_comes_to_that_of_the_new_length() -> None:
    config = TrainConfig()
    longer, changed = Schedule(0.5, config, 2000), Schedule(0.5, config, 1000)
    before = changed.rate_at(999)
    changed.change_length(1000, 2000)

    assert before < 1e-5
    assert changed.rate_at(1000) < 0.02 < longer.rate_at(1000)
    assert changed.rate_at(1100) == longer.rate_at(1100)


def test_a_warm_up_that_is_over_is_not_done_twice() -> None:
    schedule = Schedule(0.5, TrainConfig(lr_schedule="constant", warmup_steps=100), 300)
    schedule.change_length(60, 5000)  # by itself, a run of 5000 steps would still warm up

    assert [schedule.rate_at(step) for step in range(60, 110)] == [0.5] * 50


def test_a_schedule_is_loaded_as_it_was_saved() -> None:
    config = TrainConfig()
    schedule, loaded = Schedule(0.5, config, 400), Schedule(0.5, config)
    schedule.change_length(300, 900)
    loaded.load_state_dict(json.loads(json.dumps(schedule.state_dict())))

    assert [loaded.rate_at(s) for s in range(900)] == [schedule.rate_at(s) for s in range(900)]


def parameter_with_gradient(*values: float) -> nn.Parameter:
    parameter = nn.Parameter(torch.zeros(len(values)))
    parameter.grad = torch.tensor(values)
    return parameter


def test_clipping_by_norm_scales_the_whole_gradient() -> None:
    parameter = parameter_with_gradient(3.0, 4.0)
    norm = clip_gradients([parameter], TrainConfig(clip_grad_norm=1.0))

    assert float(norm) == pytest.approx(5.0)
    assert parameter.grad is not None
    assert parameter.grad.tolist() == pytest.approx([0.6, 0.8], rel=1e-5)


def test_a_small_gradient_is_not_clipped() -> None:
    parameter = parameter_with_gradient(0.3, 0.4)
    clip_gradients([parameter], TrainConfig(clip_grad_norm=1.0))

    assert parameter.grad is not None
    assert parameter.grad.tolist() == pytest.approx([0.3, 0.4])


def test_clipping_by_value_cuts_each_element() -> None:
    parameter = parameter_with_gradient(3.0, -0.1)
    clip_gradients([parameter], TrainConfig(clip_grad_norm=0, clip_grad_value=0.5))

    assert parameter.grad is not None
    assert parameter.grad.tolist() == pytest.approx([0.5, -0.1])


def test_no_clipping_still_gives_the_norm() -> None:
    parameter = parameter_with_gradient(30.0, 40.0)

    assert float(clip_gradients([parameter], TrainConfig(clip_grad_norm=0))) == pytest.approx(50)
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [30.0, 40.0]


def make_network() -> CharRNN:
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=5, embedding_size=3, hidden_size=4, num_layers=2)
    return CharRNN(config)


DECAYS = {
    "weight_decay_input": 0.1,
    "weight_decay_recurrent": 0.2,
    "weight_decay_output": 0.3,
    "weight_decay_embedding": 0.4,
    "weight_decay_bias": 0.5,
}


@pytest.mark.parametrize(
    ("name", "decay"),
    [
        ("embedding.weight", 0.4),
        ("layers.0.cell.weight_ih_l0", 0.1),
        ("layers.1.cell.weight_hh_l0", 0.2),
        ("layers.1.cell.bias_hh_l0", 0.5),
        ("layers.0.initial", 0.5),
        ("projection.weight", 0.3),
        ("output.weight", 0.3),
        ("output.bias", 0.5),
    ],
)
def test_each_kind_of_weight_has_its_own_decay(name: str, decay: float) -> None:
    assert weight_decay_of(name, TrainConfig(**DECAYS)) == decay


def test_adamw_moves_weights_as_torchs_own_does() -> None:
    ours, theirs = make_network(), make_network()
    optimizer = Optimizer(ours, TrainConfig(optimizer="adamw", **DECAYS), torch.float32)
    groups = [
        {"params": [p], "weight_decay": weight_decay_of(name, TrainConfig(**DECAYS))}
        for name, p in theirs.named_parameters()
        if p.requires_grad
    ]
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-8)
    for step in range(5):
        for group in reference.param_groups:
            group["lr"] = 0.01 / (step + 1)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.sin(a.detach() * (step + 1) * 7)
            b.grad = torch.sin(b.detach() * (step + 1) * 7)
        optimizer.step(0.01 / (step + 1))
        ours.zero_grad()
        reference.step()

    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_muon_moves_the_recurrent_layers_matrices_and_adamw_the_rest() -> None:
    state = Optimizer(make_network(), TrainConfig(), torch.float32).state_dict()

    matrices = {f"layers.{n}.cell.weight_{kind}_l0" for n in (0, 1) for kind in ("ih", "hh")}
    assert set(state["direction"]) == matrices
    assert "embedding.weight" in state["second_moment"]
    assert not matrices & set(state["second_moment"])


@pytest.mark.parametrize("rule", ["muon", "adamw"])
def test_a_projection_is_moved_by_adamw(rule: str) -> None:
    config = ModelConfig(vocab_size=5, embedding_size=3, hidden_size=4, tie_embeddings=True)
    state = Optimizer(CharRNN(config), TrainConfig(optimizer=rule), torch.float32).state_dict()

    assert "projection.weight" in state["second_moment"]
    assert "output.weight" not in state["second_moment"]


def test_a_learned_first_state_is_moved_and_a_zero_one_is_not() -> None:
    config = ModelConfig(vocab_size=5, embedding_size=3, hidden_size=4, initial_state="learned")

    assert "layers.0.initial" in Optimizer(CharRNN(config), TrainConfig(), torch.float32).names
    assert "layers.0.initial" not in Optimizer(make_network(), TrainConfig(), torch.float32).names


def test_an_average_follows_the_weights_with_its_memory() -> None:
    average, weights = [torch.tensor([1.0])], [torch.tensor([2.0])]
    update_average(average, weights, ema_weight_at(0.9, step=10_000))

    assert average[0].item() == pytest.approx(0.9 * 1 + 0.1 * 2)


def test_an_average_forgets_its_random_start_soon() -> None:
    average, weights = [torch.tensor([1.0])], [torch.tensor([0.0])]
    for step in range(1, 31):
        update_average(average, weights, ema_weight_at(0.999, step))

    assert math.isclose(average[0].item(), 0.0, abs_tol=1e-3)
