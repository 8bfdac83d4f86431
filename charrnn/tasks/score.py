"""A text scored by a model, line by line: what `charrnn score` calls. numpy alone, never torch.

The text is read twice: first to check it, so that nothing is shown of a text that cannot be scored,
then to score it.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from charrnn.config import COST, TextConfig
from charrnn.config.fields import refuse_escapes
from charrnn.errors import CorpusError, counted
from charrnn.generation.scoring import (
    Line,
    Scores,
    bpc_with_unseen,
    iter_lines,
    utf8_bytes,
    without,
)
from charrnn.metrics import perplexity
from charrnn.tasks.model import Model
from charrnn.text.files import TEXT_GIVEN, Source
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import BadBytes, describe_bad, iter_text, text_options
from charrnn.text.substitutions import Fitted, fit_piece


class ScoredText:
    """A text that a model can read, and its figures once it was scored."""

    def __init__(
        self,
        path: Path,
        text: str | Sequence[Source],
        encoding: str = TextConfig().encoding,
        unknown: str = COST,
        errors: str = TextConfig().errors,
        model_name: str | None = None,
        labels: Sequence[str] = (),
    ) -> None:
        """Open the model at `path` and check the text: a literal one, or files.

        model_name: as it was given; None is that of its run. labels: of the text. encoding,
        errors: of the files, as TextConfig has them. unknown: "cost" scores characters that the
        model never saw; else as for `Generator.fit`.

        Raises:
            CheckpointError: the model file is damaged.
            ConfigError: the encoding is unknown, or a newline is written as a backslash and n.
            CorpusError: the text cannot be read, or has fewer than two characters.
            VocabError: it has characters that the model does not know, and may not.
        """
        self._path = path
        self._model_name = model_name or path.parent.name
        self._model = Model.from_file(path, labels)
        self.given = 1 - self._model.vocab.has_end  # characters that are not predicted
        if isinstance(text, str):
            refuse_escapes("--text", text, self._model.vocab.alphabet)
        self._text = text
        self.notes: list[str] = []  # on how the files were read
        self._sources: list[Source] = []
        form = self._model.text_format
        self._reading = form.reading(encoding, errors, is_binary=self._model.vocab.is_binary)
        if not isinstance(text, str):
            self._sources = inspect_sources(text, self._reading, self.notes.append)
        self._unknown = unknown
        self._bits = 0.0
        self._utf8_bytes = 0
        self._unseen_bits = 0.0
        self._ends = 0  # of records, that no newline shows
        self._end_bits = 0.0
        self._seconds = 0.0
        self._texts = [TEXT_GIVEN] if isinstance(text, str) else [each.name for each in text]
        self.name = ", ".join(self._texts)
        self.chars = 0
        self.unseen_chars = 0
        self.changes: Counter[str] = Counter()
        bad: dict[str, BadBytes] = {}
        for fitted in self._fitted(bad):
            self.chars += len(fitted.text)
            self.unseen_chars += len(self._model.vocab.find_unknown(fitted.text))
            self.changes += fitted.changes
        self.notes += describe_bad(bad, errors)
        known = self.chars - self.unseen_chars
        if known < 1 + self.given:
            few = f"{self.name} has {counted(known, 'character')}"
            few += " that the model knows" * bool(self.unseen_chars)
            needed = "2 are needed, as the first is given" if self.given else "1 is needed"
            raise CorpusError(f"{few}; at least {needed}")

    def lines(self, on_progress: Callable[[int], None] = lambda chars: None) -> Iterator[Line]:
        """Yield the scored lines, once.

        on_progress: called with the number of characters that were scored since its last call.

        Raises:
            CorpusError: the text has changed meanwhile.
            DivergedError: what a character costs is not a finite number.
        """

        def blocks() -> Iterator[Scores]:
            given = self.given  # the first character that the model knows does not count
            for block in self._model.iter_scores(each.text for each in self._fitted()):
                bits = block.known_bits
                end_bits = [each for _, each in block.ends]
                self._bits += float(bits[given:].sum()) + sum(end_bits)
                self._end_bits += sum(end_bits)
                self._ends += len(end_bits)
                self._utf8_bytes += utf8_bytes(without(block.text, block.unseen)[given:])
                self._utf8_bytes += len(end_bits)
                self._unseen_bits += block.unseen_bits
                self._seconds += block.seconds
                given = given if not len(bits) else 0
                yield block
                on_progress(len(block.text) + len(end_bits))  # after its lines were shown

        return iter_lines(blocks())

    def figures(self) -> dict[str, Any]:
        """Return the figures of the whole text; all lines must have been read.

        bits, bpc and perplexity are of the characters that the model knows; the others are counted
        apart. An end of a record counts as a character; ends and end_bits are of those that no
        newline shows.
        """
        chars = self.chars - self.unseen_chars - self.given
        bpc = self._bits / chars
        unseen = (self._unseen_bits, self.unseen_chars)
        return {
            "model": self._model_name,
            "path": str(self._path),
            "texts": self._texts,
            "chars": chars,
            "utf8_bytes": self._utf8_bytes,
            "bits": self._bits,
            "bpc": bpc,
            "bits_per_byte": self._bits / self._utf8_bytes,
            "perplexity": perplexity(bpc * math.log(2)),
            "unseen_chars": self.unseen_chars,
            "unseen_bits": self._unseen_bits,
            "bpc_with_unseen": bpc_with_unseen(self._bits, chars, *unseen),
            "ends": self._ends,
            "end_bits": self._end_bits,
            "mapped": dict(self.changes),
            "chars_per_second": chars / self._seconds,
        }

    def _fitted(self, bad: dict[str, BadBytes] | None = None) -> Iterator[Fitted]:
        """Yield the text in pieces, in the form of the model's own text."""
        vocab = self._model.vocab
        form = self._model.text_format
        options = text_options(self._reading)
        texts: Iterable[Iterable[str]]
        if isinstance(self._text, str):
            texts = [[vocab.spell(form.normalized(self._text))]]
        elif vocab.has_end:  # no record reaches over two files
            texts = (iter_text([source], bad=bad, **options) for source in self._sources)
        else:
            texts = [iter_text(self._sources, bad=bad, **options)]
        pieces = chain.from_iterable(map(form.iter_with_ends, texts))
        return (fit_piece(piece, vocab, self._unknown) for piece in pieces)
