"""Models of characters, of graphemes and of bytes, from training to the last command."""

from __future__ import annotations

import json
import math
import random
import struct
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.model_file import read_model
from charrnn.cli.main import main

Bytes = pytest.CaptureFixture[bytes]

SMALL = ["--steps", "12", "--hidden-size", "16", "--batch-size", "4", "--seq-len", "16", "--quiet"]
FAMILY = "👩\u200d👩\u200d👧"
EMOJI = (FAMILY, "👍🏽", "🏳️\u200d🌈", "🇩🇪", "😀", "❤️")
HINDI = ("नमस्ते", "क्षत्रिय", "हिन्दी", "में", "लिखते", "हैं")
THAI = ("น้ำ", "ที่นี่", "เขียน", "ภาษา", "ไทย")


def write_chat(lines: int = 300) -> str:
    """Return a chat of two people in three scripts and emoji, the same every time."""
    draw = random.Random(3)
    words = (*EMOJI, *HINDI, *THAI, "ok", "see you")
    return "".join(
        f"{draw.choice(['ann', 'bob'])}: {' '.join(draw.choices(words, k=3))}\n"
        for _ in range(lines)
    )


def write_wav(path: Path) -> None:
    """Write a tone of 16 bits with some noise, so that all bytes occur."""
    draw = random.Random(4)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        tone = (int(20_000 * math.sin(t / 9)) + draw.randrange(-255, 256) for t in range(4000))
        file.writeframes(b"".join(struct.pack("<h", each) for each in tone))


def write_midi(path: Path, seed: int) -> None:
    """Write a tune of one track: notes that go on and off."""
    draw = random.Random(seed)
    events = b""
    for _ in range(120):
        note = draw.choice([60, 62, 64, 65, 67, 69, 71])
        events += bytes([0, 0x90, note, 96, 48, 0x80, note, 64])
    track = events + bytes([0, 0xFF, 0x2F, 0])
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 96)
    path.write_bytes(header + b"MTrk" + struct.pack(">I", len(track)) + track)


@pytest.fixture(autouse=True)
def _stand_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARRNN_THREADS", "1")
    Path("chat.txt").write_text(write_chat())


def run(capsysbinary: Bytes, *arguments: str) -> bytes:
    """Run the program in this process; return what it writes to stdout."""
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    out, err = capsysbinary.readouterr()
    assert ending.value.code == 0, err.decode()
    return out


# Graphemes


@pytest.fixture
def chat(capsysbinary: Bytes) -> Iterator[Callable[..., bytes]]:
    """Train a model of graphemes called chat; return what runs a command without `regex`."""
    pytest.importorskip("regex")
    run(capsysbinary, "train", "chat.txt", "--unit", "grapheme", "--no-lines", *SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "regex", None)
        yield lambda *arguments: run(capsysbinary, *arguments)


def test_a_model_of_graphemes_knows_each_that_occurs(chat: Callable[..., bytes]) -> None:
    vocab = read_model(Path("checkpoints/chat/best.safetensors")).vocab

    assert {FAMILY, "👍🏽", "🇩🇪", "क्ष", "स्ते", "ที่"} <= set(vocab.clusters)
    assert "👩" in vocab.alphabet
    assert not vocab.has_bytes


def test_every_command_works_with_graphemes_and_without_the_package(
    chat: Callable[..., bytes],
) -> None:
    text = chat("sample", "chat", "--prompt", "ann: 👩", "--length", "40", "--seed", "1").decode()
    scores = json.loads(chat("eval", "chat", "--json"))
    given = json.loads(chat("eval", "chat", "--file", "chat.txt", "--split", "val", "--json"))
    scored = json.loads(chat("score", "chat", "chat.txt", "--json").splitlines()[-1])
    chat("compress", "chat", "chat.txt", "-o", "chat.crnn")
    chat("decompress", "chat", "chat.crnn", "-o", "back.txt")
    filled = chat("fill", "chat", "ann: _ ok", "--line", "--count", "1").decode()
    copies = chat("sample", "chat", "--mark-copies", "--min-copy", "2", "--length", "60")

    assert text.startswith("ann: 👩")
    assert scores["models"] == given["models"]
    assert scored["chars"] == len(Path("chat.txt").read_text()) - 1
    assert Path("back.txt").read_bytes() == Path("chat.txt").read_bytes()
    assert "ann: " in filled
    assert copies


def test_a_run_of_graphemes_resumes_without_the_package(chat: Callable[..., bytes]) -> None:
    before = read_model(Path("checkpoints/chat/best.safetensors")).vocab
    chat("train", "--resume", "chat", "--steps", "15", "--quiet")

    assert read_model(Path("checkpoints/chat/best.safetensors")).vocab == before


def test_a_new_run_from_a_model_of_graphemes_keeps_them(chat: Callable[..., bytes]) -> None:
    Path("more.txt").write_text(write_chat(200) + "ünknown\n")
    before = read_model(Path("checkpoints/chat/best.safetensors")).vocab
    chat("train", "more.txt", "--init-from", "chat", "--no-lines", "--steps", "5", "--quiet")
    after = read_model(Path("checkpoints/more/best.safetensors")).vocab

    assert after.clusters == before.clusters
    assert set(after.alphabet) == {*before.alphabet, "ü", *"wkn"}


