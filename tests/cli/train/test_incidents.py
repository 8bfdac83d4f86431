"""What a run says of its beginning and of what went wrong: the words, whatever is drawn."""

from __future__ import annotations

import io
import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from charrnn.checkpoint.run_folder import DamagedState, RunFolder
from charrnn.cli.train.display import Lasting, PlainLines
from charrnn.cli.train.panel import LivePanel, describe_news
from charrnn.tasks.finetune import InitialModel
from charrnn.tasks.train import Opened
from charrnn.text.corpus import corpus_from_text
from charrnn.training.reports import Incident

RUN = RunFolder(Path("checkpoints/book"))
OPENED = Opened(RUN, corpus_from_text("abcde" * 300), None, room_bytes=2_000_000)
SPIKE = Incident(
    kind="spike",
    step=1234,
    epoch=2.5,
    position=56_789,
    lane_length=100_000,
    train_nats=5.25,
    level_nats=1.5,
)


def test_a_run_that_begins_as_it_was_asked_to_has_no_news() -> None:
    assert list(describe_news(OPENED)) == []


def test_a_damaged_state_is_named_with_what_it_costs() -> None:
    damaged = DamagedState(RUN.path / "step-70.safetensors", 70, "step-70.safetensors is cut short")
    opened = replace(OPENED, resumed_step=60, damaged=(damaged,))

    assert list(describe_news(opened)) == [
        "step-70.safetensors is cut short; goes on from the state of 10 steps before"
    ]


def test_a_damaged_best_model_is_named_with_what_becomes_of_it() -> None:
    damaged = DamagedState(RUN.best, 60, "best.safetensors is damaged")
    (line,) = describe_news(replace(OPENED, resumed_step=60, damaged=(damaged,)))

    assert line == "best.safetensors is damaged; the next evaluation takes its place"


def test_a_run_that_was_found_says_how_to_begin_another() -> None:
    (line,) = describe_news(replace(OPENED, resumed_step=1200, is_found=True))

    assert "'book'" in line
    assert line.endswith("from step 1,200 (--on-unfinished new starts another)")


def test_weights_that_were_taken_over_say_which_characters_are_new() -> None:
    inherited = InitialModel("old", 5, None, new_characters="é\x1b", has_new_bytes=False)
    (line,) = describe_news(replace(OPENED, inherited=inherited))

    assert line == r"starts from the weights of old; 2 characters are new to it: 'é\x1b'"


@pytest.mark.parametrize(
    ("incident", "line"),
    [
        (
            SPIKE,
            "step 1,234: the loss jumped from 1.50 to 5.25 nats at character 56,789 of every "
            "100,000",
        ),
        (
            replace(SPIKE, kind="dropped", train_nats=math.nan),
            "step 1,234: loss or gradient is not a number at character 56,789 of every 100,000; "
            "the step was dropped",
        ),
        (
            replace(SPIKE, kind="rollback", back_to_step=1200, rate_factor=0.25),
            "step 1,234: the loss is no longer a number; back to step 1,200, and on at 0.25 of "
            "the learning rate",
        ),
        (
            replace(SPIKE, kind="graph", reason="an operation is not permitted"),
            "step 1,234: no CUDA graph of a step could be made (an operation is not permitted); "
            "goes on without",
        ),
        (
            replace(SPIKE, kind="memory", micro_batches=4),
            "step 1,234: memory was short; the lanes are read in 4 parts from here on",
        ),
    ],
)
def test_an_incident_is_one_line(incident: Incident, line: str) -> None:
    assert list(describe_news(incident)) == [line]


@pytest.mark.parametrize("kind", [PlainLines, LivePanel])
def test_an_incident_stays_on_whatever_screen_there_is(kind: type) -> None:
    stream = io.StringIO()
    with closing(kind(Console(file=stream, width=120, force_terminal=kind is LivePanel))) as shown:
        for report in (OPENED, SPIKE):
            shown.show(report)

    assert "step 1,234: the loss jumped from 1.50 to 5.25 nats" in stream.getvalue()


class GoneStream(io.StringIO):
    """A terminal that was closed."""

    def write(self, _: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_is_gone_ends_the_show_and_not_the_run() -> None:
    display = Lasting(PlainLines(Console(file=GoneStream())))
    for _ in range(2):
        display.show(OPENED)
    display.close()
