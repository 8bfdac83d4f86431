"""Files of a corpus that are unlike the others: in another language or script, or no prose."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.text.reader import iter_blocks
from charrnn.text.vocab import code_points

MAX_FILES = 256
FILE_CHARS = 1 << 18  # of each file, from its start
MIN_CHARS = 1000  # a shorter file is like no other by chance
MIN_BITS = 0.3  # two authors of one language differ by 0.1 to 0.2, two languages by 0.3 and more


Ints = NDArray[Any]


class UnlikeFile(NamedTuple):
    """A file, and by how much it is unlike the others.

    bits: the bits per character that a code for the characters of the others wastes on it.
    unknown_share: of its characters, those that none of the others has.
    """

    name: str
    bits: float
    unknown_share: float


def find_unlike(files: Sequence[tuple[str, Iterable[str]]]) -> list[UnlikeFile]:
    """Return the files that are unlike the others, the worst first; `files`: (name, pieces).

    The measure is the Kullback-Leibler divergence D(file || others) of the frequencies of
    characters, those of the others with one count more for each character.
    """
    names = []
    counted = []
    for name, pieces in islice(files, MAX_FILES):
        text = next(iter_blocks(pieces, FILE_CHARS), "")
        if len(text) >= MIN_CHARS:
            names.append(name)
            counted.append(np.unique(code_points(text), return_counts=True))
    if len(names) < 2:
        return []
    alphabet = np.unique(np.concatenate([codes for codes, _ in counted]))
    total = np.zeros(len(alphabet), np.int64)
    for codes, counts in counted:
        total[np.searchsorted(alphabet, codes)] += counts
    unlike: list[UnlikeFile] = []
    left = dict(zip(names, counted, strict=True))
    # One at a time, the worst first: beside a foreign file the others would look unlike it too.
    while len(left) > 1:
        found = [_compare(name, *counts, alphabet, total) for name, counts in left.items()]
        worst = max(found, key=lambda each: each.bits)
        if worst.bits < MIN_BITS:
            break
        unlike.append(worst)
        codes, counts = left.pop(worst.name)
        total[np.searchsorted(alphabet, codes)] -= counts
    return unlike


def _compare(name: str, codes: Ints, counts: Ints, alphabet: Ints, total: Ints) -> UnlikeFile:
    """Compare the counts of a file's characters with those of all files together."""
    others = total[np.searchsorted(alphabet, codes)] - counts
    own = counts / counts.sum()
    expected = (others + 1) / (total.sum() - counts.sum() + len(alphabet))
    bits = float(np.sum(own * np.log2(own / expected)))
    return UnlikeFile(name, bits, float(own[others == 0].sum()))
