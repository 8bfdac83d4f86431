"""Open the models that write: one, several blended, or one pushed away from another.

`charrnn.open_models` and `charrnn sample` call this. What belongs to one model file is here too: a
saved state, its own text, a device. What few texts need is imported where it is used, so that a
text begins at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.checkpoint.model_file import ModelFile, model_digest, read_model
from charrnn.checkpoint.run_store import find_model
from charrnn.config import RunConfig, SampleConfig, check_type
from charrnn.config.fields import plain
from charrnn.errors import ConfigError, located
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.ensemble import MAX_WEIGHT
from charrnn.generation.generator import Generator
from charrnn.generation.labels import AskedLabels, list_labels, with_labels
from charrnn.generation.sampler import Context
from charrnn.tasks.model import Model, blend, with_label_strength, with_negative_model
from charrnn.text.vocab import END

if TYPE_CHECKING:
    from charrnn.checkpoint.state_file import Owner
    from charrnn.generation.gpu import GpuBackend
    from charrnn.tasks.originality import OwnText

_DEFAULT_WEIGHT = 1.0
_DEFAULT_STRENGTH = 0.5  # γ = 1.5, the best on average in Sanchez et al. 2023
# As a person writes a number; float() would take "nan", "1_0" and "٣" too, which may be names.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class OpenModels:
    """One generator, made of one model or several, and where its text begins.

    name: of the first model, as it was asked for. file: with its labels fixed; None for several
    models. start: the saved context that the text continues, after `chars_read` characters.
    labels: of the texts, as they were asked for. source: the file of the only model, as it was read
    and with all its labels; None for several models.
    """

    generator: Generator
    name: str
    file: ModelFile | None
    start: Context | None = None
    chars_read: int = 0
    labels: tuple[str, ...] = ()
    source: ModelFile | None = field(default=None, repr=False)

    @cached_property
    def own_text(self) -> OwnText:
        """The text that the model was trained on, opened at the first use.

        Raises:
            ConfigError: there are several models.
            CorpusError: the text is not where training found it, or has changed.
        """
        from charrnn.tasks.originality import open_own_text

        return open_own_text(self.name, self.one_file("what tells copies from new text"))

    def make_constraint(self, config: SampleConfig) -> Constraint | None:
        """Return the constraint that limits copying; None without `config.max_copy`."""
        return None if config.max_copy is None else self.own_text.no_copy(config.max_copy)

    def make_backend(self, config: SampleConfig, device: str | None) -> GpuBackend | None:
        """Return a sampler on a torch device, "cpu" or "cuda"; None without a device.

        Raises:
            ConfigError: there are several models, or the device or a setting is not available.
        """
        if device is None:
            return None
        file = self.one_file("--device")
        from charrnn.generation import gpu  # loads torch, so after the check

        return gpu.GpuBackend(file, config, device)

    def with_labels(self, labels: AskedLabels, label_strength: float = 1.0) -> OpenModels:
        """Return the same model for texts with other labels.

        Raises:
            ConfigError: there are several models, or the model has no such label.
        """
        if self.source is None:
            raise ConfigError("labels can be chosen for one model alone; it is a blend of several")
        asked = list_labels(labels)
        self.source.labels.mixture(asked)  # refuses those that it has not
        generator = with_label_strength(self.source, asked, label_strength)
        file = with_labels(self.source, asked) if label_strength == 1 else None
        return replace(self, generator=generator, file=file, labels=tuple(asked))

    def with_state(self, path: str | Path) -> OpenModels:
        """Return the same models, whose text continues from a saved state.

        Raises:
            ConfigError: there are several models.
            CheckpointError: the file is not a state, is damaged, or belongs to another model.
        """
        from charrnn.checkpoint.state_file import read_state

        saved = read_state(Path(path), self._owner("--load-state"))
        start = Context(saved.layers, saved.last_ids)
        return replace(self, start=start, chars_read=saved.chars_read)

    def save_state(self, path: str | Path, prompt: str, text: str, config: SampleConfig) -> None:
        """Save the state after `prompt` and the `text` that was sampled after it.

        Raises:
            ConfigError: there are several models.
            StorageError: the file cannot be written.
        """
        from charrnn.checkpoint.state_file import SavedState, write_state

        owner = self._owner("--save-state")
        form = self.generator.text_format
        if config.documents and form.separator and form.mark is None:
            text = text.replace(form.separator, END)
        # A text without a prompt was sampled after the opening, so that belongs to its state.
        opening = "" if prompt or self.start else self.generator.opening(config)
        whole = opening + prompt + text
        end = self.generator.read(whole, self.start)
        saved = SavedState(end.state, end.prompt, self.chars_read + len(whole))
        write_state(Path(path), saved, owner)

    def _owner(self, option: str) -> Owner:
        """Return what ties a saved state to this model."""
        from charrnn.checkpoint.state_file import Owner

        file = self.one_file(option)
        return Owner(self.name, model_digest(file), file.config)

    def one_file(self, option: str) -> ModelFile:
        """Return the file of the only model, which `option` needs.

        Raises:
            ConfigError: there are several models.
        """
        if self.file is None:
            raise ConfigError(
                f"{option} works with one model; leave -m and --negative-model out, and "
                "--label-strength"
            )
        return self.file


def open_models(
    model: str | None = None,
    models: Sequence[str] = (),
    negative_model: str | None = None,
    *,
    blend_log: bool = False,
    labels: AskedLabels = (),
    label_strength: float = 1.0,
    checkpoints: str | Path | None = None,
) -> OpenModels:
    """Open one model, or several as one.

    model: a run's name, its folder or a model file; None is the newest run. models: to blend
    instead, each as "NAME" or "NAME:WEIGHT". negative_model: "NAME" or "NAME:STRENGTH".
    blend_log: blend log-probabilities, not probabilities. labels: of the texts, each as
    "COLUMN=VALUE:WEIGHT" or as {"COLUMN": "VALUE"}, in each model but a negative one;
    label_strength: above 1 they count more than in training.

    Raises:
        ConfigError: the names or the models do not go together.
        CheckpointError: a model is missing or damaged.
    """
    check_type("models", models, list | tuple, "a list of names")
    model, negative_model, *models = map(plain, (model, negative_model, *models))  # paths too
    for name in (model, negative_model, *models):
        check_type("a model", name, str | None, "its name")
    if models and model is not None:
        raise ConfigError(
            f"MODEL {model!r} and -m {models[0]!r} both name a model; give each one by -m"
        )
    names: Sequence[str | None] = [model]
    weights: Sequence[float] = [_DEFAULT_WEIGHT]
    if models:
        names, weights = zip(*map(parse_model_spec, models), strict=True)
    if blend_log and len(models) < 2:
        raise ConfigError("--blend-log blends models; name two or more by -m, or leave it out")
    check_type("checkpoints", checkpoints, str | Path | None, "the path of a folder")
    folder = Path(RunConfig().checkpoints if checkpoints is None else checkpoints)
    files = [read_model(find_model(name, folder)) for name in names]
    check_type("label_strength", label_strength, int | float, "a number")
    asked = list_labels(labels)
    opened = []
    for name, each in zip(names, files, strict=True):
        with located(str(name) if len(files) > 1 else ""):
            each.labels.mixture(asked)  # refuses those that it has not
        opened.append(with_label_strength(each, asked, label_strength))
    generator = opened[0]
    if len(files) > 1:
        parts = list(zip(opened, weights, strict=True))
        # Weights are relative: of a model alone the weight means nothing.
        generator = blend(parts, in_log_space=blend_log)
    if negative_model is not None:
        name, strength = parse_model_spec(negative_model, is_negative=True)
        negative = Model(read_model(find_model(name, folder)))
        generator = with_negative_model(generator, negative, strength)
    is_one = len(files) == 1 and negative_model is None and label_strength == 1
    file = with_labels(files[0], asked) if is_one else None
    source = files[0] if len(files) == 1 and negative_model is None else None
    name = names[0] or "the newest run"
    return OpenModels(generator, name, file, labels=tuple(asked), source=source)


def parse_model_spec(text: str, *, is_negative: bool = False) -> tuple[str, float]:
    """Return the name and the weight in "NAME:WEIGHT", or the strength of a negative model.

    >>> parse_model_spec("book:0.7"), parse_model_spec("C:/book")
    (('book', 0.7), ('C:/book', 1.0))

    Raises:
        ConfigError: there is no name, or the number is out of range.
    """
    name, colon, digits = text.rpartition(":")
    default = _DEFAULT_STRENGTH if is_negative else _DEFAULT_WEIGHT
    # "C:/book" and "draft:two" are names; "book:" has lost its number and is refused below.
    if not _NUMBER.fullmatch(digits) and (digits or not colon):
        name = text
        digits = str(default)
    number = float(digits or math.nan)  # nan is in no range
    if not name or not 0 < number <= MAX_WEIGHT:
        option = "--negative-model" if is_negative else "-m"
        raise ConfigError(
            f"{option} is {text!r}; write a model's name, a colon and its "
            f"{'strength' if is_negative else 'weight'}, above 0 and at most {MAX_WEIGHT}, "
            f"such as book:{default:g}"
        )
    return name, number
