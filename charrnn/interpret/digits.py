"""Numbers as they are printed: sums whose printed terms add up to the printed sum."""

from __future__ import annotations

import math
from collections.abc import Sequence

_SIGNIFICANT = 4
_MOST_DECIMALS = 12


def decimals_for(values: Sequence[float], least: int = 4) -> int:
    """Return how many decimals show four digits of the largest value.

    >>> decimals_for([0.5]), decimals_for([0.00012345]), decimals_for([0.0])
    (4, 7, 4)
    """
    largest = max(map(abs, values))
    if not largest > 0:
        return least
    places = _SIGNIFICANT - 1 - math.floor(math.log10(largest))
    return min(max(places, least), _MOST_DECIMALS)


def shown(value: float, decimals: int = 4) -> str:
    """Return a number as it is printed: with a true minus sign, and no minus before a zero.

    >>> shown(-0.25), shown(-0.00001)
    ('−0.2500', '0.0000')
    """
    return _as_text(round(value * 10**decimals), decimals)


def read_number(text: str) -> float:
    """Return the number that `shown` printed."""
    return float(text.replace("−", "-"))


def share_digits(terms: Sequence[float], total: float, decimals: int) -> list[str]:
    """Return the terms of a sum as printed, so that they add up to the printed total exactly.

    Each is rounded down, and the units that are missing go to those that lost most by it, so a
    term differs from its value by less than a unit of its last digit, unless the total does more.

    >>> share_digits([1/3, 1/3, 1/3], 1.0, 2)
    ['0.34', '0.33', '0.33']
    """
    unit = 10**decimals
    whole = [math.floor(term * unit) for term in terms]
    missing = round(total * unit) - sum(whole)
    order = sorted(range(len(terms)), key=lambda k: whole[k] - terms[k] * unit)
    for number in range(abs(missing)):
        whole[order[number % len(order)] if missing > 0 else order[-1 - number % len(order)]] += (
            1 if missing > 0 else -1
        )
    return [_as_text(each, decimals) for each in whole]


def _as_text(units: int, decimals: int) -> str:
    """Return a number of units of the last digit."""
    sign = "−" if units < 0 else ""
    digits = f"{abs(units):0{decimals + 1}d}"
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"
