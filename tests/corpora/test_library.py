"""Holds the library to its word: right texts, kept when right, and never outside their folder."""

from __future__ import annotations

import hashlib
import io
import sys
import sysconfig
import textwrap
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charrnn.analysis.baselines import whole_bpc
from charrnn.corpora import library
from charrnn.corpora.download import MAX_BYTES
from charrnn.corpora.library import (
    LIBRARY,
    LibraryCorpus,
    build_corpus,
    describe_check,
    find_corpus,
    get_corpus,
    locate_texts,
)
from charrnn.errors import CorpusError

CONTENT = b"to be or not to be\n" * 100
BUILT = [name for name, corpus in LIBRARY.items() if corpus.kind == "built"]


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zip_of(*files: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return packed.getvalue()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return a function that makes "play" a download of these bytes, and lists what is fetched."""

    def make(data: bytes, unpacked: tuple[int, str] | None = None, **changes: Any) -> list[str]:
        fetched: list[str] = []

        def download(url: str, destination: Path, **given: Any) -> Path:
            fetched.append(destination.name)
            assert given["sha256"] == corpus.sha256
            assert given.get("max_bytes", MAX_BYTES) <= 16 << 20
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(data)
            return destination

        where = ("http://127.0.0.1/play", len(data), sha256_of(data), unpacked)
        corpus = replace(LibraryCorpus("play", "a play", "none", "download", 9, *where), **changes)
        monkeypatch.setitem(LIBRARY, "play", corpus)
        monkeypatch.setattr(library, "download", download)
        return fetched

    return make


@pytest.fixture(scope="module")
def built_texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return each text that this Python holds."""
    folder = tmp_path_factory.mktemp("built")
    return {name: build_corpus(name, folder).read_bytes().decode() for name in BUILT}


def test_every_entry_is_under_its_own_name_and_can_be_had():
    assert set(library._BUILDERS) == set(BUILT)
    for name, corpus in LIBRARY.items():
        assert name == corpus.name
        assert corpus.url.startswith("http") == (corpus.kind == "download")
        assert corpus.url.endswith(".zip") == (corpus.unpacked is not None)


def test_what_plain_http_brings_is_checked():
    for corpus in LIBRARY.values():
        assert corpus.sha256 or not corpus.url.startswith("http:")


@pytest.mark.parametrize("name", BUILT)
def test_a_built_text_is_as_long_as_announced_and_the_same_each_time(name, built_texts, tmp_path):
    text = built_texts[name]
    assert build_corpus(name, tmp_path).read_bytes() == text.encode()
    assert LIBRARY[name].characters / 2 < len(text) < LIBRARY[name].characters * 3


def test_python_docs_are_prose_that_repeats_little(built_texts):
    text = built_texts["python-docs"]
    passages = text.removesuffix("\n\n").split("\n\n")
    assert len(set(passages)) == len(passages)
    assert max(map(len, text.splitlines())) <= 72
    assert not set("|=_<>{}[]") & set(text)
    assert whole_bpc([text])["xz"] > 2  # 1.65 with what the language reference repeats


def test_python_docs_take_the_reference_and_the_modules(tmp_path, monkeypatch):
    topic = "Compound statements contain groups of other statements, which they control."
    remark = "Return the value that the caller has given, without any change to it."
    modules = tmp_path / "lib"
    modules.mkdir()
    (modules / "a.py").write_text(f'"""{remark}"""\n# {topic}\n')
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(modules))
    topics = SimpleNamespace(topics={"compound": f"{topic}\n\n   suite ::= statement\n"})
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", topics)
    text = build_corpus("python-docs", tmp_path).read_text(encoding="utf-8")
    assert sorted(text.split("\n\n")) == ["", *map(textwrap.fill, (topic, remark))]


def test_unicode_names_are_each_a_line_once_and_none_is_made_by_rule(built_texts):
    lines = built_texts["unicode-names"].splitlines()
    assert len(set(lines)) == len(lines)
    assert "LATIN SMALL LETTER A" in lines
    assert "BRAILLE PATTERN DOTS-1234" in lines
    assert unicodedata.name("大") not in lines
    assert unicodedata.name("한") not in lines


