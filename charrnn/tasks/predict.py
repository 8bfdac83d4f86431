"""The label of each text, by a labelled language model: what `charrnn predict` calls. Never torch.

The model says how likely a text is under each label, and how many of its records had that label
says the rest (Bayes). `calibrate_labels` measures on held-out records how far that can be trusted;
training calls it at its end, and the model file keeps what it finds.

K = labels of a column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.fields import setting, validate
from charrnn.data.corpus import Corpus
from charrnn.data.labels import NONE, LabelColumn
from charrnn.data.records import Records
from charrnn.errors import ConfigError, located
from charrnn.generation.bayes import (
    LARGEST_MARGIN,
    LARGEST_TEMPERATURE,
    LEAST_TEMPERATURE,
    MARGIN_NATS,
    LabelClassifier,
    calibrate,
    posteriors,
)
from charrnn.generation.filters import Floats
from charrnn.generation.generator import check_text, text_format_of
from charrnn.text.substitutions import fit_text
from charrnn.text.vocab import END, Ids

_BLOCK_TEXTS = 256
_BLOCK_CHARS = 1 << 20
_FEWEST_RECORDS = 20  # fewer say nothing about a classifier
_MAX_PAIR_STEPS = 4_000_000
_MIN_PAIR_STEPS = 50_000
_MAX_PRODUCTS = 4e11  # multiplications: half a minute of a slow core
_BLOCK_PAIRS = 2048  # of a record and a label
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


class Predictor:
    """Names the labels of texts; `changes` counts the characters that the model never saw."""

    def __init__(self, file: ModelFile, request: PredictRequest) -> None:
        """Open the contents of a model file.

        Raises:
            ConfigError: the model has no labels, no such column, or several and none is named.
        """
        column = find_column(file, request.column)
        figures = _figures_of(file, column.name)
        # A file may hold anything.
        allowed = (LEAST_TEMPERATURE, LARGEST_TEMPERATURE)
        self._temperature = float(np.clip(figures.get("temperature", 1.0), *allowed))
        # Log-probabilities are divided by it, so a label has to fall as much further behind.
        margin = MARGIN_NATS * max(1.0, self._temperature)
        self._classifier = LabelClassifier(file, column.name, min(margin, LARGEST_MARGIN))
        self._format = text_format_of(file.summary, has_end=file.vocab.has_end)
        self._vocab = file.vocab
        self._request = request
        self._counts = self._classifier.counts
        if request.prior == "uniform":
            self._counts = np.zeros_like(self._counts)
        self.changes: Counter[str] = Counter()
        self._read = 0  # texts

    def iter_blocks(self, texts: Iterable[str]) -> Iterator[list[Prediction]]:
        """Yield what label each text has, a few hundred at a time.

        Raises:
            ConfigError: one is not a text.
            VocabError: one holds half of a surrogate pair.
        """
        yield from map(self._predict, _iter_blocks(texts))

    def _predict(self, texts: Sequence[str]) -> list[Prediction]:
        ids = [self._encode(text, number) for number, text in enumerate(texts, self._read + 1)]
        self._read += len(texts)
        ratios = self._classifier.log_ratios(ids, is_whole=self._request.is_whole)
        probs = posteriors(ratios, self._counts, self._temperature)
        is_blank = np.array([not len(each) for each in ids])  # nothing to correct
        probs[is_blank] = posteriors(ratios[is_blank], self._counts)
        order = np.argsort(-probs, axis=1, kind="stable")[:, : self._request.top]
        labels = self._classifier.labels
        predictions = []
        for text, row, best in zip(texts, probs.tolist(), order.tolist(), strict=True):
            top = tuple((labels[i], row[i]) for i in best)
            label, probability = top[0]
            is_named = probability >= self._request.threshold
            predictions.append(Prediction(text, label if is_named else None, probability, top))
        return predictions

    def _encode(self, text: str, number: int) -> Ids:
        """Return the ids of a text as the model reads it, without what it never saw."""
        with located(f"text {number}"):
            if END in text:  # in ids it would end a record
                self.changes["U+10FFFF → nothing"] += text.count(END)
                text = text.replace(END, "")
            text = self._format.normalized(text.strip(_NEWLINES))
            fitted = fit_text(text, self._vocab, "map", self._format.normalized)
            self.changes += fitted.changes
            return self._vocab.encode(fitted.text)


def iter_predictions(
    model_file: ModelFile, texts: Iterable[str], request: PredictRequest | None = None
) -> Iterator[Prediction]:
    """Yield what label each text has, in their order; a few hundred are read at once.

    Raises:
        ConfigError, VocabError: as `Predictor`.
    """
    predictor = Predictor(model_file, request or PredictRequest())
    for block in predictor.iter_blocks(texts):
        yield from block


def find_column(file: ModelFile, name: str | None) -> LabelColumn:
    """Return the column of labels of this name, or the only one.

    Raises:
        ConfigError: the model has no labels, no such column, or several and none is named.
    """
    columns = {column.name: column for column in file.labels.columns}
    if not columns:
        raise ConfigError(
            "this model was trained without labels, so it can name none; train one with --label, "
            "--label-column or --label-regex"
        )
    known = ", ".join(map(repr, columns))
    if name is None and len(columns) > 1:
        raise ConfigError(f"this model has several columns of labels; give --column, of {known}")
    if name is not None and name not in columns:
        raise ConfigError(f"there is no column {name!r}; the model has {known}")
    return next(iter(columns.values())) if name is None else columns[name]


def calibrate_labels(file: ModelFile, corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Return how well a model names the labels of held-out records, by column, as JSON.

    Each has temperature, which `Predictor` divides by, and error, accuracy, nats and records, as
    `classify.Calibration` has them. Every other record is judged by what was fitted on the rest, so
    the figures are those of texts that nothing was fitted on. Of many or long records as many are
    read, evenly spread, as take about half a minute: the same ones each time. A column is left out
    where fewer than 20 records have a label, or 20 take too long.
    """
    found = {}
    records = corpus.val_records
    for index, column in enumerate(file.labels.columns):
        if records is None or not len(corpus.val):
            continue
        classifier = LabelClassifier(file, column.name, LARGEST_MARGIN)
        chosen, ratios = _read_records(classifier, corpus.val, records, index, file)
        if len(chosen):
            first = sum(len(each.values) for each in file.labels.columns[:index]) + 1
            truth = np.asarray(records.labels[chosen, index], np.int64) - first
            found[column.name] = calibrate(ratios, classifier.counts, truth)._asdict()
    return found


