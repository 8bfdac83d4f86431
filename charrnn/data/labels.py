"""What is known of a record before it is read: labels, in columns such as `speaker` and `year`.

Every value of every column has a row of the table of embeddings, and a record has one row of each
column, or none where nothing is known. A column of numbers is cut into buckets of about as many
records each, whose names are their ranges.

C = columns, R = records.
"""

from __future__ import annotations

import difflib
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from charrnn.errors import ConfigError

NONE = 0  # the row of a record of which a column knows nothing
BUCKETS = 10
MAX_VALUES = 10_000  # of a column; one with more looks like the text itself
_NEAREST = 3
_WEIGHT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_MAX_WEIGHT = 100
_MAX_COUNT = 1 << 40  # of a label in a file: those of a million labels have a sum in int64


@dataclass(frozen=True)
class LabelColumn:
    """One column: its values, and how many records have each in the text that was trained on.

    edges: of a column of numbers, the least number of each value but the first, ascending.
    """

    name: str
    values: tuple[str, ...]
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        is_alike = len(self.values) == len(self.counts) == len(set(self.values))
        if not (self.name and self.values and is_alike):
            raise ValueError(f"the labels of column {self.name!r} do not have a count each")
        if self.edges and (len(self.edges) != len(self.values) - 1 or not _rises(self.edges)):
            raise ValueError(f"the buckets of column {self.name!r} do not follow one another")

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Where each value stands."""
        return {value: i for i, value in enumerate(self.values)}

    def find(self, text: str) -> int | None:
        """Return where a value stands, or the bucket of a number; None if it is unknown."""
        if text in self.index_of:
            return self.index_of[text]
        number = parse_number(text) if self.edges else None
        return None if number is None else bisect_right(self.edges, number)


@dataclass(frozen=True)
class Labels:
    """All columns of a model or a corpus; their length is that of the table of embeddings.

    >>> labels = Labels((LabelColumn("who", ("ROMEO", "JULIET"), (163, 118)),))
    >>> len(labels), labels.rows({"who": "JULIET"})
    (2, [2])
    """

    columns: tuple[LabelColumn, ...] = ()

    def __len__(self) -> int:
        return sum(len(column.values) for column in self.columns)

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many records have each label, by column."""
        return {c.name: dict(zip(c.values, c.counts, strict=True)) for c in self.columns}

    def rows(self, labels: Mapping[str, str]) -> list[int]:
        """Return the row (C,) of each column's value, from 1; NONE where it is not given.

        Raises:
            ConfigError: there is no such column or value.
        """
        known = [column.name for column in self.columns]
        for name in labels:
            if name not in known:
                raise ConfigError(f"there is no label {name!r}; the model has {_listed(known)}")
        found = []
        for column, first in self._with_first_rows():
            value = labels.get(column.name)
            found.append(NONE if value is None else first + _find(column, value))
        return found

    def mixture(self, asked: Iterable[str]) -> dict[int, float]:
        """Return the weight of each row in a mixture, each asked for as "COLUMN=VALUE:WEIGHT".

        The column may be left out where only one has the value, the weight where it is 1.

        >>> column = LabelColumn("who", ("ROMEO", "JULIET"), (163, 118))
        >>> Labels((column,)).mixture(["ROMEO:0.7", "who=JULIET:0.3"])
        {1: 0.7, 2: 0.3}

        Raises:
            ConfigError: the model has no labels, or no such label.
        """
        weights: dict[int, float] = {}
        for text in asked:
            if not self.columns:
                raise ConfigError(
                    f"label {text!r} is asked for, and this model was trained without labels; "
                    "leave --label out, or train with --label, --label-column or --label-regex"
                )
            row, weight = self._parse(text)
            weights[row] = weights.get(row, 0.0) + weight
        return weights

    def describe(self, row: int) -> tuple[str, str]:
        """Return the column and the value of a row."""
        for column, first in self._with_first_rows():
            if first <= row < first + len(column.values):
                return column.name, column.values[row - first]
        raise IndexError(row)

    def to_json(self) -> list[dict[str, Any]]:
        """Return what `from_json` takes."""
        return [
            {
                "name": column.name,
                "values": list(column.values),
                "counts": list(column.counts),
                "edges": list(column.edges),
            }
            for column in self.columns
        ]

    @classmethod
    def from_json(cls, data: object) -> Labels:
        """Make the labels that `to_json` described; raise ValueError for anything else."""
        columns = []
        for each in data if isinstance(data, list) else [None]:
            match each:
                case {
                    "name": str(name),
                    "values": list(values),
                    "counts": list(counts),
                    "edges": list(edges),
                    **others,
                } if (
                    not others
                    and all(isinstance(value, str) for value in values)
                    and all(type(count) is int and 0 <= count <= _MAX_COUNT for count in counts)
                    and all(type(edge) in (int, float) for edge in edges)
                ):
                    columns.append(LabelColumn(name, tuple(values), tuple(counts), tuple(edges)))
                case _:
                    raise ValueError("the labels are not columns of values with counts")
        if len({column.name for column in columns}) < len(columns):
            raise ValueError("two columns of labels have one name")
        return cls(tuple(columns))

    def _with_first_rows(self) -> Iterator[tuple[LabelColumn, int]]:
        first = 1
        for column in self.columns:
            yield column, first
            first += len(column.values)

    def _parse(self, text: str) -> tuple[int, float]:
        """Return the row and the weight of one label that is asked for."""
        known = [column.name for column in self.columns]
        name, equals, value = text.partition("=")
        is_named = bool(equals) and name in known
        if not is_named:
            value = text
        chosen = [each for each in self._with_first_rows() if not is_named or each[0].name == name]
        # "10:30" may be a value, so the whole text goes before one with a weight.
        short, _, digits = value.rpartition(":")
        attempts = [(value, 1.0)]
        if short and _WEIGHT.fullmatch(digits):
            attempts.append((short, float(digits)))
        for each, weight in attempts:
            rows = [
                first + index
                for column, first in chosen
                if (index := column.find(each)) is not None
            ]
            if len(rows) == 1 and not 0 < weight <= _MAX_WEIGHT:
                raise ConfigError(
                    f"the weight of label {each!r} is {digits}; it must be above 0 and at most "
                    f"{_MAX_WEIGHT}, and is 1 if left out"
                )
            if len(rows) == 1:
                return rows[0], weight
            if len(rows) > 1:
                raise ConfigError(
                    f"label {each!r} stands in several columns; write COLUMN={each}, with one of "
                    f"{_listed(known)}"
                )
        column = chosen[0][0] if len(chosen) == 1 else None
        if column is not None:
            _find(column, attempts[-1][0])  # which names the nearest
        raise ConfigError(f"no label is {value!r}; {_nearest(attempts[-1][0], self.columns)}")


NO_LABELS = Labels()


def parse_number(text: str) -> float | None:
    """Return a text as the finite number that it writes; None if it writes none.

    >>> parse_number("1599"), parse_number("nan")
    (1599.0, None)
    """
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _find(column: LabelColumn, value: str) -> int:
    index = column.find(value)
    if index is None:
        raise ConfigError(
            f"there is no label {value!r} in {column.name!r}; {_nearest(value, [column])}"
        )
    return index


def _nearest(value: str, columns: Iterable[LabelColumn]) -> str:
    """Return the end of a message: the three nearest labels, and where to see all."""
    known = [each for column in columns for each in column.values]
    folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(value.casefold(), folded, _NEAREST, cutoff=0.0)
    named = ", ".join(repr(folded[each]) for each in near)
    return f"the nearest are {named}; charrnn info lists all"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _rises(edges: tuple[float, ...]) -> bool:
    return all(a < b for a, b in pairwise(edges)) and all(map(math.isfinite, edges))
