"""A run whose loss is finite and too high: when it is in trouble, and what it is told to try."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from charrnn.config import ModelConfig, TextConfig, TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.training.loop import train
from charrnn.training.plan import Plan, choose_learning_rate
from charrnn.training.reports import Finished, Incident, Report, Snapshot
from charrnn.training.stats import Best, TrainingStats
from charrnn.training.trouble import Trouble, find_trouble
from tests.training.small_runs import SMALL

MODEL = ModelConfig(vocab_size=60, embedding_size=3, hidden_size=4)
USUAL = choose_learning_rate(MODEL)
NAIVE = {"guessing": 4.0, "frequencies": 3.0}
WILD: dict[str, Any] = {**SMALL, "cell": "rnn", "learning_rate": 10.0, "clip_grad_norm": 0.0}


def find(
    val_nats: float,
    train_nats: float,
    best: Best,
    learning_rate: float = USUAL,
    **settings: Any,
) -> Trouble | None:
    stats = TrainingStats(best, train_nats=train_nats, last_val_nats=val_nats)
    plan = Plan(MODEL, 5, 2, learning_rate, 100, 10)
    return find_trouble(stats, NAIVE, plan, TrainConfig(**settings))


def make_corpus() -> Corpus:
    letters = np.random.default_rng(3).choice(list("abcdefgh "), 2000, p=[0.4, *[0.075] * 8])
    return corpus_from_text("".join(letters), TextConfig())


def reports_of(kind: type, reports: list[Report]) -> list[Any]:
    return [report for report in reports if isinstance(report, kind)]


@pytest.mark.parametrize(
    ("val_nats", "best_nats", "worse_than", "limit_nats"),
    [(4.2, 2.0, "guessing", 4.0), (3.2, 2.9, "frequencies", 3.0), (2.6, 1.5, "before", 1.5)],
)
def test_a_model_is_worse_than_the_least_demanding_of_what_beats_it(
    val_nats: float, best_nats: float, worse_than: str, limit_nats: float
) -> None:
    trouble = find(val_nats, val_nats, Best(best_nats, best_nats))

    assert trouble is not None
    assert (trouble.worse_than, trouble.val_nats) == (worse_than, val_nats)
    assert (trouble.limit_nats, trouble.is_rate_too_high) == (limit_nats, True)


@pytest.mark.parametrize("val_nats", [2.0, 3.03])
def test_a_model_that_has_learned_something_is_in_no_trouble(val_nats: float) -> None:
    assert find(val_nats, 2.9, Best(2.0, 2.0)) is None


def test_an_overfitted_model_is_in_no_trouble_however_bad_on_held_out_text() -> None:
    assert find(9.0, 0.1, Best(2.0, 1.8)) is None


@pytest.mark.parametrize(
    ("learning_rate", "tried"), [(USUAL, 0.3 * USUAL), (10.0, USUAL), (2 * USUAL, 0.6 * USUAL)]
)
def test_a_lower_rate_is_named_and_never_one_above_the_usual(
    learning_rate: float, tried: float
) -> None:
    trouble = find(4.2, 4.2, Best(3.0, 3.0), learning_rate)

    assert trouble is not None
    assert trouble.learning_rate == pytest.approx(tried)


@pytest.mark.parametrize(
    ("settings", "is_clipped"),
    [
        ({}, True),
        ({"clip_grad_norm": 0}, False),
        ({"clip_grad_norm": 0, "clip_grad_value": 1}, True),
    ],
)
def test_it_is_known_whether_gradients_were_clipped(
    settings: dict[str, float], is_clipped: bool
) -> None:
    trouble = find(4.2, 4.2, Best(3.0, 3.0), **settings)

    assert trouble is not None
    assert trouble.is_clipped is is_clipped


@pytest.mark.parametrize(("rate", "tried"), [(USUAL, None), (USUAL / 10, USUAL)])
def test_a_model_that_still_gets_better_has_only_begun(rate: float, tried: float | None) -> None:
    trouble = find(3.9, 3.95, Best(3.9, 3.95), rate)

    assert trouble is not None
    assert (trouble.is_rate_too_high, trouble.learning_rate) == (False, tried)


def test_a_run_that_blows_up_is_told_once_and_at_its_end() -> None:
    reports = list(train(make_corpus(), TrainConfig(**WILD, steps=100)))
    worse = [each for each in reports_of(Incident, reports) if each.kind == "worse"]

    (finished,) = reports_of(Finished, reports)
    assert finished.trouble.is_rate_too_high
    assert finished.trouble.val_nats > finished.trouble.limit_nats
    (incident,) = worse
    assert incident.step >= 50
    assert incident.trouble.worse_than in ("guessing", "frequencies")


def test_a_run_that_was_told_is_not_told_again_after_a_stop() -> None:
    corpus, config = make_corpus(), TrainConfig(**WILD, steps=100)
    stop = iter([False] * 70 + [True] * 9)
    cut = list(train(corpus, config, should_stop=lambda: next(stop)))
    resumed = list(train(corpus, config, resume=reports_of(Snapshot, cut)[-1]))

    assert [each.kind for each in reports_of(Incident, cut)].count("worse") == 1
    assert [each.kind for each in reports_of(Incident, resumed)].count("worse") == 0


def test_a_run_that_learns_is_told_nothing() -> None:
    corpus = corpus_from_text("the cat sat on the mat. " * 40)
    reports = list(train(corpus, TrainConfig(**SMALL, steps=120, learning_rate=0.02)))

    assert reports_of(Incident, reports) == []
    assert reports[-1].trouble is None


def test_a_state_of_an_older_version_counts_as_not_told() -> None:
    stats = TrainingStats(Best(), is_warned=True)
    values = {key: value for key, value in stats.state_dict().items() if key != "is_warned"}
    loaded = TrainingStats(Best())
    loaded.load_state_dict(values)

    assert loaded == replace(stats, is_warned=False)
