"""Holds corpora to their split, and their cache to the truth: old or broken ids are never used."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data import built, encode, fingerprint
from charrnn.data.corpus import (
    Corpus,
    cache_folder,
    corpus_from_text,
    open_corpus,
    open_sources_as_corpus,
)
from charrnn.data.draw import split_position
from charrnn.errors import ConfigError, CorpusError, StorageError
from charrnn.text import files, reader
from charrnn.text.vocab import END, Vocab

TEXT = "Eine Wörterkette, noch eine,\nund dann 中!\n" * 3
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\r") | st.sampled_from("ab é中\n"), min_size=1
)

BeforePass = Callable[[int, Callable[[], None]], None]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Write TEXT into a file."""
    path = tmp_path / "book.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def before_pass(monkeypatch: pytest.MonkeyPatch) -> BeforePass:
    """Return a function that has something done just before pass 1 or 2 over the text."""

    def arrange(number: int, act: Callable[[], None]) -> None:
        passes = 0

        def iter_text(*arguments: Any, **options: Any) -> Iterator[str]:
            nonlocal passes
            passes += 1
            if passes == number:
                act()
            yield from reader.iter_text(*arguments, **options)

        monkeypatch.setattr(encode, "iter_text", iter_text)

    return arrange


def fail() -> None:
    raise AssertionError("the text was read again")


def whole(corpus: Corpus) -> str:
    """Return the text of both parts."""
    return corpus.vocab.decode(corpus.train) + corpus.vocab.decode(corpus.val)


def builds() -> list[Path]:
    """List what lies in the cache."""
    return sorted(cache_folder().glob("*")) if cache_folder().exists() else []


def only_build() -> Path:
    """Return the one folder in the cache."""
    (folder,) = builds()
    return folder


# The split


@given(st.integers(1, 10**9))
def test_the_cut_is_that_of_nanogpt(length: int) -> None:
    assert split_position(length, TextConfig().val_fraction) == int(length * 0.9)


@given(TEXTS, st.floats(0.001, 0.5))
def test_both_parts_together_are_the_text(text: str, val_fraction: float) -> None:
    config = TextConfig(val_fraction=val_fraction)
    corpus = corpus_from_text(text, config)

    assert whole(corpus) == text
    assert (corpus.train_chars, corpus.val_chars) == (len(corpus.train), len(corpus.val))
    assert corpus.chars == len(text)


@given(TEXTS, st.floats(0.001, 0.5))
def test_a_text_is_never_cut_inside_a_character(text: str, val_fraction: float) -> None:
    config = TextConfig(min_count=2, val_fraction=val_fraction)
    corpus = corpus_from_text(text, config)
    train = corpus.vocab.decode(corpus.train)
    val = corpus.vocab.decode(corpus.val)

    assert train + val == text
    assert (corpus.train_chars, corpus.val_chars) == (len(train), len(val))


def test_characters_are_counted_where_the_ids_are_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("aaa中bbbé", encoding="utf-8")
    corpus = open_corpus([str(tmp_path / "a.txt")], TextConfig(min_count=2))

    assert len(corpus.train) + len(corpus.val) == 3 + 3 + 3 + 2
    assert corpus.chars == 8


