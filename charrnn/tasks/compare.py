"""Compare runs: the settings in which they differ, their curves, and whether one predicts better.

`charrnn compare` and `charrnn.compare` call this. Two models that read the same held-out text are
compared on its blocks: how much one costs less on each of them, and how far the mean of that may be
off (paired bootstrap: both models meet the same hard passages, so the difference is known better
than either loss).

S = tokens, N = blocks, M = runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.analysis.bootstrap import Interval, bootstrap
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.run_store import find_model, read_last_state
from charrnn.config import RunConfig, as_dict
from charrnn.errors import CharRNNError, ConfigError, counted
from charrnn.interpret.training import TrainingReport, read_training
from charrnn.tasks.eval_text import EvalTextRequest, NamedModel, read_eval_text

COMPARED_TOKENS = 1_000_000
"""Tokens of the held-out text that are scored, from its start."""
MIN_BLOCKS = 20
"""Of fewer blocks no interval is told."""

# Neighbours are alike: of blocks shorter than a passage the interval would claim too much.
_BLOCK_TOKENS = 1000
_MIN_BLOCK_TOKENS = 300
_EQUAL_TIMES = 1.1  # training times that differ by less count as equal
_ENOUGH_BLOCKS = 100  # a text that has fewer of 1,000 tokens is cut into shorter ones
_OF_A_PLACE = {*(name for name in as_dict(RunConfig())), "threads", "eval_every", "length_history"}

OnProgress = Callable[[str, int, int], None]
"""Called with a run's name, how many of its tokens are scored, and of how many."""


@dataclass(frozen=True)
class ComparedRun:
    """A run: its file, the settings in force, and how it was trained, None where that is lost.

    steps_made, total_steps: how far its newest state came, and of how many steps; None where no
    state is left, or the number was never known.
    """

    name: str
    file: ModelFile = field(repr=False)
    settings: dict[str, Any] = field(repr=False)
    training: TrainingReport | None = field(repr=False)
    steps_made: int | None = None
    total_steps: int | None = None
    is_finished: bool = True


@dataclass(frozen=True)
class Difference:
    """How much less one run costs than another on the same text.

    nats: per character, with its 95 % interval; above 0, as `better` is the one that costs less.
    blocks: on how many blocks it was measured.
    """

    better: str
    worse: str
    nats: Interval
    blocks: int

    @property
    def is_clear(self) -> bool:
        """Whether 0 is outside the interval."""
        return self.nats.low > 0

    @property
    def margin_nats(self) -> float:
        """Half of the interval's width."""
        return (self.nats.high - self.nats.low) / 2


@dataclass(frozen=True)
class Comparison:
    """What is told of several runs.

    settings: those in which the runs differ, by name, each with a value for every run, None where a
    run has none. nats: of each run on the text that all were scored on, by name, and chars: how
    many characters that has; empty and 0 where they cannot be compared. differences: of the best
    run to each other one, the nearest first. notes: why something is missing.
    """

    runs: list[ComparedRun]
    settings: dict[str, list[Any]]
    nats: dict[str, float]
    chars: int
    differences: list[Difference]
    notes: tuple[str, ...] = ()


def compare_runs(
    names: Sequence[str],
    checkpoints: Path,
    *,
    is_scored: bool = True,
    on_progress: OnProgress = lambda name, tokens, total: None,
) -> Comparison:
    """Compare two runs or more.

    is_scored: whether the models read the held-out text, which needs the corpus.

    Raises:
        ConfigError: fewer than two runs are named, or one twice.
        CheckpointError: a run is missing, or its file damaged.
        DivergedError: a model's loss is not a finite number.
    """
    paths = [find_model(name, checkpoints) for name in names]
    different = len({path.resolve() for path in paths})
    if different < len(names) or len(names) < 2:
        named = counted(different, "run")
        raise ConfigError(f"{named} to compare; name two or more, each once")
    runs = [_read_run(name, path) for name, path in zip(names, paths, strict=True)]
    notes = [f"{run.name} has no record of its training" for run in runs if run.training is None]
    notes += _unfairness(runs)
    nats: dict[str, float] = {}
    chars = 0
    differences: list[Difference] = []
    if is_scored:
        try:
            scored = _score_blocks(runs, on_progress)
        except CharRNNError as error:  # curves and settings can be compared all the same
            notes.append(f"not scored on one text: {error.message}")
        else:
            chars = int(scored.chars.sum())
            nats = {
                run.name: float(row.sum() / chars)
                for run, row in zip(runs, scored.nats, strict=True)
            }
            differences = _differences(scored, [run.name for run in runs])
    return Comparison(runs, _differing(runs), nats, chars, differences, tuple(notes))


def _read_run(name: str, path: Path) -> ComparedRun:
    file = read_model(path)
    settings = dict(file.summary.get("resolved") or file.summary.get("settings") or {})
    settings |= as_dict(file.config)
    run = RunFolder(path.parent)
    try:
        training = read_training(name, list(run.read_metrics()), settings)
    except ConfigError:
        training = None
    last = read_last_state(run)
    progress = (last and last.progress) or {}
    return ComparedRun(
        name,
        file,
        settings,
        training,
        progress.get("step"),
        progress.get("plan", {}).get("total_steps"),
        is_finished=bool(progress.get("is_finished", True)),
    )


