"""A model file reads a text: what `charrnn score` calls. numpy alone, never torch.

The text is gone through twice: first decoded and looked up, so that nothing is shown of one that
cannot be scored, then scored line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from charrnn.errors import CorpusError
from charrnn.generation.model import Model
from charrnn.generation.scoring import Line, Scores, ScoreTotals, iter_lines
from charrnn.text.files import Source
from charrnn.text.reader import iter_text


class ScoredText:
    """A text that a model can read, and its figures once it has."""

    def __init__(self, path: Path, sources: Sequence[Source], encoding: str) -> None:
        """Open the model at `path` and look through the text.

        Raises:
            CheckpointError: the model file is damaged.
            ConfigError: the encoding is unknown.
            CorpusError: the text cannot be read, or has fewer than two characters.
            VocabError: it has characters that the model does not know.
        """
        self._model, self._tally = Model.from_file(path), ScoreTotals()
        self._path, self._sources, self._encoding = path, sources, encoding
        self.name = ", ".join(source.name for source in sources)
        self.chars = self._count()

    def lines(self, watch: Callable[[int], None] = lambda _: None) -> Iterator[Line]:
        """Yield the lines as they are read, once; `watch` is told how many more characters were.

        Raises:
            CorpusError: the text has changed meanwhile.
            DivergedError: what a character costs is not a finite number.
        """
        blocks = self._tally.count(self._model.iter_scores(self._pieces()))
        return iter_lines(_watched(blocks, watch))

    def figures(self) -> dict[str, Any]:
        """Give the figures of the whole; all lines must have been read."""
        return {
            "model": str(self._path),
            "text": self.name,
            "chars": self._tally.chars,
            "bits": self._tally.bits,
            "bpc": self._tally.bpc,
            "perplexity": self._tally.perplexity,
            "chars_per_second": self._tally.chars_per_second,
        }

    def _pieces(self) -> Iterator[str]:
        how = {"encoding": self._encoding, "normalize": self._model.form.normalize}
        return iter_text(self._sources, **how)

    def _count(self) -> int:
        chars = 0
        for piece in self._pieces():
            self._model.vocab.encode(piece)
            chars += len(piece)
        if chars < 2:
            raise CorpusError(
                f"{self.name} has {chars} characters; at least 2 are needed, as the first is given"
            )
        return chars


def _watched(blocks: Iterable[Scores], watch: Callable[[int], None]) -> Iterator[Scores]:
    for block in blocks:
        yield block
        watch(len(block.text))
