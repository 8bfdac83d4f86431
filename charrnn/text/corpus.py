"""A corpus: the ids of a text on disk, memory-mapped, with its vocabulary and its split.

`build` writes the ids once, into a cache folder under a key made of the text's SHA-256 and of
every option that changes them, so an edited text never meets old ids. Opening them takes as long
for a large text as for a small one.

V = vocabulary size, S = tokens, N = characters (S = N without byte fallback).
"""

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.build import build_ids, is_complete
from charrnn.text.files import Source, open_sources
from charrnn.text.fingerprint import Fingerprint
from charrnn.text.reader import missing_end
from charrnn.text.vocab import Ids, Vocab

CACHE_FORMAT = 2

# (M, 2) int64, ascending pairs: the first `tokens` ids write `characters` characters.
Marks = NDArray[np.int64]
_NO_MARKS: Marks = np.zeros((1, 2), dtype=np.int64)


@dataclass(frozen=True)
class Corpus:
    """A text as ids, split into a training part and a held-out part."""

    name: str
    sha256: str  # of the bytes that were read
    vocab: Vocab
    train: Ids  # (S,) in the vocabulary's dtype
    val: Ids  # (S,)
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

    known: a vocabulary whose tokens are added to those of the text.

    Raises:
        ConfigError: the encoding is unknown, or $CHARRNN_WORKERS is not a number.
        CorpusError: a file is missing, empty, undecodable, or has changed while it was read.
        StorageError: the cache cannot be written.
    """
    config = config or TextConfig()
    cache = cache or cache_folder()
    with ExitStack() as stack:
        sources = stack.enter_context(open_sources(paths))
        texts = {"train": sources}
        if config.val_file is not None:
            texts["val"] = stack.enter_context(open_sources([config.val_file]))
        fingerprint = Fingerprint(list(chain.from_iterable(texts.values())), cache)

        def folder_of(sha256: str) -> Path:
            return cache / _cache_key(sha256, sources, config, known)

        if fingerprint.sha256 is None or not is_complete(folder_of(fingerprint.sha256)):
            build_ids(texts, config, known, fingerprint, folder_of)
        sha256 = fingerprint.compute()
        return _load(folder_of(sha256), _corpus_name(sources), sha256, config)


def corpus_from_text(
    text: str,
    config: TextConfig | None = None,
    name: str = "text",
    known: Vocab | None = None,
) -> Corpus:
    """Make a corpus of a text in memory, with no cache; `known` is as for `open_corpus`.

    Raises:
        CorpusError: the text is empty.

    >>> corpus = corpus_from_text("abcabcabca")
    >>> corpus.train.tolist(), corpus.val.tolist()
    ([0, 1, 2, 0, 1, 2, 0, 1, 2], [0])
    """
    config = config or TextConfig()
    if not text:
        raise CorpusError("the text is empty; give it at least a few hundred characters")
    ended = text + missing_end(text, config.document_end or "")
    vocab = Vocab.from_text(ended, config.min_count)
    vocab = vocab if known is None else vocab.union(known)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return _split(name, sha256, vocab, vocab.encode(ended), config.val_fraction, _NO_MARKS)


def cache_folder() -> Path:
    """Return the folder of built ids: $CHARRNN_CACHE, or charrnn in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("CHARRNN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "charrnn"


def split_ids(ids: Ids, vocab: Vocab, val_fraction: float) -> tuple[Ids, Ids]:
    """Return `ids` (S,) in two parts, the held-out tail second, cut between two characters."""
    return cut_ids(ids, split_position(len(ids), val_fraction), vocab)


def split_position(tokens: int, val_fraction: float) -> int:
    """Return how many of `tokens` come before the held-out tail, as nanoGPT counts them."""
    return int(tokens * (1 - val_fraction))


def cut_ids(ids: Ids, position: int, vocab: Vocab) -> tuple[Ids, Ids]:
    """Cut `ids` (S,) at `position`, or where the first character after it starts."""
    while vocab.has_bytes and position < len(ids) and not vocab.starts_character[ids[position]]:
        position += 1
    return ids[:position], ids[position:]


def _corpus_name(sources: list[Source]) -> str:
    """Return the name of the only file, or of the folder of the first of several."""
    path = sources[0].path if len(sources) == 1 else sources[0].path.parent
    if sources[0].name == "standard input":
        return "stdin"
    name = os.fsencode(path.name.removesuffix(".gz")).decode(errors="replace")
    return Path(name).stem or "corpus"


def _cache_key(sha256: str, sources: list[Source], config: TextConfig, known: Vocab | None) -> str:
    """Return a name for all that the ids depend on; the split is cut later and not part of it."""
    are_packed = [source.is_named_gz for source in sources]
    parts = [CACHE_FORMAT, sha256, are_packed, config.encoding.lower(), config.normalize]
    # Options that came later are left out where unset, so that older ids keep their keys.
    parts += [config.min_count] if known is None else [config.min_count, known.to_json()]
    parts += [] if config.document_end is None else [config.document_end]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _load(folder: Path, name: str, sha256: str, config: TextConfig) -> Corpus:
    about = json.loads((folder / "about.json").read_text())
    vocab = Vocab.from_json(about["vocab"])
    train, marks = _map_part(folder / "train.ids", vocab)
    if "val.ids" not in about["sizes"]:
        return _split(name, sha256, vocab, train, config.val_fraction, marks)
    val, val_marks = _map_part(folder / "val.ids", vocab)
    train_chars = _count_before(len(train), train, vocab, marks)
    val_chars = _count_before(len(val), val, vocab, val_marks)
    return Corpus(name, sha256, vocab, train, val, train_chars, val_chars)


def _map_part(path: Path, vocab: Vocab) -> tuple[Ids, Marks]:
    """Map the ids (S,) at `path` and the marks beside them, which only byte fallback needs."""
    is_empty = not path.stat().st_size  # an empty file cannot be mapped
    ids: Ids = np.empty(0, vocab.dtype) if is_empty else np.memmap(path, vocab.dtype, mode="r")
    if not vocab.has_bytes:
        return ids, _NO_MARKS
    return ids, np.memmap(path.with_suffix(".marks"), "<i8", mode="r").reshape(-1, 2)


def _split(
    name: str, sha256: str, vocab: Vocab, ids: Ids, val_fraction: float, marks: Marks
) -> Corpus:
    train, val = split_ids(ids, vocab, val_fraction)
    train_chars = _count_before(len(train), ids, vocab, marks)
    chars = _count_before(len(ids), ids, vocab, marks)
    return Corpus(name, sha256, vocab, train, val, train_chars, chars - train_chars)


def _count_before(position: int, ids: Ids, vocab: Vocab, marks: Marks) -> int:
    """Return how many characters ids[:position] write, counted from the last mark before."""
    nearest = bisect_right(marks, position, key=lambda mark: int(mark[0])) - 1
    tokens, chars = map(int, marks[nearest])
    return chars + vocab.count_characters(ids[tokens:position])
