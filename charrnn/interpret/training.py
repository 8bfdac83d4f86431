"""The view `training`: how a network became what it is, from its run's own record.

Losses, rates and norms are read from metrics.jsonl; nothing is measured again. Where the run kept
its weights along the way (`charrnn train --snapshots`), each of them reads the beginning of the
text in view, so that a unit can be watched as it comes to be.

M = milestones, K = evaluations, S = snapshots, T = tokens of the text that snapshots read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig
from charrnn.config.inspect import InspectConfig
from charrnn.errors import CheckpointError, ConfigError, DivergedError, counted
from charrnn.generation.network import Network
from charrnn.interpret.features import make_features
from charrnn.interpret.neurons import MEMORY, Finding, NeuronsReport
from charrnn.interpret.rank_scores import auc, spearman
from charrnn.interpret.subject import Subject
from charrnn.interpret.trace import check_finite, record, record_lanes
from charrnn.interpret.units import parse_unit, state_values, unit_values
from charrnn.metrics import bits_per_char

KINDS = ("weight", "gradient", "update", "decay")
"""What is recorded of a group of weights: norms, at the step of each evaluation."""
BIRTH_TOKENS = 6_000
"""Held-out tokens on which found units are followed through the snapshots."""
_MOST_BIRTHS = 5
SNAPSHOT_CHARS = 400
"""Of the text in view, which each snapshot reads."""

_FIGURES = (
    *("chars_seen", "elapsed_seconds", "train_nats", "val_nats"),
    *("learning_rate", "gradient_norm", "clipped"),
)
_LARGEST_STEP = 2**62

Figures = NDArray[np.float64]
Line = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Curves:
    """Figures along the way, each (M,) at milestones or (K,) at evaluations; NaN if not recorded.

    train_bpc: the mean since the milestone or evaluation before, with dropout, of weights that
    moved. gradient_norm: of the last step, before clipping. val_bpc: of the averaged weights on
    held-out text. clipped: the share of the steps since the evaluation before that were clipped.
    """

    step: Figures
    chars: Figures
    seconds: Figures
    train_bpc: Figures
    learning_rate: Figures
    gradient_norm: Figures
    val_bpc: Figures
    clipped: Figures

    @property
    def gap_bpc(self) -> Figures:
        """How much more the held-out text costs than the training text, with its dropout."""
        return self.val_bpc - self.train_bpc


@dataclass(frozen=True)
class Event:
    """Something that went wrong on the way, and that the run survived."""

    step: int
    kind: str
    train_bpc: float | None
    back_to_step: int | None


@dataclass(frozen=True, eq=False)
class Birth:
    """How well a unit tells a feature at each snapshot (S,): AUC or ρ, as `neurons` has it."""

    unit: str
    feature: str
    is_yes_no: bool
    scores: Figures


@dataclass(frozen=True, eq=False)
class SnapshotFigures:
    """What the weights along the way make of the beginning of the text in view.

    symbols: of its T tokens. loss_bpc: (S,), of all but the first. units: by name, the value after
    each token at each snapshot (S, T). births: of the memory neurons that were found, on the first
    BIRTH_TOKENS of the held-out text.
    """

    step: NDArray[np.int64]
    symbols: list[str]
    loss_bpc: Figures
    units: dict[str, NDArray[np.float32]]
    births: list[Birth] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class TrainingReport:
    """The view `training`.

    clip_grad_norm: gradients above it were clipped; 0 where none were. baselines_bpc: what simpler
    models need on the held-out text, by name; empty until the run has ended. groups: by group of
    weights, such as "recurrent.f", and kind, norms at each evaluation (K,). snapshots: None where
    the run kept none.
    """

    milestones: Curves
    evaluations: Curves
    best_step: int | None
    clip_grad_norm: float
    baselines_bpc: dict[str, float]
    incidents: list[Event]
    groups: dict[str, dict[str, Figures]]
    snapshots: SnapshotFigures | None
    notes: list[str] = field(default_factory=list)

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return columns and rows, one row for each evaluation."""
        found = self.evaluations
        columns = {
            "step": found.step,
            "characters_read": found.chars,
            "seconds": found.seconds,
            "train_bits_per_char": found.train_bpc,
            "val_bits_per_char": found.val_bpc,
            "gap_bits_per_char": found.gap_bpc,
            "learning_rate": found.learning_rate,
            "clipped_share_of_steps": found.clipped,
        }
        for group, kinds in self.groups.items():
            columns |= {f"{group}_{kind}_norm": values for kind, values in kinds.items()}
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        return list(columns), [list(row) for row in rows]


