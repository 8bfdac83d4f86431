"""From records and time to sizes: what a network that reads whole records is given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charrnn.config import TrainConfig
from charrnn.training.task_plan import TaskSizes, make_task_plan

WORDS = TaskSizes(
    task="tagging",
    vocab_size=4_600,
    records=16_000,
    tokens=1_600_000,
    longest=512,
    class_count=4,
    target_size=0,
    has_words=True,
)
NAMES = replace(
    WORDS, task="classification", vocab_size=80, tokens=120_000, class_count=18, longest=20
)
PAIRS = replace(
    WORDS,
    task="seq2seq",
    vocab_size=30,
    records=3_000,
    tokens=24_000,
    class_count=0,
    target_size=40,
)


def units(sizes: TaskSizes, budget: str, speed: float = 1.0) -> int:
    return make_task_plan(TrainConfig(budget=budget), sizes, speed).model.hidden_size


@pytest.mark.parametrize("sizes", [WORDS, NAMES, PAIRS])
def test_more_time_or_a_faster_machine_never_makes_a_network_smaller(sizes: TaskSizes) -> None:
    for faster in (1.0, 0.25):
        found = [units(sizes, budget, faster) for budget in ("5s", "30s", "1m", "5m", "1h")]
        assert found == sorted(found)
    assert units(sizes, "2m", 0.25) <= units(sizes, "2m") <= units(sizes, "2m", 4.0)


def test_a_long_text_is_read_several_times_by_a_small_network_rather_than_once() -> None:
    assert units(WORDS, "10m", 0.25) == 192
    assert units(WORDS, "5m", 0.25) == 128
    assert units(WORDS, "10s") == 64
    assert units(WORDS, "2h") == 256


def test_a_short_text_is_not_made_smaller_for_epochs_that_it_has_anyway() -> None:
    assert units(NAMES, "60s", 0.25) == 128


def test_large_alphabets_have_larger_embeddings() -> None:
    plan = make_task_plan(TrainConfig(budget="1h"), WORDS)
    assert plan.model.embedding_size == 256
    narrow = TrainConfig(budget="1h", hidden_size=128)
    assert make_task_plan(narrow, WORDS).model.embedding_size == 128
    assert make_task_plan(TrainConfig(budget="1h"), NAMES).model.embedding_size == 64


def test_only_what_time_decided_is_chosen_by_the_machines_speed() -> None:
    assert make_task_plan(TrainConfig(budget="10s"), WORDS, 0.5).machine_speed == 0.5
    assert make_task_plan(TrainConfig(budget="1h"), PAIRS, 0.5).machine_speed is None
    asked = TrainConfig(budget="10s", hidden_size=80)
    assert make_task_plan(asked, WORDS, 0.5).machine_speed is None
