"""The advice at the end of a run: what its figures lead to, and that its sentences agree."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from charrnn.cli.train.summary import judge_run
from charrnn.training.plan import Extrapolation
from tests.cli.train.sample_reports import FINISHED, TROUBLE

MORE_TIME = Extrapolation(0.03, 0.01)
MORE_TEXT = Extrapolation(0.01, 0.03)


def judge(
    train_nats: float,
    val_nats: float = 2.0,
    ahead: Extrapolation = MORE_TIME,
    baselines_bpc: dict[str, float] | None = None,
    *,
    compared_nats: float | None = None,
    got_worse: bool = False,
) -> list[str]:
    """Return the sentences on a run: simpler models, the fit, and what more would gain."""
    finished = replace(
        FINISHED,
        best_train_eval_nats=train_nats,
        best_val_nats=val_nats,
        best_val_compared_nats=val_nats if compared_nats is None else compared_nats,
        got_worse=got_worse,
    )
    baselines = {"xz": 9.0} if baselines_bpc is None else baselines_bpc
    return judge_run(finished, ahead, baselines, val_chars=1234)


def compare(own_bpc: float, baselines_bpc: dict[str, float], gap: float = 0.1, **how: Any) -> str:
    """Compare a model whose training text costs it a share of `gap` less."""
    nats = own_bpc * math.log(2)
    return judge(nats * (1 - gap), nats, baselines_bpc=baselines_bpc, **how)[0]


def fit(train_nats: float, **how: Any) -> str:
    """Return the sentence on the fit of a model that costs 2 nats on held-out text."""
    return judge(train_nats, **how)[1]


def estimate(**how: Any) -> str:
    """Return the sentence on what more time and text would gain."""
    return judge(1.8, **how)[2]


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
    assert "; the 5-gram is better here" in compare(2.2, ngram)
    assert "; xz is better here" in compare(2.2, packer)


@pytest.mark.parametrize("own", [1.0, 0.996, 1.004])
def test_figures_that_can_hardly_be_told_apart_are_called_alike(own: float) -> None:
    assert compare(own, {"xz": 1.0}).endswith("; the model needs about as many as xz")


def test_figures_a_little_further_apart_are_not_alike() -> None:
    assert compare(0.99, {"xz": 1.0}).endswith("1% less than xz")
    assert "xz is better here" in compare(1.01, {"xz": 1.0})


def test_a_text_that_costs_a_compressor_nothing_is_compared_too() -> None:
    assert "xz 0.00; xz is better here" in compare(0.1, {"xz": 0.0})


def test_both_are_compared_on_the_same_part_of_a_long_held_out_text() -> None:
    nats = 2.5 * math.log(2)
    text = judge(1.5, compared_nats=nats, baselines_bpc={"xz": 2.0})[0]

    assert text.startswith(
        "bits per character on the beginning of the held-out text: model 2.50, xz 2.00; xz is"
    )


def test_a_model_that_a_5_gram_beats_has_not_trained_enough() -> None:
    text = compare(2.5, {"xz": 3.0, "5-gram": 2.0})

    assert text.endswith(
        "the 5-gram is better here. The model is not trained enough: give a longer --budget"
    )


def test_a_model_that_a_compressor_beats_may_have_a_text_that_repeats_itself() -> None:
    assert compare(2.5, {"xz": 2.0, "5-gram": 2.2}).endswith(
        "; xz is better here. Train longer; if the text repeats long passages, xz copies them and "
        "the model cannot"
    )


@pytest.mark.parametrize("best", ["5-gram", "xz"])
@pytest.mark.parametrize(
    "how",
    [{"got_worse": True}, {"gap": 0.3}, {"ahead": MORE_TEXT}],
    ids=["got worse", "wide gap", "more text"],
)
def test_a_model_that_time_does_not_help_is_not_told_to_train_longer(
    best: str, how: dict[str, Any]
) -> None:
    assert compare(2.5, {best: 2.0}, **how).endswith("is better here")


# ── the fit ──


@pytest.mark.parametrize(
    ("train_nats", "verdict"),
    [
        (2.1, "it underfits"),
        (2.0, "it underfits"),
        (1.95, "it underfits"),
        (1.93, "the fit is balanced"),
        (1.61, "the fit is balanced"),
        (1.59, "it overfits"),
        (0.1, "it overfits"),
    ],
)
def test_the_gap_between_training_and_held_out_text_gives_the_verdict(
    train_nats: float, verdict: str
) -> None:
    assert fit(train_nats).startswith(verdict)


def test_a_run_that_got_worse_overfits_only_if_it_knows_the_training_text_better() -> None:
    assert fit(1.9, got_worse=True).startswith("it overfits")
    assert fit(1.9).startswith("the fit is balanced")
    assert "on the training text too: the learning rate is too high" in fit(2.0, got_worse=True)


@pytest.mark.parametrize("ahead", [MORE_TIME, MORE_TEXT])
@pytest.mark.parametrize(
    ("train_nats", "hints"),
    [(1.0, ("--dropout", "--hidden-size")), (2.0, ("--budget", "--hidden-size"))],
)
def test_the_verdict_names_both_losses_and_the_settings_to_change(
    train_nats: float, hints: tuple[str, ...], ahead: Extrapolation
) -> None:
    text = fit(train_nats, ahead=ahead)

    train_bpc = train_nats / math.log(2)
    assert f"train {train_bpc:.3f}, held out 2.885 bits per character" in text
    assert all(hint in text for hint in hints)


# ── what more would gain ──


def test_a_gain_is_a_share_of_the_held_out_loss() -> None:
    assert estimate(ahead=MORE_TEXT) == (  # of 2.885 bits
        "estimate: training twice as long: 0.03 bits per character better (1%); twice as much "
        "text: 0.09 bits per character better (3%)"
    )


def test_a_gain_too_small_to_see_is_called_so() -> None:
    text = estimate(ahead=Extrapolation(0.01, 0.0017))

    assert text.endswith("twice as much text: no gain")


def test_a_gain_below_one_per_cent_has_a_digit_more() -> None:
    text = estimate(ahead=Extrapolation(0.01, 0.0018))

    assert text.endswith("twice as much text: 0.01 bits per character better (0.2%)")


def test_more_time_brings_nothing_to_a_run_that_got_worse() -> None:
    assert "training twice as long: no gain;" in estimate(got_worse=True)


# ── all of it ──


def test_what_helps_most_is_what_brings_most() -> None:
    underfits, overfits = 2.0, 1.0

    assert "longer --budget helps most" in fit(underfits, ahead=MORE_TIME)
    assert "helps most" not in fit(underfits, ahead=MORE_TEXT)
    assert "More text helps most" in fit(overfits, ahead=MORE_TEXT)
    assert "helps most" not in fit(overfits, ahead=MORE_TIME)
    assert "helps most" not in fit(overfits, got_worse=True, ahead=Extrapolation(0.03, 0.0))


def test_a_run_is_judged_in_three_sentences() -> None:
    comparison, verdict, ahead = judge(1.8, baselines_bpc={"5-gram": 3.0})

    assert "the 5-gram is better here" not in comparison
    assert verdict.startswith("the fit is balanced")
    assert ahead.startswith("estimate")


def test_a_text_that_is_known_for_certain_leaves_nothing_to_learn() -> None:
    comparison, verdict = judge(0.0, 0.0, baselines_bpc={"gzip": 0.04, "xz": -0.01})

    assert comparison == "bits per character on held-out text: model 0.00, gzip 0.04, xz -0.01"
    assert "nothing more to learn" in verdict


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {},
            "the last model is worse than guessing (7.12 > 6.62 bits per character): the learning "
            "rate is too high, and clipping is off; try --learning-rate 0.002 --clip-grad-norm 1",
        ),
        (
            {"worse_than": "before", "is_clipped": True},
            "the last model is far worse than it was before (7.12 > 6.62 bits per character): the "
            "learning rate is too high; try --learning-rate 0.002",
        ),
        (
            {"worse_than": "frequencies", "is_rate_too_high": False},
            "the last model is worse than guessing by letter frequencies (7.12 > 6.62 bits per "
            "character): it has only begun to learn; train longer, with --learning-rate 0.002",
        ),
        (
            {"worse_than": "frequencies", "is_rate_too_high": False, "learning_rate": None},
            "the last model is worse than guessing by letter frequencies (7.12 > 6.62 bits per "
            "character): it has only begun to learn; train longer",
        ),
    ],
)
def test_a_model_in_trouble_is_not_said_to_underfit(changed: dict[str, Any], line: str) -> None:
    finished = replace(FINISHED, trouble=replace(TROUBLE, **changed))
    scores, verdict = judge_run(finished, MORE_TIME, {"xz": 2.0}, 5000)

    assert scores.endswith("xz is better here")
    assert verdict == line
    assert judge_run(finished, MORE_TIME, {}, 5)[1:] == [line]


def test_a_run_without_a_held_out_text_gets_no_verdict() -> None:
    finished = replace(
        FINISHED, best_val_nats=None, best_val_compared_nats=None, best_train_eval_nats=None
    )

    assert judge_run(finished, MORE_TIME, {}, 0) == [
        "nothing was held out: no early stopping, no verdict"
    ]


def test_the_verdict_compares_losses_that_were_measured_alike() -> None:
    finished = replace(FINISHED, best_train_nats=2.1, best_train_eval_nats=1.4, best_val_nats=2.0)

    assert judge_run(finished, MORE_TIME, {"xz": 9.0}, 5000)[1].startswith("it overfits")


def test_one_held_out_character_is_singular() -> None:
    assert "(1 character)" in judge_run(FINISHED, MORE_TIME, {}, 1)[0]


def test_too_little_held_out_text_gives_no_verdict() -> None:
    assert judge(1.0, baselines_bpc={}) == [
        "the held-out part is too short (1,234 characters) for a reliable score"
    ]
