"""What does the first line of a couplet say of the second? python benchmarks/couplets.py FOLDER

FOLDER holds poet.tang.*.json: dist/quantangshi of the npm package chinese-poetry 2.0.1 (MIT; npm
pack chinese-poetry@2.0.1, 85 MB). What counts are the distinct couplets of two lines of five or
seven characters each. By the hash of the poem 5 % are held out; --tested 1000 of their couplets
are converted.

Two models are trained: one from the first line, and the same one without it, from a line of as many
dots, so that both know the length. Bits are those of the held-out second lines, each with its end,
per character. Length: how many converted lines have as many characters as the first. Further
options go to both trainings.
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
from runs import one_line_errors
from task_scores import (
    make_parser,
    mean_of,
    place,
    print_header,
    print_row,
    read_options,
    write_table,
)

import charrnn
from charrnn.errors import CorpusError

SHARE = 0.05  # held out
_LINE = "[^，。！？；、：□]"
_COUPLET = re.compile(f"({_LINE}{{5}}|{_LINE}{{7}})[，！？；]({_LINE}+)[。！？；]")

Couplets = list[tuple[str, str]]


def read_couplets(folder: Path) -> tuple[Couplets, Couplets]:
    """Return the couplets to train on, and those that are held out; each stands in one of them."""
    files = sorted(folder.glob("poet.tang.*.json"))
    if not files:
        raise CorpusError(f"{folder} has no poet.tang.*.json; give dist/quantangshi")
    is_held_out: dict[tuple[str, str], bool] = {}
    for path in files:
        for poem in json.loads(path.read_text(encoding="utf-8")):
            own = place("".join(poem["paragraphs"])) < SHARE
            for match in map(_COUPLET.fullmatch, poem["paragraphs"]):
                if match and len(match[1]) == len(match[2]):
                    is_held_out.setdefault((match[1], match[2]), own)
    parts: tuple[Couplets, Couplets] = ([], [])
    for couplet, held_out in is_held_out.items():
        parts[held_out].append(couplet)
    return parts


def without_first(couplets: Couplets) -> Couplets:
    """Return the couplets with dots in the place of the first line."""
    return [("." * len(first), second) for first, second in couplets]


def bits_per_char(nats: float, couplets: Couplets) -> float:
    """Return bits per character, from the mean nats of the characters and ends of second lines."""
    chars = sum(len(second) for _, second in couplets)
    return nats * (chars + len(couplets)) / chars / math.log(2)


@one_line_errors()
def main() -> None:
    """Print the bits of each, what the first line saves, and whether lengths are right."""
    parser = make_parser(__doc__, "20m", "FOLDER")
    parser.add_argument("--tested", type=int, default=1000)
    options, settings = read_options(parser)
    own, held_out = read_couplets(options.folder)
    print(f"{len(own):,} couplets to train on, {len(held_out):,} held out")
    if options.anchors_only:
        return
    bits = []
    print_header("bits per character", "length")
    for name, change in (("without the first line", without_first), ("with it", list)):
        with tempfile.TemporaryDirectory() as folder:
            path = write_table(Path(folder, "train.tsv"), change(own))
            val_file = str(write_table(Path(folder, "val.tsv"), change(held_out)))
            places = {"name": "model", "checkpoints": folder, "val_file": val_file}
            result = charrnn.fit(str(path), pairs=True, **places, **settings)
            sources = [first for first, _ in change(held_out)[: options.tested]]
            found = charrnn.load("model", checkpoints=folder).predict(sources)
        bits.append(bits_per_char(result.val_nats, held_out))
        right = [len(a) == len(b) for a, b in zip(found, sources, strict=True)]
        print_row(name, [f"{bits[-1]:.3f}", mean_of(np.array(right))], result.seconds)
    print(f"the first line saves {bits[0] - bits[1]:.3f} bits per character")


if __name__ == "__main__":
    sys.exit(main())
