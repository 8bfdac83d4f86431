"""From files to records: lines, files, documents, speeches, and the rows of `tables`.

A record is a text with its labels. Records come in blocks, so that memory stays bounded and lines
cost little; a single record is never cut. Bytes are decoded by `text.reader`, whatever a record is.

R = records, C = columns of labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.data.tables import iter_rows, readable
from charrnn.errors import CorpusError, counted
from charrnn.text.files import Source
from charrnn.text.forms import compose, lower
from charrnn.text.reader import BadBytes, iter_text
from charrnn.text.vocab import END, Ids

BLOCK_CHARS = 1 << 18
_SHOWN_PLACES = 3
_WHITESPACE = re.compile(r"\s")
_NEWLINES = "\r\n"  # files that are read as they are may end a line by both


@dataclass(frozen=True)
class Records:
    """Where the records of a part are in its ids, and what is known of each.

    ends: (R,) int64, after the END of each. Record r is ids[start:ends[r]], where start is
    ends[r − 1], or 1 for the first: the ids of a part begin with one END. labels: (R, C) int32,
    rows of `Labels`; NONE where a label is not known.
    """

    ends: NDArray[np.int64]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ends)


class Example(NamedTuple):
    """A source and what it becomes: a text, or a tag for each of its characters."""

    source: str
    target: str | tuple[str, ...]


class Targets(NamedTuple):
    """What the records of a part become: target r is ids[ends[r − 1]:ends[r]], the first from 0.

    ids: (S,). ends: (R,) int64. Tags are as many as the tokens of their record; another sequence
    ends with the END of its own vocabulary.
    """

    ids: Ids
    ends: NDArray[np.int64]


def join_parts(parts: Sequence[tuple[Ids, Records]]) -> tuple[Ids, Records]:
    """Return the ids and the records of several parts as those of one, with one END before all."""
    ids: list[Ids] = []
    ends: list[NDArray[np.int64]] = []
    for own, records in parts:
        before = int(ends[-1][-1]) - 1 if ends else 0
        if len(records):
            ids.append(own[1:] if ids else own)
            ends.append(records.ends + before)
    if not ids:
        return parts[0]
    labels = np.concatenate([records.labels for _, records in parts])
    return np.concatenate(ids), Records(np.concatenate(ends), labels)


class Block(NamedTuple):
    """Some records in their order.

    texts: (R,), never empty. labels: (R,) of C values, "" where one is not known; empty where
    there are no labels. groups: (R,), "" for a record that is a group of its own; empty likewise.
    """

    texts: list[str]
    labels: list[tuple[str, ...]]
    groups: list[str]

    def extend(self, other: Block) -> None:
        """Add the records of another block."""
        self.texts.extend(other.texts)
        self.labels.extend(other.labels)
        self.groups.extend(other.groups)

    def columns(self) -> list[tuple[str, ...]]:
        """Return the values (C, R) by column."""
        return list(zip(*self.labels, strict=True))


@dataclass
class Found:
    """What was seen while records were read, besides the records.

    skipped: rows that were left out; places: the first of them. matches: lines that begin a speech,
    or marks that end a document.
    several: records with more labels than the one that counts.
    """

    skipped: int = 0
    places: list[str] = field(default_factory=list)
    matches: int = 0
    several: int = 0

    def skip(self, place: str) -> None:
        """Count a row that is left out."""
        self.skipped += 1
        if len(self.places) < _SHOWN_PLACES:
            self.places.append(place)

    def add(self, other: Found) -> None:
        """Add what another job found in what comes after."""
        self.skipped += other.skipped
        self.places = (self.places + other.places)[:_SHOWN_PLACES]
        self.matches += other.matches
        self.several += other.several

    def describe_skipped(self) -> str:
        """Return how many rows were left out, and which were the first."""
        more = ", …" * (self.skipped > len(self.places))
        places = f": {', '.join(self.places)}{more}" * bool(self.places)
        return f"{counted(self.skipped, 'row')} skipped{places}"

    def refuse_skipped(self) -> None:
        """Refuse a text of which all rows were left out."""
        if self.skipped:
            raise CorpusError(
                f"no row can be read: {self.describe_skipped()}; leave --skip-bad out to see why"
            )


def label_names(config: TextConfig) -> tuple[str, ...]:
    """Return the names of the columns of labels; () without labels.

    >>> label_names(TextConfig(text_column="text", label_column="label, year"))
    ('label', 'year')
    """
    if config.label_regex is not None:
        return tuple(re.compile(config.label_regex).groupindex)
    if config.label is not None:
        return ("label" if config.label == "prefix" else config.label,)
    return config.label_columns


def iter_records(
    sources: Iterable[Source],
    config: TextConfig,
    found: Found,
    bad: dict[str, BadBytes] | None = None,
) -> Iterator[Block]:
    """Yield the records of files.

    found, bad: are filled with what was seen, and with bytes that were replaced or skipped.

    Raises:
        CorpusError: a file cannot be read or decoded, or has a row that is no record.
    """
    reading: dict[str, Any] = {
        "encoding": config.encoding,
        "errors": config.errors,
        "unit": config.unit,
    }
    if config.document_end is not None:  # which is found in the text as it is read
        reading |= {"lowercase": config.lowercase, "normalize": config.normalize}
    for source in sources:
        pieces = iter_text([source], bad=bad, **reading)
        yield from read_records(source.name, pieces, config, found, source.path)


def read_records(
    name: str, pieces: Iterable[str], config: TextConfig, found: Found, path: Path | None = None
) -> Iterator[Block]:
    """Yield the records of one text, which messages call `name`.

    path: of its file; None for a text in memory.
    """
    checked = _refuse_ends(name, pieces)
    place = _label_of_path(name, path, config)
    for block in _iter_blocks(name, checked, config, found):
        if config.label == "prefix":
            block = _take_prefixes(block, config, found)
        elif place is not None:
            block = block._replace(labels=[(place,)] * len(block.texts))
        if block.texts:
            yield block


def join(texts: list[str], config: TextConfig) -> str:
    """Return records as a stream of characters, each with its END, in the form of the settings."""
    text = END.join([*texts, ""])
    if config.lowercase:
        text = lower(text)
    return compose(text, config.normalize)


def hash_records(text: str, groups: Sequence[str]) -> bytes:
    """Return the hashes (R,) uint64, as bytes, by which the records of a `join` are drawn.

    groups: (R,) what is hashed instead of the record, "" where that is the record itself; or empty.
    """
    hashed = text.split(END)[:-1]
    if any(groups):  # a record without a group is one of its own
        hashed = [group or record for group, record in zip(groups, hashed, strict=True)]
    return b"".join(
        blake2b(each.encode(errors="surrogateescape"), digest_size=8).digest() for each in hashed
    )


def _iter_blocks(
    name: str, pieces: Iterator[str], config: TextConfig, found: Found
) -> Iterator[Block]:
    match config.record_kind:
        case "row":
            yield from _in_blocks(iter_rows(name, pieces, config, found.skip))
            return
        case "speech":
            yield from _in_blocks(_iter_speeches(pieces, config, found))
            return
        case "file":
            groups: Iterable[list[str]] = [["".join(pieces).strip(_NEWLINES)]]
        case "document":
            groups = _iter_documents(pieces, config, found)
        case _:
            groups = split_at(pieces, "\n")
    for texts in groups:
        yield Block([text for text in texts if text and not text.isspace()], [], [])


def _iter_documents(pieces: Iterable[str], config: TextConfig, found: Found) -> Iterator[list[str]]:
    """Yield what stands between marks, some at a time, and count the marks."""
    mark = _spell(str(config.document_end), config)
    marks = -1  # nothing ends what stands after the last
    for some in split_at(pieces, mark):
        marks += len(some)
        yield [each.strip(_NEWLINES) for each in some]
    found.matches += marks


def split_at(pieces: Iterable[str], mark: str) -> Iterator[list[str]]:
    """Yield what stands between marks, some at a time, however the text is cut into pieces.

    >>> [*split_at(["a--", "b-", "-c"], "--")]
    [['a'], ['b'], ['c']]
    """
    held: list[str] = []  # the beginning of what has not ended
    rest = ""  # its last characters: a mark may begin in them
    for piece in pieces:
        *ended, last = (rest + piece).split(mark)
        if ended:
            ended[0] = "".join([*held, ended[0]])
            yield ended
            held = []
        cut = max(0, len(last) - len(mark) + 1)
        held.append(last[:cut])
        rest = last[cut:]
    yield ["".join([*held, rest])]


def _iter_speeches(
    pieces: Iterable[str], config: TextConfig, found: Found
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield the text and the labels of what each line that matches begins."""
    pattern = re.compile(str(config.label_regex))
    names = list(pattern.groupindex)
    labels = ("",) * len(names)
    lines: list[str] = []
    for some in split_at(pieces, "\n"):
        for line in some:
            match = pattern.match(line)
            if match is None:
                lines.append(line)
                continue
            yield "\n".join(lines), labels, ""
            found.matches += 1
            labels = tuple(readable(match[name] or "", config).strip() for name in names)
            lines = [line[match.end() :]]
    yield "\n".join(lines), labels, ""


