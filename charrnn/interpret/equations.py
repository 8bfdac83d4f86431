"""Equations with their numbers, as the view `step` shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.interpret.digits import decimals_for, read_number, share_digits, shown
from charrnn.interpret.trace import Array

DECIMALS = 4
_TERMS = 6


@dataclass(frozen=True)
class Piece:
    """A part of an equation: a symbol, the number below it, and below that how it came about."""

    symbol: str
    number: str
    detail: str = ""


@dataclass(frozen=True)
class Line:
    """An equation with its numbers.

    formula: of the right side. value: of the left side, exact; shown: as printed. pieces: left
    side, signs and right side, in order. terms: of a sum, as printed; they add up to `shown`.
    measured: of a derivative, the central difference. meaning: in words. code: the file, and the
    line in it that computes this.
    """

    name: str
    formula: str
    value: float
    shown: str
    pieces: tuple[Piece, ...]
    terms: tuple[str, ...]
    measured: float | None
    meaning: str
    code: str


@dataclass(frozen=True)
class About:
    """What is said of an equation besides its numbers: the fields of `Line`."""

    name: str
    formula: str
    meaning: str
    code: str


def equation(
    about: About,
    value: float,
    right: Sequence[Piece],
    *,
    said: str = "",
    measured: float | None = None,
) -> Line:
    """Return an equation; said: the value as it was printed elsewhere."""
    said = said or shown(value)
    pieces = (Piece(about.name, said), Piece("=", "="), *right)
    return Line(
        about.name, about.formula, value, said, pieces, (), measured, about.meaning, about.code
    )


def derivative(about: About, value: float, right: Sequence[Piece], measured: float) -> Line:
    """Return a derivative, with as many decimals as its size needs."""
    said = shown(value, decimals_for([value]))
    return equation(about, value, right, said=said, measured=measured)


def sum_of(
    about: About,
    value: float,
    terms: Sequence[tuple[str, str]],
    *,
    details: Sequence[str] = (),
    said: str = "",
    measured: float | None = None,
) -> Line:
    """Return a sum of terms, each a name and its number as printed."""
    said = said or shown(value)
    pieces = [Piece(about.name, said), Piece("=", "=")]
    for number, (symbol, digits) in enumerate(terms):
        if number:
            pieces.append(Piece("+", "+"))
        pieces.append(Piece(symbol, digits, details[number] if number < len(details) else ""))
    digits_only = tuple(digits for _, digits in terms)
    return Line(
        *(about.name, about.formula, value, said, tuple(pieces), digits_only, measured),
        *(about.meaning, about.code),
    )


def largest_terms(
    row: Array, names: Sequence[str], said: str, decimals: int = DECIMALS, last: float | None = None
) -> list[tuple[str, str]]:
    """Return the largest terms of a row, in its order, and the rest as one.

    said: the sum as printed, to which they add up. names: of all terms, and of `last`, a term that
    is always shown.
    """
    order, rest = _largest(row)
    symbols = [names[k] for k in order]
    parts = [float(row[k]) for k in order]
    if rest:
        symbols.append(f"the other {len(rest)}")
        parts.append(float(row[rest].sum()))
    if last is not None:
        symbols.append(names[-1])
        parts.append(last)
    return list(zip(symbols, share_digits(parts, read_number(said), decimals), strict=True))


def product_details(row: Array, weights: Array, values: Array) -> list[str]:
    """Return the factors of the largest terms, weight · value."""
    order, _ = _largest(row)
    return [f"{shown(float(weights[k]), 2)}·{shown(float(values[k]), 2)}" for k in order]


def factors(*named: tuple[str, float], decimals: int = DECIMALS) -> list[Piece]:
    """Return factors with dots between; decimals: of those that are derivatives."""
    pieces: list[Piece] = []
    for name, value in named:
        if pieces:
            pieces.append(Piece("·", "·"))
        pieces.append(Piece(name, shown(value, decimals if "∂" in name else DECIMALS)))
    return pieces


def _largest(terms: Array) -> tuple[list[int], list[int]]:
    """Return the places of the largest terms, in their order, and those of the rest."""
    order = np.argsort(-np.abs(terms), kind="stable")
    count = _TERMS if len(terms) > _TERMS + 1 else len(terms)
    return sorted(map(int, order[:count])), list(map(int, order[count:]))
