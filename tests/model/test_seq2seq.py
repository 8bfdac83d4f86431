"""Whole sources in, logits of target tokens out: alone as in a batch, and as the equations say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.network import numpy_state_dict, public_name
from charrnn.model.seq2seq import Seq2Seq, _AdditiveScores
from charrnn.training.optimizer import weight_decay_of
from tests.reference import seq2seq as reference

SHAPES: list[dict[str, Any]] = [
    *(
        {"cell": cell, "attention": attention, "bidirectional": both}
        for cell in ("lstm", "gru", "rnn")
        for attention in ("additive", "dot", "none")
        for both in (False, True)
    ),
    *({"cell": "rnn", "nonlinearity": each} for each in ("relu", "logistic")),
    *(
        {"num_layers": 3, "residual": True, "bidirectional": True, "attention": each}
        for each in ("additive", "none")
    ),
    {"num_layers": 1, "attention": "dot"},
    {"num_layers": 1, "attention": "none", "initial_state": "learned", "bidirectional": True},
]
END = 5
SOURCES = [[3, 1, 4, 1, 5], [2], [6, 5, 3], [5, 5, 5, 0, 1, 2, 3], [4, 0]]
TARGETS = [[0, 3, END], [1, 1, 4, 2, 0, END], [END], [2, 4, 0, END], [3, END]]


def make_seq2seq(dtype: torch.dtype = torch.float64, **shape: Any) -> Seq2Seq:
    sizes = {"vocab_size": 7, "embedding_size": 3, "hidden_size": 4, "target_size": 6}
    config = ModelConfig(task="seq2seq", **({"num_layers": 2} | sizes | shape))
    torch.manual_seed(3)
    model = Seq2Seq(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and states, too
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def pad(rows: list[list[int]], filler: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])


def lengths_of(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor([len(row) for row in rows])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_pair_is_read_as_if_it_were_alone(shape: dict[str, Any]) -> None:
    model = make_seq2seq(**shape)

    for filler in (6, 0):
        together = model(pad(SOURCES, filler), lengths_of(SOURCES), pad(TARGETS, -1))
        for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
            alone = model(*(torch.tensor(each) for each in ([source], [len(source)], [target])))
            found = together[row, : len(target)]
            torch.testing.assert_close(found, alone[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_are_those_of_the_equations(shape: dict[str, Any]) -> None:
    model = make_seq2seq(**shape)
    weights = {public_name(n): p.detach().numpy() for n, p in model.named_parameters()}
    found = model(pad(SOURCES, 6), lengths_of(SOURCES), pad(TARGETS, -1)).detach().numpy()

    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        expected = reference.logits(model.config, weights, source, target)
        np.testing.assert_allclose(found[row, : len(target)], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_files_weights_have_the_shapes_that_the_config_says(shape: dict[str, Any]) -> None:
    model = make_seq2seq(**shape)
    found = {name: weight.shape for name, weight in numpy_state_dict(model).items()}
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)

    assert found == model.config.weight_shapes()
    assert learned == model.config.num_parameters


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_the_slopes_of_the_loss(shape: dict[str, Any]) -> None:
    model = make_seq2seq(**shape)
    ids = pad(SOURCES, 6)
    targets = pad(TARGETS, -1)

    def loss() -> torch.Tensor:
        log_probs = model(ids, lengths_of(SOURCES), targets).log_softmax(2)
        of_targets = log_probs.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0]
        return -of_targets[targets >= 0].sum()

    loss().backward()  # type: ignore[no-untyped-call]
    step = 1e-5
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None
        direction = torch.randn_like(parameter)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * step)
                ends.append(loss().item())
                parameter.add_(direction, alpha=-sign * step)
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float((parameter.grad * direction).sum()) == pytest.approx(slope, 1e-5, 1e-7), name


@pytest.mark.parametrize("largest", [1, 9, 40, 150, 1 << 18])
def test_additive_scores_are_the_same_in_blocks_of_any_size(
    largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.model.seq2seq._LARGEST_BLOCK", largest)
    asked, keys, weight = (
        torch.randn(*size, dtype=torch.float64, requires_grad=True)
        for size in ((3, 5, 2), (3, 4, 2), (2,))
    )
    score = _AdditiveScores.apply

    expected = torch.tanh(asked[:, :, None] + keys[:, None]) @ weight
    torch.testing.assert_close(score(asked, keys, weight), expected)  # type: ignore[no-untyped-call]
    assert torch.autograd.gradcheck(score, (asked, keys, weight))


@pytest.mark.parametrize("large_alphabet", [1000, 6])
def test_the_loss_is_the_sum_of_what_each_token_of_a_target_costs(
    large_alphabet: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.model.heads.LARGE_ALPHABET", large_alphabet)
    model = make_seq2seq(torch.float32)
    ids = pad(SOURCES, 6)
    targets = pad(TARGETS, -1)

    loss, state = model.loss_sum(ids, targets, None, None, lengths_of(SOURCES))
    log_probs = model(ids, lengths_of(SOURCES), targets).log_softmax(2)
    expected = -sum(
        log_probs[row, place, token]
        for row, target in enumerate(TARGETS)
        for place, token in enumerate(target)
    )

    torch.testing.assert_close(loss, expected)
    assert state == model.initial_state(5) == ()


@pytest.mark.parametrize("attention", ["additive", "dot", "none"])
def test_every_weight_learns(attention: str) -> None:
    model = make_seq2seq(torch.float32, attention=attention, bidirectional=True)
    loss, _ = model.loss_sum(pad(SOURCES, 6), pad(TARGETS, -1), None, None, lengths_of(SOURCES))
    loss.backward()  # type: ignore[no-untyped-call]

    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_a_token_does_not_depend_on_those_after_it() -> None:
    model = make_seq2seq()
    first, second = (
        model(torch.tensor([[3, 1]]), torch.tensor([2]), torch.tensor([target]))
        for target in ([0, 3, 1, END], [0, 3, 4, END])
    )

    torch.testing.assert_close(first[0, :3], second[0, :3])
    assert not torch.allclose(first[0, 3], second[0, 3])


def test_without_attention_the_decoder_has_a_layer_less() -> None:
    layers = [len(make_seq2seq(attention=each).decoder) for each in ("additive", "dot", "none")]

    assert layers == [3, 3, 2]


def test_dropout_samples() -> None:
    model = make_seq2seq(dropout=0.5, bidirectional=True)
    given = pad(SOURCES, 6), lengths_of(SOURCES), pad(TARGETS, -1)
    generator = torch.Generator().manual_seed(1)

    first, second = (model(*given, generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(model(*given), model(*given))


def test_both_tables_decay_as_embeddings() -> None:
    config = TrainConfig(weight_decay_embedding=0.25, weight_decay_input=0.5)
    names = [name for name, _ in make_seq2seq().named_parameters() if "embedding" in name]

    assert names == ["embedding.weight", "target_embedding.weight"]
    assert [weight_decay_of(name, config) for name in names] == [0.25, 0.25]


@pytest.mark.parametrize("cell", ["gru", "rnn"])  # oneDNN has no LSTM this small in bfloat16
def test_autocast_comes_near_full_precision(cell: str) -> None:
    model = make_seq2seq(torch.float32, cell=cell, bidirectional=True)
    given = pad(SOURCES, 6), pad(TARGETS, -1), None, None, lengths_of(SOURCES)

    expected, _ = model.loss_sum(*given)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        loss, _ = model.loss_sum(*given)
    loss.backward()  # type: ignore[no-untyped-call]

    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=0.02)
