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

from charrnn.checkpoint.model_file import pack_model
from tests.faults.hostile import BIDIRECTIONAL, HARMFUL, make_strings
from tests.faults.program import Ended, run
from tests.generation.task_models import CLASSES, KINDS, PHONES, make_task_file

Times = Callable[[int, int], int]
TINY = (
    *("--steps", "1", "--threads", "1", "--hidden-size", "4", "--num-layers", "1"),
    *("--batch-size", "2", "--embedding-size", "4", "--quiet"),
)
PLACE = re.compile(r"rows\.(txt|tsv|csv)(:| line |, line |, row )\d")
FIELDS = [
    *("", " ", "\0", "\r", "\ufeff", '"', '""', '"a', 'a"b', "'", "\u202e" + "abc", "\x1b[2J"),
    *("\U0010ffff", "\U0010fffe", "\u2028", "\x85", "a" * 9000, "/", "a/", "/a", "=", "U", "\t"),
]
TASKS: dict[str, tuple[str, ...]] = {
    "classes": ("rows.tsv", "--text-column", "1", "--label-column", "2", "--no-header"),
    "prefixes": ("rows.txt", "--lines", "--label", "prefix"),
    "table": ("rows.csv", "--text-column", "1", "--label-column", "2", "--no-header"),
    "pairs": ("rows.tsv", "--pairs"),
    "quoted pairs": ("rows.csv", "--pairs", "--no-header"),
    "phones": ("rows.tsv", "--pairs", "--target-unit", "space"),
    "words": ("rows.txt", "--tags", "spaces"),
    "columns": ("rows.txt", "--tags", "columns"),
    "slash": ("rows.txt", "--tags", "slash"),
    "restore": ("rows.txt", "--restore", "case,punctuation,diacritics"),
    "gaps": ("rows.txt", "--restore", "spaces"),
}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is cut here


def make_field(draw: Random, strings: list[str]) -> bytes:
    """Return a field of a row: hostile text, a few letters, or bytes that are no text."""
    kind = draw.random()
    if kind < 0.5:
        return draw.choice(strings).encode("utf-8", "surrogatepass")
    if kind < 0.8:
        return "".join(draw.choices("abé ", k=3)).encode()
    if kind < 0.97:
        return draw.choice(FIELDS).encode()
    return draw.randbytes(6)


def make_rows(count: int, seed: int) -> list[bytes]:
    draw = Random(seed)
    strings = make_strings(300, seed=seed)
    separators = [b"\t", b",", b" ", b"/", b"__label__a "]
    ends = [b"\n", b"\n", b"\r\n", b"\r", b"\n\n"]
    rows = []
    for _ in range(count):
        parts = [make_field(draw, strings) for _ in range(draw.choice((1, 2, 2, 2, 3)))]
        rows.append(draw.choice(separators).join(parts) + draw.choice(ends))
    return rows


def check(ended: Ended) -> None:
    """Hold a command to one line that names the row, or a good end."""
    assert "Traceback" not in ended.err
    if ended.code:
        assert ended.code in (2, 3), ended
        assert ended.is_clear, ended
        assert not HARMFUL & set(ended.err), ended.err
