"""The text that a model learned from, opened again to find what a sample copies from it.

It is the text of the model's own run, not that of a model that the run may have started from.
"""

from dataclasses import dataclass
from functools import cached_property

from charrnn.analysis.copies import LEAST_SPAN, CopyReport, KnownLines, find_copies
from charrnn.analysis.suffix_array import SuffixArray
from charrnn.checkpoint.model_file import ModelFile
from charrnn.generation.constraints.no_copy import NoCopy
from charrnn.tasks.eval_text import NamedModel, open_own_corpus
from charrnn.text.corpus import Corpus


@dataclass(frozen=True)
class OwnText:
    """A model's own text. What its methods need of it is prepared by the first call, and kept."""

    corpus: Corpus
    has_val_file: bool

    def no_copy(self, max_copy: int) -> NoCopy:
        """Return the constraint that copies no run of more than `max_copy` tokens, 1 or more."""
        return NoCopy(self._learned, self.corpus.vocab, max_copy)

    def find_copies(self, text: str, least: int = LEAST_SPAN) -> CopyReport:
        """Find the spans of `text` that occur in the part that the model learned from.

        Raises:
            VocabError: the text has characters that the model does not know.
        """
        return find_copies(text, self._learned, self.corpus.vocab, least)

    @cached_property
    def lines(self) -> KnownLines:
        """The lines of the text, held-out ones too."""
        corpus = self.corpus
        learned, val, test = map(corpus.vocab.decode, (corpus.train, corpus.val, corpus.test))
        # Training may cut a text inside a line; a --val-file begins a line of its own.
        return KnownLines([learned + test, val] if self.has_val_file else [learned + val + test])

    @cached_property
    def _learned(self) -> SuffixArray:
        return SuffixArray(self.corpus.train)  # not of the held-out part, which is not learned


def open_own_text(name: str, file: ModelFile) -> OwnText:
    """Open the text of the model called `name` in messages, where training found it.

    Raises:
        CorpusError: it is not known or not kept, cannot be read, or has changed.
    """
    model = NamedModel(name, file)
    hint = "leave --max-copy, --mark-copies and --skip-known-lines out"
    return OwnText(open_own_corpus(model, hint), model.text.val_file is not None)
