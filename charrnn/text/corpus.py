"""A corpus: the ids of a text on disk, memory-mapped, with its vocabulary and its split.

Ids are built once and kept in a cache folder under a key made of the text's SHA-256 and of every
option that changes them, so that an edited text never meets old ids; to open them takes as long
for a large text as for a small one. How they are built, windows and models are not known here.

V = vocabulary size, S = tokens, N = characters (S = N without byte fallback).
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.build import is_complete, open_build
from charrnn.text.files import Source, open_sources
from charrnn.text.fingerprint import Fingerprint
from charrnn.text.reader import iter_text, missing_end
from charrnn.text.vocab import Ids, Vocab

CACHE_FORMAT = 2

Marks = NDArray[np.int64]
_NO_MARKS: Marks = np.zeros((1, 2), dtype=np.int64)


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

    known: tokens that the corpus's vocabulary has besides those of the text.

    Raises:
        CorpusError: a file is missing, empty, undecodable, or changed while it was read.
        StorageError: the cache cannot be written.
    """
    config, cache = config or TextConfig(), cache or cache_folder()
    with open_sources(paths) as sources, _open_val_sources(config) as val_sources:
        fingerprint = Fingerprint(sources + val_sources, cache)
        name = partial(_cache_key, sources=sources, config=config, known=known)
        if fingerprint.sha256 is None or not is_complete(cache / name(fingerprint.sha256)):
            texts = {"train": sources} | ({"val": val_sources} if val_sources else {})
            with open_build(texts, config) as build:
                folder = cache / name(fingerprint.take())
                if not is_complete(folder):
                    build.put_into(folder, known, fingerprint.still_holds)
        sha256 = fingerprint.take()
        return _load(cache / name(sha256), _corpus_name(sources), sha256, config)


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
    vocab = Vocab.from_text(ended, config.min_count)
    vocab = vocab if known is None else vocab.union(known)
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


def _cache_key(sha256: str, sources: list[Source], config: TextConfig, known: Vocab | None) -> str:
    """Name everything that the ids depend on; the split is cut afterwards and is not part of it."""
    are_packed = [source.path.suffix.lower() == ".gz" for source in sources]
    parts = [CACHE_FORMAT, sha256, are_packed, config.encoding.lower(), config.normalize]
    parts += [config.min_count] if known is None else [config.min_count, known.to_json()]
    parts += [] if config.document_end is None else [config.document_end]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def iter_pieces(sources: list[Source], config: TextConfig) -> Iterator[str]:
    """Yield the characters of all sources, read as `config` says, in pieces."""
    return iter_text(
        sources,
        encoding=config.encoding,
        normalize=config.normalize,
        document_end=config.document_end,
    )


def _load(folder: Path, name: str, sha256: str, config: TextConfig) -> Corpus:
    about = json.loads((folder / "about.json").read_text())
    vocab = Vocab.from_json(about["vocab"])
    train, marks = _map_ids(folder / "train.ids", vocab), _read_marks(folder / "train.marks")
    if "val.ids" not in about["sizes"]:
        return _split(name, sha256, vocab, train, config.val_fraction, marks)
    val, val_marks = _map_ids(folder / "val.ids", vocab), _read_marks(folder / "val.marks")
    chars = (
        _count_before(len(train), train, vocab, marks),
        _count_before(len(val), val, vocab, val_marks),
    )
    return Corpus(name, sha256, vocab, train, val, *chars)


def _read_marks(path: Path) -> Marks:
    """Give places (M, 2) int64 in ids: so many tokens there write so many characters."""
    if not path.exists():  # of ids without byte fallback
        return _NO_MARKS
    return np.memmap(path, dtype="<i8", mode="r").reshape(-1, 2)


def _count_before(place: int, ids: Ids, vocab: Vocab, marks: Marks) -> int:
    """Count the characters that ids[:place] write, from the last mark before on."""
    near = bisect_right(marks, place, key=lambda mark: int(mark[0])) - 1
    tokens, chars = map(int, marks[near])
    return chars + vocab.count_characters(ids[tokens:place])


def _map_ids(path: Path, vocab: Vocab) -> Ids:
    if not path.stat().st_size:  # an empty file cannot be mapped
        return np.empty(0, dtype=vocab.dtype)
    return np.memmap(path, dtype=vocab.dtype, mode="r")


def split_ids(ids: Ids, vocab: Vocab, val_fraction: float) -> tuple[Ids, Ids]:
    """Give `ids` (S,) in two parts, the held-out tail second, cut between two characters."""
    return cut_ids(ids, place_cut(len(ids), val_fraction), vocab)


def place_cut(tokens: int, val_fraction: float) -> int:
    """Give how many of so many tokens lie before the held-out tail, for `cut_ids` to move on."""
    return int(tokens * (1 - val_fraction))


def cut_ids(ids: Ids, place: int, vocab: Vocab) -> tuple[Ids, Ids]:
    """Cut `ids` (S,) at `place`, or where the first character after it starts."""
    while vocab.has_bytes and place < len(ids) and not vocab.starts_character[ids[place]]:
        place += 1
    return ids[:place], ids[place:]


def _split(
    name: str, sha256: str, vocab: Vocab, ids: Ids, val_fraction: float, marks: Marks = _NO_MARKS
) -> Corpus:
    train, val = split_ids(ids, vocab, val_fraction)
    train_chars = _count_before(len(train), ids, vocab, marks)
    chars = _count_before(len(ids), ids, vocab, marks)
    return Corpus(name, sha256, vocab, train, val, train_chars, chars - train_chars)
