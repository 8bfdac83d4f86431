"""Text that means harm: what terminals obey, what rich reads as markup, what is no character."""

from __future__ import annotations

import random

CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
BIDIRECTIONAL = list("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
ATTACKS = [
    "\x1b[31mred",
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x1b]8;;http://example.org\x1b\\here\x1b]8;;\x1b\\",
    "\x1b]52;c;cm0gLXJm\x07",
    "\x1bP1$r0m\x1b\\",
    "\x1b[6n",
    "\x9b31m",
    "\x9d0;title\x9c",
    "\r\x1b[Koverwritten",
    "\x08\x08\x08",
    "[red]",
    "[/]",
    "[link=http://example.org]",
    "[bold",
    "[@click=app.quit]",
    ":smile:",
    "\u2028",
    "\u2029",
    "\u0301" * 3,
    "\U0001f468\u200d\U0001f469",
    "\udcff\udc9b",
]
HARMFUL = {*CONTROLS, *BIDIRECTIONAL, "\u2028", "\u2029"} - {"\n", "\t"}


def make_strings(number: int, *, seed: int = 1) -> list[str]:
    """Make hostile strings of about 8 characters: first each control alone, then mixtures."""
    choose = random.Random(seed)
    parts = [*CONTROLS, *BIDIRECTIONAL, *ATTACKS]

    def make_one() -> str:
        drawn = [choose.choice(parts), chr(choose.randrange(0x20, 0xD800))]
        drawn += [choose.choice(("word ", "é", chr(choose.randrange(0xE000, 0x110000))))]
        return "".join(choose.sample(drawn, 3))

    alone = [f"<{char}>" for char in CONTROLS]
    return [*alone, *(make_one() for _ in range(number - len(alone)))]


def in_chunks(strings: list[str], size: int) -> list[str]:
    """Join so many strings at a time."""
    return ["".join(strings[start : start + size]) for start in range(0, len(strings), size)]


def as_name(text: str) -> str:
    """Return what of a text can name a file."""
    return text.translate({0: None, ord("/"): None})


def as_utf8(text: str) -> str:
    """Return what of a text can be written as UTF-8."""
    return text.encode("utf-8", "ignore").decode()