def _in_blocks(records: Iterable[tuple[str, tuple[str, ...], str]]) -> Iterator[Block]:
    """Yield records in blocks; those that are blank are none."""
    block = Block([], [], [])
    chars = 0
    for text, labels, group in records:
        text = text.strip(_NEWLINES)
        if not text or text.isspace():
            continue
        block.texts.append(text)
        if labels:
            block.labels.append(labels)
        block.groups.append(group)
        chars += len(text) + 1
        if chars >= BLOCK_CHARS:
            yield block
            block = Block([], [], [])
            chars = 0
    yield block


def _take_prefixes(block: Block, config: TextConfig, found: Found) -> Block:
    """Return records without the words at their start that are labels; the first one counts."""
    prefix = _spell(config.label_prefix, config)
    texts: list[str] = []
    labels: list[tuple[str, ...]] = []
    for text in block.texts:
        words: list[str] = []
        while text.startswith(prefix):
            rest = text[len(prefix) :]
            words.append(_WHITESPACE.split(rest, 1)[0])
            text = rest[len(words[-1]) :].lstrip()
        found.several += len(words) > 1
        if text:
            texts.append(text)
            labels.append((readable(words[0], config) if words else "",))
    return block._replace(texts=texts, labels=labels)


def _spell(text: str, config: TextConfig) -> str:
    """Return what a text is searched for as it stands there: of bytes, a character for each."""
    return text.encode().decode("ascii", "surrogateescape") if config.unit == "byte" else text


def _label_of_path(name: str, path: Path | None, config: TextConfig) -> str | None:
    """Return the label that a file gives all its records; None where it gives none."""
    if config.label not in ("file", "folder"):
        return None
    if path is None or name == "standard input":
        raise CorpusError(f"{name} has no {config.label} that could be a label; leave --label out")
    label = path.absolute().parent.name
    if config.label == "file":
        is_packed = Source(path, name).is_named_packed
        label = Path(path.stem).stem if is_packed else path.stem
    return label.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _refuse_ends(name: str, pieces: Iterable[str]) -> Iterator[str]:
    """Yield pieces; refuse a text that holds the character that stands for the end of a record."""
    line = 1
    for piece in pieces:
        if END in piece:
            line += piece.count("\n", 0, piece.index(END))
            raise CorpusError(
                f"{name}:{line}: the text holds U+10FFFF, which stands for the end of a record; "
                "remove it"
            )
        line += piece.count("\n")
        yield piece
