"""Hostile rows for every task: training makes a step or names the row; a line gives a line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import charrnn
from charrnn.checkpoint.model_file import pack_model
from charrnn.errors import CorpusError
from tests.faults.hostile import HARMFUL, as_utf8, make_strings
from tests.faults.program import Ended, end_of, on_terminal, run
from tests.generation.task_models import KINDS, make_task_file

Times = Callable[[int, int], int]
Figure = Callable[[str], None]
TINY = (
    *("--steps", "1", "--threads", "1", "--hidden-size", "4", "--num-layers", "1"),
    *("--batch-size", "2", "--embedding-size", "4", "--quiet"),
)
FIELDS = [
    *("", " ", "\0", "\r", "\ufeff", '"', '""', '"a', 'a"b', "'", "\u202eabc", "\x1b[2J", "\t"),
    *(
        "\U0010ffff",
        "\U0010fffe",
        "\u2028",
        "\x85",
        "a" * 520,
        "/",
        "a/",
        "/a",
        "=",
        "U",
        "+\u0301",
    ),
]
PLACE = re.compile(r"charrnn: rows\.\w+(:\d+: | is not utf-8: .* lines? \d| has no column \d)")
OF_ALL_ROWS = ("so there is nothing to tell apart", "no record has a label", "only one record")

CLASSES = ("--text-column", "1", "--label-column", "2", "--no-header", "--task", "classification")
TASKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "classes of a table": ("rows.csv", CLASSES),
    "classes of a TSV": ("rows.tsv", CLASSES),
    "classes by prefix": ("rows.txt", ("--lines", "--label", "prefix", "--task", "classification")),
    "pairs of a table": ("rows.csv", ("--pairs", "--no-header")),
    "pairs of a TSV": ("rows.tsv", ("--pairs",)),
    "phones": ("rows.tsv", ("--pairs", "--target-unit", "space")),
    "words": ("rows.txt", ("--tags", "spaces")),
    "tags in columns": ("rows.txt", ("--tags", "columns")),
    "tags after a slash": ("rows.txt", ("--tags", "slash")),
    "all restored": ("rows.txt", ("--restore", "case,punctuation,diacritics,spaces")),
}
"""The file of each task, and how it is read."""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is cut here


class Fields:
    """Draws hostile fields: texts that mean harm, a few letters, or bytes that are no text."""

    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        self._strings = make_strings(300, seed=seed)

    def text(self) -> str:
        kind = self.draw.random()
        if kind < 0.5:
            return self.draw.choice(self._strings)
        return "".join(self.draw.choices("abé ", k=3)) if kind < 0.8 else self.draw.choice(FIELDS)

    def raw(self) -> bytes:
        if self.draw.random() < 0.03:
            return self.draw.randbytes(6)
        return self.text().encode("utf-8", "surrogatepass")


def make_rows(fields: Fields, count: int) -> bytes:
    """Return rows of one to three fields, with any separator and any end of a line."""
    draw = fields.draw
    rows = []
    for _ in range(count):
        parts = [fields.raw() for _ in range(draw.choice((1, 2, 2, 2, 3)))]
        separator = draw.choice([b"\t", b",", b" ", b"/", b"__label__a "])
        rows.append(separator.join(parts) + draw.choice([b"\n", b"\n", b"\r\n", b"\r", b"\n\n"]))
    return b"".join(rows)


def make_formed(fields: Fields, task: str, count: int) -> bytes:
    """Return rows that are laid out as a task has them, of hostile text."""
    lines = []
    for i in range(count):
        own, other = (
            fields.text().encode("utf-8", "ignore").decode().translate(REMOVED) for _ in range(2)
        )
        own = f"{own}a{i}"  # no two are alike, and none is blank
        word = "".join(own.split())
        label = "xyz"[i % 3]
        lines.append(
            {
                "classes of a table": f'"{own.replace(chr(34), chr(34) * 2)}",{label}',
                "classes of a TSV": f"{own}\t{label}",
                "classes by prefix": f"__label__{label} {own}",
                "pairs of a table": f'"{own.replace(chr(34), chr(34) * 2)}",{label}',
                "pairs of a TSV": f"{own}\t{other}",
                "phones": f"{own}\t{other}",
                "tags in columns": "\n".join(f"{char}\t{char}{label}" for char in word[:9]) + "\n",
                "tags after a slash": f"{word}/{label} a//{label}",
            }.get(task, f"{own} {other}")
        )
    return "\n".join(lines).encode()


REMOVED = {ord(char): None for char in "\U0010ffff\0\n\r\t"}


def train(task: str, rows: bytes, *more: str) -> Ended:
    name, options = TASKS[task]
    Path(name).write_bytes(rows)
    return run("train", name, *options, *more, *TINY, "--on-unfinished", "new")


@pytest.mark.parametrize("task", TASKS)
def test_hostile_rows_train_or_end_in_a_line_that_names_the_row(task: str, times: Times) -> None:
    lenient = ["--errors", "replace", *["--skip-bad"] * (TASKS[task][0] != "rows.txt")]
    for seed in range(times(3, 30)):
        rows = make_rows(Fields(seed), (2, 30, times(300, 10_000))[seed % 3])
        clean = rows.replace("\U0010ffff".encode(), b"").replace(b"\0", b"")
        for data, more in ((rows, []), (rows, lenient), (clean, lenient)):
            ended = train(task, data, *more)
            assert ended.code in (0, 3), ended
            assert ended.is_clear, ended
            if ended.code:
                is_placed = PLACE.match(ended.err) is not None
                assert is_placed or any(each in ended.err for each in OF_ALL_ROWS), ended.err
                assert not HARMFUL & set(ended.err[:-1]), ended.err
                assert len(ended.err) < 600


@pytest.mark.parametrize("task", TASKS)
def test_hostile_text_that_is_laid_out_well_trains_a_step(task: str, times: Times) -> None:
    rows = make_formed(Fields(5), task, times(60, 2000))
    ended = train(task, rows)
    assert ended.code == 0, ended


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("ab\tba\n{}\tab\n", {"pairs": True, "format": "tsv"}),
        ("ab\tba\nab\t{}\n", {"pairs": True, "format": "tsv", "target_unit": "space"}),
        ("ab {}\n", {"tags": "spaces"}),
        ("ab/{}\n", {"tags": "slash"}),
        ("Ab {}\n", {"restore": "case"}),
        ("__label__{} ab\n__label__x cd\n", {"label": "prefix", "task": "classification"}),
    ],
)
def test_half_of_a_surrogate_pair_in_memory_is_refused(text: str, reading: dict[str, str]) -> None:
    for half in ("a\ud800", "\udcffb"):
        with pytest.raises(CorpusError, match="half of a surrogate pair"):
            charrnn.fit(texts=[text.format(half) * 9], name="half", steps=1, **reading)


# Lines to predict


@pytest.mark.parametrize("kind", KINDS)
def test_each_hostile_line_gives_one_line(kind: str, times: Times, figure: Figure) -> None:
    path = Path("checkpoints", kind, "best.safetensors")
    path.parent.mkdir(parents=True)
    path.write_bytes(pack_model(make_task_file(kind)))
    lines = [*make_strings(times(120, 10_000)), *FIELDS]
    lines = [re.sub(r"[\n\r]", " ", line) for line in lines]
    stdin = "".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass")
    shown = [line.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for line in lines]

    Path("lines.txt").write_text("".join(f"{line[:99]}\n" for line in make_safe(lines)), "utf-8")
    plain, objects, table = (
        run("predict", kind, *options, "--errors", "replace", stdin=stdin)
        for options in ((), ("--json",), ("--csv",))
    )
    for ended in (plain, objects, table):
        assert ended.code == 0
        assert not HARMFUL & set(ended.err.replace("\n", "")), ended.err
    out = plain.out.decode()
    assert out.count("\n") == len(lines)
    assert not HARMFUL & set(out.replace("\n", ""))
    found = [json.loads(line, parse_constant=pytest.fail) for line in objects.out.splitlines()]
    assert [each["text"] for each in found] == shown
    assert all(0 <= each["probability"] <= 1.0001 for each in found)
    rows = [*csv.reader(io.StringIO(table.out.decode(), newline=""))]
    assert {len(row) for row in rows} == {3}
    assert [row[0] for row in rows[1:]] == [each["text"] for each in found]
    screen = on_terminal(lambda: end_of("predict", kind, "lines.txt", "--csv"))
    assert not HARMFUL & set(screen.replace("\n", ""))
    figure(f"{len(lines):,} hostile lines, as many answers, in each of three forms")


def make_safe(lines: list[str]) -> list[str]:
    """Return the lines that UTF-8 can write, as a file has them."""
    return [line for line in map(as_utf8, lines) if "\0" not in line]


@pytest.mark.parametrize("kind", ["tagging", "phones"])
def test_a_line_that_is_no_text_ends_in_one_line(kind: str) -> None:
    Path("model").write_bytes(pack_model(make_task_file(kind)))
    ended = run("predict", "model", stdin=b"ab\nb\n\xff\xfe\n")
    assert ended.code == 3
    assert ended.is_clear
    assert "standard input, line 3 is not utf-8" in ended.err
