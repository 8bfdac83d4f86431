"""What the scripts that classify, tag and convert share: options, scores with intervals, a table.

Every interval is a bootstrap's: the figure of 1,000 draws of as many rows as were tested, with
replacement; CI95 lies between its 2.5 % and its 97.5 % quantile. N = rows that are tested,
K = classes, D = runs that answered the same rows.
"""

from __future__ import annotations

import argparse
import ast
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import charrnn
from charrnn.analysis import bootstrap
from charrnn.generation.bayes import macro_f1
from charrnn.tasks.task_scores import edit_distance

DRAWS = 1000
_NAME_COLUMNS = 28
_FIGURE_COLUMNS = 27

Rows = NDArray[np.int64]  # (N,) indices of rows
Measure = Callable[[Rows], float]  # the figure of some rows


class Figure(NamedTuple):
    """A figure and its 95 % interval. A share prints as per cent."""

    value: float
    low: float
    high: float
    is_share: bool = True

    def __str__(self) -> str:
        form = ".2%" if self.is_share else ".3f"
        return f"{self.value:{form}} [{self.low:{form}}, {self.high:{form}}]"


def draw_figures(measure: Measure, rows: int) -> NDArray[np.float64]:
    """Return the figure of each draw of a bootstrap (DRAWS,), the same at every call."""
    return bootstrap.draw_figures(measure, rows, DRAWS)


def with_interval(value: float, drawn: NDArray[np.float64], *, is_share: bool = True) -> Figure:
    """Return a figure with the interval of what was drawn."""
    return Figure(*bootstrap.interval_of(value, drawn), is_share)


def estimate(measure: Measure, rows: int, *, is_share: bool = True) -> Figure:
    """Return the figure of all rows, with its interval."""
    return with_interval(measure(np.arange(rows)), draw_figures(measure, rows), is_share=is_share)


def mean_of(values: NDArray[Any], *, is_share: bool = True) -> Figure:
    """Return the mean of (N,) values, such as whether each answer is right."""
    return estimate(lambda rows: float(values[rows].mean()), len(values), is_share=is_share)


def ratio_of(counts: NDArray[np.int64]) -> Figure:
    """Return errors per unit, from how many of each a row has: (N, 2)."""

    def measure(rows: Rows) -> float:
        errors, units = counts[rows].sum(0)
        return float(errors / max(units, 1))

    return estimate(measure, len(counts))


def f1_of(counts: NDArray[np.int64]) -> Figure:
    """Return F1, from how many a row has that are right, found and true: (N, 3)."""

    def measure(rows: Rows) -> float:
        right, found, true = counts[rows].sum(0)
        return float(2 * right / max(found + true, 1))

    return estimate(measure, len(counts))


def class_figures(probs: NDArray[np.float64], truth: NDArray[np.int64]) -> list[Figure]:
    """Return accuracy, macro-F1 and log loss in nats, means over runs.

    probs: (D, N, K), of each run. truth: (N,).
    """
    found = probs.argmax(2)
    nats = -np.log(np.maximum(probs[:, np.arange(len(truth)), truth], 1e-300)).mean(0)

    def measure(rows: Rows) -> float:
        each = [macro_f1(truth[rows], own[rows], probs.shape[2]) for own in found]
        return float(np.mean(each))

    right = (found == truth).mean(0)
    return [mean_of(right), estimate(measure, len(truth)), mean_of(nats, is_share=False)]


def pronunciation_errors(
    found: Sequence[str], listed: Iterable[Sequence[str]]
) -> NDArray[np.int64]:
    """Return the wrong phones and the phones of each word (N, 2), by the nearest one listed.

    found: the phones of each word, with spaces between. listed: its right ones, one or several.
    """
    rows = []
    for answer, rights in zip(found, listed, strict=True):
        options = [each.split() for each in rights]
        nearest = min((edit_distance(answer.split(), each), len(each)) for each in options)
        rows.append(nearest)
    return np.array(rows)


def word_counts(found: Sequence[str], true: Sequence[str]) -> tuple[int, int, int]:
    """Return how many words are right, found and true; a right one has both its ends right."""
    spans = [_spans(words) for words in (found, true)]
    return len(spans[0] & spans[1]), len(found), len(true)


def _spans(words: Sequence[str]) -> set[tuple[int, int]]:
    """Return where each word begins and ends."""
    ends = np.cumsum([len(word) for word in words]).tolist()
    return set(zip([0, *ends[:-1]], ends, strict=True)) if words else set()


