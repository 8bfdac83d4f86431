"""What is in a text, and what `charrnn train` would make of it: behind `charrnn corpus stats`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from charrnn.config import TextConfig, TrainConfig
from charrnn.errors import CorpusError
from charrnn.runs.request import locate_texts
from charrnn.text.compressors import whole_bpc
from charrnn.text.reader import iter_text, open_sources
from charrnn.text.statistics import CorpusStats, measure_text
from charrnn.text.vocab import Vocab
from charrnn.training.budget import Plan, make_plan


@dataclass(frozen=True)
class Survey:
    """A text's figures; plan is what training with default settings would choose."""

    stats: CorpusStats
    compressors_bpc: dict[str, float]
    vocab_size: int
    plan: Plan

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values, the alphabet as an object of counts."""
        stats = asdict(self.stats) | {"alphabet": dict(self.stats.alphabet)}
        others = {"compressors_bpc": self.compressors_bpc, "vocab_size": self.vocab_size}
        return stats | others | {"train_would_choose": asdict(self.plan)}


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
        compressors = whole_bpc(pieces())
    kept = "".join(char for char, count in stats.alphabet if count >= config.min_count)
    vocab_size = Vocab(kept, has_bytes=config.min_count > 1).size
    train_chars = int(stats.characters * (1 - config.val_fraction))
    return Survey(stats, compressors, vocab_size, make_plan(TrainConfig(), vocab_size, train_chars))
