"""Cells in plain operations are those of torch's layers, derivatives included."""

from __future__ import annotations

import pytest
import torch

from charrnn.errors import ConfigError
from charrnn.model import layers
from charrnn.model.device import choose_precision
from charrnn.model.layers import RecurrentLayer, run_plain

T, B, I, H = 7, 3, 5, 4  # noqa: E741
KINDS = {"lstm": "tanh", "gru": "tanh", "rnn": "relu", "tanh": "tanh", "logistic": "logistic"}


def make_layer(name: str) -> RecurrentLayer:
    cell = name if name in ("lstm", "gru") else "rnn"
    layer = RecurrentLayer(cell, KINDS[name], I, H, has_learned_state=True)
    with torch.no_grad():
        for number, weight in enumerate(layer.parameters()):
            weight += 0.1 * torch.randn(weight.shape, generator=seeded(number))
    return layer


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(layer: RecurrentLayer) -> list[torch.Tensor]:
    """Give what comes out, and the derivatives of a sum of it by what goes in and each weight."""
    inputs = torch.randn(T, B, I, generator=seeded(9)).requires_grad_()
    outputs, state = layer(inputs, layer.initial_state(B))
    weighted = (torch.randn(part.shape, generator=seeded(5)) * part for part in (outputs, *state))
    total = torch.stack([part.sum() for part in weighted]).sum()
    return [outputs, *state, *torch.autograd.grad(total, [inputs, *layer.parameters()])]


@pytest.mark.parametrize("name", KINDS)
def test_an_apple_gpu_gets_what_a_processor_gets(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, taken = make_layer(name), []
    expected = run(layer)

    def watched(*given: object) -> object:
        taken.append(given[0])
        return run_plain(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(layers, "run_plain", watched)
    monkeypatch.setattr(layers, "_is_apples", lambda _: True)
    for mine, other in zip(run(layer), expected, strict=True):
        assert torch.allclose(mine, other, atol=1e-6)
    assert taken == [layer.kind]


def test_only_an_apple_gpu_is_an_apples() -> None:
    kinds = {kind: layers._is_apples(torch.device(kind)) for kind in ("cpu", "cuda", "mps")}

    assert kinds == {"cpu": False, "cuda": False, "mps": True}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_an_apple_gpu_computes_in_float32(precision: str) -> None:
    mps = torch.device("mps")

    assert choose_precision("auto", mps) == choose_precision("fp32", mps) == torch.float32
    with pytest.raises(ConfigError, match=f"precision {precision} is not for mps; leave"):
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
