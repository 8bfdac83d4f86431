"""A folder of built ids: opened, and verified to be what the last step of a build described.

It holds about.json, and for each part of the text its ids, the sums that prove them, where its
files end and, with byte fallback or clusters, marks of how many characters the tokens write. Where
several paths were given, it also holds where the files of each end. Beside the ids of records go
their ends, their hashes and the rows of their labels. Ids that do not match their sums, or that
another user owns, are built again.

S = tokens, F = files, G = paths given, K = blocks, R = records, C = columns of labels.
"""

import json
import os
import random
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from charrnn.data.draw import Ints
from charrnn.data.labels import NO_LABELS, Labels
from charrnn.data.records import Records
from charrnn.errors import VocabError
from charrnn.storage import write_atomically
from charrnn.text.vocab import Ids, Vocab

VERIFIED_BYTES = 1 << 24  # of a larger file of ids only a sample is read to verify it: 10 ms
_SAMPLED_BLOCKS = 4
_BUFFER_BYTES = 1 << 20
NO_MARKS = np.zeros((1, 2), dtype=np.int64)
"""Of tokens that are all characters."""


@dataclass(frozen=True)
class BuiltIds:
    """A folder of ids that was verified, with what its about.json says.

    chars: of each part. held_out: what is held out, in words; "" where nothing was split.
    split_method: how that was chosen; "" there too, and where an older version wrote the folder.
    labels: of its records. understood: what was read, in words; "" for running text. is_utf8: of
    files read as they are, whether their bytes are valid UTF-8.
    """

    folder: Path
    vocab: Vocab
    chars: dict[str, int]
    notes: tuple[str, ...]
    held_out: str = ""
    split_method: str = ""
    labels: Labels = NO_LABELS
    understood: str = ""
    is_utf8: bool = False

    def map_part(self, name: str) -> tuple[Ids, Ints]:
        """Map the ids (S,) of a part, and its marks (M, 2), where a token may be no character."""
        ids = map_array(self.folder / f"{name}.ids", self.vocab.dtype)
        if self.vocab.is_one_to_one or not (self.folder / f"{name}.marks").exists():
            return ids, NO_MARKS
        return ids, map_array(self.folder / f"{name}.marks", "<i8").reshape(-1, 2)

    def map_records(self, name: str) -> Records | None:
        """Map where the records of a part end, and their labels; None for running text."""
        if not self.vocab.has_end:
            return None
        ends = map_array(self.folder / f"{name}.ends", "<i8")
        columns = len(self.labels.columns)
        if not columns:
            return Records(ends, np.empty((len(ends), 0), np.int32))
        rows = map_array(self.folder / f"{name}.labels", "<i4")
        return Records(ends, rows.reshape(-1, columns))

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """(R,) of the records of the part `train`: equal ones go to the same side of a split."""
        return map_array(self.folder / "train.hashes", "<u8")

    @cached_property
    def file_ends(self) -> Ints:
        """(F,) where each file of the part `train` ends, in tokens."""
        return np.array(map_array(self.folder / "train.files", "<i8"), np.int64)

    def given_ends(self, name: str) -> Ints | None:
        """Return where the files of each path given (G,) end in a part, in tokens.

        None of a single path, and where the text of the paths is mixed.
        """
        path = self.folder / f"{name}.given"
        return np.array(map_array(path, "<i8"), np.int64) if path.exists() else None


def open_built(folder: Path, *, is_verified: bool = False) -> BuiltIds | None:
    """Open a folder of ids; None unless it is what the last step of a build described.

    is_verified: read all ids to verify them; else, of a large file, a random sample.
    """
    try:
        if not _is_own(folder):
            return None
        about = json.loads((folder / "about.json").read_text())
        if about["crc"] != _digest(about):
            return None
        vocab = Vocab.from_json(about["vocab"])
        for name, (size, crc) in about["files"].items():
            path = folder / name
            if path.stat().st_size != size:
                return None
            if path.suffix != ".ids":
                if (is_verified or size <= VERIFIED_BYTES) and _sum_of(path) != crc:
                    return None
            elif not _is_intact(path, vocab, is_verified=is_verified):
                return None
        notes = tuple(map(str, about["notes"]))
        words = (str(about["held_out"]), str(about.get("split_method", "")))
        labels = Labels.from_json(about.get("labels", []))
        understood = str(about.get("understood", ""))
        is_utf8 = about.get("is_utf8") is True
        return BuiltIds(folder, vocab, about["chars"], notes, *words, labels, understood, is_utf8)
    except (OSError, ValueError, LookupError, TypeError, RecursionError, VocabError):
        return None


def open_or_remove(folder: Path, *, is_verified: bool = False) -> BuiltIds | None:
    """Open a folder of ids; where it is not what was built, remove it and return None."""
    built = open_built(folder, is_verified=is_verified)
    if built is None and folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    return built


def entry_folder(folder: Path) -> Path:
    """Return the folder for this user's ids: `folder`, or one beside it if that is another's."""
    if not hasattr(os, "getuid") or not folder.exists() or _is_own(folder):
        return folder
    return folder.with_name(f"{folder.name}-{os.getuid()}")


def write_about(folder: Path, built: BuiltIds) -> None:
    """Write about.json, the last file of a folder: it says what the others must be."""
    files = {}
    for path in sorted(folder.iterdir()):
        # The ids have sums of their own.
        crc = 0 if path.suffix == ".ids" else _sum_of(path)
        files[path.name] = (path.stat().st_size, crc)
    about = {"files": files, "vocab": built.vocab.to_json(), "chars": built.chars}
    about |= {"notes": list(built.notes), "held_out": built.held_out}
    about |= {"split_method": built.split_method, "labels": built.labels.to_json()}
    about |= {"understood": built.understood, "is_utf8": built.is_utf8}
    write_atomically(folder / "about.json", json.dumps(about | {"crc": _digest(about)}))


def map_array(path: Path, dtype: Any) -> NDArray[Any]:
    """Map the numbers in a file; an empty file, which cannot be mapped, holds none."""
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.empty(0, dtype)


def _sum_of(path: Path) -> int:
    """Return the CRC-32 of a file."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BUFFER_BYTES):
            crc = crc32(block, crc)
    return crc


def _digest(about: dict[str, Any]) -> int:
    """Return the CRC-32 of what about.json says, but for that number itself."""
    return crc32(json.dumps({key: about[key] for key in about if key != "crc"}).encode())


def _is_own(folder: Path) -> bool:
    """Return whether a folder is this user's or the system's, and no link to somewhere else."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and (
        not hasattr(os, "getuid") or status.st_uid in (0, os.getuid())
    )


def _is_intact(path: Path, vocab: Vocab, *, is_verified: bool) -> bool:
    """Return whether the ids at `path` match their sums (K, 2): tokens so far, CRC-32 of a block.

    CRC-32 finds damage, and no intention: whoever may write here may write the sums too.
    """
    ids = map_array(path, vocab.dtype)
    sums = map_array(path.with_suffix(".sums"), "<i8").reshape(-1, 2)
    if len(ids) != (sums[-1, 0] if len(sums) else 0):
        return False
    blocks: Iterable[int] = range(len(sums))
    if not is_verified and ids.nbytes > VERIFIED_BYTES and len(sums) > _SAMPLED_BLOCKS:
        blocks = (0, len(sums) - 1, *random.sample(range(len(sums)), _SAMPLED_BLOCKS - 2))
    for block in blocks:
        start = int(sums[block - 1, 0]) if block else 0
        stop, crc = sums[block].tolist()
        if crc32(ids[start:stop].data) != crc:
            return False
    return True
