"""A training run from its settings to its files: what `charrnn train` and `charrnn.train` call.

`start_run` shows the order on one screen; each step below it is a function. The training loop
writes no file: it hands each report to the recorder, which writes before the report is passed on.
The samples on the way are written by the same numpy code that `charrnn sample` uses.
"""

import math
import shlex
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.analysis.baselines import Baselines
from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import DamagedState, RunFolder
from charrnn.checkpoint.run_store import claim_run
from charrnn.config.weights import split_weight, with_new_place
from charrnn.corpora.library import locate_texts
from charrnn.data.corpus import Corpus, corpus_from_text, open_corpus
from charrnn.data.draw import Ints, segment_sizes
from charrnn.data.records import Records, Targets
from charrnn.data.split import SHUFFLED
from charrnn.errors import (
    CheckpointError,
    ConfigError,
    CorpusError,
    DivergedError,
    ProcessLostError,
    counted,
)
from charrnn.storage import check_room
from charrnn.tasks import train_request
from charrnn.tasks.finetune import (
    InitialModel,
    extend_encoder,
    extend_weights,
    read_again,
)
from charrnn.tasks.machine_speeds import read_speeds, save_speeds
from charrnn.tasks.recorder import Recorder, RunFinished, Written
from charrnn.tasks.sample_on_the_way import check_sample_prompt
from charrnn.tasks.teachers import read_teachers
from charrnn.tasks.tensorboard import import_tensorboard
from charrnn.tasks.train_request import Text, TrainRequest, UnfinishedRun, split_settings
from charrnn.training.reports import Report, Snapshot, Started
from charrnn.training.stats import Best
from charrnn.training.world import SINGLE_PROCESS, World

_SHOWN_LABELS = 5
_LOGS_BYTES = 1 << 20  # of metrics.jsonl and samples.txt, generously


@dataclass(frozen=True)
class Reading:
    """The first report: the corpus is about to be read, which takes a while if it is large."""

    corpus_paths: list[str]


@dataclass(frozen=True)
class Opened:
    """The corpus is read and the run's folder is open.

    budget_seconds: None where steps or epochs say how long. room_bytes: what the folder will hold
    at most. resumed_step: where a run continues. is_found: it is an unfinished run of the same
    command. damaged: files that could not be read: states after resumed_step, whose steps are made
    again, and the best model. initial_model: what a new run starts from. teachers: names of models
    that it learns from too.
    """

    run: RunFolder
    corpus: Corpus = field(repr=False)
    budget_seconds: float | None
    room_bytes: int
    resumed_step: int | None = None
    is_found: bool = False
    damaged: tuple[DamagedState, ...] = ()
    initial_model: InitialModel | None = None
    teachers: tuple[str, ...] = ()


RunReport = Reading | Opened | Report | Written | RunFinished


