"""The written-out backpropagation through time, against torch's layers and against differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from charrnn.config import ModelConfig
from charrnn.model import kernels
from charrnn.model.kernels import Weights, run_gru, run_rnn
from charrnn.model.network import RecurrentLayer

T, B, INPUTS, H = 5, 3, 4, 6
CELLS = ("gru", "tanh", "relu", "logistic")


def run(kind: str, inputs: Tensor, state: Tensor, weights: Weights) -> Tensor:
    if kind == "gru":
        return run_gru(inputs, state, weights)
    return run_rnn(inputs, state, weights, kind)


def torch_layer(kind: str, hidden_size: int = H) -> nn.RNNBase:
    torch.manual_seed(1)
    if kind == "gru":
        return nn.GRU(INPUTS, hidden_size)
    return nn.RNN(INPUTS, hidden_size, nonlinearity=kind)


def arguments(hidden_size: int = H, batch_size: int = B) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, a first state, and what the outputs are weighed with to make a loss."""
    generator = torch.Generator().manual_seed(2)
    shapes = ((T, batch_size, INPUTS), (batch_size, hidden_size), (T, batch_size, hidden_size))
    inputs, state, scales = (torch.randn(shape, generator=generator) for shape in shapes)
    return inputs.requires_grad_(), state.requires_grad_(), scales


def gradients(outputs: Tensor, scales: Tensor, sources: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return torch.autograd.grad((outputs.float() * scales).sum(), sources)


@pytest.mark.parametrize("kind", ["gru", "tanh", "relu"])
def test_outputs_and_gradients_are_those_of_torchs_layer(kind: str) -> None:
    layer, (inputs, state, scales) = torch_layer(kind), arguments()
    sources = (inputs, state, *layer.parameters())

    theirs, _ = layer(inputs, state[None])
    ours = run(kind, inputs, state, tuple(layer.parameters()))

    torch.testing.assert_close(ours, theirs)
    for one, other in zip(
        gradients(ours, scales, sources), gradients(theirs, scales, sources), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", CELLS)
def test_gradients_are_what_small_differences_say(kind: str) -> None:
    generator = torch.Generator().manual_seed(3)
    gates = 3 if kind == "gru" else 1
    shapes = (
        (T, B, INPUTS),
        (B, H),
        (gates * H, INPUTS),
        (gates * H, H),
        (gates * H,),
        (gates * H,),
    )
    values = [torch.randn(s, generator=generator, dtype=torch.float64) / 2 for s in shapes]

    def outputs(inputs: Tensor, state: Tensor, *weights: Tensor) -> Tensor:
        return run(kind, inputs, state, weights)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(outputs, [value.requires_grad_() for value in values])


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("kind", ["gru", "tanh"])
def test_bfloat16_products_stay_near_those_of_float32(
    kind: str, is_packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_LARGE_MATRIX", 0)
    monkeypatch.setattr(kernels, "_CAN_PACK", is_packed and kernels._CAN_PACK)
    layer, (inputs, state, scales) = torch_layer(kind, 32), arguments(32, 16)
    weights: Weights = tuple(layer.parameters())  # type: ignore[assignment]
    sources = (inputs, state, *weights)

    exact = run(kind, inputs, state, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = run(kind, inputs, state, weights)

    assert near.dtype == torch.float32
    assert not torch.equal(near, exact)
    torch.testing.assert_close(near, exact, atol=0.03, rtol=0.03)
    for one, other in zip(
        gradients(near, scales, sources), gradients(exact, scales, sources), strict=True
    ):
        assert float((one - other).norm() / other.norm()) < 0.03


def extreme_arguments(kind: str, window: int) -> tuple[Tensor, Tensor, Weights]:
    """Return inputs, a state, and input weights of ±100; the recurrence forgets fast."""
    generator = torch.Generator().manual_seed(4)
    gates, size = (3 if kind == "gru" else 1), 16
    signs = torch.randn(gates * size, INPUTS, generator=generator).sign()
    recurrent = torch.randn(gates * size, size, generator=generator) / (4 * size)
    biases = torch.randn(gates * size, generator=generator)
    inputs = torch.randn(window, 2, INPUTS, generator=generator)
    state = torch.randn(2, size, generator=generator)
    return inputs, state, (100 * signs, recurrent, biases, biases)


@pytest.mark.parametrize("kind", CELLS)
def test_bfloat16_stays_near_float64_with_weights_of_100_and_over_a_long_window(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_LARGE_MATRIX", 0)
    inputs, state, weights = extreme_arguments(kind, window=600)
    rounded = inputs.bfloat16().float()  # what the products read, so that no sum loses its sign
    ours = [each.clone().requires_grad_() for each in (rounded, state, *weights)]
    exact = [each.double().requires_grad_() for each in (rounded, state, *weights)]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = run(kind, ours[0], ours[1], tuple(ours[2:]))  # type: ignore[arg-type]
    expected = run(kind, exact[0], exact[1], tuple(exact[2:]))  # type: ignore[arg-type]

    assert float((near - expected).detach().norm() / expected.detach().norm()) < 0.02
    for one, other in zip(
        torch.autograd.grad(near.sum(), ours),
        torch.autograd.grad(expected.sum(), exact),
        strict=True,
    ):
        assert one.isfinite().all()
        assert float((one - other).norm()) <= 0.05 * float(other.norm()) + 1e-6


def test_in_bfloat16_a_state_that_changes_slowly_still_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "_LARGE_MATRIX", 0)
    window, size = 1000, 16
    zeros = torch.zeros(3 * size)
    bias = torch.cat((zeros[:size], zeros[:size] + 7, zeros[:size] + 2))  # of r, z and n
    weights = (torch.zeros(3 * size, INPUTS), torch.zeros(3 * size, size), bias, zeros)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = run_gru(torch.zeros(window, 1, INPUTS), torch.zeros(1, size), weights)

    # h = n (1 − zᵗ): each change is a thousandth of h, which bfloat16 cannot hold.
    kept = 1 / (1 + math.exp(-7))
    assert float(outputs[-1, 0, 0]) == pytest.approx(math.tanh(2) * (1 - kept**window), rel=1e-3)


@pytest.mark.parametrize("kind", ["gru", "tanh"])
def test_two_half_windows_are_one_whole(kind: str) -> None:
    layer, (inputs, state, _) = torch_layer(kind), arguments()
    weights: Weights = tuple(layer.parameters())  # type: ignore[assignment]

    whole = run(kind, inputs, state, weights)
    first = run(kind, inputs[:2], state, weights)
    second = run(kind, inputs[2:], first[-1], weights)

    torch.testing.assert_close(torch.cat((first, second)), whole)


def test_a_gpus_road_to_the_logistic_layer_gives_the_same() -> None:
    config = ModelConfig(cell="rnn", nonlinearity="logistic", hidden_size=H)
    layer, (inputs, state, _) = RecurrentLayer(config, INPUTS), arguments()

    ours, (last,) = layer(inputs, (state,))
    theirs, (their_last,) = layer._run_logistic(inputs, (state,))

    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(last, their_last)
