"""From names to the files that they lead to: files, folders, patterns, or standard input.

A folder's files come in the same order everywhere. What is in a file is not known here.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from charrnn.errors import CorpusError, StorageError
from charrnn.text.source import CHUNK_BYTES, Source, make_source


@contextmanager
def open_sources(paths: Sequence[str]) -> Iterator[list[Source]]:
    """Yield the files that `paths` name: files, folders, glob patterns, and - for standard input.

    They come in the order given, sorted within a folder or pattern, each once. Standard input is
    kept in a temporary file, so that it can be read twice, until the block ends.

    Raises:
        CorpusError: a name leads to no readable text file, or there is no name.
        StorageError: standard input does not fit on the disk.
    """
    if not paths:
        raise CorpusError("no text was given; name a file, a folder, a pattern, or - for stdin")
    if list(paths).count("-") > 1:
        raise CorpusError("standard input can be read only once; give - once")
    with ExitStack() as stack:
        sources: dict[str, Source] = {}
        real_folder = cache(os.path.realpath)
        for name in paths:
            if name == "-":
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="charrnn-"))
                found = [make_source(_spool_stdin(Path(folder)), "standard input")]
            else:
                found = [make_source(path, str(path)) for path in _find_files(name)]
            for source in found:
                sources.setdefault(_real_path(source.path, real_folder), source)
        yield list(sources.values())


def _real_path(path: Path, real_folder: Callable[[Path], str]) -> str:
    """Give where a file lies without links; a folder is followed once for all files in it."""
    if path.is_symlink():
        return str(path.resolve())
    return os.path.join(real_folder(path.parent), path.name)  # noqa: PTH118 (ten times as fast)


def _find_files(name: str) -> list[Path]:
    """Give the files that `_list_files` finds, unless folders lie too deep for Python."""
    try:
        return _list_files(name)
    except RecursionError as error:
        raise CorpusError(f"the folders in {name!r} lie too deep; name those below") from error


def _list_files(name: str) -> list[Path]:
    """Give the file of that name, the files of that folder, or those that match the pattern."""
    path = Path(name)
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116 (Path("") would be the working folder)
    except (OSError, ValueError) as error:
        if re.search(r"[*?\[]", name) and (files := _match_pattern(path)):
            return files
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(
            f"no text at {name!r} ({reason}); check the path, which starts from {Path.cwd()}"
        ) from error
    if stat.S_ISDIR(mode):
        if files := _walk_folder(path):
            return files
        raise CorpusError(f"the folder {name} holds no file (hidden ones do not count)")
    if not stat.S_ISREG(mode):
        raise CorpusError(f"{name} is not a regular file; pipe its content in and give - instead")
    return [path]


def _walk_folder(folder: Path) -> list[Path]:
    """List the regular files under a folder, sorted, without the hidden; links to folders stay."""

    def fail(error: OSError) -> None:
        raise CorpusError(f"cannot list {error.filename}: {error.strerror}") from error

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(_keep_regular(files))


def _match_pattern(pattern: Path) -> list[Path]:
    """List the files that match a glob pattern, and those in folders that match, sorted."""
    # pathlib's ** follows no links to folders, unlike the glob module's; but it finds hidden names.
    dotted = [part for part in pattern.parts if part.startswith(".")]
    try:
        matches = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    except (OSError, ValueError) as error:
        raise CorpusError(f"cannot follow the pattern {str(pattern)!r}: {error}") from error
    files: list[Path] = []
    for match in matches:
        hidden = [part for part in match.parts if part.startswith(".")]
        if all(any(fnmatchcase(part, shown) for shown in dotted) for part in hidden):
            files += _walk_folder(match) if match.is_dir() else [match]
    return _keep_regular(files)


def _keep_regular(paths: list[Path]) -> list[Path]:
    """Leave out pipes, devices, and links that lead nowhere."""
    try:
        return [path for path in paths if path.is_file()]
    except OSError as error:
        raise CorpusError(f"cannot read {error.filename}: {error.strerror}") from error


def _spool_stdin(folder: Path) -> Path:
    """Copy standard input, as bytes, into a file in `folder`."""
    if sys.stdin is None:
        raise CorpusError("standard input is closed; name a file instead of -")
    path = folder / "stdin"
    try:
        with path.open("wb") as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool, CHUNK_BYTES)
    except OSError as error:
        raise StorageError(
            f"cannot keep standard input in {folder}: {error.strerror or error}; "
            "set TMPDIR to a folder with more room, or name a file"
        ) from error
    return path
