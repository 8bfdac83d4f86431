"""The trials of a sweep as values: when they are compared, which go on, and how that is kept.

A sweep is a folder with sweep.json, from which it continues, and results.csv, to look at. Nothing
else is remembered: which trials go on follows from their scores alone.

R = rungs: the steps at which trials are compared, the last one the end.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from charrnn.checkpoint.strict_json import check_keys, check_types, parse_json
from charrnn.errors import CheckpointError, ConfigError
from charrnn.metrics import bits_per_char
from charrnn.storage import read_note, write_atomically

STATE = "sweep.json"
RESULTS = "results.csv"
BEST = "best.toml"
_VERSION = 1
_MOST_RUNGS = 3  # unless more are asked for


@dataclass(frozen=True)
class Trial:
    """A run with settings of its own.

    name: of its run. settings: what is tried; chosen: what it leaves open and was chosen for it.
    rung_steps: when it is compared (R,), the last its end. eval_every: steps.
    scores: its best held-out loss up to each rung so far, in nats. step: of the last of them.
    seconds: how long it trained. is_finished: it came to its end, which may be before its last
    rung. error: why it failed; "" if it did not. is_out_of_memory: it did not fit, so it is tried
    again when the sweep continues.
    """

    number: int
    name: str
    settings: dict[str, Any]
    chosen: dict[str, Any] = field(default_factory=dict)
    rung_steps: tuple[int, ...] = ()
    eval_every: int = 1
    scores: tuple[float, ...] = ()
    step: int = 0
    seconds: float = 0.0
    is_finished: bool = False
    error: str = ""
    is_out_of_memory: bool = False

    @property
    def steps(self) -> int | None:
        """The steps of the whole run; None where it failed before they were known."""
        return self.rung_steps[-1] if self.rung_steps else None

    @property
    def val_nats(self) -> float | None:
        """The best held-out loss so far; None before the first rung."""
        return self.scores[-1] if self.scores else None

    def score_at(self, rung: int) -> float | None:
        """Return the loss at a rung; None where the trial did not come so far."""
        if self.error:
            return None
        if rung < len(self.scores):
            return self.scores[rung]
        return self.val_nats if self.is_finished else None


# ── rungs ──


def count_at_rungs(trials: int, eta: int, rungs: int | None) -> list[int]:
    """Return how many trials are trained up to each rung.

    >>> count_at_rungs(9, eta=3, rungs=None), count_at_rungs(18, eta=3, rungs=None)
    ([9, 3, 1], [18, 6, 2])
    """
    most = rungs if rungs is not None else _MOST_RUNGS
    counts = [trials]
    while len(counts) < most and counts[-1] > 1:
        counts.append(math.ceil(counts[-1] / eta))
    return counts


def whole_runs(counts: Sequence[int], eta: int) -> float:
    """Return the cost of a sweep in runs of full length.

    >>> round(whole_runs([9, 3, 1], eta=3), 3)
    2.333
    """
    shares = [0.0, *shares_of(len(counts), eta)]
    return sum(n * (b - a) for n, a, b in zip(counts, shares, shares[1:], strict=False))


def shares_of(rungs: int, eta: int) -> list[float]:
    """Return the share of a run at which each rung lies."""
    return [float(eta) ** -(rungs - 1 - rung) for rung in range(rungs)]


def place_rungs(
    steps: int, evaluations: int, eval_every: int | None, rungs: int, eta: int
) -> tuple[tuple[int, ...], int]:
    """Return the steps of the rungs, and the steps between evaluations that meet them.

    evaluations: how many are wanted. eval_every: as it was given.

    >>> place_rungs(1000, 20, None, rungs=3, eta=3)
    ((110, 330, 1000), 55)

    Raises:
        ConfigError: there are too few steps for so many rungs.
    """
    if rungs == 1:
        return (steps,), eval_every or max(1, math.ceil(steps / evaluations))
    shares = shares_of(rungs, eta)
    spacing = eval_every
    if spacing is None:
        first = math.floor(steps * shares[0])
        spacing = max(1, first // max(1, math.floor(evaluations * shares[0])))
    places = [max(1, round(steps * shares[0] / spacing)) * eta**rung for rung in range(rungs - 1)]
    found = (*(spacing * place for place in places), steps)
    if found[-2] >= steps:
        least = spacing * eta ** (rungs - 2) + 1
        raise ConfigError(
            f"a trial of {steps:,} steps, evaluated every {spacing}, is too short for {rungs} "
            f"rungs; give more time, {least:,} steps or more, or --rungs {rungs - 1}"
        )
    return found, spacing


def select_trials(trials: Sequence[Trial], counts: Sequence[int], rung: int) -> list[Trial]:
    """Return the trials that are trained up to a rung, in their order.

    They are the best at the rung before; those that failed make room for others.
    """
    if rung == 0:
        return list(trials)
    return sorted(
        rank_trials(select_trials(trials, counts, rung - 1), rung - 1)[: counts[rung]],
        key=_number_of,
    )


def next_trial(trials: Sequence[Trial], counts: Sequence[int]) -> tuple[Trial, int] | None:
    """Return the trial that is trained next and the rung it is trained up to; None at the end.

    It follows from the trials alone, so a sweep that was left goes on as if it had not been.
    """
    for rung in range(len(counts)):
        for trial in select_trials(trials, counts, rung):
            if trial.score_at(rung) is None and not trial.error:
                return trial, rung
    return None


def rank_trials(trials: Sequence[Trial], rung: int) -> list[Trial]:
    """Return the trials that came as far as a rung, the best first."""
    scored = [(score, each) for each in trials if (score := each.score_at(rung)) is not None]
    return [each for _, each in sorted(scored, key=lambda pair: (pair[0], pair[1].number))]


def _number_of(trial: Trial) -> int:
    return trial.number


# ── the folder of a sweep ──


@dataclass(frozen=True)
class SweepState:
    """All that a sweep is. about: what was asked for, by which the same command is recognised.

    counts: how many trials are trained up to each rung (R,).
    """

    about: dict[str, Any]
    counts: tuple[int, ...]
    trials: tuple[Trial, ...]

    def with_trial(self, trial: Trial) -> SweepState:
        """Return the state with a trial as it is now."""
        trials = [trial if each.number == trial.number else each for each in self.trials]
        return replace(self, trials=tuple(trials))

    @property
    def ranked(self) -> list[Trial]:
        """All trials: those that came furthest first, of these the best, and failed ones last."""

        def place(trial: Trial) -> tuple[bool, int, float, int]:
            reached = len(self.counts) if trial.is_finished else len(trial.scores)
            score = math.inf if trial.val_nats is None else trial.val_nats
            return bool(trial.error), -reached, score, trial.number

        return sorted(self.trials, key=place)

    @property
    def best(self) -> Trial | None:
        """The best of the trials that came to their end; None without one."""
        return next(iter(rank_trials(self.trials, len(self.counts) - 1)), None)


def read_sweep(folder: Path) -> SweepState | None:
    """Return the sweep of a folder; None where there is none.

    Raises:
        CheckpointError: its file cannot be read, or is damaged.
    """
    path = folder / STATE
    try:
        values = parse_json(read_note(path).decode())
        check_types(values, {"version": int}, "the sweep")
        if values.get("version") != _VERSION:
            raise ValueError(f"it is of version {values.get('version')}, not {_VERSION}")
        check_keys(values, ("version", "about", "counts", "trials"), "the sweep")
        kinds = {"about": dict, "counts": [int], "trials": [_TRIAL]}
        check_types(values, kinds, "the sweep")
        for trial in values["trials"]:
            check_keys(trial, _TRIAL, "a trial")
        return SweepState(
            values["about"], tuple(values["counts"]), tuple(map(_as_trial, values["trials"]))
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"cannot continue the sweep of {path}: {reason}; give another --name"
        ) from error


_TRIAL = {
    "number": int,
    "name": str,
    "settings": dict,
    "chosen": dict,
    "rung_steps": [int],
    "eval_every": int,
    "scores": [float],
    "step": int,
    "seconds": float,
    "is_finished": bool,
    "error": str,
    "is_out_of_memory": bool,
}


def _as_trial(values: Mapping[str, Any]) -> Trial:
    lists = {name: tuple(values[name]) for name in ("rung_steps", "scores")}
    return Trial(**{item.name: values[item.name] for item in fields(Trial)} | lists)


def save_sweep(folder: Path, state: SweepState) -> None:
    """Write a sweep into its folder: the file that it continues from, then the table."""
    values = {"version": _VERSION, **asdict(state)}
    write_atomically(folder / STATE, json.dumps(values, indent=1) + "\n")
    write_atomically(folder / RESULTS, format_results(state))


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half written, while the folder is locked."""
    for name in (STATE, RESULTS):
        for path in folder.glob(f".{name}.*"):
            with suppress(OSError):
                path.unlink()


def format_results(state: SweepState) -> str:
    """Return the trials as a table, the best first; one that failed has no figures."""
    names = list(dict.fromkeys(name for trial in state.trials for name in trial.settings))
    heading = ["run", *names, "rung", "steps", "val_nats", "val_bpc", "seconds", "error"]
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(heading)
    for trial in state.ranked:
        tried = [trial.settings.get(name, "") for name in names]
        nats = trial.val_nats
        rung = len(trial.scores)
        is_text = state.about.get("task") == "text"
        bits = f"{bits_per_char(nats):.6f}" if nats is not None and is_text else ""
        figures = [rung, trial.step, "" if nats is None else f"{nats:.6f}", bits]
        writer.writerow([trial.name, *tried, *figures, f"{trial.seconds:.1f}", trial.error])
    return lines.getvalue()
