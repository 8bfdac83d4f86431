"""Holds the advice to the figures that it is drawn from."""

from __future__ import annotations

import math

import pytest

from charrnn.console.advice import compare_with_compressors, judge_fit


def test_a_model_that_beats_every_compressor_says_by_how_much() -> None:
    text = compare_with_compressors(1.5 * math.log(2), {"gzip": 3.0, "xz": 2.0})

    assert text == (
        "bits per character on the same text: model 1.50, gzip 3.00, xz 2.00; "
        "the model needs 25% less than xz"
    )


def test_a_model_is_held_to_the_best_compressor() -> None:
    text = compare_with_compressors(2.5 * math.log(2), {"xz": 2.0, "gzip": 3.0})

    assert "model 2.50" in text
    assert "xz does better" in text


def test_without_compressors_there_is_nothing_to_compare() -> None:
    assert compare_with_compressors(1.0, {}) == ""


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
