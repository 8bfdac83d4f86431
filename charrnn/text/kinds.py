"""Which encoding each file of a corpus is in, and which files are not text at all.

A file is known by its first bytes: by a signature, by the NULs of UTF-16, or by control characters
that no text has. Nothing here decodes a corpus; `reader` does, with the codec that was found.
"""

import codecs
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.encodings import (
    SAMPLE_BYTES,
    find_codec,
    suggest_encodings,
    take_sample,
)
from charrnn.text.files import Source, iter_bytes

MAX_NAMED = 3  # files that one note names
_MAX_CONTROLS = 32  # of a text, or this share of it: form feeds and a few stray bytes are allowed
_MAX_CONTROL_SHARE = 0.05
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"
_CONTROL_BYTES = re.compile(b"[" + re.escape(_CONTROL) + b"]")
_NEAR_BYTES = 64
_LEAVE_OUT = "leave it out"
_UNPACK = "unpack it and give the files in it"
_AS_TEXT = "save it as plain text (.txt) and give that"
_AS_BYTES = "leave it out, or learn its bytes by charrnn train --unit byte"


class Kind(NamedTuple):
    """A kind of file that is not text, in words, and what to do with one."""

    name: str
    hint: str


# The first bytes at an offset, the most specific first; an empty name needs another look.
_SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"PK\x03\x04", Kind("a ZIP archive", _UNPACK)),
    (0, b"PK\x05\x06", Kind("an empty ZIP archive", _LEAVE_OUT)),
    (0, b"\x1f\x8b", Kind("gzip data", "rename it to end in .gz")),
    (4, b"1AY&SY", Kind("bzip2 data", "rename it to end in .bz2")),
    (0, b"\xfd7zXZ\0", Kind("xz data", "rename it to end in .xz")),
    (0, b"\x28\xb5\x2f\xfd", Kind("Zstandard data", "rename it to end in .zst")),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7-Zip archive", _UNPACK)),
    (0, b"Rar!\x1a\x07", Kind("a RAR archive", _UNPACK)),
    (257, b"ustar", Kind("a tar archive", _UNPACK)),
    (0, b"%PDF-", Kind("a PDF document", "convert it: pdftotext FILE.pdf FILE.txt")),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind("an old Office document", _AS_TEXT)),
    (0, b"{\\rtf", Kind("an RTF document", _AS_TEXT)),
    (0, b"\x89PNG\r\n\x1a\n", Kind("a PNG image", _LEAVE_OUT)),
    (0, b"\xff\xd8\xff", Kind("a JPEG image", _LEAVE_OUT)),
    (0, b"GIF87a", Kind("a GIF image", _LEAVE_OUT)),
    (0, b"GIF89a", Kind("a GIF image", _LEAVE_OUT)),
    (0, b"II*\0", Kind("a TIFF image", _LEAVE_OUT)),
    (0, b"MM\0*", Kind("a TIFF image", _LEAVE_OUT)),
    (8, b"WEBP", Kind("a WebP image", _LEAVE_OUT)),
    (8, b"WAVE", Kind("a WAV recording", _AS_BYTES)),
    (8, b"AVI ", Kind("an AVI video", _LEAVE_OUT)),
    (4, b"ftyp", Kind("an MP4 or HEIC file", _LEAVE_OUT)),
    (0, b"MThd", Kind("a MIDI file", _AS_BYTES)),
    (0, b"ID3", Kind("an MP3 recording", _LEAVE_OUT)),
    (0, b"OggS", Kind("an Ogg recording", _LEAVE_OUT)),
    (0, b"fLaC", Kind("a FLAC recording", _LEAVE_OUT)),
    (0, b"SQLite format 3\0", Kind("an SQLite database", "export a column of it as text")),
    (0, b"PAR1", Kind("a Parquet table", "export a column of it as text")),
    (0, b"\x7fELF", Kind("a program", _LEAVE_OUT)),
    (0, b"MZ\x90\0", Kind("a Windows program", _LEAVE_OUT)),
    (0, b"\xca\xfe\xba\xbe", Kind("a compiled program", _LEAVE_OUT)),
)
_PARTS_OF_ZIP = {
    b"word/": Kind("a Word document", _AS_TEXT),
    b"xl/": Kind("an Excel workbook", "export a column of it as text"),
    b"ppt/": Kind("a PowerPoint file", _AS_TEXT),
    b"application/epub+zip": Kind("an EPUB book", "convert it: pandoc BOOK.epub -o BOOK.txt"),
    b"application/vnd.oasis.opendocument": Kind("an OpenDocument file", _AS_TEXT),
    b"data.pkl": Kind("a PyTorch file", _LEAVE_OUT),
}
_BINARY = Kind("binary data", _AS_BYTES)


