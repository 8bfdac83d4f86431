"""The words of a text of tokens, for figures that are about words rather than characters.

A word is a run of letters, digits and marks, with apostrophes inside. In a script without spaces,
such as Chinese or Thai, each character is a word.

T = tokens, W = words, V = vocabulary.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.text.vocab import Ids, Vocab

_BETWEEN, _LETTER, _ALONE, _JOINED, _APOSTROPHE = range(5)  # kinds of tokens
# Scripts that are written without spaces between words: their letters' first and last code points.
_NO_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


@dataclass(frozen=True, eq=False)
class Words:
    """Where the words of a text are: token starts[i] to before stops[i], each (W,) int64."""

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each word (W,)."""
        return self.stops - self.starts


def find_words(vocab: Vocab, ids: Ids) -> Words:
    """Return the words of a text (T,).

    >>> words = find_words(Vocab(" 'adnot"), Vocab(" 'adnot").encode("don't  do"))
    >>> words.starts.tolist(), words.stops.tolist()
    ([0, 7], [5, 9])
    """
    kinds = _kinds_of_tokens(vocab)[ids]
    # A byte or a mark that continues a character belongs to what stands before it.
    own = np.maximum.accumulate(np.where(kinds == _JOINED, 0, np.arange(len(kinds))))
    is_joined = kinds == _JOINED
    kinds = kinds[own]
    is_letter = kinds == _LETTER
    inside = np.zeros(len(kinds), bool)
    inside[1:-1] = (kinds[1:-1] == _APOSTROPHE) & is_letter[:-2] & is_letter[2:]
    is_letter |= inside
    is_alone = kinds == _ALONE
    was_letter = np.append(False, is_letter[:-1])
    starts = np.flatnonzero((is_letter & ~was_letter) | (is_alone & ~is_joined))
    # A word ends where the next token is neither its letter nor its mark.
    follows = np.append((is_letter & was_letter)[1:] | (is_alone & is_joined)[1:], False)
    stops = np.flatnonzero((is_letter | is_alone) & ~follows) + 1
    return Words(starts, stops)


def cut_into_words(vocab: Vocab, ids: Ids) -> NDArray[np.int64]:
    """Return where the pieces of a text begin, and at last T: its words, and what is between.

    >>> cut_into_words(Vocab(" ab"), Vocab(" ab").encode("ab  a")).tolist()
    [0, 2, 4, 5]
    """
    words = find_words(vocab, ids)
    return np.unique(np.concatenate(([0], words.starts, words.stops, [len(ids)])))


def _kinds_of_tokens(vocab: Vocab) -> NDArray[np.int8]:
    """Return the kind of each token (V,)."""
    kinds = np.array([_kind_of(vocab.text_of(token)) for token in range(vocab.size)], np.int8)
    if vocab.has_bytes:
        first = len(vocab.alphabet)
        kinds[first : first + 0x80] = [_kind_of(chr(byte)) for byte in range(0x80)]
        kinds[first + 0x80 : first + 0x100] = _LETTER  # most rare characters are letters
        kinds[~vocab.starts_character] = _JOINED
    if vocab.has_end:
        kinds[vocab.end] = _BETWEEN
    return kinds


def _kind_of(text: str) -> int:
    """Return the kind of a character, or of a letter with marks."""
    char = text[:1]
    if not char:
        return _BETWEEN
    if char in "'’":
        return _APOSTROPHE
    if unicodedata.category(char)[0] == "M":
        return _JOINED
    if any(low <= ord(char) <= high for low, high in _NO_SPACES):
        return _ALONE if char.isalnum() else _BETWEEN
    return _LETTER if char.isalnum() else _BETWEEN
