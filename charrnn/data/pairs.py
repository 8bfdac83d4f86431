"""Pairs of a source and the target that it becomes: rows of tables, or lines of two files.

A table is read as those of `tables` are: a TSV has no quotes and no header, a CSV has both, unless
a setting says otherwise; JSON objects name their columns. Of both sides the newlines around them
go, and of tokens between spaces the spaces. An empty target is one that ends at once; a pair
without a source is an error that names its file and line, or is left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import zip_longest

from charrnn.config import TextConfig
from charrnn.data.example_ids import ExampleFile
from charrnn.data.records import Example, Found
from charrnn.data.tables import (
    BadRowError,
    as_lines,
    check_text,
    find_layout,
    iter_lines,
    iter_made,
    refuse_row,
)
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.files import Source
from charrnn.text.forms import compose, lower
from charrnn.text.reader import BadBytes, iter_text

_NUMBERS = ("1", "2")  # the columns unless they are given


def pair_files(
    sources: Sequence[Source], targets: Sequence[Source], config: TextConfig
) -> list[ExampleFile]:
    """Return files to read pairs from: tables, or one of sources with its file of targets.

    targets: empty for tables.

    Raises:
        CorpusError: there are several files of sources or targets.
    """
    if not targets:
        return [
            ExampleFile(partial(iter_pairs, source, config), source.given, source.weight)
            for source in sources
        ]
    for files, what in ((sources, "sources"), (targets, "targets")):
        if len(files) > 1:
            raise CorpusError(
                f"there are {len(files):,} files of {what}, and with --target-file a line of one "
                "file becomes the line of another; join them, or give tables and --pairs"
            )
    read = partial(iter_parallel, sources[0], targets[0], config)
    return [ExampleFile(read, sources[0].given, sources[0].weight)]


def pair_texts(texts: Sequence[str], config: TextConfig) -> list[ExampleFile]:
    """Return tables in memory as files to read pairs from."""
    return [
        ExampleFile(partial(_read_table, f"text {number}", text, config))
        for number, text in enumerate(texts)
    ]


def iter_pairs(
    source: Source, config: TextConfig, found: Found, bad: dict[str, BadBytes]
) -> Iterator[Example]:
    """Yield the pairs of a table.

    found, bad: are filled with rows that are left out, and bytes that are replaced or skipped.

    Raises:
        ConfigError: it is not known how the table is laid out.
        CorpusError: the file cannot be read or decoded, or has a row that is no pair.
    """
    return read_pairs(source.name, _read(source, config, bad), config, found)


def read_pairs(
    name: str, pieces: Iterable[str], config: TextConfig, found: Found
) -> Iterator[Example]:
    """Yield the pairs of one table, which messages call `name`.

    >>> [*read_pairs("t.tsv", ["uno\\tone\\n"], TextConfig(pairs=True), Found())]
    [Example(source='uno', target='one')]
    """
    wanted = [config.source_column, config.target_column]
    if find_layout(name, config.format) == "jsonl" and tuple(wanted) == _NUMBERS:
        raise ConfigError(
            f"{name} has JSON objects, whose columns have no numbers; name them by --source-column "
            "and --target-column"
        )
    clean_source = _make_cleaner(config, config.source_unit)
    clean_target = _make_cleaner(config, config.target_unit)

    def make(values: Sequence[str | None]) -> tuple[str, str]:
        source, target = values
        if target is None:
            raise BadRowError(f"there is no {wanted[1]!r} in this object")
        return _check_source(clean_source(source or "")), clean_target(target)

    for _, row in iter_made(name, pieces, wanted, config, found.skip, make):
        yield Example(*row)


def _read_table(
    name: str, text: str, config: TextConfig, found: Found, _: dict[str, BadBytes]
) -> Iterator[Example]:
    return read_pairs(name, [text], config, found)


def iter_parallel(
    source: Source,
    target: Source,
    config: TextConfig,
    found: Found,
    bad: dict[str, BadBytes],
) -> Iterator[Example]:
    """Yield each line of a file with the line of another that has its number.

    found, bad: as for `iter_pairs`.

    Raises:
        CorpusError: a file cannot be read or decoded, one has more lines, or a source is empty.
    """
    clean_source = _make_cleaner(config, config.source_unit)
    clean_target = _make_cleaner(config, config.target_unit)
    lines = iter_lines(_read(source, config, bad))
    target_lines = iter_lines(_read(target, config, bad))
    for number, (own, becomes) in enumerate(zip_longest(lines, target_lines), start=1):
        if own is None or becomes is None:
            longer = number + sum(1 for _ in (target_lines if own is None else lines))
            counts = (number - 1, longer) if own is None else (longer, number - 1)
            raise CorpusError(
                f"{source.name} has {counts[0]:,} lines and {target.name} {counts[1]:,}; each line "
                "needs the one that it becomes"
            )
        place = f"{source.name}:{number}"
        try:
            text = _check_source(clean_source(own))
            place = f"{target.name}:{number}"
            becomes = clean_target(becomes)
        except BadRowError as problem:
            refuse_row(place, problem, found.skip, config=config)
            continue
        yield Example(text, becomes)


def _read(source: Source, config: TextConfig, bad: dict[str, BadBytes]) -> Iterator[str]:
    return iter_text([source], encoding=config.encoding, errors=config.errors, bad=bad)


def _make_cleaner(config: TextConfig, unit: str) -> Callable[[str], str]:
    """Return a function that makes of a cell or a line the text of a source or a target."""
    has_form = config.lowercase or config.normalize != "none"

    def clean(text: str) -> str:
        if not text.isascii():
            check_text(text)
        if "\r" in text:  # which JSON may write
            text = as_lines(text)
        text = text.strip("\n")
        if has_form:
            text = compose(lower(text) if config.lowercase else text, config.normalize)
        return text.strip() if unit == "space" else text

    return clean


def _check_source(text: str) -> str:
    """Return a source; raise BadRowError if it is empty."""
    if not text:
        raise BadRowError("the source is empty")
    return text
