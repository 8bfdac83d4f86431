"""The name that was probably meant by a mistyped one: of a text, an option, a value, a command."""

import difflib
from collections.abc import Iterable

_MEANT = {"gpu": "cuda", "nvidia": "cuda"}  # other words for the same thing, however unlike
_CUTOFF = 0.66  # a name that shares less with what was typed is a guess, not a correction


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
