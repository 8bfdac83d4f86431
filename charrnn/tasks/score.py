"""A text scored by a model, line by line: what `charrnn score` calls. numpy alone, never torch.

The text is read twice: first decoded and encoded, so that nothing is shown of a text that cannot be
scored, then scored.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.generation.model import Model
from charrnn.generation.scoring import Line, Scores, iter_lines
from charrnn.metrics import perplexity
from charrnn.text.files import Source
from charrnn.text.reader import iter_text
from charrnn.wording import counted

TEXT_GIVEN = "text given"  # what a literal text is called in results


class ScoredText:
    """A text that a model can read, and its figures once it was scored."""

    def __init__(
        self, path: Path, text: str | Sequence[Source], encoding: str = TextConfig().encoding
    ) -> None:
        """Open the model at `path` and check the text: a literal one, or files.

        Raises:
            CheckpointError: the model file is damaged.
            ConfigError: the encoding is unknown.
            CorpusError: the text cannot be read, or has fewer than two characters.
            VocabError: it has characters that the model does not know.
        """
        self._path = path
        self._model = Model.from_file(path)
        self._text = text
        self._encoding = encoding
        self._bits = 0.0
        self._seconds = 0.0
        self.name = TEXT_GIVEN if isinstance(text, str) else ", ".join(each.name for each in text)
        self.chars = 0
        for piece in self._pieces():
            self._model.vocab.encode(piece)  # only for its VocabError
            self.chars += len(piece)
        if self.chars < 2:
            few = f"{self.name} has {counted(self.chars, 'character')}"
            raise CorpusError(f"{few}; at least 2 are needed, as the first is given")

    def lines(self, on_progress: Callable[[int], None] = lambda chars: None) -> Iterator[Line]:
        """Yield the scored lines, once.

        on_progress: called with the number of characters that were scored since its last call.

        Raises:
            CorpusError: the text has changed meanwhile.
            DivergedError: what a character costs is not a finite number.
        """

        def blocks() -> Iterator[Scores]:
            given = 1  # the first character of the text is given, and does not count
            for block in self._model.iter_scores(self._pieces()):
                self._bits += float(block.bits[given:].sum())
                self._seconds += block.seconds
                given = 0
                yield block
                on_progress(len(block.text))  # after its lines were shown

        return iter_lines(blocks())

    def figures(self) -> dict[str, Any]:
        """Return the figures of the whole text; all lines must have been read."""
        chars = self.chars - 1
        bpc = self._bits / chars
        return {
            "model": str(self._path),
            "text": self.name,
            "chars": chars,
            "bits": self._bits,
            "bpc": bpc,
            "perplexity": perplexity(bpc * math.log(2)),
            "chars_per_second": chars / self._seconds,
        }

    def _pieces(self) -> Iterator[str]:
        form = self._model.text_format  # that of the model's own text
        if isinstance(self._text, str):
            return iter([form.normalized(self._text)])
        return iter_text(self._text, encoding=self._encoding, normalize=form.normalize)
