"""Files and habits that people really have, each by the commands that they would type."""

from __future__ import annotations

import bz2
import io
import json
import random
import re
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.program import end_of

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "he",
    "was",
    "that",
    "it",
    "not",
    "as",
    "had",
    "for",
    "she",
]
SYLLABLES = ["ka", "ri", "no", "mel", "tas", "bru", "lin", "do", "ver", "sha", "jo", "wyn", "mar"]
SMALL = ("--hidden-size", "16", "--steps", "20", "--on-unfinished", "new", "-q")

Capture = pytest.CaptureFixture[str]
Say = Callable[..., tuple[int, str, str]]


def prose(chars: int) -> str:
    random_numbers = random.Random(7)
    text = ""
    while len(text) < chars:
        words = " ".join(random_numbers.choice(WORDS) for _ in range(random_numbers.randint(4, 14)))
        text += words.capitalize() + random_numbers.choice([". ", "! ", "?\n\n"])
    return text[:chars]


def names(count: int) -> list[str]:
    random_numbers = random.Random(7)
    return [
        "".join(random_numbers.choices(SYLLABLES, k=random_numbers.randint(2, 4))).capitalize()
        for _ in range(count)
    ]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> Say:
    """Return a function that runs a command and returns its code, its stdout and its stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = end_of(*arguments)
        out, err = capfd.readouterr()
        return int(code or 0), out, err

    return run


@pytest.fixture
def model(say: Say) -> str:
    """Train a model on prose; return its name."""
    Path("prose.txt").write_text(prose(6000))
    assert say("train", "prose.txt", *SMALL)[0] == 0
    return "prose"


def notes_of(say: Say, *arguments: str) -> list[str]:
    """Train, and return what is said of how the text was read."""
    code, out, err = say("train", *arguments, *SMALL[:-1], "--json")
    assert code == 0, err
    opened = next(json.loads(line) for line in out.splitlines() if '"opened"' in line)
    return [*opened["notes"], opened["held_out"]]


def test_a_run_never_passes_a_length_that_is_behind(say: Say, model: str) -> None:
    code, _, err = say("train", "--resume", model, "--steps", "5")

    assert code == 2
    assert "20 steps" in err


@pytest.mark.parametrize("order", [sorted, list])
def test_a_list_is_judged_by_lines_from_all_over_it(
    say: Say, order: Callable[..., list[str]]
) -> None:
    Path("names.txt").write_text("\n".join(order(names(600))) + "\n")

    assert re.search(r"\d+ of 600 lines, drawn by hash", notes_of(say, "names.txt")[-1])


def test_each_of_two_files_is_trained_on(say: Say) -> None:
    Path("two").mkdir()
    Path("two/a.txt").write_text(prose(9000))
    Path("two/b.txt").write_text(prose(3000))

    assert notes_of(say, "two")[-1] == "the last 10% of each of 2 files"


def test_a_run_that_blew_up_is_not_said_to_underfit(say: Say) -> None:
    Path("prose.txt").write_text(prose(6000))
    steps = ("--cell", "rnn", "--learning-rate", "10", "--clip-grad-norm", "0", "--steps", "60")
    code, _, err = say("train", "prose.txt", "--hidden-size", "32", *steps)

    assert code == 0
    assert re.search("worse than guessing.*learning rate is too high, and clipping is off", err)
    assert "underfits" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--stop", "\\n"),
        ("--prompt", "A\\nB"),
        ("--stop", "ü"),
        ("--ban", "ü"),
        ("--stop-regex", "ü"),
    ],
)
def test_what_can_never_match_is_named(say: Say, model: str, arguments: tuple[str, str]) -> None:
    code, out, err = say("sample", model, *arguments)

    assert (code, out) == (2, "")
    assert "ü" in err or "for newlines write $'\\n'" in err


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        (prose(3000), "utf-16-le", "looks like utf-16-le without a byte order mark"),
        ("un café très agréable\n" * 200, "cp1252", "--encoding cp1252, or --encoding auto"),
    ],
)
def test_another_encoding_is_named_before_training(
    say: Say, text: str, encoding: str, named: str
) -> None:
    Path("text.txt").write_bytes(text.encode(encoding))
    code, _, err = say("train", "text.txt", *SMALL)

    assert code == 3
    assert named in err
    assert notes_of(say, "text.txt", "--encoding", "auto")[0] == f"read as {encoding}: text.txt"


def test_mojibake_and_nfd_are_named_before_training(say: Say) -> None:
    broken = "un café très agréable\n".encode().decode("cp1252")
    Path("text.txt").write_text(broken * 99 + unicodedata.normalize("NFD", "người Việt\n") * 99)
    (note, _) = notes_of(say, "text.txt")

    assert "297 pairs like Ã©, UTF-8 read as another encoding" in note
    assert "--normalize nfc" in note


@pytest.mark.parametrize("errors", ["replace", "skip"])
def test_bad_bytes_are_counted_with_their_lines(say: Say, errors: str) -> None:
    good = "one nöt two\n".encode() * 300
    Path("half.txt").write_bytes(good + "one nöt two\n".encode("latin-1") * 5)
    code, _, err = say("train", "half.txt", *SMALL)

    assert code == 3
    assert "(5 places, lines 301, 302, 303, …)" in err
    (note, *_) = notes_of(say, "half.txt", "--errors", errors)
    assert note.endswith(
        f"{'replaced' if errors == 'replace' else 'skipped'}: 5 places, lines 301, 302, 303, …"
    )
    assert say("score", "half", "half.txt", "--errors", errors)[0] == 0
    assert "5 places" in say("eval", "half", "--file", "half.txt", "--errors", errors)[2]
    assert "5 places" in say("corpus", "stats", "half.txt", "--errors", errors)[1]


def test_an_image_in_a_folder_is_skipped_by_every_command(say: Say, model: str) -> None:
    Path("code").mkdir()
    Path("code/a.py").write_text(prose(3000))
    Path("code/logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")

    assert notes_of(say, "code")[0] == "left out, as a PNG image: code/logo.png"
    assert say("train", "code", "--strict-files", *SMALL)[0] == 3
    assert "left out, as a PNG image" in say("score", model, "code")[2]
    assert "left out, as a PNG image" in say("eval", model, "--file", "code")[2]
    assert "left out, as a PNG image" in say("corpus", "stats", "code")[1]


def test_an_unseen_character_has_a_cost_of_its_own(say: Say, model: str) -> None:
    Path("letter.txt").write_text("he was not — as he had\n", encoding="utf-8")
    code, out, err = say("score", model, "letter.txt", "--json")
    whole = json.loads(out.splitlines()[-1])

    assert (code, whole["unseen_chars"]) == (0, 1)
    assert whole["bpc_with_unseen"] > whole["bpc"]
    assert say("eval", model, "--file", "letter.txt")[0] == 0, err


def test_a_prompt_is_mapped_to_what_the_model_knows(say: Say, model: str) -> None:
    Path("prompt.txt").write_text("ＴＨＥ “night”", encoding="utf-8")
    code, _, err = say("sample", model, "--prompt-file", "prompt.txt", "--length", "5")
    assert code == 3
    assert "--unknown map" in err

    code, out, err = say(
        "sample", model, "--prompt-file", "prompt.txt", "--length", "5", "--unknown", "map"
    )
    assert (code, out.lower()[:4]) == (0, "the ")
    assert "mapped" in err


def test_a_mark_and_a_newline_at_the_end_of_a_file_are_one_mark(say: Say) -> None:
    Path("marked").mkdir()
    for number in range(20):
        Path(f"marked/{number:02}.txt").write_text(f"Poem {number}\n{prose(90)}\n---\n")
    _, out, _ = say("corpus", "stats", "marked", "--document-end", "---")

    assert re.search(r"records +20\b", out)


def test_files_that_are_not_text_are_named_by_their_kind(say: Say) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("prose.txt", prose(500))
    for name, data, kind in (
        ("prose.zip", stream.getvalue(), "a ZIP archive"),
        ("song.mid", b"MThd\0\0\0\x06\0\1\0\1", "a MIDI file"),
    ):
        Path(name).write_bytes(data)
        for command in (["train", name], ["corpus", "stats", name]):
            code, _, err = say(*command)
            assert code == 3
            assert f"{name} is {kind}, not text; " in err
    Path("book.txt.bz2").write_bytes(bz2.compress(prose(4000).encode()))
    assert say("train", "book.txt.bz2", *SMALL)[0] == 0
    assert say("score", "book", "book.txt.bz2")[0] == 0


def test_prompts_have_their_texts_in_order(say: Say, model: str) -> None:
    Path("prompts.txt").write_text("he was\nshe had\nto that\n")
    code, out, _ = say("sample", model, "--prompts", "prompts.txt", "--length", "9", "--json")

    assert code == 0
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == [
        "he was",
        "she had",
        "to that",
    ]


def test_blank_lines_are_no_texts(say: Say) -> None:
    Path("names.txt").write_text("\n\n".join(names(500)) + "\n")
    assert say("train", "names.txt", *SMALL)[0] == 0
    code, out, _ = say("sample", "names", "--lines", "1", "-n", "6", "--unique", "--seed", "1")

    lines = out.splitlines()
    assert (code, len(lines)) == (0, 6)
    assert all(lines)


def test_bytes_go_in_and_come_out_as_they_are(say: Say) -> None:
    data = bytes(range(256)) * 20 + random.Random(7).randbytes(3000)
    Path("bytes.bin").write_bytes(data)
    assert say("train", "bytes.bin", "--unit", "byte", *SMALL)[0] == 0
    prompt = ("--prompt-file", "bytes.bin", "--length", "500")
    assert say("sample", "bytes", *prompt, "-o", "out.bin", "--temp", "2", "-q") == (0, "", "")

    written = Path("out.bin").read_bytes()
    assert len(written) == len(data) + 500
    assert written.startswith(data)
    assert len(set(written[len(data) :])) > 100
    assert say("compress", "bytes", "bytes.bin", "-o", "packed")[0] == 0
    assert say("decompress", "bytes", "packed", "-o", "unpacked")[0] == 0
    assert Path("unpacked").read_bytes() == data
    assert say("score", "bytes", "bytes.bin")[0] == 0


def test_the_held_out_lines_are_scored_of_the_own_list_alone(say: Say) -> None:
    Path("names.txt").write_text("\n".join(names(600)) + "\n")
    assert say("train", "names.txt", *SMALL)[0] == 0
    _, own, _ = say("eval", "names")
    Path("names.txt").rename("moved.txt")
    assert say("eval", "names", "--file", "moved.txt", "--split", "val")[1] == own.replace(
        "names.txt", "moved.txt"
    )

    Path("other.txt").write_text("\n".join(names(500)) + "\n")
    code, _, err = say("eval", "names", "--file", "other.txt", "--split", "val")
    assert code == 2
    assert "held out a part of its own records" in err


def test_what_is_read_is_not_written_over(say: Say, model: str) -> None:
    Path("prompt.txt").write_text("the")
    code, _, err = say("sample", model, "--prompt-file", "prompt.txt", "-o", "prompt.txt")

    assert (code, Path("prompt.txt").read_text()) == (2, "the")
    assert "prompt.txt is the file that is read" in err
