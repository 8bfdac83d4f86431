"""The words for a run's beginning and for what went wrong, on whatever display."""

from __future__ import annotations

import io
import math
from contextlib import closing
from dataclasses import replace

import pytest
from rich.console import Console

from charrnn.checkpoint.run_folder import DamagedState
from charrnn.cli.formatting import UNITS
from charrnn.cli.train.display import PlainLines
from charrnn.cli.train.panel import LivePanel, describe_news, format_corpus, format_model
from charrnn.data.corpus import corpus_from_text
from charrnn.tasks.finetune import InitialModel
from charrnn.text.ngrams import RowCounts
from charrnn.training.reports import Incident, Started
from tests.cli.train.sample_reports import OPENED, RUN, SPIKE, STARTED, TROUBLE


def test_a_run_that_starts_as_usual_has_no_news() -> None:
    assert list(describe_news(OPENED)) == []


def test_a_damaged_state_is_named_with_what_it_costs() -> None:
    damaged = DamagedState(RUN.path / "step-70.safetensors", 70, "step-70.safetensors is cut short")
    opened = replace(OPENED, resumed_step=60, damaged=(damaged,))

    assert list(describe_news(opened)) == [
        "step-70.safetensors is cut short; continuing from the state 10 steps earlier"
    ]


def test_one_lost_step_and_one_new_character_are_singular() -> None:
    damaged = DamagedState(RUN.path / "step-61.safetensors", 61, "it is cut short")
    initial = InitialModel("old", 5, None, new_characters="é", has_new_bytes=False)
    opened = replace(OPENED, resumed_step=60, damaged=(damaged,), initial_model=initial)

    assert list(describe_news(opened)) == [
        "it is cut short; continuing from the state 1 step earlier",
        "starting from the weights of old; 1 character is new to it: 'é'",
    ]


def test_a_model_of_one_lane_and_one_character_is_singular() -> None:
    started = replace(STARTED, plan=replace(STARTED.plan, batch_size=1, seq_len=1))

    assert "· 1 lane × 1 character ·" in format_model(started)
    assert format_corpus(corpus_from_text("a", name="a")) == "a: 1 character, 1 token"


def test_a_damaged_best_model_is_named_with_what_replaces_it() -> None:
    damaged = DamagedState(RUN.best, 60, "best.safetensors is damaged")
    (line,) = describe_news(replace(OPENED, resumed_step=60, damaged=(damaged,)))

    assert line == "best.safetensors is damaged; the next evaluation replaces it"


def test_a_run_that_was_found_names_the_option_that_starts_over() -> None:
    assert list(describe_news(replace(OPENED, resumed_step=1200, is_found=True))) == [
        "continuing 'tiny' from step 1,200 (same command, unfinished; --on-unfinished new starts "
        "over)"
    ]


def test_the_model_to_start_from_is_named_with_the_characters_new_to_it() -> None:
    initial = InitialModel("old", 5, None, new_characters="é\x1b", has_new_bytes=True)
    (line,) = describe_news(replace(OPENED, initial_model=initial))

    assert line == (
        r"starting from the weights of old; 2 characters are new to it: 'é\x1b'; so are the bytes "
        "of rare characters"
    )


def test_a_model_to_start_from_without_n_grams_is_said_to_have_none() -> None:
    initial = InitialModel("old", 5, None, "", has_new_bytes=False, lacks_ngrams=True)

    assert list(describe_news(replace(OPENED, initial_model=initial))) == [
        "starting from the weights of old; without n-grams, as it has none"
    ]


def with_rows(rows: int, counts: RowCounts) -> Started:
    """Return the report of a run whose table of n-grams has so many rows."""
    model = replace(STARTED.plan.model, ngram_order=5, ngram_rows=rows)
    return replace(STARTED, plan=replace(STARTED.plan, model=model), row_counts=counts)


def test_n_grams_that_find_rows_in_the_table_of_a_model_are_counted() -> None:
    counts = RowCounts(frequent=5000, taken=3500, known=1200, added=300)

    assert list(describe_news(with_rows(4000, counts))) == [
        "of about 5,000 frequent n-grams of this text 1,200 had a row, 300 took a free one and "
        "3,500 found none; the table keeps its 4,000 rows"
    ]


def test_a_table_far_larger_than_the_text_needs_is_said_to_stay_empty() -> None:
    counts = RowCounts(frequent=5000, taken=0, known=0, added=4990)

    assert list(describe_news(with_rows(400_000, counts))) == [
        "about 5,000 n-grams are frequent in this text (4 times or more), so most of --ngram-rows "
        "400,000 stay empty; fewer do as well"
    ]
    assert not list(describe_news(with_rows(10_000, counts)))


def test_windows_in_micro_batches_are_reported() -> None:
    assert list(describe_news(replace(STARTED, micro_batches=4))) == [
        "memory is short: each window is trained in 4 micro-batches"
    ]


@pytest.mark.parametrize(
    ("incident", "line"),
    [
        (
            SPIKE,
            "step 1,234: the loss jumped from 1.50 to 5.25 bits per character",
        ),
        (
            replace(SPIKE, kind="dropped", train_nats=math.nan),
            "step 1,234: the gradient overflowed; this step was skipped",
        ),
        (
            replace(SPIKE, kind="rollback", back_to_step=1200, rate_factor=0.25),
            "step 1,234: the loss became NaN or infinite; back to step 1,200, continuing at "
            "0.25 of the learning rate",
        ),
        (
            replace(SPIKE, kind="graph", reason="an operation is not permitted"),
            "step 1,234: no CUDA graph of a step (an operation is not permitted); continuing "
            "without one",
        ),
        (
            replace(SPIKE, kind="memory", micro_batches=4),
            "step 1,234: memory was short; each window is now trained in 4 micro-batches",
        ),
        (
            replace(SPIKE, kind="worse", trouble=TROUBLE),
            "step 1,234: the model is worse than guessing (7.12 > 6.62 bits per character): the "
            "learning rate is too high, and clipping is off; try --learning-rate 0.002 "
            "--clip-grad-norm 1",
        ),
    ],
)
def test_an_incident_is_one_line(incident: Incident, line: str) -> None:
    assert list(describe_news(incident)) == [line]


def test_the_losses_of_a_task_are_told_in_its_unit() -> None:
    (worse,) = describe_news(replace(SPIKE, kind="worse", trouble=TROUBLE), UNITS["seq2seq"])
    (spike,) = describe_news(SPIKE, UNITS["classification"])

    assert f"({TROUBLE.val_nats:.2f} > {TROUBLE.limit_nats:.2f} nats per target token)" in worse
    assert spike.endswith(f" to {SPIKE.train_nats:.2f} nats per text")


@pytest.mark.parametrize("kind", [PlainLines, LivePanel])
def test_an_incident_stays_on_every_display(kind: type) -> None:
    stream = io.StringIO()
    with closing(kind(Console(file=stream, width=120, force_terminal=kind is LivePanel))) as shown:
        for report in (OPENED, SPIKE):
            shown.show(report)

    assert "step 1,234: the loss jumped from 1.50 to 5.25 bits per character" in stream.getvalue()


def test_graphemes_that_are_new_to_the_first_model_are_counted() -> None:
    initial = InitialModel("old", 5, None, "", has_new_bytes=False, new_clusters=2)
    news = list(describe_news(replace(OPENED, initial_model=initial)))

    said = "2 graphemes of several characters are new to it"
    assert f"starting from the weights of old; {said}" in news
