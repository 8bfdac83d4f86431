"""Where runs live: how a new one gets its folder, and how runs and models are found."""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from charrnn.checkpoint.lock import HOLDER, LOCK
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import SETTINGS, RunFolder, is_model_name, reading
from charrnn.errors import CheckpointError, ConfigError, RunLockedError, StorageError
from charrnn.metrics import without_nan
from charrnn.storage import make_folder

T = TypeVar("T")


@contextmanager
def claim_run(checkpoints: Path, name: str | None, corpus_name: str) -> Iterator[RunFolder]:
    """Hold the folder of a new run: `name`, or one after the corpus that nobody has or claims.

    A claim that nothing was written in leaves nothing behind.

    Raises:
        ConfigError: the name is no folder name or that of a link, or a run has it already.
        RunLockedError: another process is about to train under that name.
        StorageError: the folder cannot be made.
    """
    with ExitStack() as held:
        if name is not None:
            _check_name(name)
            run = RunFolder(checkpoints / name)
            with reading(run.path):
                is_link = run.path.is_symlink()
            if is_link:
                raise ConfigError(f"{run.path} is a link to another place; give another --name")
            held.enter_context(_claimed(run))
            _check_unused(run)
        else:
            run = next(run for run in _candidates(checkpoints, corpus_name) if _take(run, held))
        yield run


@contextmanager
def _claimed(run: RunFolder) -> Iterator[None]:
    """Hold the run's folder, made if need be; one that stays empty is removed."""
    try:
        make_folder(run.path)
    except OSError as error:
        raise StorageError(f"cannot make {run.path}: {error.strerror or error}") from error
    with run.lock():
        try:
            yield
        finally:
            with suppress(OSError):
                if {path.name for path in run.path.iterdir()} <= {LOCK, HOLDER}:
                    (run.path / HOLDER).unlink()
                    (run.path / LOCK).unlink()
                    run.path.rmdir()


def _check_unused(run: RunFolder) -> None:
    with reading(run.path):
        is_used = run.has_model
    if is_used:
        raise ConfigError(
            f"there is a run {run.name!r} in {run.path.parent} already; go on with "
            f"--resume {run.name}, or give another --name"
        )


def _candidates(checkpoints: Path, corpus_name: str) -> Iterator[RunFolder]:
    stem = re.sub(r"[^\w-]+", "-", corpus_name).strip("-")[:80] or "run"
    yield RunFolder(checkpoints / stem)
    for number in itertools.count(2):
        yield RunFolder(checkpoints / f"{stem}-{number}")


def _take(run: RunFolder, held: ExitStack) -> bool:
    """Hold the run's folder if it is free, and tell whether it was."""
    with ExitStack() as trial, suppress(RunLockedError):
        if _is_free(run):
            trial.enter_context(_claimed(run))
            if _is_free(run):  # still, now that nobody else can take it
                held.push(trial.pop_all())
                return True
    return False


def _is_free(run: RunFolder) -> bool:
    """Tell whether there is no such folder, or one of a run that ended before its first save."""
    with reading(run.path):
        if run.path.is_symlink():  # it would lead out of the checkpoints folder
            return False
        if not run.path.is_dir():
            return not run.path.exists()
        has_settings = (run.path / SETTINGS).exists()
        is_ours = has_settings or all(path.name[0] == "." for path in run.path.iterdir())
        return is_ours and not run.has_model


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
        is_of_run = path != Path(name).parent or is_model_name(Path(name).name)
        with suppress(OSError, ValueError):  # a name too long for a file, or with a NUL in it
            if is_of_run and RunFolder(path).has_model:
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
        if Path(name).is_file() and not RunFolder(checkpoints / name).has_model:
            return Path(name)
    return find_run(name, checkpoints).model


def list_runs(checkpoints: Path) -> list[RunFolder]:
    """Give every run in `checkpoints`, the one written last first.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    with reading(checkpoints):
        if not checkpoints.is_dir():
            return []
        runs = [RunFolder(path) for path in checkpoints.iterdir()]
        dated = [(_date(run), run.name, run) for run in runs if run.has_model]
    return [run for _, _, run in sorted(dated, reverse=True)]


def _date(run: RunFolder) -> float:
    return _look(run, lambda model: model.stat().st_mtime)


def _look(run: RunFolder, read: Callable[[Path], T]) -> T:
    """Read the run's model; the next one where a training process removed it meanwhile."""
    path = run.model
    while True:
        try:
            return read(path)
        except (OSError, CheckpointError):
            if run.model == path:
                raise
            path = run.model


def summarise_run(run: RunFolder) -> dict[str, Any]:
    """Give what a list shows of a run; a file that cannot be read says so in "error"."""
    try:
        return {"name": run.name} | without_nan(_figures(_look(run, read_model)))
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


def _no_run(name: str, checkpoints: Path) -> CheckpointError:
    known = [run.name for run in list_runs(checkpoints)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "charrnn list shows the runs"
    return CheckpointError(f"there is no run or model file {name!r} in {checkpoints}; {hint}")