def inspect_training(
    subject: Subject, config: InspectConfig, neurons: NeuronsReport | None = None
) -> TrainingReport:
    """Return how a model was trained.

    neurons: what the search found, whose memory neurons are followed through the snapshots.

    Raises:
        ConfigError: it has no record of its training; or a unit is not there.
    """
    report = read_training(subject.name, subject.metrics, subject.file.summary.get("settings", {}))
    followed = _memory_neurons(neurons)
    return replace(report, snapshots=_read_snapshots(subject, config, report.notes, followed))


def read_training(
    name: str, metrics: Sequence[Line], settings: Mapping[str, Any]
) -> TrainingReport:
    """Return how a run of that name was trained, by the lines of its metrics.jsonl.

    settings: those of its training.

    Raises:
        ConfigError: the lines hold no record of it.
    """
    sound = [line for line in metrics if is_sound(line)]
    lines = kept_lines(sound)
    milestones = [line for line in lines if line.get("event") == "progress"]
    evaluations = [line for line in lines if line.get("event") == "evaluation"]
    if not milestones and not evaluations:
        raise ConfigError(
            f"{name} has no record of its training, which is the metrics.jsonl beside its "
            "file; name a run that charrnn train has made, or its folder"
        )
    end = next((line for line in reversed(lines) if line.get("event") == "finished"), {})
    notes: list[str] = []
    if bad := len(metrics) - len(sound):
        notes.append(f"{counted(bad, 'line')} of metrics.jsonl left out, whose values are damaged")
    return TrainingReport(
        milestones=_curves(milestones),
        evaluations=_curves(evaluations),
        best_step=_best_step(evaluations),
        clip_grad_norm=float(settings.get("clip_grad_norm") or 0.0),
        baselines_bpc={k: float(v) for k, v in (end.get("baselines_bpc") or {}).items() if v},
        incidents=[_event(line) for line in lines if line.get("event") == "incident"],
        groups=_groups(evaluations),
        snapshots=None,
        notes=notes,
    )


def is_sound(line: Line) -> bool:
    """Return whether the figures of a line are numbers, as far as they are there.

    >>> is_sound({"event": "evaluation", "step": 20, "val_nats": "x"})
    False
    """
    has_step = line.get("event") in ("progress", "evaluation", "incident")
    steps = [line.get("step", None if has_step else 0), line.get("back_to_step") or 0]
    groups = line.get("groups") or {}
    baselines = line.get("baselines_bpc") or {}
    named = [baselines, *groups.values()] if isinstance(groups, dict) else [groups]
    if not all(isinstance(each, dict) for each in named):
        return False
    figures = [line.get(name) for name in _FIGURES]
    figures += [value for each in named for value in each.values()]
    is_whole = all(isinstance(step, int) and 0 <= step < _LARGEST_STEP for step in steps)
    return is_whole and all(map(_is_figure, figures))


def _is_figure(value: object) -> bool:
    """Return whether a value is a number that a float can hold, or None."""
    if isinstance(value, int):
        return abs(value) < _LARGEST_STEP
    return value is None or isinstance(value, float)


def kept_lines(metrics: Sequence[Line]) -> list[Line]:
    """Return the lines of a run without those of steps that a rollback undid.

    The incident of the rollback itself stays.
    """
    kept: list[Line] = []
    for line in metrics:
        back_to_step = line.get("back_to_step")
        if back_to_step is not None:
            kept = [
                each
                for each in kept
                if each.get("event") == "incident" or each.get("step", 0) <= back_to_step
            ]
        kept.append(line)
    return kept


def _curves(lines: Sequence[Line]) -> Curves:
    return Curves(
        step=_column(lines, "step"),
        chars=_column(lines, "chars_seen"),
        seconds=_column(lines, "elapsed_seconds"),
        train_bpc=bits_per_char(1) * _column(lines, "train_nats"),
        learning_rate=_column(lines, "learning_rate"),
        gradient_norm=_column(lines, "gradient_norm"),
        val_bpc=bits_per_char(1) * _column(lines, "val_nats"),
        clipped=_column(lines, "clipped"),
    )


def _column(lines: Iterable[Mapping[str, Any]], name: str) -> Figures:
    """Return the figures of a name; NaN where a line has none, as of older versions."""
    values = (line.get(name) for line in lines)
    known = (math.nan if value is None else float(value) for value in values)
    return np.array(list(known), np.float64)


