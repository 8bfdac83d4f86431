"""Ids on the disk: built whole or not at all, by one process or, for a large text, by several.

A first pass over the text counts its alphabet, a second writes its ids. A large text is cut into
parts. The counts of the parts say where the ids of each go, so the ids are the same however the
text is cut. A text with clusters as tokens is one part: only writing tells how many ids it takes.
A build fills a folder of its own, which gets its final name as the last step; `built` opens it.

S = tokens, F = files, G = paths given, R = records, C = columns of labels.
"""

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.data.built import (
    NO_MARKS,
    BuiltIds,
    map_array,
    open_built,
    open_or_remove,
    write_about,
)
from charrnn.data.draw import PARTS, Ints, segment_sizes
from charrnn.data.encode import Job, Result, count_job, split_sources, with_records, write_job
from charrnn.data.fingerprint import Fingerprint
from charrnn.data.labels import Labels
from charrnn.data.records import Records
from charrnn.data.split import Split, iter_parts, iter_segments
from charrnn.data.survey import Survey
from charrnn.data.workers import allowed_workers, open_workers
from charrnn.errors import CorpusError, StorageError, VocabError
from charrnn.storage import flush_file, flush_folder, open_at, write_atomically
from charrnn.text.files import Source
from charrnn.text.graphemes import check_kinds
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import describe_bad
from charrnn.text.trouble import count_trouble, describe_trouble
from charrnn.text.vocab import CODE_POINTS, END, Ids, Vocab, code_points, utf8_widths

PARALLEL_FROM_BYTES = 200_000_000  # a process starts in 0.2 s, in which one reads 50 MB
PART_BYTES = 1 << 25
MAX_PARTS = 256  # the counts of each are kept until the alphabet is known
_NO_ENDS = np.empty(0, np.int64)

_ABANDONED_AFTER_SECONDS = 86_400
_BUILDING = ".building-"

Run = Callable[[Iterable[Job]], Iterator[Result]]


@dataclass(frozen=True)
class _Part:
    """A counted part: its code points (U,), how often each occurs (U,), what goes before it.

    records: how many it has. is_utf8: of bytes, whether they are valid.
    """

    job: Job
    codes: NDArray[np.int64]
    counts: NDArray[np.int64]
    prefix: str
    records: int = 0
    is_utf8: bool = False

    def count_tokens(self, vocab: Vocab) -> int:
        """Return its number of ids: an unknown character has one for each of its UTF-8 bytes.

        Where clusters are tokens, return its number of characters instead.
        """
        if vocab.is_binary or vocab.clusters:
            return int(self.counts.sum()) + len(self.prefix)
        widths = utf8_widths(self.codes)
        known = vocab.alphabet + END * vocab.has_end
        widths[np.isin(self.codes, code_points(known))] = 1
        return int(self.counts @ widths) + len(vocab.encode(self.prefix))


