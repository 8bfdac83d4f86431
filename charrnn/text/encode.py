"""What one process does to one part of a text: count its characters, or write its ids.

A job and its result are plain JSON values, so that `workers` can do a job here or in another
process. `split_sources` makes the parts: a text is cut only where each part reads the same alone.
"""

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
from charrnn.text.files import FileStamp, Source, open_source
from charrnn.text.reader import iter_text, text_options
from charrnn.text.vocab import CODE_POINTS, Vocab, code_points

BLOCK_CHARS = 1 << 18  # small files are encoded together
MIN_LAST_BYTES = 1 << 16  # of the last part of a file: no document's end is cut in two
_SEARCH_BYTES = 1 << 16

# Encodings in which a newline byte is always a newline, and what follows it reads the same alone.
CUTTABLE = {
    *("utf-8", "utf-8-sig", "ascii", "koi8-r", "koi8-u", "gb2312", "gbk", "gb18030", "big5"),
    *("cp950", "euc_jp", "shift_jis", "cp932", "euc_kr", "cp949"),
    *(f"cp{number}" for number in range(1250, 1259)),
    *(f"iso8859-{number}" for number in range(1, 17) if number != 12),
}

Job = dict[str, Any]
Result = dict[str, Any]


def split_sources(sources: list[Source], part_bytes: int, config: TextConfig) -> list[list[Source]]:
    """Return the sources in parts of about `part_bytes`, each to be read on its own.

    A part is a stretch of one file's bytes that does not end it, or the rest of a file and the
    files after it.
    """
    # A normal form may compose characters across any cut.
    is_cuttable = find_codec(config.encoding) in CUTTABLE and config.normalize == "none"
    parts: list[list[Source]] = []
    rest: list[Source] = []
    room = part_bytes
    for source in sources:
        is_whole = source.is_named_gz or not is_cuttable
        *stretches, end = [source] if is_whole else _cut(source, part_bytes)
        if rest and (stretches or room <= 0):
            parts.append(rest)
            rest = []
            room = part_bytes
        parts += ([stretch] for stretch in stretches)
        rest.append(end)
        room -= source.size_bytes - end.start
    return [*parts, rest]


def count_job(part: list[Source], config: TextConfig) -> Job:
    """Return the job that counts the characters of a part.

    Its result: codes, the code points in the part; counts, how often each occurs; last, the
    part's last character, "" if it has none.
    """
    sources = [[str(each.path), each.name, each.stamp, each.start, each.stop] for each in part]
    options = text_options(config)
    if part[-1].stop is not None:  # a stretch that does not end its file ends no document
        options["document_end"] = None
    return {"sources": sources, "options": options}


def write_job(counting: Job, prefix: str, vocab: Vocab, path: Path, offset: int) -> Job:
    """Return the job that writes the ids of `prefix` and of the part that `counting` counts.

    They go into the file at `path` from byte `offset` on. Its result: tokens, the number of ids;
    marks, pairs (tokens, characters) at the end of each written block, where the two can differ.
    """
    target = {"path": str(path), "offset": offset}
    return counting | {"prefix": prefix, "vocab": vocab.to_json()} | target


def run_job(job: Job) -> Result:
    """Do a job; raise CorpusError, StorageError, or VocabError for an unknown character."""
    sources = [
        Source(Path(path), name, stamp and FileStamp(*stamp), start, stop)
        for path, name, stamp, start, stop in job["sources"]
    ]
    pieces = iter_text(sources, **job["options"])
    return _write(job, pieces) if "vocab" in job else _count(pieces)


def _count(pieces: Iterator[str]) -> Result:
    counts = np.zeros(CODE_POINTS, dtype=np.int64)
    last = ""
    for block in _iter_large(pieces):
        last = block[-1]
        if block.isascii():
            counts[:256] += _count_bytes(block.encode("ascii"))
        else:
            seen = np.bincount(code_points(block))
            counts[: len(seen)] += seen
    codes = np.flatnonzero(counts)
    return {"codes": codes.tolist(), "counts": counts[codes].tolist(), "last": last}


def _iter_large(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the text of `pieces` in blocks of BLOCK_CHARS or more; only the last may be shorter."""
    # A large piece stays as it is: to cut it would take copies, and a table for each cut.
    held: list[str] = []
    chars = 0
    for piece in pieces:
        held.append(piece)
        chars += len(piece)
        if chars >= BLOCK_CHARS:
            yield "".join(held)
            held = []
            chars = 0
    if chars:
        yield "".join(held)


def _count_bytes(raw: bytes) -> NDArray[np.int64]:
    """Count bytes (256,), two at a time: half as many look-ups as one by one."""
    pairs = np.frombuffer(raw, dtype=np.uint16, count=len(raw) // 2)
    table = np.bincount(pairs, minlength=65_536).reshape(256, 256)
    counts: NDArray[np.int64] = table.sum(0) + table.sum(1)
    if len(raw) % 2:
        counts[raw[-1]] += 1
    return counts


def _write(job: Job, pieces: Iterator[str]) -> Result:
    vocab = Vocab.from_json(job["vocab"])
    tokens = characters = 0
    marks: list[tuple[int, int]] = []
    with open_at(Path(job["path"]), job["offset"]) as file:
        for block in _iter_large(chain([job["prefix"]], pieces)):
            ids = vocab.encode(block)
            file.write(ids.data)
            tokens += len(ids)
            characters += len(block)
            if vocab.has_bytes:  # without bytes a token is a character
                marks.append((tokens, characters))
    return {"tokens": tokens, "marks": marks}


def _cut(source: Source, part_bytes: int) -> list[Source]:
    """Return the stretches of one file, cut after newlines, each of `part_bytes` or a bit more."""
    last_start = source.size_bytes - MIN_LAST_BYTES
    if last_start < part_bytes:
        return [source]
    stretches = []
    start = 0
    with open_source(source) as file:
        while (stop := _after_newline(file, start + part_bytes)) and stop <= last_start:
            stretches.append(replace(source, start=start, stop=stop))
            start = stop
    return [*stretches, replace(source, start=start)]


def _after_newline(file: IO[bytes], position: int) -> int | None:
    """Return the position after the first newline from `position` on, if there is one."""
    file.seek(position)
    while block := file.read(_SEARCH_BYTES):  # not readline: a line may be longer than memory
        if (found := block.find(b"\n")) >= 0:
            return position + found + 1
        position += len(block)
    return None
