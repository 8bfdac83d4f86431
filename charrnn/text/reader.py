"""From the files of a corpus to one stream of characters, in bounded memory.

Bytes are decoded strictly; a leading byte order mark goes, CRLF and CR become LF, and two sources
never share a line, or each ends as a document does. What comes of the characters (alphabet, ids,
split) is not known here.
"""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Literal

from charrnn.errors import CorpusError
from charrnn.text.encodings import SAMPLE_BYTES, explain_failure, find_codec
from charrnn.text.files import Source, iter_bytes

MAX_HELD_CHARS = 1 << 16

_FORMS: dict[str, Literal["NFC", "NFKC"]] = {"nfc": "NFC", "nfkc": "NFKC"}

# ASCII, hanzi and hangul syllables never compose with what stands before them, in any normal form.
_STARTER = re.compile("[\x00-\x7f\u4e00-\u9fff\uac00-\ud7a3]")


def iter_text(
    sources: Iterable[Source],
    *,
    encoding: str = "utf-8",
    normalize: str = "none",
    document_end: str | None = None,
) -> Iterator[str]:
    """Yield the characters of all sources in pieces of about a chunk of input.

    `normalize` is "none", "nfc" or "nfkc". After each source comes what it lacks of
    `document_end`, which is of that form; without one, where a source does not end in a newline,
    one is put before the next.

    Raises:
        ConfigError: the encoding is unknown.
        CorpusError: a file cannot be read, unpacked or decoded, or changes meanwhile.
    """
    codec, form = find_codec(encoding), _FORMS.get(normalize)
    texts: Iterable[Iterator[str]] = (_iter_decoded(source, codec) for source in sources)
    if form is not None:
        texts = (_iter_normalized(pieces, form) for pieces in texts)
    return _iter_joined(texts) if document_end is None else iter_ended(texts, document_end)


def _iter_joined(texts: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the pieces of all texts, with a newline between two that would share a line."""
    last = "\n"
    for pieces in texts:
        separator = "" if last == "\n" else "\n"
        for piece in pieces:
            yield separator + piece
            separator, last = "", piece[-1]


def _iter_decoded(source: Source, codec: str) -> Iterator[str]:
    """Yield one source's characters in pieces that are not empty, newlines made LF."""
    # The utf-8-sig decoder drops the stump of a mark without an error, so the mark is taken here.
    codec = "utf-8" if codec == "utf-8-sig" else codec
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(codec)(), translate=True)
    size, mark = source.start, "" if source.start else "\ufeff"
    for chunk in chain(iter_bytes(source), [b""]):
        size += len(chunk)
        try:
            text = decoder.decode(chunk, final=not chunk)
            if codec != "utf-8":  # whose decoder refuses lone surrogates by itself
                text.encode()
        except UnicodeError as error:
            head = next(iter_bytes(replace(source, start=0, stop=None)))
            message = explain_failure(source.name, codec, error, size, head[:SAMPLE_BYTES])
            raise CorpusError(message) from error
        if text and mark:
            text, mark = text.removeprefix(mark), ""
        if text:
            yield text


def _iter_normalized(pieces: Iterable[str], form: Literal["NFC", "NFKC"]) -> Iterator[str]:
    """Yield pieces in a Unicode normal form, cut only before a character that stays apart.

    Where MAX_HELD_CHARS hold no such character, they are cut anyway.
    """
    held = ""
    for piece in pieces:
        text = held + piece
        found = _STARTER.search(text[: -MAX_HELD_CHARS - 1 : -1])  # the last one: reversed
        cut = len(text) - found.end() if found else len(text) * (len(text) > MAX_HELD_CHARS)
        if cut:
            yield unicodedata.normalize(form, text[:cut])
        held = text[cut:]
    if held:
        yield unicodedata.normalize(form, held)


def missing_end(text: str, end: str) -> str:
    """Give what `text` lacks of `end` at its end: one newline of two where it ends in one."""
    present = next(n for n in range(len(end), -1, -1) if text.endswith(end[:n]))
    return end[present:]


def iter_ended(texts: Iterable[Iterable[str]], end: str) -> Iterator[str]:
    """Yield the pieces of all texts, each text followed by what it lacks of `end`.

    A text without pieces is no document.
    """
    for pieces in texts:
        last = ""
        for piece in pieces:
            yield piece
            last = (last + piece)[-len(end) :]
        if last and (missing := missing_end(last, end)):
            yield missing


def count_documents(pieces: Iterable[str], end: str) -> int:
    """Count how often `end` stands in a text, found from the left and never overlapping."""
    documents, rest = 0, ""
    for piece in pieces:
        *before, rest = (rest + piece).split(end)
        documents += len(before)
        rest = rest[max(0, len(rest) - len(end) + 1) :]
    return documents
