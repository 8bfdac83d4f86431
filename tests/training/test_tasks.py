"""Training on whole records that become something: back from any step, and better than guessing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import TextConfig, TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.errors import ConfigError, CorpusError
from charrnn.training.batches import Cursor
from charrnn.training.calibration import choose_plan
from charrnn.training.loop import train
from charrnn.training.record_evaluation import HeldOutRecords, make_held_out
from charrnn.training.reports import Finished, Snapshot, Started
from charrnn.training.trainer import Trainer
from charrnn.training.world import SINGLE_PROCESS
from tests.training.test_records import NAMES, last_snapshot

SIZES: dict[str, Any] = {"hidden_size": 8, "batch_size": 3, "precision": "fp32"}


def make_classes(**settings: Any) -> Corpus:
    """Return records whose class is whether there is an "a" in them."""
    text = "\n".join(f"__label__{'with' if 'a' in name else 'no'} {name}" for name in NAMES)
    return corpus_from_text(text, TextConfig(lines=True, label="prefix", **settings))


def configure(**settings: Any) -> TrainConfig:
    return TrainConfig(**SIZES | {"task": "classification"} | settings)


def check_task_cut(corpus: Corpus, cut: int, **settings: Any) -> None:
    """Check that a run of 40 steps, cut there and continued, is the one that never stopped."""
    config = TrainConfig(**SIZES | {"steps": 40, "dropout": 0.2, "patience": 0} | settings)
    whole = [*train(corpus, config)]
    steps = iter(range(1, 41))
    stopped = [*train(corpus, config, should_stop=lambda: next(steps) >= cut)]

    state = last_snapshot(stopped)
    assert 0 < state.step <= cut
    resumed = [*train(corpus, config, resume=state)]

    first, second = (last_snapshot(each) for each in (whole, resumed))
    for name, weight in first.weights.items():
        np.testing.assert_array_equal(second.weights[name], weight, err_msg=name)
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[name], array, err_msg=name)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("cut", [1, 13, 27])
def test_a_classifier_that_continues_after_any_step_is_the_one_that_never_stopped(
    cell: str, cut: int
) -> None:
    check_task_cut(make_classes(), cut, task="classification", cell=cell)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_classifier_learns_what_tells_classes_apart(bidirectional: bool) -> None:
    config = configure(steps=150, bidirectional=bidirectional, learning_rate=0.01)
    *_, finished = train(make_classes(val_fraction=0.3), config)

    assert isinstance(finished, Finished)
    assert finished.best_val_nats is not None
    assert finished.best_val_nats < 0.3  # ln 2 = 0.69 for guessing


def test_the_loss_is_that_of_the_targets_whatever_stands_in_a_batch() -> None:
    corpus = make_classes(val_fraction=0.3)
    reports = [*train(corpus, configure(steps=3))]
    started = next(each for each in reports if isinstance(each, Started))
    held_out = make_held_out(corpus, configure(), SINGLE_PROCESS)

    assert isinstance(held_out, HeldOutRecords)
    assert started.plan.model.class_count == 2
    assert started.plan.seq_len == max(map(len, NAMES))
    assert held_out.naive_nats["guessing"] == pytest.approx(math.log(2))
    assert held_out.naive_nats["frequencies"] < math.log(2) * 1.2


def test_micro_batches_add_up_to_the_same_step() -> None:

    corpus = make_classes()
    config = configure(steps=2, dropout=0.0, batch_size=6)
    device = torch.device("cpu")
    plan = choose_plan(config, corpus, device, torch.float32, False, SINGLE_PROCESS)
    weights = []
    for parts in (1, 3):
        trainer = Trainer(plan, config, corpus, device, torch.float32)
        trainer.update.set_micro_batches(parts)
        trainer.advance(2)
        assert trainer.cursor == Cursor(0, 1)
        weights.append(trainer.state_dict()[0])
    for name, weight in weights[0].items():
        np.testing.assert_allclose(weights[1][name], weight, atol=1e-5, err_msg=name)


def test_what_a_task_lacks_is_refused_with_the_way_out() -> None:
    plain = corpus_from_text("\n".join(NAMES), TextConfig(lines=True))
    for corpus, settings, expected in (
        (plain, {}, "decides on one label, and this text has none; give it by label"),
        (plain, {"task": "tagging"}, "read for task text, not tagging; give tags or restore"),
        (plain, {"task": "seq2seq"}, "give pairs or target_file"),
        (make_classes(), {"attention": "dot"}, "attention works only with task seq2seq"),
        (make_classes(), {"tie_embeddings": True}, "tie_embeddings works only with task text"),
        (make_classes(), {"task": None, "pooling": "max"}, "only with task classification"),
    ):
        with pytest.raises(ConfigError, match=expected):
            [*train(corpus, configure(**{"steps": 1} | settings))]


def test_a_text_with_labels_on_no_training_record_is_refused() -> None:
    corpus = make_classes()
    assert corpus.train_records is not None
    corpus.train_records.labels[:] = 0
    with pytest.raises(CorpusError, match=r"none of the 40 training records has a label"):
        [*train(corpus, configure(steps=1))]


def test_a_snapshot_of_a_classifier_has_no_state_between_batches() -> None:
    reports = [*train(make_classes(), configure(steps=3))]
    snapshot = last_snapshot(reports)

    assert isinstance(snapshot, Snapshot)
    assert not [name for name in snapshot.arrays if name.startswith(("state.", "lanes."))]
