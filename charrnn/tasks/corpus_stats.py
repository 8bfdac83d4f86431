"""What is in a text, and what `charrnn train` would make of it: behind `charrnn corpus stats`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from charrnn.analysis.baselines import HELD_OUT_TOKENS, TRAINED_TOKENS, score_baselines, whole_bpc
from charrnn.analysis.differences import UnlikeFile, find_unlike
from charrnn.analysis.statistics import CorpusStats, measure_text
from charrnn.config import TextConfig, TrainConfig
from charrnn.corpora.library import locate_texts
from charrnn.data.corpus import open_sources_as_corpus
from charrnn.data.split import hash_segments, line_ends
from charrnn.errors import CorpusError
from charrnn.text.files import Source, open_sources
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import iter_text, text_options
from charrnn.text.vocab import MAX_ALPHABET, Ids, Vocab
from charrnn.training.plan import Plan, make_plan

_TOLD = ("held out: ", "the text has ")  # what other figures tell of the notes of a corpus
_COMPARED_TOKENS = 1 << 22  # of the held-out part, whose lines are looked for in the rest


class ReadFile(NamedTuple):
    """A file of a text. encoding: Python's name of the codec it was read by; None for bytes."""

    name: str
    characters: int
    encoding: str | None


@dataclass(frozen=True)
class CorpusSummary:
    """A text's figures.

    compressors_bpc: of the text as a whole. baselines_bpc: of the part that training would hold
    out for validation, given the training part, as a model is scored. documents: how many end in
    the text; None without a document end. plan: what training with default settings would choose;
    None for a text that it refuses, as it is too short or has too large an alphabet. held_out: what
    it would hold out, in words. known_line_share: of the held-out lines, those that stand in the
    training part too. notes: what was left out, or read by another encoding. files:
    those that were read, in their order.
    """

    stats: CorpusStats
    compressors_bpc: dict[str, float]
    baselines_bpc: dict[str, float]
    vocab_size: int
    documents: int | None
    plan: Plan | None
    held_out: str = ""
    known_line_share: float = 0.0
    unlike_files: tuple[UnlikeFile, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[ReadFile, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, the alphabet as an object of counts."""
        record = asdict(self)
        stats: dict[str, Any] = record.pop("stats") | {"alphabet": dict(self.stats.alphabet)}
        record["unlike_files"] = [each._asdict() for each in self.unlike_files]
        record["files"] = [each._asdict() for each in self.files]
        plan = record.pop("plan")
        return stats | record | {"train_would_choose": plan}


def summarise_corpus(paths: Sequence[str], config: TextConfig) -> CorpusSummary:
    """Measure a text.

    Raises:
        CorpusError: it is missing, empty or undecodable.
    """
    with open_sources(locate_texts(paths)) as found:
        sources = inspect_sources(found, config)

        def pieces(
            some: Sequence[Source] = sources, ends: list[int] | None = None
        ) -> Iterator[str]:
            return iter_text(some, ends=ends, **text_options(config))

        ends = [0]  # of the files, in characters
        stats = measure_text(pieces(ends=ends))
        sizes = [after - before for before, after in pairwise(ends)]
        files = tuple(
            ReadFile(source.name, size, source.codec)
            for source, size in zip(sources, sizes, strict=True)
        )
        if not stats.characters:
            raise CorpusError(f"{sources[0].name} is empty; there is nothing to measure")
        kept = sum(count >= config.min_count for _, count in stats.alphabet)
        is_small = kept <= MAX_ALPHABET
        # All of the text is read here, so all built ids are verified too.
        corpus = None
        if is_small:
            corpus = open_sources_as_corpus(found, config, is_verified=True)
        compressors = whole_bpc(pieces())
        documents = None
        is_text = config.unit != "byte"
        unlike = find_unlike([(each.name, pieces([each])) for each in sources if is_text])
    if corpus is None:
        return CorpusSummary(
            stats,
            compressors,
            {},
            kept + 256 * (config.min_count > 1),
            documents,
            plan=None,
            files=files,
        )
    train = corpus.train
    val = corpus.val
    vocab = corpus.vocab
    plan = make_plan(TrainConfig(), vocab.size, len(train))
    # `train` refuses a text without a whole window for every lane, or without two held-out tokens.
    is_long = len(train) > plan.batch_size * plan.seq_len
    is_refused = not is_long or (len(val) < 2 and config.val_fraction > 0)
    return CorpusSummary(
        stats=stats,
        compressors_bpc=compressors,
        baselines_bpc=score_baselines(train[-TRAINED_TOKENS:], val[:HELD_OUT_TOKENS], vocab),
        vocab_size=vocab.size,
        documents=documents,
        plan=None if is_refused else plan,
        held_out=corpus.held_out,
        known_line_share=_known_line_share(train, [val, corpus.test], vocab),
        unlike_files=tuple(unlike),
        # What is held out and what is wrong with the encoding have figures of their own.
        notes=tuple(note for note in corpus.notes if not note.startswith(_TOLD)),
        files=files,
    )


def _known_line_share(train: Ids, held_out_parts: Sequence[Ids], vocab: Vocab) -> float:
    """Return how many of the held-out lines stand in the training part too."""
    hashes = []
    for ids in (train, np.concatenate([part[:_COMPARED_TOKENS] for part in held_out_parts])):
        ends = line_ends(ids, vocab)
        is_filled = np.diff(ends, prepend=0) > 1  # not only a newline
        hashes.append(hash_segments(ids, vocab, ends)[is_filled])
    learned, held_out = hashes
    return float(np.isin(held_out, learned).mean()) if len(held_out) else 0.0
