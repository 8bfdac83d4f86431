"""What training and eval say that records cost: the sum of what each costs read alone, by numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import DynamicConfig, TextConfig, TrainConfig
from charrnn.data.corpus import corpus_from_text
from charrnn.data.records import Records
from charrnn.generation.labels import with_labels
from charrnn.generation.network import Network
from charrnn.model.network import CharRNN, load_numpy_state_dict
from charrnn.text.vocab import Ids
from charrnn.training import evaluation
from charrnn.training.dynamic import compare_dynamic
from charrnn.training.evaluation import HeldOut, Stretch, compare_carried
from charrnn.training.loop import train
from charrnn.training.reports import Finished
from charrnn.training.world import SINGLE_PROCESS
from tests.generation.record_models import WHO, YEAR, make_records_file

LETTERS = np.random.default_rng(5)


def read_alone(file: ModelFile, ids: Ids, records: Records) -> tuple[float, float]:
    """Return the nats of a character, an end counted as one, and those of an end, on average."""
    total = of_ends = 0.0
    start = 1
    for end, rows in zip(records.ends.tolist(), records.labels.tolist(), strict=True):
        asked = ["{}={}".format(*file.labels.describe(row)) for row in rows if row]
        known = with_labels(file, asked)
        network = Network(known.config, known.weights)
        state = network.initial_state()
        for token in ids[start:end].tolist():
            logits = network.logits(state).astype(np.float64)
            nats = float(np.logaddexp.reduce(logits) - logits[token])
            total += nats
            of_ends += nats * (token == file.vocab.end)
            state = network.advance(token, state) if token != file.vocab.end else state
        start = end
    return total / file.vocab.count_characters(ids[1:]), of_ends / len(records)


def make_text(file: ModelFile, lengths: list[int]) -> Stretch:
    """Return random records of a labelled model, of which some labels are not known."""
    ids = [file.vocab.end]
    for length in lengths:
        ids += LETTERS.integers(0, file.vocab.end, length).tolist()
        ids.append(file.vocab.end)
    columns = file.labels.columns
    rows = [LETTERS.integers(0, 1 + len(column.values), len(lengths)) for column in columns]
    first = 0
    for index, column in enumerate(columns):
        rows[index] = np.where(rows[index] > 0, rows[index] + first, 0)
        first += len(column.values)
    labels = np.stack(rows, 1).astype(np.int32) if rows else np.zeros((len(lengths), 0), np.int32)
    ends = 1 + np.cumsum(np.array(lengths) + 1)
    return Stretch(np.array(ids, file.vocab.dtype), Records(ends, labels))


def as_network(file: ModelFile) -> CharRNN:
    network = CharRNN(file.config)
    load_numpy_state_dict(network, file.weights)
    return network


@pytest.mark.parametrize(
    "shape",
    [
        {"cell": "lstm"},
        {"cell": "gru", "has_bytes": True},
        {"cell": "rnn", "nonlinearity": "relu", "spread": 0.3},
        {"cell": "lstm", "residual": True, "initial_state": "zero"},
    ],
)
@pytest.mark.parametrize("lengths", [[3, 1, 0, 7], [40] * 30 + [900, 2], [1] * 700])
def test_records_cost_what_each_costs_alone(shape: dict[str, Any], lengths: list[int]) -> None:
    is_zero = shape.get("initial_state") == "zero"
    file = make_records_file(labels=(WHO, YEAR), **{"num_layers": 2, "spread": 0.5} | shape)
    if is_zero:
        for depth in range(2):
            file.weights[f"layers.{depth}.initial"][:] = 0
    text = make_text(file, lengths)
    assert text.records is not None

    (score, _) = compare_carried([as_network(file)], text, file.vocab)

    loss_nats, end_nats = read_alone(file, text.ids, text.records)
    assert score.loss_nats == pytest.approx(loss_nats, abs=1e-5)
    assert score.end_nats == pytest.approx(end_nats, abs=1e-5)
    assert score.chars == file.vocab.count_characters(text.ids[1:])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_records_cost_the_same_in_one_lane_that_learns_nothing(cell: str) -> None:
    file = make_records_file(labels=(WHO, YEAR), spread=0.5, cell=cell)
    text = make_text(file, [30, 1, 0, 45, 7])
    assert text.records is not None
    network = as_network(file)

    (still, _) = compare_dynamic([network], text, file.vocab, DynamicConfig(dynamic_rate=0.0))
    (moved, _) = compare_dynamic([network], text, file.vocab, DynamicConfig(dynamic_rate=0.01))

    loss_nats, end_nats = read_alone(file, text.ids, text.records)
    assert still.loss_nats == pytest.approx(loss_nats, abs=1e-5)
    assert still.end_nats == pytest.approx(end_nats, abs=1e-5)
    assert moved.loss_nats < still.loss_nats


def test_the_figures_at_the_end_of_a_run_are_of_whole_records_read_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "HELD_OUT_TOKENS", 20)
    lines = [f"__label__{'ab'[i % 2]} {'xyz'[i % 3] * (1 + i % 5)}{i}" for i in range(90)]
    settings = TextConfig(lines=True, label="prefix", val_fraction=0.3)
    corpus = corpus_from_text("\n".join(lines), settings)
    sizes = {"hidden_size": 6, "batch_size": 3, "seq_len": 7, "precision": "fp32", "steps": 30}
    *_, finished = train(corpus, TrainConfig(**sizes))

    assert isinstance(finished, Finished)
    assert finished.best_weights is not None
    assert corpus.val_records is not None
    file = ModelFile(
        finished.snapshot.model, corpus.vocab, finished.best_weights, {}, labels=corpus.labels
    )
    val_nats, end_nats = read_alone(file, corpus.val, corpus.val_records)
    head = Stretch(corpus.val, corpus.val_records).head(20)
    assert head.records is not None
    unknown = Records(corpus.val_records.ends, np.zeros_like(corpus.val_records.labels))

    assert finished.best_val_nats == pytest.approx(val_nats, abs=1e-5)
    assert finished.best_val_end_nats == pytest.approx(end_nats, abs=1e-5)
    assert finished.best_val_unlabelled_nats == pytest.approx(
        read_alone(file, corpus.val, unknown)[0], abs=1e-5
    )
    assert 0 < len(head.ids) <= 20
    assert head.ids[-1] == corpus.vocab.end
    assert finished.best_val_compared_nats == pytest.approx(
        read_alone(file, head.ids, head.records)[0], abs=1e-5
    )


def test_records_of_which_none_is_held_out_can_be_trained_on() -> None:
    corpus = corpus_from_text("ab\nba\nabba", TextConfig(lines=True, val_fraction=0))
    held_out = HeldOut(corpus, TrainConfig(), SINGLE_PROCESS)

    assert held_out.is_empty
    sizes = {"hidden_size": 5, "batch_size": 2, "seq_len": 3, "steps": 2}
    *_, finished = train(corpus, TrainConfig(**sizes))
    assert isinstance(finished, Finished)
    assert finished.best_val_nats is None
    assert math.isfinite(finished.best_train_nats)
