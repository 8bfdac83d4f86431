"""Words that messages share: counts with their nouns, and the name that was probably meant."""

import difflib
from collections.abc import Iterable

_MEANT = {"gpu": "cuda", "nvidia": "cuda"}  # other words for the same thing, however unlike
_CUTOFF = 0.66  # a name that shares less with what was typed is a guess, not a correction


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, which ends in s unless there is one.

    >>> counted(1, "character"), counted(1234, "text")
    ('1 character', '1,234 texts')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def nearest(typed: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant; None where none is near.

    >>> nearest("shakespear", ["tiny-shakespeare", "names"])
    'tiny-shakespeare'
    >>> nearest("GPU", ["cpu", "cuda"]), nearest("book", ["letters"])
    ('cuda', None)
    """
    spelled = {name.lower(): name for name in names}
    word = typed.lower()
    if word in _MEANT:
        return spelled.get(_MEANT[word])
    near = difflib.get_close_matches(word, spelled, n=1, cutoff=_CUTOFF)
    return spelled[near[0]] if near else None
