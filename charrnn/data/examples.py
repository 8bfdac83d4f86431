"""From examples, sources with what they become, to a corpus of ids.

A target is a text, or a tag for each character of its source. Examples come from files that are
read twice: once to count both alphabets, once to encode. Only ids, ends and hashes are kept, so
that 5,000,000 short pairs take less than 1 GB. Equal sources never stand on two sides of the split:
they are drawn by their hash.

S = tokens, R = examples, K = tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.data.build import cut_records
from charrnn.data.draw import Hashes, Ints, iter_chunks
from charrnn.data.label_table import describe_labels
from charrnn.data.labels import MAX_VALUES, NO_LABELS, LabelColumn, Labels
from charrnn.data.parts import Corpus, no_records, with_warning
from charrnn.data.records import BLOCK_CHARS, Example, Found, Records, Targets
from charrnn.data.restore import MAX_TAGS, choose_tags, simplify
from charrnn.data.split import NOUNS, Split, choose_records, iter_parts, with_weights
from charrnn.errors import ConfigError, CorpusError, VocabError, counted
from charrnn.text.graphemes import ClusterCounter
from charrnn.text.reader import BadBytes, describe_bad
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.trouble import count_trouble, describe_trouble, look_for_trouble
from charrnn.text.vocab import CODE_POINTS, END, MAX_ALPHABET, Ids, Vocab, code_points

TAG_COLUMN = "tag"
_UNIT_NOUNS = {"char": "character", "grapheme": "grapheme", "space": "token"}
_FIRST = 1  # where the first source begins: before it stands an END

Read = Callable[[Found, dict[str, BadBytes]], Iterable[Example]]


class ExampleFile(NamedTuple):
    """A file of examples.

    read: returns them, as often as it is called, and fills what is found besides: rows that are
    left out, and bytes that are not in the encoding. given, weight: as those of a `Source`.
    """

    read: Read
    given: str = ""
    weight: int = 1


class Known(NamedTuple):
    """What a model knows already: tokens and tags to which those of the examples are added."""

    source: Vocab | None = None
    target: Vocab | None = None
    labels: Labels = NO_LABELS


_NOTHING = Known()


class _Part(NamedTuple):
    """Examples as a corpus has them."""

    ids: Ids
    records: Records
    targets: Targets


def corpus_of_examples(
    files: Sequence[ExampleFile],
    config: TextConfig,
    *,
    name: str,
    sha256: str = "",
    title: str = "",
    val: Sequence[ExampleFile] = (),
    known: Known = _NOTHING,
) -> Corpus:
    """Return the corpus of examples; config.task says what their targets are.

    title: what notes and messages call it; the name by default. val: the files that are held out
    for validation, as config.val_file says.

    Raises:
        ConfigError: the known tokens are of another kind.
        CorpusError: a file cannot be read, or has changed while it was; there are no examples, or
            too few to hold some out.
    """
    title = title or name
    counts = _Counts(config)
    counts.add(files, title)
    val_counts = _Counts(config, counts)
    if val:
        val_counts.add(val, str(config.val_file))
    coder = counts.make_coder(known, [*val_counts.tags], title)
    sources, targets = _encode_again(coder, files, counts, title)
    of_val = _encode_again(coder, val, val_counts, title)
    notes = [f"{title}: {counts.describe()}; {coder.describe(sources, targets)}", *counts.notes()]
    notes += counts.note_rare_tags(coder.labels, title)
    if val:
        notes.append(f"{config.val_file}: {val_counts.describe_against(counts)}")
        notes += val_counts.note_rare_tags(coder.labels, str(config.val_file))
    split = _choose(sources, counts, files, coder.vocab)
    notes += [f"held out: {split.held_out}"] * (split.method != "none")
    parts = _cut(sources, targets, split, coder.labels)
    words: dict[str, Any] = {"held_out": split.held_out, "split_method": split.method}
    if val:
        parts["val"] = _as_part(*of_val, coder.labels)
        words |= _held_out_file(config, split)
    for part, own in parts.items():
        words |= {part: own.ids, f"{part}_records": own.records, f"{part}_targets": own.targets}
        words[f"{part}_chars"] = coder.vocab.count_characters(own.ids[_FIRST:])
    given = tuple(dict.fromkeys(each.given for each in files))
    words |= {"vocab": coder.vocab, "target_vocab": coder.target_vocab, "labels": coder.labels}
    words |= {"record_kind": config.record_kind, "sources": given * (len(given) > 1)}
    return with_warning(Corpus(name=name, sha256=sha256, notes=tuple(notes), **words))


def rows_of(corpus: Corpus, part: str) -> Iterator[tuple[Ids, Ids]]:
    """Yield the ids of each source and of its target, without their ENDs.

    part: "train", "val" or "test". Of tags the second are their numbers.
    """
    records: Records | None = getattr(corpus, f"{part}_records")
    targets: Targets | None = getattr(corpus, f"{part}_targets")
    if records is None or targets is None:
        return
    ids = getattr(corpus, part)
    of_end = int(corpus.target_vocab is not None)  # tags have none
    start = _FIRST
    target_start = 0
    for chunk in iter_chunks(len(records)):
        ends = records.ends[chunk].tolist()
        for end, target_end in zip(ends, targets.ends[chunk].tolist(), strict=True):
            yield ids[start : end - 1], targets.ids[target_start : target_end - of_end]
            start = end
            target_start = target_end


def _encode_again(
    coder: _Coder, files: Sequence[ExampleFile], counts: _Counts, title: str
) -> tuple[_Rows, _Rows]:
    """Return the ids of the examples of files that were counted.

    Raises:
        CorpusError: they hold something else by now.
    """
    changed = CorpusError(f"{title} changed while it was read; run the command again")
    try:
        sources, targets = coder.encode(files)
    except (VocabError, KeyError) as error:  # there are other tokens than were counted
        raise changed from error
    if len(sources.ends) != counts.size:
        raise changed
    return sources, targets


def _held_out_file(config: TextConfig, split: Split) -> dict[str, str]:
    """Return what is held out where a file is, and how it was chosen."""
    held_out = f"the file {config.val_file}"
    if not config.test_fraction:
        return {"held_out": held_out, "split_method": "file"}
    return {"held_out": f"{held_out}, and {split.held_out}", "split_method": split.method}


class _Side:
    """What is counted in the sources or in the targets."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._seen = np.zeros(CODE_POINTS, np.int64)
        self._tokens: set[str] = set()
        self._clusters = ClusterCounter() if unit == "grapheme" else None
        self.trouble: Counter[str] = Counter()

    def add(self, texts: list[str]) -> None:
        """Count what is in texts."""
        joined = "".join(texts)
        found = np.bincount(code_points(joined))
        self._seen[: len(found)] += found
        self.trouble.update(look_for_trouble("\n".join(texts), found))
        if self._unit == "space":
            self._tokens.update(" ".join(texts).split())
            if len(self._tokens) > MAX_ALPHABET:
                raise CorpusError(
                    f"there are more than {MAX_ALPHABET:,} different tokens between spaces; give "
                    "--source-unit char or --target-unit char"
                )
        if self._clusters is not None:
            self._clusters.feed(END.join([*texts, ""]))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted that could be a token."""
        return not (self._tokens if self._unit == "space" else self._seen.any())

    def describe_trouble(self) -> str:
        """Return what the texts have that good ones have not, in words; "" if nothing."""
        found = self.trouble.copy()
        if self._unit == "grapheme":
            found.pop("decomposed_chars", None)  # a letter and its marks are one token
        return describe_trouble(count_trouble(self._seen, found))

    def make_vocab(self, config: TextConfig, known: Vocab | None, side: str) -> Vocab:
        """Return the vocabulary of what was counted, with the tokens of a known one."""
        if self._unit == "space":
            own = TokenVocab(tokens=tuple(sorted(self._tokens)), has_end=True)
            if known is not None and not isinstance(known, TokenVocab):
                raise _other_kind(side, "characters", "char")
            return own if known is None else own.union(known)
        clusters = None if self._clusters is None else self._clusters.finish()
        vocab = Vocab.from_counts(self._seen, config.min_count, has_end=True, clusters=clusters)
        if isinstance(known, TokenVocab):
            raise _other_kind(side, "tokens between spaces", "space")
        return vocab if known is None else vocab.union(known)


def _refuse_wide_tokens(known: Vocab | None) -> None:
    """Refuse tokens of several characters, each of which has a tag of its own."""
    if not (isinstance(known, TokenVocab) or (known is not None and known.clusters)):
        return
    raise ConfigError(
        "a token of the model has several characters, and each character has a tag; start from a "
        "model of characters, or leave --init-from out"
    )


def _other_kind(side: str, kind: str, unit: str) -> ConfigError:
    return ConfigError(f"the model's {side}s are {kind}; give --{side}-unit {unit}")


class _Counts:
    """What a first reading counts in the examples of some files.

    size: R. tags: how many characters have each. hashes, target_hashes: (R,) uint64, as bytes; of
    tags there are none of targets. file_sizes: (F,) how many examples stand up to each file's end.
    """

    def __init__(self, config: TextConfig, others: _Counts | None = None) -> None:
        """others: of examples whose alphabets, and notes on bytes, are those of these too."""
        self.config = config
        self.source_unit = config.source_unit if config.task == "seq2seq" else "char"
        self.sources: _Side = others.sources if others else _Side(self.source_unit)
        self.targets: _Side = others.targets if others else _Side(config.target_unit)
        self.tags: Counter[str] = Counter()
        self.size = 0
        self.file_sizes: list[int] = []
        self._hashes = bytearray()
        self._target_hashes = bytearray()
        self._found = Found()
        self._bad: dict[str, BadBytes] = others._bad if others else {}

    def add(self, files: Sequence[ExampleFile], title: str) -> None:
        """Count the examples of files.

        Raises:
            CorpusError: there are none, or all their targets are empty.
        """
        for file in files:
            for texts, targets in _iter_blocks(file.read(self._found, self._bad)):
                self.size += len(texts)
                self.sources.add(texts)
                self._hashes += _hash(texts, self.source_unit)
                if self.config.task == "seq2seq":
                    self.targets.add(targets)
                    self._target_hashes += _hash(targets, self.config.target_unit)
                else:
                    self.tags.update(chain.from_iterable(targets))
            self.file_sizes.append(self.size)
        if not self.size:
            self._found.refuse_skipped()
            raise CorpusError(f"{title} has no {self._nouns}; give a few hundred at least")
        if self.config.task == "seq2seq" and self.targets.is_empty:
            raise CorpusError(
                f"every target of {title} is empty; give targets, or other columns of the table"
            )

    def make_coder(self, known: Known, other_tags: Iterable[str], title: str) -> _Coder:
        """Return what encodes the examples.

        other_tags: of held-out examples.

        Raises:
            ConfigError: the known tokens are of another kind.
            CorpusError: there are too few different tags, or too many.
        """
        config = self.config
        if config.task == "tagging":
            _refuse_wide_tokens(known.source)
        vocab = self.sources.make_vocab(config, known.source, "source")
        if config.task == "seq2seq":
            target_vocab = self.targets.make_vocab(config, known.target, "target")
            return _Coder(vocab, target_vocab, NO_LABELS, config)
        others = [value for column in known.labels.columns for value in column.values]
        if config.restore is None:
            labels = _make_labels(self.tags, [*other_tags, *others], title)
            return _Coder(vocab, None, labels, config)
        # A tag that is rare in training undoes less, in held-out text too. Those of a known model
        # come first: a run that continues finds all of its own there, and adds none.
        tags = dict.fromkeys([*others, *choose_tags(self.tags).tags])
        counts = Counter(dict.fromkeys([*tags][: max(MAX_TAGS, len(others))], 0))
        for tag, count in self.tags.items():
            counts[simplify(tag, counts)] += count
        return _Coder(vocab, None, _make_labels(counts, (), title), config)

    @property
    def hashes(self) -> Hashes:
        """What equal sources share: (R,) uint64."""
        return np.frombuffer(self._hashes, "<u8")

    def describe(self) -> str:
        """Return how many examples there are, and how many different sources, in words."""
        order = np.argsort(self.hashes, kind="stable")
        sources = self.hashes[order]
        is_new = np.append(True, sources[1:] != sources[:-1])
        words = f"{self._number}, {counted(int(is_new.sum()), 'distinct source')}"
        if not self._target_hashes:
            return words + self._describe_skipped()
        targets = np.frombuffer(self._target_hashes, "<u8")[order]
        firsts = np.flatnonzero(is_new)
        is_alike = np.minimum.reduceat(targets, firsts) == np.maximum.reduceat(targets, firsts)
        several = int(np.count_nonzero(~is_alike))
        return words + f" ({several:,} with several targets)" + self._describe_skipped()

    def describe_against(self, trained: _Counts) -> str:
        """Return how many held-out examples there are, and how many have a known source."""
        known = int(np.isin(self.hashes, trained.hashes).sum())
        have = "has" if known == 1 else "have"
        seen = f"{known:,} {have} a source that is trained on too" if known else "all sources new"
        return f"{self._number}; {seen}{self._describe_skipped()}"

    def notes(self) -> list[str]:
        """Return what a person should know of how the text was read."""
        notes = describe_bad(self._bad, self.config.errors)
        troubles = {"sources": self.sources.describe_trouble()}
        if self.config.task == "seq2seq":
            troubles["targets"] = self.targets.describe_trouble()
        return notes + [f"the {side} have {words}" for side, words in troubles.items() if words]

    def note_rare_tags(self, labels: Labels, title: str) -> list[str]:
        """Return the note on characters whose tag is not in the labels; [] if there are none."""
        known = {tag for column in labels.columns for tag in column.values}
        rare = sum(count for tag, count in self.tags.items() if tag not in known)
        if not rare:
            return []
        have = "has a tag" if rare == 1 else "have tags"
        return [
            f"{title}: {rare:,} of {counted(self.tags.total(), 'character')} {have} too rare to "
            "learn: these are restored in part or not at all, which figures of the held-out part "
            "do not count"
        ]

    @property
    def _nouns(self) -> str:
        return NOUNS[str(self.config.record_kind)]

    @property
    def _number(self) -> str:
        return counted(self.size, self._nouns.removesuffix("s"))

    def _describe_skipped(self) -> str:
        return f"; {self._found.describe_skipped()}" if self._found.skipped else ""


@dataclass(frozen=True)
class _Coder:
    """Makes ids of examples. target_vocab: None of tags, which are numbers of the only column."""

    vocab: Vocab  # or a TokenVocab, with source_unit "space"
    target_vocab: Vocab | None
    labels: Labels
    config: TextConfig

    def encode(self, files: Iterable[ExampleFile]) -> tuple[_Rows, _Rows]:
        """Return the ids of the sources, with one END before all, and those of the targets.

        Raises:
            VocabError, KeyError: a token or a tag is not known.
        """
        sources = _Rows(self.vocab.dtype, [self.vocab.end])
        if self.target_vocab is not None:
            targets = _Rows(self.target_vocab.dtype)
        else:
            index_of = _TagNumbers(self.labels, is_simple=self.config.restore is not None)
            targets = _Rows(np.min_scalar_type(len(self.labels) - 1))
        for file in files:
            for texts, wanted in _iter_blocks(file.read(Found(), {})):
                ids = _encode(self.vocab, texts)
                sources.add(ids, ends := _ends_of(ids, self.vocab.end))
                if self.target_vocab is not None:
                    of_targets = _encode(self.target_vocab, wanted)
                    targets.add(of_targets, _ends_of(of_targets, self.target_vocab.end))
                    continue
                numbers = [index_of[tag] for tag in chain.from_iterable(wanted)]
                assert len(numbers) == sum(map(len, texts)), "each character has a tag"
                # Each byte of a character that is spelled has the tag of the character.
                starts = self.vocab.starts_character[ids[ids != self.vocab.end]]
                assert starts.sum() == len(numbers), "each character has a first token"
                tags = np.array(numbers, targets.dtype)[np.cumsum(starts) - 1]
                targets.add(tags, ends - np.arange(1, len(ends) + 1))
        return sources, targets

    def describe(self, sources: _Rows, targets: _Rows) -> str:
        """Return how many kinds of tokens each side has, and how long its longest is, in words."""
        task = self.config.task
        unit = self.config.source_unit if task == "seq2seq" else "char"
        of_source = _count_kinds(self.vocab, unit)
        if self.target_vocab is None:
            return f"{of_source}; longest {sources.longest - 1:,}; {describe_labels(self.labels)}"
        of_target = _count_kinds(self.target_vocab, self.config.target_unit)
        return (
            f"source {of_source}, target {of_target}; longest source {sources.longest - 1:,}, "
            f"longest target {targets.longest - 1:,}"
        )


class _TagNumbers(dict[str, int]):
    """The number of each tag; is_simple: of one that is not known, that of a simpler one."""

    def __init__(self, labels: Labels, *, is_simple: bool) -> None:
        super().__init__(labels.columns[0].index_of)
        self._known = frozenset(self)
        self._is_simple = is_simple

    def __missing__(self, tag: str) -> int:
        if not self._is_simple:
            raise KeyError(tag)
        self[tag] = number = self[simplify(tag, self._known)]
        return number


class _Rows:
    """The ids of sequences that are added some at a time, and where each ends.

    They grow as bytes, in place: a list of arrays would be in memory twice once it is joined.
    """

    def __init__(self, dtype: np.dtype[Any], first: Sequence[int] = ()) -> None:
        self.dtype = dtype
        self._ids = bytearray(np.array(first, dtype).tobytes())
        self._ends = bytearray()
        self._first = len(first)

    def add(self, ids: Ids, ends: Ints) -> None:
        """Add sequences by their joined ids (S,) and where each ends in these (R,)."""
        before = len(self._ids) // self.dtype.itemsize
        self._ids += ids.astype(self.dtype, copy=False).tobytes()
        self._ends += (ends + before).astype(np.int64).tobytes()

    @property
    def ids(self) -> Ids:
        """(S,) all ids."""
        return np.frombuffer(self._ids, self.dtype)

    @property
    def ends(self) -> Ints:
        """(R,) int64, where each sequence ends."""
        return np.frombuffer(self._ends, np.int64)

    def clear(self) -> None:
        """Let go of all ids."""
        self._ids = bytearray()
        self._ends = bytearray()

    @property
    def longest(self) -> int:
        """The most tokens that a sequence has, with its END."""
        return int(np.diff(self.ends, prepend=self._first).max(initial=0))


def _iter_blocks(examples: Iterable[Example]) -> Iterator[tuple[list[str], list[Any]]]:
    """Yield sources and their targets, of about BLOCK_CHARS together."""
    sources: list[str] = []
    targets: list[Any] = []
    chars = 0
    for each in examples:
        sources.append(each.source)
        targets.append(each.target)
        chars += len(each.source) + len(each.target)
        if chars >= BLOCK_CHARS:
            yield sources, targets
            sources = []
            targets = []
            chars = 0
    if sources:
        yield sources, targets


def _hash(texts: Iterable[str], unit: str) -> bytes:
    """Return the hashes (R,) uint64, as bytes, of texts that are cut into such units."""
    if unit == "space":
        texts = (" ".join(text.split()) for text in texts)
    return b"".join(blake2b(text.encode(), digest_size=8).digest() for text in texts)


def _encode(vocab: Vocab, texts: list[str]) -> Ids:
    """Return the ids (S,) of texts, an END after each."""
    end = f" {END} " if isinstance(vocab, TokenVocab) else END
    return vocab.encode(end.join([*texts, ""]))


def _ends_of(ids: Ids, end: int) -> Ints:
    return np.flatnonzero(ids == end).astype(np.int64) + 1


def _count_kinds(vocab: Vocab, unit: str) -> str:
    """Return how many different tokens a vocabulary has, without bytes and END, in words."""
    kinds = vocab.size - vocab.has_end - 256 * vocab.has_bytes
    return counted(kinds, _UNIT_NOUNS[unit])


def _make_labels(tags: Counter[str], others: Iterable[str], title: str) -> Labels:
    """Return the only column, of tags; others: of held-out examples, and of a known model."""
    counts = {tag: tags[tag] for tag in sorted({*tags, *others})}
    if len(counts) < 2:
        raise CorpusError(
            f"every character of {title} has the tag {next(iter(counts))!r}, so there is nothing "
            "to tell apart; mend the tags"
        )
    if len(counts) > MAX_VALUES:
        raise CorpusError(
            f"{title} has {len(counts):,} different tags, and a model can have at most "
            f"{MAX_VALUES:,}; mend the tags"
        )
    return Labels((LabelColumn(TAG_COLUMN, tuple(counts), tuple(counts.values())),))


def _choose(sources: _Rows, counts: _Counts, files: Sequence[ExampleFile], vocab: Vocab) -> Split:
    """Return what is held out of the examples, and how often each comes in training."""
    ends = sources.ends
    file_ends = np.append(_FIRST, ends)[counts.file_sizes]
    split = choose_records(ends, counts.hashes, file_ends, counts.config)
    weights = {file.given: file.weight for file in files}
    if max(weights.values()) == 1:
        return split
    if split.ends is None:  # nothing is held out
        split = split._replace(ends=ends, parts=np.zeros(len(ends), np.uint8), is_unusual=False)
    last = {file.given: end for file, end in zip(files, file_ends.tolist(), strict=True)}
    given_ends = np.array([*last.values()], np.int64)
    return with_weights(split, sources.ids, vocab, given_ends, [*weights.values()])


def _cut(sources: _Rows, targets: _Rows, split: Split, labels: Labels) -> dict[str, _Part]:
    """Return the parts of a split."""
    if split.ends is None:
        parts = {"train": _as_part(sources, targets, labels)}
        empty = _Rows(sources.dtype), _Rows(targets.dtype)
        return parts | {name: _as_part(*empty, labels) for name in split.names[1:]}
    unlabelled = np.zeros((len(sources.ends), len(labels.columns)), np.int32)
    of_targets = _cut_rows(targets, split._replace(ends=targets.ends, first=0), unlabelled)
    of_sources = _cut_rows(sources, split, unlabelled)
    return {
        name: _Part(*of_sources[name], Targets(of_targets[name][0], of_targets[name][1].ends))
        for name in split.names
    }


def _cut_rows(
    rows: _Rows, split: Split, labels: NDArray[np.int32]
) -> dict[str, tuple[Ids, Records]]:
    """Return the ids of each part, and where each sequence ends in them.

    What stands before the first sequence goes before those of each part. The whole is emptied: of
    millions of examples it and its parts together take much memory.
    """
    ids = rows.ids
    cut = cut_records(Records(rows.ends, labels), split)
    sizes = {name: int(own.ends[-1]) if len(own) else 0 for name, own in cut.items()}
    parts = {name: np.empty(size, rows.dtype) for name, size in sizes.items()}
    filled = dict.fromkeys(parts, split.first)
    for name in parts:
        parts[name][: split.first] = ids[: split.first][: sizes[name]]
    for pieces in iter_parts(ids, split):
        for name, piece in zip(split.names, pieces, strict=True):
            parts[name][filled[name] : filled[name] + len(piece)] = piece
            filled[name] += len(piece)
    rows.clear()
    return {name: (parts[name], cut[name]) for name in split.names}


def _as_part(sources: _Rows, targets: _Rows, labels: Labels) -> _Part:
    """Return all examples as one part."""
    if not len(sources.ends):
        none = Targets(np.empty(0, targets.dtype), np.empty(0, np.int64))
        return _Part(np.empty(0, sources.dtype), no_records(labels), none)
    unlabelled = np.zeros((len(sources.ends), len(labels.columns)), np.int32)
    records = Records(sources.ends, unlabelled)
    return _Part(sources.ids, records, Targets(targets.ids, targets.ends))