def _unfairness(runs: Sequence[ComparedRun]) -> list[str]:
    """Return what makes the losses of runs something else than a comparison of their settings."""
    notes = []
    for run in runs:
        if not run.is_finished and run.steps_made is not None:
            total = f" of {run.total_steps:,}" if run.total_steps else ""
            notes.append(
                f"{run.name} was stopped after {run.steps_made:,}{total} steps, so its loss is not "
                "yet that of its settings"
            )
    seconds: dict[str, Any] = {run.name: run.file.summary.get("elapsed_seconds") for run in runs}
    known = [each for each in seconds.values() if isinstance(each, int | float)]
    if not notes and len(known) == len(runs) and max(known) > _EQUAL_TIMES * min(known):
        shown = ", ".join(f"{name} {_format_seconds(value)}" for name, value in seconds.items())
        notes.append(f"the best models had unequal time to learn: {shown}")
    return notes


def _format_seconds(seconds: float) -> str:
    """Return a time with three digits or more, by which unequal times differ."""
    return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:.3g} s"


def _differing(runs: Sequence[ComparedRun]) -> dict[str, list[Any]]:
    """Return the settings in which runs differ, each with its values; the text comes first."""
    texts = [run.file.summary.get("corpus", {}).get("name") for run in runs]
    digests = [run.file.summary.get("corpus", {}).get("sha256") for run in runs]
    found: dict[str, list[Any]] = {"corpus": texts} if len(set(digests)) > 1 else {}
    names = dict.fromkeys(name for run in runs for name in run.settings if name not in _OF_A_PLACE)
    for name in names:
        values = [run.settings.get(name) for run in runs]
        if any(value != values[0] for value in values):
            found[name] = values
    return found


@dataclass(frozen=True)
class _Scored:
    """What each run's blocks cost: nats (M, N), and the characters in them (N,)."""

    nats: NDArray[np.float64]
    chars: NDArray[np.int64]


def _score_blocks(runs: Sequence[ComparedRun], on_progress: OnProgress) -> _Scored:
    """Let each model read the held-out text that all share.

    Raises:
        ConfigError, CorpusError: there is no such text.
    """
    for run in runs:
        if run.file.config.task != "text":
            raise ConfigError(
                f"{run.name} is a model for {run.file.config.task}; charrnn eval scores it, alone"
            )
    text = read_eval_text([NamedModel(run.name, run.file) for run in runs], EvalTextRequest())

    from charrnn.tasks.evaluate import load_networks  # torch, once there is something to score
    from charrnn.training.evaluation import Stretch, score_stretches

    stretch = Stretch(text.ids, text.records).head(COMPARED_TOKENS)
    vocab = runs[0].file.vocab
    total = len(stretch.ids) - 1  # the first token is given
    record_ends = None if stretch.records is None else np.asarray(stretch.records.ends, np.int64)
    ends = block_ends(len(stretch.ids), record_ends)
    chars = [
        vocab.count_characters(stretch.ids[max(start, 1) : stop])
        for start, stop in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]
    rows = []
    for run, network in zip(runs, load_networks([run.file for run in runs]), strict=True):
        done = [0]

        def report(tokens: int, name: str = run.name, done: list[int] = done) -> None:
            done[0] += tokens
            on_progress(name, done[0], total)

        rows.append(score_stretches(network, stretch, ends, vocab, report))
    return _Scored(np.stack(rows), np.array(chars, np.int64))


def block_ends(tokens: int, record_ends: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return where blocks of a text of S tokens end (N,), the last at S; a block has whole records.

    record_ends: where records end, ascending, the last at S; None for running text.

    >>> block_ends(2500).tolist(), len(block_ends(250_000))
    ([300, 600, 900, 1200, 1500, 1800, 2100, 2500], 250)
    """
    length = max(_MIN_BLOCK_TOKENS, min(_BLOCK_TOKENS, tokens // _ENOUGH_BLOCKS))
    if record_ends is None:
        return np.append(np.arange(length, tokens - length // 2, length), tokens)
    _, last = np.unique(record_ends[::-1] // length, return_index=True)  # each block's last record
    return record_ends[len(record_ends) - 1 - last]


def _differences(scored: _Scored, names: Sequence[str]) -> list[Difference]:
    """Return how much less the best run costs than each other one, the nearest first."""
    if len(scored.chars) < MIN_BLOCKS:
        return []
    best = int(scored.nats.sum(1).argmin())
    found = []
    for other in range(len(names)):
        if other == best:
            continue
        gain = scored.nats[other] - scored.nats[best]

        def mean(which: NDArray[np.int64], gain: NDArray[np.float64] = gain) -> float:
            return float(gain[which].sum() / scored.chars[which].sum())

        interval = bootstrap(mean, len(gain))
        found.append(Difference(names[best], names[other], interval, len(gain)))
    return sorted(found, key=lambda each: each.nats.value)


def comparison_record(found: Comparison) -> Mapping[str, Any]:
    """Return a comparison as JSON has it."""
    return {
        "runs": [
            {
                "name": run.name,
                "parameters": run.file.config.num_parameters,
                "step": run.file.summary.get("step"),
                "elapsed_seconds": run.file.summary.get("elapsed_seconds"),
                "val_nats": run.file.summary.get("val_nats"),
                "nats": found.nats.get(run.name),
            }
            for run in found.runs
        ],
        "settings": found.settings,
        "chars": found.chars,
        "differences": [
            {
                "better": each.better,
                "worse": each.worse,
                "nats": each.nats.value,
                "low": each.nats.low,
                "high": each.nats.high,
                "blocks": each.blocks,
                "is_clear": each.is_clear,
            }
            for each in found.differences
        ],
        "notes": list(found.notes),
    }
