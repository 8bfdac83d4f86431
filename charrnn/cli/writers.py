"""The models that a command writes with, opened: one, several as one, and what goes with them.

What few texts need is imported where it is used: a text should begin at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.checkpoint.format import ModelFile, read_model
from charrnn.checkpoint.store import find_model
from charrnn.cli.parts import parse_guide, parse_models
from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.inference.drawing.guide import Guide
from charrnn.inference.drawing.sampler import Start
from charrnn.inference.generator import Model, blend, guide_away
from charrnn.inference.writer import Writer

if TYPE_CHECKING:
    from charrnn.checkpoint.state_file import Owner
    from charrnn.inference.drawing.batch import Engine
    from charrnn.runs.originality import OwnText


@dataclass(frozen=True)
class Bench:
    """What writes. file: of the only model, if it is one. start: where the text goes on from."""

    writer: Writer
    name: str
    file: ModelFile | None
    start: Start | None = None
    chars_read: int = 0
    text: OwnText | None = None

    @property
    def own_text(self) -> OwnText:
        """The text that the model learned from, once `with_own_text` has opened it."""
        assert self.text is not None
        return self.text

    def with_own_text(self) -> Bench:
        """Open the text that the model learned from.

        Raises:
            ConfigError: there are several models.
            CorpusError: it is not where training found it, or is not what it was.
        """
        from charrnn.runs.originality import open_own_text

        file = self._only_file("what tells copies from new text")
        return replace(self, text=open_own_text(self.name, file))

    def guide(self, config: SampleConfig) -> Guide | None:
        """Give what keeps a text from copying, where that is asked for."""
        return None if config.novel is None else self.own_text.novelty(config.novel)

    def engine(self, config: SampleConfig, device: str | None) -> Engine | None:
        """Give what writes on a device, where one is asked for.

        Raises:
            ConfigError: there are several models, or the device or a setting is not to be had.
        """
        if device is None:
            return None
        file = self._only_file("--device")
        from charrnn.runs import many

        return many.Engine(file, config, device)

    def with_state(self, path: str) -> Bench:
        """Go on from a state that was saved.

        Raises:
            ConfigError: there are several models.
            CheckpointError: it is no state, damaged, or another model's.
        """
        from charrnn.checkpoint.state_file import read_state

        saved = read_state(Path(path), self._owner("--load-state"))
        start = Start(saved.layers, saved.last_ids)
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
        from charrnn.checkpoint.state_file import Owner
        from charrnn.inference.coding.packing import digest_of

        file = self._only_file(option)
        return Owner(self.name, digest_of(file), file.config)

    def _only_file(self, options: str) -> ModelFile:
        if self.file is None:
            raise ConfigError(f"{options} goes with one model; leave -m and --guide out")
        return self.file


def open_bench(
    model: str | None,
    models: Sequence[str],
    guide: str | None,
    *,
    blend_log: bool,
    checkpoints: str,
) -> Bench:
    """Open the models that are named.

    Raises:
        ConfigError: they do not go together.
        CheckpointError: there is none, or a file is damaged.
    """
    parts = parse_models(model, models)
    if blend_log and len(parts) < 2:
        raise ConfigError("--blend-log blends models; name two or more by -m, or leave it out")

    def read(name: str | None) -> ModelFile:
        return read_model(find_model(name, Path(checkpoints)))

    files = [read(part.name) for part in parts]
    writer: Writer = Model(files[0])
    if len(parts) > 1:
        weighted = [(Model(file), part.number) for file, part in zip(files, parts, strict=True)]
        writer = blend(weighted, in_log_space=blend_log)
    if guide is not None:
        other = parse_guide(guide)
        writer = guide_away(writer, Model(read(other.name)), other.number)
    is_one = len(files) == 1 and guide is None
    return Bench(writer, parts[0].name or "the newest run", files[0] if is_one else None)
