"""README.md: its examples run in their order, each on a run that an earlier one made."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import http.server
import random
import re
import shlex
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from charrnn.cli.main import main
from charrnn.corpora import library

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {"STEPS": "8", "HIDDEN_SIZE": "12", "EMBEDDING_SIZE": "6", "SEQ_LEN": "16"}
SMALL |= {"BATCH_SIZE": "4", "THREADS": "1"}
WORDS = ["the", "moon", "and", "a", "Sea", "of", "light", "Night", "Anna", "said", "to", "me"]


def commands() -> list[str]:
    """Return the lines that start with charrnn, without their comments."""
    lines = re.findall(r"^(?:    |\$ )(charrnn .*)$", PAGE, re.MULTILINE)
    return [re.sub(r" {3,}.*| +# .*", "", line) for line in lines]


def arguments(command: str) -> list[str]:
    """Return the arguments as bash passes them on, of a training that takes a moment."""
    in_ansi_quotes = re.compile(r"\$('[^']*')")
    command = in_ansi_quotes.sub(lambda found: shlex.quote(ast.literal_eval(found[1])), command)
    command = command.replace("hidden_size=128,256,512", "hidden_size=6,8")
    return shlex.split(re.sub(r" --(?:budget|hidden-size) \w+", "", command))[1:]


def prose(seed: int, lines: int = 120, *, is_verse: bool = False) -> str:
    """Return lines of words, or verses of short lines."""
    chance = random.Random(seed)
    pangrams = "The quick brown fox jumps over a lazy dog. Once VWXYZ?\n"  # the page has any letter
    written = [" ".join(chance.choices(WORDS, k=8)).capitalize() + "." for _ in range(lines)]
    return pangrams + "".join(
        f"{line}\n" + "\n" * (is_verse and i % 4 == 3) for i, line in enumerate(written)
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in a folder with the texts that the page takes for the reader's own.

    A text that is downloaded comes from this machine.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    for name, value in SMALL.items():
        monkeypatch.setenv(f"CHARRNN_{name}", value)
    for place in ("my-texts", "poems", "old", "verses"):
        Path(place).mkdir()
    for seed, name in enumerate(
        [
            "my-texts/one.txt",
            "poems/one.txt",
            "poems/two.txt",
            "notes.txt",
            "mine.txt",
            "letter.txt",
        ]
    ):
        Path(name).write_text(
            prose(seed) + "What light through yon window breaks? Name: B, aged 19.\n"
        )
    Path("letters.txt").write_text(prose(7))
    Path("verses/one.txt").write_text(prose(8, is_verse=True))
    Path("old/one.txt").write_bytes((prose(9) + "Café, naïve, “so”.\n").encode("cp1252"))
    Path("old/two.txt").write_text(prose(10) + "Café.\n", encoding="utf-8")
    chance = random.Random(11)
    signs = [chr(0x4E00 + 7 * i) for i in range(60)]
    verses = ["".join(chance.choices(signs, k=5)) for _ in range(400)]
    Path("tang.txt").write_text("".join(f"{v}，{w}。\n" for v, w in pairwise(verses)))
    Path("song.mid").write_bytes(b"MThd\0\0\0\6" + random.Random(12).randbytes(3000))
    syllables = ["ka", "ri", "no", "mel", "tas"]
    names = ["".join(chance.choices(syllables, k=chance.randint(2, 5))) for _ in range(500)]
    Path("names.txt").write_text("\n".join(names) + "\n")
    Path("openings.txt").write_text("The moon\nAnna said\n")
    reviews = (
        f'{i},"{line}",{chance.randint(1, 5)}\n' for i, line in enumerate(prose(14).split("\n"))
    )
    Path("reviews.csv").write_text("id,text,stars\n" + "".join(r for r in reviews if '""' not in r))
    words = sorted({"".join(chance.choices(syllables, k=3)) for _ in range(60)})
    Path("words.tsv").write_text("".join(f"{word}\t{' '.join(word)}\n" for word in words))
    speeches = [
        f"{chance.choice(['ROMEO', 'JULIET'])}:\n{line}\n\n" for line in prose(15).splitlines()
    ]
    Path("play.txt").write_text("".join(speeches))

    play = "".join(f"ROMEO:\n{line}\n\n" for line in prose(13, 200).splitlines())
    body = (play + "What light through yonder window breaks?\nJULIET, KING HENRY!\n").encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served = dataclasses.replace(
        library.LIBRARY["tiny-shakespeare"],
        url=f"http://127.0.0.1:{server.server_address[1]}/input.txt",
        size_bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
    )
    monkeypatch.setitem(library.LIBRARY, "tiny-shakespeare", served)
    yield tmp_path
    server.shutdown()
    server.server_close()


def test_every_example_runs_after_those_before_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = commands()
    for command in found:
        if command.startswith(("charrnn bench", "charrnn serve")):
            continue  # they measure for a while, or serve until they are stopped
        with pytest.MonkeyPatch.context() as patch:
            if "--over hidden_size" in command:  # which a size that is given would contradict
                patch.delenv("CHARRNN_HIDDEN_SIZE")
            with pytest.raises(SystemExit) as end:
                main(arguments(command))
        shown = capsys.readouterr()
        if command.startswith("charrnn write"):  # tests/faults has terminals
            assert "charrnn write needs a terminal" in shown.err
        else:
            assert end.value.code in (0, None), f"{command}\n{shown.err}"

    assert len(found) > 30
    assert Path("checkpoints/names-seed3").is_dir()


def test_the_python_example_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    small = "steps=8, hidden_size=12, embedding_size=6, seq_len=16, batch_size=4, threads=1"
    exec(example.replace('budget="5m"', small), {})

    assert len(capsys.readouterr().out) > 20


def test_a_reader_gets_from_the_first_line_to_own_text_in_four_commands() -> None:
    first = PAGE.split("\n\n")[2]

    assert [line.split()[0] for line in first.splitlines()] == ["git", "make", "charrnn", "charrnn"]
