"""What one process does to one part of a text: count its characters, or write its ids.

A job and its result are plain JSON values, so that `workers` can do a job here or in another
process. `split_sources` makes the parts: a text is cut only where each part reads the same alone.

Of a text of records END stands after each, and beside the ids go the ends, hashes and labels of the
records, which `split` and training read. R = records, C = columns of labels.
"""

from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.data.label_table import RowFinder, check_growth
from charrnn.data.labels import Labels
from charrnn.data.records import (
    Block,
    Found,
    hash_records,
    iter_records,
    join,
    label_names,
)
from charrnn.storage import open_at
from charrnn.text.encodings import find_codec
from charrnn.text.files import FileStamp, Source, open_source
from charrnn.text.graphemes import ClusterCounter
from charrnn.text.reader import BadBytes, iter_text, text_options
from charrnn.text.trouble import look_for_trouble
from charrnn.text.vocab import CODE_POINTS, END, Vocab, code_points

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
    # A normal form may compose characters across any cut, and lines with bad bytes are counted.
    is_plain = config.normalize == "none" and config.errors == "strict" and config.unit == "char"
    is_plain &= config.record_kind in (None, "line")  # a blank line at a cut is no record
    parts: list[list[Source]] = []
    rest: list[Source] = []
    room = part_bytes
    for source in sources:
        codec = source.codec or find_codec(config.encoding)
        is_whole = source.is_named_packed or not is_plain or codec not in CUTTABLE
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

    Its result: codes, the code points in the part, or the bytes; counts, how often each occurs;
    last, the part's last character, "" if it has none; trouble, of `look_for_trouble`; clusters,
    how often each occurs, if they are tokens; is_utf8, whether bytes are valid; bad, the bytes that
    were replaced or skipped, by file. Of records also: records, how many there are; values, how
    many have each label, by column; found, of `iter_records`.
    """
    sources = [
        [str(each.path), each.name, each.stamp, each.start, each.stop, each.codec] for each in part
    ]
    job = {"sources": sources, "options": text_options(config)}
    if config.record_kind is not None:
        job["records"] = asdict(config)
    return job | {"ends_file": part[-1].stop is None}


def write_job(counting: Job, prefix: str, vocab: Vocab, path: Path, offset: int) -> Job:
    """Return the job that writes the ids of `prefix` and of the part that `counting` counts.

    They go into the file at `path` from byte `offset` on. Its result: tokens, the number of ids;
    characters, of what was read;
    marks, pairs (tokens, characters) at the end of each written block, where the two can differ;
    ends, the tokens up to the end of each source; sums, pairs (tokens, CRC-32 of the ids) at the
    end of each block.
    """
    target = {"path": str(path), "offset": offset}
    return counting | {"prefix": prefix, "vocab": vocab.to_json()} | target


def with_records(job: Job, labels: Labels, first: int) -> Job:
    """Return a job of `write_job` for records, the first of which is number `first` of its text.

    Besides the ids it writes PATH.ends, .hashes and .labels, the last of rows of `labels`.
    """
    return job | {"labels": labels.to_json(), "first": first}


def run_job(job: Job) -> Result:
    """Do a job; raise CorpusError, StorageError, or VocabError for an unknown character."""
    sources = [
        Source(Path(path), name, stamp and FileStamp(*stamp), start, stop, codec=codec)
        for path, name, stamp, start, stop, codec in job["sources"]
    ]
    if "vocab" not in job:
        return _count_records(job, sources) if "records" in job else _count(job, sources)
    return _write_records(job, sources) if "records" in job else _write(job, sources)


def _count(job: Job, sources: list[Source]) -> Result:
    bad: dict[str, BadBytes] = {}
    pieces = iter_text(sources, bad=bad, **job["options"])
    counted = _count_blocks(_iter_large(pieces), job["options"]["unit"])
    return counted | {"bad": {name: str(each) for name, each in bad.items()}}


def _count_records(job: Job, sources: list[Source]) -> Result:
    config = TextConfig(**job["records"])
    names = label_names(config)
    values: list[Counter[str]] = [Counter() for _ in names]
    bad: dict[str, BadBytes] = {}
    found = Found()
    records = 0

    def blocks() -> Iterator[str]:
        nonlocal records
        for block in _iter_large_blocks(iter_records(sources, config, found, bad)):
            records += len(block.texts)
            for name, column, new in zip(names, values, block.columns(), strict=True):
                column.update(new)
                check_growth(name, column, new)
            yield join(block.texts, config)

    counted = _count_blocks(blocks(), config.unit)
    for column in values:
        column.pop("", None)  # not known
    seen = {"records": records, "values": values, "found": asdict(found)}
    return counted | {"bad": {name: str(each) for name, each in bad.items()}} | seen


def _count_blocks(blocks: Iterable[str], unit: str) -> Result:
    """Count the characters of blocks that are not empty, and look for trouble in them."""
    counts = np.zeros(CODE_POINTS, dtype=np.int64)
    last = ""
    trouble: Counter[str] = Counter()
    clusters = ClusterCounter() if unit == "grapheme" else None
    validity = _Validity()
    for block in blocks:
        last = block[-1]
        if clusters is not None:
            clusters.feed(block)
        if unit == "byte":
            counts[ord(END)] += block.count(END)
            validity.feed(block.replace(END, "\n"))
            block = block.replace(END, "")
        if block.isascii() or unit == "byte":
            counts[:256] += _count_bytes(block.encode("utf-8", "surrogateescape"))
        else:
            seen = np.bincount(code_points(block))
            counts[: len(seen)] += seen
            trouble += look_for_trouble(block, seen)
    codes = np.flatnonzero(counts)
    counted = {"codes": codes.tolist(), "counts": counts[codes].tolist()}
    found = clusters.finish() if clusters is not None else {}
    counted |= {"last": last, "trouble": trouble, "clusters": found}
    return counted | {"is_utf8": validity.finish()}


class _Validity:
    """Whether bytes that come in pieces are valid UTF-8."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")()
        self._is_valid = True

    def feed(self, text: str) -> None:
        """Read more of a text in which each character is a byte."""
        self._decode(text.encode("utf-8", "surrogateescape"))

    def finish(self) -> bool:
        """Return whether all of it was valid."""
        self._decode(b"", is_last=True)
        return self._is_valid

    def _decode(self, raw: bytes, *, is_last: bool = False) -> None:
        if self._is_valid:
            try:
                self._decoder.decode(raw, final=is_last)
            except UnicodeDecodeError:
                self._is_valid = False


