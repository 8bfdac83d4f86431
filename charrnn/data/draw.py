"""Which part each record of a text goes to, by the hash of its content.

Equal records have equal hashes, so they never stand on two sides, and a record stays on its side
when others are added. There may be more records than memory holds: their hashes and ends are read
from files, one stretch after the other, and of each no more than its part is kept, in a byte.

S = tokens, R = records, or segments of a text.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError
from charrnn.text.vocab import Ids, Vocab, code_points

PARTS = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)

CHUNK_TOKENS = 1 << 22  # read at a time
CHUNK_RECORDS = 1 << 20
_FIRST_BYTE = 0x110000  # byte 0 in hashes: after all code points
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no power is 0 modulo 2^64

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Parts = NDArray[np.uint8]  # indices of PARTS


class Shares(NamedTuple):
    """The fractions of a text that are held out."""

    val: float
    test: float

    def cuts(self, tokens: int) -> tuple[int, int]:
        """Return where the tails `val` and `test` of so many tokens start."""
        return split_position(tokens, self.val + self.test), split_position(tokens, self.test)

    def name(self, what: str, sizes: Sequence[str] = ()) -> str:
        """Return what is held out with the size of each part; without a test part as it is."""
        if not self.test:
            return what
        if not self.val:
            return f"{what}, for testing"
        val, test = sizes or map(percent, self)
        return f"{what}: {val} for validation, {test} for testing"

    @property
    def drawn(self) -> list[tuple[int, float]]:
        """The parts that are held out with their fractions, in the order in which they choose."""
        return [(part, share) for part, share in ((TEST, self.test), (VAL, self.val)) if share]


def split_position(tokens: int, fraction: float) -> int:
    """Return how many of `tokens` come before the held-out tail, as nanoGPT counts them."""
    return int(tokens * (1 - fraction))


def percent(fraction: float) -> str:
    """Return a fraction in per cent.

    >>> percent(0.1), percent(0.125)
    ('10%', '12.50%')
    """
    return f"{fraction:.2%}".replace(".00%", "%")


def draw(
    hashes: Hashes,
    ends: Ints,
    shares: Shares,
    hint: str = "hold a part of the text out with --split tail",
    *,
    first: int = 0,
) -> Parts:
    """Return the part (R,) of each record: `test` has the lowest hashes, `val` those above them.

    Each part has one kind of record at least. A record that with its equals is more than the part's
    fraction of the text is never in it, unless all are, and it is of the shortest.

    hashes: (R,) of the records. ends: (R,) where each ends, in tokens. hint: for the message
    where there are too few. first: where the first begins.

    Raises:
        CorpusError: there are fewer kinds of records than parts.
    """
    parts = _draw_below(hashes, ends, shares, first)
    is_fair = all(part in parts for part in (TRAIN, *dict(shares.drawn)))
    return parts if is_fair else _draw_kinds(hashes, ends, shares, hint, first)


def _draw_below(hashes: Hashes, ends: Ints, shares: Shares, first: int) -> Parts:
    """Return the part (R,) of each record where every part finds records below its limit."""
    parts = np.zeros(len(hashes), np.uint8)
    total = int(ends[-1]) - first
    limits = [int(below * 2.0**64) for below in accumulate(share for _, share in shares.drawn)]
    # All equal records are in one band of hashes, and the kinds of a band are in memory together.
    bands = 1 + int(len(hashes) * sum(shares)) // CHUNK_RECORDS
    for low, high in pairwise((limits[-1] + 1) * band // bands for band in range(bands + 1)):
        kinds, tokens = _count_kinds(hashes, ends, first, low, high)
        of_kinds = np.zeros(len(kinds), np.uint8)
        for (part, share), limit in zip(shares.drawn, limits, strict=True):
            is_small = (tokens <= share * total) & (kinds <= np.uint64(limit))
            of_kinds[is_small & (of_kinds == TRAIN)] = part
        _assign(hashes, kinds, of_kinds, parts)
    return parts


def _draw_kinds(hashes: Hashes, ends: Ints, shares: Shares, hint: str, first: int) -> Parts:
    """Return the part (R,) of each record of a text that has few kinds, or one that is most."""
    kinds, tokens = _count_kinds(hashes, ends, first, 0, 2**64)
    drawn = shares.drawn
    if len(kinds) <= len(drawn):
        found = "only one record" if len(kinds) == 1 else f"only {len(kinds)} different records"
        raise CorpusError(f"the text has {found} to draw from; give more, or {hint}")
    of_kinds = np.zeros(len(kinds), np.uint8)
    below = 0.0  # the share of all hashes that is drawn already
    for left, (part, share) in zip(range(len(drawn), 0, -1), drawn, strict=True):
        is_free = of_kinds == TRAIN
        is_small = is_free & (tokens <= max(share * tokens.sum(), tokens[is_free].min()))
        below += share
        limit = max(kinds[is_small][0], np.uint64(below * 2.0**64))
        chosen = np.flatnonzero(is_small & (kinds <= limit))
        of_kinds[chosen[: np.count_nonzero(is_free) - left]] = part  # one stays for each other
    parts = np.zeros(len(hashes), np.uint8)
    _assign(hashes, kinds, of_kinds, parts)
    return parts


def _count_kinds(
    hashes: Hashes, ends: Ints, first: int, low: int, high: int
) -> tuple[Hashes, NDArray[np.float64]]:
    """Return the different hashes (K,) from low up to high, and how many tokens each has (K,)."""
    kinds = np.empty(0, np.uint64)
    for chunk in iter_chunks(len(hashes)):
        shown = np.asarray(hashes[chunk])
        kinds = np.union1d(kinds, shown[(shown >= low) & (shown < high)])
    tokens = np.zeros(len(kinds))
    for chunk in iter_chunks(len(hashes)):
        which, kind = _find_kinds(np.asarray(hashes[chunk]), kinds)
        sizes = segment_sizes(ends, chunk.start + which, first)
        tokens += np.bincount(kind, sizes, minlength=len(kinds))
    return kinds, tokens


def _assign(hashes: Hashes, kinds: Hashes, of_kinds: Parts, parts: Parts) -> None:
    """Write the parts of kinds (K,) into those of their records (R,)."""
    for chunk in iter_chunks(len(hashes)):
        which, kind = _find_kinds(np.asarray(hashes[chunk]), kinds)
        parts[chunk.start + which] = of_kinds[kind]


def _find_kinds(hashes: Hashes, kinds: Hashes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which hashes are among the kinds (K,), which are sorted, and which kind each is."""
    if not len(kinds):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    kind = np.minimum(np.searchsorted(kinds, hashes), len(kinds) - 1)
    which = np.flatnonzero(kinds[kind] == hashes)
    return which, kind[which]


