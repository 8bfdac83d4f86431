"""The folder of all runs: how a new run gets its folder, and how runs and models are found."""

import itertools
import os
import re
import shlex
import shutil
import unicodedata
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

from charrnn.checkpoint.lock import HOLDER, LOCK
from charrnn.checkpoint.model_file import ModelFile, read_model_header
from charrnn.checkpoint.public import HUB_SCHEME
from charrnn.checkpoint.run_folder import (
    SETTINGS,
    RunFolder,
    clear_removed,
    discard,
    is_model_name,
    reading,
)
from charrnn.checkpoint.strict_json import shown
from charrnn.errors import CheckpointError, ConfigError, RunLockedError, StorageError
from charrnn.metrics import without_nan
from charrnn.storage import flush_folder, is_reserved, make_folder, write_errors
from charrnn.wording import nearest

T = TypeVar("T")
_IS_WINDOWS = os.name == "nt"  # which moves and removes no folder with an open file: our lock


@contextmanager
def claim_run(
    checkpoints: Path, name: str | None, corpus_name: str, *, overwrite: bool = False
) -> Iterator[RunFolder]:
    """Hold the folder of a new run: `name`, or the first free one named after the corpus.

    A claim in which nothing was written leaves nothing behind. overwrite: replace a run of that
    name, which is put back where the new one ends without a state.

    Raises:
        ConfigError: the name cannot be a folder's, is a link's, or has a run already; or the run
            to replace has files in its folder that are not a run's.
        RunLockedError: another process is about to train under that name.
        StorageError: the folder cannot be made.
    """
    with ExitStack() as held:
        if name is not None:
            check_name(name)
            run = named_run(name, checkpoints)
            with reading(run.path):
                if run.path.is_symlink():
                    raise ConfigError(f"{run.path} is a link to another place; give another --name")
            held.enter_context(_replacing(run, is_wanted=overwrite))
            held.enter_context(_claimed(run))
            with reading(run.path):
                refuse_taken(run)
        else:
            stem = name_after(corpus_name)
            names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
            runs = (named_run(each, checkpoints) for each in names)
            run = next(run for run in runs if _take(run, held))
        yield run


def refuse_taken(run: RunFolder) -> None:
    """Refuse a name that a run has already.

    Raises:
        ConfigError: it has.
    """
    if run.has_model:
        raise ConfigError(
            f"there is a run {run.name!r} in {run.path.parent} already; continue it with "
            f"--resume {shlex.quote(run.name)}, replace it with --overwrite, or give another --name"
        )


def name_after(corpus_name: str) -> str:
    """Return the name of a run on a corpus, as a shell takes it without quotes.

    >>> name_after("My book (2nd)")
    'My-book-2nd'
    """
    corpus_name = unicodedata.normalize("NFC", corpus_name)
    name = re.sub(r"[^\w-]+", "-", corpus_name).strip("-")[:80] or "run"
    return f"{name}-run" if is_reserved(name) else name


@contextmanager
def _replacing(run: RunFolder, *, is_wanted: bool) -> Iterator[None]:
    """Set a run aside while a new one takes its name, if that is wanted."""
    _end_replacing(run)  # of a process that was killed
    with suppress(OSError):
        clear_removed(run.removed)
    if is_wanted and run.has_model:
        with reading(run.path), _moving_away(run, run.replaced):
            if foreign := run.foreign_files:
                raise ConfigError(
                    f"{run.path} holds {foreign[0]!r}, which no run writes; move it elsewhere, or "
                    "give another --name"
                )
    try:
        yield
    finally:
        with suppress(RunLockedError):  # who holds the new run by now ends it
            _end_replacing(run)


@contextmanager
def _moving_away(run: RunFolder, target: Path) -> Iterator[None]:
    """Hold the run within the block, and rename its folder at the end, if nothing is raised."""
    with run.lock():
        yield
        if not _IS_WINDOWS:
            run.path.rename(target)
    if _IS_WINDOWS:  # refuses if another process has taken the lock since
        run.path.rename(target)
    flush_folder(run.path.parent)


