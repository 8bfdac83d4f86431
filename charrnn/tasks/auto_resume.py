"""A run of the same command that did not end: better gone on with than begun again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from charrnn.checkpoint.run_folder import SETTINGS, RunFolder, format_toml
from charrnn.checkpoint.run_store import list_runs
from charrnn.errors import CheckpointError
from charrnn.tasks.train_request import TrainRequest
from charrnn.text.corpus import Corpus


@dataclass(frozen=True)
class UnfinishedRun:
    """A run that can go on, and the step that it was saved after."""

    run: RunFolder
    step: int


def find_unfinished(request: TrainRequest, corpus: Corpus) -> UnfinishedRun | None:
    """Give the newest run of the same text and settings, or the one of the name asked for.

    None where it has ended, or where the request is for a new one.
    """
    name, checkpoints = request.run.name, Path(request.run.checkpoints)
    if request.run.on_unfinished == "new":
        return None
    runs = list_runs(checkpoints) if name is None else [RunFolder(checkpoints / name)]
    asked = format_toml({"corpus": request.corpus_paths} | request.settings)
    for run in runs:
        if _settings_of(run) == asked and (step := _unfinished_step(run, corpus)) is not None:
            return UnfinishedRun(run, step)
    return None


def _settings_of(run: RunFolder) -> str | None:
    try:
        return (run.path / SETTINGS).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _unfinished_step(run: RunFolder, corpus: Corpus) -> int | None:
    try:
        last, _ = run.read_state()
    except CheckpointError:
        return None
    progress, text = last.progress or {}, last.summary.get("corpus", {})
    if progress.get("is_finished") or text.get("sha256") != corpus.sha256:
        return None
    return int(progress["step"])
