"""Holds the advice to the figures that it is drawn from."""

from __future__ import annotations

import math

import pytest

from charrnn.console.advice import compare_with_baselines, judge_fit, look_ahead
from charrnn.training.outlook import Outlook


def compare(own_bpc: float, baselines_bpc: dict[str, float], *, got_worse: bool = False) -> str:
    return compare_with_baselines(own_bpc * math.log(2), baselines_bpc, got_worse=got_worse)


@pytest.mark.parametrize("got_worse", [False, True])
def test_a_model_that_beats_every_baseline_says_by_how_much(got_worse: bool) -> None:
    text = compare(1.5, {"gzip": 3.0, "xz": 2.0, "5-gram": 2.5}, got_worse=got_worse)

    assert text == (
        "bits per character on held-out text: model 1.50, gzip 3.00, xz 2.00, 5-gram 2.50; "
        "the model needs 25% less than xz"
    )


def test_a_model_is_held_to_the_best_baseline() -> None:
    ngram, packer = {"xz": 2.5, "5-gram": 2.0}, {"5-gram": 2.5, "xz": 2.0, "gzip": 3.0}

    assert compare(1.5, ngram).endswith("25% less than the 5-gram")
    assert "; the 5-gram does better" in compare(2.2, ngram)
    assert "; xz does better" in compare(2.2, packer)


def test_a_model_that_a_5_gram_beats_has_not_trained_enough() -> None:
    text = compare(2.5, {"xz": 3.0, "5-gram": 2.0})

    assert text.endswith("the model has not trained enough, give a longer --budget")


def test_a_model_that_a_compressor_beats_may_have_a_text_that_repeats_itself() -> None:
    assert "unless the text repeats itself" in compare(2.5, {"xz": 2.0, "5-gram": 2.2})


@pytest.mark.parametrize("best", ["5-gram", "xz"])
def test_a_model_that_got_worse_is_not_told_to_train_longer(best: str) -> None:
    assert compare(2.5, {best: 2.0}, got_worse=True).endswith("does better")


def test_without_baselines_there_is_nothing_to_compare() -> None:
    assert compare(1.0, {}) == ""


@pytest.mark.parametrize(
    ("train_nats", "verdict"),
    [
        (2.1, "it underfits"),
        (2.0, "it underfits"),
        (1.95, "it underfits"),
        (1.93, "the fit is fair"),
        (1.61, "the fit is fair"),
        (1.59, "it overfits"),
        (0.1, "it overfits"),
    ],
)
def test_the_gap_between_training_and_held_out_text_gives_the_verdict(
    train_nats: float, verdict: str
) -> None:
    assert judge_fit(train_nats, 2.0, got_worse=False).startswith(verdict)


def test_a_run_that_stopped_getting_better_overfits_whatever_the_gap() -> None:
    assert judge_fit(2.0, 2.0, got_worse=True).startswith("it overfits")


@pytest.mark.parametrize(
    ("train_nats", "ways_out"),
    [(1.0, ("--dropout", "--hidden-size")), (2.0, ("--budget", "--hidden-size"))],
)
def test_the_verdict_names_both_losses_and_the_settings_to_change(
    train_nats: float, ways_out: tuple[str, ...]
) -> None:
    text = judge_fit(train_nats, 2.0, got_worse=False)

    assert f"train {train_nats:.3f}, held out 2.000 nats" in text
    assert all(way_out in text for way_out in ways_out)


def test_a_text_that_is_known_for_certain_leaves_nothing_to_learn() -> None:
    assert "nothing more to learn" in judge_fit(0.0, 0.0, got_worse=False)


def test_what_to_expect_is_a_share_of_the_held_out_loss() -> None:
    text = look_ahead(2.0, Outlook(0.01, 0.03), got_worse=False)

    assert (
        text == "to expect: twice the time brings about 0.020 nats, twice the text about 0.060 nats"
    )


def test_a_gain_too_small_to_see_is_called_so() -> None:
    assert look_ahead(2.0, Outlook(0.01, 0.0), got_worse=False).endswith("text next to nothing")


def test_more_time_brings_nothing_to_a_run_that_got_worse() -> None:
    assert "twice the time brings nothing" in look_ahead(2.0, Outlook(0.01, 0.03), got_worse=True)


def test_a_text_that_is_known_has_nothing_to_look_ahead_to() -> None:
    assert look_ahead(0.0, Outlook(0.01, 0.03), got_worse=False) == ""
