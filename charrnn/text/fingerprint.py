"""The SHA-256 of a text, without reading it again where its files have not been touched.

A file counts as untouched while its inode, size, time of change and time of status change are what
they were when it was hashed. The last moves with every write and cannot be set back, so an edit
that restores the others is noticed. Times tell nothing of a file written less than
SETTLED_SECONDS before, nor on Windows, which keeps no such time: there the text is read. Not
noticed are a write through a memory map that was begun before and is still open, and a disk
written past its file system or with its clock set back.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from charrnn.errors import CorpusError, StorageError
from charrnn.storage import write_atomically
from charrnn.text.files import Source, hash_sources

REMEMBERED_FROM_BYTES = 1 << 24  # a smaller text is hashed in 10 ms
SETTLED_SECONDS = 2.0  # file systems tick in 10 ms, some of old in 2 s


class Fingerprint:
    """The SHA-256 of sources as they stand, and whether they stay so.

    cache: the folder that keeps it for the next time.

    Raises:
        CorpusError: a file cannot be looked at.
    """

    def __init__(self, sources: Sequence[Source], cache: Path) -> None:
        self._sources = sources
        self._is_large = sum(source.size_bytes for source in sources) >= REMEMBERED_FROM_BYTES
        self._began = time.time()
        self._stamp = self._take_stamp()
        self._cache = cache
        self.sha256 = self._recall()
        """As it was remembered or taken; None before."""

    def take(self) -> str:
        """Give the SHA-256, read from the sources unless it is remembered, and remember it.

        Raises:
            CorpusError: a file cannot be read, or changes meanwhile.
        """
        if self.sha256 is None:
            self.sha256 = hash_sources(self._sources)
            self._remember(self.sha256)
        return self.sha256

    def still_holds(self) -> bool:
        """Tell whether the sources are what they were at first, read again if times do not tell.

        Raises:
            CorpusError: a file cannot be read, or changes meanwhile.
        """
        if self._stamp is not None and self._take_stamp() == self._stamp:
            return True
        return hash_sources(self._sources) == self.sha256

    def _take_stamp(self) -> str | None:
        """Give what changes when a file does; None where it might not, or is not worth a look."""
        if not self._is_large or os.name != "posix":
            return None
        try:
            states = [source.path.stat() for source in self._sources]
        except OSError as error:
            raise CorpusError(f"cannot read {error.filename}: {error.strerror}") from error
        if max(state.st_ctime for state in states) > self._began - SETTLED_SECONDS:
            return None
        return _digest([(s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in states])

    @property
    def _memory(self) -> Path:
        """Where the SHA-256 of these files is kept, however often they change."""
        names = [str(source.path.absolute()) for source in self._sources]
        return self._cache / "hashes" / _digest(names)

    def _recall(self) -> str | None:
        if self._stamp is None:
            return None
        with suppress(OSError, UnicodeError):
            seen = self._memory.read_text(encoding="ascii")
            if found := re.fullmatch(rf"{self._stamp} ([0-9a-f]{{64}})", seen):
                return found[1]
        return None

    def _remember(self, sha256: str) -> None:
        if self._stamp is None or self._take_stamp() != self._stamp:
            return
        with suppress(StorageError):  # a cache that is only read serves as well, if slower
            write_atomically(self._memory, f"{self._stamp} {sha256}")


def _digest(values: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
