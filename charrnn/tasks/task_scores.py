"""How well a network decides on held-out records, by the task's own figures. Never torch.

The recorder shows some records at each evaluation, and measures all of them at the end.

N = records, K = classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import ModelFile
from charrnn.data.corpus import Corpus
from charrnn.data.draw import Ints, segment_sizes
from charrnn.generation.bayes import calibrate, macro_f1
from charrnn.generation.classifier import Classifier
from charrnn.tasks.predict_task import longest_of

QUICK_TOKENS = 30_000  # that are read at each evaluation
_FEWEST_RECORDS = 20  # fewer say nothing about how sure a classifier may be
_SHOWN = 3
_SHOWN_CHARS = 60
_FIRST = 1


@dataclass(frozen=True)
class TaskScores:
    """figures: by name, such as "accuracy". examples: text, what was found, what is right."""

    figures: dict[str, float]
    examples: tuple[tuple[str, str, str], ...] = ()


def score_task(file: ModelFile, corpus: Corpus, most_tokens: int | None = None) -> TaskScores:
    """Return how well a model decides on the held-out records of a corpus.

    most_tokens: of the records that are read, evenly spread; None reads all.
    """
    if corpus.val_records is None or not len(corpus.val_records):
        return TaskScores({})
    return _score_classes(file, corpus, most_tokens)


def calibrate_classes(file: ModelFile, corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Return how sure a classifier may be, as `predict_labels.calibrate_labels` does."""
    log_probs, truth, _ = _read_classes(file, corpus, None)
    if len(truth) < _FEWEST_RECORDS:
        return {}
    alike = np.zeros(file.config.class_count, np.int64)
    return {file.labels.columns[0].name: calibrate(log_probs, alike, truth)._asdict()}


def _score_classes(file: ModelFile, corpus: Corpus, most_tokens: int | None) -> TaskScores:
    log_probs, truth, chosen = _read_classes(file, corpus, most_tokens)
    if not len(truth):
        return TaskScores({})
    found = log_probs.argmax(1)
    column = file.labels.columns[0]
    figures = {
        "accuracy": float((found == truth).mean()),
        "macro_f1": macro_f1(truth, found, len(column.values)),
    }
    examples = tuple(
        (_text_of(corpus, int(record)), column.values[own], column.values[right])
        for record, own, right in zip(chosen[:_SHOWN], found, truth, strict=False)
    )
    return TaskScores(figures, examples)


def _read_classes(
    file: ModelFile, corpus: Corpus, most_tokens: int | None
) -> tuple[Any, Ints, Ints]:
    """Return ln p (N, K) of held-out records, their classes (N,), and which records they are."""
    records = corpus.val_records
    assert records is not None
    classes = np.asarray(records.labels[:, 0]).astype(np.int64) - 1
    chosen = choose(records.ends, np.flatnonzero(classes >= 0), most_tokens)
    longest = longest_of(file)
    starts = _starts(records.ends, chosen)
    stops = np.asarray(records.ends)[chosen] - 1
    texts = [
        np.asarray(corpus.val[start : min(stop, start + longest)])
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
    ]
    return Classifier(file.config, file.weights).log_probs(texts), classes[chosen], chosen


def choose(ends: Ints, known: Ints, most_tokens: int | None) -> Ints:
    """Return which of the known records to read, evenly spread; None reads all."""
    tokens = int(segment_sizes(ends, known, _FIRST).sum())
    step = 1 if most_tokens is None else max(1, -(-tokens // most_tokens))
    return known[::step]


def _starts(ends: Ints, chosen: Ints) -> Ints:
    return np.asarray(ends)[chosen] - segment_sizes(ends, chosen, _FIRST)


def _text_of(corpus: Corpus, record: int) -> str:
    """Return the beginning of a held-out record."""
    assert corpus.val_records is not None
    ends = corpus.val_records.ends
    start = int(_starts(ends, np.array([record]))[0])
    stop = min(int(ends[record]) - 1, start + 4 * _SHOWN_CHARS)
    text = corpus.vocab.decode(np.asarray(corpus.val[start:stop]))
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
