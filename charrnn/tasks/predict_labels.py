"""The label of each text, by a labelled language model. Never torch.

The model says how likely a text is under each label, and how many of its records had that label
says the rest (Bayes). `calibrate_labels` measures on held-out records how far that can be trusted;
training calls it at its end, and the model file keeps what it finds.

N = texts, K = labels of a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile
from charrnn.data.labels import NONE, LabelColumn
from charrnn.data.records import Records
from charrnn.errors import ConfigError
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
from charrnn.tasks.predictions import Prediction, PredictRequest, TextIds
from charrnn.text.vocab import Ids

if TYPE_CHECKING:  # predicting needs none of it
    from charrnn.data.corpus import Corpus

_FEWEST_RECORDS = 20  # fewer say nothing about a classifier
_MAX_PAIR_STEPS = 4_000_000
_MIN_PAIR_STEPS = 50_000
_MAX_PRODUCTS = 4e11  # multiplications: half a minute of a slow core
_BLOCK_PAIRS = 2048  # of a record and a label


class LabelPredictor:
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
        self._ids = TextIds(file)
        self._request = request
        self._counts = self._classifier.counts
        if request.prior == "uniform":
            self._counts = np.zeros_like(self._counts)
        self.changes = self._ids.changes

    @property
    def notes(self) -> list[str]:
        """What a person should know of the texts that were read."""
        return self._ids.notes

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return what label each text has.

        Raises:
            VocabError: one holds half of a surrogate pair.
        """
        ids = self._ids.encode(texts)
        ratios = self._classifier.log_ratios(ids, is_whole=self._request.is_whole)
        probs = posteriors(ratios, self._counts, self._temperature)
        is_blank = np.array([not len(each) for each in ids])  # nothing to correct
        probs[is_blank] = posteriors(ratios[is_blank], self._counts)
        return rank_labels(texts, probs, self._classifier.labels, self._request)


def rank_labels(
    texts: Sequence[str], probs: Floats, labels: Sequence[str], request: PredictRequest
) -> list[Prediction]:
    """Return the likeliest labels of texts. probs: (N, K), whose rows sum to 1."""
    order = np.argsort(-probs, axis=1, kind="stable")[:, : request.top]
    predictions = []
    for text, row, best in zip(texts, probs.tolist(), order.tolist(), strict=True):
        top = tuple((labels[i], row[i]) for i in best)
        label, probability = top[0]
        is_named = probability >= request.threshold
        predictions.append(Prediction(text, label if is_named else None, probability, top))
    return predictions


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
    affordable = _MAX_PRODUCTS / file.config.num_dense_parameters
    room = np.clip(affordable, _MIN_PAIR_STEPS, _MAX_PAIR_STEPS)
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
