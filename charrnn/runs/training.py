"""A training run from its settings to its files: what `charrnn train` and `charrnn.train` call.

It opens the corpus and the run folder, hands both to the trainer, and keeps what the trainer
yields while passing it on. Both sides of the house meet here: the trainer writes no files, and
the samples on the way are drawn by the numpy runtime that will draw them later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from charrnn.checkpoint.folder import Damaged
from charrnn.checkpoint.format import ModelFile, read_model
from charrnn.checkpoint.store import RunFolder, claim_run
from charrnn.errors import CheckpointError, DivergedError
from charrnn.runs.inherit import Inherited, grow_weights
from charrnn.runs.keeper import Keeper, Kept, Written
from charrnn.runs.request import Request, find_resumed, locate_texts, read_request
from charrnn.runs.unfinished import Unfinished, find_unfinished
from charrnn.storage import check_room
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.training.losses import Best
from charrnn.training.reports import Evaluation, Finished, Report, Snapshot, Started
from charrnn.training.trainer import train

_LOGS_BYTES = 1 << 20


@dataclass(frozen=True)
class Reading:
    """The first report: these texts are about to be read, which takes a while if they are large."""

    corpus_paths: list[str]


@dataclass(frozen=True)
class Opened:
    """The text is read: which text is trained on, for how long, and where the files are.

    room_bytes: what the folder will hold at most. is_found: an unfinished run of the same command
    goes on. damaged: newer states that could not be read, so that what came after resumed_step is
    done again, and the best model, if it could not.
    """

    run: RunFolder
    corpus: Corpus = field(repr=False)
    budget_seconds: float | None
    room_bytes: int
    resumed_step: int | None = None
    is_found: bool = False
    damaged: tuple[Damaged, ...] = ()
    inherited: Inherited | None = None


RunReport = Reading | Opened | Report | Written | Kept


def start_run(
    corpus: Sequence[str],
    settings: Mapping[str, Any],
    *,
    should_stop: Callable[[], bool] = lambda: False,
    should_go_on: Callable[[Unfinished], bool] = lambda _: True,
) -> Iterator[RunReport]:
    """Train on `corpus` and keep the run's files; yield a report of each thing that happens.

    corpus: files, folders, globs, "-" or a library name; may be empty when resuming.
    settings: fields of TextConfig, TrainConfig and RunConfig that differ from their defaults.
    should_go_on: asked where a run of the same text and settings is there that did not end.

    Raises:
        CharRNNError: any of its kinds; what was saved before stays.
    """
    with ExitStack() as held:
        run = find_resumed(settings)
        if run is not None:
            held.enter_context(run.lock())  # before reading what another may be writing
        request = read_request(corpus, settings, run)
        yield Reading(request.corpus_paths)
        paths = locate_texts(request.corpus_paths)
        opened = open_corpus(paths, request.text, known=request.known)
        found = find_unfinished(request, opened) if run is None else None
        is_wanted = request.run.unfinished == "resume" or (found and should_go_on(found))
        if found is not None and is_wanted:
            run = found.run
            held.enter_context(run.lock())
            request = request.taken_up(run)
        snapshot, best, damaged = _taken_up(request, run, opened)
        reports = train(
            opened,
            request.train,
            resume=snapshot,
            best=best,
            initial=_initial(request, opened),
            should_stop=should_stop,
        )
        started = next(reports)  # a text too short is refused here, before there is any file
        assert isinstance(started, Started)
        room_bytes = _room_bytes(started, request.run.keep)
        check_room(Path(request.run.checkpoints), room_bytes, "what this run keeps")
        if run is None:
            claim = claim_run(Path(request.run.checkpoints), request.run.name, opened.name)
            run = held.enter_context(claim)
        if snapshot is not None:
            run.set_aside(request.damaged)
            run.rewind_logs(snapshot.progress["logs"])
        run.keep_settings({"corpus": request.corpus_paths} | request.settings)
        yield Opened(
            run=run,
            corpus=opened,
            budget_seconds=request.train.budget_seconds,
            room_bytes=room_bytes,
            resumed_step=None if snapshot is None else snapshot.step,
            is_found=snapshot is not None and found is not None,
            damaged=request.damaged + damaged,
            inherited=request.inherited(opened.vocab),
        )
        keeper = Keeper(run, opened, request, best)
        yield from _keep(chain([started], reports), keeper)


def _room_bytes(started: Started, kept: int) -> int:
    """Give what a run keeps at most: states, the best model, and what is written beside them."""
    return (kept + 1) * started.state_bytes + started.model_bytes + _LOGS_BYTES


def _initial(request: Request, corpus: Corpus) -> Callable[[Any], Any] | None:
    if request.initial is None:
        return None
    return partial(grow_weights, request.initial, corpus.vocab)


def _check_same_text(corpus: Corpus, last: ModelFile) -> None:
    """Refuse to go on with a text that is not the one of the run."""
    before = last.summary.get("corpus", {}).get("sha256")
    if corpus.sha256 != before or corpus.vocab != last.vocab:
        raise CheckpointError(
            f"the text of {corpus.name} is not the one this run was trained on; give that text, or "
            "start a new run on this one, from the weights of that run by --init-from"
        )


def _taken_up(
    request: Request, run: RunFolder | None, corpus: Corpus
) -> tuple[Snapshot | None, Best | None, tuple[Damaged, ...]]:
    """Give the trainer's snapshot and the best model of a run that is resumed, where it loads."""
    last = request.last
    if last is None or last.progress is None or run is None:
        return None, None, ()
    _check_same_text(corpus, last)
    snapshot = Snapshot(
        last.progress["step"], last.config, last.weights, last.training, last.progress
    )
    if not run.best.exists():
        return snapshot, None, ()
    try:
        return snapshot, _read_best(run), ()
    except CheckpointError as error:
        return snapshot, None, (Damaged(run.best, snapshot.step, str(error)),)


def _read_best(run: RunFolder) -> Best:
    best = read_model(run.best)
    try:
        val_nats = best.summary.get("eval_nats", best.summary["val_nats"])
        figures = float(val_nats), float(best.summary["train_nats"]), int(best.summary["step"])
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{run.best} does not say how good it is ({error!r})") from error
    return Best(*figures, weights=best.weights)


def _keep(reports: Iterator[Report], keeper: Keeper) -> Iterator[RunReport]:
    """Write what has to be kept of each report, then pass it on."""
    try:
        for report in reports:
            keeper.keep(report)
            yield report
            if isinstance(report, Evaluation):
                yield keeper.write_sample(report)
            if isinstance(report, Finished):
                yield keeper.close(report)
    except DivergedError as error:
        raise DivergedError(f"{error}; {keeper.describe_kept()}") from error
