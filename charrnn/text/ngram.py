"""A smoothed 5-gram: the simple model of characters that a network has to beat.

It counts which symbols follow which, and where a context was seen too seldom it leans on the one
that is a symbol shorter: interpolated Kneser–Ney with three discounts for each order, "modified"
in Chen & Goodman 1999, who found it the best of its kind. Training and held-out text are numbered
together, so that every look-up is an index, but only the training text is counted. It knows nothing
of files or of other baselines.

V = vocabulary size, N = training symbols, S = held-out symbols, n = order, R = N + S + 1 rows,
G = different grams of an order.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from charrnn.text.vocab import Ids, Vocab

ORDER = 5
NAME = f"{ORDER}-gram"
TRAINED_SYMBOLS = 1 << 22  # about 1 s and 0.2 GB

_FALLBACK = (0.5, 1.0, 1.5)  # as KenLM has it

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def held_out_nats(train: Ids, held_out: Ids, vocab: Vocab) -> float:
    """Give the nats per character that `held_out` (S,) costs after `train` (N,).

    The training text counts with its last TRAINED_SYMBOLS; a held-out text without characters
    costs nothing.
    """
    nats = score_symbols(train[-TRAINED_SYMBOLS:], held_out, vocab.size)
    return float(nats.sum()) / max(1, vocab.count_characters(held_out))


def score_symbols(train: Ids, held_out: Ids, vocab_size: int, order: int = ORDER) -> Floats:
    """Give −ln p (S,) of each held-out symbol, given the order − 1 symbols before it.

    The held-out text goes on where the training text ends. Before both stands a symbol of its own,
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

    Row r ends at text[order - 1 + r]. One sort by the last symbol, then by the one before it, and
    so on, brings the equal grams of every order side by side.
    """
    rows = len(text) - order + 1
    columns = [text[i : i + rows] for i in range(order)]
    by_end = np.lexsort(columns)
    is_new = np.zeros(rows, dtype=np.bool_)
    yield np.zeros(rows, dtype=np.int64)
    for column in reversed(columns):
        symbols = column[by_end]
        is_new[1:] |= symbols[1:] != symbols[:-1]
        numbers = np.empty(rows, dtype=np.int64)
        numbers[by_end] = np.cumsum(is_new)
        yield numbers


def _count_endings(longer: Ints, grams: Ints, last: int) -> Ints:
    """Give (last + 1,): how many different longer grams each gram 0 … last ends.

    longer, grams: (N,), the numbers of both at each training symbol.
    """
    ending = np.full(longer.max(initial=-1) + 1, -1)
    ending[longer] = grams
    return np.bincount(ending[ending >= 0], minlength=last + 1)


def _interpolate(counts: Ints, contexts: Ints, grams: Ints, lower: Floats) -> Floats:
    """Give p (S,) by this order: what is discounted from the seen goes to the order below.

    p(w | h) = (c(hw) − D(c(hw)) + Σᵥ D(c(hv)) · p(w | h′)) / Σᵥ c(hv)

    counts: (G,). contexts, grams: (N + S,), h and hw of each symbol. lower: (S,), p(w | h′).
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