def _best_step(evaluations: Sequence[Line]) -> int | None:
    """Return the step of the best evaluation; None without one."""
    steps = [line["step"] for line in evaluations if line.get("is_best")]
    return steps[-1] if steps else None


def _event(line: Line) -> Event:
    nats = line.get("train_nats")
    bpc = None if nats is None else bits_per_char(nats)
    return Event(line.get("step", 0), str(line.get("kind")), bpc, line.get("back_to_step"))


def _groups(evaluations: Sequence[Line]) -> dict[str, dict[str, Figures]]:
    """Return the norms of each group at each evaluation."""
    each = [line.get("groups") or {} for line in evaluations]
    names = dict.fromkeys(name for groups in each for name in groups)
    return {
        name: {kind: _column([groups.get(name, {}) for groups in each], kind) for kind in KINDS}
        for name in names
    }


def _memory_neurons(neurons: NeuronsReport | None) -> list[Finding]:
    """Return the strongest findings that are memory neurons."""
    found = neurons.findings if neurons else ()
    return [each for each in found if each.verdict == MEMORY][:_MOST_BIRTHS]


def _read_snapshots(
    subject: Subject, config: InspectConfig, notes: list[str], found: Sequence[Finding]
) -> SnapshotFigures | None:
    """Let each snapshot read the beginning of the text in view, and of the held-out text."""
    try:
        read = subject.snapshots
    except CheckpointError as error:
        notes.append(error.message)
        return None
    snapshots = [each for each in read if _is_of(subject.config, each[1])]
    if others := len(read) - len(snapshots):
        notes.append(f"{counted(others, 'snapshot')} left out: of a network of another shape")
    ids = subject.ids[:SNAPSHOT_CHARS]
    if not snapshots or len(ids) < 2:
        return None
    names = config.neurons or tuple(dict.fromkeys(each.best.unit for each in found))
    units = [parse_unit(name, subject.config) for name in names]
    births = _Births(subject, config, found)
    losses = []
    values: dict[str, list[NDArray[Any]]] = {str(unit): [] for unit in units}
    steps = []
    for step, weights in snapshots:
        try:
            check_finite(*weights.values())
            network = Network(subject.config, weights)
            trace = record(network, ids)
            nats = -trace.log_probabilities[np.arange(len(ids) - 1), ids[1:]]
            births.add(network)
        except DivergedError:
            continue
        steps.append(step)
        losses.append(bits_per_char(float(nats.mean())))
        for unit in units:
            values[str(unit)].append(unit_values(trace, unit))
    if diverged := len(snapshots) - len(steps):
        notes.append(f"{counted(diverged, 'snapshot')} left out: the network had diverged")
    if not steps:
        return None
    return SnapshotFigures(
        step=np.array(steps),
        symbols=subject.symbols[: len(ids)],
        loss_bpc=np.array(losses),
        units={name: np.stack(each).astype(np.float32) for name, each in values.items()},
        births=births.finished(),
    )


def _is_of(config: ModelConfig, weights: Arrays) -> bool:
    """Return whether weights are those of a network of this shape; labels may come with them."""
    own = {name: array.shape for name, array in weights.items() if "label" not in name}
    return own == config.weight_shapes()


class _Births:
    """Scores of found units, snapshot by snapshot."""

    def __init__(self, subject: Subject, config: InspectConfig, found: Sequence[Finding]) -> None:
        self._ids = subject.held_out[:BIRTH_TOKENS] if found else subject.ids[:0]
        made = make_features(subject.vocab, self._ids, config) if found else []
        features = {feature.name: feature for feature in made}
        self._found = [each for each in found if each.feature in features]
        self._features = [features[each.feature] for each in self._found]
        self._scores: list[list[float]] = [[] for _ in self._found]

    def add(self, network: Network) -> None:
        """Score the units as this network has them."""
        if not self._found:
            return
        trace = record_lanes(network, self._ids)
        pairs = zip(self._found, self._features, self._scores, strict=True)
        for finding, feature, scores in pairs:
            unit = parse_unit(finding.best.unit, trace.config)
            values = finding.best.sign * state_values(trace, unit)
            score = auc if feature.is_yes_no else spearman
            scores.append(score(values, feature.values))

    def finished(self) -> list[Birth]:
        """Return the scores of all snapshots."""
        return [
            Birth(finding.best.unit, feature.name, feature.is_yes_no, np.array(scores))
            for finding, feature, scores in zip(
                self._found, self._features, self._scores, strict=True
            )
        ]