def _iter_large_blocks(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield records in blocks of BLOCK_CHARS or more; only the last may be shorter."""
    held = Block([], [], [])
    chars = 0
    for block in blocks:
        held.extend(block)
        chars += sum(map(len, block.texts)) + len(block.texts)
        if chars >= BLOCK_CHARS:
            yield held
            held = Block([], [], [])
            chars = 0
    if held.texts:
        yield held


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


def _write(job: Job, sources: list[Source]) -> Result:
    vocab = Vocab.from_json(job["vocab"])
    prefix = job["prefix"]
    tokens = characters = 0
    marks: list[tuple[int, int]] = []
    sums: list[tuple[int, int]] = []
    char_ends: list[int] = []  # filled as the sources are read, the prefix left aside
    ends: list[int] = []
    pieces = iter_text(sources, ends=char_ends, **job["options"])
    with open_at(Path(job["path"]), job["offset"]) as file:
        for block in vocab.iter_settled(_iter_large(chain([prefix], pieces))):
            ids = vocab.encode(block)
            file.write(ids.data)
            # Files may end inside this block; those that end with it are among the next ones.
            within = np.array(char_ends[len(ends) :], np.int64) + len(prefix) - characters
            within = within[within <= len(block)]
            ends += (tokens + vocab.tokens_of(ids, np.maximum(within, 0))).tolist()
            tokens += len(ids)
            characters += len(block)
            sums.append((tokens, crc32(ids.data)))
            if not vocab.is_one_to_one:
                marks.append((tokens, characters))
    ends += [tokens] * (len(char_ends) - len(ends))
    written = {"tokens": tokens, "characters": characters}
    return written | {"marks": marks, "ends": ends, "sums": sums}


def _write_records(job: Job, sources: list[Source]) -> Result:
    config = TextConfig(**job["records"])
    vocab = Vocab.from_json(job["vocab"])
    path = Path(job["path"])
    rows = RowFinder(Labels.from_json(job["labels"]))
    columns = len(label_names(config))
    first = job["first"]
    start = job["offset"] // vocab.dtype.itemsize  # of this part among the ids of all
    prefix = job["prefix"]
    tokens = characters = 0
    marks: list[tuple[int, int]] = []
    sums: list[tuple[int, int]] = []
    ends: list[int] = []
    with ExitStack() as stack:
        file = stack.enter_context(open_at(path, job["offset"]))
        sizes = {".ends": 8, ".hashes": 8, ".labels": 4 * columns}
        beside = {
            suffix: stack.enter_context(open_at(path.with_suffix(suffix), first * size))
            for suffix, size in sizes.items()
        }
        for source in sources:
            for block in _iter_large_blocks(iter_records([source], config, Found())):
                text = join(block.texts, config)
                ids = vocab.encode(prefix + text)
                file.write(ids.data)
                is_end = ids[len(prefix) :] == vocab.end
                stops = start + tokens + len(prefix) + 1 + np.flatnonzero(is_end)
                beside[".ends"].write(stops.astype("<i8").tobytes())
                beside[".hashes"].write(hash_records(text, block.groups))
                if columns:
                    beside[".labels"].write(rows.find(block.labels).astype("<i4").tobytes())
                tokens += len(ids)
                characters += len(prefix) + len(text)
                prefix = ""
                sums.append((tokens, crc32(ids.data)))
                if not vocab.is_one_to_one:
                    marks.append((tokens, characters))
            ends.append(tokens)
    written = {"tokens": tokens, "characters": characters}
    return written | {"marks": marks, "ends": ends, "sums": sums}


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
