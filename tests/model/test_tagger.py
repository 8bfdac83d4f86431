"""Whole records in, tags of their positions out: exhaustive sums and searches say what is right."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig
from charrnn.generation import tagger as inference
from charrnn.model.network import numpy_state_dict
from charrnn.model.tagger import PADDING, Tagger, Transitions
from tests.model.test_classifier import pad

SHAPES: list[dict[str, Any]] = [
    *({"cell": cell, "bidirectional": both} for cell in ("lstm", "gru") for both in (False, True)),
    *({"cell": "rnn", "nonlinearity": each} for each in ("tanh", "relu", "logistic")),
    {"num_layers": 3, "residual": True, "bidirectional": True},
    {"num_layers": 2, "head_size": 0, "cell": "gru", "bidirectional": True},
    {"initial_state": "learned", "bidirectional": True},
]
ALL_SHAPES = [shape | {"transitions": chain} for shape in SHAPES for chain in (False, True)]
RECORDS = [[3, 1, 4, 1, 5], [2], [6, 5, 3], [5, 5, 0, 1], [4, 0]]
TAGS = [[0, 2, 1, 1, 2], [1], [2, 2, 0], [0, 1, 0, 2], [1, 0]]
K = 3


def make_tagger(dtype: torch.dtype = torch.float64, **shape: Any) -> Tagger:
    sizes = {"vocab_size": 7, "embedding_size": 6, "hidden_size": 4, "class_count": K}
    config = ModelConfig(task="tagging", **({"head_size": 5} | sizes | shape))
    torch.manual_seed(3)
    model = Tagger(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():  # biases, states and transitions, too
            parameter.add_(0.5 * torch.randn_like(parameter))
    return model


def twin_of(model: Tagger) -> inference.Tagger:
    return inference.Tagger(model.config, numpy_state_dict(model))


def pad_tags(tags: list[list[int]]) -> torch.Tensor:
    return pad(tags, filler=PADDING)[0]


def record_loss(model: Tagger, record: list[int], tags: list[int]) -> torch.Tensor:
    ids, lengths = pad([record])
    return model.loss_sum(ids, pad_tags([tags]), None, None, lengths)[0]


@torch.no_grad()
def all_scores(model: Tagger, record: list[int]) -> dict[tuple[int, ...], float]:
    """Return the score of every row of tags that a record can have, term by term."""
    logits = model(*pad([record]))[:, 0].tolist()
    scores = {}
    for path in itertools.product(range(K), repeat=len(record)):
        total = sum(row[tag] for row, tag in zip(logits, path, strict=True))
        if model.transitions is not None:
            total += float(model.transitions.start[path[0]] + model.transitions.end[path[-1]])
            total += sum(float(model.transitions.weight[pair]) for pair in itertools.pairwise(path))
        scores[path] = total
    return scores


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
def test_a_batch_costs_what_its_records_cost_alone(shape: dict[str, Any]) -> None:
    model = make_tagger(**shape)
    alone = sum(record_loss(model, *pair) for pair in zip(RECORDS, TAGS, strict=True))

    for filler in (0, 6):  # what comes after a record's end is not looked at
        ids, lengths = pad(RECORDS, filler)
        together, state = model.loss_sum(ids, pad_tags(TAGS), None, None, lengths)
        torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
        assert state == model.initial_state(5) == ()


@pytest.mark.parametrize("shape", [{"transitions": False}, {"transitions": True}], ids=str)
def test_the_loss_is_the_share_of_one_row_of_tags_among_all(shape: dict[str, Any]) -> None:
    model = make_tagger(bidirectional=True, **shape)

    for record, tags in zip(RECORDS, TAGS, strict=True):
        scores = all_scores(model, record)
        log_partition = np.logaddexp.reduce(list(scores.values()))
        expected = log_partition - scores[tuple(tags)]
        assert record_loss(model, record, tags).item() == pytest.approx(expected, rel=1e-9)


def test_tags_that_never_follow_one_another_leave_sums_and_slopes_finite() -> None:
    chain = Transitions(2)
    with torch.no_grad():
        chain.weight.copy_(torch.tensor([[0.0, -500.0], [-500.0, 0.0]]))
    logits = torch.tensor([[[0.0, 300.0]], [[200.0, 0.0]]], requires_grad=True)

    nats = chain.losses(logits, torch.tensor([[0], [0]]), torch.tensor([2])).sum()
    nats.backward()  # type: ignore[no-untyped-call]

    assert 100 <= nats.item() < 500  # the best row, [1, 1], has 300, and the true one 200
    assert all(torch.isfinite(each.grad).all() for each in (logits, *chain.parameters()))


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
def test_gradients_are_the_slopes_of_the_loss(shape: dict[str, Any]) -> None:
    model = make_tagger(**shape)
    ids, lengths = pad(RECORDS)
    targets = pad_tags(TAGS)

    def loss() -> torch.Tensor:
        return model.loss_sum(ids, targets, None, None, lengths)[0]

    loss().backward()  # type: ignore[no-untyped-call]
    step = 1e-6
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None
        flat = parameter.data.view(-1)
        for index in range(0, len(flat), max(1, len(flat) // 3)):
            before = float(flat[index])
            ends = []
            for sign in (1, -1):
                flat[index] = before + sign * step
                ends.append(loss().item())
            flat[index] = before
            slope = (ends[0] - ends[1]) / (2 * step)
            found = float(parameter.grad.flatten()[index])
            assert found == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_the_slope_of_a_chain_is_right_in_every_logit() -> None:
    chain = Transitions(K).double()
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.normal_()
    logits = torch.randn(5, 5, K, dtype=torch.float64, requires_grad=True)
    tags = pad_tags(TAGS).t()
    lengths = pad(TAGS)[1]

    assert torch.autograd.gradcheck(lambda each: chain.losses(each, tags, lengths), (logits,))


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
def test_the_files_weights_have_the_shapes_that_the_config_says(shape: dict[str, Any]) -> None:
    model = make_tagger(**shape)
    found = {name: weight.shape for name, weight in numpy_state_dict(model).items()}

    assert found == model.config.weight_shapes()


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
def test_numpy_costs_what_torch_costs(
    shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_tagger(torch.float32, **shape)
    network = twin_of(model)
    pairs = zip(RECORDS, TAGS, strict=True)
    expected = [record_loss(model, *pair).item() for pair in pairs]
    ids = [np.array(record) for record in RECORDS]
    tags = [np.array(each) for each in TAGS]

    for block in (1 << 14, 8):
        monkeypatch.setattr("charrnn.generation.encoder._BLOCK_TOKENS", block)
        np.testing.assert_allclose(network.nats(ids, tags), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pairs_together", [1, 1 << 18])
@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
def test_the_best_tags_are_those_of_an_exhaustive_search(
    shape: dict[str, Any], pairs_together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.generation.tagger._MAX_PAIRS", pairs_together)
    model = make_tagger(torch.float32, **shape)
    scores = [all_scores(model, record) for record in RECORDS]

    found = twin_of(model).tags([np.array(record) for record in RECORDS])

    assert [tuple(each) for each in found] == [max(each, key=each.__getitem__) for each in scores]


@pytest.mark.parametrize("shape", [{"transitions": False}, {"transitions": True}], ids=str)
def test_the_probability_of_a_tag_is_the_share_of_all_rows_that_have_it(
    shape: dict[str, Any],
) -> None:
    model = make_tagger(torch.float32, bidirectional=True, **shape)

    records = [np.array(record) for record in RECORDS]
    found = twin_of(model).probable_tags(records)

    for tags, (best, _) in zip(twin_of(model).tags(records), found, strict=True):
        np.testing.assert_array_equal(best, tags)
    for record, (_, probabilities) in zip(RECORDS, found, strict=True):
        shares = np.zeros((len(record), K))
        for path, score in all_scores(model, record).items():
            shares[np.arange(len(path)), path] += np.exp(score)
        shares /= shares.sum(1, keepdims=True)
        np.testing.assert_allclose(probabilities, shares, rtol=1e-4)
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)


def test_a_network_of_many_tags_chooses_the_best_row_too() -> None:
    model = make_tagger(torch.float32, class_count=700, transitions=True)
    record = np.array(RECORDS[0])
    network = twin_of(model)
    [best] = network.tags([record])
    rng = np.random.default_rng(1)
    others = [best.copy() for _ in range(50)]
    for other in others:
        other[rng.integers(len(best))] = rng.integers(700)

    nats = network.nats([record] * 51, [best, *others])
    assert nats[0] == nats.min()


def test_no_texts_have_no_tags() -> None:
    network = twin_of(make_tagger(transitions=True))

    assert network.tags([]) == network.probable_tags([]) == []
    assert network.nats([], []).shape == (0,)


def test_dropout_changes_the_loss_of_training_alone() -> None:
    model = make_tagger(dropout=0.5, transitions=True)
    ids, lengths = pad(RECORDS)
    generator = torch.Generator().manual_seed(1)

    losses = [
        model.loss_sum(ids, pad_tags(TAGS), None, each, lengths)[0]
        for each in (generator, generator, None, None)
    ]
    assert losses[0] != losses[1]
    assert losses[2] == losses[3]
