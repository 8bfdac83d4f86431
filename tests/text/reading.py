"""How the tests of this folder read sources: in chunks of any size, to the end or to an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from charrnn.errors import CorpusError
from charrnn.text import files
from charrnn.text.files import Source, iter_bytes
from charrnn.text.reader import iter_text

Write = Callable[..., list[Source]]  # the fixture `write`


@contextmanager
def chunks_of(chunk_bytes: int) -> Iterator[None]:
    """Have files read in chunks of that many bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK_BYTES", chunk_bytes)
        yield


def read_bytes(sources: list[Source], chunk_bytes: int = 1 << 20) -> bytes:
    """Join the bytes of all sources."""
    with chunks_of(chunk_bytes):
        return b"".join(chunk for source in sources for chunk in iter_bytes(source))


def read_text(sources: list[Source], chunk_bytes: int = 1 << 20, /, **options: str) -> str:
    """Join the characters of all sources, read with options of `iter_text`."""
    with chunks_of(chunk_bytes):
        return "".join(iter_text(sources, **options))


def complaint(sources: list[Source], **options: str) -> str:
    """Return the message of the CorpusError that reading ends in."""
    with pytest.raises(CorpusError) as caught:
        read_text(sources, **options)
    return caught.value.message
