"""The text that a model learned from, opened again to tell what it copies from what is its own.

It is the text of the model's own run: of the model that this one started from, if any, nothing is
known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from charrnn.analysis.copies import LEAST_SPAN, Copied, KnownLines, find_copied
from charrnn.analysis.suffix_array import SuffixArray
from charrnn.checkpoint.model_file import ModelFile
from charrnn.generation.constraints.no_copy import NoCopy
from charrnn.tasks.eval_text import NamedModel, open_own_corpus
from charrnn.text.corpus import Corpus

_WAY_OUT = "leave --max-copy, --mark-copies and --skip-known-lines out"


@dataclass(frozen=True)
class OwnText:
    """A model's own text. What is asked of it is prepared the first time, and then kept."""

    corpus: Corpus
    has_val_file: bool

    def novelty(self, novel: int) -> NoCopy:
        """Give the guide that lets no run of more than `novel` tokens be copied, 1 or more."""
        return NoCopy(self._learned, self.corpus.vocab, novel)

    def find_copied(self, text: str, least: int = LEAST_SPAN) -> Copied:
        """Find what of `text` stands in the part that the model learned from.

        Raises:
            VocabError: the text has characters that the model does not know.
        """
        return find_copied(text, self._learned, self.corpus.vocab, least)

    @cached_property
    def lines(self) -> KnownLines:
        """The lines of the text, of the part that was held out too."""
        learned, held_out = map(self.corpus.vocab.decode, (self.corpus.train, self.corpus.val))
        return KnownLines([learned, held_out] if self.has_val_file else [learned + held_out])

    @cached_property
    def _learned(self) -> SuffixArray:
        return SuffixArray(self.corpus.train)


def open_own_text(name: str, file: ModelFile) -> OwnText:
    """Open the text of a model that was asked for as `name`, where training found it.

    Raises:
        CorpusError: it is not known or not kept, cannot be read, or is not what it was.
    """
    model = NamedModel(name, file)
    return OwnText(open_own_corpus(model, _WAY_OUT), model.text.val_file is not None)
