"""How well tags and targets are found: what `eval_task` calls. Never torch.

Each figure is that of sums over records, so that its interval can be drawn from the records' own
counts. R = records, C = counts of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from charrnn.analysis.bootstrap import Interval, bootstrap
from charrnn.analysis.tag_scores import (
    Score,
    place_score,
    restored_words,
    scores_by_tag,
    tag_accuracy,
    word_score,
)
from charrnn.data.tags import is_segmentation
from charrnn.tasks.eval_text import NamedModel
from charrnn.tasks.predict_tags import TagPredictor
from charrnn.tasks.predict_targets import TargetPredictor
from charrnn.tasks.predictions import PredictRequest
from charrnn.tasks.task_result import ClassFigures, LengthFigures, TaskEvalResult
from charrnn.tasks.task_scores import TARGET_FIGURES, Counts, count_edits

_BLOCK = 256  # records that are read at once
_MOST_WRONG = 10
_LENGTHS = (0, 5, 10, 20, 50, 100, 200)  # characters: the least of each row of the table

TagRow = tuple[str, tuple[str, ...]]


def evaluate_targets(model: NamedModel, rows: Sequence[tuple[str, str]]) -> TaskEvalResult:
    """Return how well sources become their targets; rows: of a source and a target.

    Of a source with several targets each of them is right.
    """
    expected: dict[str, list[str]] = {}
    for source, target in rows:
        expected.setdefault(source, []).append(target)
    sources = [*expected]
    predictor = TargetPredictor(model.file, PredictRequest())
    found = [
        each.label or ""
        for begin in range(0, len(sources), _BLOCK)
        for each in predictor.predict(sources[begin : begin + _BLOCK])
    ]
    vocab = model.file.target_vocab
    assert vocab is not None
    counts = count_edits(found, [*expected.values()], vocab)
    is_right = counts[:, 1] > 0
    wrong = [
        (source, own, " | ".join(expected[source]))
        for source, own, right in zip(sources, found, is_right, strict=True)
        if not right
    ]
    sizes = np.array([len(each) for each in sources])
    return TaskEvalResult(
        model=model.name,
        records=len(sources),
        figures={key: _interval(counts, figure) for key, figure in TARGET_FIGURES.items()},
        lengths=by_length(is_right, sizes),
        wrong=tuple(wrong[:_MOST_WRONG]),
        changes=dict(predictor.changes),
    )


def evaluate_tags(model: NamedModel, rows: Sequence[TagRow]) -> TaskEvalResult:
    """Return how well characters are tagged; rows: of a text and the tags of its characters."""
    predictor = TagPredictor(model.file, PredictRequest())
    sources = [source for source, _ in rows]
    right = [tags for _, tags in rows]
    found = [
        each.tags
        for begin in range(0, len(sources), _BLOCK)
        for each in predictor.predict_tags(sources[begin : begin + _BLOCK])
    ]
    names = model.file.labels.columns[0].values
    is_restoring = model.file.summary.get("settings", {}).get("tags") is None
    pairs = [([a], [b]) for a, b in zip(right, found, strict=True)]
    accuracy = np.array([[tag_accuracy(a, b) * len(b[0]), len(b[0])] for a, b in pairs])
    figures = {"accuracy": _interval(accuracy, lambda sums: sums[0] / sums[1])}
    if is_restoring:
        figures |= _score_intervals([place_score(a, b) for a, b in pairs])
        words = np.array(
            [restored_words([s], a, b) for s, (a, b) in zip(sources, pairs, strict=True)]
        )
        figures["words"] = _interval(words, lambda sums: sums[0] / max(sums[1], 1))
    elif is_segmentation(names):
        figures |= _score_intervals([word_score(a, b) for a, b in pairs])
        if any("-" in name for name in names):
            named = [word_score(a, b, has_names=True) for a, b in pairs]
            figures |= {f"named_{key}": each for key, each in _score_intervals(named).items()}
    by_tag = scores_by_tag(right, found)
    is_right = np.array([tuple(a) == tuple(b) for a, b in zip(right, found, strict=True)])
    return TaskEvalResult(
        model=model.name,
        records=len(sources),
        figures=figures,
        classes=tuple(_as_class(name, each) for name, each in by_tag.items()),
        lengths=by_length(is_right, np.array([len(each) for each in sources])),
        changes=dict(predictor.changes),
    )


def _as_class(name: str, score: Score) -> ClassFigures:
    precision = score.precision if score.found else 0.0
    recall = score.recall if score.expected else 0.0
    return ClassFigures(name, score.expected, precision, recall, score.f1)


def _score_intervals(scores: Sequence[Score]) -> dict[str, Interval]:
    """Return precision, recall and F1 of all records together."""
    counts = np.array(scores, np.float64)  # right, found, expected
    return {
        "precision": _interval(counts, lambda sums: sums[0] / max(sums[1], 1)),
        "recall": _interval(counts, lambda sums: sums[0] / max(sums[2], 1)),
        "f1": _interval(counts, lambda sums: 2 * sums[0] / max(sums[1] + sums[2], 1)),
    }


def _interval(counts: Counts, figure: Callable[[Counts], float]) -> Interval:
    """Return a figure of the sums (C,) of counts (R, C), with its interval."""
    return bootstrap(lambda which: float(figure(counts[which].sum(0))), len(counts))


def by_length(is_right: NDArray[np.bool_], sizes: NDArray[np.int64]) -> tuple[LengthFigures, ...]:
    """Return how many records (R,) of each length are right."""
    edges = [*_LENGTHS, max(int(sizes.max()) + 1, _LENGTHS[-1] + 1)]
    rows = []
    for least, above in pairwise(edges):
        is_here = (sizes >= least) & (sizes < above)
        if is_here.any():
            share = float(is_right[is_here].mean())
            rows.append(LengthFigures(least, above - 1, int(is_here.sum()), share))
    return tuple(rows)
