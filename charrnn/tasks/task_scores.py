"""How well a network decides on held-out records, by the task's own figures. Never torch.

The recorder shows some records at each evaluation, and measures all of them at the end.

N = records, K = classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.analysis.tag_scores import place_score, restored_words, tag_accuracy, word_score
from charrnn.checkpoint.model_file import ModelFile
from charrnn.data.corpus import Corpus
from charrnn.data.draw import Ints, segment_sizes
from charrnn.data.examples import rows_of
from charrnn.data.restore import repair
from charrnn.data.tags import is_segmentation, write_tagged
from charrnn.generation.bayes import calibrate, macro_f1
from charrnn.generation.classifier import Classifier
from charrnn.generation.tagger import Tagger
from charrnn.tasks.predict_targets import TargetPredictor
from charrnn.tasks.predict_task import longest_of
from charrnn.tasks.predictions import PredictRequest
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.vocab import Ids, Vocab

QUICK_TOKENS = 30_000  # that are read at each evaluation
_FEWEST_RECORDS = 20  # fewer say nothing about how sure a classifier may be
_SHOWN = 3
_SHOWN_CHARS = 60
_FIRST = 1

Counts = NDArray[np.float64]


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
    return _SCORES[file.config.task](file, corpus, most_tokens)


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


def _score_targets(file: ModelFile, corpus: Corpus, most_tokens: int | None) -> TaskScores:
    """Score the targets of sources; of one with several targets, any of them is right.

    Pairs that are longer than those that training reads are left out, as they are of the loss.
    """
    longest = longest_of(file)
    known: dict[bytes, list[Ids]] = {}
    texts: dict[bytes, Ids] = {}
    for source, target in rows_of(corpus, "val"):
        if len(source) > longest or len(target) >= longest:  # its end counts too
            continue
        key = source.tobytes()
        texts.setdefault(key, np.asarray(source))
        known.setdefault(key, []).append(np.asarray(target))
    sources = _spread([*texts.values()], most_tokens)
    # At an evaluation a greedy search is enough to see how it goes.
    request = PredictRequest(beam=1 if most_tokens == QUICK_TOKENS else None)
    predictor = TargetPredictor(file, request)
    found = predictor.convert(sources)
    vocab = corpus.target_vocab
    assert vocab is not None
    expected = [[vocab.decode(target) for target in known[each.tobytes()]] for each in sources]
    texts_found = [predictor.text_of(best[0]) for best in found]
    counts = count_edits(texts_found, expected, vocab)
    figures = {key: figure(counts.sum(0)) for key, figure in TARGET_FIGURES.items()}
    examples = tuple(
        (_shorten(corpus.vocab.decode(source)), _shorten(own), _shorten(targets[0]))
        for source, own, targets in zip(
            sources[:_SHOWN], texts_found[:_SHOWN], expected[:_SHOWN], strict=True
        )
    )
    return TaskScores(figures, examples)


def count_edits(found: Sequence[str], expected: Sequence[Sequence[str]], vocab: Vocab) -> Counts:
    """Return (1, is right, edits, tokens) (N, 4) of what was found; any of its targets is right.

    Of several the nearest counts, the first of those. Tokens are characters, or what stands between
    spaces where the vocabulary of targets has such.
    """
    split: Callable[[str], Sequence[str]] = str.split if isinstance(vocab, TokenVocab) else list
    counts = np.zeros((len(found), 4))
    for row, (own, targets) in enumerate(zip(found, expected, strict=True)):
        options = [split(target) for target in targets]
        edits = [edit_distance(split(own), each) for each in options]
        best = int(np.argmin(edits))
        counts[row] = 1, edits[best] == 0, edits[best], len(options[best])
    return counts


TARGET_FIGURES: dict[str, Callable[[Counts], float]] = {
    "exact_match": lambda sums: float(sums[1] / sums[0]),
    "edit_distance": lambda sums: float(sums[2] / max(sums[3], 1)),
}
"""How well targets are found, by the sums (4,) of what `count_edits` counts."""


def _score_tags(file: ModelFile, corpus: Corpus, most_tokens: int | None) -> TaskScores:
    """Score the tags of characters: words of a segmentation, or what was restored."""
    names = file.labels.columns[0].values
    rows = _spread([*rows_of(corpus, "val")], most_tokens, of=lambda row: row[0])
    made = Tagger(file.config, file.weights).tags([np.asarray(source) for source, _ in rows])
    starts = [corpus.vocab.starts_character[np.asarray(source)] for source, _ in rows]
    found = [[names[i] for i in tags[own].tolist()] for tags, own in zip(made, starts, strict=True)]
    right = [
        [names[i] for i in np.asarray(tags)[own].tolist()]
        for (_, tags), own in zip(rows, starts, strict=True)
    ]
    sources = [corpus.vocab.decode(np.asarray(source)) for source, _ in rows]
    figures = {"accuracy": tag_accuracy(right, found)}
    layout = file.summary.get("settings", {}).get("tags")
    if layout is None:
        words, total = restored_words(sources, right, found)
        figures |= {"f1": place_score(right, found).f1, "words": words / max(total, 1)}
    elif is_segmentation(names):
        figures["f1"] = word_score(right, found).f1
    written = repair if layout is None else partial(write_tagged, layout=layout)
    examples = tuple(
        (_shorten(source), _shorten(written(source, own)), _shorten(written(source, true)))
        for source, own, true in zip(sources[:_SHOWN], found[:_SHOWN], right[:_SHOWN], strict=True)
    )
    return TaskScores({key: each for key, each in figures.items() if each == each}, examples)


_SCORES = {
    "classification": _score_classes,
    "tagging": _score_tags,
    "seq2seq": _score_targets,
}


def _spread(
    rows: list[Any], most_tokens: int | None, of: Callable[[Any], Ids] = lambda row: row
) -> list[Any]:
    """Return as many rows as have so many tokens, evenly spread; None: all."""
    tokens = sum(len(of(row)) for row in rows)
    return rows if most_tokens is None else rows[:: max(1, -(-tokens // most_tokens))]


def edit_distance(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Return how many insertions, deletions and changes lead from one sequence to the other.

    >>> edit_distance("kitten", "sitting")
    3
    """
    before = list(range(len(second) + 1))
    for row, a in enumerate(first, start=1):
        after = [row]
        for column, b in enumerate(second, start=1):
            after.append(min(before[column] + 1, after[-1] + 1, before[column - 1] + (a != b)))
        before = after
    return before[-1]


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
    return _shorten(corpus.vocab.decode(np.asarray(corpus.val[start:stop])))


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
