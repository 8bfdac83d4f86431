"""charrnn compress and decompress: what they read, write, say and refuse."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from tests.cli.program import end_of, give_input, run_without

Make = Callable[..., ModelFile]
Bytes = pytest.CaptureFixture[bytes]
TEXT = "a bé\n".encode() * 80


@pytest.fixture(autouse=True)
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Make) -> None:
    """Stand in a folder with book.txt and one run, named tiny, that knows its alphabet."""
    monkeypatch.chdir(tmp_path)
    RunFolder(Path("checkpoints/tiny")).save_best(make_model())
    Path("book.txt").write_bytes(TEXT)


def complaint(capsysbinary: Bytes, *arguments: str) -> tuple[int | str | None, str]:
    """Return the exit code and the one line of a command that fails."""
    capsysbinary.readouterr()
    code = end_of(*arguments)
    out, err = capsysbinary.readouterr()
    assert out == b""
    assert err.count(b"\n") == 1
    return code, err.decode()


def test_a_file_becomes_crnn_and_the_file_again() -> None:
    assert end_of("compress", "tiny", "book.txt") == 0
    Path("book.txt").unlink()
    assert end_of("decompress", "tiny", "book.txt.crnn") == 0

    assert Path("book.txt").read_bytes() == TEXT


def test_stdin_goes_to_stdout_and_back(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: Bytes
) -> None:
    original = bytes(range(256)) + TEXT
    give_input(monkeypatch, original)
    assert end_of("compress", "tiny", "-") == 0
    packed = capsysbinary.readouterr().out
    give_input(monkeypatch, packed)

    assert end_of("decompress", "tiny", "-", "-o", "-") == 0

    assert packed.startswith(b"crnn")
    assert capsysbinary.readouterr().out == original


def test_the_figures_are_on_stderr_alone(capsysbinary: Bytes) -> None:
    assert end_of("compress", "tiny", "book.txt") == 0

    out, err = capsysbinary.readouterr()
    assert out == b""
    size = Path("book.txt.crnn").stat().st_size
    first, second, third = err.decode().splitlines()
    assert first == f"480 → {size} bytes ({size / 480:.1%}): book.txt.crnn"
    assert second.startswith(f"{8 * size / 400:.3f} bits per character, {size / 60:.3f} per byte; ")
    assert second.endswith(" characters/s")
    assert third.startswith("the model's own code length: ")


def test_escapes_and_stored_bytes_are_reported(capsysbinary: Bytes) -> None:
    Path("moon.txt").write_bytes(TEXT + "月".encode())
    Path("noise").write_bytes(np.random.default_rng(1).bytes(500))
    end_of("compress", "tiny", "moon.txt")
    end_of("compress", "tiny", "noise")

    err = capsysbinary.readouterr().err.decode()
    assert "; 3 bytes unknown to it, stored unchanged\n" in err
    assert "500 → 558 bytes (111.6%): noise.crnn\n" in err
    assert err.endswith("\nstored uncompressed: the model does not make it smaller\n")


def test_json_gives_every_figure_and_nothing_else(capsysbinary: Bytes) -> None:
    assert end_of("compress", "tiny", "book.txt", "--json") == 0
    packed, err = capsysbinary.readouterr()
    assert end_of("decompress", "tiny", "book.txt.crnn", "-o", "copy.txt", "--json") == 0

    unpacked = json.loads(capsysbinary.readouterr().out)
    figures = json.loads(packed)
    size = Path("book.txt.crnn").stat().st_size
    assert err == b""
    assert (figures["original_bytes"], figures["chars"]) == (480, 400)
    assert figures["compressed_bytes"] == unpacked["compressed_bytes"] == size
    assert figures["bits_per_char"] == pytest.approx(8 * size / 400)
    assert 58 < size - figures["model_bytes"] < 64
    assert (figures["escaped_bytes"], figures["is_stored"]) == (0, False)
    assert unpacked["original_bytes"] == 480


def test_the_help_names_every_key_of_the_json(capsysbinary: Bytes) -> None:
    end_of("compress", "tiny", "book.txt", "--json")
    keys = json.loads(capsysbinary.readouterr().out)
    end_of("compress", "--help")
    page = capsysbinary.readouterr().out.decode()

    assert [key for key in keys if key not in page] == []


def test_the_empty_file_comes_back(capsysbinary: Bytes) -> None:
    Path("nothing").touch()

    assert end_of("compress", "tiny", "nothing") == 0
    assert end_of("decompress", "tiny", "nothing.crnn", "-o", "again") == 0

    assert Path("again").read_bytes() == b""
    assert capsysbinary.readouterr().err.startswith("0 → 58 bytes: nothing.crnn\n".encode())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("compress", "tiny", "none.txt"), 3, "cannot read none.txt: No such file"),
        (("compress", "tiny", "checkpoints"), 3, "cannot read checkpoints: Is a directory"),
        (("compress", "tiny", "book.txt", "-o", "checkpoints"), 2, "is a folder or a device"),
        (("compress", "tiny", "book.txt", "-o", os.devnull), 2, "is a folder or a device"),
        (("compress", "tiny", "book.txt", "-o", "./book.txt"), 2, "is the file that is read"),
        (("compress", "tiny", "book.txt", "-o", "-", "--json"), 2, "name a file with -o"),
        (("compress", "tin", "book.txt"), 4, "tiny"),
        (
            ("decompress", "tiny", "book.txt"),
            2,
            "does not end in .crnn; name the file to",
        ),
        (("decompress", "tiny", "book.txt", "-o", "x"), 4, "was not compressed by charrnn"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: tuple[str, ...], code: int, words: str, capsysbinary: Bytes
) -> None:
    ending, line = complaint(capsysbinary, *arguments)

    assert (ending, Path("x").exists()) == (code, False)
    assert words in line
    assert Path("book.txt").read_bytes() == TEXT


def test_a_file_that_was_not_named_is_not_replaced(capsysbinary: Bytes) -> None:
    end_of("compress", "tiny", "book.txt")

    code, line = complaint(capsysbinary, "decompress", "tiny", "book.txt.crnn")

    assert code == 2
    assert "book.txt already exists; replace it with -o book.txt" in line


def test_a_damaged_file_leaves_what_was_there(capsysbinary: Bytes) -> None:
    end_of("compress", "tiny", "book.txt")
    packed = Path("book.txt.crnn").read_bytes()
    Path("book.txt.crnn").write_bytes(packed[:-1])

    code, line = complaint(capsysbinary, "decompress", "tiny", "book.txt.crnn", "-o", "book.txt")

    assert code == 4
    assert "book.txt.crnn is damaged" in line
    assert Path("book.txt").read_bytes() == TEXT


def test_another_model_is_named(capsysbinary: Bytes, make_model: Make) -> None:
    end_of("compress", "tiny", "book.txt")
    RunFolder(Path("checkpoints/other")).save_best(make_model(cell="gru"))

    code, line = complaint(capsysbinary, "decompress", "other", "book.txt.crnn", "-o", "x")

    assert code == 4
    assert "book.txt.crnn was compressed with another model" in line
    assert str(Path("checkpoints/other/best.safetensors")) in line


def test_torch_is_never_imported_and_threads_do_not_matter() -> None:
    for threads, arguments in (
        ("1", ["compress", "tiny", "book.txt"]),
        ("2", ["decompress", "tiny", "book.txt.crnn", "-o", "copy.txt"]),
    ):
        run_without("torch", *arguments, OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads)

    assert Path("copy.txt").read_bytes() == TEXT