def _end_replacing(run: RunFolder) -> None:
    """Remove the run that was set aside if the new one has a state, else put it back.

    A model from the hub has no state, and is whole as soon as its note is there.
    """
    if run.replaced.is_symlink() or not run.replaced.is_dir():
        return
    with write_errors(run.path):
        with run.lock() if run.path.is_dir() else nullcontext():
            if run.states or run.is_pulled:
                discard(run.replaced, run.removed)
                return
            if not _IS_WINDOWS:
                shutil.rmtree(run.path, ignore_errors=True)
                run.replaced.rename(run.path)
        if _IS_WINDOWS:
            shutil.rmtree(run.path, ignore_errors=True)
            run.replaced.rename(run.path)
        flush_folder(run.path.parent)


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


def check_name(name: str) -> None:
    """Refuse a name that cannot be a run's.

    Raises:
        ConfigError: it cannot be a folder's on every system, or would look like an option.
    """
    # What Windows forbids too: a run may be copied there. A leading - would look like an option.
    is_plain = not re.search(r'[/\\:*?"<>|\x00-\x1f\x7f]', name) and name.strip() == name
    is_plain = is_plain and not is_reserved(name)
    if not is_plain or not name or name[0] in ".-" or len(os.fsencode(name)) > 200:
        raise ConfigError(
            f"{name!r} cannot name a run; use letters, digits, - and _, with no . or - in front, "
            "and no name of a device such as aux (it becomes a folder)"
        )


def named_run(name: str, checkpoints: Path) -> RunFolder:
    """Return the folder of the run of that name, whether it is there or not."""
    return RunFolder(_as_on_disk(checkpoints / name))


def _as_on_disk(path: Path) -> Path:
    """Return `path` with its last part as the disk has it, else in Unicode's form NFC.

    An é may be typed, and may stand on the disk, as one character or as two.
    """
    if path.name.isascii() or os.path.lexists(path):
        return path
    name = unicodedata.normalize("NFC", path.name)
    with suppress(OSError):
        for found in path.parent.iterdir():
            if unicodedata.normalize("NFC", found.name) == name:
                return found
    return path.with_name(name)


def find_run(name: str, checkpoints: Path) -> RunFolder:
    """Return the run of that name in `checkpoints`, or at that path, or of that model file.

    Raises:
        CheckpointError: there is none.
    """
    for path in (checkpoints / name, Path(name), Path(name).parent):
        # A file in a run's folder means the run; "" and "." are their own parents.
        is_run = path != Path(name).parent or is_model_name(Path(name).name)
        with suppress(OSError, ValueError):  # a name too long for a file, or with a NUL in it
            run = RunFolder(_as_on_disk(path))
            if is_run and run.has_model:
                return run
    near = nearest(name, [run.name for run in list_runs(checkpoints)])
    hint = f"did you mean {near!r}?" if near else "charrnn list shows the runs"
    with suppress(OSError, ValueError):
        replaced = named_run(name, checkpoints).replaced
        hint = f"a new run was to replace it: it is {replaced}" if replaced.exists() else hint
    raise CheckpointError(
        f"there is no run or model file {shown(name)} in {checkpoints.absolute()}; {hint}"
    )


def find_whole_run(name: str, checkpoints: Path) -> RunFolder:
    """Return the run of that name in `checkpoints`, or at that path: a file of it is not enough.

    Raises:
        CheckpointError: there is none.
        ConfigError: it is a file.
    """
    run = find_run(name, checkpoints)
    path = Path(name)
    if is_model_name(path.name) and run.path.name != path.name:
        raise ConfigError(
            f"{name} is a file of the run {run.name!r}; for the whole run, give its name or folder"
        )
    return run


def find_model(name: str | None, checkpoints: Path) -> Path:
    """Return the model file of a run, a run's folder or a file; None means the newest run.

    That is the newest which has been evaluated, if one has. "hf://USER/NAME" is a model of the hub,
    fetched into its cache unless it is there.

    Raises:
        CheckpointError: there is none.
        ConfigError: a name of the hub is malformed.
    """
    if name is not None and name.startswith(HUB_SCHEME):
        from charrnn.checkpoint.hub import fetch_model, parse_hub_name

        return fetch_model(parse_hub_name(name))[0]
    if name is None:
        runs = list_runs(checkpoints)
        if not runs:
            raise CheckpointError(
                f"no runs in {checkpoints.absolute()}. Runs are kept in the folder where you ran "
                "train: cd there, or pass --checkpoints FOLDER. To make one: "
                "charrnn train corpus.txt"
            )
        # One that was stopped before its first evaluation has hardly learned.
        return next((run for run in runs if run.best.exists()), runs[0]).model
    with suppress(OSError):  # a name too long for a file
        # A run's name goes before a file's of the same name.
        file = _as_on_disk(Path(name))
        if file.is_file() and not named_run(name, checkpoints).has_model:
            return file
    return find_run(name, checkpoints).model


