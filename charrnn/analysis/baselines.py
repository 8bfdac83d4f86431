"""A smoothed 5-gram: the simple model of characters that a network has to beat.

It counts which tokens follow which, and where a context was seen too seldom it leans on the one
that is a token shorter: interpolated Kneser–Ney with three discounts for each order, "modified"
in Chen & Goodman 1999, who found it the best of its kind. Training and held-out text are numbered
together, so that every look-up is an index, but only the training text is counted. It knows nothing
of files or of other baselines.

V = vocabulary size, N = training tokens, S = held-out tokens, n = order, R = N + S + 1 rows,
G = different grams of an order.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from charrnn.metrics import bits_per_char
from charrnn.text.vocab import Ids, Vocab

NGRAM_ORDER = 5
NGRAM_NAME = f"{NGRAM_ORDER}-gram"
TRAINED_TOKENS = 1 << 22  # about 1 s and 0.2 GB

_FALLBACK = (0.5, 1.0, 1.5)  # as KenLM has it

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def ngram_nats(train: Ids, held_out: Ids, vocab: Vocab) -> float:
    """Give the nats per character that `held_out` (S,) costs after `train` (N,).

    The training text counts with its last TRAINED_SYMBOLS; a held-out text without characters
    costs nothing.
    """
    nats = ngram_token_nats(train[-TRAINED_TOKENS:], held_out, vocab.size)
    return float(nats.sum()) / max(1, vocab.count_characters(held_out))


def ngram_token_nats(
    train: Ids, held_out: Ids, vocab_size: int, order: int = NGRAM_ORDER
) -> Floats:
    """Give −ln p (S,) of each held-out token, given the order − 1 tokens before it.

    The held-out text goes on where the training text ends. Before both stands a token of its own,
    so that the first ones have a context too.
    """
    dtype = np.min_scalar_type(vocab_size)  # a sort of 8 or 16 bits is many times faster
    parts = [np.full(order, vocab_size), train, held_out]
    text = np.concatenate(parts, dtype=dtype, casting="unsafe")
    shorter, *orders = _number_grams(text, order)
    occurrences = np.arange(len(shorter))
    counted = slice(1, len(train) + 1)
    probabilities = np.full(len(held_out), 1 / vocab_size)
    for grams, longer in pairwise([*orders, occurrences]):
        counts = _count_endings(longer[counted], grams[counted], int(grams.max()))
        probabilities = _interpolate(counts, shorter[:-1], grams[1:], probabilities)
        shorter = grams
    nats: Floats = np.log(1 / probabilities)  # −ln 1 would be −0
    return nats


def _number_grams(text: Ids, order: int) -> Iterator[Ints]:
    """Yield (R,) for each order from 0 to n: where equal grams end stand equal numbers, from 0 up.

    Row r ends at text[order - 1 + r]. One sort by the last token, then by the one before it, and
    so on, brings the equal grams of every order side by side.
    """
    rows = len(text) - order + 1
    columns = [text[i : i + rows] for i in range(order)]
    by_end = np.lexsort(columns)
    is_new = np.zeros(rows, dtype=np.bool_)
    yield np.zeros(rows, dtype=np.int64)
    for column in reversed(columns):
        tokens = column[by_end]
        is_new[1:] |= tokens[1:] != tokens[:-1]
        numbers = np.empty(rows, dtype=np.int64)
        numbers[by_end] = np.cumsum(is_new)
        yield numbers


def _count_endings(longer: Ints, grams: Ints, last: int) -> Ints:
    """Give (last + 1,): how many different longer grams each gram 0 … last ends.

    longer, grams: (N,), the numbers of both at each training token.
    """
    ending = np.full(longer.max(initial=-1) + 1, -1)
    ending[longer] = grams
    return np.bincount(ending[ending >= 0], minlength=last + 1)


def _interpolate(counts: Ints, contexts: Ints, grams: Ints, lower: Floats) -> Floats:
    """Give p (S,) by this order: what is discounted from the seen goes to the order below.

    p(w | h) = (c(hw) − D(c(hw)) + Σᵥ D(c(hv)) · p(w | h′)) / Σᵥ c(hv)

    counts: (G,). contexts, grams: (N + S,), h and hw of each token. lower: (S,), p(w | h′).
    """
    discounts = _estimate_discounts(counts)[np.minimum(counts, 3)]
    context_of = np.zeros_like(counts)
    context_of[grams] = contexts
    totals = np.bincount(context_of, counts, minlength=contexts.max(initial=0) + 1)
    left_over = np.bincount(context_of, discounts, minlength=len(totals))
    is_unseen = totals == 0
    left_over[is_unseen] = totals[is_unseen] = 1  # all is left to the order below
    held_out = slice(len(grams) - len(lower), None)
    h, hw = contexts[held_out], grams[held_out]
    return (counts[hw] - discounts[hw] + left_over[h] * lower) / totals[h]


def _estimate_discounts(counts: Ints) -> Floats:
    """Give D(0), D(1), D(2) and D(3 and more) from how many grams count 1, 2, 3 and 4."""
    n1, n2, n3, n4 = np.bincount(counts[counts < 5], minlength=5)[1:]
    discounts = _FALLBACK
    if min(n1, n2, n3, n4):
        y = n1 / (n1 + 2 * n2)
        estimates = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        discounts = estimates if min(estimates) > 0 else _FALLBACK
    return np.array([0, *discounts])


WHOLE_BYTES = 32 << 20
CONTEXT_BYTES = 8 << 20
HELD_OUT_BYTES = 2 << 20

_GZIP_FRAMING = 31  # zlib's way to ask for a 32 KiB window and gzip's header


def whole_bpc(pieces: Iterable[str]) -> dict[str, float]:
    """Give the bits per character of a compressed text, by compressor: "gzip" and "xz".

    Beyond WHOLE_BYTES of UTF-8 the text is not looked at, so the figures hold for that beginning.
    A text without characters has none.
    """
    gzip = zlib.compressobj(9, zlib.DEFLATED, _GZIP_FRAMING)
    xz = lzma.LZMACompressor(preset=6)
    chars, sizes = 0, {"gzip": 0, "xz": 0}
    for piece in _cut_pieces(pieces, WHOLE_BYTES):
        data = _utf8(piece)
        chars += len(piece)
        sizes["gzip"] += len(gzip.compress(data))
        sizes["xz"] += len(xz.compress(data))
    sizes["gzip"] += len(gzip.flush())
    sizes["xz"] += len(xz.flush())
    return {name: size * 8 / chars for name, size in sizes.items()} if chars else {}


def compressor_bpc(context: str, held_out: str) -> dict[str, float]:
    """Give the bits per character that `held_out` costs a compressor that has read `context`.

    It is what the text grows by when `held_out` follows: (size of both - size of context) * 8 /
    characters. The context counts with its last CONTEXT_BYTES, the other with its first
    HELD_OUT_BYTES; a held-out text without characters has no figure.
    """
    before = _utf8(context[-CONTEXT_BYTES:])[-CONTEXT_BYTES:]
    counted = "".join(_cut_pieces([held_out], HELD_OUT_BYTES))
    if not counted:
        return {}
    both = before + _utf8(counted)
    grown_bytes = {
        "gzip": len(zlib.compress(both, 9)) - len(zlib.compress(before, 9)),
        "xz": len(lzma.compress(both, preset=6)) - len(lzma.compress(before, preset=6)),
    }
    return {name: size * 8 / len(counted) for name, size in grown_bytes.items()}


def _cut_pieces(pieces: Iterable[str], limit_bytes: int) -> Iterator[str]:
    """Yield the pieces until `limit_bytes` of UTF-8, and of the last one its whole characters."""
    left = limit_bytes
    for piece in pieces:
        data = _utf8(piece[:left])
        if len(data) > left or len(piece) > left:
            yield data[:left].decode("utf-8", "ignore")
            return
        yield piece
        left -= len(data)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


HELD_OUT_TOKENS = 1 << 18
COMPRESSED_TOKENS = 1 << 20
FEWEST_CHARS = 1000


def score_baselines(train: Ids, val: Ids, vocab: Vocab) -> dict[str, float]:
    """Give the bits per character of `val` (S,) after `train` (N,), by baseline.

    All of them score the first HELD_OUT_SYMBOLS of `val`. The compressors have read the last
    COMPRESSED_SYMBOLS of `train`, the 5-gram more. Fewer than FEWEST_CHARS say nothing: {}.
    """
    held_out = val[:HELD_OUT_TOKENS]
    if vocab.count_characters(held_out) < FEWEST_CHARS:
        return {}
    before = vocab.decode(train[-COMPRESSED_TOKENS:])
    compressors = compressor_bpc(before, vocab.decode(held_out))
    nats = ngram_nats(train, held_out, vocab)
    return compressors | {NGRAM_NAME: bits_per_char(nats)}
