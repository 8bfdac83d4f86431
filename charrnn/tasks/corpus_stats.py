"""What is in a text, and what `charrnn train` would make of it: behind `charrnn corpus stats`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from charrnn.analysis.baselines import HELD_OUT_TOKENS, TRAINED_TOKENS, score_baselines, whole_bpc
from charrnn.analysis.statistics import CorpusStats, measure_text
from charrnn.config import TextConfig, TrainConfig
from charrnn.corpora.library import locate_texts
from charrnn.errors import CorpusError
from charrnn.text.corpus import cut_ids, iter_pieces, place_cut
from charrnn.text.files import open_sources
from charrnn.text.reader import count_documents
from charrnn.text.vocab import MAX_ALPHABET, Ids, Vocab
from charrnn.training.plan import Plan, make_plan

_LONGEST_CHARACTER = 4  # tokens: its UTF-8 bytes


@dataclass(frozen=True)
class CorpusSummary:
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


def summarise_corpus(paths: Sequence[str], config: TextConfig) -> CorpusSummary:
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
        tokens = sum(count * len(vocab.encode(char)) for char, count in stats.alphabet)
        place = place_cut(tokens, config.val_fraction)
        left_out, train, val = _read_around(place, pieces(), vocab)
        baselines = score_baselines(train[-TRAINED_TOKENS:], val[:HELD_OUT_TOKENS], vocab)
        compressors = whole_bpc(pieces())
        documents = None if end is None else count_documents(pieces(), end)
    train_tokens = left_out + len(train)
    is_learnable = len(kept) <= MAX_ALPHABET
    plan = _plan_for(vocab.size, train_tokens, tokens - train_tokens) if is_learnable else None
    return CorpusSummary(stats, compressors, baselines, vocab.size, documents, plan)


def _plan_for(vocab_size: int, train_tokens: int, val_tokens: int) -> Plan | None:
    """Give the plan of a text with so many tokens; None where `train` refuses it."""
    plan = make_plan(TrainConfig(), vocab_size, train_tokens)
    has_window = train_tokens > plan.batch_size * plan.seq_len
    return plan if has_window and val_tokens >= 2 else None


def _read_around(place: int, pieces: Iterator[str], vocab: Vocab) -> tuple[int, Ids, Ids]:
    """Cut a text at `place`: give the tokens on either side, no more than baselines look at.

    First comes the number of those that are left out in front of them.
    """
    start = max(0, place - TRAINED_TOKENS)
    stop = place + HELD_OUT_TOKENS + _LONGEST_CHARACTER
    parts, read = [], 0
    for ids in map(vocab.encode, pieces):
        parts.append(ids[max(0, start - read) : max(0, stop - read)].copy())
        read += len(ids)
    return start, *cut_ids(np.concatenate(parts), place - start, vocab)
