"""Files that are no text are named by their kind, and each file is read by its own encoding."""

from __future__ import annotations

import bz2
import io
import lzma
import random
import zipfile
from pathlib import Path

import pytest

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.files import open_sources
from charrnn.text.kinds import inspect_sources, kind_of
from charrnn.text.reader import BadBytes, iter_text

PROSE = "The night was still, and the river shone.\n" * 50
ACCENTED = "un café très agréable, où l'été s'achève à l'ombre\n" * 20
RUSSIAN = "Все счастливые семьи похожи друг на друга.\n" * 20
CHINESE = "列位看官，你道此书从何而来？说起根由虽近荒唐\n" * 20


def zipped(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr(zipfile.ZipInfo(name), "content " * 20)  # without the time of day
    return stream.getvalue()


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (zipped("a.txt"), "a ZIP archive"),
        (zipped("word/document.xml"), "a Word document"),
        (zipped("xl/workbook.xml"), "an Excel workbook"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\x89PNG\r\n\x1a\n\0\0", "a PNG image"),
        (b"MThd\0\0\0\x06\0\x01", "a MIDI file"),
        (b"RIFF\x24\x08\0\0WAVEfmt ", "a WAV recording"),
        (b"SQLite format 3\0\x10\0", "an SQLite database"),
        (b"PAR1\x15\x04", "a Parquet table"),
        (b"\x1f\x8b\x08\0", "gzip data"),
        (bz2.compress(b"text"), "bzip2 data"),
        (lzma.compress(b"text"), "xz data"),
        (b"\x28\xb5\x2f\xfd\x04", "Zstandard data"),
        (b"\0" * 257 + b"ustar  ", "a tar archive"),
        (random.Random(0).randbytes(4000), "binary data"),
        (bytes(range(256)) * 4, "binary data"),
    ],
)
def test_a_file_that_is_no_text_is_known_by_its_first_bytes(head: bytes, name: str) -> None:
    kind = kind_of(head)

    assert kind is not None
    assert kind.name == name


@pytest.mark.parametrize(
    "text",
    [
        PROSE.encode(),
        CHINESE.encode("gb18030"),
        RUSSIAN.encode("koi8-r"),
        PROSE.encode("utf-16"),
        PROSE.encode("utf-16-le"),
        CHINESE.encode("utf-16-be"),
        PROSE.encode("utf-32-le"),
        b"\x1b[31mred\x1b[0m\n\f" * 100,
        b"one stray \0 in a text\n",
        b"THE NEW WAVE OF POETS\n",
        b"BZhang said so\nPAR1, MThd and ID3\n",
        b"PAR1 is a word\n",
        b"",
    ],
)
def test_text_in_any_encoding_is_text(text: bytes) -> None:
    assert kind_of(text) is None


def test_a_file_that_was_named_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "song.mid").write_bytes(b"MThd\0\0\0\x06\0\x01")
    with open_sources([str(tmp_path / "song.mid")]) as sources:
        with pytest.raises(CorpusError, match=r"song\.mid is a MIDI file, not .*unit=.byte."):
            inspect_sources(sources, TextConfig())

        assert inspect_sources(sources, TextConfig(unit="byte")) == sources


def test_of_a_folder_what_is_no_text_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(PROSE)
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    notes: list[str] = []
    with open_sources([str(tmp_path)]) as sources:
        texts = inspect_sources(sources, TextConfig(), notes.append)

        assert [Path(each.name).name for each in texts] == ["a.txt"]
        assert notes == [f"left out, as a PNG image: {tmp_path / 'logo.png'}"]
        with pytest.raises(CorpusError, match=r"logo\.png is a PNG image, not text; leave it out"):
            inspect_sources(sources, TextConfig(strict_files=True))


def test_a_folder_without_any_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    with (
        open_sources([str(tmp_path)]) as sources,
        pytest.raises(CorpusError, match="none of the files is text"),
    ):
        inspect_sources(sources, TextConfig())


