"""Training to the end: one run, or one for each of several seeds or cells, and what came of them.

`charrnn.fit`, `charrnn.fit_seeds`, `charrnn.fit_cells` and `charrnn train` with --seeds or --cells
call this. The runs of several seeds are told by their settings and their text, not by their names:
the same command given again leaves out those that are finished and continues the one that is not,
wherever they were renamed to.
"""

from __future__ import annotations

import itertools
import signal
import statistics
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.run_store import name_after, named_run
from charrnn.config import CELLS, TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.errors import ConfigError
from charrnn.metrics import bits_per_char
from charrnn.tasks import train_request
from charrnn.tasks.model import Model
from charrnn.tasks.recorder import RunFinished
from charrnn.tasks.task_model import TaskModel, open_model
from charrnn.tasks.train import Reading, RunReport, open_text, start_run
from charrnn.tasks.train_request import Text, TrainRequest, UnfinishedRun
from charrnn.training.reports import Finished, Started

# What a run chooses where it is not set: first of its model, then of its batches and steps.
CHOSEN = (
    *("hidden_size", "embedding_size", "tie_embeddings", "dropout"),
    *("seq_len", "batch_size", "learning_rate"),
)
_OF_THE_CELL = ("learning_rate",)  # that each cell chooses for itself
_OF_THE_SIZE = ("hidden_size", "embedding_size")  # and by --parameters these too


