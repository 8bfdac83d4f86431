"""Training to the end: one run, or one for each of several seeds, and what came of them.

`charrnn.fit`, `charrnn.fit_seeds` and `charrnn train --seeds` call this. The runs of several seeds
are told by their settings and their text, not by their names: the same command given again leaves
out those that are finished and continues the one that is not, wherever they were renamed to.
"""

from __future__ import annotations

import itertools
import signal
import statistics
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.run_store import name_after, named_run
from charrnn.config import TrainConfig
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
_CHOSEN = (
    *("hidden_size", "embedding_size", "tie_embeddings", "dropout"),
    *("seq_len", "batch_size", "learning_rate"),
)


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
    text, its own figures on held-out records; bpc is None then.
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
    )


def _result_before(run: RunFolder, last: ModelFile) -> Result:
    """Return what came of a run that had ended; last: its state."""
    summary = read_model(run.best).summary
    return Result(
        run=run.name,
        path=run.path,
        bpc=summary["val_bpc"],
        val_nats=summary["val_nats"],
        baselines_bpc=summary["baselines_bpc"],
        reason="before",
        steps=int(last.summary["step"]),
        seconds=float(last.summary["elapsed_seconds"]),
        classification=summary.get("classification", {}),
        scores=summary.get("scores", {}),
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


# ── several seeds ──


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


Report = RunReport | SeedStarted | SeedsFinished


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
    text = open_text(train_request.read_request(corpus, settings, texts=texts))
    sizes: dict[str, Any] = {}
    results = []
    for number, seed in enumerate(seeds, start=1):
        own = {**settings, **sizes, "seed": seed}
        request = train_request.read_request(corpus, own, texts=texts)
        found = train_request.find_alike(request, text, f"-seed{seed}")
        if found and found.is_finished:
            results.append(_result_before(found.run, found.state))
            yield SeedStarted(seed, number, len(seeds), sizes, results[-1])
            plan = (found.state.progress or {})["plan"]
            chosen = vars(found.state.config) | plan
        else:
            unfinished = found and found.unfinished
            is_asked = request.run.on_unfinished != "resume"
            if unfinished and is_asked and not should_continue(unfinished):
                found = None
            yield SeedStarted(seed, number, len(seeds), sizes)
            own["name"] = found.run.name if found else _free_name(request, text.name, seed)
            report: RunReport | None = None
            with closing(start_run(corpus, own, texts=texts, should_stop=should_stop)) as reports:
                for report in reports:
                    if isinstance(report, Started):
                        chosen = vars(report.plan.model) | vars(report.plan)
                    yield report
            if not isinstance(report, RunFinished) or report.finished.reason == "stopped":
                return
            results.append(result_of(report))
        sizes = sizes or {key: chosen[key] for key in _CHOSEN if settings.get(key) is None}
    yield SeedsFinished(tuple(seeds), tuple(results), has_test=len(text.test) > 0)


def _check_seeds(seeds: Sequence[int], corpus: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Refuse seeds that are no list of different ones, and settings that do not go with them."""
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        shown = ",".join(map(str, seeds))
        raise ConfigError(f"seeds are {shown!r}; give two or more, all different, such as 1,2,3")
    if settings.get("seed") is not None:
        raise ConfigError("--seeds already says the seed of each run; leave --seed out")
    if settings.get("resume") is not None:
        raise ConfigError("--seeds finds the runs to continue by itself; leave --resume out")
    if "-" in (*corpus, settings.get("val_file")):
        raise ConfigError("standard input cannot be read once for each seed; give a file")
    for seed in seeds:
        TrainConfig(seed=seed)


def _free_name(request: TrainRequest, corpus_name: str, seed: int) -> str:
    """Return the name of a new run: NAME-seedN, or of a number more where that one is taken."""
    if request.run.name is not None:
        return f"{request.run.name}-seed{seed}"
    stem = name_after(corpus_name)
    stems = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    names = (f"{each}-seed{seed}" for each in stems)
    checkpoints = Path(request.run.checkpoints)
    return next(name for name in names if not named_run(name, checkpoints).has_model)
