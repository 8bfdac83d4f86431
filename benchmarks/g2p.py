"""How are words pronounced? SIGMORPHON 2020, task 1: python benchmarks/g2p.py FOLDER

FOLDER has for each of 15 languages a file such as ady_train.tsv and ady_dev.tsv: a word, a tab,
its phones with spaces between (github.com/sigmorphon/2020, task1/data; no licence is stated, the
words are Wiktionary's, CC BY-SA). A model is trained on each train file alone, with the defaults
for every language, and measured on the dev file, any listed pronunciation of a word being right.
WER: words that are not right; PER: wrong phones per phone.

--languages ady,gre: only those. --beam 5. --sequitur 6: sequitur-g2p with n-grams up to this order
beside it, where it is installed. Further options go to the training.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from anchors import sequitur
from numpy.typing import NDArray
from runs import one_line_errors
from task_scores import (
    draw_figures,
    make_parser,
    mean_of,
    print_header,
    print_row,
    pronunciation_errors,
    ratio_of,
    read_options,
    train,
    with_interval,
)

from charrnn.errors import CorpusError

PUBLISHED = {"LSTM baseline, test part": 0.1684, "best of 23, test part": 0.1381}

Pairs = list[tuple[str, str]]  # a word and its phones


def read_pairs(path: Path) -> Pairs:
    """Return the words of a file and their pronunciations."""
    pairs: Pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split("\t")
        if len(cells) != 2:
            raise CorpusError(f"{path}:{number} has {len(cells)} columns; a word and its phones do")
        pairs.append((cells[0], cells[1]))
    return pairs


def group(pairs: Pairs) -> dict[str, list[str]]:
    """Return the pronunciations of each word."""
    listed: dict[str, list[str]] = {}
    for word, phones in pairs:
        listed.setdefault(word, []).append(phones)
    return listed


def find_languages(folder: Path, asked: str) -> list[str]:
    """Return the languages of a folder, or those that are asked for."""
    languages = sorted(path.name.removesuffix("_train.tsv") for path in folder.glob("*_train.tsv"))
    wanted = asked.split(",") if asked else languages
    if not wanted or not set(wanted) <= set(languages):
        there = ", ".join(languages) or "no file *_train.tsv"
        raise CorpusError(f"{folder} has {there}; --languages asks for {asked or 'all'}")
    return wanted


def macro(wrong: Sequence[NDArray[np.bool_]]) -> object:
    """Return the mean error rate of languages, each an (N,) of whether a word is wrong."""
    drawn = [draw_figures(lambda rows, own=own: own[rows].mean(), len(own)) for own in wrong]
    return with_interval(float(np.mean([own.mean() for own in wrong])), np.mean(drawn, axis=0))


@one_line_errors()
def main() -> None:
    """Print the error rates of each language, and their means."""
    parser = make_parser(__doc__, "3m", "FOLDER")
    parser.add_argument("--languages", default="")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--sequitur", type=int, default=0)
    options, settings = read_options(parser)
    wrong: dict[str, list[NDArray[np.bool_]]] = {}

    def show(name: str, language: str, found: Sequence[str] | None, seconds: float) -> None:
        if found is None:
            print_row(f"{language} {name}", None)
            return
        counts = pronunciation_errors(found, listed.values())
        wrong.setdefault(name, []).append(counts[:, 0] > 0)
        figures = [mean_of(counts[:, 0] > 0), ratio_of(counts)]
        print_row(f"{language} {name}", figures, seconds)

    print_header("WER", "PER")
    for language in find_languages(options.folder, options.languages):
        path = options.folder / f"{language}_train.tsv"
        listed = group(read_pairs(options.folder / f"{language}_dev.tsv"))
        if options.sequitur:
            began = time.perf_counter()
            found = sequitur(read_pairs(path), [*listed], options.sequitur)
            show("sequitur", language, found, time.perf_counter() - began)
        if not options.anchors_only:
            with tempfile.TemporaryDirectory() as folder:
                own = {"pairs": True, "target_unit": "space"} | settings
                model, seconds = train(path, Path(folder), own)
                show("charrnn", language, model.predict([*listed], beam=options.beam), seconds)
    for name, each in wrong.items():
        print_row(f"mean of {len(each)}, {name}", [macro(each)])
    for name, share in PUBLISHED.items():
        print_row(name, [f"{share:.2%}"])


if __name__ == "__main__":
    sys.exit(main())
