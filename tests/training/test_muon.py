"""Muon: orthogonal directions, each gate for itself, sizes that match AdamW's."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from charrnn.training.muon import Muon, orthogonalize

NAME = "matrix"


def make_parameter(*shape: int) -> nn.Parameter:
    generator = torch.Generator().manual_seed(1)
    parameter = nn.Parameter(torch.randn(*shape, generator=generator))
    parameter.grad = torch.randn(*shape, generator=generator)
    return parameter


def make_muon(
    parameter: nn.Parameter, *, gates: int = 1, every: int = 1, decay: float = 0.0
) -> Muon:
    return Muon({NAME: parameter}, {NAME: decay}, gates, torch.float32, every)


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(2))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)

    made = orthogonalize(matrix[None], torch.float32)[0]

    inner = left.T @ made @ right.T
    assert (inner - torch.diag(inner.diagonal())).abs().max() < 1e-4
    assert 0.6 < float(inner.diagonal().min()) <= float(inner.diagonal().max()) < 1.3


def test_a_gradient_of_zero_moves_nothing() -> None:
    parameter = make_parameter(4, 3)
    before, parameter.grad = parameter.detach().clone(), None

    make_muon(parameter).step(0.1, 1)

    torch.testing.assert_close(parameter.detach(), before)


def test_each_gate_is_made_orthogonal_for_itself() -> None:
    parameter = make_parameter(6, 3)
    assert parameter.grad is not None
    parameter.grad[3:] *= 1000  # one gate's large gradient leaves the other's step as it is
    twin = make_parameter(6, 3)
    make_muon(parameter, gates=2).step(0.1, 1)
    make_muon(twin, gates=2).step(0.1, 1)

    torch.testing.assert_close(parameter[:3], twin[:3])
    torch.testing.assert_close(parameter[3:], twin[3:], atol=1e-4, rtol=1e-3)


def test_a_steps_size_is_half_the_rate_for_each_number() -> None:
    parameter = make_parameter(16, 16)
    before = parameter.detach().clone()
    make_muon(parameter).step(0.01, 1)

    size = float((parameter.detach() - before).square().mean().sqrt())
    assert size == pytest.approx(0.5 * 0.01, rel=0.25)


def test_weight_decay_shrinks_by_the_steps_reach_times_decay() -> None:
    decayed, plain = make_parameter(5, 4), make_parameter(5, 4)
    before = decayed.detach().clone()
    make_muon(decayed, decay=0.3).step(0.1, 1)
    make_muon(plain).step(0.1, 1)

    shrunk = 0.1 * 0.5 * math.sqrt(5) * 0.3
    torch.testing.assert_close(plain.detach() - decayed.detach(), shrunk * before)


def test_between_iterations_it_moves_on_in_the_last_direction() -> None:
    parameter = make_parameter(4, 4)
    muon, places = make_muon(parameter, every=2), [parameter.detach().clone()]
    for update in range(1, 5):
        parameter.grad = torch.randn(4, 4, generator=torch.Generator().manual_seed(update))
        muon.step(0.1, update)
        places.append(parameter.detach().clone())
    moves = [after - before for before, after in itertools.pairwise(places)]

    torch.testing.assert_close(moves[1], moves[0])
    assert not torch.allclose(moves[2], moves[1])
    torch.testing.assert_close(moves[3], moves[2])


def test_bfloat16_products_give_nearly_the_same_direction() -> None:
    matrices = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(4))

    exact = orthogonalize(matrices, torch.float32)
    near = orthogonalize(matrices, torch.bfloat16)

    cosine = nn.functional.cosine_similarity(exact.flatten(), near.flatten(), dim=0)
    assert math.isclose(float(cosine), 1.0, abs_tol=0.01)
