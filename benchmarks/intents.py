"""What does a user want? 20 intents from a few sentences each: python benchmarks/intents.py

The sentences are the project's own (benchmarks/data/intents.tsv: text, tab, intent; 40 of each
intent), as people type them to the assistant of a bank, with small errors. The last 10 of each
intent are tested. The first 30 are mostly short requests; the last 10 say it in other ways: a story
before the request, the parts in another order, other forms of the words, words that point to
another intent too. The very last one of each intent has none of its usual words.

Trained on 5, 10 and 30 sentences an intent: several draws of them (--draws 3), the smaller inside
the larger, and the figures are means over draws. Further options go to the training. Beside it
stand a logistic regression on 1- to 4-grams of characters, and fastText with words and their 2- to
5-grams. Both read the text in small letters with signs apart, and their settings did best in
cross-validation on the first 30 sentences.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from anchors import fasttext, regression
from numpy.typing import NDArray
from runs import one_line_errors
from task_scores import (
    class_figures,
    classify,
    make_parser,
    print_header,
    print_row,
    read_options,
)

from charrnn.errors import CorpusError

DATA = Path(__file__).parent / "data" / "intents.tsv"
TESTED = 10  # the last sentences of each intent
COUNTS = (5, 10, 30)
FASTTEXT = {"epoch": 200, "lr": 1.0, "dim": 50, "minn": 2, "maxn": 5, "bucket": 100_000}
STRENGTH = 1000.0  # of the regression, the inverse of its decay

_SIGN = re.compile(r"([^\w\s])")

Rows = list[tuple[str, int]]  # a sentence and the index of its intent
Probs = NDArray[np.float64]


def read_intents(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the intents, sorted, and the sentences of each in their order."""
    sentences: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split("\t")
        if len(cells) != 2 or not all(cells):
            raise CorpusError(f"{path}:{number} is no sentence, tab, intent")
        sentences.setdefault(cells[1], []).append(cells[0])
    intents = sorted(sentences)
    return intents, [sentences[name] for name in intents]


def draw(sentences: list[list[str]], count: int, seed: int) -> Rows:
    """Return `count` of the first sentences of each intent; more of a seed contain fewer."""
    rows: Rows = []
    for number, own in enumerate(sentences):
        rng = np.random.default_rng([seed, number])
        order = rng.permutation(len(own) - TESTED)[:count]
        rows += [(own[i], number) for i in order]
    return rows


def tidy(rows: Rows) -> Rows:
    """Return sentences in small letters, with spaces around signs, as fastText wants them."""
    return [(_SIGN.sub(r" \1 ", text.lower()), number) for text, number in rows]


def measure(
    name: str, fit: Callable[[Rows], Probs | None], drawn: list[Rows], truth: NDArray[np.int64]
) -> None:
    """Print a row of the table: means over the draws."""
    began = time.perf_counter()
    probs = [fit(rows) for rows in drawn]
    seconds = (time.perf_counter() - began) / len(drawn)
    known = [each for each in probs if each is not None]
    print_row(name, class_figures(np.stack(known), truth) if known else None, seconds)


@one_line_errors()
def main() -> None:
    """Print how often each names the right intent, by sentences of each intent."""
    parser = make_parser(__doc__, "60s")
    parser.add_argument("--draws", type=int, default=3)
    options, settings = read_options(parser)
    intents, sentences = read_intents(DATA)
    tested = [(text, number) for number, own in enumerate(sentences) for text in own[-TESTED:]]
    texts = [text for text, _ in tested]
    truth = np.array([number for _, number in tested])
    size = len(intents)
    print(f"{size} intents, {len(tested)} sentences to test on, {options.draws} draws")

    def fit_regression(rows: Rows) -> Probs | None:
        return regression(tidy(rows), [text for text, _ in tidy(tested)], 4, strength=STRENGTH)

    def fit_fasttext(rows: Rows) -> Probs | None:
        return fasttext(tidy(rows), [text for text, _ in tidy(tested)], size, **FASTTEXT)

    def fit_ours(rows: Rows) -> Probs:
        with tempfile.TemporaryDirectory() as folder:
            return classify(rows, texts, intents, Path(folder), settings)[0]

    for count in COUNTS:
        print_header(f"accuracy, {count} an intent", "macro-F1", "log loss")
        drawn = [draw(sentences, count, options.seed + i) for i in range(options.draws)]
        measure("logistic regression", fit_regression, drawn, truth)
        measure("fastText", fit_fasttext, drawn, truth)
        if not options.anchors_only:
            measure("charrnn", fit_ours, drawn, truth)


if __name__ == "__main__":
    sys.exit(main())
