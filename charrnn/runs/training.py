"""A training run from its settings to its files: what `charrnn train` and `charrnn.train` call.

It opens the corpus and the run folder, hands both to the trainer, and keeps what the trainer
yields while passing it on. Both sides of the house meet here: the trainer writes no files, and
the samples on the way are drawn by the numpy runtime that will draw them later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from charrnn.checkpoint.format import ModelFile, read_model
from charrnn.checkpoint.store import RunFolder, create_run
from charrnn.errors import CheckpointError
from charrnn.runs.keeper import Keeper, Kept, Written
from charrnn.runs.request import Request, find_resumed, locate_texts, read_request
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.training.losses import Best
from charrnn.training.reports import Evaluation, Finished, Report, Snapshot
from charrnn.training.trainer import train


@dataclass(frozen=True)
class Reading:
    """The first report: these texts are about to be read, which takes a while if they are large."""

    corpus_paths: list[str]


@dataclass(frozen=True)
class Opened:
    """The text is read: which text is trained on, for how long, and where the files are."""

    run: RunFolder
    corpus: Corpus = field(repr=False)
    budget_seconds: float | None


RunReport = Reading | Opened | Report | Written | Kept


def start_run(
    corpus: Sequence[str],
    settings: Mapping[str, Any],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[RunReport]:
    """Train on `corpus` and keep the run's files; yield a report of each thing that happens.

    corpus: files, folders, globs, "-" or a library name; may be empty when resuming.
    settings: fields of TextConfig, TrainConfig and RunConfig that differ from their defaults.

    Raises:
        CharRNNError: any of its kinds; what was saved before stays.
    """
    with ExitStack() as held:
        resumed = find_resumed(settings)
        if resumed is not None:
            held.enter_context(resumed.lock())  # before reading what another may be writing
        request = read_request(corpus, settings, resumed)
        yield Reading(request.corpus_paths)
        opened = open_corpus(locate_texts(request.corpus_paths), request.text)
        snapshot, best = _taken_up(request, resumed, opened)
        reports = train(opened, request.train, resume=snapshot, best=best, should_stop=should_stop)
        started = next(reports)  # a text too short is refused here, before there is any file
        run = resumed
        if run is None:
            run = create_run(Path(request.run.checkpoints), request.run.name, opened.name)
            held.enter_context(run.lock())
        if snapshot is not None:
            run.rewind_metrics(snapshot.step)
        run.keep_settings({"corpus": request.corpus_paths} | request.settings)
        yield Opened(run, opened, request.train.budget_seconds)
        keeper = Keeper(run, opened, request, best)
        yield from _keep(chain([started], reports), keeper)


def _check_same_text(corpus: Corpus, last: ModelFile) -> None:
    """Refuse to go on with a text that is not the one of the run."""
    if corpus.sha256 != last.summary["corpus"]["sha256"] or corpus.vocab != last.vocab:
        raise CheckpointError(
            f"the text of {corpus.name} is not the one this run was trained on; give that text, or "
            "start a new run on this one"
        )


def _taken_up(
    request: Request, run: RunFolder | None, corpus: Corpus
) -> tuple[Snapshot | None, Best | None]:
    """Give the trainer's snapshot and the best model of a run that is resumed."""
    last = request.last
    if last is None or last.progress is None or run is None:
        return None, None
    _check_same_text(corpus, last)
    step = last.progress["step"]
    snapshot = Snapshot(step, last.config, last.weights, last.training, last.progress)
    if not run.best.exists():
        return snapshot, None
    best = read_model(run.best)
    figures = best.summary
    val_nats = figures.get("eval_nats", figures["val_nats"])
    return snapshot, Best(val_nats, figures["train_nats"], figures["step"], weights=best.weights)


def _keep(reports: Iterator[Report], keeper: Keeper) -> Iterator[RunReport]:
    """Write what has to be kept of each report, then pass it on."""
    for report in reports:
        keeper.keep(report)
        yield report
        if isinstance(report, Evaluation):
            yield keeper.write_sample(report)
        if isinstance(report, Finished):
            yield keeper.close(report)
