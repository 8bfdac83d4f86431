"""The products of a network: their shapes and their flop, against closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from charrnn.bench.training import (
    Product,
    backward_products,
    forward_products,
    multiply,
    step_products,
    total_flop,
)
from charrnn.config import GATES, ModelConfig

T, B, V, E, H = 3, 2, 5, 6, 4
CPU = torch.device("cpu")


def model(**fields: Any) -> ModelConfig:
    return ModelConfig(**({"vocab_size": V, "embedding_size": E, "hidden_size": H} | fields))


@pytest.mark.parametrize("cell", GATES)
def test_the_products_of_a_step_are_those_of_the_equations(cell: str) -> None:
    gates = GATES[cell] * H

    assert step_products(model(cell=cell), B, T) == [
        Product(T * B, E, gates),
        Product(B, H, gates, T),
        Product(T * B, H, V),
        Product(T * B, V, H),
        Product(V, T * B, H),
        Product(B, gates, H, T),
        Product(gates, T * B, H),
        Product(T * B, gates, E),
        Product(gates, T * B, E),
    ]


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("num_layers", [1, 3])
def test_a_step_costs_six_flop_a_weight_and_character(cell: str, num_layers: int) -> None:
    config = model(cell=cell, num_layers=num_layers)
    above = (num_layers - 1) * 2 * H
    weights = GATES[cell] * H * (E + H + above) + H * V

    assert total_flop(forward_products(config, B, T)) == 2 * weights * T * B
    assert total_flop(step_products(config, B, T)) == 6 * weights * T * B


def test_a_tied_table_of_another_width_is_reached_by_a_projection() -> None:
    *_, projection, output = forward_products(model(tie_embeddings=True), B, T)

    assert (projection, output) == (Product(T * B, H, E), Product(T * B, E, V))


def test_the_backward_products_cost_twice_the_forward_ones() -> None:
    product = Product(2, 3, 5, times=7)

    assert product.flop == 2 * 2 * 3 * 5 * 7
    assert total_flop(backward_products(product)) == 2 * product.flop


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bare_products_have_the_counts_and_shapes_listed(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, ...]] = []

    def note(left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor) -> None:
        made.append((*left.shape, *right.shape, *out.shape, out.dtype))

    run = multiply([Product(2, 3, 5), Product(4, 6, 7, times=2)], CPU, dtype)
    monkeypatch.setattr(torch, "mm", note)
    run()

    assert made == [(2, 3, 3, 5, 2, 5, dtype), *2 * [(4, 6, 6, 7, 4, 7, dtype)]]
