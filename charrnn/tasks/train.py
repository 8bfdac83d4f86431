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

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import DamagedState, RunFolder
from charrnn.checkpoint.run_store import claim_run
from charrnn.corpora.library import locate_texts
from charrnn.errors import CheckpointError, ConfigError, DivergedError, ProcessLostError
from charrnn.storage import check_room
from charrnn.tasks.auto_resume import UnfinishedRun, find_unfinished
from charrnn.tasks.finetune import InitialModel, extend_weights
from charrnn.tasks.recorder import Recorder, RunFinished, Written
from charrnn.tasks.train_request import TrainRequest, find_resumed, read_request
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.training.distributed import SINGLE_PROCESS, World
from charrnn.training.loop import train
from charrnn.training.reports import Evaluation, Finished, Report, Snapshot, Started
from charrnn.training.stats import Best

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
    damaged: tuple[DamagedState, ...] = ()
    inherited: InitialModel | None = None


RunReport = Reading | Opened | Report | Written | RunFinished


def start_run(
    corpus: Sequence[str],
    settings: Mapping[str, Any],
    *,
    should_stop: Callable[[], bool] = lambda: False,
    should_go_on: Callable[[UnfinishedRun], bool] = lambda _: True,
    world: World = SINGLE_PROCESS,
) -> Iterator[RunReport]:
    """Train on `corpus` and keep the run's files; yield a report of each thing that happens.

    corpus: files, folders, globs, "-" or a library name; may be empty when resuming.
    settings: fields of TextConfig, TrainConfig and RunConfig that differ from their defaults.
    should_go_on: asked where a run of the same text and settings is there that did not end.
    peers: the processes that train it together; all read the text and the run's folder, and the
    first alone writes.

    Raises:
        CharRNNError: any of its kinds; what was saved before stays.
    """
    with ExitStack() as held:
        run = find_resumed(settings)
        if run is not None and world.is_main_process:
            held.enter_context(run.lock())  # before reading what another may be writing
        request = read_request(corpus, settings, run)
        _check_readable(request, world)
        yield Reading(request.corpus_paths)
        with world.main_process_first():
            paths = locate_texts(request.corpus_paths)
            opened = open_corpus(paths, request.text, known=request.known)
        found = find_unfinished(request, opened) if run is None else None
        is_wanted = request.run.on_unfinished == "resume" or (found and should_go_on(found))
        if found is not None and is_wanted:
            run = found.run
            if world.is_main_process:
                held.enter_context(run.lock())
            request = request.taken_up(run)
        snapshot, best, damaged = _taken_up(request, run, opened)
        reports = train(
            opened,
            request.train,
            resume=snapshot,
            best=best,
            initial=_make_initial(request, opened),
            should_stop=should_stop,
            world=world,
        )
        started = next(reports)  # a text too short is refused here, before there is any file
        assert isinstance(started, Started)
        room_bytes = _room_bytes(started, request.run.keep_checkpoints)
        if world.is_main_process:
            check_room(Path(request.run.checkpoints), room_bytes, "what this run keeps")
            if run is None:
                claim = claim_run(Path(request.run.checkpoints), request.run.name, opened.name)
                run = held.enter_context(claim)
            if snapshot is not None:
                run.set_aside(request.damaged)
                run.rewind_logs(snapshot.progress["logs"])
            run.save_settings({"corpus": request.corpus_paths} | request.settings)
        run = RunFolder(Path(world.broadcast(run and str(run.path))))
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
        all_reports = chain([started], reports)
        try:
            if world.is_main_process:
                yield from _keep(all_reports, Recorder(run, opened, request, best))
            else:
                yield from _follow(all_reports, run)
        except ProcessLostError as error:
            raise ProcessLostError(f"{error}; {_describe_saved(run)}") from error


def _check_readable(request: TrainRequest, world: World) -> None:
    """Refuse standard input where several processes would have to read it."""
    if world.world_size > 1 and "-" in (*request.corpus_paths, request.text.val_file):
        raise ConfigError(
            f"{world.world_size} processes cannot all read standard input; give a file instead of -"
        )


def _describe_saved(run: RunFolder) -> str:
    """Say what there is to go on from once a process is lost."""
    if run.step is None:
        return "nothing was saved yet"
    return f"saved after step {run.step:,} in {run.path}; the same command goes on from there"


def _room_bytes(started: Started, kept: int) -> int:
    """Give what a run keeps at most: states, the best model, and what is written beside them."""
    return (kept + 1) * started.state_bytes + started.model_bytes + _LOGS_BYTES


def _make_initial(request: TrainRequest, corpus: Corpus) -> Callable[[Any], Any] | None:
    if request.initial is None:
        return None
    return partial(extend_weights, request.initial, corpus.vocab)


def _check_same_text(corpus: Corpus, last: ModelFile) -> None:
    """Refuse to go on with a text that is not the one of the run."""
    before = last.summary.get("corpus", {}).get("sha256")
    if corpus.sha256 != before or corpus.vocab != last.vocab:
        raise CheckpointError(
            f"the text of {corpus.name} is not the one this run was trained on; give that text, or "
            "start a new run on this one, from the weights of that run by --init-from"
        )


def _taken_up(
    request: TrainRequest, run: RunFolder | None, corpus: Corpus
) -> tuple[Snapshot | None, Best | None, tuple[DamagedState, ...]]:
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
        return snapshot, None, (DamagedState(run.best, snapshot.step, str(error)),)


def _read_best(run: RunFolder) -> Best:
    best = read_model(run.best)
    try:
        val_nats = best.summary.get("eval_nats", best.summary["val_nats"])
        figures = float(val_nats), float(best.summary["train_nats"]), int(best.summary["step"])
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{run.best} does not say how good it is ({error!r})") from error
    return Best(*figures, weights=best.weights)


def _follow(reports: Iterator[Report], run: RunFolder) -> Iterator[RunReport]:
    """Pass on the reports of a run that another process keeps."""
    for report in reports:
        yield report
        if isinstance(report, Finished):
            yield RunFinished(run, report, {})


def _keep(reports: Iterator[Report], keeper: Recorder) -> Iterator[RunReport]:
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
