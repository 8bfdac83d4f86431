"""A corpus: the ids of a text on disk, memory-mapped, with its vocabulary and its split.

`build` writes the ids once, into a cache folder under a key made of the text's SHA-256 and of
every option that changes them, so an edited text never meets old ids. Opening them takes as long
for a large text as for a small one. Where `split` holds more out than a tail, the ids of all
parts are written once more, beside those of the whole.

V = vocabulary size, S = tokens, N = characters (S = N without byte fallback).
"""

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.data.build import BuiltIds, build_ids, entry_folder, open_or_remove, write_split
from charrnn.data.fingerprint import Fingerprint
from charrnn.data.labels import NO_LABELS, Labels
from charrnn.data.records import Records
from charrnn.data.split import Split, choose_split, iter_parts
from charrnn.errors import CorpusError
from charrnn.text.files import Source, open_sources
from charrnn.text.reader import iter_ended, iter_joined, text_options
from charrnn.text.vocab import Ids, Vocab

CACHE_FORMAT = 3
SPLIT_FORMAT = 2  # to be raised whenever `split` holds out another part

# (M, 2) int64, ascending pairs: the first `tokens` ids write `characters` characters.
Marks = NDArray[np.int64]
_NO_MARKS: Marks = np.zeros((1, 2), dtype=np.int64)


@dataclass(frozen=True)
class Corpus:
    """A text as ids, split into a training part and held-out ones.

    held_out: what `val` and `test` are, in words, such as "the last 10% of the text". split_method:
    how that was chosen: "tail", "blocks" or "records", which as the setting `split` hold out the
    same again; "none", or "file" for a val_file alone. notes: what a person should know of how the
    text was read.
    """

    name: str
    sha256: str  # of the bytes that were read
    vocab: Vocab
    train: Ids  # (S,) in the vocabulary's dtype
    val: Ids  # (S,), which chooses the best model
    train_chars: int
    val_chars: int
    held_out: str = ""
    notes: tuple[str, ...] = ()
    test: Ids = field(default_factory=lambda: np.empty(0, np.uint8))  # (S,), which chooses nothing
    test_chars: int = 0
    split_method: str = ""
    record_kind: str = ""
    labels: Labels = NO_LABELS
    train_records: Records | None = None
    val_records: Records | None = None
    test_records: Records | None = None

    @property
    def chars(self) -> int:
        """Characters in all parts."""
        return self.train_chars + self.val_chars + self.test_chars


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
    with open_sources(paths) as sources:
        return open_sources_as_corpus(sources, config, cache, known)


def open_sources_as_corpus(
    sources: Sequence[Source],
    config: TextConfig,
    cache: Path | None = None,
    known: Vocab | None = None,
    *,
    is_verified: bool = False,
) -> Corpus:
    """Do as `open_corpus` does, for files that were found.

    is_verified: check all built ids, however large, and not a sample of them.
    """
    cache = cache or cache_folder()
    with ExitStack() as stack:
        texts = {"train": list(sources)}
        if config.val_file is not None:
            texts["val"] = stack.enter_context(open_sources([config.val_file]))
        fingerprint = Fingerprint(list(chain.from_iterable(texts.values())), cache)

        def folder_of(sha256: str) -> Path:
            return entry_folder(cache / _cache_key(sha256, texts["train"], config, known))

        built = None
        if fingerprint.sha256 is not None:
            built = open_or_remove(folder_of(fingerprint.sha256), is_verified=is_verified)
        if built is None:
            built = build_ids(texts, config, known, fingerprint, folder_of)
        name = _corpus_name(texts["train"])
        return _load(built, name, fingerprint.compute(), config, is_verified=is_verified)


def corpus_from_text(
    text: str | Sequence[str],
    config: TextConfig | None = None,
    name: str = "text",
    known: Vocab | None = None,
) -> Corpus:
    """Make a corpus of a text in memory, or of several, with no cache.

    Several texts are joined as files are. `known` is as for `open_corpus`.

    Raises:
        CorpusError: the text is empty.

    >>> corpus = corpus_from_text("abcabcabca")
    >>> corpus.train.tolist(), corpus.val.tolist()
    ([0, 1, 2, 0, 1, 2, 0, 1, 2], [0])
    """
    config = config or TextConfig()
    ends: list[int] = []
    texts = [(each,) for each in ((text,) if isinstance(text, str) else text) if each]
    is_binary = config.unit == "byte"
    if config.document_end is None:
        joined = "".join(iter_joined(texts, ends, separator="" if is_binary else "\n"))
    else:
        joined = "".join(iter_ended(texts, config.document_end, ends))
    if not joined:
        raise CorpusError("the text is empty; give it at least a few hundred characters")
    vocab = Vocab.of_bytes() if is_binary else Vocab.from_text(joined, config.min_count)
    vocab = vocab if known is None else vocab.union(known)
    whole = "".join(chain.from_iterable(texts)).encode("utf-8", "surrogateescape")
    sha256 = hashlib.sha256(whole).hexdigest()
    ids = vocab.encode(joined)
    split = choose_split(ids, vocab, vocab.tokens_of(ids, ends), config)
    if split.ends is None:
        return _warned(_cut(name, sha256, vocab, ids, split, _NO_MARKS))
    joined_parts = map(np.concatenate, zip(*iter_parts(ids, split), strict=True))
    parts = dict(zip(split.names, joined_parts, strict=True))
    chars = {part: vocab.count_characters(parts[part]) for part in parts}
    notes = (f"held out: {split.held_out}",)
    words = {"held_out": split.held_out, "split_method": split.method, "notes": notes}
    return _warned(_make(name, sha256, vocab, parts, chars, **words))