def kind_of(head: bytes) -> Kind | None:
    r"""Return what a file is that begins with `head` if that is not text; None for text.

    >>> kind_of(b"MThd\x00\x00\x00\x06").name
    'a MIDI file'
    """
    for offset, signature, kind in _SIGNATURES:
        if head.startswith(signature, offset) and (
            # Words may begin a text: a file that is known by letters has other bytes near them.
            not signature.strip().isalnum() or _CONTROL_BYTES.search(head[:_NEAR_BYTES])
        ):
            in_zip = [each for part, each in _PARTS_OF_ZIP.items() if part in head]
            return in_zip[0] if in_zip and signature.startswith(b"PK") else kind
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        return None
    return _BINARY if _has_many_controls(head) and not _wide_encoding(head) else None


def inspect_sources(
    sources: Sequence[Source], config: TextConfig, note: Callable[[str], None] = lambda _: None
) -> list[Source]:
    """Return the sources that are text, each with the codec to read it by.

    A file that is not text is left out if a folder or pattern found it, and `note` is called with a
    sentence on such files; so it is with one on files that `--encoding auto` reads by another
    encoding than UTF-8.

    Raises:
        ConfigError: the encoding is unknown.
        CorpusError: a file that was named is not text, or is in another encoding; with
            strict_files, one that was found too.
    """
    if config.unit == "byte":  # read as they are
        return list(sources)
    codec = None if config.encoding == "auto" else find_codec(config.encoding)
    texts = []
    left_out: dict[str, list[str]] = defaultdict(list)
    encodings: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        head = next(iter_bytes(source), b"")[:SAMPLE_BYTES]
        is_wide = codec is not None and codec.startswith(("utf-16", "utf-32"))
        kind = None if is_wide else kind_of(head)
        if kind is None:
            own = codec or detect_encoding(source)
            if codec is None and own != "utf-8":
                encodings[own].append(source.name)
            if codec is not None and not is_wide and (wide := _wide_encoding(head)):
                raise CorpusError(
                    f"{source.name} is not {codec}: every other byte is NUL, so it looks like "
                    f"{wide} without a byte order mark: pass --encoding {wide}, or auto"
                )
            texts.append(replace(source, codec=own))
        elif source.is_found and not config.strict_files:
            left_out[kind.name].append(source.name)
        else:
            raise CorpusError(f"{source.name} is {kind.name}, not text; {kind.hint}")
    for name, files in left_out.items():
        note(f"left out, as {name}: {list_names(files)}")
    for encoding, files in encodings.items():
        note(f"read as {encoding}: {list_names(files)}")
    if not texts:
        raise CorpusError(
            f"{list_names([source.name for source in sources])}: none of the files is text; "
            "name a text file"
        )
    return texts


def detect_encoding(source: Source) -> str:
    """Return the encoding that a file is in: by its mark, UTF-8 if all of it is, else a guess.

    UTF-8 too where no guess fits, so that its decoder names what is wrong.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    size = 0
    head = b""
    try:
        for chunk in iter_bytes(source):
            if not size:
                head = chunk[:SAMPLE_BYTES]
                if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
                    return "utf-32"
                if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    return "utf-16"
                if wide := _wide_encoding(head):
                    return wide
            size += len(chunk)
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return next(iter(suggest_encodings(take_sample(head, error, size))), "utf-8")
    return "utf-8"


def list_names(names: Sequence[str]) -> str:
    """Return up to MAX_NAMED names, and how many more there are.

    >>> list_names(["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"])
    'a.txt, b.txt, c.txt and 2 more'
    """
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _has_many_controls(head: bytes) -> bool:
    controls = len(head) - len(head.translate(None, _CONTROL))
    return controls > max(_MAX_CONTROLS, _MAX_CONTROL_SHARE * len(head))


def _wide_encoding(head: bytes) -> str | None:
    """Return the UTF-16 or UTF-32 that bytes without a mark look like, if they do."""
    if not head.count(0) or not _has_many_controls(head):  # a text may have a few NULs
        return None
    return next(iter(suggest_encodings(head[: len(head) // 4 * 4])), None)
