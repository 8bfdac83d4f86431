"""Training on records, from a text in memory to weights, and back from any step."""

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import TextConfig, TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.training.loop import train
from charrnn.training.reports import Evaluation, Finished, Snapshot

NAMES = [first + rest for first in "abdefgk" for rest in ("an", "anna", "el", "ellen", "i", "io")]
SIZES: dict[str, Any] = {"hidden_size": 8, "batch_size": 3, "seq_len": 7, "precision": "fp32"}


def make_corpus(**settings: Any) -> Corpus:
    return corpus_from_text("\n".join(NAMES), TextConfig(lines=True, **settings))


def make_labelled() -> Corpus:
    text = "\n".join(f"__label__{'ab'[len(name) % 2]} {name}" for name in NAMES)
    return corpus_from_text(text, TextConfig(lines=True, label="prefix"))


def last_snapshot(reports: list[Any]) -> Snapshot:
    return [each for each in reports if isinstance(each, Snapshot)][-1]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("cut", [1, 5, 16, 23, 49])
def test_a_run_that_continues_after_any_step_is_the_one_that_never_stopped(
    cell: str, cut: int
) -> None:
    check_cut(cell, cut)


def check_cut(cell: str, cut: int) -> None:
    """Check that a run of 60 steps, cut there and continued, is the one that never stopped."""
    corpus = make_labelled()
    settings = SIZES | {"cell": cell, "steps": 60, "dropout": 0.2, "patience": 0}
    settings["label_dropout"] = 0.3
    whole = [*train(corpus, TrainConfig(**settings))]
    steps = iter(range(1, 61))
    stopped = [*train(corpus, TrainConfig(**settings), should_stop=lambda: next(steps) >= cut)]

    state = last_snapshot(stopped)
    assert 0 < state.step <= cut  # it asks while it evaluates, too
    resumed = [*train(corpus, TrainConfig(**settings), resume=state)]

    first, second = (last_snapshot(each) for each in (whole, resumed))
    for name, weight in first.weights.items():
        np.testing.assert_array_equal(second.weights[name], weight, err_msg=name)
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[name], array, err_msg=name)


def test_the_network_of_records_learns_how_they_begin_and_end() -> None:
    settings = SIZES | {"hidden_size": 24, "steps": 400}
    *_, finished = train(make_corpus(val_fraction=0.2), TrainConfig(**settings))

    assert isinstance(finished, Finished)
    assert finished.best_val_nats is not None
    assert finished.best_val_end_nats is not None
    assert finished.best_val_nats < 1.2  # ln 14 = 2.6 for guessing
    assert finished.best_val_unlabelled_nats is None
    assert finished.best_val_windowed_nats is None


def test_a_label_that_says_something_saves_nats_on_held_out_text() -> None:
    # The label says which of two alphabets a record is written in.
    words = [f"{a}{b}{c}{d}" for a in "abc" for b in "abc" for c in "abc" for d in "abc"]
    words += [word.translate(str.maketrans("abc", "xyz")) for word in words]
    text = "\n".join(f"__label__{'AX'[word[0] in 'xyz']} {word}" for word in words)
    corpus = corpus_from_text(text, TextConfig(lines=True, label="prefix", val_fraction=0.2))
    *_, finished = train(corpus, TrainConfig(**SIZES | {"steps": 300}))

    assert isinstance(finished, Finished)
    assert finished.best_val_nats is not None
    assert finished.best_val_unlabelled_nats is not None
    assert finished.best_val_nats < finished.best_val_unlabelled_nats - 0.1


def test_evaluations_count_each_end_as_one_character() -> None:
    corpus = make_corpus(val_fraction=0.3)
    *_, evaluation = (
        each
        for each in train(corpus, TrainConfig(**SIZES | {"steps": 1}))
        if type(each) is Evaluation
    )

    assert corpus.val_records is not None
    assert corpus.val_chars == len(corpus.val) - 1
    assert corpus.val_chars == sum(
        map(len, corpus.vocab.decode(corpus.val).split("\U0010ffff"))
    ) + len(corpus.val_records)
    assert evaluation.val_nats == pytest.approx(np.log(corpus.vocab.size), abs=0.4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cuda_graph", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.filterwarnings("ignore:RNN module weights:UserWarning")
def test_a_gpu_trains_on_records_as_a_cpu_does(cell: str, cuda_graph: bool) -> None:
    corpus = make_labelled()
    settings = SIZES | {"cell": cell, "steps": 12, "dropout": 0.0, "patience": 0}
    on_cpu = last_snapshot([*train(corpus, TrainConfig(**settings, device="cpu"))])

    config = TrainConfig(**settings, device="cuda", cuda_graph=cuda_graph)
    on_gpu = last_snapshot([*train(corpus, config)])

    for name, weight in on_cpu.weights.items():
        np.testing.assert_allclose(on_gpu.weights[name], weight, atol=2e-3, err_msg=name)
    np.testing.assert_array_equal(on_gpu.arrays["lanes.records"], on_cpu.arrays["lanes.records"])
