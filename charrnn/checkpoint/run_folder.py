"""A run's folder: its files, the order in which they are written, and how they are read back.

checkpoints/<name>/
    best.safetensors      the averaged weights of the best evaluation
    step-<n>.safetensors  the newest states, with all that is needed to resume
    metrics.jsonl         a line for the start, each milestone, evaluation, incident, and the end
    config.toml           the corpus and every setting, for charrnn train --config
    resolved.toml         at the end: the same with all that was chosen, to repeat the run
    inspect.html          what charrnn inspect shows
    samples.txt           what the model wrote at each evaluation
    hub.json              where the model was pulled from, if it was
    snapshots/            with --snapshots: step-<n>.safetensors, the weights alone, along the way

An older state is removed only once a newer one is safe, so a damaged state costs the steps since
the one before it, not the run.
"""

import json
import re
import shlex
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.checkpoint.lock import HOLDER, LOCK, hold_folder
from charrnn.checkpoint.model_file import ModelFile, pack_model, read_model
from charrnn.checkpoint.snapshot_file import Arrays, pack_snapshot, read_snapshot
from charrnn.checkpoint.strict_json import shown
from charrnn.errors import CheckpointError, StorageError
from charrnn.metrics import without_nan
from charrnn.storage import (
    append_text,
    cut_file,
    flush_file,
    flush_folder,
    write_atomically,
    write_errors,
)

