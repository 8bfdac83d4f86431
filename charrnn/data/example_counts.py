"""What a first reading of examples counts: alphabets, tags, and which sources are equal.

R = examples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple

import numpy as np

from charrnn.config import TextConfig
from charrnn.data.draw import Hashes
from charrnn.data.example_ids import Coder, ExampleFile, iter_blocks
from charrnn.data.labels import MAX_VALUES, NO_LABELS, LabelColumn, Labels
from charrnn.data.records import Found
from charrnn.data.restore import MAX_TAGS, choose_tags, simplify
from charrnn.data.split import NOUNS
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.text.graphemes import ClusterCounter
from charrnn.text.reader import BadBytes, describe_bad
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.trouble import count_trouble, describe_trouble, look_for_trouble
from charrnn.text.vocab import CODE_POINTS, END, MAX_ALPHABET, Vocab, code_points

TAG_COLUMN = "tag"


class Known(NamedTuple):
    """What a model knows already: tokens and tags to which those of the examples are added."""

    source: Vocab | None = None
    target: Vocab | None = None
    labels: Labels = NO_LABELS


class Counts:
    """What a first reading counts in the examples of some files.

    size: R. tags: how many characters have each. file_sizes: (F,) how many examples stand up to
    each file's end.
    """

    def __init__(self, config: TextConfig, others: Counts | None = None) -> None:
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
            for texts, targets in iter_blocks(file.read(self._found, self._bad)):
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

    def make_coder(self, known: Known, other_tags: Iterable[str], title: str) -> Coder:
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
            return Coder(vocab, target_vocab, NO_LABELS, config)
        others = [value for column in known.labels.columns for value in column.values]
        if config.restore is None:
            labels = _make_labels(self.tags, [*other_tags, *others], title)
            return Coder(vocab, None, labels, config)
        # A tag that is rare in training undoes less, in held-out text too. Those of a known model
        # come first: a run that continues finds all of its own there, and adds none.
        tags = dict.fromkeys([*others, *choose_tags(self.tags)])
        counts = Counter(dict.fromkeys([*tags][: max(MAX_TAGS, len(others))], 0))
        for tag, count in self.tags.items():
            counts[simplify(tag, counts)] += count
        return Coder(vocab, None, _make_labels(counts, (), title), config)

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

    def describe_against(self, trained: Counts) -> str:
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


def _hash(texts: Iterable[str], unit: str) -> bytes:
    """Return the hashes (R,) uint64, as bytes, of texts that are cut into such units."""
    if unit == "space":
        texts = (" ".join(text.split()) for text in texts)
    return b"".join(blake2b(text.encode(), digest_size=8).digest() for text in texts)
