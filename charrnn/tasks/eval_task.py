"""How well a network decides on records: what `charrnn eval` calls for other tasks than text.

Never torch: the figures are those of what `charrnn predict` says. Each has a 95 % interval.

N = records, K = classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.analysis.bootstrap import Interval, bootstrap
from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import COST, TextConfig
from charrnn.corpora.library import locate_texts
from charrnn.data.corpus import Corpus
from charrnn.data.draw import Ints
from charrnn.data.examples import rows_of
from charrnn.data.pairs import pair_files
from charrnn.data.records import Example, Found, iter_records
from charrnn.data.tag_files import tag_files
from charrnn.errors import ConfigError, CorpusError
from charrnn.generation.bayes import calibration_error, macro_f1
from charrnn.tasks.eval_sequences import by_length, evaluate_tags, evaluate_targets
from charrnn.tasks.eval_text import EvalTextRequest, NamedModel, open_own_corpus
from charrnn.tasks.predict_task import ClassPredictor
from charrnn.tasks.predictions import PredictRequest
from charrnn.tasks.task_result import ClassFigures, TaskEvalResult
from charrnn.text.files import Source, open_sources
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import BadBytes, describe_bad

_BLOCK = 1024  # records that are read at once


@dataclass(frozen=True)
class Rows:
    """Records to score: their texts, and what is right of each.

    right: labels, "" where one is not known; targets; or the tags of all characters.
    """

    texts: list[str]
    right: list[Any]
    split: str
    paths: list[str]
    notes: tuple[str, ...] = ()


def evaluate_task(name: str, file: ModelFile, request: EvalTextRequest) -> TaskEvalResult:
    """Return how well the model called `name` decides on records.

    Raises:
        ConfigError: the request is not for records.
        CorpusError: the records cannot be read, or none has a label that the model knows.
    """
    _check_request(request)
    model = NamedModel(name, file)
    rows = _read_file(model, request) if request.files else _read_own(model, request)
    if file.config.task == "classification":
        result = _evaluate_classes(model, rows)
    else:
        evaluate = evaluate_tags if file.config.task == "tagging" else evaluate_targets
        result = evaluate(model, [*zip(rows.texts, rows.right, strict=True)])
    return replace(result, texts=tuple(rows.paths), split=rows.split, notes=rows.notes)


def _check_request(request: EvalTextRequest) -> None:
    """Refuse what does not go with records."""
    if request.text is not None:
        raise ConfigError(
            "a literal text says nothing of how good such a model is; charrnn predict shows what "
            "it makes of one"
        )
    if request.unknown != COST:
        raise ConfigError(
            f"--unknown {request.unknown} is for models of text; a model for another task reads "
            "the nearest characters that it knows; leave it out"
        )
    for name in ("encoding", "errors"):
        if getattr(request, name) is not None and not request.files:
            raise ConfigError(
                f"--{name} says how to read the text of --file; give both, or neither"
            )


def _read_file(model: NamedModel, request: EvalTextRequest) -> Rows:
    """Return the records of files, read as those of training were."""
    if request.split not in (None, "all"):
        raise ConfigError("a text given by --file is scored as a whole; leave --split out")
    config = model.text
    config = replace(
        config,
        encoding=request.encoding or config.encoding,
        errors=request.errors or config.errors,
        group_column=None,  # which matters to a split alone
    )
    texts: list[str] = []
    right: list[Any] = []
    found = Found()
    notes: list[str] = []
    bad: dict[str, BadBytes] = {}
    with open_sources(locate_texts(request.files)) as sources:
        inspected = inspect_sources(sources, config, notes.append)
        if config.task == "text":
            for block in iter_records(inspected, config, found, bad):
                texts += block.texts
                right += [each[0] for each in block.labels]
        else:
            for example in _iter_examples(inspected, config, found, bad):
                texts.append(example.source)
                right.append(example.target)
    if not right:
        found.refuse_skipped()
        raise CorpusError(f"{' '.join(request.files)} has no records to compare with")
    notes += describe_bad(bad, config.errors)
    notes += [found.describe_skipped()] * bool(found.skipped)
    return Rows(texts, right, "all", list(request.files), tuple(notes))


def _iter_examples(
    sources: Sequence[Source], config: TextConfig, found: Found, bad: dict[str, BadBytes]
) -> Iterator[Example]:
    """Yield the pairs, or the tagged characters, of files; parallel files are two."""
    if config.target_file is not None:
        if len(sources) != 2:
            raise ConfigError(
                "the model was trained on two parallel files; give --file twice, first the sources"
            )
        files = pair_files(sources[:1], sources[1:], config)
    else:
        files = tag_files(sources, config) if config.task == "tagging" else []
        files = files or pair_files(sources, (), config)
    for file in files:
        yield from file.read(found, bad)


def _read_own(model: NamedModel, request: EvalTextRequest) -> Rows:
    """Return a part of the text that the model was trained on."""
    part = request.split or "val"
    if part == "all":
        raise ConfigError("the model's own text is scored by parts; give --split val or test")
    corpus = open_own_corpus(model, "name a text by --file")
    paths = model.corpus["paths"]
    records = getattr(corpus, f"{part}_records")
    if records is None or not len(records):
        raise CorpusError(f"there is no {part} part to score; give a text by --file")
    if model.file.config.task != "classification":
        rows = [*iter_texts(corpus, part)]
        texts = [text for text, _ in rows]
        return Rows(texts, [right for _, right in rows], part, paths, corpus.notes)
    ids = getattr(corpus, part)
    names = ("", *corpus.labels.columns[0].values)  # 0 is unknown
    labels = [names[row] for row in np.asarray(records.labels[:, 0]).tolist()]
    starts = [1, *np.asarray(records.ends[:-1]).tolist()]
    stops = (np.asarray(records.ends) - 1).tolist()
    texts = [
        corpus.vocab.decode(np.asarray(ids[start:stop]))
        for start, stop in zip(starts, stops, strict=True)
    ]
    return Rows(texts, labels, part, paths, corpus.notes)


def iter_texts(corpus: Corpus, part: str) -> Iterator[tuple[str, Any]]:
    """Yield each source of a part with its target, or with the tags of its characters."""
    for source, target in rows_of(corpus, part):
        text = corpus.vocab.decode(np.asarray(source))
        if corpus.target_vocab is not None:
            yield text, corpus.target_vocab.decode(np.asarray(target))
            continue
        names = corpus.labels.columns[0].values
        numbers = np.asarray(target)[corpus.vocab.starts_character[np.asarray(source)]]
        yield text, tuple(names[number] for number in numbers.tolist())


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
    return TaskEvalResult(
        model=model.name,
        records=len(chosen),
        figures=class_figures(probs, right),
        classes=_by_class(found, right, column.values),
        lengths=by_length(found == right, np.array([len(rows.texts[i]) for i in chosen])),
        confused=_confused(found, right, column.values),
        unlabelled=len(classes) - len(chosen),
        changes=dict(predictor.changes),
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


def _confused(found: Ints, right: Ints, names: tuple[str, ...]) -> tuple[tuple[str, str, int], ...]:
    """Return which classes are taken for which others, the most frequent first."""
    pairs = Counter(
        (names[a], names[b]) for a, b in zip(right.tolist(), found.tolist(), strict=True) if a != b
    )
    return tuple((a, b, n) for (a, b), n in pairs.most_common())
