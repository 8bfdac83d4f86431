"""What is in a text, and what `charrnn train` would make of it: behind `charrnn corpus stats`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from charrnn.analysis.baselines import HELD_OUT_TOKENS, TRAINED_TOKENS, score_baselines, whole_bpc
from charrnn.analysis.differences import UnlikeFile, find_unlike
from charrnn.analysis.record_stats import RecordMeter, RecordStats
from charrnn.analysis.statistics import CorpusStats, measure_text
from charrnn.config import TextConfig, TrainConfig
from charrnn.corpora.library import locate_texts
from charrnn.data.corpus import open_sources_as_corpus
from charrnn.data.draw import hash_segments
from charrnn.data.labels import NO_LABELS
from charrnn.data.lists import choose_lines, read_head
from charrnn.data.records import Found, iter_records, join
from charrnn.data.split import line_ends
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.files import Source, open_sources
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import iter_text, text_options
from charrnn.text.vocab import END, MAX_ALPHABET, Ids, Vocab
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
    out for validation, given the training part, as a model is scored. records: of a text that is
    read as records, whose ends the other figures take for newlines. plan: what training with
    default settings would choose; None for a text that it refuses, as it is too short or has too
    large an alphabet. held_out: what it would hold out, in words. known_line_share: of the held-out
    lines or records, those that stand in the training part too. notes: what was read, left out, or
    read by another encoding. files: those that were read, in their order.
    """

    stats: CorpusStats
    compressors_bpc: dict[str, float]
    baselines_bpc: dict[str, float]
    vocab_size: int
    records: RecordStats | None
    plan: Plan | None
    held_out: str = ""
    known_line_share: float = 0.0
    unlike_files: tuple[UnlikeFile, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[ReadFile, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, the alphabet as an object of counts."""
        record = asdict(self)
        record["records"] = self.records and self.records.as_json()
        stats: dict[str, Any] = record.pop("stats") | {"alphabet": dict(self.stats.alphabet)}
        record["unlike_files"] = [each._asdict() for each in self.unlike_files]
        record["files"] = [each._asdict() for each in self.files]
        plan = record.pop("plan")
        return stats | record | {"train_would_choose": plan}


def summarise_corpus(paths: Sequence[str], config: TextConfig) -> CorpusSummary:
    """Measure a text.

    Raises:
        ConfigError: the settings make pairs or tags of it.
        CorpusError: it is missing, empty or undecodable.
    """
    _refuse_task(config)
    with open_sources(locate_texts(paths), has_weights=True) as found:
        sources = inspect_sources(found, config)
        config, _ = choose_lines(config, read_head(sources, config))

        def pieces(
            some: Sequence[Source] = sources, meter: RecordMeter | None = None
        ) -> Iterator[str]:
            return _iter_pieces(some, config, meter)

        sizes: list[int] = []
        meter = RecordMeter()
        stats = measure_text(_sized(sources, config, meter, sizes))
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
        is_text = config.unit != "byte"
        unlike = find_unlike([(each.name, pieces([each])) for each in sources if is_text])
    records = None
    if config.record_kind is not None:
        records = meter.stats(config.record_kind, NO_LABELS if corpus is None else corpus.labels)
    if corpus is None:
        return CorpusSummary(
            stats,
            compressors,
            {},
            kept + 256 * (config.min_count > 1),
            records,
            plan=None,
            files=files,
        )
    train = corpus.train
    val = corpus.val
    vocab = corpus.vocab
    plan = make_plan(
        TrainConfig(),
        vocab.size,
        len(train),
        label_count=corpus.label_count,
        record_count=len(corpus.train_records or ()),
    )
    # `train` refuses a text without a whole window for every lane, or without two held-out tokens.
    is_long = len(train) > plan.batch_size * plan.seq_len
    is_refused = not is_long or (len(val) < 2 and config.val_fraction > 0)
    return CorpusSummary(
        stats=stats,
        compressors_bpc=compressors,
        baselines_bpc=score_baselines(train[-TRAINED_TOKENS:], val[:HELD_OUT_TOKENS], vocab),
        vocab_size=vocab.size,
        records=records,
        plan=None if is_refused else plan,
        held_out=corpus.held_out,
        known_line_share=_known_line_share(train, [val, corpus.test], vocab),
        unlike_files=tuple(unlike),
        # What is held out and what is wrong with the encoding have figures of their own.
        notes=tuple(note for note in corpus.notes if not note.startswith(_TOLD)),
        files=files,
    )


def _refuse_task(config: TextConfig) -> None:
    """Refuse settings of pairs and of tags."""
    names = ("pairs", "target_file", "tags", "restore")
    given = [name for name in names if getattr(config, name) not in (None, False)]
    if given:
        flag = "--" + given[0].replace("_", "-")
        nouns = "pairs" if config.task == "seq2seq" else "tags"
        raise ConfigError(
            f"corpus stats measures a text, and {flag} makes {nouns} of it; leave {flag} out to "
            f"measure the characters of the files, and charrnn train with {flag} says what the "
            f"{nouns} are before it trains"
        )


def _iter_pieces(
    sources: Sequence[Source], config: TextConfig, meter: RecordMeter | None = None
) -> Iterator[str]:
    """Yield the text of sources, with a newline after each record; meter: takes the records."""
    if config.record_kind is None:
        yield from iter_text(sources, **text_options(config))
        return
    for block in iter_records(sources, config, Found(), {}):
        text = join(block.texts, config)
        if meter is not None:
            meter.add(text.split(END)[:-1])
        yield text.replace(END, "\n")


def _sized(
    sources: Sequence[Source], config: TextConfig, meter: RecordMeter, sizes: list[int]
) -> Iterator[str]:
    """Yield as `_iter_pieces` does, and append the characters of each source to `sizes`."""
    if config.record_kind is None:
        ends = [0]
        yield from iter_text(sources, ends=ends, **text_options(config))
        sizes += np.diff(ends).tolist()
        return
    for source in sources:
        size = 0
        for piece in _iter_pieces([source], config, meter):
            size += len(piece)
            yield piece
        sizes.append(size)


def _known_line_share(train: Ids, held_out_parts: Sequence[Ids], vocab: Vocab) -> float:
    """Return how many of the held-out lines, or records, stand in the training part too."""
    hashes = []
    for ids in (train, np.concatenate([part[:_COMPARED_TOKENS] for part in held_out_parts])):
        ends = np.flatnonzero(ids == vocab.end) + 1 if vocab.has_end else line_ends(ids, vocab)
        is_filled = np.diff(ends, prepend=0) > 1  # not only a newline, or the first end
        hashes.append(hash_segments(ids, vocab, ends)[is_filled])
    learned, held_out = hashes
    return float(np.isin(held_out, learned).mean()) if len(held_out) else 0.0
