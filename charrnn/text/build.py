"""Ids on the disk: built whole or not at all, by one process or, for a large text, by several.

A first pass over the text counts its alphabet, a second writes its ids. A large text is cut into
parts, and where the ids of each go follows from the counts of those before it: the ids are the
same however it is cut. A build goes into a folder of its own that gets its final name as the last
step. Which folder that is, and what the ids are for, is not known here.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.errors import CorpusError, StorageError, VocabError
from charrnn.storage import flush_file, flush_folder, write_atomically
from charrnn.text.encode import Job, Result, count_job, split_sources, write_job
from charrnn.text.files import Source
from charrnn.text.vocab import CODE_POINTS, Vocab, code_points
from charrnn.text.workers import allowed_workers, open_workers

PARALLEL_FROM_BYTES = 200_000_000  # a process starts in 0.2 s, in which one reads 50 MB
PART_BYTES = 1 << 25
MAX_PARTS = 256  # the counts of each are kept until the alphabet is known

_ABANDONED_AFTER_SECONDS = 86_400
_BUILDING = ".building-"


@dataclass(frozen=True)
class _Part:
    """A part that was counted: its code points (U,), how often each stands (U,), what opens it."""

    job: Job
    codes: NDArray[np.int64]
    counts: NDArray[np.int64]
    opening: str

    def count_tokens(self, vocab: Vocab) -> int:
        """Give how many ids it has: an unknown character has one for each of its UTF-8 bytes."""
        widths = 1 + np.searchsorted([0x80, 0x800, 0x10000], self.codes, side="right")
        widths[np.isin(self.codes, code_points(vocab.alphabet))] = 1
        return int(self.counts @ widths) + len(vocab.encode(self.opening))


@dataclass(frozen=True)
class Build:
    """The ids of texts in one vocabulary, on the way.

    jobs: those that count, by the name of a text. results: theirs, in order; they may be coming in.
    """

    name: str
    config: TextConfig
    run: Callable[[Iterable[Job]], Iterator[Result]]
    jobs: dict[str, list[Job]]
    results: Iterator[Result]

    def put_into(self, folder: Path, known: Vocab | None, still_holds: Callable[[], bool]) -> None:
        """Write all ids, and what describes them, into a folder that then is complete.

        known: tokens that the vocabulary has besides those of the texts. still_holds: tells
        whether the texts are what they were.

        Raises:
            CorpusError: a text cannot be read or decoded, is empty, or changed meanwhile.
            StorageError: the folder cannot be written.
        """
        texts, counts = self._gather()
        vocab = Vocab.from_counts(counts, self.config.min_count)
        vocab = vocab if known is None else vocab.union(known)
        with _new_folder(folder) as temporary:
            try:
                sizes: dict[str, int] = {}
                for name, parts in texts.items():
                    sizes |= self._write(temporary, name, parts, vocab)
            except VocabError as error:  # a character that the first pass did not meet
                raise self._changed_error() from error
            if not still_holds():
                raise self._changed_error()
            about = {"sizes": sizes, "vocab": vocab.to_json()}
            write_atomically(temporary / "about.json", json.dumps(about))
            _put_in_place(temporary, folder)

    def _gather(self) -> tuple[dict[str, list[_Part]], NDArray[np.int64]]:
        """Give the parts of each text, and how often each code point stands: (0x110000,) int64."""
        counts, last = np.zeros(CODE_POINTS, dtype=np.int64), "\n"
        texts: dict[str, list[_Part]] = {}
        for name, jobs in self.jobs.items():
            texts[name], is_open = [], False
            for job in jobs:
                part, end = _read_result(job, next(self.results))
                if end and last != "\n" and self.config.document_end is None:
                    counts[ord("\n")] += 1
                    # Before the held-out text it is counted, as if all were one, but not written.
                    part = replace(part, opening="\n" if is_open else "")
                counts[part.codes] += part.counts
                texts[name].append(part)
                last, is_open = end or last, is_open or bool(end)
        if not counts.any():
            raise CorpusError(f"{self.name} is empty; give it at least a few hundred characters")
        return texts, counts

    def _write(self, folder: Path, name: str, parts: list[_Part], vocab: Vocab) -> dict[str, int]:
        """Write one text and give the sizes of its files in bytes."""
        path, jobs = folder / f"{name}.ids", []
        starts = np.cumsum([0, *(part.count_tokens(vocab) for part in parts)])
        for part, start in zip(parts, starts, strict=False):
            offset = int(start) * vocab.dtype.itemsize
            jobs.append(write_job(part.job, part.opening, vocab, path, offset))
        marks = [np.zeros((1, 2), dtype=np.int64)]
        for expected, result in zip(np.diff(starts), self.run(jobs), strict=True):
            if result["tokens"] != expected:
                raise self._changed_error()
            if result["marks"]:
                marks.append(marks[-1][-1] + np.array(result["marks"], dtype=np.int64))
        sizes = {path.name: flush_file(path)}
        if vocab.has_bytes:
            data = np.concatenate(marks).astype("<i8").tobytes()
            write_atomically(path.with_suffix(".marks"), data)
            sizes[f"{name}.marks"] = len(data)
        return sizes

    def _changed_error(self) -> CorpusError:
        return CorpusError(f"{self.name} changed while it was read; run the command again")


@contextmanager
def open_build(texts: dict[str, list[Source]], config: TextConfig) -> Iterator[Build]:
    """Begin to build the ids of texts that have names; counting begins if there are processes.

    Raises:
        ConfigError: the encoding is unknown, or $CHARRNN_WORKERS is no number.
        CorpusError: a file cannot be read.
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
        results = run(chain.from_iterable(jobs.values()))
        yield Build(sources[0].name, config, run, jobs, results)


def _read_result(job: Job, result: Result) -> tuple[_Part, str]:
    """Give a counted part that nothing opens, and its last character, "" where it has none."""
    codes, counts = (np.array(result[key], dtype=np.int64) for key in ("codes", "counts"))
    return _Part(job, codes, counts, opening=""), result["last"]


def is_complete(folder: Path) -> bool:
    """Tell whether the files in it are those that the build's last act described."""
    try:
        about = json.loads((folder / "about.json").read_text())
        Vocab.from_json(about["vocab"])
        return "train.ids" in about["sizes"] and all(
            (folder / name).stat().st_size == size for name, size in about["sizes"].items()
        )
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        VocabError,
    ):
        return False


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside that one, which is gone, or has its name, in the end."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep_abandoned(folder.parent)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_BUILDING))
    except OSError as error:
        raise _cache_error(folder.parent, error) from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Give a finished build its name; where another process was first, theirs is as good."""
    try:
        if folder.exists() and not is_complete(folder):
            shutil.rmtree(folder)
        temporary.rename(folder)
        flush_folder(folder.parent)
    except OSError as error:
        if not is_complete(folder):
            raise _cache_error(folder, error) from error


def _sweep_abandoned(cache: Path) -> None:
    """Remove what builds that were killed left behind."""
    for leftover in cache.glob(f"{_BUILDING}*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)


def _cache_error(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write {path}: {error.strerror or error}; "
        "CHARRNN_CACHE names another folder for built ids"
    )
