"""A corpus: the ids of a text on disk, memory-mapped, with its vocabulary and its split.

`build` writes the ids once, into a cache folder under a key made of the text's SHA-256 and of
every option that changes them, so an edited text never meets old ids. Opening them takes as long
for a large text as for a small one. Where `split` holds more out than a tail, the ids of all
parts are written once more, beside those of the whole.

A text of records has an END after each, and one before the first: an END that is read means that a
record begins, from the initial state.

V = vocabulary size, S = tokens, N = characters (S = N without byte fallback and clusters),
R = records, C = columns of labels.
"""

import hashlib
import json
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.config.text import KEPT_RECORDS, READ_AS_RECORDS
from charrnn.data.build import build_ids, cut_records, paths_given, write_split
from charrnn.data.built import NO_MARKS, BuiltIds, entry_folder, open_or_remove
from charrnn.data.example_counts import Known
from charrnn.data.examples import corpus_of_examples
from charrnn.data.fingerprint import Fingerprint
from charrnn.data.labels import NO_LABELS, Labels
from charrnn.data.lists import LOOK_CHARS, choose_lines, read_head
from charrnn.data.memory import read_texts, vocab_of
from charrnn.data.pairs import pair_files, pair_texts
from charrnn.data.parts import Corpus, no_records, with_warning
from charrnn.data.records import Records
from charrnn.data.split import (
    Split,
    choose_records,
    choose_split,
    find_given,
    iter_parts,
    with_weights,
)
from charrnn.data.tag_files import tag_files, tag_texts
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.files import Source, open_sources
from charrnn.text.kinds import inspect_sources
from charrnn.text.reader import iter_joined, text_options
from charrnn.text.vocab import END, Ids, Vocab

__all__ = ["Corpus", "cache_folder", "corpus_from_text", "no_records", "open_corpus"]
__all__ += ["open_sources_as_corpus"]

CACHE_FORMAT = 5
SPLIT_FORMAT = 4  # to be raised whenever `split` holds out another part

# (M, 2) int64, ascending pairs: the first `tokens` ids write `characters` characters.
Marks = NDArray[np.int64]


def open_corpus(
    paths: Sequence[str],
    config: TextConfig | None = None,
    cache: Path | None = None,
    known: Vocab | None = None,
    known_target: Vocab | None = None,
    known_labels: Labels = NO_LABELS,
) -> Corpus:
    """Read files, folders, globs or "-" into a corpus, building its ids if the cache has none.

    Examples with targets have no cache: their ids are made each time.

    paths: each may end in a weight, as in letters.txt:5. known: a vocabulary whose tokens are added
    to those of the text; known_target, known_labels: likewise, of its targets, which may be tags.

    Raises:
        ConfigError: the encoding is unknown, or $CHARRNN_WORKERS is not a number.
        CorpusError: a file is missing, empty, undecodable, or has changed while it was read.
        StorageError: the cache cannot be written.
    """
    config = config or TextConfig()
    cache = cache or cache_folder()
    with open_sources(paths, has_weights=True) as sources:
        if config.task != "text":
            known_of_both = Known(known, known_target, known_labels)
            return _open_examples(sources, config, cache, known_of_both)
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
    if config.task != "text":
        return _open_examples(sources, config, cache, Known(known))
    with ExitStack() as stack:
        texts = {"train": list(sources)}
        if config.val_file is not None:
            texts["val"] = stack.enter_context(open_sources([config.val_file]))
        config, list_notes = choose_lines(config, read_head(sources, config))
        fingerprint = Fingerprint(list(chain.from_iterable(texts.values())), cache)

        def folder_of(sha256: str) -> Path:
            return entry_folder(cache / _cache_key(sha256, texts, config, known))

        built = None
        if fingerprint.sha256 is not None:
            built = open_or_remove(folder_of(fingerprint.sha256), is_verified=is_verified)
        if built is None:
            built = build_ids(texts, config, known, fingerprint, folder_of)
        name = _corpus_name(texts["train"])
        if built.understood:
            list_notes = (f"{_title_of(sources)}: {built.understood}", *list_notes)
        weights = paths_given(sources)
        built = replace(built, notes=(*list_notes, *_describe_weights(weights), *built.notes))
        sha256 = fingerprint.compute()
        corpus = _load(built, name, sha256, config, weights, is_verified=is_verified)
        return replace(corpus, is_utf8=built.is_utf8)