def build_ids(
    texts: dict[str, list[Source]],
    config: TextConfig,
    known: Vocab | None,
    fingerprint: Fingerprint,
    folder_of: Callable[[str], Path],
) -> BuiltIds:
    """Write the ids of named texts, and what describes them, into the folder of their SHA-256.

    known: a vocabulary whose tokens are added. fingerprint: of all the texts. Raises what
    `open_corpus` does.
    """
    notes: list[str] = []
    given = paths_given(texts["train"])
    texts = {name: inspect_sources(text, config, notes.append) for name, text in texts.items()}
    sources = list(chain.from_iterable(texts.values()))
    size_bytes = sum(source.size_bytes for source in sources)
    has_clusters = config.unit == "grapheme" or (known is not None and bool(known.clusters))
    is_large = size_bytes >= PARALLEL_FROM_BYTES and not has_clusters
    workers = allowed_workers() if is_large else 1
    part_bytes = max(PART_BYTES, size_bytes // MAX_PARTS) if workers > 1 else sys.maxsize
    whole = replace(config, group_column=None)  # of a held-out file, which is not split
    jobs = {
        name: [
            count_job(part, whole if name == "val" else config)
            for part in split_sources(text, part_bytes, config)
        ]
        for name, text in texts.items()
    }
    with open_workers(min(workers, sum(map(len, jobs.values())))) as run:
        # Other processes count while this one hashes.
        results = run(chain.from_iterable(jobs.values()))
        folder = folder_of(fingerprint.compute())
        if built := open_or_remove(folder):
            return built
        parts, counts, clusters, seen = _gather(jobs, results, config, notes)
        if not counts.any() or (config.record_kind is not None and not seen.records):
            name = sources[0].name
            seen.found.refuse_skipped()
            raise CorpusError(f"{name} is empty; give it at least a few hundred characters")
        labels, understood = seen.describe(config, notes)
        vocab = make_vocab(counts, config, known, clusters)
        with _whole_folder(folder) as temporary:
            try:
                chars = {
                    name: _write(temporary / f"{name}.ids", parts[name], vocab, labels, run)
                    for name in texts
                }
                if len(given) > 1:
                    _write_given_ends(temporary, given, texts["train"])
                is_unchanged = fingerprint.is_unchanged()
            except VocabError:  # there are other characters than were counted
                is_unchanged = False
            if not is_unchanged:
                name = sources[0].name
                raise CorpusError(f"{name} changed while it was read; run the command again")
            written = BuiltIds(temporary, vocab, chars, tuple(notes))
            is_utf8 = config.unit == "byte"
            is_utf8 &= all(part.is_utf8 for part in chain.from_iterable(parts.values()))
            written = replace(written, labels=labels, understood=understood, is_utf8=is_utf8)
            write_about(temporary, written)
        built = open_built(folder)
        if built is None:
            raise CorpusError(f"{folder} was changed by another program; run the command again")
        return built


def paths_given(sources: Iterable[Source]) -> dict[str, int]:
    """Return the paths that led to sources, in their order, with the weight of each."""
    return {source.given: source.weight for source in sources}


def make_vocab(
    counts: NDArray[np.int64],
    config: TextConfig,
    known: Vocab | None,
    clusters: Counter[str] | None = None,
) -> Vocab:
    """Return the vocabulary of a text of so many of each code point (0x110000,), and cluster."""
    has_end = config.record_kind is not None
    if config.unit == "byte":
        vocab = Vocab.of_bytes(has_end=has_end)
    else:
        vocab = Vocab.from_counts(counts, config.min_count, has_end=has_end, clusters=clusters)
    return vocab if known is None else vocab.union(known)


def write_split(built: BuiltIds, folder: Path, ids: Ids, split: Split) -> BuiltIds:
    """Write the parts of split ids into `folder`, which is inside that of the whole.

    The first END of records is in no segment of `split`; here each part gets its own.
    """
    vocab = built.vocab
    names = split.names
    records = built.map_records("train")
    with _whole_folder(folder) as temporary, ExitStack() as stack:
        files = {n: stack.enter_context(open_at(temporary / f"{n}.ids", 0)) for n in names}
        sums: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
        chars = dict.fromkeys(names, 0)
        if records is not None:
            _write_records(temporary, records, split)
            for name in names:
                is_empty = not (temporary / f"{name}.ends").stat().st_size
                first = np.full(int(not is_empty), vocab.end, vocab.dtype)
                files[name].write(first.data)
                sums[name].append((len(first), crc32(first.data)))
        for parts in iter_parts(ids, split):
            for name, part in zip(names, parts, strict=True):
                files[name].write(part.data)
                before = sums[name][-1][0] if sums[name] else 0
                sums[name].append((before + len(part), crc32(part.data)))
                chars[name] += vocab.count_characters(part)
        stack.close()
        for name in names:
            _write_array(temporary / f"{name}.sums", sums[name])
            flush_file(temporary / f"{name}.ids")
        if split.given_ends is not None:
            _write_array(temporary / "val.given", split.given_ends + (records is not None))
        notes = (f"held out: {split.held_out}",) * split.is_unusual
        words = (split.held_out, split.method, built.labels, built.understood)
        written = BuiltIds(folder, vocab, chars, notes, *words)
        write_about(temporary, written)
    return written


def _write_records(folder: Path, records: Records, split: Split) -> None:
    """Write where the records of each part end in its ids, and their labels."""
    with ExitStack() as stack:
        files = {
            (name, kind): stack.enter_context(open_at(folder / f"{name}.{kind}", 0))
            for name in split.names
            for kind in ("ends", "labels")
        }
        for name, own in iter_records(records, split):
            files[name, "ends"].write(own.ends.astype("<i8").data)
            files[name, "labels"].write(own.labels.astype("<i4").data)
    for name, kind in files:
        flush_file(folder / f"{name}.{kind}")


def iter_records(records: Records, split: Split) -> Iterator[tuple[str, Records]]:
    """Yield where the records of a part end in its ids, and their labels, some at a time."""
    assert split.parts is not None
    before = dict.fromkeys(split.names, split.first)
    for segments in iter_segments(split):
        parts = split.parts[segments]
        for name in split.names:
            chosen = segments[parts == PARTS.index(name)]
            ends = before[name] + np.cumsum(segment_sizes(records.ends, chosen, split.first))
            before[name] = int(ends[-1]) if len(ends) else before[name]
            yield name, Records(ends, np.asarray(records.labels[chosen]))


def cut_records(records: Records, split: Split) -> dict[str, Records]:
    """Return the records of each part of a split: where they end in its ids, and their labels."""
    found: dict[str, list[Records]] = {name: [] for name in split.names}
    for name, some in iter_records(records, split):
        found[name].append(some)
    return {
        name: Records(*map(np.concatenate, zip(*((r.ends, r.labels) for r in own), strict=True)))
        for name, own in found.items()
    }


def _gather(
    jobs: dict[str, list[Job]], results: Iterator[Result], config: TextConfig, notes: list[str]
) -> tuple[dict[str, list[_Part]], NDArray[np.int64], Counter[str], Survey]:
    """Return the parts of each text, counts of code points (0x110000,) and clusters, the records.

    notes: takes a sentence on each kind of trouble in the texts.
    """
    total = np.zeros(CODE_POINTS, dtype=np.int64)
    texts: dict[str, list[_Part]] = {}
    bad: dict[str, str] = {}
    found: Counter[str] = Counter()
    clusters: Counter[str] = Counter()
    seen = Survey()
    last = "\n"
    for name in jobs:
        texts[name] = []
        is_begun = False
        for job in jobs[name]:
            result = next(results)
            prefix = ""
            # A newline separates files that would share a line. Before the held-out text it is
            # counted, as if all were one text, but not written.
            is_joined = config.record_kind is None and config.unit != "byte"
            if result["last"] and last != "\n" and is_joined:
                total[ord("\n")] += 1
                prefix = "\n" if is_begun else ""
            if config.record_kind is not None:
                seen.add(result, is_trained=name == next(iter(jobs)))
                prefix = END * (bool(result["last"]) and not is_begun)
            codes = np.array(result["codes"], dtype=np.int64)
            counts = np.array(result["counts"], dtype=np.int64)
            total[codes] += counts
            figures = (result.get("records", 0), result["is_utf8"])
            texts[name].append(_Part(job, codes, counts, prefix, *figures))
            last = result["last"] or last
            is_begun = is_begun or bool(result["last"])
            bad |= result["bad"]
            found += Counter(result["trouble"])
            clusters.update(result["clusters"])
            check_kinds(clusters)
    if config.record_kind is not None:
        total[ord(END)] = 0  # no character
    if config.unit == "grapheme":
        found.pop("decomposed_chars", None)  # a letter and its marks are one token
    notes += describe_bad(bad, config.errors)
    trouble = "" if config.unit == "byte" else describe_trouble(count_trouble(total, found))
    notes += [f"the text has {trouble}"] * bool(trouble)
    return texts, total, clusters, seen


def _write(path: Path, parts: list[_Part], vocab: Vocab, labels: Labels, run: Run) -> int:
    """Write the ids of one text and what goes with them; return its number of characters."""
    # Where each part starts is known before any is written, so they are written in any order.
    starts = np.cumsum([0, *(part.count_tokens(vocab) for part in parts)])
    firsts = np.cumsum([0, *(part.records for part in parts)]).tolist()
    offsets = (starts[:-1] * vocab.dtype.itemsize).tolist()
    jobs = (
        write_job(part.job, part.prefix, vocab, path, offset)
        for part, offset in zip(parts, offsets, strict=True)
    )
    if vocab.has_end:
        for suffix in (".ends", ".hashes", ".labels"):
            path.with_suffix(suffix).touch()
        jobs = (with_records(job, labels, first) for job, first in zip(jobs, firsts, strict=False))
    results = run(jobs)
    marks = [NO_MARKS]
    ends: list[Ints] = []
    sums: list[tuple[int, int]] = []
    if vocab.clusters:
        assert len(parts) == 1, "only the end of a part with clusters tells where the next begins"
    for start, stop, part, result in zip(starts, starts[1:], parts, results, strict=False):
        counted = result["characters"] if vocab.clusters else result["tokens"]
        if counted != stop - start:
            raise VocabError(f"{path.name}: {counted} were written, {stop - start} were counted")
        # What a part says counts from its start.
        if result["marks"]:
            marks.append(marks[-1][-1] + np.array(result["marks"], dtype=np.int64))
        if part.prefix and not vocab.has_end:  # the newline that ends the file before
            for before in ends:
                before[before == start] += len(vocab.encode(part.prefix))
        if part.job["ends_file"]:
            ends.append(start + np.array(result["ends"], np.int64))
        sums += [(int(start) + tokens, crc) for tokens, crc in result["sums"]]
    flush_file(path)
    _write_array(path.with_suffix(".files"), np.concatenate([_NO_ENDS, *ends]))
    _write_array(path.with_suffix(".sums"), sums)
    tokens = sums[-1][0] if sums else 0
    given = vocab.has_end and tokens > 0  # the first END, which is no character of the text
    if vocab.is_one_to_one:
        return tokens - given
    _write_array(path.with_suffix(".marks"), np.concatenate(marks))
    return int(np.concatenate(marks)[-1, 1]) - given


def _write_given_ends(folder: Path, given: Iterable[str], sources: list[Source]) -> None:
    """Write where the files of each path end; some may have been left out, as they are no text."""
    counts = Counter(source.given for source in sources)
    file_ends = np.append(0, map_array(folder / "train.files", "<i8"))
    _write_array(folder / "train.given", file_ends[np.cumsum([counts[path] for path in given])])


def _write_array(path: Path, values: Any) -> None:
    write_atomically(path, np.array(values, "<i8").tobytes())


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder, which takes the name `folder` if the block ends without an error."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in folder.parent.glob(f"{_BUILDING}*"):  # of builds that were killed
            with suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                    shutil.rmtree(leftover, ignore_errors=True)
        # Not by tempfile: others may read ids as far as the umask lets them.
        temporary = folder.with_name(f"{_BUILDING}{os.urandom(6).hex()}")
        temporary.mkdir()
    except OSError as error:
        raise _cache_error(folder.parent, error) from error
    try:
        yield temporary
        try:
            if folder.exists() and open_built(folder) is None:
                shutil.rmtree(folder)
            temporary.rename(folder)
            flush_folder(folder.parent)
        except OSError as error:
            if (
                open_built(folder) is None
            ):  # else another process was first, and its ids are as good
                raise _cache_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _cache_error(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write {path}: {error.strerror or error}; "
        "set CHARRNN_CACHE to another folder for built ids"
    )