def test_a_held_out_file_is_all_of_the_held_out_text(book: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("noch nie: ß", encoding="utf-8")
    config = TextConfig(val_file=str(tmp_path / "other.txt"))
    corpus = open_corpus([str(book)], config)

    assert corpus.vocab.decode(corpus.train) == TEXT
    assert corpus.vocab.decode(corpus.val) == "noch nie: ß"
    assert corpus.val_chars == 11


# From files


@given(TEXTS, st.sampled_from([1, 2]), st.integers(1, 7))
def test_a_text_read_in_pieces_has_the_ids_of_the_text_in_memory(
    tmp_path_factory: pytest.TempPathFactory, text: str, min_count: int, chunk_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "a").write_bytes(b"\xef\xbb\xbf" + text.encode())
    config = TextConfig(min_count=min_count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK_BYTES", chunk_bytes)
        opened = open_corpus([str(folder / "a")], config, folder)
    expected = corpus_from_text(text, config)

    assert opened.vocab == expected.vocab
    assert opened.train.tolist() == expected.train.tolist()
    assert opened.val.tolist() == expected.val.tolist()


def test_several_files_are_one_text(tmp_path: Path) -> None:
    for name, text in (("a.txt", "first"), ("b.txt", "second\n")):
        (tmp_path / name).write_text(text)

    paths = [str(tmp_path / name) for name in ("b.txt", "a.txt")]
    assert whole(open_corpus(paths, TextConfig(split="tail"))) == "second\nfirst"


def test_a_packed_file_is_the_text_in_it(tmp_path: Path) -> None:
    (tmp_path / "book.txt.gz").write_bytes(gzip.compress(TEXT.encode()))

    assert whole(open_corpus([str(tmp_path / "book.txt.gz")])) == TEXT


def test_encoding_and_normal_form_are_those_of_the_config(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Wo\u0308rter".encode("utf-16-le"))
    config = TextConfig(encoding="utf-16-le", normalize="nfc")

    assert whole(open_corpus([str(tmp_path / "a.txt")], config)) == "Wörter"


def test_every_file_ends_a_document_the_held_out_one_too(tmp_path: Path) -> None:
    for name, text in (("a.txt", "first\n"), ("b.txt", "second"), ("c.txt", "third\n\n")):
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in ("a.txt", "c.txt")]
    config = TextConfig(document_end="\n\n", val_file=str(tmp_path / "b.txt"))
    corpus = open_corpus(paths, config)

    assert corpus.vocab.decode(corpus.train) == f"{END}first{END}third{END}"
    assert corpus.vocab.decode(corpus.val) == f"{END}second{END}"
    assert (corpus.train_chars, corpus.val_chars) == (12, 7)
    assert corpus.sha256 == open_corpus(paths, TextConfig(val_file=config.val_file)).sha256


def test_the_mark_of_documents_costs_no_characters(book: Path) -> None:
    config = TextConfig(document_end="!\n", val_fraction=0)
    opened = open_corpus([str(book)], config)
    in_memory = corpus_from_text(TEXT, config)

    assert whole(opened) == whole(in_memory) == END + TEXT.replace("!\n", END)
    assert opened.vocab == in_memory.vocab
    assert "!" not in opened.vocab.alphabet


def test_standard_input_ends_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"pi--ped")))

    config = TextConfig(document_end="--", val_fraction=0)
    assert whole(open_corpus(["-"], config)) == f"{END}pi{END}ped{END}"


def test_built_ids_stay_on_the_disk(book: Path) -> None:
    corpus = open_corpus([str(book)])

    assert isinstance(corpus.train, np.memmap)
    assert corpus.train.dtype == corpus.vocab.dtype