def _open_examples(
    sources: Sequence[Source], config: TextConfig, cache: Path, known: Known
) -> Corpus:
    """Return the corpus of the pairs, or of the tagged characters, in files."""
    files = {"train": list(sources)}
    paths = {"targets": config.target_file, "val": config.val_file}
    paths["val_targets"] = config.val_target_file
    stdin = [source.name == "standard input" for source in sources]
    if sum([*stdin, *(path == "-" for path in paths.values())]) > 1:
        raise CorpusError("standard input can be read only once; name files for the others")
    notes: list[str] = []
    with ExitStack() as stack:
        for role, path in paths.items():
            files[role] = stack.enter_context(open_sources([path])) if path else []
        fingerprint = Fingerprint([*chain.from_iterable(files.values())], cache)
        sha256 = fingerprint.compute()
        files = {
            role: inspect_sources(own, config, notes.append) if own else []
            for role, own in files.items()
        }
        if config.task == "tagging":
            train, val = (tag_files(files[role], config) for role in ("train", "val"))
        else:
            train = pair_files(files["train"], files["targets"], config)
            val = pair_files(files["val"], files["val_targets"], config) if files["val"] else []
        corpus = corpus_of_examples(
            train,
            config,
            name=_corpus_name(list(sources)),
            sha256=sha256,
            title=_title_of(sources),
            val=val,
            known=known,
        )
        if not fingerprint.is_unchanged():
            raise CorpusError(f"{sources[0].name} changed while it was read; run the command again")
    first, *others = corpus.notes
    of_weights = _describe_weights(paths_given(sources))
    return replace(corpus, notes=(first, *of_weights, *notes, *others))


def corpus_from_text(
    text: str | Sequence[str],
    config: TextConfig | None = None,
    name: str = "text",
    known: Vocab | None = None,
    known_target: Vocab | None = None,
    known_labels: Labels = NO_LABELS,
) -> Corpus:
    """Make a corpus of a text in memory, or of several, with no cache.

    Several texts are joined as files are. With pairs each is a table. `known` and the like are as
    for `open_corpus`.

    Raises:
        ConfigError: a setting names a file of targets.
        CorpusError: the text is empty.

    >>> corpus = corpus_from_text("abcabcabca")
    >>> corpus.train.tolist(), corpus.val.tolist()
    ([0, 1, 2, 0, 1, 2, 0, 1, 2], [0])
    """
    config = config or TextConfig()
    texts = [each for each in ((text,) if isinstance(text, str) else text) if each]
    if config.task != "text":
        known_of_both = Known(known, known_target, known_labels)
        return _examples_from_texts(texts, config, name, known_of_both)
    is_binary = config.unit == "byte"
    ends: list[int] = []
    joined = "".join(iter_joined(((t,) for t in texts), ends, separator="" if is_binary else "\n"))
    config, notes = choose_lines(config, joined[:LOOK_CHARS])
    is_utf8 = is_binary and _is_utf8(joined)
    sha256 = _hash_texts(texts, config)
    if config.record_kind is not None:
        corpus = _records_from_texts(texts, config, name, sha256, known, notes)
        return replace(corpus, is_utf8=is_utf8)
    if not joined:
        raise CorpusError("the text is empty; give it at least a few hundred characters")
    vocab = vocab_of(joined, config, known)
    ids = vocab.encode(joined)
    split = choose_split(ids, vocab, vocab.tokens_of(ids, ends), config)
    if split.ends is None:
        corpus = _cut(name, sha256, vocab, ids, split, NO_MARKS)
        return with_warning(replace(corpus, is_utf8=is_utf8))
    joined_parts = map(np.concatenate, zip(*iter_parts(ids, split), strict=True))
    parts = dict(zip(split.names, joined_parts, strict=True))
    chars = {part: vocab.count_characters(parts[part]) for part in parts}
    notes = (f"held out: {split.held_out}",)
    words = {"held_out": split.held_out, "split_method": split.method, "notes": notes}
    return with_warning(_make(name, sha256, vocab, parts, chars, is_utf8=is_utf8, **words))


def _examples_from_texts(
    texts: Sequence[str], config: TextConfig, name: str, known: Known
) -> Corpus:
    """Return the corpus of the pairs in tables in memory, or of characters with tags."""
    if config.target_file is not None or config.val_file is not None:
        flag = "--val-file" if config.target_file is None else "--target-file"
        raise ConfigError(f"{flag} goes with files, and the text is in memory; leave it out")
    files = (tag_texts if config.task == "tagging" else pair_texts)(texts, config)
    return corpus_of_examples(
        files, config, name=name, sha256=_hash_texts(texts, config), known=known
    )


def _hash_texts(texts: Sequence[str], config: TextConfig) -> str:
    """Return the SHA-256 (hex) of texts in memory."""
    hashed = (END if config.record_kind else "").join(texts)  # where records end matters
    return hashlib.sha256(hashed.encode("utf-8", "surrogateescape")).hexdigest()


