"""The rows of a table as records: CSV with quotes, TSV without, or a JSON object a line.

A row that cannot be read is an error that names its file and line, or is left out and counted.
Nothing is a missing value but an empty cell, a JSON null and a key that is not there: "NA" and
"null" are texts. What the layout is, the name of a file says, or a setting.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any, TypeVar

from charrnn.config import TextConfig
from charrnn.errors import ConfigError, CorpusError, counted
from charrnn.text.vocab import END

MAX_FIELD_CHARS = 1 << 24
_LAYOUTS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_SHOWN_COLUMNS = 20
_BYTE_ORDER_MARKS = ("\ufeff", "\ufeff".encode().decode("ascii", "surrogateescape"))
"""Of a text in memory, and of a file that is read as bytes."""

Take = Callable[[Any], list[str | None]]  # a row's text, labels and group
Row = tuple[str, tuple[str, ...], str]  # text, labels, group
Made = TypeVar("Made")


class BadRowError(Exception):
    """What is wrong with a row; its reader makes an error of it, or leaves the row out."""


def iter_rows(
    name: str,
    pieces: Iterable[str],
    config: TextConfig,
    skip: Callable[[str], None],
    *,
    may_be_blank: bool = False,
) -> Iterator[Row]:
    """Yield the text, the labels and the group of each row of the table called `name`.

    skip: is told the place of each row that skip_bad leaves out. may_be_blank: a row may have no
    text, or a blank one.

    Raises:
        ConfigError: the layout is not known.
        CorpusError: there is no such column, or a row is no record.
    """
    wanted = [str(config.text_column), *config.label_columns]
    if config.group_column is not None:
        wanted.append(config.group_column)

    def make(values: Sequence[str | None]) -> Row:
        return _as_record(values, wanted, config, may_be_blank=may_be_blank)

    for _, row in iter_made(name, pieces, wanted, config, skip, make):
        yield row


def iter_made(
    name: str,
    pieces: Iterable[str],
    wanted: Sequence[str],
    config: TextConfig,
    skip: Callable[[str], None],
    make: Callable[[Sequence[str | None]], Made],
) -> Iterator[tuple[int, Made]]:
    """Yield the line that each row of a table begins in, from 1, and what is made of it.

    wanted: columns, whose values `make` takes; it raises BadRowError for a row that is none. skip:
    as for `iter_rows`, which raises the same.
    """
    layout = find_layout(name, config.format)
    lines = iter_lines(pieces)
    rows = _iter_objects(lines) if layout == "jsonl" else _iter_cells(lines, layout)
    take: Take | None = _take_keys(wanted) if layout == "jsonl" else None
    row: Any
    for line, row in rows:
        try:
            if isinstance(row, BadRowError):
                raise row
            if take is None:
                is_header = layout == "csv" if config.header is None else config.header
                take = _take_cells(name, row, wanted, is_header=is_header, config=config)
                if is_header:
                    continue
            yield line, make(take(row))
        except BadRowError as problem:
            # Without the first row nothing is known of the others.
            refuse_row(f"{name}:{line}", problem, skip, may_skip=take is not None, config=config)


def refuse_row(
    place: str,
    problem: BadRowError,
    skip: Callable[[str], None],
    *,
    may_skip: bool = True,
    config: TextConfig,
) -> None:
    """Leave a row out, as skip_bad says, or refuse it.

    Raises:
        CorpusError: it is refused.
    """
    if not may_skip or not config.skip_bad:
        others = ", or pass --skip-bad to leave such rows out" * may_skip
        raise CorpusError(f"{place}: {problem}; mend the row{others}") from problem
    skip(place)


def find_layout(name: str, layout: str) -> str:
    """Return how a table is laid out: "csv", "tsv" or "jsonl".

    >>> find_layout("reviews.csv.gz", "auto"), find_layout("reviews.txt", "tsv")
    ('csv', 'tsv')
    """
    if layout != "auto":
        return layout
    found = layout_of_name(name)
    if found is None:
        raise ConfigError(
            f"the name of {name} does not say how its columns are laid out; let it end in .csv, "
            ".tsv or .jsonl, or give --format"
        )
    return found


def layout_of_name(name: str) -> str | None:
    """Return how a table of that name is laid out; None where the name does not say."""
    path = PurePath(name)
    suffix = (PurePath(path.stem) if path.suffix.lower() in _PACKED else path).suffix.lower()
    return _LAYOUTS.get(suffix)


def iter_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield lines with their newlines; str.splitlines would cut at others too."""
    held: list[str] = []
    marks: tuple[str, ...] = _BYTE_ORDER_MARKS
    for piece in pieces:
        for mark in marks:
            piece = piece.removeprefix(mark)
        marks = ()
        first, newline, more = piece.partition("\n")
        held.append(first)
        if newline:
            *lines, rest = more.split("\n")
            yield "".join([*held, "\n"])
            for line in lines:
                yield line + "\n"
            held = [rest]
    if last := "".join(held):
        yield last


