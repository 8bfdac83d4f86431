"""The texts of files, one after another, none left out: lines, whole files, or rows of a table.

`charrnn predict` calls this. Unlike the records of a corpus a text may be blank, and standard input
is read as it comes, so that what is piped in is answered at once.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from charrnn.config import TextConfig
from charrnn.data.records import Found
from charrnn.data.tables import iter_rows
from charrnn.errors import CorpusError, counted
from charrnn.text.encodings import find_codec
from charrnn.text.files import Source, open_sources
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import BadBytes, describe_bad, iter_text, text_options

STDIN = "standard input"
_CHUNK_BYTES = 1 << 16
_BLOCK_ROWS = 256
_ERRORS = {"strict": "strict", "replace": "replace", "skip": "ignore"}  # as codecs name them


@dataclass
class TextReader:
    """Reads texts as a TextConfig says: rows with text_column, files with files, else lines.

    notes: what a person should know of how they were read, complete after the last one.
    """

    config: TextConfig
    notes: list[str] = field(default_factory=list)

    def iter_blocks(self, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield the name of each file and some texts of it, in order.

        names: files, folders, globs, or "-" for standard input.

        Raises:
            CorpusError: a file cannot be read or decoded, or has a row that is no text.
            ConfigError: the encoding or a table's layout is not known.
        """
        bad: dict[str, BadBytes] = {}
        found = Found()
        with ExitStack() as stack:
            sources: list[Source | None] = []  # None: standard input
            for name in names:
                if name == "-":
                    sources.append(None)
                    continue
                opened = stack.enter_context(open_sources([name]))
                sources += inspect_sources(opened, self.config, self.notes.append)
            for source in sources:
                name = STDIN if source is None else source.name
                for block in self._iter_texts(name, self._pieces(source, bad), found):
                    yield name, block
        self.notes += describe_bad(bad, self.config.errors)
        if found.skipped:
            places = ", ".join(found.places)
            self.notes.append(f"left out {counted(found.skipped, 'row')}: {places}")

    def _pieces(self, source: Source | None, bad: dict[str, BadBytes]) -> Iterator[str]:
        config = self.config
        if source is None:
            return _iter_stdin(config)
        options = text_options(config) | {"lowercase": False, "normalize": "none"}
        return iter_text([source], bad=bad, **options)  # in the form that they are shown in

    def _iter_texts(self, name: str, pieces: Iterator[str], found: Found) -> Iterator[list[str]]:
        config = self.config
        if config.files:
            yield ["".join(pieces)]
        elif config.text_column is None:
            yield from _iter_lines(pieces)
        else:
            block = []
            for text, _, _ in iter_rows(name, pieces, config, found.skip, may_be_blank=True):
                block.append(text)
                if len(block) == _BLOCK_ROWS:
                    yield block
                    block = []
            yield block


def _iter_lines(pieces: Iterable[str]) -> Iterator[list[str]]:
    """Yield the lines of each piece once they have ended."""
    held: list[str] = []  # the beginning of a line
    for piece in pieces:
        *ended, last = piece.split("\n")
        if ended:
            ended[0] = "".join([*held, ended[0]])
            yield ended
            held = []
        held.append(last)
    if rest := "".join(held):
        yield [rest]


def _iter_stdin(config: TextConfig) -> Iterator[str]:
    """Yield the characters of standard input as they come, newlines made LF."""
    if sys.stdin is None:
        raise CorpusError("standard input is closed; name a file")
    read = partial(cast("io.BufferedReader", sys.stdin.buffer).read1, _CHUNK_BYTES)
    if config.unit == "byte":
        while chunk := read():
            yield chunk.decode("ascii", "surrogateescape")
        return
    codec = find_codec("utf-8" if config.encoding == "auto" else config.encoding)
    decode_bytes = codecs.getincrementaldecoder(codec)(_ERRORS[config.errors])
    decoder = io.IncrementalNewlineDecoder(decode_bytes, translate=True)
    lines = 1
    mark = "\ufeff"
    is_over = False
    while not is_over:
        chunk = read()
        is_over = not chunk
        try:
            text = decoder.decode(chunk, final=is_over)
        except UnicodeDecodeError as error:
            lines += chunk.count(b"\n", 0, error.start)
            raise CorpusError(
                f"{STDIN}, line {lines} is not {codec}; give --encoding, or --errors replace"
            ) from error
        lines += text.count("\n")
        if text:
            yield text.removeprefix(mark)
            mark = ""
