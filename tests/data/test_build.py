"""Holds the parts of a text to the whole: however it is cut, ids and errors are the same."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data import build, encode
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.data.encode import run_job, split_sources
from charrnn.data.fingerprint import Fingerprint
from charrnn.errors import CorpusError
from charrnn.text.clusters import MAX_CLUSTER
from charrnn.text.files import Source, hash_sources
from charrnn.text.reader import iter_text, text_options
from charrnn.text.vocab import CODE_POINTS, END, Ids, Vocab, code_points
from tests.text.reading import Write, chunks_of

ENCODINGS = ["utf-8", "utf-8-sig", "gb18030", "shift_jis", "euc_kr", "cp1251", "utf-16", "utf-7"]
TEXTS = st.lists(
    st.text(st.sampled_from("ab中文あ한Яß\U0001f600\ufeff\r\n\n"), max_size=40),
    min_size=1,
    max_size=4,
)
SIZES = st.integers(1, 30)


@contextmanager
def small_parts(part_bytes: int, chunk_bytes: int = 3) -> Iterator[None]:
    """Have any text cut into parts of about that size, which this process reads one by one."""
    with chunks_of(chunk_bytes), pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "PARALLEL_FROM_BYTES", 0)
        patch.setattr(build, "PART_BYTES", part_bytes)
        patch.setattr(build, "allowed_workers", lambda: 2)
        patch.setattr(build, "open_workers", one_process)
        patch.setattr(encode, "MIN_LAST_BYTES", 30)
        patch.setattr(encode, "BLOCK_CHARS", 4)
        yield


@contextmanager
def one_process(_: int) -> Iterator[object]:
    yield lambda jobs: map(run_job, jobs)


def build_ids(folder: Path, texts: dict[str, list[Source]], config: TextConfig) -> dict[str, bytes]:
    """Build ids and return every file that there is in the end."""
    fingerprint = Fingerprint([source for text in texts.values() for source in text], folder)
    build.build_ids(texts, config, None, fingerprint, lambda _: folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@given(
    texts=TEXTS,
    held_out=TEXTS,
    encoding=st.sampled_from(ENCODINGS),
    is_running=st.booleans(),
    min_count=st.integers(1, 3),
    size=SIZES,
    chunk=st.integers(1, 7),
)
@example(["a\r\n" * 30], ["中\r" * 30], "utf-8", False, 2, 1, 1)
@example(["ab\n" * 30 + "\n"], ["a"], "utf-8", False, 1, 1, 1)
@example(["ab\n\ufeff" * 30], ["a"], "utf-8", True, 1, 1, 1)
@example(["\ufeff", "ab", "", "ab\n"], ["", "ab"], "utf-8-sig", False, 1, 1, 2)
@example(["b" * 90 + "\n中文"], ["a" * 80], "gb18030", False, 3, 10, 5)
def test_any_text_cut_anywhere_has_the_ids_of_the_whole(
    write: Write,
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    held_out: list[str],
    encoding: str,
    is_running: bool,
    min_count: int,
    size: int,
    chunk: int,
) -> None:
    config = TextConfig(encoding=encoding, lines=not is_running, min_count=min_count)
    sources = write(*[text.encode(encoding, "ignore") for text in texts + held_out])
    train = sources[: len(texts)]
    val = sources[len(texts) :]
    options = text_options(config)

    def read(some: list[Source], ends: list[int] | None = None) -> str:
        if is_running:
            return "".join(iter_text(some, ends=ends, **options))
        each = ["".join(iter_text([source], **options)).split("\n") for source in some]
        ended = ["".join(line + END for line in lines if line.strip()) for lines in each]
        if ends is not None:
            sums = np.cumsum(list(map(len, ended)))
            ends += np.where(sums, 1 + sums, 0).tolist()  # after the first END, if there is one
        return END * any(ended) + "".join(ended)

    everything = read(sources)
    folder = tmp_path_factory.mktemp("ids")
    with small_parts(size, chunk):
        if not everything or (not is_running and not read(train)):
            with pytest.raises(CorpusError, match="is empty"):
                build_ids(folder / "own", {"train": train, "val": val}, config)
            return
        built = build_ids(folder / "own", {"train": train, "val": val}, config)
    whole = build_ids(folder / "whole", {"train": train, "val": val}, config)
    counts = np.bincount(code_points(everything), minlength=CODE_POINTS)
    vocab = Vocab.from_counts(counts, min_count, has_end=not is_running)

    for name, text in (("train", train), ("val", val)):
        ends: list[int] = []
        ids = vocab.encode(read(text, ends))
        token_ends = vocab.tokens_of(ids, ends).tolist()
        assert built[f"{name}.ids"] == whole[f"{name}.ids"] == ids.tobytes()
        assert np.frombuffer(built[f"{name}.files"], "<i8").tolist() == token_ends
        assert whole[f"{name}.files"] == built[f"{name}.files"]
        if not is_running:
            stops = 1 + np.flatnonzero(ids == vocab.end)[1:]
            assert np.frombuffer(built[f"{name}.ends"], "<i8").tolist() == stops.tolist()
            assert whole[f"{name}.hashes"] == built[f"{name}.hashes"]
    assert Vocab.from_json(json.loads(built["about.json"])["vocab"]) == vocab


@given(
    text=st.text(st.sampled_from("ab中\n"), min_size=1),
    size=SIZES,
    val_fraction=st.floats(0.001, 0.5),
)
def test_characters_are_counted_from_marks_as_from_all_ids(
    write: Write,
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    size: int,
    val_fraction: float,
) -> None:
    (source,) = write(text.encode())
    config = TextConfig(min_count=3, val_fraction=val_fraction)
    with small_parts(size):
        corpus = open_corpus([str(source.path)], config, tmp_path_factory.mktemp("cache"))

    assert corpus.train_chars == corpus.vocab.count_characters(corpus.train)
    assert corpus.val_chars == corpus.vocab.count_characters(corpus.val)
    assert corpus.chars == len(text)


PARTS_OF_GRAPHEMES = [
    "a",
    "e",
    "\u0301",
    "क",
    "्",
    "ष",
    "\U0001f1e9",
    "\U0001f1ea",
    "\u200d",
    "😀",
    "\n",
]
GRAPHEME_TEXTS = st.lists(
    st.text(st.sampled_from(PARTS_OF_GRAPHEMES), max_size=30), min_size=1, max_size=3
)


@given(
    texts=GRAPHEME_TEXTS,
    held_out=GRAPHEME_TEXTS,
    is_running=st.booleans(),
    min_count=st.integers(1, 2),
    chunk=st.integers(1, 7),
)
def test_graphemes_cut_anywhere_have_the_ids_of_the_whole(
    write: Write,
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    held_out: list[str],
    is_running: bool,
    min_count: int,
    chunk: int,
) -> None:
    pytest.importorskip("regex")
    config = TextConfig(unit="grapheme", lines=not is_running, min_count=min_count)
    sources = write(*[b"a\n" + text.encode() for text in texts + held_out])
    train = sources[: len(texts)]
    val = sources[len(texts) :]
    with small_parts(9, chunk):
        built = build_ids(
            tmp_path_factory.mktemp("ids") / "own", {"train": train, "val": val}, config
        )

    vocab = Vocab.from_json(json.loads(built["about.json"])["vocab"])
    counts = regex_counts([*texts, *held_out])
    assert set(vocab.clusters) == {each for each, n in counts.items() if n >= min_count}
    for name, some in (("train", texts), ("val", held_out)):
        lines = [line for text in some for line in f"a\n{text}".split("\n") if line.strip()]
        joined = "".join("a\n" + text + "\n" * (text[-1:] not in ("", "\n")) for text in some[:-1])
        whole = joined + "a\n" + some[-1]
        if not is_running:
            whole = END + "".join(line + END for line in lines)
        ids = np.frombuffer(built[f"{name}.ids"], vocab.dtype)
        assert ids.tolist() == vocab.encode(whole).tolist()
        marks = np.frombuffer(built.get(f"{name}.marks", b""), "<i8").reshape(-1, 2)
        for tokens, chars in marks.tolist():
            assert vocab.count_characters(ids[:tokens]) == chars


def regex_counts(texts: list[str]) -> Counter[str]:
    """Count clusters line by line, with no care for the memory."""
    lines = [line for text in texts for line in text.split("\n")]
    found = [each for line in lines for each in import_module("regex").findall(r"\X", line)]
    return Counter(each for each in found if 1 < len(each) <= MAX_CLUSTER)


def test_opening_ids_with_bytes_skips_most_of_them(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = write(("ab" * 3000 + "中").encode())
    counted: list[int] = []
    count = Vocab.count_characters

    def note(vocab: Vocab, ids: Ids) -> int:
        counted.append(len(ids))
        return count(vocab, ids)

    monkeypatch.setattr(Vocab, "count_characters", note)
    monkeypatch.setattr(encode, "BLOCK_CHARS", 100)
    monkeypatch.setattr("charrnn.text.files.CHUNK_BYTES", 100)
    corpus = open_corpus([str(source.path)], TextConfig(min_count=2), tmp_path)

    assert corpus.vocab.has_bytes
    assert sum(counted) <= 100


@given(
    text=st.binary(max_size=60) | st.text(st.sampled_from("ab中\r\n")).map(str.encode),
    broken=st.binary(max_size=4),
    size=SIZES,
    encoding=st.sampled_from(["utf-8", "gb18030", "shift_jis", "cp1252", "ascii"]),
)
@example(b"ab\n" * 40 + "中".encode()[:2] + b"\n" + b"ab\n" * 40, b"", 5, "utf-8")
@example(b"ab\n" * 40, b"\xff", 7, "utf-8")
@example(b"ab\n" * 40 + b"\x81\n", b"", 7, "gb18030")
def test_bytes_that_are_no_text_end_in_the_error_of_the_whole(
    write: Write,
    tmp_path_factory: pytest.TempPathFactory,
    text: bytes,
    broken: bytes,
    size: int,
    encoding: str,
) -> None:
    sources = write(b"ab\n", text + broken + text)
    config = TextConfig(encoding=encoding)
    folder = tmp_path_factory.mktemp("ids")

    def outcome(name: str) -> str:
        try:
            return build_ids(folder / name, {"train": sources}, config)["train.ids"].hex()
        except CorpusError as error:
            return str(error)

    whole = outcome("whole")
    with small_parts(size, chunk_bytes=1 << 20):
        # What follows is a guess from the lines around, and those read with them may be fewer.
        assert outcome("own").partition("; ")[0] == whole.partition("; ")[0]
    assert sorted(path.name for path in folder.iterdir()) in ([], ["own", "whole"])


def test_a_large_file_is_cut_after_newlines_only(write: Write) -> None:
    content = b"first line\r\nsecond\n" * 20_000 + b"end"
    (source,) = write(content)
    cut = split_sources([source], 70_000, TextConfig())

    assert len(cut) == 5
    assert [part.start for (part,) in cut] == [0, *(part.stop for (part,) in cut[:-1])]
    assert all(content[part.start - 1 : part.start] == b"\n" for (part,) in cut[1:])
    assert all(part.stop - part.start >= 70_000 for (part,) in cut[:-1] if part.stop is not None)
    assert len(content) - cut[-1][0].start >= encode.MIN_LAST_BYTES


@pytest.mark.parametrize(
    "config",
    [TextConfig(encoding="utf-16"), TextConfig(encoding="utf-7"), TextConfig(normalize="nfc")],
)
def test_a_file_that_newlines_cannot_cut_is_left_whole(write: Write, config: TextConfig) -> None:
    sources = write(b"ab\n" * 100_000, b"ab\n" * 100_000)

    assert split_sources(sources, 1000, config) == [sources[:1], sources[1:]]


def test_a_packed_file_is_left_whole(write: Write, tmp_path: Path) -> None:
    content = b"".join(b"%d\n" % number for number in range(100_000))
    (source,) = write(gzip.compress(content), suffix=".gz")
    with small_parts(9, 1 << 16):
        corpus: Corpus = open_corpus([str(source.path)], cache=tmp_path)

    assert corpus.chars == len(content)
    assert corpus.sha256 == hash_sources([source])


def test_small_files_are_read_together(write: Write) -> None:
    sources = write(*[b"x" * 10] * 7)

    assert [len(part) for part in split_sources(sources, 25, TextConfig())] == [3, 3, 1]
