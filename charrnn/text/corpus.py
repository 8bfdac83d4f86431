"""A corpus: the ids of a text on disk, memory-mapped, with its vocabulary and its split.

Ids are built once and kept in a cache folder under a key made of the text's SHA-256 and of every
option that changes them, so that an edited text never meets old ids. A build goes into a folder
of its own that gets its final name as the last step. It knows nothing of windows or of models.

V = vocabulary size, S = symbols, N = characters (S = N without byte fallback).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.errors import CorpusError, StorageError, VocabError
from charrnn.storage import flush_folder, open_atomically, write_atomically
from charrnn.text.documents import missing_end
from charrnn.text.reader import Source, hash_sources, iter_text, open_sources
from charrnn.text.vocab import CODE_POINTS, Ids, Vocab, code_points

CACHE_FORMAT = 1
_ABANDONED_AFTER_SECONDS = 86_400
_BUILDING = ".building-"


@dataclass(frozen=True)
class Corpus:
    """A text as ids, split into a part to learn from and a part held out.

    train, val: (S,) ids in the vocabulary's dtype. sha256: of the bytes that were read.
    """

    name: str
    sha256: str
    vocab: Vocab
    train: Ids
    val: Ids
    train_chars: int
    val_chars: int

    @property
    def chars(self) -> int:
        """Characters in both parts."""
        return self.train_chars + self.val_chars


def open_corpus(
    paths: Sequence[str],
    config: TextConfig | None = None,
    cache: Path | None = None,
    known: Vocab | None = None,
) -> Corpus:
    """Read files, folders, globs or "-" into a corpus, building its ids if the cache has none.

    known: symbols that the corpus's vocabulary has besides those of the text.

    Raises:
        CorpusError: a file is missing, empty, undecodable, or changed while it was read.
        StorageError: the cache cannot be written.
    """
    config = config or TextConfig()
    with open_sources(paths) as sources, _open_val_sources(config) as val_sources:
        sha256 = hash_sources(sources + val_sources)
        folder = (cache or cache_folder()) / _cache_key(sha256, sources, config, known)
        if not _is_complete(folder):
            _build(folder, sources, val_sources, sha256, config, known)
        return _load(folder, _corpus_name(sources), sha256, config)


def corpus_from_text(
    text: str,
    config: TextConfig | None = None,
    name: str = "text",
    known: Vocab | None = None,
) -> Corpus:
    """Make a corpus of a text in memory, with no cache; `known` is as for `open_corpus`.

    Raises:
        CorpusError: the text is empty.
    """
    config = config or TextConfig()
    if not text:
        raise CorpusError("the text is empty; give it at least a few hundred characters")
    ended = text + missing_end(text, config.document_end or "")
    vocab = _with_known(Vocab.from_text(ended, config.min_count), known)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return _split(name, sha256, vocab, vocab.encode(ended), config.val_fraction)


def cache_folder() -> Path:
    """Give the folder of built ids: $CHARRNN_CACHE, or charrnn in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("CHARRNN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "charrnn"


def _open_val_sources(config: TextConfig) -> AbstractContextManager[list[Source]]:
    return nullcontext([]) if config.val_file is None else open_sources([config.val_file])


def _corpus_name(sources: list[Source]) -> str:
    path = sources[0].path if len(sources) == 1 else sources[0].path.parent
    if sources[0].name == "standard input":
        return "stdin"
    name = os.fsencode(path.name.removesuffix(".gz")).decode(errors="replace")
    return Path(name).stem or "corpus"


def _with_known(vocab: Vocab, known: Vocab | None) -> Vocab:
    return vocab if known is None else vocab.union(known)


def _cache_key(sha256: str, sources: list[Source], config: TextConfig, known: Vocab | None) -> str:
    """Name everything that the ids depend on; the split is cut afterwards and is not part of it."""
    are_packed = [source.path.suffix.lower() == ".gz" for source in sources]
    parts = [CACHE_FORMAT, sha256, are_packed, config.encoding.lower(), config.normalize]
    parts += [config.min_count] if known is None else [config.min_count, known.to_json()]
    parts += [] if config.document_end is None else [config.document_end]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _is_complete(folder: Path) -> bool:
    """Tell whether the cached files are those that the build's last act described."""
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


def _build(
    folder: Path,
    sources: list[Source],
    val_sources: list[Source],
    sha256: str,
    config: TextConfig,
    known: Vocab | None,
) -> None:
    """Count the alphabet in a first pass over the text, write its ids in a second."""
    counts = _count(iter_pieces(sources + val_sources, config))
    if not counts.any():
        raise CorpusError(f"{sources[0].name} is empty; give it at least a few hundred characters")
    vocab = _with_known(Vocab.from_counts(counts, config.min_count), known)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep_abandoned(folder.parent)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_BUILDING))
    except OSError as error:
        raise _cache_error(folder.parent, error) from error
    try:
        sizes = {"train.ids": _write_ids(temporary / "train.ids", sources, vocab, config)}
        if val_sources:
            sizes["val.ids"] = _write_ids(temporary / "val.ids", val_sources, vocab, config)
        if hash_sources(sources + val_sources) != sha256:
            raise _changed_error(sources)
        about = {"sizes": sizes, "vocab": vocab.to_json()}
        write_atomically(temporary / "about.json", json.dumps(about))
        _put_in_place(temporary, folder)
    except VocabError as error:  # the second pass met a character that the first did not count
        raise _changed_error(sources) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def iter_pieces(sources: list[Source], config: TextConfig) -> Iterator[str]:
    """Yield the characters of all sources, read as `config` says, in pieces."""
    return iter_text(
        sources,
        encoding=config.encoding,
        normalize=config.normalize,
        document_end=config.document_end,
    )


