"""What is in a text, and what `charrnn train` would make of it: behind `charrnn corpus stats`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from charrnn.config import TextConfig, TrainConfig
from charrnn.errors import CorpusError
from charrnn.runs.request import locate_texts
from charrnn.text.baselines import HELD_OUT_SYMBOLS, score_baselines
from charrnn.text.compressors import whole_bpc
from charrnn.text.corpus import cut_ids, iter_pieces, place_cut
from charrnn.text.documents import count_documents
from charrnn.text.finding import open_sources
from charrnn.text.ngram import TRAINED_SYMBOLS
from charrnn.text.statistics import CorpusStats, measure_text
from charrnn.text.vocab import MAX_ALPHABET, Ids, Vocab
from charrnn.training.budget import Plan, make_plan

_LONGEST_CHARACTER = 4  # symbols: its UTF-8 bytes


@dataclass(frozen=True)
class Survey:
    """A text's figures.

    documents: how often the text has what ends one; None where that is not said.
    plan: what training with default settings would choose on the machine that its rules were
        measured on; None for a text that is too short for it, or has too large an alphabet.
    compressors_bpc: of the text as a whole. baselines_bpc: of the part that training would hold
        out, given the rest, which is what a model is compared with.
    """

    stats: CorpusStats
    compressors_bpc: dict[str, float]
    baselines_bpc: dict[str, float]
    vocab_size: int
    documents: int | None
    plan: Plan | None

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values, the alphabet as an object of counts."""
        stats = asdict(self.stats) | {"alphabet": dict(self.stats.alphabet)}
        bpc = {"compressors_bpc": self.compressors_bpc, "baselines_bpc": self.baselines_bpc}
        plan = None if self.plan is None else asdict(self.plan)
        sizes = {"vocab_size": self.vocab_size, "documents": self.documents}
        return stats | bpc | sizes | {"train_would_choose": plan}


def survey_text(paths: Sequence[str], config: TextConfig) -> Survey:
    """Measure a text.

    Raises:
        CorpusError: it is missing, empty or undecodable.
    """
    end = config.document_end
    with open_sources(locate_texts(paths)) as sources:

        def pieces() -> Iterator[str]:
            return iter_pieces(sources, config)

        stats = measure_text(pieces())
        if not stats.characters:
            raise CorpusError(f"{sources[0].name} is empty; there is nothing to measure")
        kept = "".join(char for char, count in stats.alphabet if count >= config.min_count)
        vocab = Vocab(kept, has_bytes=config.min_count > 1)
        symbols = sum(count * len(vocab.encode(char)) for char, count in stats.alphabet)
        place = place_cut(symbols, config.val_fraction)
        left_out, train, val = _read_around(place, pieces(), vocab)
        baselines = score_baselines(train[-TRAINED_SYMBOLS:], val[:HELD_OUT_SYMBOLS], vocab)
        compressors = whole_bpc(pieces())
        documents = None if end is None else count_documents(pieces(), end)
    train_symbols = left_out + len(train)
    is_learnable = len(kept) <= MAX_ALPHABET
    plan = _make_plan(vocab.size, train_symbols, symbols - train_symbols) if is_learnable else None
    return Survey(stats, compressors, baselines, vocab.size, documents, plan)


def _make_plan(vocab_size: int, train_symbols: int, val_symbols: int) -> Plan | None:
    """Give the plan of a text with so many symbols; None where `train` refuses it."""
    plan = make_plan(TrainConfig(), vocab_size, train_symbols)
    has_window = train_symbols > plan.batch_size * plan.seq_len
    return plan if has_window and val_symbols >= 2 else None


def _read_around(place: int, pieces: Iterator[str], vocab: Vocab) -> tuple[int, Ids, Ids]:
    """Cut a text at `place`: give the symbols on either side, no more than baselines look at.

    First comes the number of those that are left out in front of them.
    """
    start = max(0, place - TRAINED_SYMBOLS)
    stop = place + HELD_OUT_SYMBOLS + _LONGEST_CHARACTER
    parts, read = [], 0
    for ids in map(vocab.encode, pieces):
        parts.append(ids[max(0, start - read) : max(0, stop - read)].copy())
        read += len(ids)
    return start, *cut_ids(np.concatenate(parts), place - start, vocab)
