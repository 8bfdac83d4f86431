"""n-grams with embeddings of their own: which they are, and how the last tokens find their rows.

A table of n-grams has R rows in buckets of four. Of as many n-grams as rows one in five finds its
bucket full, of four fifths as many one in eight; with one row a bucket it would be more than one in
three.

The last 2, 3, … N tokens are hashed to a bucket and a check; the n-gram has an embedding if a row
of the bucket keeps that check, so that one which training never chose finds nothing. There is no
list of n-grams to search, and the same few operations on whole numbers below 2⁶³ make the hash in
numpy, torch, C, JavaScript and ONNX.

A token counts by its key, a whole number from 1 (its id + 1 unless the model started from another
one); 0 stands where there is no token, before the text.

R = rows, N = the longest n-gram (`ngram_order`), S = tokens of a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.config.model import BUCKET
from charrnn.text.vocab import Ids

# Odd and below 2³¹, so that a product with 32 bits stays below 2⁶³.
STEP = 0x2C9277B5
TO_BUCKET = 0x5BD1E995
TO_CHECK = 0x27D4EB2F
MASK = 0xFFFFFFFF
NO_CHECK = -1.0
"""The check of a row without an n-gram."""

_MOST_COUNTED = 4_000_000  # tokens: the frequent n-grams of a longer text show in a part of it
_PARTS = 64
_COUNTERS_PER_TOKEN = 4
_FEWEST_COUNTERS = 1 << 12
_MOST_COUNTERS = 1 << 22
_FEWEST = 4  # times that an n-gram must occur: rarer ones teach a network to recite (LOG.md)


@dataclass(frozen=True)
class RowCounts:
    """How the frequent n-grams of a text found rows in a table.

    frequent: how many the text has, about. taken: the rows that had an n-gram before. known: of the
    frequent ones those that had a row; added: those that took one that was free.
    """

    frequent: int
    taken: int
    known: int
    added: int


def hash_ngrams(keys: list[int], rows: int) -> Iterator[tuple[int, int]]:
    """Yield the bucket and the check of the n-grams that end here, of 2, 3, … N tokens.

    keys: of the last N tokens, the newest first.

    >>> list(hash_ngrams([3, 1, 0], rows=100))
    [(7, 3069518), (18, 3665892)]
    """
    buckets = rows // BUCKET
    code = keys[0]
    for key in keys[1:]:
        code = (code * STEP + key) & MASK
        yield ((code * TO_BUCKET & MASK) * buckets) >> 32, (code * TO_CHECK & MASK) >> 8


def hash_many(keys: NDArray[np.int64], rows: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return buckets (N − 1, …) and checks (N − 1, …) for keys (N, …), the newest first."""
    # 32 bits wide: products wrap around by themselves.
    small = keys.astype(np.uint32)
    codes = np.empty((len(keys) - 1, *keys.shape[1:]), np.uint32)
    code = small[0]
    for older, out in zip(small[1:], codes, strict=True):
        code = np.multiply(code, np.uint32(STEP), out)
        code += older
    found = (codes * np.uint32(TO_BUCKET)).astype(np.int64)
    found *= rows // BUCKET
    found >>= 32
    codes *= np.uint32(TO_CHECK)
    codes >>= 8
    return found, codes.astype(np.float32)


