"""A model file as a writer and a reader: prompt in, text out, piece by piece; text in, bits out.

`writer.py` writes; several models are joined to one here. What few texts need is imported where it
is used. It knows nothing of terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.checkpoint.format import ModelFile, read_model
from charrnn.config import FillConfig, ModelConfig
from charrnn.inference.form import common_form, form_of
from charrnn.inference.network.runtime import Runtime
from charrnn.inference.scoring import Scores, iter_scores, join_scores
from charrnn.inference.writer import Writer

if TYPE_CHECKING:
    from charrnn.inference.search.fill import Filling


class Model(Writer):
    """A trained model that can write and read; made by `charrnn.load`."""

    def __init__(self, file: ModelFile) -> None:
        self.config: ModelConfig = file.config
        self.summary: dict[str, Any] = file.summary
        self._runtime = Runtime(file.config, file.weights)
        super().__init__(self._runtime, file.vocab, form_of(file.summary))

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
        from charrnn.inference.search.fill import fill
        from charrnn.inference.search.pattern import make_pattern

        chosen = replace(config or FillConfig(), **settings)
        pattern = make_pattern(text, chosen, self.vocab, self.form.normalized)
        return fill(self._runtime, self.vocab, pattern, chosen, watch)


def blend(models: Sequence[tuple[Writer, float]], *, in_log_space: bool = False) -> Writer:
    """Make one writer of models by weight; their alphabets may differ.

    Raises:
        ConfigError: they know texts in different normal forms, or have no character in common.
    """
    from charrnn.inference.network.blend import Blend

    parts = [(model.reader, model.vocab, weight) for model, weight in models]
    joined = Blend(parts, in_log_space)
    return Writer(joined, joined.vocab, common_form([model.form for model, _ in models]))


def guide_away(main: Writer, other: Writer, strength: float) -> Writer:
    """Make a writer of a model that is pushed away from another.

    Raises:
        ConfigError: as `blend`.
    """
    from charrnn.inference.network.blend import Guided

    joined = Guided((main.reader, main.vocab), (other.reader, other.vocab), strength)
    return Writer(joined, joined.vocab, common_form([main.form, other.form]))
