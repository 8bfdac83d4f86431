"""What one process does to one part of a text: count its characters, or write its ids.

A job and its result are plain JSON values, so that a job can be done here or by another process.
Which part it is, where its ids go and who does it is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.storage import open_at
from charrnn.text.encodings import find_codec
from charrnn.text.files import Source, open_source
from charrnn.text.reader import iter_text
from charrnn.text.vocab import CODE_POINTS, Vocab, code_points

BLOCK_CHARS = 1 << 18  # many small files are encoded together

Job = dict[str, Any]
Result = dict[str, Any]


def count_job(part: list[Source], config: TextConfig) -> Job:
    """Give the job to count the characters of a part.

    Its result has the code points that stand in it (codes), how often each does (counts), and the
    last character, "" if there is none.
    """
    return {"sources": [_as_json(source) for source in part], "how": _how(part, config)}


def write_job(counting: Job, opening: str, vocab: Vocab, path: Path, offset: int) -> Job:
    """Give the job to write the ids of `opening` and the part that `counting` counts.

    They go into the file at `path` from byte `offset` on. Its result has how many they are
    (tokens) and, in pairs (tokens, characters), how much of the part each written piece ends at
    (marks), where the two differ.
    """
    place = {"path": str(path), "offset": offset}
    return counting | {"opening": opening, "vocab": vocab.to_json()} | place


def run_job(job: Job) -> Result:
    """Do a job.

    Raises:
        CorpusError: a file cannot be read or decoded, or changed.
        StorageError: the ids cannot be written.
        VocabError: the vocabulary lacks a character.
    """
    return _write(job) if "vocab" in job else _count(job)


def _as_json(source: Source) -> list[object]:
    return [str(source.path), source.name, source.state, source.start, source.stop]


def _from_json(path: str, name: str, state: list[int] | None, *stretch: int) -> Source:
    return Source(Path(path), name, None if state is None else (state[0], state[1]), *stretch)


def _how(part: list[Source], config: TextConfig) -> dict[str, Any]:
    """Give the options of `iter_text`; a stretch that does not end its file ends no document."""
    end = config.document_end if part[-1].stop is None else None
    return {
        "encoding": config.encoding,
        "normalize": config.normalize,
        "document_end": end,
    }


def _count(job: Job) -> Result:
    counts, last = np.zeros(CODE_POINTS, dtype=np.int64), ""
    for piece in _iter_blocks(_pieces(job)):
        last = piece[-1]
        if piece.isascii():
            counts[:256] += _count_bytes(piece.encode("ascii"))
        else:
            seen = np.bincount(code_points(piece))
            counts[: len(seen)] += seen
    codes = np.flatnonzero(counts)
    return {"codes": codes.tolist(), "counts": counts[codes].tolist(), "last": last}


def _count_bytes(raw: bytes) -> NDArray[np.int64]:
    """Count bytes (256,), two at a time: half as many look-ups as one by one."""
    pairs = np.frombuffer(raw, dtype=np.uint16, count=len(raw) // 2)
    table = np.bincount(pairs, minlength=65_536).reshape(256, 256)
    counts: NDArray[np.int64] = table.sum(0) + table.sum(1)
    if len(raw) % 2:
        counts[raw[-1]] += 1
    return counts


def _write(job: Job) -> Result:
    vocab = Vocab.from_json(job["vocab"])
    tokens = characters = 0
    marks: list[tuple[int, int]] = []
    with open_at(Path(job["path"]), job["offset"]) as file:
        for piece in _iter_blocks(chain([job["opening"]], _pieces(job))):
            ids = vocab.encode(piece)
            file.write(ids.data)
            tokens += len(ids)
            characters += len(piece)
            if vocab.has_bytes:
                marks.append((tokens, characters))
    return {"tokens": tokens, "marks": marks}


def _iter_blocks(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the text in pieces that are not empty and not small, but for the last."""
    held: list[str] = []
    chars = 0
    for piece in pieces:
        held.append(piece)
        chars += len(piece)
        if chars >= BLOCK_CHARS:
            yield "".join(held)
            held, chars = [], 0
    if chars:
        yield "".join(held)


def _pieces(job: Job) -> Iterator[str]:
    return iter_text([_from_json(*source) for source in job["sources"]], **job["how"])


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


def split_sources(sources: list[Source], part_bytes: int, config: TextConfig) -> list[list[Source]]:
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
