"""Files of characters with tags, as `examples` reads them: tagged ones, or raw ones, damaged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from charrnn.config import TextConfig
from charrnn.data.example_ids import ExampleFile
from charrnn.data.records import Example, Found
from charrnn.data.restore import read_damaged
from charrnn.data.tags import read_tagged
from charrnn.text.files import Source
from charrnn.text.reader import BadBytes, iter_text


def tag_files(sources: Sequence[Source], config: TextConfig) -> list[ExampleFile]:
    """Return files to read characters and their tags from."""
    return [
        ExampleFile(partial(_read_file, source, config), source.given, source.weight)
        for source in sources
    ]


def tag_texts(texts: Sequence[str], config: TextConfig) -> list[ExampleFile]:
    """Return texts in memory as files to read characters and their tags from."""
    return [
        ExampleFile(partial(_read_text, f"text {number}", text, config))
        for number, text in enumerate(texts)
    ]


def _read_file(
    source: Source, config: TextConfig, found: Found, bad: dict[str, BadBytes]
) -> Iterator[Example]:
    del found  # no line is left out
    # As it is: another form would have other characters than there are tags.
    pieces = iter_text([source], encoding=config.encoding, errors=config.errors, bad=bad)
    return _read(source.name, pieces, config)


def _read_text(
    name: str, text: str, config: TextConfig, found: Found, bad: dict[str, BadBytes]
) -> Iterator[Example]:
    del found, bad  # a text in memory is in its form already
    return _read(name, [text], config)


def _read(name: str, pieces: Iterable[str], config: TextConfig) -> Iterator[Example]:
    if config.tags is not None:
        return read_tagged(name, pieces, config.tags)
    return read_damaged(name, pieces, config.restored)
