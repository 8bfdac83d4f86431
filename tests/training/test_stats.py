"""What a run counts: what went wrong with a step, how good a score is, and that all is taken up."""

from __future__ import annotations

import json
import math

import pytest

from charrnn.training.deferred import StepResult
from charrnn.training.reports import Incident
from charrnn.training.stats import Best, LossTracker, TrainingStats

WELL = StepResult(nats=6.0, norm=1.0, chars=3, is_made=True, micro_batches=1)
WRONG = StepResult(nats=math.nan, norm=math.nan, chars=3, is_made=False, micro_batches=1)


def begun(epoch: float = 0.5, micro_batches: int = 1) -> Incident:
    """Give a step that is not made yet, of which nothing is known."""
    return Incident("", 7, epoch, 10, 100, math.nan, math.nan, micro_batches=micro_batches)


def make_account(val_nats: float = 2.0) -> TrainingStats:
    return TrainingStats(Best(val_nats))


def kinds_of(account: TrainingStats, update: StepResult, step: Incident) -> list[str]:
    return [incident.kind for incident in account.add(update, step)]


def test_a_step_that_went_well_is_counted_and_not_told() -> None:
    account = make_account()

    assert account.add(WELL, begun()) == []
    assert (account.chars_seen, account.since_milestone.mean()) == (3, 2.0)


def test_three_dropped_steps_in_a_row_are_too_many() -> None:
    account = make_account()
    for update in (WRONG, WRONG, WELL, WRONG, WRONG):
        account.add(update, begun())
        assert not account.is_lost

    assert kinds_of(account, WRONG, begun()) == ["dropped"]
    assert account.is_lost


def test_a_dropped_step_counts_its_characters_but_not_its_loss() -> None:
    account = make_account()
    for update in (WELL, WRONG):
        account.add(update, begun())

    assert (account.chars_seen, account.since_evaluation.read_out()) == (6, 2.0)


def test_a_step_that_ran_out_of_memory_and_was_dropped_is_told_of_both() -> None:
    assert kinds_of(make_account(), WRONG, begun(micro_batches=2)) == ["memory", "dropped"]


def test_a_spike_is_told_with_the_level_before_it() -> None:
    account = TrainingStats(Best(), level=LossTracker(nats=0.5, spread_nats=0.01, windows=60))
    (spike,) = account.add(WELL, begun())

    assert (spike.kind, spike.train_nats, spike.level_nats) == ("spike", 2.0, 0.5)
    assert account.level.nats > 0.5


def test_the_first_window_of_an_epoch_is_no_spike_and_moves_no_level() -> None:
    account = TrainingStats(Best(), level=LossTracker(nats=0.5, spread_nats=0.01, windows=60))

    assert account.add(WELL, begun(epoch=3.0)) == []
    assert account.level.nats == 0.5


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
    account = TrainingStats(Best(2.0, stale=1))

    assert account.score(9, val_nats, {}) is is_best
    assert (account.best.stale, account.got_worse) == (stale, got_worse)
    assert (account.best.step == 9) is is_best


def test_an_account_is_taken_up_as_it_was_laid_down() -> None:
    account = make_account()
    for update in (WELL, WELL, WRONG):
        account.add(update, begun())
    account.score(9, 2.5, {})
    account.add(WELL, begun())
    account.rollbacks = 2
    taken_up = make_account()
    taken_up.load_state_dict(json.loads(json.dumps(account.state_dict())))

    assert taken_up == account
    assert taken_up != make_account()


def test_an_account_without_a_score_is_taken_up_without_one() -> None:
    taken_up = make_account()
    taken_up.load_state_dict(json.loads(json.dumps(make_account().state_dict())))

    assert taken_up.train_nats is None
