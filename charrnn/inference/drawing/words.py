"""Where words begin: after what is no part of one.

V = vocabulary.
"""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray

from charrnn.text.vocab import Vocab

_JOINERS = "'’"  # within a word, as in don't


def begins_word(vocab: Vocab) -> NDArray[np.bool_]:
    """Give (V + 1,) whether a word begins after each id, and, last, where a text begins.

    Letters, marks, digits and the apostrophe are parts of words; so are the bytes of what lies
    beyond ASCII.
    """
    ascii_bytes = map(chr, range(0x80 if vocab.has_bytes else 0))
    parts = [_is_part(char) for char in (*vocab.alphabet, *ascii_bytes)]
    is_part = np.ones(vocab.size + 1, np.bool_)
    is_part[: len(parts)] = parts
    is_part[-1] = False
    return ~is_part


def _is_part(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN" or char in _JOINERS
