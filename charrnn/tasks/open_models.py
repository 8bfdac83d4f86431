"""The models that a command writes with, opened: one, several as one, and what goes with them.

What few texts need is imported where it is used: a text should begin at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_store import find_model
from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.generator import Generator
from charrnn.generation.model import Model, blend, with_negative_model
from charrnn.generation.sampler import Context

if TYPE_CHECKING:
    from charrnn.checkpoint.state_file import Owner
    from charrnn.generation.batch import SamplingBackend
    from charrnn.tasks.originality import OwnText


@dataclass(frozen=True)
class OpenModels:
    """What writes. file: of the only model, if it is one. start: where the text goes on from."""

    writer: Generator
    name: str
    file: ModelFile | None
    start: Context | None = None
    chars_read: int = 0
    text: OwnText | None = None

    @property
    def own_text(self) -> OwnText:
        """The text that the model learned from, once `with_own_text` has opened it."""
        assert self.text is not None
        return self.text

    def with_own_text(self) -> OpenModels:
        """Open the text that the model learned from.

        Raises:
            ConfigError: there are several models.
            CorpusError: it is not where training found it, or is not what it was.
        """
        from charrnn.tasks.originality import open_own_text

        file = self._only_file("what tells copies from new text")
        return replace(self, text=open_own_text(self.name, file))

    def guide(self, config: SampleConfig) -> Constraint | None:
        """Give what keeps a text from copying, where that is asked for."""
        return None if config.max_copy is None else self.own_text.novelty(config.max_copy)

    def engine(self, config: SampleConfig, device: str | None) -> SamplingBackend | None:
        """Give what writes on a device, where one is asked for.

        Raises:
            ConfigError: there are several models, or the device or a setting is not to be had.
        """
        if device is None:
            return None
        file = self._only_file("--device")
        from charrnn.generation import gpu

        return gpu.GpuBackend(file, config, device)

    def with_state(self, path: str) -> OpenModels:
        """Go on from a state that was saved.

        Raises:
            ConfigError: there are several models.
            CheckpointError: it is no state, damaged, or another model's.
        """
        from charrnn.checkpoint.state_file import read_state

        saved = read_state(Path(path), self._owner("--load-state"))
        start = Context(saved.layers, saved.last_ids)
        return replace(self, start=start, chars_read=saved.chars_read)

    def save_state(self, path: str, text: str) -> None:
        """Keep the state after a text that was written from here.

        Raises:
            ConfigError: there are several models.
            StorageError: the file cannot be written.
        """
        from charrnn.checkpoint.state_file import SavedState, write_state

        owner, start = self._owner("--save-state"), self.writer.read(text, self.start)
        chars_read = self.chars_read + len(text)
        write_state(Path(path), SavedState(start.state, start.prompt, chars_read), owner)

    def _owner(self, option: str) -> Owner:
        from charrnn.checkpoint.model_file import model_digest
        from charrnn.checkpoint.state_file import Owner

        file = self._only_file(option)
        return Owner(self.name, model_digest(file), file.config)

    def _only_file(self, options: str) -> ModelFile:
        if self.file is None:
            raise ConfigError(f"{options} goes with one model; leave -m and --negative-model out")
        return self.file


def open_models(
    model: str | None,
    models: Sequence[str],
    negative_model: str | None,
    *,
    blend_log: bool,
    checkpoints: str,
) -> OpenModels:
    """Open the models that are named.

    Raises:
        ConfigError: they do not go together.
        CheckpointError: there is none, or a file is damaged.
    """
    parts = parse_model_specs(model, models)
    if blend_log and len(parts) < 2:
        raise ConfigError("--blend-log blends models; name two or more by -m, or leave it out")

    def read(name: str | None) -> ModelFile:
        return read_model(find_model(name, Path(checkpoints)))

    files = [read(part.name) for part in parts]
    writer: Generator = Model(files[0])
    if len(parts) > 1:
        weighted = [(Model(file), part.number) for file, part in zip(files, parts, strict=True)]
        writer = blend(weighted, in_log_space=blend_log)
    if negative_model is not None:
        other = parse_negative_model(negative_model)
        writer = with_negative_model(writer, Model(read(other.name)), other.number)
    is_one = len(files) == 1 and negative_model is None
    return OpenModels(writer, parts[0].name or "the newest run", files[0] if is_one else None)


_LARGEST = 1000
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WEIGHT = 1.0
_STRENGTH = 0.5  # what Sanchez et al. 2023 found best on average, their γ = 1.5


class ModelSpec(NamedTuple):
    """A model's name, as `find_model` takes it, and the number that came with it, above 0.

    name: None is the newest run.
    """

    name: str | None
    number: float


def parse_model_specs(model: str | None, texts: Sequence[str]) -> list[ModelSpec]:
    """Give the models to blend, with their weights: MODEL alone, or those given by -m.

    Raises:
        ConfigError: both are given, or a text is no NAME:WEIGHT.
    """
    if not texts:
        return [ModelSpec(model, _WEIGHT)]
    if model is not None:
        raise ConfigError(
            f"MODEL {model!r} and -m {texts[0]!r} both name a model; give each one by -m"
        )
    return [_parse(text, "-m", "weight", _WEIGHT) for text in texts]


def parse_negative_model(text: str) -> ModelSpec:
    """Give the model to guide away from, with the strength.

    Raises:
        ConfigError: it is no NAME:STRENGTH.
    """
    return _parse(text, "--negative-model", "strength", _STRENGTH)


def _parse(text: str, option: str, what: str, usual: float) -> ModelSpec:
    name, colon, digits = text.rpartition(":")
    if not _NUMBER.fullmatch(digits) and (digits or not colon):
        name, digits = text, str(usual)
    number = float(digits or math.nan)
    if not name or not 0 < number <= _LARGEST:
        raise ConfigError(
            f"{option} is {text!r}; write a model's name, a colon and its {what}, "
            f"above 0 and at most {_LARGEST}, such as book:{usual:g}"
        )
    return ModelSpec(name, number)