SETTINGS = "config.toml"  # written first, so it marks a folder as a run of ours
_RESOLVED = "resolved.toml"
_BEST = "best.safetensors"
_METRICS = "metrics.jsonl"
_SAMPLES = "samples.txt"
PAGE = "inspect.html"  # of charrnn inspect
SHARED = "charrnn.safetensors"  # of a folder that was exported, or comes from the hub
ORIGIN = "hub.json"  # where a model was pulled from
_SNAPSHOTS = "snapshots"
_SNAPSHOT = re.compile(r"step-([0-9]{7,19})\.safetensors")
_SNAPSHOT_LEFTOVER = re.compile(rf"\.{_SNAPSHOT.pattern}\.[0-9a-f]{{12}}")
_STATE = re.compile(r"step-(0|[1-9][0-9]*)\.safetensors")
# Temporary files of storage.py, as a killed process leaves them.
_LEFTOVER = re.compile(
    rf"\.({re.escape(_BEST)}|{_STATE.pattern}|{re.escape(SETTINGS)}|{re.escape(_RESOLVED)}"
    rf"|{re.escape(HOLDER)}|{re.escape(PAGE)}|{re.escape(ORIGIN)})"
    r"\.[0-9a-f]{12}"
)
_OWN_NAMES = {SETTINGS, _RESOLVED, _BEST, _METRICS, _SAMPLES, PAGE, ORIGIN, LOCK, HOLDER}
_OWN = re.compile(rf"({_STATE.pattern}|{re.escape(_BEST)})(\.damaged)?")


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
        """The run's name, in Unicode's form NFC whatever the form of its folder's name."""
        return unicodedata.normalize("NFC", self.path.name)

    @property
    def best(self) -> Path:
        """The best model's file."""
        return self.path / _BEST

    @property
    def resolved(self) -> Path:
        """The file of all settings in force."""
        return self.path / _RESOLVED

    @property
    def metrics(self) -> Path:
        """The file of figures along the way."""
        return self.path / _METRICS

    @property
    def states(self) -> list[Path]:
        """The files to resume from, the newest first."""
        try:
            found = [path for path in self.path.iterdir() if _STATE.fullmatch(path.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found, key=_step_of, reverse=True)

    @property
    def step(self) -> int | None:
        """The step of the newest state; None without one."""
        return next((_step_of(path) for path in self.states), None)

    @property
    def model(self) -> Path:
        """The best model's file, or the newest state's before the first evaluation.

        Of a folder that was exported for Hugging Face, the only file that is ours.
        """
        if self.best.exists():
            return self.best
        shared = self.path / SHARED
        return next(iter(self.states), shared if shared.exists() else self.best)

    @property
    def has_model(self) -> bool:
        """Whether there is a model, even while a training process replaces its files."""
        path = self.model
        while not path.exists():  # removed since, or never there
            before = path
            path = self.model
            if path == before:
                return False
        return True

    @property
    def replaced(self) -> Path:
        """Where the run that had this name waits until this one has a state."""
        return self.path.with_name(f".{self.path.name}.replaced")

    @property
    def removed(self) -> Path:
        """Where a run's files wait to be removed; what a kill leaves there is no run any more."""
        return self.path.with_name(f".{self.path.name}.removed")

    @property
    def is_pulled(self) -> bool:
        """Whether the best model's file came from the hub, all of it."""
        return self.best.exists() and (self.path / ORIGIN).exists()

    @property
    def disk_bytes(self) -> int:
        """How much disk its files take; those that vanish meanwhile do not count."""
        total = 0
        for folder in (self.path, *([self.path / _SNAPSHOTS] if self._has_snapshots else [])):
            with suppress(OSError):
                for path in folder.iterdir():
                    with suppress(OSError):
                        total += path.lstat().st_size if not path.is_dir() else 0
        return total

    @property
    def foreign_files(self) -> list[str]:
        """The names in the folder that no run writes."""
        names = {path.name for path in self.path.iterdir()} - _OWN_NAMES
        foreign = [n for n in names if not (_OWN.fullmatch(n) or _LEFTOVER.fullmatch(n))]
        if _SNAPSHOTS in names and self._has_snapshots:
            foreign.remove(_SNAPSHOTS)
            inside = [path.name for path in (self.path / _SNAPSHOTS).iterdir()]
            own = (_SNAPSHOT, _SNAPSHOT_LEFTOVER)
            others = [n for n in inside if not any(each.fullmatch(n) for each in own)]
            foreign += [f"{_SNAPSHOTS}/{name}" for name in others]
        return sorted(foreign)

    @property
    def snapshots(self) -> list[Path]:
        """The files of the weights along the way, the earliest first."""
        if not self._has_snapshots:
            return []
        with reading(self.path):
            found = [p for p in (self.path / _SNAPSHOTS).iterdir() if _SNAPSHOT.fullmatch(p.name)]
        return sorted(found, key=_snapshot_step_of)

    @property
    def _has_snapshots(self) -> bool:
        """Whether there is a folder of them; a link could lead to files that are not ours."""
        folder = self.path / _SNAPSHOTS
        return folder.is_dir() and not folder.is_symlink()

    def save_snapshot(self, step: int, weights: Arrays) -> None:
        """Add the weights of a step."""
        folder = self.path / _SNAPSHOTS
        if folder.is_symlink():
            raise StorageError(f"{folder} is a link to another place; remove the link")
        write_atomically(folder / f"step-{step:07d}.safetensors", pack_snapshot(step, weights))

    def read_snapshots(self) -> list[tuple[int, Arrays]]:
        """Return the weights along the way as float32, each with its step, the earliest first.

        Raises:
            CheckpointError: a file is damaged.
        """
        return [read_snapshot(path) for path in self.snapshots]

    def rewind_snapshots(self, step: int) -> None:
        """Remove the weights of the steps after `step`, which are made again.

        Raises:
            StorageError: one cannot be removed.
        """
        for path in self.snapshots:
            if _snapshot_step_of(path) > step:
                with write_errors(path):
                    path.unlink(missing_ok=True)

    def save_best(self, model: ModelFile) -> None:
        """Replace the best model."""
        write_atomically(self.best, pack_model(model))

    def save_pulled(self, data: bytes, origin: str) -> None:
        """Write the best model's file as it came from the hub, and the note of where from."""
        write_atomically(self.best, data)
        write_atomically(self.path / ORIGIN, origin)
        with suppress(OSError):
            discard(self.replaced, self.removed)

    def save_state(self, model: ModelFile, step: int, kept: int) -> None:
        """Add the state after `step`; once it is safe, keep only the newest `kept` (1 or more).

        The run that this one replaces, if any, is removed then.
        A state of a higher step goes too: it is damaged, or the run was resumed from before it.
        """
        newest = self.path / f"step-{step}.safetensors"
        write_atomically(newest, pack_model(model))
        with suppress(OSError):
            discard(self.replaced, self.removed)
        with suppress(OSError):  # a file left over takes space, nothing else
            states = self.states
            older = [path for path in states if _step_of(path) < step]
            for path in states:
                if path not in (newest, *older[: kept - 1]):
                    with suppress(OSError):
                        path.unlink()

    def read_state(self) -> tuple[ModelFile, list[DamagedState]]:
        """Return the newest state that can be resumed from, and the newer ones that cannot.

        Raises:
            CheckpointError: there is none.
        """
        damaged: list[DamagedState] = []
        with reading(self.path):
            states = self.states
        for path in states:
            try:
                model = read_model(path)
                if model.progress is None:
                    raise CheckpointError(f"{path} holds a model but no training state")
                found = model.progress.get("step")
                if found != _step_of(path):  # its next save would count as older than this one
                    raise CheckpointError(f"{path} is damaged: it is of step {shown(found)}")
                return model, damaged
            except CheckpointError as error:
                damaged.append(DamagedState(path, _step_of(path), error.message))
        # The best model has no training state, but its weights are worth a new run.
        start = ""
        with suppress(CheckpointError):
            read_model(self.best)
            best = shlex.quote(str(self.best))
            start = f", from its best weights: charrnn train ... --init-from {best}"
        reasons = "".join(f"; {each.reason}" for each in damaged)
        raise CheckpointError(
            f"{self.path} has no state to resume from{reasons}; start a new run{start}"
        )

    def set_aside(self, damaged: Sequence[DamagedState]) -> None:
        """Rename damaged states, so that they do not count among those that are kept."""
        for each in damaged:
            with suppress(OSError):
                each.path.rename(each.path.with_name(f"{each.path.name}.damaged"))

    def log_metrics(self, values: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        append_text(self.metrics, json.dumps(without_nan(values)) + "\n")

    def read_metrics(self) -> Iterator[dict[str, Any]]:
        """Yield the objects of metrics.jsonl; lines that are damaged are left out."""
        try:
            with self.metrics.open(encoding="utf-8", errors="replace") as file:
                lines = list(file)
        except OSError:
            return
        for line in lines:
            with suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict):
                    yield record

    def log_sample(self, step: int, val_nats: float | None, text: str) -> None:
        """Add a sample to samples.txt. val_nats: None where nothing is held out."""
        score = "" if val_nats is None else f", val {val_nats:.4f}"
        append_text(self.path / _SAMPLES, f"── step {step}{score} ──\n{text}\n\n")

    def log_positions(self) -> dict[str, int]:
        """Make both logs safe and return their sizes in bytes by name; 0 for a missing one."""
        return {name: flush_file(self.path / name) for name in (_METRICS, _SAMPLES)}

    def rewind_logs(self, positions: Mapping[str, Any]) -> None:
        """Cut each log to its size in `log_positions`: a resumed run writes the rest again.

        Raises:
            CheckpointError: a size is not a whole number from 0.
        """
        # Names in a forged file could lead out of the folder: only our two logs are cut.
        sizes = {name: positions[name] for name in (_METRICS, _SAMPLES) if name in positions}
        for name, size in sizes.items():  # all are checked before the first is cut
            if type(size) is not int or size < 0:
                raise CheckpointError(
                    f"{self.path} cannot be resumed: {size!r} is not a valid size of {name}; start "
                    "a new run"
                )
        for name, size in sizes.items():
            cut_file(self.path / name, size)

    def clear_logs(self) -> None:
        """Empty both logs and snapshots, which a run of ours leaves that ended before it saved."""
        if (self.path / SETTINGS).exists():
            self.rewind_logs(dict.fromkeys((_METRICS, _SAMPLES), 0))
            self.rewind_snapshots(-1)

    def save_settings(self, settings: Mapping[str, Any]) -> None:
        """Write config.toml."""
        write_atomically(self.path / SETTINGS, format_toml(settings))

    def save_resolved(self, comment: str, settings: Mapping[str, Any]) -> None:
        """Write resolved.toml, which begins with a comment of one line."""
        write_atomically(self.resolved, f"# {comment}\n{format_toml(settings)}")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one training process, and remove what killed ones left in it.

        Raises:
            RunLockedError: another process holds it.
            StorageError: the folder may not be written.
        """
        with hold_folder(self.path):
            with suppress(OSError):
                for path in self.path.iterdir():
                    if _LEFTOVER.fullmatch(path.name):
                        path.unlink()
                if self._has_snapshots:
                    for path in (self.path / _SNAPSHOTS).iterdir():
                        if _SNAPSHOT_LEFTOVER.fullmatch(path.name):
                            path.unlink()
            yield


def _step_of(state: Path) -> int:
    match = _STATE.fullmatch(state.name)
    assert match is not None, "states are found by this pattern"
    return int(match[1])


def _snapshot_step_of(path: Path) -> int:
    match = _SNAPSHOT.fullmatch(path.name)
    assert match is not None, "snapshots are found by this pattern"
    return int(match[1])


def discard(folder: Path, removed: Path) -> None:
    """Remove a run's folder, if it is there, by way of `removed`.

    It vanishes at once and its files after that, so that a kill in between leaves no half of a run.

    Raises:
        OSError: it cannot be removed.
    """
    clear_removed(removed)
    if folder.is_dir():
        folder.rename(removed)
        flush_folder(folder.parent)
        clear_removed(removed)


def clear_removed(removed: Path) -> None:
    """Remove what a killed process left of a run that it removed.

    Raises:
        OSError: it cannot be removed.
    """
    while removed.is_dir() and not removed.is_symlink():
        with suppress(FileNotFoundError):  # another process is at it too
            shutil.rmtree(removed)


def is_model_name(name: str) -> bool:
    """Return whether a run's model or state has such a file name, or that of a shared folder."""
    return name in (_BEST, SHARED) or _STATE.fullmatch(name) is not None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError into a CheckpointError that names `path`, or what could not be read in it."""
    try:
        yield
    except OSError as error:
        culprit = error.filename or path
        raise CheckpointError(f"cannot read {culprit}: {error.strerror or error}") from error


# Python's tomllib only reads, and JSON's spelling is TOML's for flat settings, so no library.
# TOML forbids DEL and the C1 controls; marks that turn the reading order are escaped for people.
_MARKS = "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), *map(ord, _MARKS))}


def format_toml(settings: Mapping[str, Any]) -> str:
    r"""Return flat settings as TOML; None is left out, as TOML cannot express it.

    >>> format_toml({"steps": 3, "seed": None, "stop": ["a"]})
    'steps = 3\nstop = ["a"]\n'
    """
    given = {key: value for key, value in settings.items() if value is not None}
    return "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False).translate(_ESCAPED)}\n"
        for key, value in given.items()
    )
