"""What a model says of a text: its label, its tags or what it becomes; and how texts are read.

The predictors of `predict.py` share this.

N = texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.fields import setting, validate
from charrnn.errors import ConfigError, VocabError, located
from charrnn.generation.text_format import check_text, text_format_of
from charrnn.text.substitutions import fit_text
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.vocab import END, Ids

_BLOCK_TEXTS = 256
_BLOCK_CHARS = 1 << 20
_NEWLINES = "\r\n"  # as records have none around them


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """Which labels to name, and how."""

    column: str | None = setting(
        None, "which labels to name, where a model has several columns", unset="the only one"
    )
    top: int = setting(
        1, "labels to name for each text, or targets to write, the likeliest first", ge=1
    )
    threshold: float = setting(0.0, "leave a label out that is less likely than this", ge=0, le=1)
    prior: str = setting(
        "train",
        "how likely labels are before the text is read: as frequent as in training, or all alike",
        choices=("train", "uniform"),
    )
    beam: int | None = setting(
        None,
        "seq2seq: width of the beam search; 1 is greedy, and fastest",
        unset="5, or as many as --top",
        ge=1,
        le=1000,
    )
    confidence: float = setting(
        0.0,
        "tagging: what is restored with less probability than this stays as it was",
        ge=0,
        le=1,
    )
    is_whole: bool = setting(True, "a text is a whole record, whose end counts too")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Prediction:
    """What label a text has, or what it becomes.

    label: the likeliest; None where it is less likely than the threshold. probability: of the
    likeliest label. top: as many labels as were asked for, each with its probability, the likeliest
    first. Of task seq2seq, the targets. Of task tagging, label is the text with its tags, or
    restored; tags: one for each of the `tagged` characters, each with its probability.
    """

    text: str
    label: str | None
    probability: float
    top: tuple[tuple[str, float], ...] = ()
    tagged: str = ""
    tags: tuple[str, ...] = ()
    tag_probabilities: tuple[float, ...] = ()


_OF_TASKS = {
    "column": ("text", "classification"),
    "threshold": ("text", "classification"),
    "prior": ("text", "classification"),
    "top": ("text", "classification", "seq2seq"),
    "beam": ("seq2seq",),
    "confidence": ("tagging",),
    "is_whole": ("text",),
}
"""The tasks of settings that only some have."""


def check_request(request: PredictRequest, task: str) -> None:
    """Refuse settings that do nothing for a model of this task.

    Raises:
        ConfigError: one is given.
    """
    for item in fields(request):
        tasks = _OF_TASKS[item.name]
        if getattr(request, item.name) != item.default and task not in tasks:
            name = "unfinished" if item.name == "is_whole" else item.name
            raise ConfigError(
                f"--{name} is for models of {' or '.join(tasks)}, and this one is for {task}; "
                "leave it out"
            )


class TextIds:
    """Reads texts as a model does.

    most_read: tokens of a text; None reads all. changes: counts the characters that it never saw.
    longer: how many texts were longer than any in
    training, the longest of which had so many tokens.
    """

    def __init__(self, file: ModelFile, most_read: int | None = None) -> None:
        self._most_read = most_read
        self._longest: int | None = file.summary.get("longest_tokens")
        self.longer = 0
        self.most = 0  # tokens
        self._format = text_format_of(file.summary, has_end=file.vocab.has_end)
        self._vocab = file.vocab
        self.changes: Counter[str] = Counter()
        self._read = 0  # texts

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of texts, without what the model never saw.

        Raises:
            VocabError: one holds half of a surrogate pair.
        """
        first = self._read + 1
        self._read += len(texts)
        found = self._encode_joined(texts)
        if found is None:
            found = [self._encode(text, number) for number, text in enumerate(texts, first)]
        if self._longest is not None:
            sizes = [len(each) for each in found]
            self.longer += sum(size > self._longest for size in sizes)
            self.most = max([self.most, *sizes])
        return found if self._most_read is None else [each[: self._most_read] for each in found]

    @property
    def notes(self) -> list[str]:
        """What a person should know of the texts that were read."""
        if not self.longer:
            return []
        are = "text is" if self.longer == 1 else "texts are"
        return [
            f"{self.longer:,} {are} longer than any in training, which had {self._longest:,} "
            f"tokens at most; the longest has {self.most:,}"
            + f", of which {self._most_read:,} are read"
            * (self.most > (self._most_read or self.most))
        ]

    def _encode_joined(self, texts: Sequence[str]) -> list[Ids] | None:
        """Return the ids of texts that need no change, many at a time; None if one needs some."""
        if not self._vocab.has_end or isinstance(self._vocab, TokenVocab):
            return None
        stripped = [text.strip(_NEWLINES) for text in texts]
        joined = self._format.normalized(END.join([*stripped, ""]))
        try:
            is_known = not len(self._vocab.find_unknown(joined))
        except VocabError:  # which text it is says the slow way
            return None
        if joined.count(END) != len(texts) or not is_known:
            return None
        ids = self._vocab.encode(joined)
        return [each[:-1] for each in np.split(ids, np.flatnonzero(ids == self._vocab.end) + 1)][
            : len(texts)
        ]

    def _encode(self, text: str, number: int) -> Ids:
        with located(f"text {number}"):
            if END in text:  # in ids it would end a record
                self.changes["U+10FFFF → nothing"] += text.count(END)
                text = text.replace(END, "")
            text = self._format.normalized(text.strip(_NEWLINES))
            if isinstance(self._vocab, TokenVocab):
                return self._encode_tokens(text, self._vocab)
            fitted = fit_text(text, self._vocab, "map", self._format.normalized)
            self.changes.update(fitted.changes)
            return self._vocab.encode(fitted.text)

    def _encode_tokens(self, text: str, vocab: TokenVocab) -> Ids:
        """Return the ids of tokens between spaces, without those that the model never saw."""
        known = frozenset(vocab.tokens)
        tokens = text.split()
        self.changes.update(f"{each} → nothing" for each in tokens if each not in known)
        return vocab.encode(" ".join(each for each in tokens if each in known))


def iter_blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield texts a few hundred at a time.

    Raises:
        ConfigError: one is not a text.
    """
    block: list[str] = []
    chars = 0
    for number, text in enumerate(texts, 1):
        with located(f"text {number}"):
            check_text(text)
        block.append(text)
        chars += len(text)
        if len(block) >= _BLOCK_TEXTS or chars >= _BLOCK_CHARS:
            yield block
            block = []
            chars = 0
    if block:
        yield block