def test_utf16_without_a_mark_is_named_before_it_is_read_as_nuls(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE.encode("utf-16-le"))
    with open_sources([str(tmp_path / "a.txt")]) as sources:
        with pytest.raises(CorpusError, match="looks like utf-16-le without a byte order mark"):
            inspect_sources(sources, TextConfig())
        (source,) = inspect_sources(sources, TextConfig(encoding="auto"))

        assert "".join(iter_text([source])) == PROSE


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PROSE, "utf-8"),
        (ACCENTED, "cp1252"),
        (ACCENTED, "utf-8"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (CHINESE, "gb18030"),
        (CHINESE, "utf-8-sig"),
        (PROSE, "utf-16"),
        (RUSSIAN, "utf-16-be"),
        (PROSE, "utf-32"),
    ],
)
def test_auto_reads_each_file_in_its_own_encoding(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "a.txt").write_text(CHINESE, encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(text.encode(encoding))
    notes: list[str] = []
    with open_sources([str(tmp_path)]) as sources:
        found = inspect_sources(sources, TextConfig(encoding="auto"), notes.append)

        assert "".join(iter_text(found)) == CHINESE + text
    assert bool(notes) == (encoding not in ("utf-8", "utf-8-sig"))


def test_bad_bytes_far_into_a_file_do_not_make_it_another_encoding(tmp_path: Path) -> None:
    half = ACCENTED.encode() * 200 + ACCENTED.encode("latin-1")
    (tmp_path / "half.txt").write_bytes(half)
    with open_sources([str(tmp_path / "half.txt")]) as sources:
        found = inspect_sources(sources, TextConfig(encoding="auto"))
        with pytest.raises(CorpusError, match=r"lines 4,001, 4,002, 4,003, …\).* errors=.replace."):
            list(iter_text(found))

        assert "".join(iter_text(found, errors="replace")).count("\ufffd") == 160


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize(("errors", "becomes"), [("replace", "\ufffd"), ("skip", "")])
def test_bad_bytes_are_replaced_or_skipped_and_counted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    errors: str,
    becomes: str,
    chunk_bytes: int,
) -> None:
    monkeypatch.setattr("charrnn.text.files.CHUNK_BYTES", chunk_bytes)
    (tmp_path / "a.txt").write_bytes(b"one\r\nt\xffwo \xe4\xb8\nthree\xff\xff\n\n\xff\n\xff")
    bad: dict[str, BadBytes] = {}
    with open_sources([str(tmp_path / "a.txt")]) as sources:
        text = "".join(iter_text(sources, errors=errors, bad=bad))

    assert text == "one\nt?wo ?\nthree??\n\n?\n?".replace("?", becomes)
    assert [str(each) for each in bad.values()] == ["6 places, lines 2, 3, 5, …"]


@pytest.mark.parametrize(("name", "pack"), [("bz2", bz2.compress), ("xz", lzma.compress)])
def test_packed_files_are_read(tmp_path: Path, name: str, pack: type) -> None:
    packed = pack(PROSE.encode())
    path = tmp_path / f"book.txt.{name}"
    path.write_bytes(packed)
    with open_sources([str(path)]) as sources:
        assert "".join(iter_text(inspect_sources(sources, TextConfig()))) == PROSE
    path.write_bytes(packed[: len(packed) // 2])
    with (
        open_sources([str(path)]) as sources,
        pytest.raises(CorpusError, match=f"book.txt.{name}"),
    ):
        inspect_sources(sources, TextConfig())


def test_capital_letters_become_small_wherever_a_piece_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("ΟΔΥΣΣΕΥΣ Ä Über", encoding="utf-8")
    with open_sources([str(tmp_path / "a.txt")]) as sources:
        whole = "".join(iter_text(sources, lowercase=True))
        monkeypatch.setattr("charrnn.text.files.CHUNK_BYTES", 1)

        assert "".join(iter_text(sources, lowercase=True)) == whole == "οδυσσευσ ä über"
