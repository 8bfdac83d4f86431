"""From the values that were counted in a text to its labels, and from values to their rows.

A column of many numbers becomes buckets of about as many records each. A column whose values tell
nothing apart, or are texts of their own, is refused.

R = records, C = columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.data.labels import BUCKETS, MAX_VALUES, NONE, LabelColumn, Labels, parse_number
from charrnn.errors import CorpusError, counted

MAX_NUMBERS = 1_000_000  # different ones in a column, about 100 bytes each while they are counted
MIN_BUCKETED = 20  # a column with more different numbers is cut into buckets
MIN_FREE_TEXTS = 50  # a column with more different values than this, in most records, is no label
SHOWN_VALUES = 4
_WHOLE = 1e15  # smaller whole numbers are written without an exponent


def check_growth(name: str, values: Counter[str], new: Sequence[str]) -> None:
    """Refuse a column as soon as it has too many values; new: those that came last."""
    is_number = len(values) <= MAX_NUMBERS and all(parse_number(v) is not None for v in new if v)
    if len(values) > MAX_VALUES and not is_number:
        raise _free_text_error(name, len(values))


def make_labels(
    names: Sequence[str], values: Sequence[Counter[str]], records: int, min_count: int
) -> tuple[Labels, list[str]]:
    """Return the labels of columns, and notes on what was made of their values.

    values: how many of the `records` have each, by column, without "". min_count: of records with a
    value that is kept.

    Raises:
        CorpusError: a column is no label.
    """
    columns = []
    notes: list[str] = []
    for name, counts in zip(names, values, strict=True):
        columns.append(_make_column(name, counts, records, min_count, notes))
    return Labels(tuple(columns)), notes


def _make_column(
    name: str, counts: Counter[str], records: int, min_count: int, notes: list[str]
) -> LabelColumn:
    if not counts:
        raise CorpusError(f"no record has a label in {name!r}; leave the label out, or mend it")
    if len(counts) == 1:
        raise CorpusError(
            f"every label in {name!r} is {next(iter(counts))!r}, so there is nothing to tell "
            "apart; leave the label out"
        )
    numbers = {v: number for v in counts if (number := parse_number(v)) is not None}
    is_numeric = len(numbers) == len(counts)
    if is_numeric and len(counts) > MIN_BUCKETED:
        column = _bucketed(name, counts)
        named = f"{column.values[0]} to {column.values[-1]}"
        different = f"{len(counts):,} different numbers"
        notes.append(f"{name}: {different} in {len(column.values)} buckets, {named}")
        return column
    if len(counts) > MAX_VALUES or (len(counts) > MIN_FREE_TEXTS and 2 * len(counts) > records):
        raise _free_text_error(name, len(counts))
    kept = {value: count for value, count in counts.items() if count >= min_count}
    if len(kept) < 2:
        which = "only one label" if kept else "no label"
        raise CorpusError(
            f"{which} of {name!r} has {min_count} records or more; lower --min-label-count"
        )
    if len(kept) < len(counts):
        left_out = counted(len(counts) - len(kept), "label")
        of_records = counted(counts.total() - sum(kept.values()), "record")
        notes.append(
            f"{name}: {left_out} of fewer than {min_count} records left out, with {of_records}"
        )
    if max(counts.values()) == 1:
        notes.append(
            f"{name}: each label has one record, so what they have in common cannot be learned"
        )
    ordered = sorted(kept, key=lambda value: (numbers[value] if is_numeric else 0.0, value))
    return LabelColumn(name, tuple(ordered), tuple(kept[value] for value in ordered))


def _bucketed(name: str, counts: Counter[str]) -> LabelColumn:
    """Return a column of numbers as buckets, each named by its least and its largest number."""
    totals: Counter[float] = Counter()
    for value, count in counts.items():
        totals[parse_number(value) or 0.0] += count
    numbers = np.array(sorted(totals))
    sizes = np.array([totals[number] for number in numbers.tolist()])
    middles = np.cumsum(sizes) - sizes / 2
    bucket = (middles * BUCKETS / sizes.sum()).astype(np.int64)
    firsts = np.flatnonzero(np.diff(bucket, prepend=-1))
    lasts = np.append(firsts[1:], len(numbers)) - 1
    names = [
        _name(low) if low == high else f"{_name(low)}–{_name(high)}"
        for low, high in zip(numbers[firsts].tolist(), numbers[lasts].tolist(), strict=True)
    ]
    in_bucket = np.add.reduceat(sizes, firsts).tolist()
    return LabelColumn(name, tuple(names), tuple(in_bucket), tuple(numbers[firsts[1:]].tolist()))


def _name(number: float) -> str:
    return f"{number:.0f}" if number.is_integer() and abs(number) < _WHOLE else repr(number)


class RowFinder:
    """Finds the rows of values; those that are not known, or not given, have none."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._rows: list[dict[str, int]] = [{"": NONE} for _ in labels.columns]
        sizes = [len(column.values) for column in labels.columns]
        self._firsts = np.cumsum([1, *sizes]).tolist()

    def find(self, values: Sequence[tuple[str, ...]]) -> NDArray[np.int32]:
        """Return the rows (R, C) int32 of the values of records."""
        found = np.empty((len(values), len(self._rows)), np.int32)
        for index, column in enumerate(self._labels.columns):
            rows = self._rows[index]
            own = [each[index] for each in values]
            for value in set(own) - rows.keys():
                where = column.find(value)
                rows[value] = NONE if where is None else self._firsts[index] + where
            found[:, index] = [rows[value] for value in own]
            if len(rows) > 2 * MAX_VALUES:  # of numbers, or of a text with other labels
                rows.clear()
                rows[""] = NONE
        return found


def describe_labels(labels: Labels) -> str:
    """Return how many records have each label, the commonest first.

    >>> describe_labels(Labels((LabelColumn("who", ("ROMEO", "JULIET"), (163, 118)),)))
    'who: 163 ROMEO, 118 JULIET'
    """
    return "; ".join(map(_describe_column, labels.columns))


def _describe_column(column: LabelColumn) -> str:
    pairs = list(zip(column.counts, column.values, strict=True))
    if not column.edges:
        pairs.sort(key=lambda pair: -pair[0])
    shown = ", ".join(f"{count:,} {value}" for count, value in pairs[:SHOWN_VALUES])
    more = len(pairs) - SHOWN_VALUES
    return f"{column.name}: {shown}" + (f", and {more:,} more" if more > 0 else "")


def _free_text_error(name: str, values: int) -> CorpusError:
    return CorpusError(
        f"{name!r} has {values:,} different values, so it looks like free text and not like a "
        "label; give another, or leave it out"
    )