def cache_folder() -> Path:
    """Return the folder of built ids: $CHARRNN_CACHE, or charrnn in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("CHARRNN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "charrnn"


def _corpus_name(sources: list[Source]) -> str:
    """Return the name of the only file, or of the folder of the first of several."""
    path = sources[0].path if len(sources) == 1 else sources[0].path.parent
    if sources[0].name == "standard input":
        return "stdin"
    name = path.stem if len(sources) == 1 and sources[0].is_named_packed else path.name
    return Path(os.fsencode(name).decode(errors="replace")).stem or "corpus"


def _cache_key(sha256: str, sources: list[Source], config: TextConfig, known: Vocab | None) -> str:
    """Return a name for all that the ids depend on; the split is cut later and not part of it."""
    are_packed = [source.is_named_packed for source in sources]
    # What is not text is left out of a folder; the notes that are kept name such files.
    are_found = [source.is_found and source.name for source in sources]
    options = text_options(config) | {"encoding": config.encoding.lower()}
    parts: list[Any] = [CACHE_FORMAT, sha256, are_packed, are_found, options, config.strict_files]
    parts += [config.min_count, known and known.to_json()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _load(
    built: BuiltIds, name: str, sha256: str, config: TextConfig, *, is_verified: bool
) -> Corpus:
    corpus = _load_split(built, name, sha256, config, is_verified=is_verified)
    if config.val_file is None:
        return _warned(corpus)
    val, marks = built.map_part("val")
    if not len(val):
        raise CorpusError(f"{config.val_file} is empty; hold out a file with text in it")
    corpus = replace(corpus, val=val, val_chars=_count_before(len(val), val, built.vocab, marks))
    held_out = f"the file {config.val_file}"
    if not config.test_fraction:
        return replace(corpus, held_out=held_out, split_method="file", notes=built.notes)
    return replace(corpus, held_out=f"{held_out}, and {corpus.held_out}")


def _load_split(
    built: BuiltIds, name: str, sha256: str, config: TextConfig, *, is_verified: bool
) -> Corpus:
    """Return the corpus of the text alone, whatever file is held out besides."""
    vocab = built.vocab
    ids, marks = built.map_part("train")
    of_split = [SPLIT_FORMAT, config.split, *config.held_out_fractions, config.document_end]
    key = hashlib.sha256(json.dumps(of_split).encode()).hexdigest()[:16]
    folder = built.folder / f"split-{key}"
    parts = open_or_remove(folder, is_verified=is_verified)
    if parts is None:
        split = choose_split(ids, vocab, built.file_ends, config)
        if split.ends is None:
            return _cut(name, sha256, vocab, ids, split, marks, built.notes)
        parts = write_split(built, folder, ids, split)
    mapped = {part: parts.map_part(part)[0] for part in parts.chars}
    words = {"held_out": parts.held_out, "split_method": parts.split_method, "notes": parts.notes}
    return _make(name, sha256, vocab, mapped, parts.chars, **words)


def _cut(
    name: str,
    sha256: str,
    vocab: Vocab,
    ids: Ids,
    split: Split,
    marks: Marks,
    notes: tuple[str, ...] = (),
) -> Corpus:
    """Return the corpus of which the tail of `ids` is held out, if anything is."""
    parts = split.cut(ids)
    ends = np.cumsum([len(part) for part in parts.values()]).tolist()
    before = [_count_before(end, ids, vocab, marks) for end in ends]
    chars = dict(zip(parts, np.diff(before, prepend=0).tolist(), strict=True))
    if "test" in parts:
        notes += (f"held out: {split.held_out}",)  # unlike the usual tail
    words = {"held_out": split.held_out, "split_method": split.method, "notes": notes}
    return _make(name, sha256, vocab, parts, chars, **words)


def _make(
    name: str,
    sha256: str,
    vocab: Vocab,
    parts: Mapping[str, Any],
    chars: Mapping[str, int],
    **words: Any,
) -> Corpus:
    """Return the corpus of named parts; words: its other fields."""
    words |= {f"{part}_chars": count for part, count in chars.items()}
    return Corpus(name=name, sha256=sha256, vocab=vocab, **parts, **words)


def _warned(corpus: Corpus) -> Corpus:
    """Return a corpus with a note where it has no text for validation."""
    if len(corpus.val):
        return corpus
    which = " for validation" * bool(len(corpus.test))
    note = f"nothing is held out{which}: nothing stops training early, or tells how good it is"
    return replace(corpus, notes=(*corpus.notes, note))


def _count_before(position: int, ids: Ids, vocab: Vocab, marks: Marks) -> int:
    """Return how many characters ids[:position] write, counted from the last mark before."""
    nearest = bisect_right(marks, position, key=lambda mark: int(mark[0])) - 1
    tokens, chars = map(int, marks[nearest])
    return chars + vocab.count_characters(ids[tokens:position])