@dataclass(frozen=True, repr=False)
class Result:
    """What came of a run.

    run: its name; path: its folder. bpc, val_nats: of its best model on all of the text held out
    for validation, in bits and in nats per character; None where there is none. That text chose the
    model: evaluate(run, split="test") scores the part of `test_fraction`, which chose nothing.
    baselines_bpc: what simpler models need there; empty for a run that was stopped, or a held-out
    text that is too short.
    reason: why it ended, as in `Finished`; "before": `fit_seeds` found it finished. steps, seconds:
    how long it trained. finished: every figure of the end; None with "before". classification: how
    well labels of held-out records are named, by column: accuracy, error (the expected calibration
    error) and nats; {} without labels, or of a run that was stopped. scores: of another task than
    text, its own figures on held-out records; bpc is None then. parameters: its weights, of
    them ngram_parameters in the table of n-grams. chars_per_second: characters read by the time
    that the run took, evaluations included.
    """

    run: str
    path: Path
    bpc: float | None
    val_nats: float | None
    baselines_bpc: dict[str, float]
    reason: str
    steps: int
    seconds: float
    finished: Finished | None = None
    classification: dict[str, dict[str, Any]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    parameters: int = 0
    ngram_parameters: int = 0
    chars_per_second: float = 0.0

    @cached_property
    def model(self) -> Model | TaskModel:
        """The best model, opened at the first use."""
        return open_model(read_model(RunFolder(self.path).model))

    def __repr__(self) -> str:
        said = "nothing held out" if self.bpc is None else f"{self.bpc:.3f} bits per character"
        if self.scores:
            said = ", ".join(f"{name} {value:.3f}" for name, value in self.scores.items())
        return (
            f"<Result {self.run!r}: {said} after {self.steps:,} steps in {self.seconds:.0f} s "
            f"({self.reason}), {self.path}>"
        )


def result_of(last: RunFinished) -> Result:
    """Return the last report of a run as a result."""
    finished = last.finished
    progress = finished.snapshot.progress
    is_text = finished.snapshot.model.task == "text"
    nats = finished.best_val_nats
    return Result(
        run=last.run.name,
        path=last.run.path,
        bpc=None if nats is None or not is_text else bits_per_char(nats),
        val_nats=nats,
        baselines_bpc=last.baselines_bpc,
        reason=finished.reason,
        steps=finished.step,
        seconds=finished.elapsed_seconds,
        finished=finished,
        classification=last.classification,
        scores=last.scores,
        parameters=finished.snapshot.model.num_parameters,
        ngram_parameters=finished.snapshot.model.num_ngram_parameters,
        chars_per_second=progress["chars_seen"] / max(progress["elapsed_seconds"], 1e-9),
    )


def result_before(run: RunFolder, last: ModelFile) -> Result:
    """Return what came of a run that had ended; last: its state."""
    summary = read_model(run.best).summary
    seconds = float(last.summary["elapsed_seconds"])
    return Result(
        run=run.name,
        path=run.path,
        bpc=summary["val_bpc"],
        val_nats=summary["val_nats"],
        baselines_bpc=summary["baselines_bpc"],
        reason="before",
        steps=int(last.summary["step"]),
        seconds=seconds,
        classification=summary.get("classification", {}),
        scores=summary.get("scores", {}),
        parameters=last.config.num_parameters,
        ngram_parameters=last.config.num_ngram_parameters,
        chars_per_second=last.summary["chars_seen"] / max(seconds, 1e-9),
    )


# ── to the end, with Ctrl-C ──


class _Interrupt:
    """The first Ctrl-C, kept until the run is saved. is_polled: whether the run asks for it."""

    def __init__(self) -> None:
        self.is_set = False
        self.is_polled = False

    def take(self, *_: object) -> None:
        """Note Ctrl-C, or end at once: there is nothing to save yet, or it is the second one."""
        if self.is_set or not self.is_polled:
            raise KeyboardInterrupt
        self.is_set = True


@contextmanager
def _catch_interrupt() -> Iterator[_Interrupt]:
    """Take Ctrl-C within the block; where a program has a handler of its own, that one stays."""
    interrupt = _Interrupt()
    is_ours = (
        threading.current_thread() is threading.main_thread()  # no other may set a handler
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, interrupt.take)
    try:
        yield interrupt
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def run_to_end(
    start: Callable[..., Generator[Any, None, None]],
    on_report: Callable[[Any], object] | None,
    should_stop: Callable[[], bool] | None = None,
) -> Any:
    """Take all reports of `start(should_stop=…)`, and return the last.

    Raises:
        KeyboardInterrupt: at Ctrl-C, once the run is saved.
    """
    with _catch_interrupt() as interrupt:

        def is_over() -> bool:
            return interrupt.is_set or (should_stop is not None and should_stop())

        report = None
        with closing(start(should_stop=is_over)) as reports:
            for report in reports:
                # A run polls while it trains.
                interrupt.is_polled = not isinstance(report, Reading | Finished)
                if on_report is not None:
                    on_report(report)
    if interrupt.is_set:
        raise KeyboardInterrupt
    return report


# ── several seeds, several cells ──


@dataclass(frozen=True)
class SeedStarted:
    """The run of a seed comes next: number `number` of `total`.

    done: what came of it, where it had ended before. sizes: what the first run chose, and this one
    keeps.
    """

    seed: int
    number: int
    total: int
    sizes: dict[str, Any]
    done: Result | None = None


@dataclass(frozen=True)
class SeedsFinished:
    """All seeds are trained; a result for each, in their order. has_test: there is a test part."""

    seeds: tuple[int, ...]
    results: tuple[Result, ...]
    has_test: bool = False

    @property
    def mean_bpc(self) -> float | None:
        """The mean of the runs' bits per character; None where nothing is held out."""
        values = self._values
        return statistics.mean(values) if values else None

    @property
    def sd_bpc(self) -> float | None:
        """Their sample standard deviation, with n − 1."""
        values = self._values
        return statistics.stdev(values) if values else None

    @property
    def scores(self) -> dict[str, tuple[float, float]]:
        """The mean and the sample standard deviation of a task's own figures; {} of text."""
        names = [
            name for name in self.results[0].scores if all(name in r.scores for r in self.results)
        ]
        values = {name: [each.scores[name] for each in self.results] for name in names}
        return {name: (statistics.mean(own), statistics.stdev(own)) for name, own in values.items()}

    @property
    def _values(self) -> list[float]:
        return [each.bpc for each in self.results if each.bpc is not None]


@dataclass(frozen=True)
class CellStarted:
    """The run of a cell comes next, as `SeedStarted` says."""

    cell: str
    number: int
    total: int
    sizes: dict[str, Any]
    done: Result | None = None


@dataclass(frozen=True)
class CellsFinished:
    """All cells are trained; a result for each, in their order. has_test: there is a test part."""

    cells: tuple[str, ...]
    results: tuple[Result, ...]
    has_test: bool = False


Report = RunReport | SeedStarted | SeedsFinished | CellStarted | CellsFinished
AnyReport = TypeVar("AnyReport")


def train_seeds(
    seeds: Sequence[int],
    corpus: Sequence[str],
    settings: Mapping[str, Any],
    *,
    texts: Sequence[Text] = (),
    should_stop: Callable[[], bool] = lambda: False,
    should_continue: Callable[[UnfinishedRun], bool] = lambda _: True,
) -> Generator[Report, None, None]:
    """Train a run for each seed; yield the reports of each, and SeedsFinished unless stopped.

    What the first run chooses for the machine and the text, the others keep: they differ in the
    seed alone. The arguments are those of `start_run`.

    Raises:
        CharRNNError: as `start_run`; or seeds do not go with another setting.
    """
    _check_seeds(seeds, corpus, settings)
    runs = Runs(TrainCall(corpus, settings, texts, should_stop, should_continue), CHOSEN)
    for number, seed in enumerate(seeds, start=1):
        started = partial(SeedStarted, seed, number, len(seeds))
        yield from runs.train({"seed": seed}, f"-seed{seed}", started)
        if len(runs.results) < number:
            return
    yield SeedsFinished(tuple(seeds), tuple(runs.results), runs.has_test)


def train_cells(
    cells: Sequence[str],
    corpus: Sequence[str],
    settings: Mapping[str, Any],
    *,
    texts: Sequence[Text] = (),
    should_stop: Callable[[], bool] = lambda: False,
    should_continue: Callable[[UnfinishedRun], bool] = lambda _: True,
) -> Generator[Report, None, None]:
    """Train a run for each cell; yield the reports of each, and CellsFinished unless stopped.

    The runs have the same text, seed and sizes: what the first one chooses, the others keep, except
    for the learning rate, which each cell has its own of. With `parameters`, each cell has the
    units that make as many weights. The arguments are those of `start_run`.

    Raises:
        CharRNNError: as `start_run`; or cells do not go with another setting.
    """
    _check_cells(cells, corpus, settings)
    own = _OF_THE_CELL + (_OF_THE_SIZE if settings.get("parameters") is not None else ())
    kept = tuple(name for name in CHOSEN if name not in own)
    runs = Runs(TrainCall(corpus, settings, texts, should_stop, should_continue), kept)
    for number, cell in enumerate(cells, start=1):
        started = partial(CellStarted, cell, number, len(cells))
        yield from runs.train({"cell": cell}, f"-{cell}", started)
        if len(runs.results) < number:
            return
    yield CellsFinished(tuple(cells), tuple(runs.results), runs.has_test)


@dataclass(frozen=True)
class TrainCall:
    """The arguments of a call that trains, as `start_run` has them."""

    corpus: Sequence[str]
    settings: Mapping[str, Any]
    texts: Sequence[Text]
    should_stop: Callable[[], bool]
    should_continue: Callable[[UnfinishedRun], bool]

    def request(self, settings: Mapping[str, Any]) -> TrainRequest:
        """Return what a run of these settings is asked for."""
        return train_request.read_request(self.corpus, settings, texts=self.texts)


class Runs:
    """Runs of one call, one after another. results: of those that came to their end.

    kept: names of settings that the first run chooses for all. text: what they are trained on, if
    it is open already. stem: what new runs are named after, instead of the text. are_named: an
    unfinished run of another name is another's, and does not continue.
    """

    def __init__(
        self,
        call: TrainCall,
        kept: Sequence[str],
        text: Corpus | None = None,
        stem: str | None = None,
        *,
        are_named: bool = False,
    ) -> None:
        self.results: list[Result] = []
        self._call = call
        self._kept = kept
        self._sizes: dict[str, Any] = {}
        self._text = open_text(call.request(call.settings)) if text is None else text
        self._stem = stem or self._text.name
        self._are_named = are_named

    @property
    def has_test(self) -> bool:
        """Whether the text has a part for testing."""
        return len(self._text.test) > 0

    def train(
        self,
        different: Mapping[str, Any],
        ending: str,
        started: Callable[..., AnyReport],
        if_new: Mapping[str, Any] = MappingProxyType({}),
    ) -> Generator[AnyReport | RunReport, None, None]:
        """Train a run, unless it has ended before; without a result it was stopped.

        different: what only this run has. ending: of its name. started: makes the report that
        comes before it. if_new: settings of a run that begins, and not of one that continues.
        """
        own = {**self._call.settings, **self._sizes, **different}
        if "hidden_size" in self._sizes:
            own.pop("parameters", None)  # the first run turned them into units
        request = self._call.request(own)
        found = train_request.find_alike(request, self._text, ending)
        if self._are_named and found and not found.is_finished:
            found = found if found.run.name == f"{self._stem}{ending}" else None
        if found and found.is_finished:
            self.results.append(result_before(found.run, found.state))
            yield started(self._sizes, self.results[-1])
            plan = (found.state.progress or {})["plan"]
            self._keep(vars(found.state.config) | plan)
            return
        unfinished = found and found.unfinished
        is_asked = request.run.on_unfinished != "resume"
        if unfinished and is_asked and not self._call.should_continue(unfinished):
            found = None
        yield started(self._sizes)
        if found:
            own["name"] = found.run.name
        else:
            own |= {**if_new, "name": _free_name(request, self._stem, ending)}
        report: RunReport | None = None
        reports = start_run(
            self._call.corpus, own, texts=self._call.texts, should_stop=self._call.should_stop
        )
        with closing(reports):
            for report in reports:
                if isinstance(report, Started):
                    self._keep(vars(report.plan.model) | vars(report.plan))
                yield report
        if isinstance(report, RunFinished) and report.finished.reason != "stopped":
            self.results.append(result_of(report))

    def _keep(self, chosen: Mapping[str, Any]) -> None:
        """Let the runs that come keep what the first one has chosen."""
        if not self._sizes:
            given = self._call.settings
            self._sizes = {key: chosen[key] for key in self._kept if given.get(key) is None}


def _check_seeds(seeds: Sequence[int], corpus: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Refuse seeds that are no list of different ones, and settings that do not go with them."""
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        shown = ",".join(map(str, seeds))
        raise ConfigError(f"seeds are {shown!r}; give two or more, all different, such as 1,2,3")
    if settings.get("seed") is not None:
        raise ConfigError("--seeds already says the seed of each run; leave --seed out")
    _check_several("seed", corpus, settings)
    for seed in seeds:
        TrainConfig(seed=seed)


def _check_cells(cells: Sequence[str], corpus: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Refuse cells that are no list of different ones, and settings that do not go with them."""
    if len(cells) < 2 or len(set(cells)) < len(cells):
        shown = ",".join(cells)
        raise ConfigError(
            f"cells are {shown!r}; give two or three, all different, such as {','.join(CELLS)}"
        )
    for cell in cells:
        TrainConfig(cell=cell)
    if settings.get("cell") is not None:
        raise ConfigError("--cells already says the cell of each run; leave --cell out")
    if settings.get("nonlinearity", "tanh") != "tanh":
        raise ConfigError(
            f"nonlinearity {settings['nonlinearity']!r} works only with cell rnn, and --cells "
            "trains others too; leave --nonlinearity out"
        )
    if settings.get("init_from") is not None:
        raise ConfigError("a model to start from has one cell; leave --init-from or --cells out")
    _check_several("cell", corpus, settings)


def _check_several(what: str, corpus: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Refuse what several runs cannot share. what: they differ in."""
    if settings.get("resume") is not None:
        raise ConfigError(f"--{what}s finds the runs to continue by itself; leave --resume out")
    if settings.get("teachers"):
        raise ConfigError(f"--{what}s compares runs that have no teachers; leave --teachers out")
    if "-" in (*corpus, settings.get("val_file")):
        raise ConfigError(f"standard input cannot be read once for each {what}; give a file")


def _free_name(request: TrainRequest, corpus_name: str, ending: str) -> str:
    """Return the name of a new run: NAME-seedN, or of a number more where that one is taken."""
    if request.run.name is not None:
        return f"{request.run.name}{ending}"
    stem = name_after(corpus_name)
    stems = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    names = (f"{each}{ending}" for each in stems)
    checkpoints = Path(request.run.checkpoints)
    return next(name for name in names if not named_run(name, checkpoints).has_model)
