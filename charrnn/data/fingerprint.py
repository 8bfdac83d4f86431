"""The SHA-256 of a text, computed again only where its files may have changed.

A file counts as unchanged while its inode, size, time of last write and time of last status change
stay the same. The last one moves with every write and cannot be set back. Times prove nothing for
a file written less than SETTLED_SECONDS ago, nor on Windows, which keeps no status time: there the
text is read. Two changes go unnoticed: a write through a memory map opened before, and one past
the file system or with its clock set back.
"""

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

CACHED_FROM_BYTES = 1 << 24  # a smaller text is hashed in 10 ms
SETTLED_SECONDS = 2.0  # file systems' clocks tick every 10 ms, old ones' every 2 s


class Fingerprint:
    """The SHA-256 of `sources`, kept in the folder `cache` for the next time.

    A file that cannot be read, or has changed since it was found, is a CorpusError.
    """

    def __init__(self, sources: Sequence[Source], cache: Path) -> None:
        self._sources = sources
        self._is_large = sum(source.size_bytes for source in sources) >= CACHED_FROM_BYTES
        self._began = time.time()
        self._stamp = self._take_stamp()
        names = [str(source.path.absolute()) for source in sources]
        self._cached = cache / "hashes" / _digest(names)
        self.sha256: str | None = None  # as cached or computed; None until then
        if self._stamp is not None:
            with suppress(OSError, UnicodeError):
                cached = self._cached.read_text(encoding="ascii")
                if found := re.fullmatch(rf"{self._stamp} ([0-9a-f]{{64}})", cached):
                    self.sha256 = found[1]

    def compute(self) -> str:
        """Return the SHA-256, read from the sources unless it is known, and cache it."""
        if self.sha256 is None:
            self.sha256 = hash_sources(self._sources)
            if self._stamp is not None and self._take_stamp() == self._stamp:
                with suppress(StorageError):  # a read-only cache costs time, nothing else
                    write_atomically(self._cached, f"{self._stamp} {self.sha256}")
        return self.sha256

    def is_unchanged(self) -> bool:
        """Return whether the sources are what they were, read again where times prove nothing."""
        if self._stamp is not None and self._take_stamp() == self._stamp:
            return True
        return hash_sources(self._sources) == self.sha256

    def _take_stamp(self) -> str | None:
        """Return what changes when a file does; None where it might not, or for a small text."""
        if not self._is_large or os.name != "posix":
            return None
        try:
            states = [source.path.stat() for source in self._sources]
        except OSError as error:
            raise CorpusError(f"cannot read {error.filename}: {error.strerror}") from error
        if max(state.st_ctime for state in states) > self._began - SETTLED_SECONDS:
            return None
        return _digest([(s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in states])


def _digest(values: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
