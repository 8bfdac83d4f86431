"""A network that writes targets is kept at the temperature that suits it best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import TextConfig, TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.model.network import load_numpy_state_dict
from charrnn.model.seq2seq import PADDING, Seq2Seq
from charrnn.training.loop import train
from charrnn.training.record_evaluation import (
    HeldOutRecords,
    make_held_out,
    records_of,
    score_records,
)
from charrnn.training.reports import Evaluation, Started
from charrnn.training.world import SINGLE_PROCESS
from tests.model.test_seq2seq import make_seq2seq

CONFIG = TrainConfig(
    steps=240,
    hidden_size=16,
    batch_size=8,
    dropout=0.0,
    learning_rate=0.02,
    precision="fp32",
    eval_every=40,
    patience=0,
)


@pytest.fixture(scope="module")
def pairs() -> Corpus:
    """Sources of random letters, and targets that a network can only learn by heart."""
    rng = np.random.default_rng(1)
    lines = []
    for _ in range(160):
        source = "".join(rng.choice(list("abcd"), size=rng.integers(2, 6)))
        lines.append(f"{source}\t{source.upper() if rng.random() < 0.7 else source}")
    config = TextConfig(pairs=True, format="tsv", val_fraction=0.3)
    return corpus_from_text("\n".join(lines), config)


@pytest.fixture(scope="module")
def reports(pairs: Corpus) -> list[Any]:
    return [*train(pairs, CONFIG)]


def open_held_out(pairs: Corpus) -> HeldOutRecords:
    held_out = make_held_out(pairs, CONFIG, SINGLE_PROCESS)
    assert isinstance(held_out, HeldOutRecords)
    return held_out


def make_network(reports: list[Any], weights: dict[str, Any]) -> Seq2Seq:
    model = Seq2Seq(next(each for each in reports if isinstance(each, Started)).plan.model)
    load_numpy_state_dict(model, weights)
    return model


@pytest.mark.parametrize("target_size", [6, 1200])
def test_nats_at_a_temperature_are_those_of_logits_divided_by_it(target_size: int) -> None:
    model = make_seq2seq(torch.float32, target_size=target_size)
    end = model.config.target_size - 1
    ids, lengths = torch.tensor([[1, 2, 3], [2, 1, 0]]), torch.tensor([3, 2])
    targets = torch.tensor([[0, 1, end], [1, end, PADDING]])
    with torch.inference_mode():
        found = model.nats_at((1.0, 2.0), ids, targets, lengths)
        logits = model(ids, lengths, targets)
    is_token = targets != PADDING

    for nats, temperature in zip(found, (1.0, 2.0), strict=True):
        log_probs = (logits / temperature).log_softmax(2)[is_token]
        expected = -log_probs.gather(1, targets[is_token][:, None]).sum()
        torch.testing.assert_close(nats, expected.to(nats.dtype), rtol=1e-5, atol=1e-5)


def test_what_is_kept_costs_what_was_reported(pairs: Corpus, reports: list[Any]) -> None:
    records = records_of(pairs, "val", "seq2seq", CONFIG.longest_tokens)
    evaluations = [each for each in reports if isinstance(each, Evaluation)]
    assert len(evaluations) == 6
    assert max(each.temperature for each in evaluations) > 1
    for each in evaluations:
        kept = make_network(reports, each.weights)
        totals = score_records(kept, records, records.known())
        assert float(totals[0] / totals[1]) == pytest.approx(each.val_nats, rel=1e-4)


def test_a_network_that_is_too_sure_is_scored_less_sure(pairs: Corpus, reports: list[Any]) -> None:
    last = [each for each in reports if isinstance(each, Evaluation)][-1]
    held_out = open_held_out(pairs)
    kept = held_out.score(make_network(reports, last.weights), lambda tokens: None)
    assert kept.temperature == pytest.approx(1, abs=0.16)  # it has its temperature in it

    sure = last.weights | {
        name: 1.5 * last.weights[name] for name in ("output.weight", "output.bias")
    }
    model = make_network(reports, sure)
    found = held_out.score(model, lambda tokens: None)
    assert found.temperature == 1.5
    assert found.nats == pytest.approx(last.val_nats, rel=1e-4)
    train_nats = held_out.score_train(model, lambda tokens: None, found.temperature)
    assert train_nats == pytest.approx(last.train_eval_nats, rel=1e-4)
