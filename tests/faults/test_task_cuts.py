"""Runs of each task, cut at random steps: each is the one that never stopped, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import TextConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.tasks.train import start_run
from tests.faults.test_cuts import contents_of, drop_after
from tests.training.small_runs import SMALL, stop_after
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


# Files, and a chain of cuts

FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "classification": (
        *("names.csv", "{0},{1}\n"),
        {"text_column": "1", "label_column": "2", "header": False, "task": "classification"},
    ),
    "tagging": ("names.txt", "{0} to {0}\n", {"tags": "spaces"}),
    "seq2seq": ("names.tsv", "{0}\tto {0}\n", {"pairs": True}),
}
"""The name of a task's file, a row of it, and how it is read."""


@pytest.mark.parametrize("task", FILES)
def test_a_chain_of_cuts_leaves_the_files_of_one_run(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: Callable[[int, int], int]
) -> None:
    monkeypatch.chdir(tmp_path)
    name, row, reading = FILES[task]
    rows = (row.format(each, "with" if "a" in each else "no") for each in NAMES)
    Path(name).write_text("".join(rows), encoding="utf-8")
    cuts = times(3, 30)
    sizes = {key: value for key, value in SMALL.items() if key != "seq_len"}
    settings = {**sizes, **reading, "dropout": 0.2, "steps": cuts * 9, "eval_every": 7}
    draw = random.Random(task)
    for _ in start_run([name], {**settings, "name": "uncut"}):
        pass
    for cut in range(cuts):
        reports = start_run([name], {**settings, "name": "cut"}, should_stop=stop_after(7))
        drop_after(reports, draw.randrange(5, 30) if cut % 2 else 10**6)
    for _ in start_run([name], {**settings, "name": "cut"}):
        pass

    uncut, chain = (RunFolder(Path("checkpoints", each)) for each in ("uncut", "cut"))
    ours, theirs = contents_of(chain), contents_of(uncut)
    assert ours.pop("states")[0] == theirs.pop("states")[0]
    assert ours == theirs