def _is_utf8(text: str) -> bool:
    """Return whether a text in which characters are bytes is valid UTF-8."""
    try:
        text.encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError:
        return False
    return True


def _records_from_texts(
    texts: Sequence[str],
    config: TextConfig,
    name: str,
    sha256: str,
    known: Vocab | None,
    notes: tuple[str, ...],
) -> Corpus:
    """Return the corpus of the records of texts in memory."""
    read = read_texts(texts, config, name, known)
    ids = read.ids
    split = choose_records(read.records.ends, read.hashes, read.file_ends, config)
    words: dict[str, Any] = {"labels": read.labels, "record_kind": config.record_kind}
    words |= {"held_out": split.held_out, "split_method": split.method}
    notes = (read.notes[0], *notes, *read.notes[1:])
    if split.ends is None:
        parts = {"train": ids, "val": ids[:0]}
        cut = {"train": read.records, "val": no_records(read.labels)}
    else:
        notes += (f"held out: {split.held_out}",)
        pieces = map(np.concatenate, zip(*iter_parts(ids, split), strict=True))
        parts = {
            part: np.concatenate([ids[: len(own) > 0], own])  # each begins with an END
            for part, own in zip(split.names, pieces, strict=True)
        }
        cut = cut_records(read.records, split)
    chars = {part: read.vocab.count_characters(own[1:]) for part, own in parts.items()}
    words |= {f"{part}_records": own for part, own in cut.items()}
    return with_warning(_make(name, sha256, read.vocab, parts, chars, notes=notes, **words))


def cache_folder() -> Path:
    """Return the folder of built ids: $CHARRNN_CACHE, or charrnn in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("CHARRNN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "charrnn"


def _corpus_name(sources: list[Source]) -> str:
    """Return the name of the only file, or of the folder that all of several are in."""
    path = sources[0].path if len(sources) == 1 else _shared_folder(sources)
    if sources[0].name == "standard input":
        return "stdin"
    name = path.stem if len(sources) == 1 and sources[0].is_named_packed else path.name
    return Path(_shown(name)).stem or "corpus"


def _title_of(sources: Sequence[Source]) -> str:
    """Return what notes call files together."""
    return _corpus_name([*sources]) if len(sources) > 1 else _shown(Path(sources[0].name).name)


def _describe_weights(weights: Mapping[str, int]) -> list[str]:
    return [f"{_shown(path)} counts {n} times" for path, n in weights.items() if n > 1]


def _shared_folder(sources: list[Source]) -> Path:
    """Return the folder that all files are in as they were named; else that of the first."""
    folders = [source.path.parent for source in sources]
    shared = [each for each in (folders[0], *folders[0].parents) if each.name]
    others = set(folders)
    return next((s for s in shared if all(f.is_relative_to(s) for f in others)), folders[0])


def _shown(name: str) -> str:
    """Return a file's name with U+FFFD for what is not UTF-8."""
    return os.fsencode(name).decode(errors="replace")


def _cache_key(
    sha256: str, texts: Mapping[str, list[Source]], config: TextConfig, known: Vocab | None
) -> str:
    """Return a name for all that the ids depend on; the split is cut later and not part of it."""
    sources = texts["train"]
    are_packed = [source.is_named_packed for source in sources]
    # What is not text is left out of a folder; the notes that are kept name such files.
    are_found = [source.is_found and source.name for source in sources]
    options = text_options(config) | {"encoding": config.encoding.lower()}
    parts: list[Any] = [CACHE_FORMAT, sha256, are_packed, are_found, options, config.strict_files]
    parts += [config.min_count, known and known.to_json()]
    parts += ["utf8"] * (config.unit == "byte")  # ids are older than the word on their validity
    of_each_path = Counter(source.given for source in sources)
    if len(of_each_path) > 1:
        parts.append([*of_each_path.values()])
    if config.record_kind is not None:
        parts.append({name: getattr(config, name) for name in (*READ_AS_RECORDS, *KEPT_RECORDS)})
        # A table's layout is in its name, a label may be the name, and errors and notes have it.
        is_named = config.label in ("file", "folder") or config.text_column is not None
        named_sources = [*sources, *texts.get("val", [])]
        places = [source.path.absolute().parts[-2:] for source in named_sources]
        are_stdin = [source.name == "standard input" for source in named_sources]
        named = zip(places, are_stdin, strict=True)
        parts.append([None if is_stdin else place for place, is_stdin in named] * is_named)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _load(
    built: BuiltIds,
    name: str,
    sha256: str,
    config: TextConfig,
    weights: Mapping[str, int],
    *,
    is_verified: bool,
) -> Corpus:
    """Return the corpus of built ids. weights: of the paths given, in their order."""
    corpus = _load_split(built, name, sha256, config, weights, is_verified=is_verified)
    if len(weights) > 1:
        corpus = replace(corpus, sources=tuple(weights))
    if config.val_file is None:
        return with_warning(corpus)
    val, marks = built.map_part("val")
    if not len(val):
        raise CorpusError(f"{config.val_file} is empty; hold out a file with text in it")
    chars = _count_before(len(val), val, built.vocab, marks) - built.vocab.has_end
    records = built.map_records("val")
    corpus = replace(corpus, val=val, val_chars=chars, val_records=records, val_source_ends=())
    held_out = f"the file {config.val_file}"
    if not config.test_fraction:
        return replace(corpus, held_out=held_out, split_method="file", notes=built.notes)
    return replace(corpus, held_out=f"{held_out}, and {corpus.held_out}")