def list_runs(checkpoints: Path) -> list[RunFolder]:
    """Return every run in `checkpoints`, the one written last first.

    Raises:
        CheckpointError: the folder cannot be read.
    """
    with reading(checkpoints):
        if not checkpoints.is_dir():
            return []
        # A hidden one is being replaced.
        runs = [RunFolder(path) for path in checkpoints.iterdir() if path.name[0] != "."]
        dated = [
            (_read_model_of(run, lambda path: path.stat().st_mtime), run.name, run)
            for run in runs
            if run.has_model
        ]
    return [run for _, _, run in sorted(dated, reverse=True)]


def remove_run(run: RunFolder, *, others: Collection[str] = ()) -> None:
    """Remove a run's folder with all its files.

    The folder vanishes at once and its files after that, so that a kill in between leaves no half
    of a run; what it leaves is removed with the next run, or when one of that name begins.

    others: names of files that go with it, as a sweep has them in its folder.

    Raises:
        ConfigError: the folder is a link, or holds files that no run writes.
        RunLockedError: a process trains the run.
        StorageError: the folder may not be changed.
    """
    with write_errors(run.path):
        if run.path.is_symlink():
            raise ConfigError(f"{run.path} is a link to another place; remove the link by hand")
        with _moving_away(run, run.removed):
            refuse_foreign(run, others)
            clear_removed(run.removed)
        clear_removed(run.removed)
        for other in run.path.parent.glob(".*.removed"):
            with suppress(OSError):
                if not RunFolder(other).foreign_files:
                    clear_removed(other)


def refuse_foreign(run: RunFolder, others: Collection[str] = ()) -> None:
    """Refuse to remove a run's folder with files that no run writes; others: those that go too.

    Raises:
        ConfigError: it has one.
    """
    if foreign := [name for name in run.foreign_files if name not in others]:
        raise ConfigError(
            f"{run.path} holds {foreign[0]!r}, which no run writes; move it elsewhere first, or "
            "remove the folder by hand"
        )


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


def read_last_state(run: RunFolder) -> ModelFile | None:
    """Return the newest state of a run without its arrays; None where none can be read."""
    for path in run.states:
        with suppress(CheckpointError):  # damaged, or removed by a training process since
            return read_model_header(path)
    return None


def summarise_run(run: RunFolder) -> dict[str, Any]:
    """Return what `charrnn list` shows of a run; "error" if its file cannot be read.

    step, val_bpc and created are of its best model; last_step, elapsed_seconds and saved of its
    newest state; disk_bytes of all its files. Headers alone are read: 50 runs take 0.1 s, however
    large their files are.
    """
    try:
        model = _read_model_of(run, read_model_header)
        config = model.config
        val_bpc = model.summary["val_bpc"]
        last = read_last_state(run)
        progress = (last and last.progress) or {}
        summary = last.summary if last else {}
        figures = {
            "name": run.name,
            "corpus": model.summary["corpus"]["name"],
            "model": f"{config.cell} {config.num_layers}×{config.hidden_size}",
            "parameters": config.num_parameters,
            "step": int(model.summary["step"]),
            "val_bpc": None if val_bpc is None else float(val_bpc),
            "scores": model.summary.get("scores", {}),
            "created": model.summary["created"],
            "last_step": progress.get("step"),
            "total_steps": progress.get("plan", {}).get("total_steps"),
            "is_finished": progress.get("is_finished", False),
            "elapsed_seconds": summary.get("elapsed_seconds"),
            "saved": summary.get("created"),
            "task": config.task,
            "cell": config.cell,
            "disk_bytes": run.disk_bytes,
        }
        return without_nan(figures)
    except CheckpointError as error:
        return {"name": run.name, "error": error.message}
    # A model made by another program may lack what training writes.
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        damage = f"{run.model} is damaged: it does not say how it was trained ({error!r})"
        return {"name": run.name, "error": damage}
