"""A run on a text of which nothing is held out: what its files say, and that it can be resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.data.corpus import Corpus
from charrnn.errors import CorpusError
from charrnn.tasks import train as train_task
from charrnn.tasks.eval_text import EvalTextRequest, NamedModel, read_eval_text
from charrnn.tasks.model import Model
from charrnn.tasks.train import Opened, RunReport, start_run
from tests.training.small_runs import SMALL, stop_after

pytestmark = pytest.mark.usefixtures("counted_steps")
RUN = RunFolder(Path("checkpoints/book"))


@pytest.fixture(autouse=True)
def nothing_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every text be training text."""
    honest = train_task.open_corpus

    def open_corpus(*args: Any, **options: Any) -> Corpus:
        corpus = honest(*args, **options)
        return replace(corpus, val=corpus.val[:0], val_chars=0)

    monkeypatch.setattr(train_task, "open_corpus", open_corpus)


def run(corpus: str | None, stop: int | None = None, **settings: Any) -> list[RunReport]:
    resumed = {"threads": 1} if "resume" in settings else SMALL
    should_stop = stop_after(stop) if stop else lambda: False
    paths = [] if corpus is None else [corpus]
    return list(start_run(paths, {**resumed, **settings}, should_stop=should_stop))


def test_the_files_say_that_no_loss_on_held_out_text_is_known(book: str) -> None:
    finished = run(book, steps=6, eval_every=3)[-1]

    best = read_model(RUN.best)
    assert [best.summary[f"{name}_nats"] for name in ("val", "eval", "train_eval")] == [None] * 3
    assert best.summary["val_bpc"] is None
    assert best.summary["step"] == 6
    assert read_model(RUN.states[0]).summary["val_nats"] is None
    lines = [json.loads(line) for line in RUN.metrics.read_text().splitlines()]
    evaluations = [line for line in lines if line["event"] == "evaluation"]
    assert [(line["step"], line["val_nats"]) for line in evaluations] == [(3, None), (6, None)]
    assert "── step 6 ──" in (RUN.path / "samples.txt").read_text()
    assert finished.baselines_bpc == {}  # type: ignore[union-attr]
    assert len("".join(Model(best).generate(length=5, seed=1))) == 5


def test_a_stopped_run_has_its_last_model_and_goes_on(book: str) -> None:
    run(book, steps=60, eval_every=20, name="uncut")
    run(book, steps=60, eval_every=20, stop=33)
    assert read_model(RUN.best).summary["step"] == 33
    (opened,) = (each for each in run(None, resume="book") if isinstance(each, Opened))

    assert opened.damaged == ()
    uncut = read_model(RunFolder(Path("checkpoints/uncut")).best)
    ours = read_model(RUN.best)
    assert all(np.array_equal(ours.weights[name], uncut.weights[name]) for name in uncut.weights)


def test_what_was_not_held_out_cannot_be_scored(book: str) -> None:
    list(start_run([book], SMALL | {"steps": 1, "val_fraction": 0}))
    models = [NamedModel("book", read_model(RUN.best))]

    with pytest.raises(
        CorpusError, match=r"book was trained with nothing held out; .*split=.train."
    ):
        read_eval_text(models, EvalTextRequest())
    with pytest.raises(CorpusError, match=r"nothing held out; .* by leaving split out"):
        read_eval_text(models, EvalTextRequest(text="abc", split="val"))
    assert len(read_eval_text(models, EvalTextRequest(split="train")).ids) > 1


def test_a_run_with_a_part_for_testing_alone_says_which_part_to_score(book: str) -> None:
    file = list(start_run([book], SMALL | {"steps": 1, "val_fraction": 0})) and read_model(RUN.best)
    settings = file.summary["settings"] | {"test_fraction": 0.2}
    model = NamedModel("book", replace(file, summary=file.summary | {"settings": settings}))

    with pytest.raises(CorpusError, match=r"for testing alone; score it by split=.test."):
        read_eval_text([model], EvalTextRequest())
