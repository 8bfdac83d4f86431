"""What general compressors reach on a text: the figure that a model has to beat.

gzip (zlib, level 9) looks back 32 KiB, xz (LZMA, preset 6) 8 MiB. Both see the text as UTF-8, and
every figure is in bits per character, so it stands beside a model's.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterable, Iterator

WHOLE_BYTES = 32 << 20
CONTEXT_BYTES = 8 << 20
HELD_OUT_BYTES = 2 << 20

_GZIP_FRAMING = 31  # zlib's way to ask for a 32 KiB window and gzip's header


def whole_bpc(pieces: Iterable[str]) -> dict[str, float]:
    """Give the bits per character of a compressed text, by compressor: "gzip" and "xz".

    Beyond WHOLE_BYTES of UTF-8 the text is not looked at, so the figures hold for that beginning.
    A text without characters has none.
    """
    gzip = zlib.compressobj(9, zlib.DEFLATED, _GZIP_FRAMING)
    xz = lzma.LZMACompressor(preset=6)
    chars, sizes = 0, {"gzip": 0, "xz": 0}
    for piece in _cut(pieces, WHOLE_BYTES):
        data = _encode(piece)
        chars += len(piece)
        sizes["gzip"] += len(gzip.compress(data))
        sizes["xz"] += len(xz.compress(data))
    sizes["gzip"] += len(gzip.flush())
    sizes["xz"] += len(xz.flush())
    return {name: size * 8 / chars for name, size in sizes.items()} if chars else {}


def held_out_bpc(context: str, held_out: str) -> dict[str, float]:
    """Give the bits per character that `held_out` costs a compressor that has read `context`.

    It is what the text grows by when `held_out` follows: (size of both - size of context) * 8 /
    characters. The context counts with its last CONTEXT_BYTES, the other with its first
    HELD_OUT_BYTES; a held-out text without characters has no figure.
    """
    before = _encode(context[-CONTEXT_BYTES:])[-CONTEXT_BYTES:]
    counted = "".join(_cut([held_out], HELD_OUT_BYTES))
    if not counted:
        return {}
    both = before + _encode(counted)
    grown_bytes = {
        "gzip": len(zlib.compress(both, 9)) - len(zlib.compress(before, 9)),
        "xz": len(lzma.compress(both, preset=6)) - len(lzma.compress(before, preset=6)),
    }
    return {name: size * 8 / len(counted) for name, size in grown_bytes.items()}


def _cut(pieces: Iterable[str], limit_bytes: int) -> Iterator[str]:
    """Yield the pieces until `limit_bytes` of UTF-8, and of the last one its whole characters."""
    left = limit_bytes
    for piece in pieces:
        data = _encode(piece[:left])
        if len(data) > left or len(piece) > left:
            yield data[:left].decode("utf-8", "ignore")
            return
        yield piece
        left -= len(data)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
