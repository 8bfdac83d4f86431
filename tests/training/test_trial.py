"""What a trial of a sweep is planned with: sizes, the cost of steps, how many fit a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.config import TextConfig, TrainConfig
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.training.plan import make_plan
from charrnn.training.trial import PlannedTrial, plan_trial


@pytest.fixture
def corpus(book: str) -> Corpus:
    return open_corpus([str(Path(book))], TextConfig())


def test_as_many_steps_are_planned_as_fit_with_their_evaluations() -> None:
    plan = make_plan(TrainConfig(steps=1), vocab_size=9, train_tokens=10_000)
    cheap = PlannedTrial(plan, None, step_seconds=0.01, slowdown=3.0, evaluation_steps=4.0)
    dear = PlannedTrial(plan, None, step_seconds=0.01, slowdown=3.0, evaluation_steps=100.0)

    assert cheap.fit_steps(30.0, slowdown=2.0, least=9) == (1500 - 20 * 4, 20)
    assert dear.fit_steps(30.0, slowdown=2.0, least=9) == (1500 - 9 * 100, 9)
    assert dear.fit_steps(30.0, slowdown=2.0, least=1) == (1500 - 100, 1)
    assert dear.fit_steps(0.001, slowdown=2.0, least=1) == (1, 1)


def test_of_two_measurements_the_fastest_step_counts() -> None:
    plan = make_plan(TrainConfig(steps=1), vocab_size=9, train_tokens=10_000)
    busy = PlannedTrial(plan, None, step_seconds=0.04, slowdown=1.5)
    quiet = PlannedTrial(plan, None, step_seconds=0.01, slowdown=1.0)

    assert busy.at_best(quiet) == PlannedTrial(plan, None, 0.01, pytest.approx(6.0))
    assert quiet.at_best(busy) == quiet


def test_a_time_is_measured_and_a_number_of_steps_is_not(corpus: Corpus) -> None:
    sizes = {"hidden_size": 5, "seq_len": 4, "batch_size": 2, "threads": 1}
    by_time = plan_trial(TrainConfig(budget="1s", **sizes), corpus)  # type: ignore[arg-type]
    by_steps = plan_trial(TrainConfig(steps=7, **sizes), corpus)  # type: ignore[arg-type]

    assert by_time.total_steps is None
    assert 0 < by_time.step_seconds < 1
    assert by_time.slowdown >= 1
    assert by_time.evaluation_steps == pytest.approx(len(corpus.val) / 8 / 2.5)
    assert (by_steps.total_steps, by_steps.plan.model.hidden_size) == (7, 5)
