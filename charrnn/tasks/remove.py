"""What a name to remove means: a run, or a sweep with its trials, each of which is a run.

`charrnn remove` and `charrnn.remove` call `find_removable`, and the command asks before it removes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.run_store import (
    check_name,
    find_whole_run,
    named_run,
    refuse_foreign,
    remove_run,
)
from charrnn.errors import CheckpointError
from charrnn.tasks.sweep_trials import BEST, RESULTS, STATE, read_sweep, remove_leftovers

_OF_SWEEPS = (STATE, RESULTS, BEST)  # files of a sweep's folder


@dataclass(frozen=True)
class Removable:
    """Runs that are removed together. sweep: the folder of the sweep whose trials they are."""

    runs: Sequence[RunFolder]
    sweep: RunFolder | None = None

    def remove(self) -> None:
        """Remove the runs, and the sweep once none of its trials is left.

        Raises:
            ConfigError: a folder is a link, or holds files that neither a run nor a sweep writes.
            RunLockedError: a process trains a run, or the sweep.
            StorageError: a folder may not be changed.
        """
        if self.sweep is None:
            for run in self.runs:
                remove_run(run)
            return
        with self.sweep.lock():  # whoever continues the sweep would make its trials again
            remove_leftovers(self.sweep.path)
            refuse_foreign(self.sweep, _OF_SWEEPS)
            for run in self.runs:
                remove_run(run)
        remove_run(self.sweep, others=_OF_SWEEPS)


def find_removable(name: str, checkpoints: Path) -> Removable:
    """Return the run of that name in `checkpoints`, or at that path, or the sweep with its trials.

    Raises:
        CheckpointError: there is neither, or the sweep is damaged.
        ConfigError: it is a file of a run.
    """
    for folder in (named_run(name, checkpoints), RunFolder(Path(name))):
        with suppress(OSError, ValueError):  # a name too long for a file, or with a NUL in it
            if not folder.has_model and (state := _sweep_of(folder)) is not None:
                trials = [named_run(each, folder.path.parent) for each in state]
                return Removable([run for run in trials if run.path.exists()], folder)
    return Removable([find_whole_run(name, checkpoints)])


def _sweep_of(folder: RunFolder) -> list[str] | None:
    """Return the names of a sweep's trials; None where there is no sweep."""
    if folder.path.is_symlink() or (state := read_sweep(folder.path)) is None:
        return None
    names = [trial.name for trial in state.trials]
    for name in names:
        check_name(name)
        if not name.startswith(f"{folder.name}-"):  # a forged one could name any run
            raise CheckpointError(
                f"{folder.path / STATE} is damaged: {name!r} is no trial of {folder.name}; remove "
                "the folder by hand"
            )
    return names
