"""The folder of all runs: how a new run gets its folder, and how runs and models are found."""

import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from charrnn.checkpoint.lock import HOLDER, LOCK
from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import SETTINGS, RunFolder, is_model_name, reading
from charrnn.errors import CheckpointError, ConfigError, RunLockedError, StorageError
from charrnn.metrics import without_nan
from charrnn.storage import make_folder
from charrnn.wording import nearest

T = TypeVar("T")


@contextmanager
def claim_run(checkpoints: Path, name: str | None, corpus_name: str) -> Iterator[RunFolder]:
    """Hold the folder of a new run: `name`, or the first free one named after the corpus.

    A claim in which nothing was written leaves nothing behind.

    Raises:
        ConfigError: the name cannot be a folder's, is a link's, or has a run already.
        RunLockedError: another process is about to train under that name.
        StorageError: the folder cannot be made.
    """
    with ExitStack() as held:
        if name is not None:
            _check_name(name)
            run = RunFolder(checkpoints / name)
            with reading(run.path):
                if run.path.is_symlink():
                    raise ConfigError(f"{run.path} is a link to another place; give another --name")
            held.enter_context(_claimed(run))
            with reading(run.path):
                if run.has_model:
                    raise ConfigError(
                        f"there is a run {name!r} in {checkpoints} already; continue it with "
                        f"--resume {name}, or give another --name"
                    )
        else:
            stem = re.sub(r"[^\w-]+", "-", corpus_name).strip("-")[:80] or "run"
            names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
            runs = (RunFolder(checkpoints / each) for each in names)
            run = next(run for run in runs if _take(run, held))
        yield run


@contextmanager
def _claimed(run: RunFolder) -> Iterator[None]:
    """Hold the run's folder, made if necessary; one that stays empty is removed."""
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


def _take(run: RunFolder, held: ExitStack) -> bool:
    """Hold the run's folder if it is free; return whether it was."""
    with ExitStack() as trial, suppress(RunLockedError):
        if _is_free(run):
            trial.enter_context(_claimed(run))
            if _is_free(run):  # still, now that no other process can take it
                held.push(trial.pop_all())
                return True
    return False


def _is_free(run: RunFolder) -> bool:
    """Return whether there is no folder, or only one of a run that ended before its first save."""
    with reading(run.path):
        if run.path.is_symlink():  # it would lead out of the checkpoints folder
            return False
        if not run.path.is_dir():
            return not run.path.exists()
        has_settings = (run.path / SETTINGS).exists()
        is_ours = has_settings or all(path.name[0] == "." for path in run.path.iterdir())
        return is_ours and not run.has_model


def _check_name(name: str) -> None:
    # What Windows forbids too: a run may be copied there. A leading - would look like an option.
    is_plain = not re.search(r'[/\\:*?"<>|\x00-\x1f\x7f]', name) and name.strip() == name
    if not is_plain or not name or name[0] in ".-" or len(os.fsencode(name)) > 200:
        raise ConfigError(
            f"{name!r} cannot name a run; use letters, digits, - and _, with no . or - in front "
            "(it becomes a folder)"
        )


def find_run(name: str, checkpoints: Path) -> RunFolder:
    """Return the run of that name in `checkpoints`, or at that path, or of that model file.

    Raises:
        CheckpointError: there is none.
    """
    for path in (checkpoints / name, Path(name), Path(name).parent):
        # A file in a run's folder means the run; "" and "." are their own parents.
        is_run = path != Path(name).parent or is_model_name(Path(name).name)
        with suppress(OSError, ValueError):  # a name too long for a file, or with a NUL in it
            if is_run and RunFolder(path).has_model:
                return RunFolder(path)
    near = nearest(name, [run.name for run in list_runs(checkpoints)])
    hint = f"did you mean {near!r}?" if near else "charrnn list shows the runs"
    raise CheckpointError(
        f"there is no run or model file {name!r} in {checkpoints.absolute()}; {hint}"
    )


def find_model(name: str | None, checkpoints: Path) -> Path:
    """Return the model file of a run, a run's folder or a file; None means the newest run.

    Raises:
        CheckpointError: there is none.
    """
    if name is None:
        runs = list_runs(checkpoints)
        if not runs:
            raise CheckpointError(
                f"no runs in {checkpoints.absolute()}. Runs are kept in the folder where you ran "
                "train: cd there, or pass --checkpoints FOLDER. To make one: "
                "charrnn train corpus.txt"
            )
        return runs[0].model
    with suppress(OSError):  # a name too long for a file
        # A run's name goes before a file's of the same name.
        if Path(name).is_file() and not RunFolder(checkpoints / name).has_model:
            return Path(name)
    return find_run(name, checkpoints).model


def list_runs(checkpoints: Path) -> list[RunFolder]:
    """Return every run in `checkpoints`, the one written last first.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    with reading(checkpoints):
        if not checkpoints.is_dir():
            return []
        runs = [RunFolder(path) for path in checkpoints.iterdir()]
        dated = [
            (_read_model_of(run, lambda path: path.stat().st_mtime), run.name, run)
            for run in runs
            if run.has_model
        ]
    return [run for _, _, run in sorted(dated, reverse=True)]


def _read_model_of(run: RunFolder, read: Callable[[Path], T]) -> T:
    """Read the run's model, or the next one if a training process removed it meanwhile."""
    path = run.model
    while True:
        try:
            return read(path)
        except (OSError, CheckpointError):
            if run.model == path:
                raise
            path = run.model


def summarise_run(run: RunFolder) -> dict[str, Any]:
    """Return what `charrnn list` shows of a run; "error" if its file cannot be read."""
    try:
        model = _read_model_of(run, read_model)
        config = model.config
        val_bpc = model.summary["val_bpc"]
        figures = {
            "name": run.name,
            "corpus": model.summary["corpus"]["name"],
            "model": f"{config.cell} {config.num_layers}×{config.hidden_size}",
            "parameters": config.num_parameters,
            "step": int(model.summary["step"]),
            "val_bpc": None if val_bpc is None else float(val_bpc),
            "created": model.summary["created"],
        }
        return without_nan(figures)
    except CheckpointError as error:
        return {"name": run.name, "error": str(error)}
    # A model made by another program may lack what training writes.
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        damage = f"{run.model} is damaged: it does not say how it was trained ({error!r})"
        return {"name": run.name, "error": damage}
