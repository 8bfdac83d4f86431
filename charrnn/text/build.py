"""Ids on the disk: built whole or not at all, by one process or, for a large text, by several.

A first pass over the text counts its alphabet, a second writes its ids. A large text is cut into
parts. The counts of the parts say where the ids of each go, so the ids are the same however the
text is cut. A build fills a folder of its own, which gets its final name as the last step.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.errors import CorpusError, StorageError, VocabError
from charrnn.storage import flush_file, flush_folder, write_atomically
from charrnn.text.encode import Job, Result, count_job, split_sources, write_job
from charrnn.text.files import Source
from charrnn.text.fingerprint import Fingerprint
from charrnn.text.vocab import CODE_POINTS, Vocab, code_points, utf8_widths
from charrnn.text.workers import allowed_workers, open_workers

PARALLEL_FROM_BYTES = 200_000_000  # a process starts in 0.2 s, in which one reads 50 MB
PART_BYTES = 1 << 25
MAX_PARTS = 256  # the counts of each are kept until the alphabet is known

_ABANDONED_AFTER_SECONDS = 86_400
_BUILDING = ".building-"

Run = Callable[[Iterable[Job]], Iterator[Result]]


@dataclass(frozen=True)
class _Part:
    """A counted part: its code points (U,), how often each occurs (U,), what goes before it."""

    job: Job
    codes: NDArray[np.int64]
    counts: NDArray[np.int64]
    prefix: str

    def count_tokens(self, vocab: Vocab) -> int:
        """Return its number of ids: an unknown character has one for each of its UTF-8 bytes."""
        widths = utf8_widths(self.codes)
        widths[np.isin(self.codes, code_points(vocab.alphabet))] = 1
        return int(self.counts @ widths) + len(vocab.encode(self.prefix))


def build_ids(
    texts: dict[str, list[Source]],
    config: TextConfig,
    known: Vocab | None,
    fingerprint: Fingerprint,
    folder_of: Callable[[str], Path],
) -> None:
    """Write the ids of named texts, and what describes them, into the folder of their SHA-256.

    known: a vocabulary whose tokens are added. fingerprint: of all the texts. Raises what
    `open_corpus` does.
    """
    sources = list(chain.from_iterable(texts.values()))
    size_bytes = sum(source.size_bytes for source in sources)
    workers = allowed_workers() if size_bytes >= PARALLEL_FROM_BYTES else 1
    part_bytes = max(PART_BYTES, size_bytes // MAX_PARTS) if workers > 1 else sys.maxsize
    jobs = {
        name: [count_job(part, config) for part in split_sources(text, part_bytes, config)]
        for name, text in texts.items()
    }
    with open_workers(min(workers, sum(map(len, jobs.values())))) as run:
        # Other processes count while this one hashes.
        results = run(chain.from_iterable(jobs.values()))
        folder = folder_of(fingerprint.compute())
        if is_complete(folder):
            return
        parts, counts = _gather(jobs, results, config)
        if not counts.any():
            name = sources[0].name
            raise CorpusError(f"{name} is empty; give it at least a few hundred characters")
        vocab = Vocab.from_counts(counts, config.min_count)
        vocab = vocab if known is None else vocab.union(known)
        with _whole_folder(folder) as temporary:
            sizes: dict[str, int] = {}
            try:
                for name in texts:
                    sizes |= _write(temporary / f"{name}.ids", parts[name], vocab, run)
                is_unchanged = fingerprint.is_unchanged()
            except VocabError:  # there are other characters than were counted
                is_unchanged = False
            if not is_unchanged:
                name = sources[0].name
                raise CorpusError(f"{name} changed while it was read; run the command again")
            about = {"sizes": sizes, "vocab": vocab.to_json()}
            write_atomically(temporary / "about.json", json.dumps(about))


def _gather(
    jobs: dict[str, list[Job]], results: Iterator[Result], config: TextConfig
) -> tuple[dict[str, list[_Part]], NDArray[np.int64]]:
    """Return the parts of each text, and the count of each code point (0x110000,) int64."""
    total = np.zeros(CODE_POINTS, dtype=np.int64)
    texts: dict[str, list[_Part]] = {}
    last = "\n"
    for name in jobs:
        texts[name] = []
        is_begun = False
        for job in jobs[name]:
            result = next(results)
            prefix = ""
            # A newline separates files that would share a line. Before the held-out text it is
            # counted, as if all were one text, but not written.
            if result["last"] and last != "\n" and config.document_end is None:
                total[ord("\n")] += 1
                prefix = "\n" if is_begun else ""
            codes = np.array(result["codes"], dtype=np.int64)
            counts = np.array(result["counts"], dtype=np.int64)
            total[codes] += counts
            texts[name].append(_Part(job, codes, counts, prefix))
            last = result["last"] or last
            is_begun = is_begun or bool(result["last"])
    return texts, total


def _write(path: Path, parts: list[_Part], vocab: Vocab, run: Run) -> dict[str, int]:
    """Write the ids of one text, and their marks; return the sizes of the files in bytes."""
    # Where each part starts is known before any is written, so they are written in any order.
    starts = np.cumsum([0, *(part.count_tokens(vocab) for part in parts)])
    offsets = (starts[:-1] * vocab.dtype.itemsize).tolist()
    results = run(
        write_job(part.job, part.prefix, vocab, path, offset)
        for part, offset in zip(parts, offsets, strict=True)
    )
    marks = [np.zeros((1, 2), dtype=np.int64)]
    for expected, result in zip(np.diff(starts), results, strict=True):
        if result["tokens"] != expected:
            raise VocabError(f"{path.name} has {result['tokens']} ids, {expected} were counted")
        if result["marks"]:  # those of a part count from its start
            marks.append(marks[-1][-1] + np.array(result["marks"], dtype=np.int64))
    sizes = {path.name: flush_file(path)}
    if vocab.has_bytes:
        data = np.concatenate(marks).astype("<i8").tobytes()
        write_atomically(path.with_suffix(".marks"), data)
        sizes[path.with_suffix(".marks").name] = len(data)
    return sizes


def is_complete(folder: Path) -> bool:
    """Return whether its files are those that the last step of a build described."""
    try:
        about = json.loads((folder / "about.json").read_text())
        Vocab.from_json(about["vocab"])
        sizes = dict(about["sizes"])
        return "train.ids" in sizes and all(
            (folder / name).stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError, VocabError):
        return False


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder, which takes the name `folder` if the block ends without an error."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in folder.parent.glob(f"{_BUILDING}*"):  # of builds that were killed
            with suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                    shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_BUILDING))
    except OSError as error:
        raise _cache_error(folder.parent, error) from error
    try:
        yield temporary
        try:
            if folder.exists() and not is_complete(folder):
                shutil.rmtree(folder)
            temporary.rename(folder)
            flush_folder(folder.parent)
        except OSError as error:
            if not is_complete(folder):  # else another process was first, and its ids are as good
                raise _cache_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _cache_error(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write {path}: {error.strerror or error}; "
        "set CHARRNN_CACHE to another folder for built ids"
    )
