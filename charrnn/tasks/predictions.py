"""What a model says of a text: its label, its tags or what it becomes; and how texts are read.

The predictors of `predict.py` share this.

N = texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.fields import setting, validate
from charrnn.errors import located
from charrnn.generation.generator import check_text, text_format_of
from charrnn.text.substitutions import fit_text
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
    top: int = setting(1, "labels to name for each text, the likeliest first", ge=1)
    threshold: float = setting(0.0, "leave a label out that is less likely than this", ge=0, le=1)
    prior: str = setting(
        "train",
        "how likely labels are before the text is read: as frequent as in training, or all alike",
        choices=("train", "uniform"),
    )
    is_whole: bool = setting(True, "a text is a whole record, whose end counts too")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Prediction:
    """What label a text has.

    label: the likeliest; None where it is less likely than the threshold. probability: of the
    likeliest label. top: as many labels as were asked for, each with its probability, the likeliest
    first.
    """

    text: str
    label: str | None
    probability: float
    top: tuple[tuple[str, float], ...]


class TextIds:
    """Reads texts as a model does; `changes` counts the characters that it never saw."""

    def __init__(self, file: ModelFile) -> None:
        self._format = text_format_of(file.summary, has_end=file.vocab.has_end)
        self._vocab = file.vocab
        self.changes: Counter[str] = Counter()
        self._read = 0  # texts

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of texts, without what the model never saw.

        Raises:
            VocabError: one holds half of a surrogate pair.
        """
        found = [self._encode(text, number) for number, text in enumerate(texts, self._read + 1)]
        self._read += len(texts)
        return found

    def _encode(self, text: str, number: int) -> Ids:
        with located(f"text {number}"):
            if END in text:  # in ids it would end a record
                self.changes["U+10FFFF → nothing"] += text.count(END)
                text = text.replace(END, "")
            text = self._format.normalized(text.strip(_NEWLINES))
            fitted = fit_text(text, self._vocab, "map", self._format.normalized)
            self.changes += fitted.changes
            return self._vocab.encode(fitted.text)


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
