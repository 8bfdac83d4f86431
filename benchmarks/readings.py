"""How is a Chinese character read here? python benchmarks/readings.py FILE

FILE is pypinyin/phrases_dict.json of the wheel pypinyin 0.55.0 (MIT; pip download --no-deps
pypinyin==0.55.0): 47,111 phrases with the reading of each character. A tenth of the phrases is
tested, drawn by hash. Further options go to the training.

Beside it stands the most frequent reading of each character in the other phrases.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from runs import one_line_errors
from task_scores import (
    Figure,
    make_parser,
    mean_of,
    place,
    print_header,
    print_row,
    ratio_of,
    read_options,
    train,
)

from charrnn.errors import CorpusError

TEST_SHARE = 0.1

Phrases = list[tuple[str, list[str]]]  # a phrase and the reading of each character


def read_phrases(path: Path) -> Phrases:
    """Return the phrases with a reading for each character; of several the first."""
    phrases = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(phrases, dict):
        raise CorpusError(f"{path} holds no phrases; give phrases_dict.json of pypinyin")
    return [
        (text, [readings[0] for readings in own])
        for text, own in phrases.items()
        if len(text) == len(own)
    ]


def split(phrases: Phrases) -> tuple[Phrases, Phrases]:
    """Return the phrases to train on, and those to test on."""
    parts: tuple[Phrases, Phrases] = ([], [])
    for phrase in phrases:
        parts[place(phrase[0]) < TEST_SHARE].append(phrase)
    return parts


def most_frequent(phrases: Phrases) -> dict[str, str]:
    """Return the most frequent reading of each character."""
    counts: dict[str, Counter[str]] = {}
    for text, readings in phrases:
        for char, reading in zip(text, readings, strict=True):
            counts.setdefault(char, Counter())[reading] += 1
    return {char: own.most_common(1)[0][0] for char, own in counts.items()}


def readings_of(answer: str) -> list[str]:
    """Return the readings of an answer: a line, character, tab, reading, for each character."""
    return [line.rpartition("\t")[2] for line in answer.splitlines()]


def measure(found: Sequence[Sequence[str]], phrases: Phrases) -> list[Figure]:
    """Return how many characters are right, and how many phrases in all their characters."""
    counts = []
    for own, (_, readings) in zip(found, phrases, strict=True):
        pairs = zip(own, readings, strict=len(own) == len(readings))
        counts.append((sum(one == other for one, other in pairs), len(readings)))
    table = np.array(counts)
    return [ratio_of(table), mean_of(table[:, 0] == table[:, 1])]


@one_line_errors()
def main() -> None:
    """Print how often each reads a character and a phrase right."""
    options, settings = read_options(make_parser(__doc__, "5m", "FILE"))
    own, others = split(read_phrases(options.file))
    print(f"{len(own):,} phrases to train on, {len(others):,} to test on")
    print_header("characters", "phrases")
    reading_of = most_frequent(own)
    guessed = [[reading_of.get(char, "") for char in text] for text, _ in others]
    print_row("most frequent reading", measure(guessed, others))
    if options.anchors_only:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "readings.tsv")
        blocks = ("".join(f"{c}\t{r}\n" for c, r in zip(*each, strict=True)) for each in own)
        path.write_text("\n".join(blocks), encoding="utf-8")
        model, seconds = train(path, Path(folder), {"tags": "columns"} | settings)
        answers = model.predict([text for text, _ in others])
    print_row("charrnn", measure([readings_of(answer) for answer in answers], others), seconds)


if __name__ == "__main__":
    sys.exit(main())
