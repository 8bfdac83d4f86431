"""Which ids write what a pattern reads: ids that no part of it tells apart stand in one class.

A set of characters holds those of the alphabet that may be written. A character that the pattern
names, and that the alphabet lacks, is written by its UTF-8 bytes where the vocabulary has them.

V = vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.inference.constraint.regex import Chars
from charrnn.text.vocab import Vocab

Left = NDArray[np.bool_]
NO_CLASS = 0  # of the ids that no set holds

PLAIN = " "
LAST_NEWLINE, NEWLINE, WORD, ASCII_WORD = "\n", "\nx", "é", "a"
"""What an anchor can tell characters apart by, as a text that shows it from a place before it."""


class Way(NamedTuple):
    """One way to write a character of a set: its kind, and the class of each id that it takes."""

    kind: str
    classes: tuple[int, ...]


class Alphabet(NamedTuple):
    """class_of (V,): the class of each id. costs: for each class, the characters that it adds.

    ways: how each set of characters can be written.
    """

    class_of: NDArray[np.int64]
    costs: list[int]
    ways: dict[Chars, list[Way]]


def make_alphabet(sets: Iterable[Chars], vocab: Vocab, is_left: Left, has_guards: bool) -> Alphabet:
    """Sort the ids that `is_left` (V,) leaves into classes.

    has_guards: characters that anchors tell apart get classes of their own, too.
    """
    sets = list(dict.fromkeys(sets))
    left = {char: i for i, char in enumerate(vocab.alphabet) if is_left[i]}
    text = "".join(left)
    held_by: dict[str, list[int]] = {char: [] for char in left}
    for index, chars in enumerate(sets):
        for char in _members(chars, text, left):
            held_by[char].append(index)
    alphabet = Alphabet(np.zeros(vocab.size, np.int64), [0], {chars: [] for chars in sets})
    classes: dict[tuple[str, tuple[int, ...]], int] = {}
    for char, holders in held_by.items():
        if not holders:
            continue
        kinds = kinds_of(char) if has_guards else (PLAIN,)
        key = kinds[0], tuple(holders)
        if key not in classes:
            classes[key] = _add_class(alphabet, 1)
            for kind in kinds:
                for index in holders:
                    alphabet.ways[sets[index]].append(Way(kind, (classes[key],)))
        alphabet.class_of[left[char]] = classes[key]
    _add_bytes(alphabet, vocab, is_left, has_guards)
    return alphabet


@lru_cache(maxsize=4096)
def kinds_of(char: str) -> tuple[str, ...]:
    """Give what anchors can tell about a character; a newline may be the last character or not."""
    if char == "\n":
        return LAST_NEWLINE, NEWLINE
    if re.match(r"\w", char):
        return (ASCII_WORD if char.isascii() else WORD,)
    return (PLAIN,)


def byte_ids(char: str, vocab: Vocab, is_left: Left) -> list[int]:
    """Give the ids of a character's UTF-8 bytes; none where it cannot be written so."""
    if not vocab.has_bytes or char in vocab.alphabet or "\ud800" <= char <= "\udfff":
        return []
    ids = [len(vocab.alphabet) + byte for byte in char.encode()]
    return ids if is_left[ids].all() else []


def _members(chars: Chars, text: str, left: dict[str, int]) -> Iterable[str]:
    """Give those characters of `text` that a set holds, each once."""
    if chars.matcher is None:
        return [char for char in chars.named if char in left]
    return [found[0] for found in chars.matcher.finditer(text)]


def _add_bytes(alphabet: Alphabet, vocab: Vocab, is_left: Left, has_guards: bool) -> None:
    for chars, ways in alphabet.ways.items():
        for char in dict.fromkeys(chars.named):
            ids = byte_ids(char, vocab, is_left)
            for each in ids:
                if alphabet.class_of[each] == NO_CLASS:
                    cost = int(vocab.starts_character[each])
                    alphabet.class_of[each] = _add_class(alphabet, cost)
            if ids:
                classes = tuple(alphabet.class_of[ids].tolist())
                kinds = kinds_of(char) if has_guards else (PLAIN,)
                ways += [Way(kind, classes) for kind in kinds]


def _add_class(alphabet: Alphabet, cost: int) -> int:
    alphabet.costs.append(cost)
    return len(alphabet.costs) - 1
