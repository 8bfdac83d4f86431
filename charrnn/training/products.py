"""The matrix products that a network cannot do without, as shapes: what its floor of time is.

Everything else that a step does (gates, softmax, clipping, AdamW, averages) comes on top.

B = lanes, T = window length, I = input size, H = hidden size, G = gates, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from charrnn.config import GATES, ModelConfig


@dataclass(frozen=True)
class Product:
    """(rows × inner)·(inner × columns), done `times` times, each waiting for the one before."""

    rows: int
    inner: int
    columns: int
    times: int = 1

    @property
    def flop(self) -> int:
        """Multiplications and additions, all times together."""
        return 2 * self.rows * self.inner * self.columns * self.times


def forward_products(model: ModelConfig, batch_size: int, seq_len: int) -> list[Product]:
    """Give those of one window forward: the inputs of all times at once, the states in turn."""
    rows, gates = seq_len * batch_size, GATES[model.cell] * model.hidden_size
    products, input_size = [], model.embedding_size
    for _ in range(model.num_layers):
        products.append(Product(rows, input_size, gates))
        products.append(Product(batch_size, model.hidden_size, gates, seq_len))
        input_size = model.hidden_size
    if model.has_projection:
        products.append(Product(rows, input_size, model.embedding_size))
        input_size = model.embedding_size
    return [*products, Product(rows, input_size, model.vocab_size)]


def backward_products(product: Product) -> list[Product]:
    """Give the two that take a gradient back through `product`.

    That of the left factor comes as often as the product did; that of the weights is one sum over
    all rows of all times.
    """
    return [
        Product(product.rows, product.columns, product.inner, product.times),
        Product(product.columns, product.rows * product.times, product.inner),
    ]


def step_products(model: ModelConfig, batch_size: int, seq_len: int) -> list[Product]:
    """Give those of one training step, forward and backward."""
    forward = forward_products(model, batch_size, seq_len)
    return forward + [each for product in reversed(forward) for each in backward_products(product)]


def total_flop(products: Iterable[Product]) -> int:
    """Add up their multiplications and additions."""
    return sum(product.flop for product in products)


def make_bare(
    products: Iterable[Product], device: torch.device, dtype: torch.dtype
) -> Callable[[], None]:
    """Give an action that makes the products one after another, into memory that is there."""
    calls: list[tuple[Tensor, Tensor, Tensor]] = []
    for each in products:
        left = torch.randn(each.times, each.rows, each.inner, device=device).to(dtype)
        right = torch.randn(each.inner, each.columns, device=device).to(dtype)
        out = torch.empty(each.times, each.rows, each.columns, device=device, dtype=dtype)
        calls += [(a, right, b) for a, b in zip(left.unbind(), out.unbind(), strict=True)]

    def run() -> None:
        for left, right, out in calls:
            torch.mm(left, right, out=out)

    return run
