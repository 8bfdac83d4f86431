"""The output layer with its loss, written out for large alphabets, against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from charrnn.model import heads
from charrnn.model.heads import loss_sum, token_losses

N, H, V = 7, 4, 11


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute three positions at a time."""
    monkeypatch.setattr(heads, "LARGEST_BLOCK", 3 * V)


def arguments(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((N, H), (V, H), (V,))
    values = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    features, weight, bias = (value.requires_grad_() for value in values)
    return features, weight, bias, torch.randint(V, (N,), generator=generator)


def torchs_own(features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(
        nn.functional.linear(features, weight, bias), targets, reduction="none"
    )


def test_nats_are_those_of_torch() -> None:
    torch.testing.assert_close(token_losses(*arguments()), torchs_own(*arguments()))


def test_the_total_and_its_gradients_are_those_of_torch() -> None:
    ours, theirs = arguments(), arguments()

    total, expected = loss_sum(*ours), torchs_own(*theirs).sum()
    (total / 3).backward()  # type: ignore[no-untyped-call]
    (expected / 3).backward()  # type: ignore[no-untyped-call]

    torch.testing.assert_close(total, expected)
    for one, other in zip(ours[:3], theirs[:3], strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_gradients_are_what_small_differences_say() -> None:
    *sources, targets = arguments(torch.float64)

    assert torch.autograd.gradcheck(lambda *s: loss_sum(*s, targets), sources)


def test_an_unlikely_character_among_huge_logits_has_finite_nats() -> None:
    features = torch.tensor([[1.0], [1.0]])
    weight, targets = torch.tensor([[500.0], [-500.0]]), torch.tensor([0, 1])

    assert token_losses(features, weight, torch.zeros(2), targets).tolist() == [0.0, 1000.0]


def test_bfloat16_products_of_extreme_weights_stay_near_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heads, "LARGEST_BLOCK", 300 * V)
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(2000, H, generator=generator)
    weight = 100 * torch.randn(V, H, generator=generator).sign()
    targets = torch.randint(V, (2000,), generator=generator)
    values = [features.bfloat16().float(), weight, torch.zeros(V)]
    ours = [value.clone().requires_grad_() for value in values]
    exact = [value.double().requires_grad_() for value in values]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss_sum(*ours, targets)
    expected = torchs_own(*exact, targets).sum()

    torch.testing.assert_close(total.double(), expected, rtol=1e-3, atol=0.0)
    for one, other in zip(
        torch.autograd.grad(total, ours), torch.autograd.grad(expected, exact), strict=True
    ):
        assert float((one - other).norm() / other.norm()) < 0.05


def test_bfloat16_products_stay_near_those_of_float32() -> None:
    ours, exact = arguments(), arguments()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss_sum(*ours)
    total.backward()  # type: ignore[no-untyped-call]
    torchs_own(*exact).sum().backward()  # type: ignore[no-untyped-call]

    torch.testing.assert_close(total, torchs_own(*exact).sum(), rtol=0.02, atol=0.0)
    for one, other in zip(ours[:3], exact[:3], strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert float((one.grad - other.grad).norm() / other.grad.norm()) < 0.02
