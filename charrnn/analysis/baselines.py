"""What a network has to beat: gzip, xz and a smoothed 5-gram, in bits per character.

The 5-gram counts which tokens follow which. Where a context was seen too seldom it uses the one
that is a token shorter: interpolated Kneser–Ney with three discounts for each order, "modified" in
Chen & Goodman 1999, who found it the best of its kind.

V = vocabulary size, N = training tokens, S = held-out tokens, n = order, R = N + S + 1 rows,
G = different grams of an order.
"""

import lzma
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.metrics import bits_per_char
from charrnn.text.vocab import END, Ids, Vocab

NGRAM_ORDER = 5
NGRAM_NAME = f"{NGRAM_ORDER}-gram"
TRAINED_TOKENS = 1 << 22  # of the 5-gram: about 1 s and 0.2 GB
HELD_OUT_TOKENS = 1 << 18
COMPRESSED_TOKENS = 1 << 20  # xz needs about 1 s for each
WHOLE_BYTES = 32 << 20
MIN_CHARS = 1000

_GZIP_FRAMING = 31  # zlib's code for a 32 KiB window and gzip's header
_USUAL_DISCOUNTS = (0.5, 1.0, 1.5)  # KenLM's, for texts too small to estimate them

Sizes = dict[str, list[Future[int]]]
"""By compressor the bytes of both texts together, and of the first alone."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def score_baselines(train: Ids, val: Ids, vocab: Vocab) -> dict[str, float]:
    """Return the bits per character of `val` (S,) after `train` (N,), by baseline.

    All of them score the first HELD_OUT_TOKENS of `val`. The compressors have read the last
    COMPRESSED_TOKENS of `train`, the 5-gram TRAINED_TOKENS. Fewer than MIN_CHARS give {}.
    """
    return Baselines(train, val, vocab).score()


class Baselines:
    """What `score_baselines` returns. `begin` lets the compressors work in threads until then.

    They let other threads run: where a core is free, they take no time.
    """

    def __init__(self, train: Ids, val: Ids, vocab: Vocab) -> None:
        held_out = val[int(vocab.has_end) : HELD_OUT_TOKENS]  # the first END is given
        if vocab.has_end and (held_out == vocab.end).any():  # whole records, as the model is scored
            held_out = held_out[: int(np.flatnonzero(held_out == vocab.end)[-1]) + 1]
        self._train = train[-TRAINED_TOKENS:]
        self._held_out = held_out
        self._chars = vocab.count_characters(held_out)
        self._vocab = vocab
        self._sizes: Sizes = {}

    def begin(self) -> None:
        """Begin to compress, unless the text is too short."""
        if self._chars < MIN_CHARS:
            return
        texts = (self._train[-COMPRESSED_TOKENS:], self._held_out)
        # To a compressor the end of a record is a newline.
        written = (self._vocab.decode(text).replace(END, "\n") for text in texts)
        self._sizes = _begin_to_compress(*written)

    def wait(self) -> None:
        """Wait until nothing that has begun runs any more."""
        futures.wait(chain(*self._sizes.values()))

    def score(self) -> dict[str, float]:
        """Return the bits per character by baseline; {} of fewer than MIN_CHARS."""
        if self._chars < MIN_CHARS:
            return {}
        if not self._sizes:
            self.begin()
        nats = ngram_token_nats(self._train, self._held_out, self._vocab.size)
        ngram_bpc = bits_per_char(float(nats.sum()) / self._chars)
        return _bpc_of(self._sizes, self._chars) | {NGRAM_NAME: ngram_bpc}


def whole_bpc(pieces: Iterable[str]) -> dict[str, float]:
    """Return the bits per character of a compressed text, by compressor: "gzip" and "xz".

    Only the first WHOLE_BYTES of UTF-8 are read. A text without characters has no figures.

    >>> whole_bpc(["ab" * 50_000])["xz"] < 0.05
    True
    """
    compressors: dict[str, Any] = {
        "gzip": zlib.compressobj(9, zlib.DEFLATED, _GZIP_FRAMING),
        "xz": lzma.LZMACompressor(preset=6),
    }
    sizes = dict.fromkeys(compressors, 0)
    chars = 0
    left = WHOLE_BYTES
    for piece in pieces:
        data = _utf8(piece[:left])
        if is_last := len(data) > left or len(piece) > left:
            piece = data[:left].decode("utf-8", "ignore")  # whole characters only
            data = _utf8(piece)
        chars += len(piece)
        left -= len(data)
        for name, compressor in compressors.items():
            sizes[name] += len(compressor.compress(data))
        if is_last:
            break
    for name, compressor in compressors.items():
        sizes[name] += len(compressor.flush())
    return {name: size * 8 / chars for name, size in sizes.items()} if chars else {}


def compressor_bpc(context: str, held_out: str) -> dict[str, float]:
    """Return the bits per character that `held_out` costs a compressor that has read `context`.

    That is what the compressed text grows by when `held_out` follows: (size of both - size of
    context) * 8 / characters. A held-out text without characters has no figures.
    """
    return _bpc_of(_begin_to_compress(context, held_out), len(held_out)) if held_out else {}


def _bpc_of(sizes: Sizes, chars: int) -> dict[str, float]:
    """Return the bits per character by compressor, once the sizes are known."""
    grown = {name: both.result() - before.result() for name, (both, before) in sizes.items()}
    return {name: size * 8 / chars for name, size in grown.items()}


def _begin_to_compress(context: str, held_out: str) -> Sizes:
    """Begin to compress both texts together, and the context alone, in two threads."""
    before = _utf8(context)
    both = before + _utf8(held_out)
    sizes: list[tuple[str, Callable[[bytes], int]]] = [
        ("xz", lambda data: len(lzma.compress(data, preset=6))),
        ("gzip", lambda data: len(zlib.compress(data, 9))),
    ]
    pool = ThreadPoolExecutor(2, thread_name_prefix="compressor")
    begun = {name: [pool.submit(size, data) for data in (both, before)] for name, size in sizes}
    pool.shutdown(wait=False)  # its threads end when that is done
    return {name: begun[name] for name in ("gzip", "xz")}  # as they are shown


def ngram_token_nats(
    train: Ids, held_out: Ids, vocab_size: int, order: int = NGRAM_ORDER
) -> Floats:
    """Return −ln p (S,) of each held-out token, given the order − 1 tokens before it.

    The held-out text continues the training text; start tokens before both are context.

    >>> ngram_token_nats(np.array([0, 1] * 99), np.array([0, 1, 0]), vocab_size=2).round(1)
    array([0., 0., 0.])
    """
    (nats,) = deque(_iter_order_nats(train, held_out, vocab_size, order), maxlen=1)
    return nats


def ngram_order_nats(
    train: Ids, held_out: Ids, vocab_size: int, order: int = NGRAM_ORDER
) -> Floats:
    """Return −ln p (order, S) of each held-out token by each order, from 1 up, of one n-gram model.

    The last row is what `ngram_token_nats` returns. Those above are what it smooths with: their
    probabilities are of what a longer gram leaves open, not those of n-gram models of their own.
    """
    return np.stack(list(_iter_order_nats(train, held_out, vocab_size, order)))


def _iter_order_nats(train: Ids, held_out: Ids, vocab_size: int, order: int) -> Iterator[Floats]:
    """Yield −ln p (S,) of each held-out token by each order, from 1 up."""
    dtype = np.min_scalar_type(vocab_size)  # a sort of 8 or 16 bits is many times faster
    parts = [np.full(order, vocab_size), train, held_out]
    text = np.concatenate(parts, dtype=dtype, casting="unsafe")
    # Both texts are numbered together, so every look-up is an index; only `train` is counted.
    shorter, *orders = _number_grams(text, order)
    counted = slice(1, len(train) + 1)
    probabilities = np.full(len(held_out), 1 / vocab_size)
    # From order 1 up. Below the top order a gram's count is how many longer ones it ends.
    for grams, longer in pairwise([*orders, np.arange(len(shorter))]):
        counts = _count_endings(longer[counted], grams[counted], int(grams.max()))
        probabilities = _interpolate(counts, shorter[:-1], grams[1:], probabilities)
        shorter = grams
        yield np.log(1 / probabilities)  # −ln 1 would be −0


def _number_grams(text: Ids, order: int) -> Iterator[Ints]:
    """Yield (R,) for each order from 0 to n: equal numbers, from 0 up, where equal grams end.

    Row r ends at text[order - 1 + r].
    """
    rows = len(text) - order + 1
    columns = [text[i : i + rows] for i in range(order)]
    # A sort by the last token, then by the one before it, and so on, brings the equal grams of
    # every order side by side.
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
    """Return (last + 1,): how many different longer grams each gram 0 … last ends.

    longer, grams: (N,), the numbers of both at each training token.
    """
    ending = np.full(longer.max(initial=-1) + 1, -1)
    ending[longer] = grams
    return np.bincount(ending[ending >= 0], minlength=last + 1)


def _interpolate(counts: Ints, contexts: Ints, grams: Ints, lower: Floats) -> Floats:
    """Return p (S,) by this order: what is discounted from the seen goes to the order below.

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
    h = contexts[len(grams) - len(lower) :]
    hw = grams[len(grams) - len(lower) :]
    return (counts[hw] - discounts[hw] + left_over[h] * lower) / totals[h]


def _estimate_discounts(counts: Ints) -> Floats:
    """Return D(0), D(1), D(2) and D(3 and more) from how many grams count 1, 2, 3 and 4."""
    n1, n2, n3, n4 = np.bincount(counts[counts < 5], minlength=5)[1:]
    discounts = _USUAL_DISCOUNTS
    if min(n1, n2, n3, n4):  # the estimates of Chen & Goodman 1999
        y = n1 / (n1 + 2 * n2)
        estimates = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        discounts = estimates if min(estimates) > 0 else _USUAL_DISCOUNTS
    return np.array([0, *discounts])


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # bytes of a binary file come back
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
