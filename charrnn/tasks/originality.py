"""The text that a model learned from, opened again to find what a sample copies from it.

It is the text of the model's own run, not that of a model that the run may have started from.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

from charrnn.analysis.copies import LEAST_SPAN, CopyReport, KnownLines, Span, find_copies
from charrnn.analysis.suffix_array import SuffixArray
from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import TextConfig
from charrnn.corpora.library import locate_texts
from charrnn.data.corpus import Corpus
from charrnn.generation.constraints.no_copy import NoCopy
from charrnn.generation.text_format import TextFormat
from charrnn.tasks.eval_text import NamedModel, open_own_corpus
from charrnn.text.files import open_sources
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import iter_text, text_options
from charrnn.text.vocab import END, Vocab


@dataclass(frozen=True)
class OwnText:
    """A model's own text. What its methods need of it is prepared by the first call, and kept.

    paths: of its files. config: how they are read.
    """

    corpus: Corpus
    paths: tuple[str, ...]
    config: TextConfig

    def no_copy(self, max_copy: int) -> NoCopy:
        """Return the constraint that copies no run of more than `max_copy` tokens, 1 or more."""
        return NoCopy(self._learned, self.corpus.vocab, max_copy)

    def find_copies(self, text: str, least: int = LEAST_SPAN) -> CopyReport:
        """Find the spans of `text` that occur in the part that the model learned from.

        Raises:
            CorpusError: a file cannot be read any more.
            VocabError: the text has characters that the model does not know.
        """
        found = self._find_copies(text, least)
        place = self._find_in_files(found.longest) if found.spans else None
        return found if place is None else replace(found, file=place[0], line=place[1])

    def _find_copies(self, text: str, least: int) -> CopyReport:
        """Find copies of a text in which newlines, or marks, stand between records."""
        form = TextFormat(
            document_end=self.config.document_end, record_kind=self.corpus.record_kind
        )
        shown = form.separator
        if form.mark is None or shown is None or shown not in text:
            return find_copies(text, *self._in_characters, least)
        found = find_copies(text.replace(shown, END), *self._in_characters, least)
        # Where each character, and the end of the text, stands in the text with its separators.
        sizes = [len(shown) if char == END else 1 for char in found.text]
        places = [0, *accumulate(sizes)]
        spans = tuple(Span(places[start], places[stop]) for start, stop in found.spans)
        return replace(found, text=text, spans=spans, longest=form.without_ends(found.longest))

    @cached_property
    def lines(self) -> KnownLines:
        """The lines of the text, held-out ones too."""
        corpus = self.corpus
        parts = map(corpus.vocab.decode, (corpus.train, corpus.val, corpus.test))
        learned, val, test = (part.replace(END, "\n") for part in parts)
        if corpus.split_method != "tail" or corpus.record_kind:
            return KnownLines([learned, val, test])
        # A tail may begin inside a line; a --val-file begins a line of its own.
        has_val_file = self.config.val_file is not None
        return KnownLines([learned + test, val] if has_val_file else [learned + val + test])

    @cached_property
    def records(self) -> frozenset[str]:
        """The records of the text, held-out ones too."""
        corpus = self.corpus
        parts = map(corpus.vocab.decode, (corpus.train, corpus.val, corpus.test))
        return frozenset(record for part in parts for record in part.split(END) if record)

    def _find_in_files(self, copy: str) -> tuple[str, int] | None:
        """Return the first file that has `copy`, held out there or not, and the line, from 1.

        None where it begins in one file and ends in the next, or crosses a part that is held out.
        """
        with open_sources(locate_texts(self.paths), has_weights=True) as found:
            for source in inspect_sources(found, self.config):
                text = "".join(iter_text([source], **text_options(self.config)))
                if (position := text.find(copy)) >= 0:
                    return source.name, 1 + text.count("\n", 0, position)
        return None

    @cached_property
    def _learned(self) -> SuffixArray:
        return SuffixArray(self.corpus.train)  # not of the held-out part, which is not learned

    @cached_property
    def _in_characters(self) -> tuple[SuffixArray, Vocab]:
        """What the model learned from in ids that are no clusters, and their vocabulary."""
        vocab = self.corpus.vocab
        if not vocab.clusters:
            return self._learned, vocab
        plain = replace(vocab, clusters=())
        return SuffixArray(plain.encode(vocab.decode(self.corpus.train))), plain


def open_own_text(name: str, file: ModelFile) -> OwnText:
    """Open the text of the model called `name` in messages, where training found it.

    Raises:
        CorpusError: it is not known or not kept, cannot be read, or has changed.
    """
    model = NamedModel(name, file)
    hint = "leave --max-copy, --mark-copies and --skip-known-lines out"
    return OwnText(open_own_corpus(model, hint), tuple(model.corpus["paths"]), model.text)
