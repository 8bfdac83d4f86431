"""Names of many languages told apart: python benchmarks/classify_names.py FOLDER

Each file of the folder is a language, with a name a line. A fifth of the distinct pairs of a name
and a language is drawn for testing, by the name's hash, in each language alike; a model is trained
on the rest, and names the language of the others: by a network that decides on them, or with --task
text by a labelled language model and Bayes. --budget 60s, --seed 1; --set dropout=0.5 and the like
are settings of training.

Beside it stands what naming the most frequent language reaches, as sure as that is frequent, and
where scikit-learn is installed, a logistic regression on 1- to 4-grams of characters.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from runs import one_line_errors
from task_scores import class_probs, write_classes

import charrnn
from charrnn.errors import CorpusError
from charrnn.generation.bayes import calibration_error, macro_f1

TEST_SHARE = 5  # one of so many

Pairs = list[tuple[str, int]]  # a name and the index of its language


def read_pairs(folder: Path) -> tuple[list[str], Pairs]:
    """Return the languages, and each name with its language once."""
    files = sorted(path for path in folder.glob("*.txt") if path.is_file())
    if len(files) < 2:
        raise CorpusError(f"{folder} has {len(files)} files *.txt; give one for each language")
    pairs: dict[tuple[str, int], None] = {}
    for language, path in enumerate(files):
        lines = path.read_text(encoding="utf-8").splitlines()
        pairs |= dict.fromkeys((line.strip(), language) for line in lines if line.strip())
    return [path.stem for path in files], [*pairs]


def split(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Return the pairs to train on and those to test on: a fifth of each language, by hash."""

    def key(pair: tuple[str, int]) -> bytes:
        return blake2b(pair[0].encode(), digest_size=8).digest()

    train: Pairs = []
    test: Pairs = []
    for language in sorted({language for _, language in pairs}):
        own = sorted((pair for pair in pairs if pair[1] == language), key=key)
        cut = round(len(own) / TEST_SHARE)
        test += own[:cut]
        train += own[cut:]
    return train, test


def measure(name: str, probs: NDArray[np.float64], truth: NDArray[np.int64], seconds: float) -> str:
    """Return a row of the table. probs: (N, K) of the languages; truth: (N,)."""
    found = probs.argmax(1)
    is_right = found == truth
    right = np.maximum(probs[np.arange(len(truth)), truth], 1e-300)
    figures = (
        f"{is_right.mean():9.2%}",
        f"{macro_f1(truth, found, probs.shape[1]):9.3f}",
        f"{-np.log(right).mean():9.3f}",
        f"{calibration_error(probs.max(1), is_right):9.3f}",
        f"{seconds:8.1f}",
    )
    return f"{name:20}" + " ".join(figures)


def train(pairs: Pairs, languages: list[str], folder: Path, options: argparse.Namespace) -> None:
    """Train a model in a folder, on a file of names for each language."""
    texts = write_classes(folder, pairs, languages)
    settings: dict[str, Any] = {"seed": options.seed, "threads": options.threads}
    settings |= {"budget": options.budget, "task": options.task}
    settings |= dict(each.split("=", 1) for each in options.set)
    charrnn.fit(texts, lines=True, label="file", name="model", checkpoints=str(folder), **settings)


def majority(pairs: Pairs, rows: int, count: int) -> NDArray[np.float64]:
    """Return the share of each language (N, K), the same for every name."""
    shares = np.bincount([language for _, language in pairs], minlength=count) / len(pairs)
    return np.tile(shares, (rows, 1))


def regression(pairs: Pairs, others: Pairs) -> NDArray[np.float64] | None:
    """Return what a logistic regression gives; None where scikit-learn is not installed."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError:
        return None
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), lowercase=False)
    model = make_pipeline(grams, LogisticRegression(C=10, max_iter=1000))
    model.fit([text for text, _ in pairs], [language for _, language in pairs])
    probs: NDArray[np.float64] = model.predict_proba([text for text, _ in others])
    return probs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--task", choices=("text", "classification"), default="classification")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    languages, pairs = read_pairs(options.folder)
    own, others = split(pairs)
    truth = np.array([language for _, language in others])
    sizes = f"{len(own):,} to train on, {len(others):,} to test on"
    print(f"{len(pairs):,} names of {len(languages)} languages: {sizes}")
    print(f"{'':20} accuracy  macro-F1  log loss       ECE  seconds")
    shares = majority(own, len(others), len(languages))
    print(measure("majority", shares, truth, 0.0))
    began = time.perf_counter()
    fitted = regression(own, others)
    if fitted is not None:
        print(measure("logistic regression", fitted, truth, time.perf_counter() - began))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        train(own, languages, Path(folder), options)
        trained = time.perf_counter()
        probs = class_probs([text for text, _ in others], languages, Path(folder))
        print(measure("charrnn", probs, truth, trained - began))
        speed = len(others) / (time.perf_counter() - trained)
    print(f"{speed:,.0f} names a second by charrnn predict")
    assert math.isclose(probs.sum(1).min(), 1), "each row of probabilities sums to 1"


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main())
