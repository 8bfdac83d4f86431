"""The suffixes of a corpus in order, among which any run of tokens is found by bisection.

A run stands in the corpus if a suffix begins with it, and the suffixes that do are neighbours
(Manber & Myers 1993, "Suffix arrays: a new method for on-line string searches"). Nothing is hashed,
so nothing is missed and nothing mistaken. It knows nothing of characters.

S = tokens of the corpus, K = places of one run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from charrnn.text.vocab import Ids

_KEY_BITS = 63

Ints = NDArray[np.integer]


class SuffixArray:
    """Every place of a corpus, in the order of what stands from there on.

    It keeps the tokens in their own width and the places in 4 bytes: 5 bytes a character for an
    alphabet of up to 256, 6 for a larger one. While it is made it takes about 60.
    """

    def __init__(self, ids: Ids) -> None:
        self._dtype = np.dtype(f">u{ids.itemsize}")  # big-endian: bytes compare as ids do
        self._raw = ids.astype(self._dtype).tobytes()
        self._order = sort_suffixes(ids)
        self._places = self._order.data  # its numbers are Python's own, and come faster

    @property
    def ids(self) -> Ids:
        """The corpus (S,)."""
        return np.frombuffer(self._raw, self._dtype)

    @property
    def token_bytes(self) -> int:
        """Bytes that each token of a packed run takes."""
        return self._dtype.itemsize

    def pack(self, ids: Ids) -> bytes:
        """Give a run of ids as the bytes by which it is looked for; packed runs can be joined."""
        return ids.astype(self._dtype).tobytes()

    def __contains__(self, run: bytes) -> bool:
        """Tell whether a packed run stands in the corpus."""
        return self._stands_at(self._find(bisect_left, run), run)

    def positions_of(self, run: bytes) -> Ints:
        """Give where a packed run starts in the corpus (K,), in no order."""
        first = self._find(bisect_left, run)
        if not self._stands_at(first, run):
            return self._order[:0]
        return self._order[first : self._find(bisect_right, run, first)]

    def _find(self, search: Callable[..., int], run: bytes, first: int = 0) -> int:
        """Give where among the suffixes a run belongs, `first` or later."""
        raw, width, size = self._raw, self._dtype.itemsize, len(run)
        return search(self._places, run, first, key=lambda at: raw[at * width : at * width + size])

    def _stands_at(self, slot: int, run: bytes) -> bool:
        if slot == len(self._places):
            return False
        start = self._places[slot] * self._dtype.itemsize
        return self._raw[start : start + len(run)] == run


def sort_suffixes(ids: Ids) -> Ints:
    """Give the places of `ids` (S,) in the order of their suffixes; a shorter one stands first.

    Places are ranked by their first w tokens, then by the ranks of place and place + w, which are
    2w tokens, and so on (Manber & Myers 1993); what is told apart already is sorted no more
    (Larsson & Sadakane 2007, "Faster suffix sorting"). A text of one token takes log₂ S rounds.
    """
    size = len(ids)
    keys, width = _pack_starts(ids)
    order = np.empty(size, dtype=np.min_scalar_type(size))
    ranks = np.zeros(size + 1, dtype=np.int64)  # the last is the end's, which stands first
    slots = places = np.arange(size)
    while len(slots):
        by_key = keys.argsort()
        keys, places = keys[by_key], places[by_key]
        order[slots] = places
        is_first = np.append(True, keys[1:] != keys[:-1])
        ranks[places] = 1 + np.maximum.accumulate(np.where(is_first, slots, 0))
        is_alone = is_first & np.append(is_first[1:], True)
        slots, places = slots[~is_alone], places[~is_alone]
        keys = ranks[places] * (size + 1) + ranks[np.minimum(places + width, size)]
        width *= 2
    return order


def _pack_starts(ids: Ids) -> tuple[NDArray[np.int64], int]:
    """Give the first tokens of each suffix (S,) as one number, and how many they are."""
    bits = (int(ids.max(initial=0)) + 1).bit_length()
    width = _KEY_BITS // bits
    padded = np.zeros(len(ids) + width, dtype=np.int64)
    padded[: len(ids)] = ids
    padded[: len(ids)] += 1  # 0 is the end
    keys = np.zeros(len(ids), dtype=np.int64)
    for i in range(width):
        keys = keys << bits | padded[i : i + len(ids)]
    return keys, width