def _load_split(
    built: BuiltIds,
    name: str,
    sha256: str,
    config: TextConfig,
    weights: Mapping[str, int],
    *,
    is_verified: bool,
) -> Corpus:
    """Return the corpus of the text alone, whatever file is held out besides."""
    vocab = built.vocab
    ids, marks = built.map_part("train")
    records = built.map_records("train")
    of_split = [SPLIT_FORMAT, config.split, *config.held_out_fractions]
    if max(weights.values()) > 1:
        of_split.append([*weights.values()])
    key = hashlib.sha256(json.dumps(of_split).encode()).hexdigest()[:16]
    folder = built.folder / f"split-{key}"
    parts = open_or_remove(folder, is_verified=is_verified)
    if parts is None:
        split = _choose(built, ids, records, config, [*weights.values()])
        if split.ends is not None:
            parts = write_split(built, folder, ids, split)
        elif records is None:
            corpus = _cut(name, sha256, vocab, ids, split, marks, built.notes)
            return replace(corpus, val_source_ends=_source_ends(corpus.val, split.given_ends))
    words: dict[str, Any] = {"labels": built.labels, "record_kind": config.record_kind or ""}
    if parts is None:  # nothing of the records is held out
        words |= {"held_out": split.held_out, "split_method": split.method, "notes": built.notes}
        words |= {"train_records": records, "val_records": no_records(built.labels)}
        ids, _ = built.map_part("train")
        both = {"train": ids, "val": ids[:0]}
        return _make(name, sha256, vocab, both, {"train": built.chars["train"], "val": 0}, **words)
    mapped = {part: parts.map_part(part)[0] for part in parts.chars}
    words |= {"held_out": parts.held_out, "split_method": parts.split_method}
    words |= {"notes": (*built.notes, *parts.notes)}
    words |= {f"{part}_records": parts.map_records(part) for part in parts.chars}
    words |= {"val_source_ends": _source_ends(mapped["val"], parts.given_ends("val"))}
    return _make(name, sha256, vocab, mapped, parts.chars, **words)


def _choose(
    built: BuiltIds,
    ids: Ids,
    records: Records | None,
    config: TextConfig,
    weights: Sequence[int],
) -> Split:
    """Return what is held out of ids (S,), which of records begin with an END."""
    given_ends = built.given_ends("train")
    if records is None:
        split = choose_split(ids, built.vocab, built.file_ends, config)
    else:
        split = choose_records(records.ends, built.hashes, built.file_ends, config)
    if given_ends is not None:
        split = split._replace(given_ends=find_given(split, given_ends))
    if max(weights) == 1:
        return split
    if records is not None and split.ends is None:  # nothing is held out
        parts = np.zeros(len(records), np.uint8)
        split = split._replace(ends=records.ends, parts=parts, is_unusual=False)
    whole = np.array([len(ids)]) if given_ends is None else given_ends
    return with_weights(split, ids, built.vocab, whole, weights)


def _source_ends(val: Ids, given_ends: NDArray[np.int64] | None) -> tuple[int, ...]:
    """Return where the text of each path ends in `val`; () where that is not known, or empty."""
    return () if given_ends is None or not len(val) else tuple(given_ends.tolist())


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


def _count_before(position: int, ids: Ids, vocab: Vocab, marks: Marks) -> int:
    """Return how many characters ids[:position] write, counted from the last mark before."""
    nearest = bisect_right(marks, position, key=lambda mark: int(mark[0])) - 1
    tokens, chars = map(int, marks[nearest])
    return chars + vocab.count_characters(ids[tokens:position])
