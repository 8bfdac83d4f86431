"""A list is known by its lines; programs, verse, talk, markup and settings are none."""

from __future__ import annotations

import inspect
import random

import pytest

from charrnn.data import split
from charrnn.data.lists import is_list

R = random.Random(4)
WORDS = ["river", "stone", "light", "tower", "garden", "silver", "morning", "letter", "forest"]


def lines(number: int = 200, words: int = 2) -> list[str]:
    return [" ".join(R.choices(WORDS, k=words)) + f" {i:b}" for i in range(number)]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(lines()),
        "\n".join(sorted(lines())),
        "\n".join(f"{word},{i % 7}" for i, word in enumerate(lines())),
        "\n".join(f"{word}\t{word[:3]}" for word in lines()),
        "\n".join(f"{i:>9} {word}" for i, word in enumerate(lines())),
        "\n".join(f"key: {word}" for word in lines(60)),
        "\n".join("李王张刘陈"[i % 5] + chr(0x4E00 + i) for i in range(300)),
    ],
    ids=["names", "sorted", "csv", "tsv", "numbered", "one-key", "han"],
)
def test_short_lines_of_many_kinds_are_a_list(text: str) -> None:
    expected = not text.startswith("key")  # a single speaker

    assert is_list(text + "\n") == expected


@pytest.mark.parametrize(
    "text",
    [
        inspect.getsource(split),
        "\n".join(line for line in inspect.getsource(split).split("\n") if line.strip()),
        "\n".join(f"{line}," for line in lines(words=4)),
        "\n".join(f"{name}: {line}" for name, line in zip("ABC" * 99, lines(), strict=False)),
        "\n".join(f"<item>{line}</item>" for line in lines()),
        "\n".join(f"key{i}:\n  - {line}\n  - {line}" for i, line in enumerate(lines())),
        "\n".join(line for pair in zip(lines(), [""] * 200, strict=True) for line in pair),
        "\n".join(lines(49)),
        "\n".join(lines(2) * 100),
        "\n".join(lines(words=9)),
        "床前明月光，疑是地上霜。\n" * 200,
        "",
    ],
    ids=[
        *("program", "dense-program", "verse", "chat", "markup", "settings"),
        *("blank-lines", "few", "repeated", "long", "poem", "empty"),
    ],
)
def test_other_texts_are_not(text: str) -> None:
    assert not is_list(text + "\n")


def test_a_line_that_may_be_cut_is_not_looked_at() -> None:
    text = "\n".join(lines(50))

    assert is_list(text + "\n")
    assert not is_list(text)
