"""Runs of each task, cut at random steps: each is the one that never stopped, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from charrnn.config import TextConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from tests.training.test_records import NAMES
from tests.training.test_tasks import check_task_cut, make_classes

pytestmark = pytest.mark.usefixtures("counted_steps")
STEPS = 40  # of a run of check_task_cut

TASKS: dict[str, tuple[dict[str, Any], ...]] = {
    "classification": ({}, {"bidirectional": False, "pooling": "attention", "cell": "gru"}),
    "tagging": ({}, {"transitions": True}),
    "seq2seq": ({"attention": "additive"}, {"attention": "dot"}, {"attention": "none"}),
}


def make_corpus(task: str) -> Corpus:
    """Return names with a class, cut into words, or with themselves turned round."""
    if task == "classification":
        return make_classes()
    if task == "tagging":
        text = "\n".join(f"{name} {name[::-1]}" for name in NAMES)
        return corpus_from_text(text, TextConfig(tags="spaces"))
    text = "\n".join(f"{name}\t{name[::-1]}" for name in NAMES)
    return corpus_from_text(text, TextConfig(pairs=True, format="tsv"))


@pytest.mark.parametrize(
    ("task", "settings"), [(task, each) for task in TASKS for each in TASKS[task]], ids=str
)
def test_a_run_of_a_task_cut_at_any_step_loses_nothing(
    task: str, settings: dict[str, Any], times: Callable[[int, int], int]
) -> None:
    draw = random.Random(task)
    corpus = make_corpus(task)
    for number in range(times(1, 30)):
        cell = ("lstm", "gru", "rnn")[number % 3]
        check_task_cut(corpus, draw.randrange(1, STEPS), **{"cell": cell, "task": task} | settings)
