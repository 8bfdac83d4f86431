"""A model file as a writer and a reader: prompt in, text out, piece by piece; text in, bits out.

`writer.py` writes; several models are joined to one here. What few texts need is imported where it
is used. It knows nothing of terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.config import FillConfig, ModelConfig
from charrnn.generation.generator import Generator
from charrnn.generation.network import Network
from charrnn.generation.scoring import Scores, iter_scores, join_scores
from charrnn.generation.settings import common_text_format, text_format_of

if TYPE_CHECKING:
    from charrnn.generation.infill.fill import Filling


class Model(Generator):
    """A trained model that can write and read; made by `charrnn.load`."""

    def __init__(self, file: ModelFile) -> None:
        self.config: ModelConfig = file.config
        self.summary: dict[str, Any] = file.summary
        self._runtime = Network(file.config, file.weights)
        super().__init__(self._runtime, file.vocab, text_format_of(file.summary))

    @classmethod
    def from_file(cls, path: Path) -> Model:
        """Open a model file.

        Raises:
            CheckpointError: it is missing, damaged or not a model.
        """
        return cls(read_model(path))

    def score(self, text: str) -> Scores:
        """Give what each character of `text`, normalised as the model's own was, costs in bits.

        Raises:
            VocabError: it holds characters that the model does not know.
            DivergedError: what a character costs is not a finite number.
        """
        return join_scores(self.iter_scores([self.form.normalized(text)]))

    def iter_scores(self, pieces: Iterable[str]) -> Iterator[Scores]:
        """Score a text that comes in pieces, already in the normal `form`, block by block.

        Raises:
            VocabError, DivergedError: as `score`.
        """
        return iter_scores(self._runtime, self.vocab, pieces)

    def fill(
        self,
        text: str,
        config: FillConfig | None = None,
        *,
        watch: Callable[[int, int], None] = lambda done, total: None,
        **settings: Any,
    ) -> Filling:
        """Give completions of a text in which _ is an unknown character and * any number of them.

        What follows counts as what stands before; the text begins a line. config, settings: a
        FillConfig, or its fields by keyword. watch: is told how many characters were gone through,
        and how many there are at most.

        Raises:
            ConfigError: nothing is to fill, or a setting is out of range.
            VocabError: the text holds characters that the model does not know.
            DivergedError: what a character costs is not a finite number.
        """
        from charrnn.generation.infill.fill import fill
        from charrnn.generation.infill.pattern import make_pattern

        chosen = replace(config or FillConfig(), **settings)
        pattern = make_pattern(text, chosen, self.vocab, self.form.normalized)
        return fill(self._runtime, self.vocab, pattern, chosen, watch)


def blend(models: Sequence[tuple[Generator, float]], *, in_log_space: bool = False) -> Generator:
    """Make one writer of models by weight; their alphabets may differ.

    Raises:
        ConfigError: they know texts in different normal forms, or have no character in common.
    """
    from charrnn.generation.ensemble import Blend

    parts = [(model.reader, model.vocab, weight) for model, weight in models]
    joined = Blend(parts, in_log_space)
    return Generator(joined, joined.vocab, common_text_format([model.form for model, _ in models]))


def with_negative_model(main: Generator, other: Generator, strength: float) -> Generator:
    """Make a writer of a model that is pushed away from another.

    Raises:
        ConfigError: as `blend`.
    """
    from charrnn.generation.ensemble import NegativeGuidance

    joined = NegativeGuidance((main.reader, main.vocab), (other.reader, other.vocab), strength)
    return Generator(joined, joined.vocab, common_text_format([main.form, other.form]))
