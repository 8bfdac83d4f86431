"""From the files of a corpus to one stream of characters, in bounded memory.

Bytes are decoded strictly, unless bad ones are to be replaced or skipped. A leading byte order mark
goes, CRLF and CR become LF, and two files never share a line. With unit "byte" nothing is changed:
each byte is a character, beyond ASCII a lone surrogate as "surrogateescape" makes it, of which
`Vocab.encode` makes the byte again.
"""

import codecs
import io
import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.encodings import SAMPLE_BYTES, explain_failure, find_codec, take_sample
from charrnn.text.files import Source, iter_bytes
from charrnn.text.forms import NORMAL_FORMS, lower

MAX_HELD_CHARS = 1 << 16

# A decoder that meets bad bytes writes one of these for each run of them. No codec makes it.
_BAD = "\udcff"
codecs.register_error("charrnn.bad", lambda error: (_BAD, error.end))  # type: ignore[attr-defined]
_BAD_BECOMES = {"replace": "\ufffd", "skip": ""}
_MAX_LINES = 3  # of bad bytes that a message names

# ASCII, hanzi and hangul syllables never compose with a character before, in any normal form.
_STARTER = re.compile("[\x00-\x7f\u4e00-\u9fff\uac00-\ud7a3]")


@dataclass
class BadBytes:
    """What a file holds that its encoding does not allow: how many runs of bytes, and where."""

    places: int = 0
    lines: list[int] = field(default_factory=list)  # the first _MAX_LINES that differ, from 1

    def __str__(self) -> str:
        """Return the count and the lines, as messages name them."""
        shown = ", ".join(f"{line:,}" for line in self.lines)
        more = ", …" if len(self.lines) == _MAX_LINES else ""
        count = "1 place" if self.places == 1 else f"{self.places:,} places"
        return f"{count}, line{'s' * (len(self.lines) > 1)} {shown}{more}"


def describe_bad(bad: Mapping[str, BadBytes | str], errors: str) -> list[str]:
    """Return a sentence for each file with bytes that were replaced or skipped."""
    action = "replaced" if errors == "replace" else "skipped"
    return [f"{name}: bytes that are not in the encoding {action}: {bad[name]}" for name in bad]


def iter_text(
    sources: Iterable[Source],
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    lowercase: bool = False,
    normalize: str = "none",
    unit: str = "char",
    bad: dict[str, BadBytes] | None = None,
    ends: list[int] | None = None,
) -> Iterator[str]:
    """Yield the characters of all sources in pieces of about CHUNK_BYTES of input.

    encoding: of the sources that have no codec of their own. errors: "strict", "replace" (by
    U+FFFD) or "skip". normalize: "none", "nfc" or "nfkc". A newline comes between two sources
    where the first does not end in one. bad: is filled with what was replaced or skipped, by file.
    ends: is filled with the number of characters up to the end of each source.

    Raises:
        ConfigError: the encoding is unknown.
        CorpusError: a file cannot be read, unpacked or decoded, or has changed.
    """
    bad = {} if bad is None else bad
    ends = [] if ends is None else ends
    if unit == "byte":
        return iter_joined(map(_iter_escaped, sources), ends, separator="")
    codec = find_codec("utf-8" if encoding == "auto" else encoding)
    texts: Iterable[Iterable[str]] = (
        _iter_decoded(source, source.codec or codec, errors, bad) for source in sources
    )
    if lowercase:
        texts = (map(lower, pieces) for pieces in texts)
    if form := NORMAL_FORMS.get(normalize):
        texts = (_iter_normalized(pieces, form) for pieces in texts)
    return iter_joined(texts, ends, separator="\n")


def text_options(config: TextConfig) -> dict[str, Any]:
    """Return the keyword arguments of `iter_text` that read a text as `config` says."""
    names = ("encoding", "errors", "lowercase", "normalize", "unit")
    return {name: getattr(config, name) for name in names}


