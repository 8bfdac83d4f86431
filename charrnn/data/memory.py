"""Texts in memory read as records: what `build` makes of files, without a cache.

R = records, S = tokens, F = texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.data.build import make_vocab
from charrnn.data.label_table import RowFinder
from charrnn.data.labels import Labels
from charrnn.data.records import Block, Found, Records, hash_records, join, read_records
from charrnn.data.survey import Survey
from charrnn.errors import CorpusError
from charrnn.text.graphemes import count_clusters
from charrnn.text.vocab import CODE_POINTS, END, Ids, Vocab, code_points


@dataclass(frozen=True)
class ReadTexts:
    """Records of texts: ids (S,) with an END before all of them, and what goes with those.

    hashes: (R,) of what equal records share. file_ends: (F,) where the records of each text end.
    notes: what was read, in words, then what a person should know of the labels.
    """

    vocab: Vocab
    ids: Ids
    records: Records
    hashes: NDArray[np.uint64]
    file_ends: NDArray[np.int64]
    labels: Labels
    notes: tuple[str, ...]


def vocab_of(text: str, config: TextConfig, known: Vocab | None) -> Vocab:
    """Return the vocabulary of a text, with the tokens of a known one."""
    counted = "" if config.unit == "byte" else text
    seen = np.bincount(code_points(counted), minlength=CODE_POINTS)
    clusters = count_clusters(text) if config.unit == "grapheme" else None
    return make_vocab(seen, config, known, clusters)


def read_texts(
    texts: Sequence[str], config: TextConfig, name: str, known: Vocab | None
) -> ReadTexts:
    """Return the records of texts, which messages call `name` together.

    known: a vocabulary whose tokens are added.

    Raises:
        CorpusError: there are no records, or one cannot be read.
    """
    found = Found()
    whole = Block([], [], [])
    counts = [0]  # of the records up to the end of each text
    for number, text in enumerate(texts):
        for block in read_records(f"text {number}", [text], config, found):
            whole.extend(block)
        counts.append(len(whole.texts))
    if not whole.texts:
        raise CorpusError(f"{name} has no records; give it at least a few hundred characters")
    values = [Counter(filter(None, column)) for column in whole.columns()]
    notes: list[str] = []
    survey = Survey(len(whole.texts), found.matches, values, found)
    labels, understood = survey.describe(config, notes)
    joined = join(whole.texts, config)
    vocab = vocab_of(joined, config, known)
    ids = vocab.encode(END + joined)
    ends = np.flatnonzero(ids == vocab.end)[1:] + 1
    return ReadTexts(
        vocab,
        ids,
        Records(ends, RowFinder(labels).find(whole.labels or [()] * len(ends))),
        np.frombuffer(hash_records(joined, whole.groups), "<u8"),
        np.append(1, ends)[counts],
        labels,
        (f"{name}: {understood}", *notes),
    )