def test_without_the_package_training_names_it(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: Bytes
) -> None:
    monkeypatch.setitem(sys.modules, "regex", None)
    with pytest.raises(SystemExit) as ending:
        main(["train", "chat.txt", "--unit", "grapheme", "--no-lines", *SMALL])

    assert ending.value.code == 2
    assert b"pip install regex" in capsysbinary.readouterr().err


def test_rare_graphemes_are_written_as_characters(capsysbinary: Bytes) -> None:
    pytest.importorskip("regex")
    Path("chat.txt").write_text(write_chat() + "e\u0301 e\u0301\n")
    options = ["--unit", "grapheme", "--min-count", "3", "--no-lines"]
    run(capsysbinary, "train", "chat.txt", *options, *SMALL)
    vocab = read_model(Path("checkpoints/chat/best.safetensors")).vocab

    assert "e\u0301" not in vocab.clusters
    assert FAMILY in vocab.clusters
    assert vocab.has_bytes


def test_marks_are_no_trouble_where_graphemes_are_tokens(capsysbinary: Bytes) -> None:
    pytest.importorskip("regex")
    Path("chat.txt").write_text(write_chat() + "e\u0301 " * 9)
    options = ["--no-lines", *[each for each in SMALL if each != "--quiet"], "--json"]
    notes = {}
    for unit in ("char", "grapheme"):
        out = run(capsysbinary, "train", "chat.txt", "--name", unit, "--unit", unit, *options)
        (opened,) = (json.loads(each) for each in out.splitlines() if b'"opened"' in each)
        notes[unit] = " ".join(opened["notes"])

    assert "--normalize nfc" in notes["char"]
    assert "nfc" not in notes["grapheme"]


def test_lines_of_graphemes_are_records(capsysbinary: Bytes) -> None:
    pytest.importorskip("regex")
    run(capsysbinary, "train", "chat.txt", "--unit", "grapheme", "--lines", *SMALL)
    out = run(capsysbinary, "sample", "chat", "-n", "4", "--seed", "1")
    vocab = read_model(Path("checkpoints/chat/best.safetensors")).vocab

    assert vocab.has_end
    assert FAMILY in vocab.clusters
    assert len(out.decode().splitlines()) >= 4


# Bytes


def figures_of(name: str) -> dict[str, Any]:
    return dict(read_model(Path("checkpoints", name, "best.safetensors")).summary)


def test_a_model_of_the_bytes_of_a_text_writes_valid_utf_8(capsysbinary: Bytes) -> None:
    run(capsysbinary, "train", "chat.txt", "--unit", "byte", *SMALL)
    sample = ["sample", "chat", "--length", "600", "--temp", "3", "--seed", "1"]
    raw = run(capsysbinary, *sample)
    (record,) = map(json.loads, run(capsysbinary, *sample, "--json").splitlines())

    assert figures_of("chat")["corpus"]["is_utf8"] is True
    assert len(raw) == 600
    assert not raw.isascii()
    assert record["text"] == raw.decode()


def test_a_sound_is_learned_and_written_as_bytes(capsysbinary: Bytes) -> None:
    write_wav(Path("tone.wav"))
    run(capsysbinary, "train", "tone.wav", "--unit", "byte", *SMALL)
    sample = ["sample", "tone", "--length", "6000", "--temp", "5", "--seed", "1"]
    raw = run(capsysbinary, *sample)
    run(capsysbinary, *sample, "-o", "new.wav")

    assert Path("new.wav").read_bytes() == raw
    assert figures_of("tone")["corpus"]["is_utf8"] is False
    assert len(raw) == 6000
    assert set(raw) == set(range(256))


def test_tunes_are_records_of_bytes_that_the_model_ends(capsysbinary: Bytes) -> None:
    Path("tunes").mkdir()
    for seed in range(12):
        write_midi(Path("tunes", f"{seed}.mid"), seed)
    run(capsysbinary, "train", "tunes", "--files", "--unit", "byte", *SMALL)
    raw = run(capsysbinary, "sample", "tunes", "--length", "300", "--seed", "1")

    assert read_model(Path("checkpoints/tunes/best.safetensors")).vocab.has_end
    assert figures_of("tunes")["corpus"]["is_utf8"] is False
    assert 0 < len(raw) <= 301
    assert "\U0010ffff".encode() not in raw


def test_lines_of_bytes_are_written_as_lines(capsysbinary: Bytes) -> None:
    chance = random.Random(4)
    names = ("".join(chance.choices(["an", "el", "ot"], k=3)) for _ in range(90))
    Path("names.txt").write_text("\n".join(names) + "\n")
    run(capsysbinary, "train", "names.txt", "--lines", "--unit", "byte", *SMALL)
    raw = run(capsysbinary, "sample", "names", "-n", "3", "--seed", "1")

    assert raw.count(b"\n") == 3


def test_losses_of_each_unit_compare_by_the_byte(capsysbinary: Bytes) -> None:
    pytest.importorskip("regex")
    per_byte = {}
    for unit in ("char", "grapheme", "byte"):
        options = ["--unit", unit, "--no-lines"] if unit != "byte" else ["--unit", unit]
        run(capsysbinary, "train", "chat.txt", "--name", unit, *options, *SMALL)
        figures = figures_of(unit)
        per_byte[unit] = figures["val_bits_per_byte"]
        (scores,) = json.loads(run(capsysbinary, "eval", unit, "--json"))["models"]
        assert per_byte[unit] == pytest.approx(scores["carried"]["bits_per_byte"], rel=1e-2)

    assert all(1 < each < 8 for each in per_byte.values())
