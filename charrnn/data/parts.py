"""What a corpus is, however it was read: the ids of its parts and what is known of them.

S = tokens, R = records, C = columns of labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from charrnn.data.labels import NO_LABELS, Labels
from charrnn.data.records import Records, Targets
from charrnn.text.vocab import Ids, Vocab


@dataclass(frozen=True)
class Corpus:
    """A text as ids, split into a training part and held-out ones.

    held_out: what `val` and `test` are, in words, such as "the last 10% of the text". split_method:
    how that was chosen: "tail", "blocks" or "records", which as the setting `split` hold out the
    same again; "none", or "file" for a val_file alone. notes: what a person should know of how the
    text was read. record_kind: as TextConfig has it; "" for running text. labels: of the records;
    train_records and the like: where they are, None for running text. In the characters of a part
    the first END does not count. is_utf8: of files read as they are, whether all of it is valid
    UTF-8. sources: the paths that were given, if there are several; val_source_ends: where the text
    of each ends in `val`, in tokens; () where nothing of it is held out, the lines of all are
    shuffled, or there are targets. What has a weight stands in `train` so many times. vocab: a
    TokenVocab where sources are tokens between spaces.
    train_targets and the like: what the records of a part become, in ids of target_vocab, or as the
    numbers of tags, which are the values of the only column of `labels`; None without targets.
    """

    name: str
    sha256: str  # of the bytes that were read
    vocab: Vocab
    train: Ids  # (S,) in the vocabulary's dtype
    val: Ids  # (S,), which chooses the best model
    train_chars: int
    val_chars: int
    held_out: str = ""
    notes: tuple[str, ...] = ()
    test: Ids = field(default_factory=lambda: np.empty(0, np.uint8))  # (S,), which chooses nothing
    test_chars: int = 0
    split_method: str = ""
    record_kind: str = ""
    labels: Labels = NO_LABELS
    train_records: Records | None = None
    val_records: Records | None = None
    test_records: Records | None = None
    is_utf8: bool = False
    sources: tuple[str, ...] = ()
    val_source_ends: tuple[int, ...] = ()
    target_vocab: Vocab | None = None
    train_targets: Targets | None = None
    val_targets: Targets | None = None
    test_targets: Targets | None = None

    @property
    def chars(self) -> int:
        """Characters in all parts."""
        return self.train_chars + self.val_chars + self.test_chars

    @property
    def label_count(self) -> int | None:
        """How many labels its records have, of all columns; None for running text."""
        return len(self.labels) if self.record_kind else None


def no_records(labels: Labels) -> Records:
    """Return the records of an empty part."""
    return Records(np.empty(0, np.int64), np.empty((0, len(labels.columns)), np.int32))


def with_warning(corpus: Corpus) -> Corpus:
    """Return a corpus with a note where it has no text for validation."""
    if len(corpus.val):
        return corpus
    which = " for validation" * bool(len(corpus.test))
    note = f"nothing is held out{which}: nothing stops training early, or tells how good it is"
    return replace(corpus, notes=(*corpus.notes, note))