def _read_records(
    classifier: LabelClassifier, ids: Ids, records: Records, index: int, file: ModelFile
) -> tuple[NDArray[np.intp], Floats]:
    """Return which held-out records were read, and their log-ratios; none where it is too much."""
    count = len(classifier.labels)
    known: NDArray[np.intp] = np.flatnonzero(records.labels[:, index] != NONE)
    starts = np.concatenate(([1], records.ends[:-1]))
    room = np.clip(_MAX_PRODUCTS / file.config.num_parameters, _MIN_PAIR_STEPS, _MAX_PAIR_STEPS)
    mean_steps = (records.ends - starts)[known].mean() * count if len(known) else 0.0
    parts: list[NDArray[np.intp]] = []
    ratios: list[Floats] = [np.zeros((0, count))]
    if len(known) >= _FEWEST_RECORDS and _FEWEST_RECORDS * mean_steps <= 2 * room:
        blocks = len(known) // max(_FEWEST_RECORDS, _BLOCK_PAIRS // count) or 1
        for first in range(blocks):  # each spread over all
            parts.append(known[first::blocks])
            texts = [np.asarray(ids[starts[r] : records.ends[r] - 1]) for r in parts[-1]]
            ratios.append(classifier.log_ratios(texts))
            if classifier.pair_steps >= room:
                break
    chosen = np.concatenate([np.zeros(0, np.intp), *parts])
    order = np.argsort(chosen)
    return chosen[order], np.concatenate(ratios)[order]


def _figures_of(file: ModelFile, column: str) -> dict[str, Any]:
    """Return what the model file says of how a column's labels are named; {} if nothing."""
    found = file.summary.get("classification", {}).get(column, {})
    return found if isinstance(found, dict) else {}


def _iter_blocks(texts: Iterable[str]) -> Iterator[list[str]]:
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
