"""Weights of texts: the number after the last colon of a path, as in letters.txt:5.

It says how often training reads the text in an epoch. `text.files` and `corpora.library` take paths
apart by it.
"""

import os
import re
import shlex
from collections.abc import Sequence

from charrnn.errors import CorpusError

MAX_WEIGHT = 1000
_NUMBER = re.compile(r"[+-]?[0-9][0-9_.,]*(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
_MAX_SHOWN = 200  # characters of a path, which may be a whole text by mistake


def split_weight(path: str) -> tuple[str, int]:
    """Return a path without the weight after its last colon, and the weight; 1 without one.

    The name of a file or folder that exists has no weight, whatever it ends in.

    >>> split_weight("letters.txt:5"), split_weight("book.txt")
    (('letters.txt', 5), ('book.txt', 1))

    Raises:
        CorpusError: a number that is no weight stands there, or standard input has one.
    """
    name, colon, number = path.rpartition(":")
    # By os.path, as a path may be a whole text by mistake, which pathlib refuses.
    if not (name and colon and _NUMBER.fullmatch(number)) or os.path.lexists(path):
        return path, 1
    shown = path if len(path) <= _MAX_SHOWN else f"…{path[-_MAX_SHOWN:]}"
    if name == "-":
        raise CorpusError(f"standard input takes no weight; give - instead of {shown}")
    if not (number.isdecimal() and 1 <= int(number[:9]) <= MAX_WEIGHT):
        raise CorpusError(
            f"the weight in {shown!r} is {number}; give a whole number from 1 to {MAX_WEIGHT:,}, "
            "or leave it out"
        )
    return name, int(number)


def with_new_place(paths: Sequence[str], missing: str) -> list[str]:
    """Return paths for a command to copy, in which a place to fill in stands for a missing one.

    >>> with_new_place(["my book.txt", "letters.txt:5"], "letters.txt")
    ["'my book.txt'", 'NEW_PLACE:5']
    """
    return [
        shlex.quote(path)
        if split_weight(path)[0] != missing
        else path.replace(missing, "NEW_PLACE", 1)
        for path in paths
    ]
