"""Interpolated modified Kneser–Ney smoothing, straight from the definitions of Chen & Goodman 1999.

Dictionaries, recursion, one probability at a time, and no speed. A gram is a tuple of tokens. The
text stands after as many START tokens as the order asks for, and START itself is never predicted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

Gram = tuple[int, ...]

START = -1


def probability(
    train: Sequence[int], before: Sequence[int], token: int, vocab_size: int, order: int
) -> float:
    """Return p(token | before): `before` is all that precedes it, `train` all that is counted."""
    text = (START,) * order + tuple(train)
    tables = [count_grams(text, k, order) for k in range(1, order + 1)]
    context = ((START,) * order + tuple(before))[1 - order :] if order > 1 else ()
    return interpolate(tables, context, token, vocab_size)


def count_grams(text: Gram, k: int, order: int) -> Counter[Gram]:
    """Count the grams of `k` tokens: how often each stands, or below `order`, after how many."""
    ends = range(order, len(text))
    if k == order:
        return Counter(text[i - k + 1 : i + 1] for i in ends)
    longer = {text[i - k : i + 1] for i in ends}
    return Counter(gram[1:] for gram in longer)


def interpolate(tables: list[Counter[Gram]], context: Gram, token: int, vocab_size: int) -> float:
    """Return p(token | context) by as many orders as there are tables, lowest order first."""
    if not tables:
        return 1 / vocab_size
    lower = interpolate(tables[:-1], context[1:], token, vocab_size)
    following = {gram: count for gram, count in tables[-1].items() if gram[:-1] == context}
    total = sum(following.values())
    if not total:
        return lower
    d1, d2, d3 = estimate_discounts(tables[-1])
    n1 = sum(count == 1 for count in following.values())
    n2 = sum(count == 2 for count in following.values())
    n3 = sum(count >= 3 for count in following.values())
    gamma = (d1 * n1 + d2 * n2 + d3 * n3) / total
    count = following.get((*context, token), 0)
    discount = 0 if count == 0 else d1 if count == 1 else d2 if count == 2 else d3
    return (count - discount) / total + gamma * lower


def estimate_discounts(table: Counter[Gram]) -> tuple[float, float, float]:
    """Return D₁, D₂ and D₃₊; where the text is too small for them, ½, 1 and 1½."""
    n1, n2, n3, n4 = (sum(count == c for count in table.values()) for c in (1, 2, 3, 4))
    if 0 in (n1, n2, n3, n4):
        return 0.5, 1, 1.5
    y = n1 / (n1 + 2 * n2)
    discounts = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
    return discounts if min(discounts) > 0 else (0.5, 1, 1.5)
