"""The suffixes of a corpus in order, among which any run of tokens is found by bisection.

A run occurs in the corpus if a suffix begins with it, and the suffixes that do are neighbours
(Manber & Myers 1993, "Suffix arrays: a new method for on-line string searches"). Nothing is hashed,
so nothing is missed or mistaken. `copies` and the no-copy constraint search it.

S = tokens of the corpus, K = occurrences of one run.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from charrnn.text.vocab import Ids

_KEY_BITS = 63

Ints = NDArray[np.integer]


class SuffixArray:
    """Every position of a corpus (S,), in the order of the suffix that starts there.

    5 bytes a token for a vocabulary of up to 256, 6 for a larger one; about 60 while it is made.

    >>> corpus = SuffixArray(np.array([1, 0, 1, 0, 2], dtype=np.uint8))
    >>> corpus.pack(np.array([0, 2])) in corpus, corpus.pack(np.array([2, 0])) in corpus
    (True, False)
    """

    def __init__(self, ids: Ids) -> None:
        self._dtype = np.dtype(f">u{ids.itemsize}")  # big-endian: bytes compare as ids do
        self._raw = ids.astype(self._dtype).tobytes()
        self._order = sort_suffixes(ids)
        self._positions = self._order.data  # a memoryview yields Python's ints, and faster

    @property
    def ids(self) -> Ids:
        """The corpus (S,)."""
        return np.frombuffer(self._raw, self._dtype)

    @property
    def token_bytes(self) -> int:
        """Bytes that each token of a packed run takes."""
        return self._dtype.itemsize

    def pack(self, ids: Ids) -> bytes:
        """Return a run of ids as the bytes to search for; packed runs can be joined."""
        return ids.astype(self._dtype).tobytes()

    def __contains__(self, run: bytes) -> bool:
        """Return whether a packed run occurs in the corpus."""
        return self._matches(self._find(bisect_left, run), run)

    def positions_of(self, run: bytes) -> Ints:
        """Return where a packed run starts in the corpus (K,), in no order."""
        first = self._find(bisect_left, run)
        if not self._matches(first, run):
            return self._order[:0]
        return self._order[first : self._find(bisect_right, run, first)]

    def _find(self, search: Callable[..., int], run: bytes, first: int = 0) -> int:
        """Return the rank at which a run belongs among the suffixes, `first` or later."""
        raw = self._raw  # locals: the key is called log₂ S times
        width = self._dtype.itemsize
        size = len(run)
        return search(self._positions, run, first, key=lambda i: raw[i * width : i * width + size])

    def _matches(self, rank: int, run: bytes) -> bool:
        """Return whether the suffix of this rank begins with a packed run."""
        if rank == len(self._positions):
            return False
        start = self._positions[rank] * self._dtype.itemsize
        return self._raw[start : start + len(run)] == run


def sort_suffixes(ids: Ids) -> Ints:
    """Return the positions of `ids` (S,) in the order of their suffixes, a prefix first.

    They are ranked by their first w tokens, then by the ranks of a position and of position + w,
    which are 2w tokens, and so on (Manber & Myers 1993): log₂ S rounds at most. Those with a rank
    of their own are not sorted again (Larsson & Sadakane 2007, "Faster suffix sorting").
    """
    size = len(ids)
    keys, width = _pack_starts(ids)
    order = np.empty(size, dtype=np.min_scalar_type(size))
    ranks = np.zeros(size + 1, dtype=np.int64)  # the last is the end's, which sorts first
    slots = positions = np.arange(size)
    while len(slots):
        # Sort those that still share a rank, and write them where their group belongs.
        by_key = keys.argsort()
        keys = keys[by_key]
        positions = positions[by_key]
        order[slots] = positions
        # A new rank begins with each new key.
        is_first = np.append(True, keys[1:] != keys[:-1])
        ranks[positions] = 1 + np.maximum.accumulate(np.where(is_first, slots, 0))
        # Continue with those that share their rank, by twice as many tokens.
        is_shared = ~(is_first & np.append(is_first[1:], True))
        slots = slots[is_shared]
        positions = positions[is_shared]
        keys = ranks[positions] * (size + 1) + ranks[np.minimum(positions + width, size)]
        width *= 2
    return order


def _pack_starts(ids: Ids) -> tuple[NDArray[np.int64], int]:
    """Return the first tokens of each suffix (S,) as one number, and how many they are."""
    bits = (int(ids.max(initial=0)) + 1).bit_length()
    width = _KEY_BITS // bits
    padded = np.zeros(len(ids) + width, dtype=np.int64)  # 0 is the end
    padded[: len(ids)] = ids.astype(np.int64) + 1
    keys = np.zeros(len(ids), dtype=np.int64)
    for i in range(width):
        keys = keys << bits | padded[i : i + len(ids)]
    return keys, width
