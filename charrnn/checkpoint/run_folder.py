"""The run folder: a run's files, in which order they are written, and what is read back.

checkpoints/<name>/
    best.safetensors     the averaged weights of the best evaluation
    step-<n>.safetensors the newest states, with all that is needed to go on
    metrics.jsonl        a line for each milestone and evaluation
    config.toml          the corpus and every setting, for charrnn train --config
    samples.txt          what the model wrote at each evaluation

An older state goes only once a newer one is safe, so a damaged one costs the steps since the one
before it, not the run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.checkpoint.lock import hold_folder
from charrnn.checkpoint.model_file import ModelFile, pack_model, read_model
from charrnn.errors import CheckpointError
from charrnn.metrics import without_nan
from charrnn.storage import append_text, cut_file, flush_file, write_atomically

BEST, SETTINGS = "best.safetensors", "config.toml"
METRICS, SAMPLES = "metrics.jsonl", "samples.txt"
_STATE = re.compile(r"step-(0|[1-9][0-9]*)\.safetensors")
_LEFTOVER = re.compile(
    rf"\.({re.escape(BEST)}|{_STATE.pattern}|{re.escape(SETTINGS)}|\.holder)\.[0-9a-f]{{12}}"
)


@dataclass(frozen=True)
class DamagedState:
    """A state that did not load, and why not."""

    path: Path
    step: int
    reason: str


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def best(self) -> Path:
        """The best model's file."""
        return self.path / BEST

    @property
    def states(self) -> list[Path]:
        """The files to go on from, the newest first."""
        try:
            found = [path for path in self.path.iterdir() if _STATE.fullmatch(path.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found, key=_step_of, reverse=True)

    @property
    def step(self) -> int | None:
        """The step that the newest state was saved after; None without one."""
        return next((_step_of(path) for path in self.states), None)

    @property
    def metrics(self) -> Path:
        """The file of figures along the way."""
        return self.path / METRICS

    @property
    def model(self) -> Path:
        """The best model's file, or the newest state's before the first evaluation."""
        return self.best if self.best.exists() else next(iter(self.states), self.best)

    @property
    def has_model(self) -> bool:
        """Whether there is one, also while a training process puts newer ones in its place."""
        path = self.model
        while not path.exists():
            before, path = path, self.model
            if path == before:
                return False
        return True

    def save_best(self, model: ModelFile) -> None:
        """Replace the best model."""
        write_atomically(self.best, pack_model(model))

    def save_state(self, model: ModelFile, step: int, kept: int) -> None:
        """Add the state after `step`; once it is safe, keep the newest `kept` (1 or more) alone.

        One of a higher step is damaged, or of a future that this run has left: it goes too.
        """
        newest = self.path / f"step-{step}.safetensors"
        write_atomically(newest, pack_model(model))
        with suppress(OSError):  # what stays takes room and does no harm
            states = self.states
            older = [path for path in states if _step_of(path) < step]
            for path in states:
                if path not in (newest, *older[: kept - 1]):
                    with suppress(OSError):
                        path.unlink()

    def read_state(self) -> tuple[ModelFile, list[DamagedState]]:
        """Read the newest state that the run can go on from, and name the newer, damaged ones.

        Raises:
            CheckpointError: there is none.
        """
        damaged: list[DamagedState] = []
        with reading(self.path):
            states = self.states
        for path in states:
            try:
                return _read_state(path), damaged
            except CheckpointError as error:
                damaged.append(DamagedState(path, _step_of(path), str(error)))
        raise CheckpointError(
            f"{self.path} has no state to go on from"
            + "".join(f"; {each.reason}" for each in damaged)
            + f"; start a new run{self._new_start()}"
        )

    def set_aside(self, damaged: Sequence[DamagedState]) -> None:
        """Rename damaged states, so that they do not count as some of those that are kept."""
        for each in damaged:
            with suppress(OSError):
                each.path.rename(each.path.with_name(f"{each.path.name}.damaged"))

    def _new_start(self) -> str:
        """Name the option that saves what was learned, where the best model can be read."""
        try:
            read_model(self.best)
        except CheckpointError:
            return ""
        return f", from its best weights by: charrnn train ... --init-from {self.best}"

    def log_metrics(self, values: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        append_text(self.metrics, json.dumps(without_nan(values)) + "\n")

    def log_sample(self, step: int, val_nats: float, text: str) -> None:
        """Add a sample to samples.txt."""
        append_text(self.path / SAMPLES, f"── step {step}, val {val_nats:.4f} ──\n{text}\n\n")

    def log_positions(self) -> dict[str, int]:
        """Make both logs safe and give their sizes in bytes by name; 0 for one that is missing."""
        return {name: flush_file(self.path / name) for name in (METRICS, SAMPLES)}

    def rewind_logs(self, positions: Mapping[str, Any]) -> None:
        """Cut each log to the size that `log_positions` gave: what came after is done again.

        Raises:
            CheckpointError: a size is none.
        """
        sizes = {name: positions[name] for name in (METRICS, SAMPLES) if name in positions}
        for name, size in sizes.items():
            if type(size) is not int or size < 0:
                raise CheckpointError(
                    f"{self.path} cannot go on: {size!r} is no size of {name}; start a new run"
                )
        for name, size in sizes.items():
            cut_file(self.path / name, size)

    def save_settings(self, settings: Mapping[str, Any]) -> None:
        """Write config.toml."""
        write_atomically(self.path / SETTINGS, format_toml(settings))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one training process.

        Raises:
            RunLockedError: another one has it.
            StorageError: the folder may not be written.
        """
        with hold_folder(self.path):
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what writers that were killed left behind; the lock is held."""
        with suppress(OSError):
            for path in self.path.iterdir():
                if _LEFTOVER.fullmatch(path.name):
                    path.unlink()


def _step_of(state: Path) -> int:
    match = _STATE.fullmatch(state.name)
    assert match is not None, "states are found by this pattern"
    return int(match[1])


def _read_state(path: Path) -> ModelFile:
    model = read_model(path)
    if model.progress is None:
        raise CheckpointError(f"{path} holds a model but no training state")
    return model


def is_model_name(name: str) -> bool:
    """Tell whether a run's model or state has such a file name."""
    return name == BEST or _STATE.fullmatch(name) is not None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name what could not be read: `path`, or what lies in it."""
    try:
        yield
    except OSError as error:
        culprit, reason = error.filename or path, error.strerror or error
        raise CheckpointError(f"cannot read {culprit}: {reason}") from error


def format_toml(settings: Mapping[str, Any]) -> str:
    """Write flat settings as TOML; None is left out, as TOML has no word for it."""
    given = {key: value for key, value in settings.items() if value is not None}
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in given.items())


def _toml_value(value: Any) -> str:
    """Write one value; JSON's spelling is TOML's for these types, once DEL and C1 are escaped.

    So is what turns the reading order, since a person looks at it.
    """
    return json.dumps(value, ensure_ascii=False).translate(_ESCAPED)


_TURNING = "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *map(ord, _TURNING))}
