"""Texts by name: built from this very Python, or downloaded and checked.

Each becomes FOLDER/NAME.txt; a file that is there and right is kept.
"""

import hashlib
import importlib
import os
import re
import shutil
import sysconfig
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from charrnn.config import LIBRARY_FOLDER
from charrnn.config.weights import split_weight
from charrnn.corpora.download import Progress, download
from charrnn.corpora.prose import iter_passages, iter_remarks, shuffled
from charrnn.errors import CorpusError
from charrnn.storage import open_atomically
from charrnn.wording import nearest

_GUTENBERG = "public domain in the USA; Project Gutenberg License"
_NOT_SOURCE = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
# Many Linux distributions install these apart, and newer Pythons have dropped some.
_NOT_EVERYWHERE = {"distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo"}


@dataclass(frozen=True)
class LibraryCorpus:
    """One named text."""

    name: str
    description: str
    licence: str
    kind: Literal["built", "download"]
    characters: int  # about
    url: str = ""
    size_bytes: int | None = None  # of what the URL serves; None where its host revises it
    sha256: str | None = None
    unpacked: tuple[int, str] | None = None  # size and SHA-256 of the only file in a zip


# fmt: off
_CORPORA = (  # what the text is, then where it comes from
    LibraryCorpus("python-docs", "prose from Python's own files", "PSF-2.0", "built", 425_000),
    LibraryCorpus("python-source", "Python's standard library", "PSF-2.0", "built", 12_000_000),
    LibraryCorpus("unicode-names", "names of characters", "Unicode-3.0", "built", 868_000),
    LibraryCorpus("tiny-shakespeare", "40,000 lines of plays", "public domain", "download",
        1_115_394,
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        1_115_394, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),
    LibraryCorpus("names", "32,033 first names, one a line", "MIT", "download", 228_145,
        "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt",
        228_145, "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d"),
    LibraryCorpus("war-and-peace", "Tolstoy's novel in English", _GUTENBERG, "download", 3_200_000,
        "https://www.gutenberg.org/cache/epub/2600/pg2600.txt"),
    LibraryCorpus("red-chamber", "Cao Xueqin's novel in Chinese", _GUTENBERG, "download", 880_000,
        "https://www.gutenberg.org/cache/epub/24264/pg24264.txt"),
    LibraryCorpus("text8", "Wikipedia, cleaned: a to z and spaces", "CC BY-SA", "download",
        100_000_000, "http://mattmahoney.net/dc/text8.zip",
        31_344_016, "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        (100_000_000, "6e890197040d37d85beb962ae1f041ff1d9a9ca8d20c7d99c85027eebf51dca7")),
    LibraryCorpus("enwik8", "Wikipedia as it is, in XML", "CC BY-SA", "download", 99_600_000,
        "http://mattmahoney.net/dc/enwik8.zip",
        36_445_475, "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        (100_000_000, "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8")),
)
# fmt: on

LIBRARY: dict[str, LibraryCorpus] = {corpus.name: corpus for corpus in _CORPORA}


def get_corpus(
    name: str,
    folder: Path,
    on_progress: Progress | None = None,
    limit_seconds: float | None = None,
) -> Path:
    """Return the file of a named text, built or downloaded first if it is not in `folder`.

    limit_seconds: how long a download may take; None for as long as it needs.

    Raises:
        DownloadError: no network, or a server that fails, is too slow, or serves another file.
        CorpusError: no such name, or a file that is not the right one.
        StorageError: the folder may not be written, or the disk is full.
    """
    corpus = _named(name)
    path = find_corpus(name, folder)
    if path is None:
        if corpus.kind == "built":
            path = build_corpus(name, folder)
        else:
            path = _fetch(corpus, folder, on_progress, limit_seconds)
    if not _is_right(path, corpus.unpacked or (corpus.size_bytes, corpus.sha256)):
        # Nothing of ours ends half written, so this is someone's own file; it is not replaced.
        raise CorpusError(
            f"{path} is not the {name} of the library (its size or SHA-256 differs); "
            "rename it to download that one, or give its path to train on it"
        )
    return path


def locate_texts(paths: Sequence[str]) -> list[str]:
    """Return the paths; library names become the files of those texts, fetched if necessary.

    A weight after a name or path stays.

    Raises:
        CorpusError: a named text cannot be fetched, or a name is almost that of one; a weight is
            none.

    >>> locate_texts(["book.txt:2"])
    ['book.txt:2']
    """
    folder = Path(LIBRARY_FOLDER)
    names = [split_weight(path)[0] for path in paths]
    for path in names:
        if near := _nearest_name(path):
            raise CorpusError(
                f"cannot find the text {path!r} in {Path.cwd()}; did you mean {near}, a name of "
                "charrnn corpus list?"
            )
    named = {name for name in names if name in LIBRARY and not Path(name).exists()}
    return [
        str(get_corpus(name, folder)) + path.removeprefix(name) if name in named else path
        for path, name in zip(paths, names, strict=True)
    ]


def _nearest_name(path: str) -> str | None:
    """Return the name that a path which is none, and no file either, is almost."""
    # A bare word alone: a suffix, a folder or a pattern says that a file is meant.
    if path in LIBRARY or not re.fullmatch(r"[\w-]+", path):
        return None
    near = nearest(path, LIBRARY)
    return near if near and not Path(path).exists() else None


def find_corpus(name: str, folder: Path) -> Path | None:
    """Return the file of a named text if it is in `folder`, right or not.

    Raises:
        CorpusError: no such name, or a folder that cannot be read.
    """
    path = folder / f"{_named(name).name}.txt"
    try:
        return path if path.is_file() else None
    except OSError as error:
        raise CorpusError(f"cannot read {folder}: {error.strerror or error}") from error


def build_corpus(name: str, folder: Path) -> Path:
    """Write NAME.txt without the network: the same each time for one version of Python.

    Raises:
        CorpusError: no such name, it can only be downloaded, or this Python came without it.
        StorageError: the folder may not be written, or the disk is full.
    """
    if _named(name).kind == "download":
        raise CorpusError(f"{name} is downloaded, not built: charrnn corpus get {name}")
    path = folder / f"{name}.txt"
    with open_atomically(path) as file:
        file.writelines(piece.encode() for piece in _BUILDERS[name]())
        if not file.tell():
            raise CorpusError(f"this Python has no files to build {name} from; take another text")
    return path


def describe_check(name: str, path: Path) -> str:
    """Return a line about the SHA-256 of `path`, and whether it is the known one.

    Raises:
        CorpusError: no such name, or a file that cannot be read.
    """
    corpus = _named(name)
    seen = _hash_file(path)
    if corpus.kind == "built":
        return f"built from this Python; SHA-256 {seen}"
    known = corpus.unpacked[1] if corpus.unpacked else corpus.sha256
    if known is None:
        return f"not checked, as no SHA-256 is known for it; its own is {seen}"
    return f"SHA-256 {seen}, " + ("as expected" if seen == known else f"but {known} was expected")


def _named(name: str) -> LibraryCorpus:
    if name in LIBRARY:
        return LIBRARY[name]
    near = nearest(name, LIBRARY)
    hint = f" (did you mean {near}?)" if near else ""
    raise CorpusError(f"there is no corpus {name!r}{hint}; choose from {', '.join(LIBRARY)}")


def _fetch(
    corpus: LibraryCorpus,
    folder: Path,
    on_progress: Progress | None,
    limit_seconds: float | None,
) -> Path:
    """Download NAME.txt, or NAME.zip, which is unpacked and then removed."""
    text = folder / f"{corpus.name}.txt"
    target = text.with_suffix(".zip") if corpus.unpacked else text
    if not (target.is_file() and _is_right(target, (corpus.size_bytes, corpus.sha256))):
        download(
            corpus.url,
            target,
            sha256=corpus.sha256,
            size_bytes=corpus.size_bytes,
            limit_seconds=limit_seconds,
            on_progress=on_progress,
        )
    if corpus.unpacked:
        _unzip(target, text, corpus.unpacked[0])
        target.unlink(missing_ok=True)
    return text


def _unzip(archive: Path, destination: Path, size_bytes: int) -> None:
    """Unpack the only file in `archive`, whatever it is called there, block by block."""
    try:
        with open_atomically(destination) as file, zipfile.ZipFile(archive) as zipped:
            members = zipped.infolist()
            if [member.file_size for member in members] != [size_bytes]:
                raise ValueError(f"it does not hold one file of {size_bytes} bytes")
            with zipped.open(members[0]) as source:  # never yields more than file_size: no bomb
                shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise CorpusError(f"cannot unpack {archive}: {error}; delete it to get it again") from error


def _is_right(path: Path, expected: tuple[int | None, str | None]) -> bool:
    """Return whether a file has the size in bytes and the SHA-256 expected, where known."""
    size_bytes, sha256 = expected
    return size_bytes in (None, path.stat().st_size) and sha256 in (None, _hash_file(path))


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error


def _python_docs() -> Iterator[str]:
    """Yield passages of the language reference and of the modules, in one order for all of them."""
    texts: list[str] = []
    with suppress(ImportError):
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
        texts += [topics[key] for key in sorted(topics)]
    for source in _iter_modules(_NOT_SOURCE | _NOT_EVERYWHERE):
        texts += iter_remarks(source)
    # Shuffled, as the end of the text is held out, and would be all of one kind.
    yield from shuffled(iter_passages(texts))


def _python_source() -> Iterator[str]:
    for source in _iter_modules(_NOT_SOURCE):
        yield source.rstrip() + "\n\n\n"


def _iter_modules(skipped: set[str]) -> Iterator[str]:
    """Yield each module outside the folders `skipped` that is in UTF-8 and no machine's own."""
    for folder, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = sorted(set(folders) - skipped)
        for name in sorted(files):
            if name.endswith(".py") and not name.startswith("_sysconfigdata"):
                with suppress(OSError, UnicodeDecodeError):
                    yield Path(folder, name).read_text(encoding="utf-8")


def _unicode_names() -> Iterator[str]:
    """Yield a name a line, without those made by rule (hanzi by number, hangul by sound)."""
    names = []
    for code in range(0x110000):
        name = unicodedata.name(chr(code), "")
        if name and not name.startswith("HANGUL SYLLABLE ") and not name.endswith(f"-{code:04X}"):
            names.append(name)
    # Shuffled, as the end of the text is held out, and would be all emoji.
    yield "\n".join(shuffled(names)) + "\n"


_BUILDERS: dict[str, Callable[[], Iterator[str]]] = {
    "python-docs": _python_docs,
    "python-source": _python_source,
    "unicode-names": _unicode_names,
}