def iter_blocks(pieces: Iterable[str], block_chars: int) -> Iterator[str]:
    """Yield the text of `pieces` in blocks of `block_chars`; only the last may be shorter."""
    held: list[str] = []
    room = block_chars
    for piece in pieces:
        start = 0
        while len(piece) - start >= room:
            yield "".join([*held, piece[start : start + room]])
            start += room
            held = []
            room = block_chars
        held.append(piece[start:])
        room -= len(piece) - start
    if room < block_chars:
        yield "".join(held)


def _iter_decoded(
    source: Source, codec: str, errors: str, bad: dict[str, BadBytes]
) -> Iterator[str]:
    """Yield one source's characters in pieces that are not empty, newlines made LF."""
    # The utf-8-sig decoder drops half a mark without an error, so the mark is removed here.
    codec = "utf-8" if codec == "utf-8-sig" else codec
    bytes_decoder = codecs.getincrementaldecoder(codec)(
        "strict" if errors == "strict" else "charrnn.bad"
    )
    decoder = io.IncrementalNewlineDecoder(bytes_decoder, translate=True)
    size = source.start
    lines = 1
    mark = "" if source.start else "\ufeff"
    for chunk in chain(iter_bytes(source), [b""]):  # the empty one ends the decoder's input
        size += len(chunk)
        try:
            text = decoder.decode(chunk, final=not chunk)
            if errors != "strict" and _BAD in text:
                _note_bad(bad.setdefault(source.name, BadBytes()), text, lines)
                text = text.replace(_BAD, _BAD_BECOMES[errors])
            if errors != "strict":  # no other message needs them: to count is as slow as to decode
                lines += text.count("\n")
            if codec != "utf-8":  # its decoder refuses lone surrogates itself
                text.encode()
        except UnicodeError as error:
            whole = replace(source, start=0, stop=None)
            head = next(iter_bytes(whole))[:SAMPLE_BYTES]
            found: dict[str, BadBytes] = {}
            if errors == "strict" and isinstance(error, UnicodeDecodeError):
                deque(_iter_decoded(whole, codec, "skip", found), maxlen=0)  # to count them
            sample = take_sample(head, error, size)
            places = "".join(map(str, found.values()))
            message = explain_failure(source.name, codec, error, size, sample, places)
            raise CorpusError(message) from error
        if text and mark:
            text = text.removeprefix(mark)
            mark = ""
        if text:
            yield text


def _iter_normalized(pieces: Iterable[str], form: Literal["NFC", "NFKC"]) -> Iterator[str]:
    """Yield pieces in a Unicode normal form, cut only before a character that never composes.

    Where MAX_HELD_CHARS hold no such character, they are cut anyway.
    """
    held = ""
    for piece in pieces:
        text = held + piece
        found = _STARTER.search(text[: -MAX_HELD_CHARS - 1 : -1])  # reversed: the last one
        cut = len(text) - found.end() if found else len(text) * (len(text) > MAX_HELD_CHARS)
        if cut:
            yield unicodedata.normalize(form, text[:cut])
        held = text[cut:]
    if held:
        yield unicodedata.normalize(form, held)


def iter_joined(texts: Iterable[Iterable[str]], ends: list[int], separator: str) -> Iterator[str]:
    """Yield the pieces of all texts, with a separator between two that would share a line."""
    last = "\n"
    chars = 0
    for pieces in texts:
        before = "" if last == "\n" else separator
        for piece in pieces:
            if before:  # it ends the file before, with the empty ones after that
                i = len(ends)
                while i and ends[i - 1] == chars:
                    i -= 1
                    ends[i] += len(before)
            yield before + piece
            chars += len(before) + len(piece)
            before = ""
            last = piece[-1]
        ends.append(chars)


def _iter_escaped(source: Source) -> Iterator[str]:
    """Yield one source's bytes as they are, those beyond ASCII as lone surrogates."""
    for chunk in iter_bytes(source, is_raw=True):
        yield chunk.decode("ascii", "surrogateescape")


def _note_bad(bad: BadBytes, text: str, line: int) -> None:
    """Count the bad bytes of a text that begins in `line` of its file."""
    bad.places += text.count(_BAD)
    position = 0
    while len(bad.lines) < _MAX_LINES and (found := text.find(_BAD, position)) >= 0:
        line += text.count("\n", position, found)
        position = found + 1
        bad.lines += [line] * (line not in bad.lines)
