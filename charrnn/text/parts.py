"""Where a text can be cut so that its parts, read apart, are the whole: after a newline.

In the encodings of `CUTTABLE` the byte 0x0A is a newline and never part of another character, and
nothing that stands before it changes how the bytes after it are read; nor can it lie between the
two halves of a CRLF. Packed files, other encodings and normal forms (whose forced cuts depend on
where reading began) are not cut, but a text of many files is still parted between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import IO

from charrnn.config import TextConfig
from charrnn.text.encodings import find_codec
from charrnn.text.source import Source, open_source

CUTTABLE = frozenset(
    [
        *("utf-8", "utf-8-sig", "ascii", "koi8-r", "koi8-u"),
        *("gb2312", "gbk", "gb18030", "big5", "cp950"),
        *("euc_jp", "shift_jis", "cp932", "euc_kr", "cp949"),
        *(f"cp{number}" for number in range(1250, 1259)),
        *(f"iso8859-{number}" for number in range(1, 17) if number != 12),
    ]
)

# The last part of a file is at least so long that what ends a document lies in it whole.
MIN_LAST_BYTES = 1 << 16

_SEARCH_BYTES = 1 << 16


def cut_sources(sources: list[Source], part_bytes: int, config: TextConfig) -> list[list[Source]]:
    """Give the sources in parts of about `part_bytes`, each to be read on its own.

    A part is a stretch of one file's bytes that does not end it, or the rest of a file and the
    files after it.

    Raises:
        ConfigError: the encoding is unknown.
        CorpusError: a file cannot be read, or has changed.
    """
    is_cuttable = find_codec(config.encoding) in CUTTABLE and config.normalize == "none"
    parts: list[list[Source]] = []
    rest: list[Source] = []
    room = part_bytes
    for source in sources:
        is_packed = source.path.suffix.lower() == ".gz"
        *stretches, end = _cut(source, part_bytes) if is_cuttable and not is_packed else [source]
        if rest and (stretches or room <= 0):
            parts.append(rest)
            rest, room = [], part_bytes
        parts += ([stretch] for stretch in stretches)
        rest.append(end)
        room -= source.size_bytes - end.start
    return [*parts, rest]


def _cut(source: Source, part_bytes: int) -> list[Source]:
    """Give the stretches of one file, each but the last about `part_bytes` long."""
    if source.size_bytes < part_bytes + MIN_LAST_BYTES:
        return [source]
    places = list(_iter_cuts(source, part_bytes))
    return [
        replace(source, start=start, stop=stop)
        for start, stop in zip([0, *places], [*places, None], strict=True)
    ]


def _iter_cuts(source: Source, part_bytes: int) -> Iterator[int]:
    """Yield places just after newlines, at least `part_bytes` apart and not too near the end."""
    with open_source(source) as file:
        place = 0
        while (found := _after_newline(file, place + part_bytes)) is not None:
            if found > source.size_bytes - MIN_LAST_BYTES:
                return
            yield found
            place = found


def _after_newline(file: IO[bytes], place: int) -> int | None:
    """Give the place of the byte after the first newline from `place` on, if there is one."""
    file.seek(place)
    while block := file.read(_SEARCH_BYTES):
        if (found := block.find(b"\n")) >= 0:
            return place + found + 1
        place += len(block)
    return None
