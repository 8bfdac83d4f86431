"""From examples, sources with what they become, to a corpus of ids.

A target is a text, or a tag for each character of its source. Examples come from files that are
read twice: once to count both alphabets, once to encode. Only ids, ends and hashes are kept, so
that 5,000,000 short pairs take less than 1 GB. Equal sources never stand on two sides of the split:
they are drawn by their hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.data.build import cut_records
from charrnn.data.draw import iter_chunks
from charrnn.data.example_counts import Counts, Known
from charrnn.data.example_ids import Coder, ExampleFile, Rows
from charrnn.data.labels import Labels
from charrnn.data.parts import Corpus, no_records, with_warning
from charrnn.data.records import Records, Targets
from charrnn.data.split import Split, choose_records, iter_parts, with_weights
from charrnn.errors import CorpusError, VocabError
from charrnn.text.vocab import Ids, Vocab

_FIRST = 1  # where the first source begins: before it stands an END
_NOTHING = Known()


class _Part(NamedTuple):
    """Examples as a corpus has them."""

    ids: Ids
    records: Records
    targets: Targets


def corpus_of_examples(
    files: Sequence[ExampleFile],
    config: TextConfig,
    *,
    name: str,
    sha256: str = "",
    title: str = "",
    val: Sequence[ExampleFile] = (),
    known: Known = _NOTHING,
) -> Corpus:
    """Return the corpus of examples; config.task says what their targets are.

    title: what notes and messages call it; the name by default. val: the files that are held out
    for validation, as config.val_file says.

    Raises:
        ConfigError: the known tokens are of another kind.
        CorpusError: a file cannot be read, or has changed while it was; there are no examples, or
            too few to hold some out.
    """
    title = title or name
    counts = Counts(config)
    counts.add(files, title)
    val_counts = Counts(config, counts)
    if val:
        val_counts.add(val, str(config.val_file))
    coder = counts.make_coder(known, [*val_counts.tags], title)
    sources, targets = _encode_again(coder, files, counts, title)
    of_val = _encode_again(coder, val, val_counts, title)
    notes = [f"{title}: {counts.describe()}; {coder.describe(sources, targets)}", *counts.notes()]
    notes += counts.note_rare_tags(coder.labels, title)
    if val:
        notes.append(f"{config.val_file}: {val_counts.describe_against(counts)}")
        notes += val_counts.note_rare_tags(coder.labels, str(config.val_file))
    split = _choose(sources, counts, files, coder.vocab)
    notes += [f"held out: {split.held_out}"] * (split.method != "none")
    parts = _cut(sources, targets, split, coder.labels)
    words: dict[str, Any] = {"held_out": split.held_out, "split_method": split.method}
    if val:
        parts["val"] = _as_part(*of_val, coder.labels)
        words |= _held_out_file(config, split)
    for part, own in parts.items():
        words |= {part: own.ids, f"{part}_records": own.records, f"{part}_targets": own.targets}
        words[f"{part}_chars"] = coder.vocab.count_characters(own.ids[_FIRST:])
    given = tuple(dict.fromkeys(each.given for each in files))
    words |= {"vocab": coder.vocab, "target_vocab": coder.target_vocab, "labels": coder.labels}
    words |= {"record_kind": config.record_kind, "sources": given * (len(given) > 1)}
    return with_warning(Corpus(name=name, sha256=sha256, notes=tuple(notes), **words))


def rows_of(corpus: Corpus, part: str) -> Iterator[tuple[Ids, Ids]]:
    """Yield the ids of each source and of its target, without their ENDs.

    part: "train", "val" or "test". Of tags the second are their numbers.
    """
    records: Records | None = getattr(corpus, f"{part}_records")
    targets: Targets | None = getattr(corpus, f"{part}_targets")
    if records is None or targets is None:
        return
    ids = getattr(corpus, part)
    of_end = int(corpus.target_vocab is not None)  # tags have none
    start = _FIRST
    target_start = 0
    for chunk in iter_chunks(len(records)):
        ends = records.ends[chunk].tolist()
        for end, target_end in zip(ends, targets.ends[chunk].tolist(), strict=True):
            yield ids[start : end - 1], targets.ids[target_start : target_end - of_end]
            start = end
            target_start = target_end


def _encode_again(
    coder: Coder, files: Sequence[ExampleFile], counts: Counts, title: str
) -> tuple[Rows, Rows]:
    """Return the ids of the examples of files that were counted.

    Raises:
        CorpusError: they hold something else by now.
    """
    changed = CorpusError(f"{title} changed while it was read; run the command again")
    try:
        sources, targets = coder.encode(files)
    except (VocabError, KeyError) as error:  # there are other tokens than were counted
        raise changed from error
    if len(sources.ends) != counts.size:
        raise changed
    return sources, targets


def _held_out_file(config: TextConfig, split: Split) -> dict[str, str]:
    """Return what is held out where a file is, and how it was chosen."""
    held_out = f"the file {config.val_file}"
    if not config.test_fraction:
        return {"held_out": held_out, "split_method": "file"}
    return {"held_out": f"{held_out}, and {split.held_out}", "split_method": split.method}


def _choose(sources: Rows, counts: Counts, files: Sequence[ExampleFile], vocab: Vocab) -> Split:
    """Return what is held out of the examples, and how often each comes in training."""
    ends = sources.ends
    file_ends = np.append(_FIRST, ends)[counts.file_sizes]
    split = choose_records(ends, counts.hashes, file_ends, counts.config)
    weights = {file.given: file.weight for file in files}
    if max(weights.values()) == 1:
        return split
    if split.ends is None:  # nothing is held out
        split = split._replace(ends=ends, parts=np.zeros(len(ends), np.uint8), is_unusual=False)
    last = {file.given: end for file, end in zip(files, file_ends.tolist(), strict=True)}
    given_ends = np.array([*last.values()], np.int64)
    return with_weights(split, sources.ids, vocab, given_ends, [*weights.values()])


def _cut(sources: Rows, targets: Rows, split: Split, labels: Labels) -> dict[str, _Part]:
    """Return the parts of a split."""
    if split.ends is None:
        parts = {"train": _as_part(sources, targets, labels)}
        empty = Rows(sources.dtype), Rows(targets.dtype)
        return parts | {name: _as_part(*empty, labels) for name in split.names[1:]}
    unlabelled = np.zeros((len(sources.ends), len(labels.columns)), np.int32)
    of_targets = _cut_rows(targets, split._replace(ends=targets.ends, first=0), unlabelled)
    of_sources = _cut_rows(sources, split, unlabelled)
    return {
        name: _Part(*of_sources[name], Targets(of_targets[name][0], of_targets[name][1].ends))
        for name in split.names
    }


def _cut_rows(
    rows: Rows, split: Split, labels: NDArray[np.int32]
) -> dict[str, tuple[Ids, Records]]:
    """Return the ids of each part, and where each sequence ends in them.

    What stands before the first sequence goes before those of each part. The whole is emptied: of
    millions of examples it and its parts together take much memory.
    """
    ids = rows.ids
    cut = cut_records(Records(rows.ends, labels), split)
    sizes = {name: int(own.ends[-1]) if len(own) else 0 for name, own in cut.items()}
    parts = {name: np.empty(size, rows.dtype) for name, size in sizes.items()}
    filled = dict.fromkeys(parts, split.first)
    for name in parts:
        parts[name][: split.first] = ids[: split.first][: sizes[name]]
    for pieces in iter_parts(ids, split):
        for name, piece in zip(split.names, pieces, strict=True):
            parts[name][filled[name] : filled[name] + len(piece)] = piece
            filled[name] += len(piece)
    rows.clear()
    return {name: (parts[name], cut[name]) for name in split.names}


def _as_part(sources: Rows, targets: Rows, labels: Labels) -> _Part:
    """Return all examples as one part."""
    if not len(sources.ends):
        none = Targets(np.empty(0, targets.dtype), np.empty(0, np.int64))
        return _Part(np.empty(0, sources.dtype), no_records(labels), none)
    unlabelled = np.zeros((len(sources.ends), len(labels.columns)), np.int32)
    records = Records(sources.ends, unlabelled)
    return _Part(sources.ids, records, Targets(targets.ids, targets.ends))
