"""Norms of groups of weights, and limits on the norms of rows: what is measured, what is kept."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import TextConfig, TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.model.network import CharRNN
from charrnn.training.loop import train
from charrnn.training.optimizer import Optimizer, limit_rows
from charrnn.training.plan import make_plan
from charrnn.training.reports import Evaluation, Snapshot
from charrnn.training.trainer import NETWORKS, Trainer
from charrnn.training.world import SINGLE_PROCESS
from tests.generation.task_models import KINDS, make_task_file
from tests.training.small_runs import SMALL, stop_after

pytestmark = pytest.mark.usefixtures("counted_steps")
NGRAMS = {"ngram_order": 3, "ngram_rows": 64}
GATED = {"lstm": ["i", "f", "g", "o"], "gru": ["r", "z", "n"]}


def make_corpus(length: int = 400) -> Corpus:
    letters = np.random.default_rng(3).choice(list("abcdé "), length)
    return corpus_from_text("".join(letters), TextConfig())


def make_config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL, "steps": 8, **settings})


def make_trainer(corpus: Corpus, config: TrainConfig) -> Trainer:
    plan = make_plan(config, corpus.vocab.size, len(corpus.train))
    return Trainer(plan, config, corpus, torch.device("cpu"), torch.float32, None, SINGLE_PROCESS)


def evaluations_of(config: TrainConfig, **more: Any) -> list[Evaluation]:
    return [r for r in train(make_corpus(), config, **more) if isinstance(r, Evaluation)]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_groups_are_named_after_what_they_are_and_their_gate(cell: str) -> None:
    groups = evaluations_of(make_config(cell=cell, initial_state="learned", **NGRAMS))[-1].groups
    gates = GATED.get(cell)
    blocks = [f"{kind}.{gate}" for kind in ("input", "recurrent") for gate in gates or ()] or [
        "input",
        "recurrent",
    ]

    assert set(groups) == {*blocks, "embedding", "ngrams", "bias", "initial", "output"}
    assert all(set(each) == {"weight", "gradient", "update", "decay"} for each in groups.values())


def test_the_gradients_of_all_groups_make_up_the_norm_before_clipping() -> None:
    trainer = make_trainer(make_corpus(), make_config(clip_grad_norm=1e-3, **NGRAMS))
    (result,) = trainer.advance(8, is_measured=True)
    groups = trainer.read_groups()

    of_table = groups.pop("ngrams")["gradient"]  # which is not clipped
    norm = math.hypot(*(each["gradient"] for each in groups.values()))
    assert norm == pytest.approx(result.grad_norm, rel=1e-4)
    assert of_table > 0
    assert norm > 1e-3


@pytest.mark.parametrize("is_sparse", [True, False])
def test_of_n_grams_the_rows_that_a_step_moves_are_measured(is_sparse: bool) -> None:
    trainer = make_trainer(make_corpus(), make_config(weight_decay_ngrams=0.3, **NGRAMS))
    assert isinstance(trainer.model, CharRNN)
    assert trainer.model.ngrams is not None
    trainer.model.ngrams.is_sparse = is_sparse
    table = trainer.model.ngrams.weight.detach()
    trainer.advance(8)
    before = table.detach().clone()
    trainer.advance(8, is_measured=True)
    measured = trainer.read_groups()["ngrams"]

    assert measured["weight"] == pytest.approx(float(before.norm()), rel=1e-5)
    assert measured["update"] == pytest.approx(float((table - before).norm()), rel=1e-4)
    rate = trainer.learning_rate * (6 / 256) ** 0.75  # that of 256 units, of which there are 6
    decay = 0.3 * rate * float((table if is_sparse else before).norm())
    assert measured["decay"] == pytest.approx(decay, rel=1e-4)
    assert measured["gradient"] > 0


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_weight_update_and_decay_are_those_of_the_step(optimizer: str) -> None:
    config = make_config(optimizer=optimizer, weight_decay_recurrent=0.4, num_layers=2)
    trainer = make_trainer(make_corpus(), config)
    trainer.advance(8)
    name = "layers.{}.cell.weight_hh_l0"
    weights = dict(trainer.model.named_parameters())
    forget = slice(6, 12)  # of 4 blocks of 6 rows
    before = torch.cat([weights[name.format(k)].detach().clone()[forget] for k in (0, 1)])
    trainer.advance(8, is_measured=True)
    after = torch.cat([weights[name.format(k)].detach()[forget] for k in (0, 1)])
    measured = trainer.read_groups()["recurrent.f"]
    factor = 0.5 * math.sqrt(6) if optimizer == "muon" else 1.0

    assert measured["weight"] == pytest.approx(float(before.norm()), rel=1e-5)
    assert measured["update"] == pytest.approx(float((after - before).norm()), rel=1e-4)
    share = trainer.learning_rate * factor * 0.4
    assert measured["decay"] == pytest.approx(share * float(before.norm()), rel=1e-5)
    assert measured["decay"] < measured["update"]


def test_the_decay_is_what_weight_decay_takes_off() -> None:
    config = make_config(weight_decay_recurrent=0.7)
    trainer = make_trainer(make_corpus(), config)
    with_decay = trainer.update.optimizer.decays_at(0.01)["layers.0.cell.weight_hh_l0"]
    optimizer = trainer.update.optimizer
    weight = dict(trainer.model.named_parameters())["layers.0.cell.weight_hh_l0"]
    before = weight.detach().clone()
    optimizer.step(0.01)  # no gradient: nothing but decay moves it

    torch.testing.assert_close(before - weight.detach(), before * with_decay, rtol=1e-4, atol=1e-7)


def test_measuring_changes_no_weight() -> None:
    trainers = [make_trainer(make_corpus(), make_config(dropout=0.3)) for _ in range(2)]
    for trainer, is_measured in zip(trainers, (True, False), strict=True):
        for _ in range(3):
            trainer.advance(8, is_measured=is_measured)
    first, second = (trainer.state_dict()[0] for trainer in trainers)

    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_step_that_is_not_measured_has_no_norms() -> None:
    trainer = make_trainer(make_corpus(), make_config())
    trainer.advance(8, is_measured=True)
    assert trainer.read_groups()
    trainer.advance(8)

    assert trainer.read_groups() == {}


def test_every_evaluation_has_them_and_a_resumed_run_the_same() -> None:
    config = make_config(steps=9, eval_every=3, clip_grad_norm=0.1)
    whole = evaluations_of(config)
    corpus = make_corpus()
    cut = list(train(corpus, config, should_stop=stop_after(5)))
    snapshot = [report for report in cut if isinstance(report, Snapshot)][-1]
    resumed = evaluations_of(config, resume=snapshot)

    assert [each.step for each in whole] == [3, 6, 9]
    assert all(each.groups for each in whole)
    assert [each.groups for each in resumed] == [each.groups for each in whole[1:]]
    assert [each.clipped for each in resumed] == [each.clipped for each in whole[1:]]
    assert [each.learning_rate for each in resumed] == [each.learning_rate for each in whole[1:]]


def test_the_share_of_clipped_steps_is_between_none_and_all() -> None:
    assert {each.clipped for each in evaluations_of(make_config(clip_grad_norm=1e-6))} == {1.0}
    assert {each.clipped for each in evaluations_of(make_config(clip_grad_norm=1e6))} == {0.0}
    assert {each.clipped for each in evaluations_of(make_config(clip_grad_norm=0.0))} == {0.0}


# ── limits ──


def test_rows_above_the_limit_are_scaled_to_it_and_others_stay() -> None:
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    limit_rows(weight, 2.0)

    torch.testing.assert_close(weight, torch.tensor([[1.2, 1.6], [0.3, 0.4], [0.0, 0.0]]))
    assert weight[1].tolist() == torch.tensor([0.3, 0.4]).tolist()  # bit for bit


def test_a_masked_step_limits_nothing() -> None:
    weight = torch.tensor([[3.0, 4.0]])
    limit_rows(weight, 2.0, torch.tensor(False))
    assert weight.tolist() == [[3.0, 4.0]]
    limit_rows(weight, 2.0, torch.tensor(True))
    torch.testing.assert_close(weight, torch.tensor([[1.2, 1.6]]))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize(
    ("group", "weight"),
    [
        ("input", "layers.1.weight_ih"),
        ("recurrent", "layers.0.weight_hh"),
        ("output", "output.weight"),
    ],
)
def test_a_limit_holds_for_its_group_alone(group: str, weight: str, optimizer: str) -> None:
    config = make_config(num_layers=2, optimizer=optimizer, **{f"max_norm_{group}": 0.5})
    last = evaluations_of(config)[-1]
    largest = {
        name: float(np.linalg.norm(array, axis=1).max())
        for name, array in last.weights.items()
        if name.endswith(("weight_ih", "weight_hh", "output.weight"))
    }
    trained = [r for r in train(make_corpus(), config) if isinstance(r, Snapshot)][-1].weights

    assert np.linalg.norm(trained[weight], axis=1).max() <= 0.5 * (1 + 1e-6)
    assert largest[weight] <= 0.75  # the average still knows the first weights
    others = [
        value for name, value in largest.items() if name.split(".")[-1] != weight.split(".")[-1]
    ]
    assert min(others) > 0.5


def test_a_tied_table_counts_as_output() -> None:
    config = make_config(tie_embeddings=True, embedding_size=6, max_norm_output=0.2)
    trained = [r for r in train(make_corpus(), config) if isinstance(r, Snapshot)][-1].weights

    assert np.linalg.norm(trained["embedding.weight"], axis=1).max() <= 0.2 * (1 + 1e-6)


def test_a_run_with_limits_stopped_and_resumed_equals_one_that_was_not() -> None:
    config = make_config(steps=9, max_norm_input=0.4, max_norm_recurrent=0.6, max_norm_output=0.5)
    corpus = make_corpus()
    uncut = list(train(corpus, config))[-1]
    cut = list(train(corpus, config, should_stop=stop_after(4)))
    snapshot = [report for report in cut if isinstance(report, Snapshot)][-1]
    resumed = list(train(corpus, config, resume=snapshot))[-1]

    for name, array in uncut.snapshot.weights.items():
        assert np.array_equal(array, resumed.snapshot.weights[name])


def test_without_limits_nothing_is_scaled() -> None:
    assert make_trainer(make_corpus(), make_config()).update.optimizer._max_norms == []
    limited = replace(make_config(), max_norm_input=1e30)
    first, second = (evaluations_of(c)[-1].weights for c in (make_config(), limited))

    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("kind", "learned"),
    [
        ("classification", {"hidden.weight"}),
        ("tagging", set()),
        ("transitions", {"transitions.start", "transitions.end", "transitions.weight"}),
        ("seq2seq", {"bridge.0.weight", "combine.weight", "attention.query.weight"}),
    ],
)
def test_a_limit_of_the_output_is_of_a_tasks_output_matrix_alone(
    kind: str, learned: set[str]
) -> None:
    model = NETWORKS[KINDS[kind]["task"]](make_task_file(kind).config)
    optimizer = Optimizer(model, make_config(max_norm_output=1e-3), torch.float32)
    named = dict(model.named_parameters())
    with torch.no_grad():
        for parameter in named.values():
            parameter.fill_(0.5)

    optimizer.step(0.0)

    assert learned <= {*named}
    for name, parameter in named.items():
        is_limited = bool((parameter < 0.4).all())
        assert is_limited == (name == "output.weight"), name