def place(text: str) -> float:
    """Return where the hash of a text lies in [0, 1), the same on any machine."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) / 2**64


def make_parser(
    doc: str | None, budget: str, data: str = "", *, has_anchors: bool = True
) -> argparse.ArgumentParser:
    """Return a parser of the options that all scripts have, and of the place of the data."""
    parser = argparse.ArgumentParser(
        description=(doc or "").splitlines()[0],
        epilog="Further options go to the training.",
        allow_abbrev=False,
    )
    if data:
        parser.add_argument(data.lower(), type=Path, metavar=data)
    parser.add_argument("--budget", default=budget)
    parser.add_argument("--seed", type=int, default=1)
    if has_anchors:
        parser.add_argument("--anchors-only", action="store_true", help="leave charrnn out")
    return parser


def read_options(
    parser: argparse.ArgumentParser,
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the script's own options, and the settings of the training."""
    options, rest = parser.parse_known_args()
    return options, {"budget": options.budget, "seed": options.seed} | as_settings(rest)


def as_settings(options: Sequence[str]) -> dict[str, Any]:
    """Return options of `charrnn train` as settings of `charrnn.fit`.

    >>> as_settings(["--hidden-size", "128", "--cell", "gru", "--no-average"])
    {'hidden_size': 128, 'cell': 'gru', 'average': False}
    """
    settings: dict[str, Any] = {}
    for i, option in enumerate(options):
        if not option.startswith("--"):
            continue
        name = option[2:].replace("-", "_")
        value = options[i + 1] if i + 1 < len(options) else "--"
        if not value.startswith("--"):
            settings[name] = _read_value(value)
        elif name.startswith("no_"):
            settings[name.removeprefix("no_")] = False
        else:
            settings[name] = True
    return settings


def _read_value(text: str) -> object:
    """Return a number where the text is one."""
    try:
        value: object = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
    return value if isinstance(value, int | float) else text


def train(corpus: Path | Sequence[Path], folder: Path, settings: Mapping[str, Any]) -> Any:
    """Return the model of a training in a folder, and its seconds."""
    began = time.perf_counter()
    paths = str(corpus) if isinstance(corpus, Path) else [str(path) for path in corpus]
    charrnn.fit(paths, name="model", checkpoints=str(folder), **settings)
    seconds = time.perf_counter() - began
    return charrnn.load("model", checkpoints=folder), seconds


def write_table(path: Path, rows: Iterable[Sequence[str]]) -> Path:
    """Write a row a line, its columns with tabs between; return the path."""
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_classes(folder: Path, rows: Iterable[tuple[str, int]], classes: Sequence[str]) -> Path:
    """Write a file of texts, a line each, for each class; return the new folder of them."""
    texts = folder / "texts"
    texts.mkdir(parents=True)
    lines: list[list[str]] = [[] for _ in classes]
    for text, own in rows:
        lines[own].append(f"{text}\n")
    for name, own_lines in zip(classes, lines, strict=True):
        (texts / f"{name}.txt").write_text("".join(own_lines), encoding="utf-8")
    return texts


def classify(
    rows: Sequence[tuple[str, int]],
    texts: Sequence[str],
    classes: Sequence[str],
    folder: Path,
    settings: Mapping[str, Any],
) -> tuple[NDArray[np.float64], float]:
    """Return what a model that is trained on the rows gives each class of the texts (N, K)."""
    corpus = write_classes(folder, rows, classes)
    own = {"task": "classification", "lines": True, "label": "file"}
    _, seconds = train(corpus, folder, own | dict(settings))
    return class_probs(texts, classes, folder), seconds


def class_probs(texts: Sequence[str], classes: Sequence[str], folder: Path) -> NDArray[np.float64]:
    """Return what the model of a folder gives each class of the texts (N, K)."""
    probs = np.zeros((len(texts), len(classes)))
    place_of = {name: number for number, name in enumerate(classes)}
    found = charrnn.predict(texts, "model", top=len(classes), checkpoints=folder)
    for row, each in enumerate(found):
        for label, probability in each.top:
            probs[row, place_of[label]] = probability
    return probs


def print_header(*names: str) -> None:
    """Print the names of the columns of figures."""
    columns = "".join(f"{name:{_FIGURE_COLUMNS}}" for name in names)
    print(f"{'':{_NAME_COLUMNS}}{columns}seconds")


def print_row(name: str, figures: Sequence[object] | None, seconds: float | None = None) -> None:
    """Print a row of the table; figures None: what is measured is not installed."""
    if figures is None:
        print(f"{name:{_NAME_COLUMNS}}not installed", flush=True)
        return
    columns = "".join(f"{figure!s:{_FIGURE_COLUMNS}}" for figure in figures)
    taken = "" if seconds is None else f"{seconds:7.1f}"
    print(f"{name:{_NAME_COLUMNS}}{columns}{taken}".rstrip(), flush=True)
