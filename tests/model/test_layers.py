"""Cells in plain operations are those of torch's layers, derivatives included."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.model import network
from charrnn.model.device import choose_precision
from charrnn.model.kernels import run_plain
from charrnn.model.network import RecurrentLayer

T, B, I, H = 7, 3, 5, 4  # noqa: E741
KINDS = {"lstm": "tanh", "gru": "tanh", "rnn": "relu", "tanh": "tanh", "logistic": "logistic"}


def make_layer(name: str) -> RecurrentLayer:
    cell = name if name in ("lstm", "gru") else "rnn"
    config = ModelConfig(
        cell=cell, nonlinearity=KINDS[name], hidden_size=H, initial_state="learned"
    )
    layer = RecurrentLayer(config, I)
    with torch.no_grad():
        for number, weight in enumerate(layer.parameters()):
            weight += 0.1 * torch.randn(weight.shape, generator=seeded(number))
    return layer


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(layer: RecurrentLayer, *, is_plain: bool = False) -> list[torch.Tensor]:
    """Return what comes out, and the gradients of a sum of it by the inputs and each weight."""
    inputs = torch.randn(T, B, I, generator=seeded(9)).requires_grad_()
    before = layer.initial_state(B)
    if is_plain:
        outputs, state = run_plain(layer.kind, inputs, before, layer._weights)
    else:
        outputs, state = layer(inputs, before)
    weighted = (torch.randn(part.shape, generator=seeded(5)) * part for part in (outputs, *state))
    total = torch.stack([part.sum() for part in weighted]).sum()
    return [outputs, *state, *torch.autograd.grad(total, [inputs, *layer.parameters()])]


@pytest.mark.parametrize("name", KINDS)
def test_plain_operations_compute_what_the_kernels_compute(name: str) -> None:
    layer = make_layer(name)
    for mine, other in zip(run(layer, is_plain=True), run(layer), strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


def test_an_apple_gpu_takes_plain_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []
    monkeypatch.setattr(network, "run_plain", lambda *given: taken.append(given[0]))
    layer = make_layer("lstm")
    layer(SimpleNamespace(device=torch.device("mps")), layer.initial_state(B))

    assert taken == ["lstm"]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_an_apple_gpu_computes_in_float32(precision: str) -> None:
    mps = torch.device("mps")

    assert choose_precision("auto", mps) == choose_precision("fp32", mps) == torch.float32
    with pytest.raises(ConfigError, match=f"mps does not support precision {precision}; leave"):
        choose_precision(precision, mps)


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs an Apple GPU")
@pytest.mark.parametrize("name", KINDS)
def test_on_an_apple_gpu_a_layer_is_what_it_is_on_the_processor(name: str) -> None:
    layer = make_layer(name)
    inputs = torch.randn(T, B, I, generator=seeded(9))
    expected, _ = layer(inputs, layer.initial_state(B))
    layer.to("mps")
    outputs, _ = layer(inputs.to("mps"), layer.initial_state(B))

    assert torch.allclose(outputs.cpu(), expected, atol=1e-5)
