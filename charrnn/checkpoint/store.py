"""The run folder: where a model's files live, how they are found, who may write them.

checkpoints/<name>/
    best.safetensors   the averaged weights of the best evaluation
    last.safetensors   the newest weights, with all that is needed to go on
    metrics.jsonl      a line for each milestone and evaluation
    config.toml        the corpus and every setting, for charrnn train --config
    samples.txt        what the model wrote at each evaluation
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from charrnn.checkpoint.format import ModelFile, pack_model, read_model
from charrnn.errors import CheckpointError, ConfigError, RunLockedError, StorageError
from charrnn.metrics import without_nan
from charrnn.storage import append_text, write_atomically

BEST, LAST, SETTINGS = "best.safetensors", "last.safetensors", "config.toml"


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
    def last(self) -> Path:
        """The file to go on from."""
        return self.path / LAST

    @property
    def metrics(self) -> Path:
        """The file of figures along the way."""
        return self.path / "metrics.jsonl"

    @property
    def model(self) -> Path:
        """The best model's file, or the last one's before the first evaluation."""
        return self.best if self.best.exists() else self.last

    def keep_best(self, model: ModelFile) -> None:
        """Replace the best model."""
        write_atomically(self.best, pack_model(model))

    def keep_last(self, model: ModelFile) -> None:
        """Replace the state to go on from."""
        write_atomically(self.last, pack_model(model))

    def log_metrics(self, values: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        append_text(self.metrics, json.dumps(without_nan(values)) + "\n")

    def rewind_metrics(self, step: int) -> None:
        """Drop the lines after `step`, and one cut short: a resumed run writes them again."""
        if not self.metrics.exists():
            return
        with _reading(self.metrics):
            lines = self.metrics.read_text(encoding="utf-8", errors="replace").splitlines(True)
        write_atomically(self.metrics, "".join(each for each in lines if _step_of(each) <= step))

    def log_sample(self, step: int, val_nats: float, text: str) -> None:
        """Add a sample to samples.txt."""
        append_text(self.path / "samples.txt", f"── step {step}, val {val_nats:.4f} ──\n{text}\n\n")

    def keep_settings(self, settings: Mapping[str, Any]) -> None:
        """Write config.toml."""
        write_atomically(self.path / SETTINGS, format_toml(settings))

    def lock(self) -> AbstractContextManager[object]:
        """Hold the folder for one training process.

        Raises:
            RunLockedError: another one has it.
        """
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            held = lock.acquire()
        except Timeout as error:
            raise RunLockedError(
                f"another process trains {self.path}; wait for it, or train under another --name"
            ) from error
        except OSError as error:
            raise StorageError(f"cannot lock {self.path}: {error.strerror or error}") from error
        self._sweep()
        return held

    def _sweep(self) -> None:
        """Remove what writers that were killed left behind; the lock is held."""
        for name in (BEST, LAST, SETTINGS, "metrics.jsonl"):
            for leftover in self.path.glob(f".{name}.*"):
                with suppress(OSError):
                    leftover.unlink()


def _step_of(line: str) -> float:
    """Give the step that a line of metrics.jsonl is of; infinity where it cannot be read."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def create_run(checkpoints: Path, name: str | None, corpus_name: str) -> RunFolder:
    """Make the folder of a new run: `name`, or one after the corpus that is not yet taken.

    Raises:
        ConfigError: the name is no folder name, or a run has it already.
        StorageError: the folder cannot be made.
    """
    if name is not None:
        _check_name(name)
        folder = RunFolder(checkpoints / name)
        with _reading(checkpoints):
            is_taken = folder.model.exists()
        if is_taken:
            raise ConfigError(
                f"there is a run {name!r} in {checkpoints} already; go on with --resume {name}, "
                "or give another --name"
            )
        return _make(folder)
    stem = re.sub(r"[^\w-]+", "-", corpus_name).strip("-")[:80] or "run"
    with _reading(checkpoints):
        taken = {path.name for path in checkpoints.glob("*") if not _is_abandoned(path)}
    names = [stem, *(f"{stem}-{i}" for i in range(2, len(taken) + 3))]
    return _make(RunFolder(checkpoints / next(each for each in names if each not in taken)))


def _is_abandoned(path: Path) -> bool:
    """Tell a run that ended before its first save: its name is free."""
    return (path / SETTINGS).exists() and not RunFolder(path).model.exists()


