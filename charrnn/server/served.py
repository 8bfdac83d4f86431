"""The models that a server was started with, opened and named as requests name them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.checkpoint.hub import name_of_run
from charrnn.checkpoint.model_file import ModelFile, model_digest, read_model
from charrnn.checkpoint.run_folder import is_model_name
from charrnn.checkpoint.run_store import find_model
from charrnn.errors import ConfigError
from charrnn.tasks.open_models import OpenModels

if TYPE_CHECKING:
    from charrnn.generation.generator import Generator


@dataclass(frozen=True)
class Served:
    """A model by the name that requests have for it.

    models: the source of text; None for a model of another task. created: when the file was
    written, in seconds since 1970.
    """

    name: str
    file: ModelFile
    models: OpenModels | None
    created: int

    @property
    def task(self) -> str:
        """What the model was trained for: "text", "classification", "tagging" or "seq2seq"."""
        return self.file.config.task

    @cached_property
    def fingerprint(self) -> str:
        """The beginning of the model's digest: while it stays, so do the texts of a seed."""
        return "fp_" + model_digest(self.file).hex()[:12]

    @property
    def generator(self) -> Generator:
        """The source of text; only a model of text has one."""
        assert self.models is not None
        return self.models.generator


def open_served(names: Sequence[str | None], checkpoints: Path) -> dict[str, Served]:
    """Open models by the names of their runs; none: the newest run.

    Raises:
        ConfigError: two of them would have one name.
        CheckpointError: one is missing or damaged.
    """
    from charrnn.tasks.model import Model

    found: dict[str, Served] = {}
    for asked in names or [None]:
        path = find_model(asked, checkpoints)
        file = read_model(path)
        name = _name_of(asked, path)
        if name in found:
            raise ConfigError(f"two models are called {name!r}; serve one of them, or rename one")
        models = None
        if file.config.task == "text":
            model = Model(file)
            models = OpenModels(model, asked or name, model.file, source=file)
        created = 0
        with suppress(OSError):
            created = int(path.stat().st_mtime)
        found[name] = Served(name, file, models, created)
    return found


def _name_of(asked: str | None, path: Path) -> str:
    """Return the name of a model: its run's; of one state of a run, or a lone file, the file's."""
    is_of_run = is_model_name(path.name)
    if not is_of_run or (asked and Path(asked).name == path.name):
        return f"{path.parent.name}-{path.stem}" if is_of_run else path.stem
    return name_of_run(path)