def _count(pieces: Iterator[str]) -> NDArray[np.int64]:
    """Count every code point: (0x110000,) int64."""
    counts = np.zeros(CODE_POINTS, dtype=np.int64)
    for piece in pieces:
        if piece.isascii():
            counts[:256] += _count_bytes(piece.encode("ascii"))
        else:
            seen = np.bincount(code_points(piece))
            counts[: len(seen)] += seen
    return counts


def _count_bytes(raw: bytes) -> NDArray[np.int64]:
    """Count bytes (256,), two at a time: half as many look-ups as one by one."""
    pairs = np.frombuffer(raw, dtype=np.uint16, count=len(raw) // 2)
    table = np.bincount(pairs, minlength=65_536).reshape(256, 256)
    counts: NDArray[np.int64] = table.sum(0) + table.sum(1)
    if len(raw) % 2:
        counts[raw[-1]] += 1
    return counts


def _write_ids(path: Path, sources: list[Source], vocab: Vocab, config: TextConfig) -> int:
    """Write the ids of all sources and give the file's size in bytes."""
    with open_atomically(path) as file:
        for piece in iter_pieces(sources, config):
            file.write(vocab.encode(piece).data)
        return file.tell()


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Give a finished build its name; where another process was first, theirs is as good."""
    try:
        if folder.exists() and not _is_complete(folder):
            shutil.rmtree(folder)
        temporary.rename(folder)
        flush_folder(folder.parent)
    except OSError as error:
        if not _is_complete(folder):
            raise _cache_error(folder, error) from error


def _changed_error(sources: list[Source]) -> CorpusError:
    return CorpusError(f"{sources[0].name} changed while it was read; run the command again")


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


def _load(folder: Path, name: str, sha256: str, config: TextConfig) -> Corpus:
    about = json.loads((folder / "about.json").read_text())
    vocab = Vocab.from_json(about["vocab"])
    train = _map_ids(folder / "train.ids", vocab)
    if "val.ids" not in about["sizes"]:
        return _split(name, sha256, vocab, train, config.val_fraction)
    val = _map_ids(folder / "val.ids", vocab)
    chars = vocab.count_characters(train), vocab.count_characters(val)
    return Corpus(name, sha256, vocab, train, val, *chars)


def _map_ids(path: Path, vocab: Vocab) -> Ids:
    if not path.stat().st_size:  # an empty file cannot be mapped
        return np.empty(0, dtype=vocab.dtype)
    return np.memmap(path, dtype=vocab.dtype, mode="r")


def split_ids(ids: Ids, vocab: Vocab, val_fraction: float) -> tuple[Ids, Ids]:
    """Give `ids` (S,) in two parts, the held-out tail second, cut between two characters."""
    return cut_ids(ids, place_cut(len(ids), val_fraction), vocab)


def place_cut(symbols: int, val_fraction: float) -> int:
    """Give how many of so many symbols lie before the held-out tail, for `cut_ids` to move on."""
    return int(symbols * (1 - val_fraction))


def cut_ids(ids: Ids, place: int, vocab: Vocab) -> tuple[Ids, Ids]:
    """Cut `ids` (S,) at `place`, or where the first character after it starts."""
    while vocab.has_bytes and place < len(ids) and not vocab.starts_character[ids[place]]:
        place += 1
    return ids[:place], ids[place:]


def _split(name: str, sha256: str, vocab: Vocab, ids: Ids, val_fraction: float) -> Corpus:
    train, val = split_ids(ids, vocab, val_fraction)
    chars = vocab.count_characters(train), vocab.count_characters(val)
    return Corpus(name, sha256, vocab, train, val, *chars)