def _iter_cells(lines: Iterator[str], layout: str) -> Iterator[tuple[int, list[str] | BadRowError]]:
    """Yield the line that each row begins in, from 1, and its cells; blank lines are no rows."""
    if layout == "tsv":
        for number, line in enumerate(lines, start=1):
            if not line.isspace():
                yield number, line.removesuffix("\n").split("\t")
        return
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARS))
    reader = csv.reader(lines, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, BadRowError(_explain(str(error)))
            continue
        if cells:
            yield number, cells


def _explain(error: str) -> str:
    """Return what the csv module says of a row in plain words."""
    if "field limit" in error:
        most = f"{csv.field_size_limit():,}"
        return f"a field has more than {most} characters, so a quote may be left open"
    if "unexpected end" in error:
        return "a quote is opened and not closed before the end of the file"
    return f"this is not CSV ({error})"


def _iter_objects(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | BadRowError]]:
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, BadRowError(f"this is not JSON ({error})")
            continue
        is_object = isinstance(row, dict)
        yield number, row if is_object else BadRowError("the line is not a JSON object")


def _take_cells(
    name: str, first: Sequence[str], wanted: Sequence[str], *, is_header: bool, config: TextConfig
) -> Take:
    """Return a function that takes the wanted cells of a row; first: the first row of the file."""
    width = len(first)
    names = [readable(cell, config).strip() for cell in first] if is_header else []
    indices = [_find_column(name, column, names, width) for column in wanted]

    def take(row: Sequence[str]) -> list[str | None]:
        if len(row) != width:
            columns = counted(len(row), "column")
            raise BadRowError(f"the row has {columns}, and the first one {width}")
        return [row[index] for index in indices]

    return take


def _find_column(name: str, column: str, names: Sequence[str], width: int) -> int:
    """Return the index of a column that is given by name or by number, from 1."""
    if names.count(column) == 1:
        return names.index(column)
    if column in names:
        raise CorpusError(f"{name} has {names.count(column)} columns {column!r}; go by numbers")
    if column.isdecimal() and 1 <= int(column) <= width:
        return int(column) - 1
    if names:
        raise CorpusError(f"{name} has no column {column!r}; it has {_listed(names)}")
    if column.isdecimal():
        raise CorpusError(f"{name} has no column {column}; it has {width}")
    raise CorpusError(
        f"{name} is read without a header, so column {column!r} needs a number from 1 to {width}, "
        "or --header, if the first row names the columns"
    )


def _take_keys(wanted: Sequence[str]) -> Take:
    """Return a function that takes the wanted values of an object; a.b is the b in a."""

    def take(row: dict[str, Any]) -> list[str | None]:
        values = [_value_of(row, key) for key in wanted]
        if values[0] is None:
            known = [key for key in row if row[key] is not None]
            has = f"it has {_listed(known)}" if known else "it has none"
            raise BadRowError(f"there is no {wanted[0]!r} in this object; {has}")
        return values

    return take


def _value_of(row: Any, key: str) -> str | None:
    """Return a value as a text; None where there is none."""
    found = row
    if key in row:
        found = row[key]
    else:
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, dict | list):
        raise BadRowError(f"{key!r} is no text, but {json.dumps(found)[:40]}")
    return found if isinstance(found, str) or found is None else json.dumps(found)


def _as_record(
    values: Sequence[str | None], wanted: Sequence[str], config: TextConfig, *, may_be_blank: bool
) -> Row:
    """Return the values of a row as a record."""
    text, *rest = values
    text = text or ""
    if not may_be_blank and (not text or text.isspace()):
        raise BadRowError(f"column {wanted[0]!r} is empty")
    check_text(text, is_binary=config.unit == "byte")
    if config.unit == "byte" and not text.isascii():  # what JSON wrote by escapes
        text = text.encode(errors="surrogateescape").decode("ascii", "surrogateescape")
    known = [readable(value or "", config).strip() for value in rest]
    group = known.pop() if config.group_column is not None else ""
    return as_lines(text), tuple(known), group


def check_text(text: str, *, is_binary: bool = False) -> None:
    """Raise BadRowError for a text that no record can be."""
    if END in text:
        raise BadRowError("the text holds U+10FFFF, which stands for the end of a record")
    try:
        text.encode(errors="surrogateescape" if is_binary else "strict")
    except UnicodeEncodeError as error:
        raise BadRowError("the text holds half of a surrogate pair") from error


def as_lines(text: str) -> str:
    """Return a text of which each line ends in LF, whatever ends it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def readable(text: str, config: TextConfig) -> str:
    """Return a text that is shown or compared; of files that are read as bytes, as UTF-8."""
    errors = "surrogateescape" if config.unit == "byte" else "replace"
    return text.encode(errors=errors).decode(errors="replace")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_COLUMNS
    shown = ", ".join(map(repr, names[:_SHOWN_COLUMNS]))
    return shown + (f" and {more} more" if more > 0 else "")
