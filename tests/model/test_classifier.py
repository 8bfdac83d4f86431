"""Whole records in, logits of classes out: alone as in a batch, in torch as in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from charrnn.config import ModelConfig
from charrnn.generation import classifier as inference
from charrnn.model.classifier import Classifier
from charrnn.model.network import numpy_state_dict
from tests.reference import recurrent

SHAPES: list[dict[str, Any]] = [
    *({"cell": cell, "bidirectional": both} for cell in ("lstm", "gru") for both in (False, True)),
    *({"cell": "rnn", "nonlinearity": each} for each in ("tanh", "relu", "logistic")),
    *({"pooling": each, "bidirectional": True} for each in ("last", "mean", "max", "attention")),
    {"pooling": "last"},
    {"num_layers": 3, "residual": True, "bidirectional": True},
    {"num_layers": 2, "head_size": 0, "cell": "gru", "bidirectional": True},
    {"initial_state": "learned", "bidirectional": True},
]
RECORDS = [[3, 1, 4, 1, 5], [2], [6, 5, 3], [5, 5, 5, 0, 1, 2, 3], [4, 0]]


def make_classifier(dtype: torch.dtype = torch.float64, **shape: Any) -> Classifier:
    sizes = {"vocab_size": 7, "embedding_size": 3, "hidden_size": 4, "class_count": 3}
    config = ModelConfig(task="classification", **({"head_size": 5} | sizes | shape))
    torch.manual_seed(3)
    model = Classifier(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and states, too
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def pad(records: list[list[int]], filler: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, records))
    rows = [record + [filler] * (longest - len(record)) for record in records]
    return torch.tensor(rows), torch.tensor([len(record) for record in records])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_record_is_read_as_if_it_were_alone(shape: dict[str, Any]) -> None:
    model = make_classifier(**shape)

    together = model(*pad(RECORDS))
    others = model(*pad(RECORDS, filler=0))
    alone = torch.cat([model(*pad([record])) for record in RECORDS])

    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(others, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_numpy_reads_what_torch_reads(
    shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_classifier(torch.float32, **shape)
    network = inference.Classifier(model.config, numpy_state_dict(model))
    expected = model(*pad(RECORDS)).log_softmax(1).detach().numpy()
    ids = [np.array(record) for record in RECORDS]

    for block in (1 << 14, 8):
        monkeypatch.setattr("charrnn.generation.encoder._BLOCK_TOKENS", block)
        np.testing.assert_allclose(network.log_probs(ids), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_files_weights_have_the_shapes_that_the_config_says(shape: dict[str, Any]) -> None:
    model = make_classifier(**shape)
    found = {name: weight.shape for name, weight in numpy_state_dict(model).items()}

    assert found == model.config.weight_shapes()


def slow_features(model: Classifier, record: list[int]) -> np.ndarray[Any, Any]:
    """Return the features (T, D) of one record, straight from the equations."""
    config = model.config
    weights = {name: w.astype(np.float64) for name, w in exact_weights(model).items()}
    step, _ = recurrent.cell_steps(config)
    features = weights["embedding.weight"][record]
    for depth in range(config.num_layers):
        outputs = []
        for direction in ("", "_reverse")[: 1 + config.bidirectional]:
            own = {
                name: weights[f"layers.{depth}.{name}{direction}"]
                for name in recurrent.LAYER_WEIGHTS
            }
            state = tuple(weights[f"layers.{depth}.initial{direction}"][:, None])
            rows = []
            for x in features[:: -1 if direction else 1]:
                state, _ = step(own, x[None], state)
                rows.append(state[0][0])
            outputs.append(np.stack(rows[:: -1 if direction else 1]))
        made = np.concatenate(outputs, 1)
        features = made + features if config.residual and depth else made
    return features


def exact_weights(model: Classifier) -> dict[str, np.ndarray[Any, Any]]:
    from charrnn.model.network import public_name

    return {public_name(n): p.detach().numpy() for n, p in model.named_parameters()}


def slow_logits(model: Classifier, record: list[int]) -> np.ndarray[Any, Any]:
    """Return the logits (K,) of one record, straight from the equations."""
    weights = exact_weights(model)
    features = slow_features(model, record)
    size = model.config.hidden_size
    scores = np.exp(features @ weights.get("attention.weight", np.zeros((1, features.shape[1]))).T)
    pooled = {
        "last": np.concatenate((features[-1, :size], features[0, size:])),
        "mean": features.mean(0),
        "max": features.max(0),
        "mean-max": np.concatenate((features.mean(0), features.max(0))),
        "attention": (scores / scores.sum() * features).sum(0),
    }[model.config.pooling]
    if "hidden.weight" in weights:
        pooled = np.tanh(weights["hidden.weight"] @ pooled + weights["hidden.bias"])
    logits: np.ndarray[Any, Any] = weights["output.weight"] @ pooled + weights["output.bias"]
    return logits


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_are_those_of_the_equations(shape: dict[str, Any]) -> None:
    model = make_classifier(**shape)
    logits = model(*pad(RECORDS)).detach().numpy()

    expected = np.stack([slow_logits(model, record) for record in RECORDS])
    np.testing.assert_allclose(logits, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_the_slopes_of_the_loss(shape: dict[str, Any]) -> None:
    model = make_classifier(**shape)
    ids, lengths = pad(RECORDS)
    targets = torch.tensor([0, 2, 1, 1, 0])

    def loss() -> torch.Tensor:
        return functional.cross_entropy(model(ids, lengths), targets, reduction="sum")

    loss().backward()  # type: ignore[no-untyped-call]
    step = 1e-6
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        flat = parameter.data.flatten()
        for index in range(0, len(flat), max(1, len(flat) // 3)):
            before = float(flat[index])
            ends = []
            for sign in (1, -1):
                parameter.data.view(-1)[index] = before + sign * step
                ends.append(loss().item())
            parameter.data.view(-1)[index] = before
            assert parameter.grad is not None
            slope = (ends[0] - ends[1]) / (2 * step)
            assert float(parameter.grad.flatten()[index]) == pytest.approx(
                slope, rel=1e-4, abs=1e-6
            )


def test_dropout_samples_and_keeps_the_mean() -> None:
    model = make_classifier(dropout=0.5, bidirectional=True)
    ids, lengths = pad(RECORDS)
    generator = torch.Generator().manual_seed(1)

    first, second = (model(ids, lengths, generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(model(ids, lengths), model(ids, lengths))


def test_the_loss_is_the_sum_of_what_each_class_costs() -> None:
    model = make_classifier(torch.float32)
    ids, lengths = pad(RECORDS)
    targets = torch.tensor([0, 2, 1, 1, 0])

    loss, state = model.loss_sum(ids, targets, None, None, lengths)
    log_probs = model(ids, lengths).log_softmax(1)

    torch.testing.assert_close(loss, -log_probs[torch.arange(5), targets].sum())
    assert state == model.initial_state(5) == ()
