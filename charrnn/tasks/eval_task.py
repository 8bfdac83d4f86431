"""How well a network decides on records: what `charrnn eval` calls for other tasks than text.

Never torch: the figures are those of what `charrnn predict` says. Each has a 95 % interval.

N = records, K = classes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from charrnn.analysis.bootstrap import Interval, bootstrap
from charrnn.checkpoint.model_file import ModelFile
from charrnn.corpora.library import locate_texts
from charrnn.data.corpus import open_corpus
from charrnn.data.draw import Ints
from charrnn.data.records import Found, iter_records
from charrnn.errors import ConfigError, CorpusError
from charrnn.generation.bayes import calibration_error, macro_f1
from charrnn.tasks.eval_text import EvalTextRequest, NamedModel
from charrnn.tasks.predict_task import ClassPredictor
from charrnn.tasks.predictions import PredictRequest
from charrnn.text.files import open_sources
from charrnn.text.kinds import inspect_sources

_BLOCK = 1024  # records that are read at once
_MOST_CONFUSED = 10
_LENGTHS = (0, 5, 10, 20, 50, 100, 200)  # characters: the least of each row of the table


@dataclass(frozen=True)
class ClassFigures:
    """One class: how many records have it, and how well it is found."""

    name: str
    records: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class LengthFigures:
    """Records of a length in characters, from least to most: how many there are, how many right."""

    least: int
    most: int
    records: int
    accuracy: float


@dataclass(frozen=True)
class TaskEvalResult:
    """How well a model decides on records of `texts`.

    figures: by name, such as "accuracy", each with its 95 % interval. classes: of those that occur,
    the most frequent first. confused: (right, found, records), the most frequent first. unlabelled:
    records left out because they have no label that the model knows. changes: characters that the
    model never saw, and what they became.
    """

    model: str
    texts: list[str]
    split: str
    records: int
    figures: dict[str, Interval]
    classes: tuple[ClassFigures, ...] = ()
    lengths: tuple[LengthFigures, ...] = ()
    confused: tuple[tuple[str, str, int], ...] = ()
    unlabelled: int = 0
    changes: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """Records to score: their texts, and what is right of each; "" where that is not known."""

    texts: list[str]
    right: list[str]
    split: str
    paths: list[str]
    notes: tuple[str, ...] = ()


def evaluate_task(name: str, file: ModelFile, request: EvalTextRequest) -> TaskEvalResult:
    """Return how well the model called `name` decides on records.

    Raises:
        ConfigError: the request is not for records.
        CorpusError: the records cannot be read, or none has a label that the model knows.
    """
    if request.text is not None:
        raise ConfigError(
            "a literal text says nothing of how good such a model is; charrnn predict shows what "
            "it makes of one"
        )
    model = NamedModel(name, file)
    rows = _read_file(model, request) if request.files else _read_own(model, request)
    return _evaluate_classes(model, rows)


def _read_file(model: NamedModel, request: EvalTextRequest) -> Rows:
    """Return the records of files, read as those of training were."""
    if request.split not in (None, "all"):
        raise ConfigError("a text given by --file is scored as a whole; leave --split out")
    config = model.text
    config = replace(
        config,
        encoding=request.encoding or config.encoding,
        errors=request.errors or config.errors,
    )
    texts: list[str] = []
    right: list[str] = []
    found = Found()
    notes: list[str] = []
    with open_sources(locate_texts(request.files)) as sources:
        inspected = inspect_sources(sources, config, notes.append)
        for block in iter_records(inspected, config, found):
            texts += block.texts
            right += [each[0] for each in block.labels]
    if not right:
        raise CorpusError(f"{' '.join(request.files)} has no records with labels to compare with")
    notes += [f"{found.skipped:,} rows skipped: {', '.join(found.places)}"] * bool(found.skipped)
    return Rows(texts, right, "all", list(request.files), tuple(notes))


def _read_own(model: NamedModel, request: EvalTextRequest) -> Rows:
    """Return a part of the text that the model was trained on."""
    paths = model.corpus.get("paths", [])
    if not paths:
        raise ConfigError("the model does not say where its text is; give one by --file")
    corpus = open_corpus(locate_texts(paths), model.text)
    if corpus.sha256 != model.corpus.get("sha256"):
        raise CorpusError(
            f"{' '.join(paths)} is not the text that the model was trained on; give one by --file"
        )
    part = request.split or "val"
    if part == "all":
        raise ConfigError("the model's own text is scored by parts; give --split val or test")
    records = getattr(corpus, f"{part}_records")
    if records is None or not len(records):
        raise CorpusError(f"there is no {part} part to score; give a text by --file")
    ids = getattr(corpus, part)
    names = ("", *corpus.labels.columns[0].values)  # 0 is unknown
    right = [names[row] for row in np.asarray(records.labels[:, 0]).tolist()]
    starts = [1, *np.asarray(records.ends[:-1]).tolist()]
    stops = (np.asarray(records.ends) - 1).tolist()
    texts = [
        corpus.vocab.decode(np.asarray(ids[start:stop]))
        for start, stop in zip(starts, stops, strict=True)
    ]
    return Rows(texts, right, part, paths, corpus.notes)


def _evaluate_classes(model: NamedModel, rows: Rows) -> TaskEvalResult:
    predictor = ClassPredictor(model.file, PredictRequest())
    column = model.file.labels.columns[0]
    classes = [column.find(each) for each in rows.right]
    chosen = [i for i, each in enumerate(classes) if each is not None]
    if not chosen:
        raise CorpusError(f"none of the {len(classes):,} records has a label that the model knows")
    parts = [
        predictor.class_probabilities([rows.texts[i] for i in chosen[begin : begin + _BLOCK]])
        for begin in range(0, len(chosen), _BLOCK)
    ]
    probs = np.concatenate(parts)
    right = np.array([classes[i] for i in chosen], np.int64)
    found = probs.argmax(1)
    sizes = np.array([len(rows.texts[i]) for i in chosen])
    return TaskEvalResult(
        model=model.name,
        texts=rows.paths,
        split=rows.split,
        records=len(chosen),
        figures=class_figures(probs, right),
        classes=_by_class(found, right, column.values),
        lengths=_by_length(found == right, sizes),
        confused=_confused(found, right, column.values),
        unlabelled=len(classes) - len(chosen),
        changes=dict(predictor.changes),
        notes=rows.notes,
    )


def class_figures(probs: np.ndarray, right: Ints) -> dict[str, Interval]:
    """Return accuracy, macro-F1, log loss and calibration error of N records, with intervals.

    probs: (N, K), whose rows sum to 1. right: (N,) classes.
    """
    found = probs.argmax(1)
    is_right = found == right
    nats = -np.log(np.maximum(probs[np.arange(len(right)), right], 1e-300))
    sure = probs.max(1)
    count = probs.shape[1]
    figures = {
        "accuracy": lambda which: float(is_right[which].mean()),
        "macro_f1": lambda which: macro_f1(right[which], found[which], count),
        "log_loss_nats": lambda which: float(nats[which].mean()),
        "calibration_error": lambda which: calibration_error(sure[which], is_right[which]),
    }
    return {key: bootstrap(figure, len(right)) for key, figure in figures.items()}


def _by_class(found: Ints, right: Ints, names: tuple[str, ...]) -> tuple[ClassFigures, ...]:
    """Return the figures of each class that is right or found somewhere."""
    count = len(names)
    hits = np.bincount(right[found == right], minlength=count)
    said = np.bincount(found, minlength=count)
    there = np.bincount(right, minlength=count)
    rows = [
        ClassFigures(
            names[i],
            int(there[i]),
            float(hits[i] / max(said[i], 1)),
            float(hits[i] / max(there[i], 1)),
            float(2 * hits[i] / (said[i] + there[i])),
        )
        for i in np.argsort(-there, kind="stable").tolist()
        if said[i] + there[i]
    ]
    return tuple(rows)


def _by_length(is_right: np.ndarray, sizes: Ints) -> tuple[LengthFigures, ...]:
    """Return the figures of records by their length."""
    edges = [*_LENGTHS, int(sizes.max()) + 1]
    rows = []
    for least, above in pairwise(edges):
        is_here = (sizes >= least) & (sizes < above)
        if is_here.any():
            share = float(is_right[is_here].mean())
            rows.append(LengthFigures(least, above - 1, int(is_here.sum()), share))
    return tuple(rows)


def _confused(found: Ints, right: Ints, names: tuple[str, ...]) -> tuple[tuple[str, str, int], ...]:
    """Return which classes are taken for which others, the most frequent first."""
    pairs = Counter(
        (names[a], names[b]) for a, b in zip(right.tolist(), found.tolist(), strict=True) if a != b
    )
    return tuple((a, b, n) for (a, b), n in pairs.most_common(_MOST_CONFUSED))