def start_run(
    corpus: Sequence[str],
    settings: Mapping[str, Any],
    *,
    texts: Sequence[Text] = (),
    should_stop: Callable[[], bool] = lambda: False,
    should_continue: Callable[[UnfinishedRun], bool] = lambda _: True,
    world: World = SINGLE_PROCESS,
) -> Generator[RunReport, None, None]:
    """Train on `corpus` and keep the run's files; yield a report of each thing that happens.

    Closed early, as by a `break` out of its loop, it saves the run as a stop does.

    corpus: files, folders, globs, "-" or a library name; may be empty when resuming.
    settings: fields of TextConfig, TrainConfig and RunConfig that differ from their defaults.
    texts: to train on, instead of a corpus; each is a document.
    should_stop: called after every step; True saves the run and ends it.
    should_continue: called with an unfinished run of the same command; False starts a new one.
    world: the processes that train together; all read the text, and the main one writes the files.

    Raises:
        CharRNNError: any of its kinds; what was saved before stays.
    """
    with ExitStack() as locks:
        request = _resolve_request(corpus, settings, texts, world, locks)
        yield Reading(request.corpus_paths)
        with world.main_process_first():  # it builds the ids; the others find them in the cache
            text = open_text(request)
        check_sample_prompt(request, text)
        teachers = read_teachers(request, text, world)

        # Where the same command left a run unfinished, that one continues.
        found = train_request.find_unfinished(request, text)
        if found and request.run.on_unfinished != "resume" and not should_continue(found):
            found = None
        if found:
            _lock(found.run, world, locks)
            request = request.resume(found.run)

        # torch loads here, a second, in which compressors may work beside it; what is wrong with
        # the command or the text was said before.
        is_scored = request.task == "text" and world.is_main_process
        baselines = Baselines(text.train, text.val, text.vocab) if is_scored else None
        if baselines is not None and "torch" not in sys.modules:
            baselines.begin()
        from charrnn.training.loop import train

        if baselines is not None:
            baselines.wait()  # before the machine's speed is measured

        # The loop reports Started once training is set up: a text that is too short was refused
        # then, before any file is made. Each report is written before it is passed on.
        snapshot, best, damaged = _load_state(request, text)
        best_nats = best.val_nats if best and len(text.val) else None
        recorder = Recorder(text, request, best_nats, baselines, is_main=world.is_main_process)

        def record(report: Report) -> Iterator[RunReport]:
            if isinstance(report, Started):
                opened = _open_folder(request, text, snapshot, report, world, locks)
                save_speeds(speeds)
                recorder.start(opened.run, report)
                is_found = found is not None
                yield replace(opened, is_found=is_found, damaged=request.damaged + damaged)
            yield from recorder.record(report)

        speeds = read_speeds()
        with _naming_what_was_saved(recorder):
            model = request.initial
            initial = None
            if model is not None and request.task == "text":
                initial = partial(extend_weights, model, text.vocab, text.labels)
            elif model is not None:
                initial = partial(extend_encoder, model, text)
            is_left = False
            reports = train(
                text,
                request.train,
                resume=snapshot,
                best=best,
                initial=initial,
                record=record,
                should_stop=lambda: is_left or should_stop(),
                world=world,
                speeds=speeds,
                teachers=teachers,
            )
            report = None
            try:
                for report in reports:
                    yield report
            except GeneratorExit:
                # The caller has left the loop. Training is not in the middle of anything: it goes
                # on to where it polls, and saves there, unless nothing was trained yet.
                is_left = not isinstance(report, Opened | Started)
                deque(reports if is_left else (), maxlen=0)
                raise


def _resolve_request(
    corpus: Sequence[str],
    settings: Mapping[str, Any],
    texts: Sequence[Text],
    world: World,
    locks: ExitStack,
) -> TrainRequest:
    """Return what is asked for; a run to resume is locked before it is read."""
    resumed = train_request.find_resumed(settings)
    if resumed is not None:
        _lock(resumed, world, locks)
    request = train_request.read_request(corpus, settings, resumed, texts)
    if request.run.tensorboard is not None:
        import_tensorboard()  # what is missing is said before a large text is read
    if world.world_size > 1 and "-" in (*request.corpus_paths, request.text.val_file):
        raise ConfigError(
            f"{world.world_size} processes cannot all read standard input; give a file instead of -"
        )
    return request


def open_text(request: TrainRequest) -> Corpus:
    """Return the text of a run; where a resumed one does not find it, say how to name it."""
    corpus = _open_text(request)
    if request.task == "classification":
        corpus = with_classes_checked(corpus)
    if request.task != "text":
        corpus = with_long_records_noted(corpus, request.task, request.train.longest_tokens)
    return corpus


def with_classes_checked(corpus: Corpus) -> Corpus:
    """Return a corpus with a note on classes of one record.

    Raises:
        CorpusError: each record has a class of its own.
    """
    notes = list(corpus.notes)
    for column in corpus.labels.columns:
        single = [v for v, n in zip(column.values, column.counts, strict=True) if n == 1]
        if len(single) == len(column.values):
            raise CorpusError(
                f"each label of {column.name!r} has one record, so there are as many classes as "
                "texts; give several texts of each"
            )
        if single:
            named = ", ".join(single[:_SHOWN_LABELS]) + ", …" * (len(single) > _SHOWN_LABELS)
            have = "label has" if len(single) == 1 else "labels have"
            notes.append(
                f"{len(single):,} {have} one record each, too few to learn or to measure: {named}; "
                "--min-label-count 2 leaves them out"
            )
    return replace(corpus, notes=tuple(notes))


