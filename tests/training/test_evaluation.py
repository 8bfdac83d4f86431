"""Held-out loss by two protocols, against closed forms and a slow twin."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig
from charrnn.model.network import CharRNN, negative_log_likelihood
from charrnn.text.vocab import Vocab
from charrnn.training.evaluation import (
    Score,
    Stretch,
    compare_carried,
    compare_windowed,
    evaluate_carried,
)

VOCAB = Vocab("abcde")
Compare = Callable[..., list[Score]]


def make_network(cell: str = "gru", num_layers: int = 1, initial_state: str = "zero") -> CharRNN:
    torch.manual_seed(1)
    sizes = {"vocab_size": VOCAB.size, "embedding_size": 3, "hidden_size": 4}
    return CharRNN(
        ModelConfig(cell=cell, num_layers=num_layers, initial_state=initial_state, **sizes)
    )


def evaluate_windowed(model: CharRNN, ids: np.ndarray, vocab: Vocab, window: int = 256) -> Score:
    return compare_windowed([model], Stretch(ids), vocab, window=window)[0]


def make_ids(length: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, VOCAB.size, length).astype(np.uint8)


@torch.no_grad()
def score_in_one_go(model: CharRNN, ids: np.ndarray) -> float:
    """The slow twin: one lane, the whole text at once."""
    tokens = torch.from_numpy(ids.astype(np.int64))[None]
    logits, _ = model(tokens[:, :-1])
    return float(negative_log_likelihood(logits, tokens[:, 1:]).double().mean())


@pytest.mark.parametrize("evaluate", [evaluate_carried, evaluate_windowed])
def test_a_uniform_model_costs_log_v_nats(evaluate: object) -> None:
    model = make_network()
    torch.nn.init.zeros_(model.output.weight)

    score = evaluate(model, make_ids(700), VOCAB)  # type: ignore[operator]

    assert score.loss_nats == pytest.approx(math.log(VOCAB.size), rel=1e-6)


@pytest.mark.parametrize("length", [2, 3, 256, 257, 700])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_short_text_is_read_as_in_one_go(length: int, cell: str) -> None:
    model, ids = make_network(cell, num_layers=2, initial_state="learned"), make_ids(length)

    score = evaluate_carried(model, ids, VOCAB)

    assert score.loss_nats == pytest.approx(score_in_one_go(model, ids), rel=1e-6)
    assert score.chars == length - 1


@pytest.mark.parametrize("length", [2049, 5000, 9001])
def test_reading_in_lanes_changes_nothing_that_is_shown(length: int) -> None:
    model, ids = make_network(), make_ids(length)

    score = evaluate_carried(model, ids, VOCAB)

    assert score.loss_nats == pytest.approx(score_in_one_go(model, ids), abs=1e-5)


def test_windows_each_start_from_the_initial_state() -> None:
    model, ids = make_network(initial_state="learned"), make_ids(30)
    torch.nn.init.normal_(model.layers[0].initial)
    parts = [score_in_one_go(model, ids[i : i + 8]) * len(ids[i + 1 : i + 8]) for i in (0, 7, 14)]
    parts += [score_in_one_go(model, ids[21:29]) * 7, score_in_one_go(model, ids[28:30])]

    score = evaluate_windowed(model, ids, VOCAB, window=7)

    assert score.loss_nats == pytest.approx(sum(parts) / 29, rel=1e-6)


def test_a_long_window_is_the_carried_protocol() -> None:
    model, ids = make_network(), make_ids(90)

    windowed = evaluate_windowed(model, ids, VOCAB, window=1000)

    assert windowed.loss_nats == pytest.approx(score_in_one_go(model, ids), rel=1e-6)


def test_the_loss_is_per_character_where_a_character_takes_several_tokens() -> None:
    vocab = Vocab("ab", has_bytes=True)
    model = CharRNN(ModelConfig(cell="rnn", vocab_size=vocab.size, embedding_size=3, hidden_size=4))
    torch.nn.init.zeros_(model.output.weight)
    ids = vocab.encode("a漢b字")

    score = evaluate_carried(model, ids, vocab)

    assert score.chars == 3
    assert score.loss_nats == pytest.approx(math.log(vocab.size) * 7 / 3, rel=1e-6)


def test_evaluation_changes_no_weight_mode_or_random_state() -> None:
    model, ids = make_network("lstm"), make_ids(400)
    weights = [p.clone() for p in model.parameters()]
    random, mode = torch.get_rng_state(), model.training

    evaluate_carried(model, ids, VOCAB)
    evaluate_windowed(model, ids, VOCAB)

    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert torch.equal(random, torch.get_rng_state())
    assert model.training == mode
    assert all(p.grad is None for p in model.parameters())


def make_vocab_network(cell: str, hidden_size: int) -> CharRNN:
    sizes = {"vocab_size": VOCAB.size, "embedding_size": 3, "hidden_size": hidden_size}
    return CharRNN(ModelConfig(cell=cell, **sizes))


@pytest.mark.parametrize("compare", [compare_carried, compare_windowed])
def test_identical_models_average_to_the_single_figure(compare: Compare) -> None:
    model, ids = make_network(), make_ids(2100)

    single, average = compare([model], Stretch(ids), VOCAB)
    *each, of_three = compare([model] * 3, Stretch(ids), VOCAB)

    assert single == average
    assert each == [single] * 3
    assert of_three.loss_nats == pytest.approx(single.loss_nats, rel=1e-6)
    assert of_three.chars == single.chars


@pytest.mark.parametrize("compare", [compare_carried, compare_windowed])
def test_the_average_of_several_is_better_than_their_mean_loss(compare: Compare) -> None:
    torch.manual_seed(3)
    models = [make_vocab_network(cell, size) for cell, size in (("rnn", 4), ("lstm", 6))]
    ids = make_ids(2100)

    *each, average = compare(models, Stretch(ids), VOCAB)

    assert each == [compare([model], Stretch(ids), VOCAB)[0] for model in models]
    assert average.loss_nats < sum(score.loss_nats for score in each) / 2  # Jensen


@torch.no_grad()
def test_the_average_is_the_mean_of_probabilities_not_of_logits() -> None:
    torch.manual_seed(4)
    models, ids = [make_vocab_network("gru", size) for size in (4, 6, 7)], make_ids(50)
    tokens = torch.from_numpy(ids.astype(np.int64))[None]
    mean = torch.stack([m(tokens[:, :-1])[0].softmax(-1) for m in models]).mean(0)
    expected = -mean.gather(2, tokens[:, 1:, None]).log().mean()

    assert compare_carried(models, Stretch(ids), VOCAB)[-1].loss_nats == pytest.approx(
        float(expected)
    )


@pytest.mark.parametrize("compare", [compare_carried, compare_windowed])
@pytest.mark.parametrize("length", [3000, 20_000])
def test_every_token_that_was_scored_is_told_once(compare: Compare, length: int) -> None:
    told: list[int] = []

    compare([make_network("rnn")], Stretch(make_ids(length)), VOCAB, told.append)

    assert sum(told) == length - 1
