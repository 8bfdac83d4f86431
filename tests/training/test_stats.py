"""What a run counts: what went wrong with a step, how good a score is; and all of it is saved."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from charrnn.training.batches import Cursor
from charrnn.training.stats import MOST_DROPPED, Best, LossTracker, TrainingStats
from charrnn.training.trainer import StepResult


def make_result(**settings: Any) -> StepResult:
    """Return the result of a step that went well, in the middle of an epoch."""
    result = StepResult(7, Cursor(0, 3), 6.0, 1.0, chars=3, is_finite=True, micro_batches=1)
    return replace(result, **settings)


WELL = make_result()
WRONG = make_result(loss_sum=math.nan, grad_norm=math.nan, is_finite=False)


def make_stats(val_nats: float = 2.0) -> TrainingStats:
    return TrainingStats(Best(val_nats))


def test_a_step_that_went_well_is_counted_and_not_told() -> None:
    stats = make_stats()

    assert stats.add(WELL) == []
    assert (stats.chars_seen, stats.since_milestone.mean()) == (3, 2.0)


def test_three_dropped_steps_in_a_row_are_too_many() -> None:
    stats = make_stats()
    for result in (WRONG, WRONG, WELL, WRONG, WRONG):
        stats.add(result)
        assert stats.dropped < MOST_DROPPED

    assert stats.add(WRONG) == ["dropped"]
    assert stats.dropped == MOST_DROPPED


def test_a_dropped_step_counts_its_characters_but_not_its_loss() -> None:
    stats = make_stats()
    for result in (WELL, WRONG):
        stats.add(result)

    assert (stats.chars_seen, stats.since_evaluation.reset()) == (6, 2.0)


def test_a_step_that_ran_out_of_memory_and_was_dropped_is_told_of_both() -> None:
    assert make_stats().add(replace(WRONG, is_split=True)) == ["memory", "dropped"]


def test_a_step_that_was_not_captured_is_told_of() -> None:
    assert make_stats().add(make_result(capture_error="no")) == ["graph"]


def test_a_loss_far_above_its_level_is_a_spike_and_raises_the_level() -> None:
    stats = TrainingStats(Best(), level=LossTracker(nats=0.5, spread_nats=0.01, windows=60))

    assert stats.add(WELL) == ["spike"]
    assert stats.level.nats > 0.5


def test_the_first_window_of_an_epoch_is_no_spike_and_moves_no_level() -> None:
    stats = TrainingStats(Best(), level=LossTracker(nats=0.5, spread_nats=0.01, windows=60))

    assert stats.add(make_result(cursor=Cursor(3, 0))) == []
    assert stats.level.nats == 0.5


@pytest.mark.parametrize(
    ("val_nats", "is_best", "stale", "got_worse"),
    [
        (1.9, True, 0, False),
        (2.0, True, 0, False),
        (2.005, False, 0, False),
        (2.03, False, 0, True),
        (2.05, False, 2, True),
    ],
)
def test_a_score_is_best_worse_by_chance_or_clearly_worse(
    val_nats: float, is_best: bool, stale: int, got_worse: bool
) -> None:
    stats = TrainingStats(Best(2.0, stale=1))

    assert stats.score(9, val_nats, None, {}) is is_best
    assert (stats.best.stale, stats.got_worse) == (stale, got_worse)
    assert (stats.best.step == 9) is is_best


def test_stats_are_loaded_as_they_were_saved() -> None:
    stats = make_stats()
    for result in (WELL, WELL, WRONG):
        stats.add(result)
    stats.score(9, 2.5, None, {})
    stats.add(WELL)
    stats.rollbacks = 2
    stats.is_warned = True
    loaded = make_stats()
    loaded.load_state_dict(json.loads(json.dumps(stats.state_dict())))

    assert loaded == stats
    assert loaded != make_stats()


def test_stats_without_an_evaluation_are_loaded_without_one() -> None:
    loaded = make_stats()
    loaded.load_state_dict(json.loads(json.dumps(make_stats().state_dict())))

    assert loaded.train_nats is None