def with_long_records_noted(corpus: Corpus, task: str, longest: int) -> Corpus:
    """Return a corpus with a note on records that are left out or cut.

    longest: the most tokens that are read of a record.
    """
    notes = list(corpus.notes)
    for part, where in (("train", "training"), ("val", "held-out")):
        sizes = _record_sizes(corpus, part)
        if not (long := int((sizes > longest).sum())):
            continue
        noun, fate = ("pair", "left out") if task == "seq2seq" else ("record", "read up to there")
        have, are = ("has", "is") if long == 1 else ("have", "are")
        notes.append(
            f"{long:,} of {counted(len(sizes), f'{where} {noun}')} {have} more than {longest:,} "
            f"tokens and {are} {fate}; --seq-len changes that (the longest has {sizes.max():,})"
        )
    return replace(corpus, notes=tuple(notes))


def _record_sizes(corpus: Corpus, part: str) -> Ints:
    """Return how many tokens each record of a part has (R,); of a pair, its longer side."""
    records: Records | None = getattr(corpus, f"{part}_records")
    targets: Targets | None = getattr(corpus, f"{part}_targets")
    if records is None:
        return np.empty(0, np.int64)
    every = np.arange(len(records))
    sizes = segment_sizes(records.ends, every, 1) - 1  # without the END
    if targets is None or corpus.target_vocab is None:
        return sizes
    return np.maximum(sizes, segment_sizes(targets.ends, every, 0))


def _open_text(request: TrainRequest) -> Corpus:
    config = read_again(request.last, request.text)
    if not request.corpus_paths:
        return corpus_from_text(request.given_texts, config, **request.known_tokens)
    try:
        paths = locate_texts(request.corpus_paths)
        return open_corpus(paths, config, **request.known_tokens)
    except CorpusError as error:
        missing = error.__cause__
        if request.resumed is None or not isinstance(missing, FileNotFoundError):
            raise
        path = missing.filename
        resume = f"--resume {shlex.quote(request.resumed.name)}"
        is_held_out = path == request.text.val_file
        places = " ".join(with_new_place(request.corpus_paths, path))
        command = f"{resume} --val-file NEW_PLACE" if is_held_out else f"{places} {resume}"
        raise CorpusError(
            f"cannot find {path!r} in {Path.cwd()}; if you moved it: charrnn train {command}"
        ) from error


def _lock(run: RunFolder, world: World, locks: ExitStack) -> None:
    """Hold a run's folder, once for all processes, until `locks` closes."""
    if world.is_main_process:
        locks.enter_context(run.lock())


def _load_state(
    request: TrainRequest, corpus: Corpus
) -> tuple[Snapshot | None, Best | None, tuple[DamagedState, ...]]:
    """Return where a resumed run continues, its best model, and that model's file if damaged."""
    last = request.last
    run = request.resumed
    if last is None or last.progress is None or run is None:
        return None, None, ()
    sha256 = last.summary.get("corpus", {}).get("sha256")
    # The same bytes may be read otherwise: by another version, or with another file held out.
    settings = last.summary.get("settings", {})
    is_same_split = settings.get("val_file") == request.text.val_file
    chars = last.summary.get("corpus", {}).get("train_chars")
    is_read_otherwise = is_same_split and chars not in (None, corpus.train_chars)
    # Older versions left the lines of a sorted list in their order.
    held_out = last.summary.get("corpus", {}).get("held_out")
    is_read_otherwise |= held_out is None and corpus.held_out.endswith(SHUFFLED)
    if corpus.sha256 == sha256:
        before = last.summary["corpus"].get("paths", [])
        _check_weights(run.name, before, request.corpus_paths)
    if corpus.sha256 != sha256 or corpus.vocab != last.vocab or is_read_otherwise:
        if not request.corpus_paths:
            raise CheckpointError(
                f"these are not the texts that run {run.name!r} was trained on; give the same ones "
                "in the same order, or start a new run from its weights: "
                f"charrnn.train(texts=..., init_from={run.name!r})"
            )
        place = shlex.join(request.corpus_paths)
        raise CheckpointError(
            f"the text of {corpus.name} is not the one that run {run.name!r} was trained on; bring "
            "that one back, or start a new run from its weights: "
            f"charrnn train {place} --init-from {shlex.quote(run.name)}"
        )
    step = last.progress["step"]
    try:
        plan = last.progress["plan"]
        split_settings({name: plan[name] for name in ("seq_len", "batch_size", "learning_rate")})
    except (LookupError, ConfigError) as error:
        reason = error.message if isinstance(error, ConfigError) else str(error)
        raise CheckpointError(
            f"the training state of {run.path} does not fit ({reason}); start a new run, from its "
            f"weights by --init-from {shlex.quote(run.name)}"
        ) from error
    snapshot = Snapshot(step, last.config, last.weights, last.training, last.progress)
    if not run.best.exists():
        return snapshot, None, ()
    try:
        file = read_model(run.best)
        if replace(file.config, dropout=0) != replace(last.config, dropout=0):
            raise CheckpointError(f"{run.best} is not of this run: it has another shape")
        # On the part of the held-out text that evaluations score: val_nats may be of all of it.
        known_nats = file.summary.get("eval_nats", file.summary["val_nats"])
        val_nats = math.inf if known_nats is None else float(known_nats)  # nothing is held out
        figures = (val_nats, float(file.summary["train_nats"]), int(file.summary["step"]))
        return snapshot, Best(*figures, weights=file.weights), ()
    except CheckpointError as error:
        reason = error.message
    except (LookupError, TypeError, ValueError) as error:
        reason = f"{run.best} does not say how good it is ({error!r})"
    # The run can continue without: its next evaluation writes another.
    return snapshot, None, (DamagedState(run.best, step, reason),)


