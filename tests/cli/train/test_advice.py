"""Holds the advice to the figures that it is drawn from, and its sentences to one another."""

from __future__ import annotations

import math
from typing import Any

import pytest

from charrnn.cli.train.summary import (
    Outcome,
    compare_with_baselines,
    judge_fit,
    judge_run,
    look_ahead,
)
from charrnn.training.extrapolation import Extrapolation

MORE_TIME, MORE_TEXT = Extrapolation(0.03, 0.01), Extrapolation(0.01, 0.03)


def outcome(
    train_nats: float, val_nats: float = 2.0, outlook: Extrapolation = MORE_TIME, **others: Any
) -> Outcome:
    settings = {"compared_nats": val_nats, "got_worse": False} | others
    return Outcome(train_nats, val_nats, outlook=outlook, **settings)


def compare(own_bpc: float, baselines_bpc: dict[str, float], gap: float = 0.1, **how: Any) -> str:
    """Compare a model whose training text costs it a share of `gap` less."""
    nats = own_bpc * math.log(2)
    return compare_with_baselines(outcome(nats * (1 - gap), nats, **how), baselines_bpc)


# ── simpler models ──


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


@pytest.mark.parametrize("own", [1.0, 0.996, 1.004])
def test_figures_that_can_hardly_be_told_apart_are_called_alike(own: float) -> None:
    assert compare(own, {"xz": 1.0}).endswith("; the model needs about as many as xz")


def test_figures_a_little_further_apart_are_not_alike() -> None:
    assert compare(0.99, {"xz": 1.0}).endswith("1% less than xz")
    assert "xz does better" in compare(1.01, {"xz": 1.0})


def test_a_text_that_costs_a_compressor_nothing_is_compared_too() -> None:
    assert "xz 0.00; xz does better" in compare(0.1, {"xz": 0.0})


def test_both_are_compared_on_the_same_part_of_a_long_held_out_text() -> None:
    nats = 2.5 * math.log(2)
    text = compare_with_baselines(outcome(1.5, compared_nats=nats), {"xz": 2.0})

    assert text.startswith(
        "bits per character on the beginning of the held-out text: model 2.50, xz 2.00; xz does"
    )


def test_a_model_that_a_5_gram_beats_has_not_trained_enough() -> None:
    text = compare(2.5, {"xz": 3.0, "5-gram": 2.0})

    assert text.endswith("the model has not trained enough, give a longer --budget")


def test_a_model_that_a_compressor_beats_may_have_a_text_that_repeats_itself() -> None:
    assert "unless the text repeats itself" in compare(2.5, {"xz": 2.0, "5-gram": 2.2})


@pytest.mark.parametrize("best", ["5-gram", "xz"])
@pytest.mark.parametrize(
    "how",
    [{"got_worse": True}, {"gap": 0.3}, {"outlook": MORE_TEXT}],
    ids=["got worse", "wide gap", "more text"],
)
def test_a_model_that_time_does_not_help_is_not_told_to_train_longer(
    best: str, how: dict[str, Any]
) -> None:
    assert compare(2.5, {best: 2.0}, **how).endswith("does better")


# ── the fit ──


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
    assert judge_fit(outcome(train_nats)).startswith(verdict)


def test_a_run_that_stopped_getting_better_overfits_whatever_the_gap() -> None:
    assert judge_fit(outcome(2.0, got_worse=True)).startswith("it overfits")


@pytest.mark.parametrize("outlook", [MORE_TIME, MORE_TEXT])
@pytest.mark.parametrize(
    ("train_nats", "ways_out"),
    [(1.0, ("--dropout", "--hidden-size")), (2.0, ("--budget", "--hidden-size"))],
)
def test_the_verdict_names_both_losses_and_the_settings_to_change(
    train_nats: float, ways_out: tuple[str, ...], outlook: Extrapolation
) -> None:
    text = judge_fit(outcome(train_nats, outlook=outlook))

    assert f"train {train_nats:.3f}, held out 2.000 nats" in text
    assert all(hint in text for hint in ways_out)


# ── what to expect ──


def test_what_to_expect_is_a_share_of_the_held_out_loss() -> None:
    assert look_ahead(outcome(1.8, outlook=MORE_TEXT)) == (
        "to expect: twice the time brings about 0.020 nats, twice the text about 0.060 nats"
    )


def test_a_gain_too_small_to_see_is_called_so() -> None:
    text = look_ahead(outcome(1.8, outlook=Extrapolation(0.01, 0.0)))

    assert text.endswith("twice the text next to nothing")


def test_more_time_brings_nothing_to_a_run_that_got_worse() -> None:
    assert "twice the time brings nothing" in look_ahead(outcome(1.8, got_worse=True))


# ── all of it ──


def test_what_helps_most_is_what_brings_most() -> None:
    underfits, overfits = 2.0, 1.0

    assert "longer --budget helps most" in judge_fit(outcome(underfits, outlook=MORE_TIME))
    assert "helps most" not in judge_fit(outcome(underfits, outlook=MORE_TEXT))
    assert "More text helps most" in judge_fit(outcome(overfits, outlook=MORE_TEXT))
    assert "helps most" not in judge_fit(outcome(overfits, outlook=MORE_TIME))
    assert "helps most" not in judge_fit(
        outcome(overfits, got_worse=True, outlook=Extrapolation(0.03, 0.0))
    )


def test_a_run_is_judged_in_three_sentences() -> None:
    comparison, fit, ahead = judge_run(outcome(1.8), {"5-gram": 3.0})

    assert "the 5-gram does better" not in comparison
    assert fit.startswith("the fit is fair")
    assert ahead.startswith("to expect")


def test_a_text_that_is_known_for_certain_leaves_nothing_to_learn() -> None:
    known = outcome(0.0, 0.0)

    comparison, fit, ahead = judge_run(known, {"gzip": 0.04, "xz": -0.01})

    assert comparison == "bits per character on held-out text: model 0.00, gzip 0.04, xz -0.01"
    assert "nothing more to learn" in fit
    assert ahead == ""


def test_too_little_held_out_text_gives_no_verdict() -> None:
    assert judge_run(outcome(1.0), {}) == ["what was held out is too short to judge the model by"]
