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
from charrnn.text.ngram import TRAINED_SYMBOLS
from charrnn.text.reader import iter_text, open_sources
from charrnn.text.statistics import CorpusStats, measure_text
from charrnn.text.vocab import Ids, Vocab
from charrnn.training.budget import Plan, make_plan


@dataclass(frozen=True)
class Survey:
    """A text's figures; plan is what training with default settings would choose.

    compressors_bpc: of the text as a whole. baselines_bpc: of the part that training would hold
        out, given the rest, which is what a model is compared with.
    """

    stats: CorpusStats
    compressors_bpc: dict[str, float]
    baselines_bpc: dict[str, float]
    vocab_size: int
    plan: Plan

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values, the alphabet as an object of counts."""
        stats = asdict(self.stats) | {"alphabet": dict(self.stats.alphabet)}
        bpc = {"compressors_bpc": self.compressors_bpc, "baselines_bpc": self.baselines_bpc}
        plan = {"vocab_size": self.vocab_size, "train_would_choose": asdict(self.plan)}
        return stats | bpc | plan


def survey_text(paths: Sequence[str], config: TextConfig) -> Survey:
    """Measure a text.

    Raises:
        CorpusError: it is missing, empty or undecodable.
    """
    with open_sources(locate_texts(paths)) as sources:

        def pieces() -> Iterator[str]:
            return iter_text(sources, encoding=config.encoding, normalize=config.normalize)

        stats = measure_text(pieces())
        if not stats.characters:
            raise CorpusError(f"{sources[0].name} is empty; there is nothing to measure")
        kept = "".join(char for char, count in stats.alphabet if count >= config.min_count)
        vocab = Vocab(kept, has_bytes=config.min_count > 1)
        symbols = sum(count * len(vocab.encode(char)) for char, count in stats.alphabet)
        cut = int(symbols * (1 - config.val_fraction))
        baselines = score_baselines(*_read_around(cut, pieces(), vocab), vocab)
        compressors = whole_bpc(pieces())
    plan = make_plan(TrainConfig(), vocab.size, int(stats.characters * (1 - config.val_fraction)))
    return Survey(stats, compressors, baselines, vocab.size, plan)


def _read_around(cut: int, pieces: Iterator[str], vocab: Vocab) -> tuple[Ids, Ids]:
    """Give the symbols before and after `cut` of a text, no more of them than baselines look at."""
    start, stop = max(0, cut - TRAINED_SYMBOLS), cut + HELD_OUT_SYMBOLS
    parts, place = [], 0
    for ids in map(vocab.encode, pieces):
        parts.append(ids[max(0, start - place) : max(0, stop - place)].copy())
        place += len(ids)
    ids = np.concatenate(parts)
    return ids[: cut - start], ids[cut - start :]
