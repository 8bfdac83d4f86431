"""Files of a corpus that are unlike the others: in another language or script, or no prose."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from charrnn.text.reader import iter_blocks
from charrnn.text.vocab import code_points

MAX_FILES = 256
FILE_CHARS = 1 << 18  # of each file, from its start
MIN_CHARS = 500  # a shorter file is like no other by chance
MIN_BITS = 0.3  # texts of one language differ by 0.1 and less, of two languages by 0.3 and more


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
    names, counted = [], []
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
    unlike = []
    for name, (codes, counts) in zip(names, counted, strict=True):
        others = total[np.searchsorted(alphabet, codes)] - counts
        own = counts / counts.sum()
        expected = (others + 1) / (total.sum() - counts.sum() + len(alphabet))
        bits = float(np.sum(own * np.log2(own / expected)))
        unlike.append(UnlikeFile(name, bits, float(own[others == 0].sum())))
    return sorted((each for each in unlike if each.bits >= MIN_BITS), key=lambda each: -each.bits)