@pytest.mark.parametrize(
    ("paths", "name"),
    [
        (["book.txt"], "book"),
        (["book.v2.txt.gz"], "book.v2"),
        (["README"], "README"),
        (["poems/a.txt", "poems/b.txt"], "poems"),
        (["poems"], "poems"),
        (["reviews"], "reviews"),
        (["reviews/neg/1.txt", "book.txt"], "neg"),
        (["a.txt", "b.txt"], "corpus"),
    ],
)
def test_a_corpus_is_named_after_its_file_or_folder(
    paths: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("book.txt", "book.v2.txt.gz", "README", "a.txt", "b.txt", "poems/a.txt")
    for file in (*files, "reviews/neg/1.txt", "reviews/pos/1.txt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    (tmp_path / "poems" / "b.txt").write_text("b")
    monkeypatch.chdir(tmp_path)

    assert open_corpus(paths).name == name


def test_standard_input_is_a_corpus_named_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    corpus = open_corpus(["-"])

    assert (corpus.name, whole(corpus)) == ("stdin", TEXT)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "empty.txt").write_bytes(content)
    with pytest.raises(CorpusError, match=r"empty\.txt is empty; give it at least"):
        open_corpus([str(tmp_path / "empty.txt")])
    assert builds() == []


def test_an_empty_text_in_memory_is_refused() -> None:
    with pytest.raises(CorpusError, match="the text is empty"):
        corpus_from_text("")


# The cache


def test_ids_are_built_once(book: Path, before_pass: BeforePass) -> None:
    built = open_corpus([str(book)])
    before_pass(1, fail)
    cached = open_corpus([str(book)])

    assert whole(cached) == whole(built) == TEXT
    assert (cached.sha256, cached.vocab) == (built.sha256, built.vocab)
    assert (cached.train_chars, cached.val_chars) == (built.train_chars, built.val_chars)


def test_a_held_out_file_is_cached_too(book: Path, tmp_path: Path, before_pass: BeforePass) -> None:
    (tmp_path / "other.txt").write_text("other")
    config = TextConfig(val_file=str(tmp_path / "other.txt"))
    open_corpus([str(book)], config)
    before_pass(1, fail)

    assert whole(open_corpus([str(book)], config)) == TEXT + "other"


def test_a_renamed_text_keeps_its_ids_and_gets_its_new_name(
    book: Path, before_pass: BeforePass
) -> None:
    open_corpus([str(book)])
    before_pass(1, fail)
    book.rename(book.with_name("novel.txt"))

    assert open_corpus([str(book.with_name("novel.txt"))]).name == "novel"


def test_an_edited_text_never_meets_old_ids(book: Path) -> None:
    open_corpus([str(book)])
    stamp = book.stat()
    book.write_text(TEXT.replace("noch", "doch"), encoding="utf-8")
    os.utime(book, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    assert (book.stat().st_size, book.stat().st_mtime_ns) == (stamp.st_size, stamp.st_mtime_ns)
    assert whole(open_corpus([str(book)])) == TEXT.replace("noch", "doch")


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "latin-1"},
        {"normalize": "nfkc"},
        {"min_count": 2},
        {"min_count": 3},
        {"lines": True, "split": "tail"},
    ],
)
def test_an_option_that_changes_the_ids_has_ids_of_its_own(
    book: Path, options: dict[str, Any]
) -> None:
    first = open_corpus([str(book)])
    other = open_corpus([str(book)], TextConfig(**options))

    assert len(builds()) == 2
    assert whole(first) == whole(open_corpus([str(book)])) == TEXT
    expected = TEXT.encode().decode("latin-1") if "encoding" in options else TEXT
    assert whole(other).lstrip(END).replace(END * 2, END).replace(END, "\n") == expected


def test_ids_are_not_shared_between_different_ends_of_documents(book: Path) -> None:
    ends = (None, ",\n", "!\n")
    configs = [TextConfig(document_end=end, val_fraction=0) for end in ends]
    texts = [whole(open_corpus([str(book)], config)) for config in configs]

    assert texts[0] == TEXT
    assert [text.count(END) for text in texts] == [0, 5, 4]
    assert len(builds()) == 3


