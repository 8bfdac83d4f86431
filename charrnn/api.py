"""The public functions: train a model, load one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.checkpoint.run_store import find_model
from charrnn.config import RunConfig
from charrnn.generation.model import Model

if TYPE_CHECKING:
    from charrnn.tasks.train import RunReport


def load(model: str | Path | None = None, *, checkpoints: str | Path | None = None) -> Model:
    """Open a model: a run's name, its folder, or a model file; None the newest run.

    Raises:
        CheckpointError: there is none, or its file is damaged.
    """
    folder = Path(checkpoints or RunConfig().checkpoints)
    return Model.from_file(find_model(None if model is None else str(model), folder))


def train(
    corpus: str | Path | Sequence[str | Path] = (),
    *,
    should_stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Iterator[RunReport]:
    """Train a model on text and yield a report of each thing that happens, keeping the run's files.

    corpus: files, folders, globs or a library name. settings: fields of `charrnn.config`'s
    TrainConfig, TextConfig and RunConfig, such as budget="10m", hidden_size=256, name="mine".
    should_stop: asked after every step; once it says yes the run is saved and ends.

    Raises:
        CharRNNError: one of its kinds, at the first report or where it happens.
    """
    from charrnn.tasks.train import start_run

    paths = [corpus] if isinstance(corpus, str | Path) else corpus
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()}
    return start_run([str(path) for path in paths], settings, should_stop=should_stop)