def iter_chunks(records: int) -> Iterator[slice]:
    """Yield slices of CHUNK_RECORDS at most, of so many records."""
    for begin in range(0, records, CHUNK_RECORDS):
        yield slice(begin, min(begin + CHUNK_RECORDS, records))


def segment_sizes(ends: Ints, which: Ints, first: int) -> Ints:
    """Return how many tokens those segments have. first: where the first of all begins.

    >>> segment_sizes(np.array([3, 5, 9]), np.array([0, 2]), 1).tolist()
    [2, 4]
    """
    starts = np.where(which > 0, ends[which - 1], first)
    sizes: Ints = ends[which] - starts
    return sizes


def count_parts(parts: Parts) -> list[int]:
    """Return how many records each of PARTS has."""
    return [int(np.count_nonzero(parts == part)) for part in range(len(PARTS))]


def hash_segments(ids: Ids, vocab: Vocab, ends: Ints) -> Hashes:
    """Return a hash (R,) of the tokens of each segment, the same in a larger alphabet too.

    Newlines and ends do not count: the last line of a text may lack one, and a file may begin with
    that of the file before.
    """
    codes = code_points(vocab.alphabet).astype(np.uint64)
    bytes_after = np.arange(256 * vocab.has_bytes, dtype=np.uint64) + np.uint64(_FIRST_BYTE)
    digests = (blake2b(each.encode(), digest_size=8).digest() for each in vocab.clusters)
    clusters = np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
    of_end = np.zeros(int(vocab.has_end), np.uint64)
    values = np.concatenate([codes, bytes_after, clusters, of_end]) + np.uint64(1)
    counts = np.ones(vocab.size, np.int64)
    if vocab.has_end:
        values[vocab.end] = counts[vocab.end] = 0
    if vocab.newline >= 0:
        values[vocab.newline] = counts[vocab.newline] = 0
    hashes = np.empty(len(ends), np.uint64)
    starts = np.concatenate([[0], ends[:-1]])
    # Whole segments, of CHUNK_TOKENS together; a longer one is taken alone.
    first = 0
    while first < len(ends):
        last = int(np.searchsorted(ends, starts[first] + CHUNK_TOKENS, side="right"))
        last = max(last, first + 1)
        begin = int(starts[first])
        end = min(int(ends[last - 1]), begin + CHUNK_TOKENS)  # of a longer one the start counts
        shown = np.asarray(ids[begin:end])
        edges = np.append(starts[first:last] - begin, end - begin)
        # Σ (code + 1) f^i modulo 2^64, where i counts the tokens of a segment that are no newlines
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[shown])])
        within = before[:-1] - np.repeat(before[edges[:-1]], np.diff(edges))
        powers = np.cumprod(np.full(int(within.max(initial=0)) + 1, _FACTOR), dtype=np.uint64)
        terms = values[shown] * powers[within]
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
        hashes[first:last] = np.diff(sums[edges])
        first = last
    return mix_bits(hashes)


def mix_bits(hashes: Hashes) -> Hashes:
    """Return hashes with every bit of the input in every bit (splitmix64's last steps)."""
    # Sums of powers alone are far from even in their high bits, which the draw looks at.
    mixed: NDArray[Any] = hashes.copy()
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed
