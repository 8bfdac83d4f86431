"""A run that was cut, however often and wherever, is the run that went through: byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile, pack_model, read_model, unpack_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.tasks.train import start_run
from charrnn.training.loop import train
from charrnn.training.reports import Evaluation, Finished, Report, Snapshot
from tests.training.small_runs import SMALL, stop_after

pytestmark = pytest.mark.usefixtures("counted_steps")
CELLS = ["rnn", "lstm", "gru"]


def make_corpus() -> Corpus:
    letters = np.random.default_rng(3).choice(list("abcdé "), 900)
    return corpus_from_text("".join(letters))


def filed(snapshot: Snapshot, corpus: Corpus) -> Snapshot:
    """Return a snapshot as it comes back from a file."""
    parts = corpus.vocab, snapshot.weights, {}, snapshot.arrays, snapshot.progress
    model = unpack_model(pack_model(ModelFile(snapshot.model, *parts)), "a state")
    assert model.progress is not None
    return Snapshot(snapshot.step, model.config, model.weights, model.training, model.progress)


def traces_of(reports: list[Report], after: int) -> list[tuple[Any, ...]]:
    """Return what a run computed after a step: figures, and the bytes of all weights and arrays."""
    traces: list[tuple[Any, ...]] = []
    for report in reports:
        if isinstance(report, Evaluation) and report.step > after:
            figures = report.step, report.train_nats, report.val_nats
            traces.append((*figures, bytes_of(report.weights)))
        elif isinstance(report, Finished):
            state = report.snapshot
            traces.append((report.step, bytes_of(state.weights), bytes_of(state.arrays)))
    return traces


def bytes_of(arrays: dict[str, Any]) -> bytes:
    return b"".join(arrays[name].tobytes() for name in sorted(arrays))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("cell", CELLS)
def test_a_run_cut_after_any_step_goes_on_as_if_it_had_not_been(
    cell: str, dropout: float, times: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    cuts, corpus = times(3, 200), make_corpus()
    total = cuts + 11
    config = TrainConfig(**SMALL, cell=cell, dropout=dropout, steps=total, eval_every=7)
    uncut = list(train(corpus, config))

    compared = 0
    for cut in range(1, cuts + 1):
        stopped = list(train(corpus, config, should_stop=stop_after(cut)))[-1]
        assert isinstance(stopped, Finished)
        assert stopped.step == cut
        resumed = list(train(corpus, config, resume=filed(stopped.snapshot, corpus)))
        ours, theirs = traces_of(resumed, cut), traces_of(uncut, cut)
        assert ours == theirs, cut
        compared += len(ours)
    figure(f"{cuts} cuts, {compared} evaluations and final states compared, 0 differ")


# Files, and a chain of cuts


def contents_of(run: RunFolder) -> dict[str, Any]:
    """Return all that a run left, but for times and dates."""
    best, state = read_model(run.best), read_model(run.states[0])
    logs = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    timed = {"elapsed_seconds", "chars_per_second", "memory_bytes"}
    return {
        "states": [path.name for path in run.states],
        "best": bytes_of(best.weights),
        "best step": best.summary["step"],
        "best nats": best.summary["val_nats"],
        "weights": bytes_of(state.weights),
        "arrays": bytes_of(state.training),
        "metrics": [{k: v for k, v in line.items() if k not in timed} for line in logs],
        "samples": (run.path / "samples.txt").read_bytes(),
        "settings": (run.path / "config.toml").read_bytes(),
    }


def test_a_chain_of_cuts_leaves_the_files_of_one_run(
    book: str, times: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    cuts, random = times(8, 50), Random(7)
    total = cuts * 12
    settings = {**SMALL, "dropout": 0.2, "steps": total, "eval_every": 25}
    for _ in start_run([book], {**settings, "name": "uncut"}):
        pass
    stops = kills = 0
    for cut in range(cuts):
        reports = start_run([book], {**settings, "name": "cut"}, should_stop=stop_after(10))
        if cut % 2:
            stops += 1
            assert isinstance(list(reports)[-1].finished, Finished)  # type: ignore[union-attr]
        else:
            kills += 1
            drop_after(reports, random.randrange(5, 40))
    for _ in start_run([book], {**settings, "name": "cut"}):
        pass

    uncut, chain = (RunFolder(Path("checkpoints", name)) for name in ("uncut", "cut"))
    ours, theirs = contents_of(chain), contents_of(uncut)
    assert ours.pop("states")[0] == theirs.pop("states")[0]
    assert ours == theirs
    figure(f"{stops} stops and {kills} losses of all that was not saved in {total} steps")


def drop_after(reports: Iterator[Any], count: int) -> None:
    """Leave a run between two of its reports, as a kill does."""
    for _, _ in zip(range(count), reports, strict=False):
        pass
    reports.close()  # type: ignore[attr-defined]