def _check_weights(name: str, before: list[str], paths: list[str]) -> None:
    """Refuse to continue a run with other weights of the same texts."""
    weights = [[split_weight(path)[1] for path in each] for each in (before, paths)]
    if weights[0] != weights[1] and max(chain(*weights), default=1) > 1:
        raise CheckpointError(
            f"run {name!r} was trained on {shlex.join(before)}, and how often a text counts cannot "
            "change; leave the texts out, or start a new run from its weights: "
            f"charrnn train {shlex.join(paths)} --init-from {shlex.quote(name)}"
        )


def _open_folder(
    request: TrainRequest,
    corpus: Corpus,
    snapshot: Snapshot | None,
    started: Started,
    world: World,
    locks: ExitStack,
) -> Opened:
    """Open the run's folder, claimed if it is new; the logs end where the run continues."""
    # The states that are kept and one being written, the best model, and the logs.
    states_bytes = (request.run.keep_checkpoints + 1) * started.state_bytes
    room_bytes = states_bytes + started.model_bytes + started.snapshots_bytes + _LOGS_BYTES
    run = request.resumed
    if world.is_main_process:
        checkpoints = Path(request.run.checkpoints)
        check_room(checkpoints, room_bytes, "what this run keeps")
        if run is None:
            options = request.run
            claim = claim_run(checkpoints, options.name, corpus.name, overwrite=options.overwrite)
            run = locks.enter_context(claim)
        if snapshot is not None:
            # What was logged after the state is made again, so it would be logged twice.
            run.set_aside(request.damaged)
            run.rewind_logs(snapshot.progress.get("logs", {}))
            run.rewind_snapshots(snapshot.step)
        else:
            run.clear_logs()
        run.save_settings(request.config_file)  # also what the same command is recognised by
    return Opened(
        run=RunFolder(Path(world.broadcast(run and str(run.path)))),
        corpus=corpus,
        budget_seconds=request.train.budget_seconds,
        room_bytes=room_bytes,
        resumed_step=None if snapshot is None else snapshot.step,
        initial_model=request.initial_model(corpus.vocab),
        teachers=request.run.distill_from,
    )


@contextmanager
def _naming_what_was_saved(recorder: Recorder) -> Iterator[None]:
    """Add to the message of a run that failed which model or state there is."""
    try:
        yield
    except DivergedError as error:
        if not recorder.is_main:
            raise
        raise DivergedError(f"{error.message}; {recorder.describe_best()}") from error
    except ProcessLostError as error:
        if recorder.run is None:
            raise
        raise ProcessLostError(f"{error.message}; {recorder.describe_state()}") from error