def test_a_held_out_file_has_other_ids_than_a_second_file(book: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("other")
    both = [str(book), str(tmp_path / "other.txt")]
    together = open_corpus(both, TextConfig(split="tail"))
    apart = open_corpus(both[:1], TextConfig(val_file=both[1]))

    assert together.sha256 == apart.sha256
    assert together.vocab.decode(together.val) == (TEXT + "other")[int(0.9 * together.chars) :]
    assert apart.vocab.decode(apart.val) == "other"


def test_the_size_of_the_held_out_part_needs_no_new_ids(
    book: Path, before_pass: BeforePass
) -> None:
    open_corpus([str(book)])
    before_pass(1, fail)
    halved = open_corpus([str(book)], TextConfig(val_fraction=0.5))

    assert halved.vocab.decode(halved.train) == TEXT[: len(TEXT) // 2]


def test_two_builds_at_once_give_one_folder(book: Path, before_pass: BeforePass) -> None:
    before_pass(2, lambda: open_corpus([str(book)]) and None)

    assert whole(open_corpus([str(book)])) == TEXT
    assert not only_build().name.startswith(".")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"CHARRNN_CACHE": "own"}, "own"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/charrnn"),
        ({"XDG_CACHE_HOME": ""}, "home/.cache/charrnn"),
        ({"CHARRNN_CACHE": "", "XDG_CACHE_HOME": "xdg"}, "xdg/charrnn"),
    ],
)
def test_the_cache_lies_where_the_environment_says(
    environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHARRNN_CACHE")
    monkeypatch.setenv("HOME", "home")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert cache_folder() == Path(folder)


def test_a_cache_that_cannot_be_written_is_named_with_a_hint(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_CACHE", str(book / "cache"))
    with pytest.raises(StorageError, match=r"cannot write .*book\.txt.*set CHARRNN_CACHE"):
        open_corpus([str(book)])


# Tokens that are known already


@pytest.mark.parametrize("known", [Vocab("EQi"), Vocab("Qß", has_bytes=True), Vocab("", True)])
@pytest.mark.parametrize("min_count", [1, 4])
def test_a_corpus_has_the_tokens_that_are_known_besides_its_own(
    book: Path, known: Vocab, min_count: int
) -> None:
    config = TextConfig(min_count=min_count)
    own = open_corpus([str(book)], config)
    corpus = open_corpus([str(book)], config, known=known)
    in_memory = corpus_from_text(TEXT, config, known=known)

    assert corpus.vocab == own.vocab.union(known) == in_memory.vocab
    assert whole(corpus) == whole(in_memory) == TEXT
    assert corpus.train.tolist() == in_memory.train.tolist()
    assert corpus.sha256 == own.sha256


def test_a_rare_character_that_is_known_is_not_written_as_bytes() -> None:
    corpus = corpus_from_text("aaaabQ", TextConfig(min_count=2), known=Vocab("Q"))

    assert corpus.vocab == Vocab("Qa", has_bytes=True)
    assert corpus.vocab.decode([0]) == "Q"
    assert np.concatenate([corpus.train, corpus.val]).tolist() == [1, 1, 1, 1, 2 + ord("b"), 0]


def test_ids_are_not_shared_between_different_known_vocabularies(book: Path) -> None:
    knowns = [None, Vocab("Q"), Vocab("R"), Vocab("Q", has_bytes=True)]
    corpora = [open_corpus([str(book)], known=known) for known in knowns]

    assert len(builds()) == len(knowns)
    for known, corpus in zip(knowns, corpora, strict=True):
        again = open_corpus([str(book)], known=known)
        assert again.vocab == corpus.vocab
        assert again.train.tolist() == corpus.train.tolist()
    assert len(builds()) == len(knowns)


# Builds that did not end


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_build_leaves_nothing(
    book: Path, number: int, error: type[BaseException], before_pass: BeforePass
) -> None:
    def interrupt() -> None:
        raise error

    before_pass(number, interrupt)
    with pytest.raises(error):
        open_corpus([str(book)])
    assert builds() == []

    before_pass(3, interrupt)
    assert whole(open_corpus([str(book)])) == TEXT


def test_a_build_interrupted_inside_a_file_leaves_nothing(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def iter_text(*_: Any, **__: Any) -> Iterator[str]:
        yield TEXT[:5]
        if builds():  # the second pass: the ids are being written
            raise KeyboardInterrupt

    monkeypatch.setattr(encode, "iter_text", iter_text)
    with pytest.raises(KeyboardInterrupt):
        open_corpus([str(book)])
    assert builds() == []


def test_a_build_that_was_killed_is_not_believed(book: Path) -> None:
    open_corpus([str(book)])
    folder = only_build()
    folder.rename(folder.with_name(".building-killed"))

    assert whole(open_corpus([str(book)])) == TEXT
    assert folder in builds()


@pytest.mark.parametrize(("age_seconds", "is_kept"), [(60, True), (2 * 86_400, False)])
def test_a_build_that_was_killed_long_ago_is_removed(
    book: Path, age_seconds: float, is_kept: bool
) -> None:
    leftover = cache_folder() / ".building-killed"
    leftover.mkdir(parents=True)
    (leftover / "train.ids").write_bytes(b"half")
    then = time.time() - age_seconds
    os.utime(leftover, (then, then))
    open_corpus([str(book)])

    assert leftover.exists() == is_kept


@pytest.mark.parametrize("kept_bytes", [0, 1, -1])
def test_ids_cut_short_are_built_again(book: Path, kept_bytes: int) -> None:
    open_corpus([str(book)])
    ids = only_build() / "train.ids"
    ids.write_bytes(ids.read_bytes()[:kept_bytes])

    assert whole(open_corpus([str(book)])) == TEXT


@pytest.mark.parametrize("name", ["train.ids", "val.ids", "about.json"])
def test_a_missing_file_is_built_again(book: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "other.txt").write_text("other")
    config = TextConfig(val_file=str(tmp_path / "other.txt"))
    open_corpus([str(book)], config)
    (only_build() / name).unlink()

    assert whole(open_corpus([str(book)], config)) == TEXT + "other"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"3",
        b"\xff\xfe",
        b'{"files": [], "crc": 0}',
        b'{"files": 3}',
        b"\0" * 9,
    ],
)
def test_a_description_that_is_garbage_is_not_believed(book: Path, garbage: bytes) -> None:
    open_corpus([str(book)])
    (only_build() / "about.json").write_bytes(garbage)

    assert whole(open_corpus([str(book)])) == TEXT
    assert json.loads((only_build() / "about.json").read_text())["files"]


def test_a_text_that_changes_between_the_passes_is_refused(
    book: Path, before_pass: BeforePass
) -> None:
    before_pass(2, lambda: book.write_text(TEXT[::-1], encoding="utf-8") and None)
    with pytest.raises(CorpusError, match=r"book\.txt changed while it was read; run the command"):
        open_corpus([str(book)])

    assert builds() == []
    assert whole(open_corpus([str(book)])) == TEXT[::-1]


@pytest.mark.parametrize(
    "garbage",
    [
        b'{"sizes": {}}',
        b'{"sizes": {"train.ids": %d}}',
        b"[" * 100_000,
        b'{"sizes": {"train.ids": %d}, "vocab": {"alphabet": "ba", "bytes": false}}',
    ],
)
def test_a_description_without_vocabulary_is_not_believed(book: Path, garbage: bytes) -> None:
    open_corpus([str(book)])
    size = (only_build() / "train.ids").stat().st_size
    (only_build() / "about.json").write_bytes(garbage.replace(b"%d", str(size).encode()))

    assert whole(open_corpus([str(book)])) == TEXT


def test_packed_bytes_read_as_they_are_share_no_ids_with_the_text_in_them(tmp_path: Path) -> None:
    packed = gzip.compress(b"hidden", mtime=0)
    path = tmp_path / "a.gz"
    path.write_bytes(packed)
    raw = open_corpus([str(path)], TextConfig(unit="byte"))

    assert whole(raw).encode("utf-8", "surrogateescape") == packed
    assert whole(open_corpus([str(path)])) == "hidden"


def test_a_text_that_gains_a_character_between_the_passes_is_refused(
    book: Path, before_pass: BeforePass
) -> None:
    before_pass(2, lambda: book.write_text(TEXT + "ß", encoding="utf-8") and None)
    with pytest.raises(CorpusError, match="changed while it was read"):
        open_corpus([str(book)])


# Ids that are not what was built


@pytest.mark.parametrize("byte", [b"\3", b"\xff"])
@pytest.mark.parametrize("split", ["tail", "records"])
def test_ids_that_were_changed_in_place_are_built_again(
    tmp_path: Path, byte: bytes, split: str
) -> None:
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{number:x}\n" for number in range(9999)))
    config = TextConfig(split=split)
    before = open_corpus([str(path)], config)
    for ids in cache_folder().rglob("*.ids"):
        size = ids.stat().st_size
        ids.unlink()  # so that the mapped ones stay
        ids.write_bytes(byte * size)
    again = open_corpus([str(path)], config)

    assert np.array_equal(again.train, before.train)
    assert np.array_equal(again.val, before.val)


def test_a_vocabulary_that_was_changed_in_place_is_built_again(book: Path) -> None:
    open_corpus([str(book)])
    about = only_build() / "about.json"
    about.write_text(about.read_text(encoding="utf-8").replace('"chars": {', '"chars": {"x": 1, '))

    assert whole(open_corpus([str(book)])) == TEXT
    assert '"x"' not in about.read_text(encoding="utf-8")


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a text whose large built ids have a wrong id in block 100."""
    monkeypatch.setattr("charrnn.data.built.VERIFIED_BYTES", 100)
    monkeypatch.setattr("charrnn.data.encode.BLOCK_CHARS", 10)
    monkeypatch.setattr("charrnn.text.files.CHUNK_BYTES", 10)
    path = tmp_path / "book.txt"
    path.write_text("The quick brown fox.\n" * 100)
    open_corpus([str(path)])
    ids = only_build() / "train.ids"
    data = bytearray(ids.read_bytes())
    data[1000] ^= 1
    ids.write_bytes(data)
    return path


@pytest.mark.usefixtures("damaged")
def test_of_large_ids_a_sample_is_verified_and_all_on_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert built.open_built(only_build(), is_verified=True) is None
    monkeypatch.setattr("random.sample", lambda blocks, count: [1000 // 10] * count)
    assert built.open_built(only_build()) is None
    monkeypatch.setattr("random.sample", lambda blocks, count: [3] * count)
    assert built.open_built(only_build()) is not None


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
def test_others_may_read_built_ids_as_far_as_the_umask_lets_them(book: Path) -> None:
    before = os.umask(0o022)
    try:
        open_corpus([str(book)])
    finally:
        os.umask(before)

    for path in [only_build(), *only_build().iterdir()]:
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid(), reason="only root gives files away")
def test_the_ids_of_another_user_are_not_believed(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_corpus([str(book)])
    theirs = only_build()
    data = (theirs / "train.ids").read_bytes()
    monkeypatch.setattr("os.getuid", lambda: 12345)
    os.chown(theirs, 54321, 54321)
    corpus = open_corpus([str(book)])

    assert whole(corpus) == TEXT
    assert [path.name for path in builds()] == [theirs.name, f"{theirs.name}-12345"]
    assert (theirs / "train.ids").read_bytes() == data


def test_a_link_in_place_of_built_ids_is_not_followed(book: Path, tmp_path: Path) -> None:
    open_corpus([str(book)])
    moved = only_build().rename(tmp_path / "elsewhere")
    (cache_folder() / "link").symlink_to(moved)

    assert built.open_built(moved) is not None
    assert built.open_built(cache_folder() / "link") is None


# Bytes as tokens


@given(st.binary(min_size=2), st.integers(1, 9))
def test_bytes_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, chunk_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    path = folder / "a.bin"
    path.write_bytes(data)
    (folder / "b.bin").write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK_BYTES", chunk_bytes)
        paths = [str(path), str(folder / "b.bin")]
        config = TextConfig(unit="byte", split="tail")
        corpus = open_corpus(paths, config, folder / "cache")

    ids = np.concatenate([corpus.train, corpus.val])
    assert ids.tobytes() == data * 2
    assert corpus.vocab.size == 256
    assert corpus.vocab.decode(ids).encode("utf-8", "surrogateescape") == data * 2
    assert corpus.chars == 2 * len(data)


def test_options_that_change_a_text_do_not_go_with_bytes() -> None:
    for settings in ({"lowercase": True}, {"encoding": "latin-1"}, {"min_count": 2}):
        with pytest.raises(ConfigError, match=r"unit byte .*; leave \w+ out"):
            TextConfig(unit="byte", **settings)  # type: ignore[arg-type]


def test_large_ids_that_were_found_damaged_are_gone(
    damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.sample", lambda blocks, count: [3] * count)  # never the bad one
    with files.open_sources([str(damaged)]) as sources:
        found = fingerprint.Fingerprint(sources, cache_folder())
        monkeypatch.setattr(found, "sha256", found.compute())
        monkeypatch.setattr("charrnn.data.corpus.Fingerprint", lambda *_: found)
        again = open_sources_as_corpus(sources, TextConfig(), is_verified=True)

    assert whole(again) == "The quick brown fox.\n" * 100
    assert built.open_built(only_build(), is_verified=True) is not None


def test_an_empty_held_out_file_is_refused(book: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(CorpusError, match=r"empty\.txt is empty; hold out a file with text"):
        open_corpus([str(book)], TextConfig(val_file=str(tmp_path / "empty.txt")))
    with pytest.raises(ConfigError, match="split records would do nothing"):
        TextConfig(val_file="x", split="records")


def test_a_mark_in_capitals_is_refused_where_a_text_is_read_in_small_letters() -> None:
    with pytest.raises(ConfigError, match="'END', which becomes 'end' when a text is read"):
        TextConfig(document_end="END", lowercase=True)


@pytest.mark.parametrize("lines", [False, True])
def test_graphemes_in_memory_are_those_of_the_file(tmp_path: Path, lines: bool) -> None:
    pytest.importorskip("regex")
    text = "".join(f"{i} नमस्ते e\u0301 👍🏽\n" for i in range(20))
    path = tmp_path / "text.txt"
    path.write_text(text)
    config = TextConfig(unit="grapheme", lines=lines)

    read = open_corpus([str(path)], config)
    given = corpus_from_text(text, config)

    assert read.vocab == given.vocab
    assert "e\u0301" in read.vocab.clusters
    assert read.train.tolist() == given.train.tolist()
    assert (read.train_chars, read.val_chars) == (given.train_chars, given.val_chars)


@pytest.mark.parametrize(
    ("raw", "is_utf8"),
    [
        (b"plain\n" * 9, True),
        ("né€😀\n".encode() * 9, True),
        (b"\xe9t\xe9\n" * 9, False),
        ("né".encode() * 9 + b"\xc3", False),
        (b"\xed\xa0\x80" * 9, False),
    ],
)
@pytest.mark.parametrize("files", [False, True])
def test_bytes_that_are_text_are_known(
    tmp_path: Path, raw: bytes, is_utf8: bool, files: bool
) -> None:
    names = [tmp_path / f"{i}.bin" for i in range(20)]
    for i, path in enumerate(names):
        path.write_bytes(bytes([65 + i]) + raw)
    config = TextConfig(unit="byte", files=files)
    texts = [path.read_bytes().decode("ascii", "surrogateescape") for path in names]

    assert open_corpus(list(map(str, names)), config).is_utf8 == is_utf8
    assert open_corpus(list(map(str, names)), config).is_utf8 == is_utf8  # from the cache
    assert corpus_from_text(texts, config).is_utf8 == is_utf8


def test_a_text_that_is_read_as_characters_says_nothing_of_bytes() -> None:
    assert not corpus_from_text("plain\n" * 90).is_utf8