def find_rows(
    check: NDArray[np.float32], keys: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the rows (N − 1, …) of the n-grams of keys (N, …), newest first.

    Beside them whether the n-gram has a row; if not, the number means nothing. check: (R,) of the
    table. Keys have two axes at least.
    """
    buckets, checks = hash_many(keys, len(check))
    is_own = check.reshape(-1, BUCKET).take(buckets, 0) == checks[..., None]
    # The four answers of a bucket as one number: four times as fast as any().
    is_known = is_own.view(np.uint32)[..., 0] != 0
    return BUCKET * buckets + is_own.argmax(-1), is_known


def _buckets(codes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return ((codes * TO_BUCKET & MASK) * count) >> 32


def _checks(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    return (codes * TO_CHECK & MASK) >> 8


def find_ngrams(
    ids: Ids, order: int, keys: NDArray[np.int64], end: int | None = None
) -> NDArray[np.int64]:
    """Return the codes (F,) of n-grams that occur about four times or more, most frequent first.

    "About", as codes that share a counter count as one n-gram. ids: (S,) of the training text; of
    more than four million tokens only parts, four million together, are counted, and an n-gram must
    occur four times there. keys: (V,) of the tokens. end: the token that ends a record, None
    without records. A record begins without any token before it, as where a network reads it, and
    n-grams that end with its end are left out: the next state is the initial one.

    >>> len(find_ngrams(np.tile([0, 1, 2], 50), order=3, keys=np.arange(1, 4)))
    6
    """
    counters = min(max(_COUNTERS_PER_TOKEN * len(ids), _FEWEST_COUNTERS), _MOST_COUNTERS)
    small = keys.astype(np.uint32)
    found = [np.empty(0, np.int64)]
    counts_of = [np.empty(0, np.int64)]
    codes_of_part = [
        _codes_of(small[part], order, None if end is None else part == end) for part in _parts(ids)
    ]
    for same_length in zip(*codes_of_part, strict=True):
        codes = np.concatenate(same_length)
        # Count by a hash, so that a long text need not be sorted.
        counted = (codes * np.uint32(TO_BUCKET)).astype(np.int64)
        counted *= counters
        counted >>= 32
        counts = np.bincount(counted, minlength=counters)
        code_of = np.zeros(counters, np.uint32)
        code_of[counted] = codes
        frequent = np.flatnonzero(counts >= _FEWEST)
        found.append(code_of[frequent].astype(np.int64))
        counts_of.append(counts[frequent])
    codes = np.concatenate(found)
    by_count = np.argsort(-np.concatenate(counts_of), kind="stable")
    # Two n-grams of one code, which are rare, count as one.
    _, first = np.unique(codes[by_count], return_index=True)
    return codes[by_count][np.sort(first)]


def _codes_of(
    keys: NDArray[np.uint32], order: int, is_end: NDArray[np.bool_] | None
) -> Iterator[NDArray[np.uint32]]:
    """Yield the codes of the n-grams of 2, 3, … N tokens of a text, from its keys (S,).

    Those of one length at a time: all of them would take the memory of N texts.
    """
    code = keys  # 32 bits wide: products wrap around by themselves
    is_own = np.ones(len(keys), bool)
    for n in range(2, order + 1):
        count = max(len(keys) - n + 1, 0)
        older = keys[:count]
        if is_end is not None:  # tokens at or before the last end count as none
            is_own = is_own[1:] & ~is_end[:count]
            older = older * is_own
        code = code[1:] * np.uint32(STEP) + older
        yield code if is_end is None else code[~is_end[n - 1 :]]


def place_ngrams(codes: NDArray[np.int64], rows: int) -> NDArray[np.float32]:
    """Return the check (R,) of each row: the first four of the codes of its bucket, else −1.

    codes: as `find_ngrams` returns them.
    """
    check = np.full(rows, NO_CHECK, np.float32)
    buckets = _buckets(codes, rows // BUCKET)
    by_bucket = np.argsort(buckets, kind="stable")
    codes = codes[by_bucket]
    buckets = buckets[by_bucket]
    rank = np.arange(len(codes)) - np.searchsorted(buckets, buckets)
    has_room = rank < BUCKET
    check[(BUCKET * buckets + rank)[has_room]] = _checks(codes)[has_room]
    return check


def choose_ngrams(
    ids: Ids, order: int, rows: int, keys: NDArray[np.int64], end: int | None = None
) -> NDArray[np.float32]:
    """Return the check (R,) of each row: of the frequent n-grams of a text as many as fit.

    ids, keys, end: as for `find_ngrams`.

    >>> ids = np.tile([0, 1, 2], 50)
    >>> int((choose_ngrams(ids, order=3, rows=64, keys=np.arange(1, 4)) >= 0).sum())
    6
    """
    return place_ngrams(find_ngrams(ids, order, keys, end), rows)


def add_ngrams(check: NDArray[np.float32], chosen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the checks of a table (R,), whose free rows have those of `chosen` (R,) that it lacks.

    No check is twice in a bucket then, so that an n-gram has one row.

    >>> add_ngrams(np.array([7, -1, 5, -1]), np.array([5, 8, 6, 9])).tolist()
    [7, 8, 5, 6]
    """
    filled = check.reshape(-1, BUCKET).copy()
    for column in chosen.reshape(-1, BUCKET).T:  # the most frequent first
        is_free = filled == NO_CHECK
        is_added = is_free.any(1) & (column != NO_CHECK) & ~(filled == column[:, None]).any(1)
        buckets = np.flatnonzero(is_added)
        filled[buckets, is_free.argmax(1)[buckets]] = column[buckets]
    return filled.reshape(-1)


def count_known(check: NDArray[np.float32], codes: NDArray[np.int64]) -> int:
    """Return how many n-grams of these codes (F,) have a row in a table with these checks (R,).

    >>> codes = find_ngrams(np.tile([0, 1, 2], 50), order=3, keys=np.arange(1, 4))
    >>> count_known(place_ngrams(codes[:2], rows=64), codes)
    2
    """
    in_bucket = check.reshape(-1, BUCKET)[_buckets(codes, len(check) // BUCKET)]
    return int((in_bucket == _checks(codes)[:, None]).any(1).sum())


def _parts(ids: Ids) -> list[Ids]:
    """Return the text, or parts of a long one, evenly spread."""
    if len(ids) <= _MOST_COUNTED:
        return [ids]
    size = _MOST_COUNTED // _PARTS
    starts = np.linspace(0, len(ids) - size, _PARTS).astype(np.int64)
    return [ids[start : start + size] for start in starts.tolist()]