def test_python_source_holds_modules_without_tests_or_packages(tmp_path, monkeypatch):
    root = tmp_path / "lib"
    for path, data in {
        "b.py": b"b = 1\r\n",
        "a/x.py": b"x = 1\n\n",
        "a/test/t.py": b"t",
        "site-packages/s.py": b"s",
        "_sysconfigdata__linux.py": b"d",
        "latin.py": b"# \xe9",
        "notes.txt": b"n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(root))
    assert build_corpus("python-source", tmp_path).read_bytes() == b"b = 1\n\n\nx = 1\n\n\n"


@pytest.mark.parametrize("missing", ["python-docs", "python-source"])
def test_a_python_without_it_is_reported_and_leaves_no_file(missing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "nowhere"))
    with pytest.raises(CorpusError, match="has no files to build"):
        build_corpus(missing, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_built_text_is_made_once(tmp_path):
    path = get_corpus("unicode-names", tmp_path)
    path.write_text("mine", encoding="utf-8")
    assert get_corpus("unicode-names", tmp_path).read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("use", [find_corpus, build_corpus, get_corpus])
def test_an_unknown_name_is_answered_with_the_nearest_and_all_names(use, tmp_path):
    with pytest.raises(
        CorpusError, match=r"'tiny-shakespear' \(did you mean tiny-shakespeare\?\); .*en"
    ):
        use("tiny-shakespear", tmp_path)


@pytest.mark.parametrize(
    "name", ["../names", "/etc/passwd", "", "names.txt", "a/../names", "NAMES"]
)
def test_a_name_never_leads_out_of_the_folder(name, tmp_path):
    with pytest.raises(CorpusError, match="no corpus"):
        get_corpus(name, tmp_path / "corpora")
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_is_not_there_is_not_found(tmp_path):
    assert find_corpus("names", tmp_path) is None


def test_a_download_is_not_built(tmp_path):
    with pytest.raises(CorpusError, match="charrnn corpus get names"):
        build_corpus("names", tmp_path)


def test_a_download_is_fetched_once(serve, tmp_path):
    fetched = serve(CONTENT)
    assert get_corpus("play", tmp_path) == get_corpus("play", tmp_path) == tmp_path / "play.txt"
    assert find_corpus("play", tmp_path) == tmp_path / "play.txt"
    assert fetched == ["play.txt"]


def test_a_file_of_someone_else_under_the_name_is_reported_and_kept(serve, tmp_path):
    serve(CONTENT)
    (tmp_path / "play.txt").write_bytes(b"mine")
    with pytest.raises(CorpusError, match="rename it"):
        get_corpus("play", tmp_path)
    assert (tmp_path / "play.txt").read_bytes() == b"mine"


def test_a_name_keeps_its_weight(serve, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fetched = serve(CONTENT)
    play = str(Path("corpora/play.txt"))

    assert locate_texts(["play:3", "book.txt:2"]) == [f"{play}:3", "book.txt:2"]
    assert locate_texts(["play"]) == [play]
    assert fetched == ["play.txt"]
    with pytest.raises(CorpusError, match="did you mean play"):
        locate_texts(["plays:3"])


def test_a_zip_is_unpacked_under_the_name_and_removed(serve, tmp_path):
    serve(zip_of(("../../evil", CONTENT)), (len(CONTENT), sha256_of(CONTENT)))
    folder = tmp_path / "a" / "b"
    assert get_corpus("play", folder).read_bytes() == CONTENT
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "play.txt"]


def test_a_right_zip_that_is_here_is_not_fetched_again(serve, tmp_path):
    data = zip_of(("play", CONTENT))
    fetched = serve(data, (len(CONTENT), sha256_of(CONTENT)))
    (tmp_path / "play.zip").write_bytes(data)
    assert get_corpus("play", tmp_path).read_bytes() == CONTENT
    assert fetched == []


def test_a_wrong_zip_that_is_here_is_fetched_again(serve, tmp_path):
    fetched = serve(zip_of(("play", CONTENT)), (len(CONTENT), sha256_of(CONTENT)))
    (tmp_path / "play.zip").write_bytes(b"half of a")
    assert get_corpus("play", tmp_path).read_bytes() == CONTENT
    assert fetched == ["play.zip"]


BROKEN = bytearray(zip_of(("play", CONTENT)))
BROKEN[45] ^= 0xFF  # in the compressed bytes
ENCRYPTED = bytearray(zip_of(("play", CONTENT)))
ENCRYPTED[6] |= 1
ENCRYPTED[ENCRYPTED.index(b"PK\x01\x02") + 8] |= 1


@pytest.mark.parametrize(
    "data",
    [
        zip_of(),
        zip_of(("a", CONTENT), ("b", CONTENT)),
        zip_of(("bomb", bytes(10**6))),
        zip_of(("a", CONTENT))[:-30],
        b"<html>",
        bytes(BROKEN),
        bytes(ENCRYPTED),
    ],
    ids=["empty", "two", "large", "cut", "page", "broken", "encrypted"],
)
def test_a_zip_that_is_not_one_whole_text_is_refused(data, serve, tmp_path):
    serve(data, (len(CONTENT), sha256_of(CONTENT)))
    with pytest.raises(CorpusError, match=r"cannot unpack .*play\.zip"):
        get_corpus("play", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["play.zip"]


def test_a_file_that_cannot_be_read_is_reported(tmp_path):
    with pytest.raises(CorpusError, match="cannot read"):
        describe_check("names", tmp_path / "names.txt")


def test_a_check_says_what_was_seen_and_whether_it_was_expected(serve, tmp_path):
    serve(CONTENT)
    path = get_corpus("play", tmp_path)
    assert describe_check("play", path) == f"SHA-256 {sha256_of(CONTENT)}, as expected"
    path.write_bytes(b"mine")
    assert describe_check("play", path).endswith(f"but {sha256_of(CONTENT)} was expected")


def test_a_download_without_a_known_digest_says_so_with_the_one_seen(serve, tmp_path):
    serve(CONTENT, size_bytes=None, sha256=None)
    assert describe_check("play", get_corpus("play", tmp_path)) == (
        f"not checked, as no SHA-256 is known for it; its own is {sha256_of(CONTENT)}"
    )
