"""From the files of a corpus to one stream of characters, in bounded memory.

Bytes are decoded strictly. A leading byte order mark goes, CRLF and CR become LF, and two files
never share a line; with `document_end` each file ends as a document does.
"""

import codecs
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, Literal

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.encodings import SAMPLE_BYTES, explain_failure, find_codec
from charrnn.text.files import Source, iter_bytes

MAX_HELD_CHARS = 1 << 16

_FORMS: dict[str, Literal["NFC", "NFKC"]] = {"nfc": "NFC", "nfkc": "NFKC"}

# ASCII, hanzi and hangul syllables never compose with a character before, in any normal form.
_STARTER = re.compile("[\x00-\x7f\u4e00-\u9fff\uac00-\ud7a3]")


def iter_text(
    sources: Iterable[Source],
    *,
    encoding: str = "utf-8",
    normalize: str = "none",
    document_end: str | None = None,
) -> Iterator[str]:
    """Yield the characters of all sources in pieces of about CHUNK_BYTES of input.

    normalize: "none", "nfc" or "nfkc". document_end: after each source comes what it lacks of this;
    None puts a newline between two sources where the first does not end in one.

    Raises:
        ConfigError: the encoding is unknown.
        CorpusError: a file cannot be read, unpacked or decoded, or has changed.
    """
    codec = find_codec(encoding)
    texts: Iterable[Iterator[str]] = (_iter_decoded(source, codec) for source in sources)
    if form := _FORMS.get(normalize):
        texts = (_iter_normalized(pieces, form) for pieces in texts)
    return _iter_joined(texts) if document_end is None else iter_ended(texts, document_end)


def text_options(config: TextConfig) -> dict[str, Any]:
    """Return the keyword arguments of `iter_text` that read a text as `config` says."""
    return {name: getattr(config, name) for name in ("encoding", "normalize", "document_end")}


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


def missing_end(text: str, end: str) -> str:
    r"""Return what `text` lacks of `end` at its end.

    >>> missing_end("a document\n", end="\n\n")
    '\n'
    """
    present = next(n for n in range(len(end), -1, -1) if text.endswith(end[:n]))
    return end[present:]


def iter_ended(texts: Iterable[Iterable[str]], end: str) -> Iterator[str]:
    """Yield the pieces of all texts, and after each text that is not empty its `missing_end`."""
    for pieces in texts:
        last = ""
        for piece in pieces:
            yield piece
            last = (last + piece)[-len(end) :]
        if last and (missing := missing_end(last, end)):
            yield missing


def count_documents(pieces: Iterable[str], end: str) -> int:
    """Count how often `end` occurs in a text, from the left and without overlaps.

    >>> count_documents(["one-", "-two--", "three"], end="--")
    2
    """
    documents = 0
    rest = ""
    for piece in pieces:
        *before, rest = (rest + piece).split(end)
        documents += len(before)
        rest = rest[max(0, len(rest) - len(end) + 1) :]  # an end may continue in the next piece
    return documents


def _iter_decoded(source: Source, codec: str) -> Iterator[str]:
    """Yield one source's characters in pieces that are not empty, newlines made LF."""
    # The utf-8-sig decoder drops half a mark without an error, so the mark is removed here.
    codec = "utf-8" if codec == "utf-8-sig" else codec
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(codec)(), translate=True)
    size = source.start
    mark = "" if source.start else "\ufeff"
    for chunk in chain(iter_bytes(source), [b""]):  # the empty one ends the decoder's input
        size += len(chunk)
        try:
            text = decoder.decode(chunk, final=not chunk)
            if codec != "utf-8":  # its decoder refuses lone surrogates itself
                text.encode()
        except UnicodeError as error:
            head = next(iter_bytes(replace(source, start=0, stop=None)))
            message = explain_failure(source.name, codec, error, size, head[:SAMPLE_BYTES])
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


def _iter_joined(texts: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the pieces of all texts, with a newline between two that would share a line."""
    last = "\n"
    for pieces in texts:
        separator = "" if last == "\n" else "\n"
        for piece in pieces:
            yield separator + piece
            separator = ""
            last = piece[-1]
