"""What is in a text, and what `charrnn train` would make of it: behind `charrnn corpus stats`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from charrnn.analysis.baselines import HELD_OUT_TOKENS, TRAINED_TOKENS, score_baselines, whole_bpc
from charrnn.analysis.statistics import CorpusStats, measure_text
from charrnn.config import TextConfig, TrainConfig
from charrnn.corpora.library import locate_texts
from charrnn.errors import CorpusError
from charrnn.text.corpus import cut_ids, split_position
from charrnn.text.files import open_sources
from charrnn.text.reader import count_documents, iter_text, text_options
from charrnn.text.vocab import MAX_ALPHABET, Ids, Vocab
from charrnn.training.plan import Plan, make_plan

_MAX_CHAR_TOKENS = 4  # its UTF-8 bytes


@dataclass(frozen=True)
class CorpusSummary:
    """A text's figures.

    compressors_bpc: of the text as a whole. baselines_bpc: of the part that training would hold
    out, given the rest, as a model is scored. documents: how many end in the text; None without a
    document end. plan: what training with default settings would choose; None for a text that it
    refuses, as it is too short or has too large an alphabet.
    """

    stats: CorpusStats
    compressors_bpc: dict[str, float]
    baselines_bpc: dict[str, float]
    vocab_size: int
    documents: int | None
    plan: Plan | None

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, the alphabet as an object of counts."""
        record = asdict(self)
        stats: dict[str, Any] = record.pop("stats") | {"alphabet": dict(self.stats.alphabet)}
        plan = record.pop("plan")
        return stats | record | {"train_would_choose": plan}


def summarise_corpus(paths: Sequence[str], config: TextConfig) -> CorpusSummary:
    """Measure a text.

    Raises:
        CorpusError: it is missing, empty or undecodable.
    """
    end = config.document_end
    with open_sources(locate_texts(paths)) as sources:

        def pieces() -> Iterator[str]:
            return iter_text(sources, **text_options(config))

        stats = measure_text(pieces())
        if not stats.characters:
            raise CorpusError(f"{sources[0].name} is empty; there is nothing to measure")
        # The alphabet with its counts gives the number of tokens without encoding the text.
        kept = "".join(char for char, count in stats.alphabet if count >= config.min_count)
        vocab = Vocab(kept, has_bytes=config.min_count > 1)
        tokens = sum(count * len(vocab.encode(char)) for char, count in stats.alphabet)
        position = split_position(tokens, config.val_fraction)
        left_out, train, val = _read_around(position, pieces(), vocab)
        baselines = score_baselines(train[-TRAINED_TOKENS:], val[:HELD_OUT_TOKENS], vocab)
        compressors = whole_bpc(pieces())
        documents = None if end is None else count_documents(pieces(), end)
    train_tokens = left_out + len(train)  # of the whole text, as training would cut it
    is_small = len(kept) <= MAX_ALPHABET
    plan = make_plan(TrainConfig(), vocab.size, train_tokens) if is_small else None
    # `train` refuses a text without a whole window for every lane, or without two held-out tokens.
    if plan and (train_tokens <= plan.batch_size * plan.seq_len or tokens - train_tokens < 2):
        plan = None
    return CorpusSummary(stats, compressors, baselines, vocab.size, documents, plan)


def _read_around(position: int, pieces: Iterator[str], vocab: Vocab) -> tuple[int, Ids, Ids]:
    """Return how many tokens are left out, then those on either side that baselines look at."""
    start = max(0, position - TRAINED_TOKENS)
    stop = position + HELD_OUT_TOKENS + _MAX_CHAR_TOKENS  # the cut may move to the next character
    parts = []
    read = 0
    for ids in map(vocab.encode, pieces):
        parts.append(ids[max(0, start - read) : max(0, stop - read)].copy())
        read += len(ids)
    return start, *cut_ids(np.concatenate(parts), position - start, vocab)