def _make(folder: RunFolder) -> RunFolder:
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {folder.path}: {error.strerror or error}") from error
    return folder


def _check_name(name: str) -> None:
    is_plain = not re.search(r'[/\\:*?"<>|\x00-\x1f\x7f]', name) and name.strip() == name
    if not is_plain or not name or name[0] in ".-" or len(os.fsencode(name)) > 200:
        raise ConfigError(
            f"{name!r} cannot name a run; use letters, digits, - and _, with no . or - in front "
            "(it becomes a folder)"
        )


def find_run(name: str, checkpoints: Path) -> RunFolder:
    """Give the run of that name in `checkpoints`, or the folder at that path.

    Raises:
        CheckpointError: there is none.
    """
    for path in (checkpoints / name, Path(name), Path(name).parent):
        is_file_of_run = path != Path(name).parent or Path(name).name in (BEST, LAST)
        with suppress(OSError):  # a name too long for a file
            if is_file_of_run and RunFolder(path).model.exists():
                return RunFolder(path)
    raise _no_run(name, checkpoints)


def find_model(name: str | None, checkpoints: Path) -> Path:
    """Give the model file that `name` means: a run, a run's folder or a file; None the newest run.

    Raises:
        CheckpointError: there is none.
    """
    if name is None:
        runs = list_runs(checkpoints)
        if not runs:
            raise CheckpointError(
                f"there is no run in {checkpoints} yet; make one with: charrnn train corpus.txt"
            )
        return runs[0].model
    with suppress(OSError):  # a name too long for a file
        if Path(name).is_file() and not RunFolder(checkpoints / name).model.exists():
            return Path(name)
    return find_run(name, checkpoints).model


def list_runs(checkpoints: Path) -> list[RunFolder]:
    """Give every run in `checkpoints`, the one written last first.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    with _reading(checkpoints):
        if not checkpoints.is_dir():
            return []
        runs = [RunFolder(path) for path in checkpoints.iterdir()]
        dated = [(run.model.stat().st_mtime, run.name, run) for run in runs if run.model.exists()]
    return [run for _, _, run in sorted(dated, reverse=True)]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name what could not be read: `path`, or what lies in it."""
    try:
        yield
    except OSError as error:
        culprit, reason = error.filename or path, error.strerror or error
        raise CheckpointError(f"cannot read {culprit}: {reason}") from error


def summarise_run(run: RunFolder) -> dict[str, Any]:
    """Give what a list shows of a run; a file that cannot be read says so in "error"."""
    try:
        return {"name": run.name} | without_nan(_figures(read_model(run.model)))
    except CheckpointError as error:
        return {"name": run.name, "error": str(error)}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        damage = f"{run.model} is damaged: it does not say how it was trained ({error!r})"
        return {"name": run.name, "error": damage}


def _figures(model: ModelFile) -> dict[str, Any]:
    config, summary = model.config, model.summary
    val_bpc = summary["val_bpc"]
    return {
        "corpus": summary["corpus"]["name"],
        "model": f"{config.cell} {config.num_layers}×{config.hidden_size}",
        "parameters": model.parameters,
        "step": int(summary["step"]),
        "val_bpc": None if val_bpc is None else float(val_bpc),
        "created": summary["created"],
    }


def read_last(run: RunFolder) -> ModelFile:
    """Read the state that a run can go on from.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if not run.last.exists():
        raise CheckpointError(f"{run.path} has no {LAST} to go on from; start a new run")
    model = read_model(run.last)
    if model.progress is None:
        raise CheckpointError(f"{run.last} holds a model but no training state; start a new run")
    return model


def format_toml(settings: Mapping[str, Any]) -> str:
    """Write flat settings as TOML; None is left out, as TOML has no word for it."""
    given = {key: value for key, value in settings.items() if value is not None}
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in given.items())


def _toml_value(value: Any) -> str:
    """Write one value; JSON's spelling is TOML's for these types, once DEL and C1 are escaped."""
    return json.dumps(value, ensure_ascii=False).translate(_ESCAPED)


_ESCAPED = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}


def _no_run(name: str, checkpoints: Path) -> CheckpointError:
    known = [run.name for run in list_runs(checkpoints)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "charrnn list shows the runs"
    return CheckpointError(f"there is no run or model file {name!r} in {checkpoints}; {hint}")
