"""Texts with a secret that is known: what a network has to remember in them, and what they cost.

Each function makes a text whose next character depends on one hidden variable, such as how deep the
brackets are. The variable is known at every character, so a unit that holds it can be found, and so
is the loss of a perfect reader, so it can be seen whether a network has learnt all there is.
tasks/lessons.py trains a small network on each.

N = characters of a text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Random = np.random.Generator

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WHOLE = 0.8  # of the alphabets begin with a, the others anywhere
LONGEST = 8  # of the counted letters, and of the bits
WORD, DELAY = 2, 6  # characters that are copied, and dots before the copy
DEPTH = 4  # of brackets, at most
WIDTH = 20  # characters in a line that is counted
STOP = 0.12  # probability that a stretch ends, at each character


@dataclass(frozen=True, eq=False)
class Planted:
    """A text and its secret.

    hidden: the variable after each character (N,), NaN where it means nothing. nats: what each
    character costs a reader that knows all rules (N,). entropy_nats: the mean of that over all
    texts of this kind, in closed form.
    """

    text: str
    hidden: NDArray[np.float64]
    nats: NDArray[np.float64]
    entropy_nats: float


class _Writer:
    """Collects characters, each with what it costs and the hidden variable after it."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._chars: list[str] = []
        self._hidden: list[float] = []
        self._nats: list[float] = []

    def __len__(self) -> int:
        return len(self._chars)

    def say(self, chars: str, hidden: float = math.nan, probability: float = 1.0) -> None:
        """Add characters, of which the first has this probability and the others are certain."""
        costs = [-math.log(probability)] + [0.0] * (len(chars) - 1)
        self._chars += chars
        self._nats += costs
        self._hidden += [hidden] * len(chars)

    def draw(self, chances: Mapping[str, float]) -> tuple[str, float]:
        """Return one of the characters, and its probability."""
        total = sum(chances.values())
        names = iter(chances)
        chosen = next(names)
        place = self._random.random() * total - chances[chosen]
        while place >= 0 and (following := next(names, None)) is not None:
            chosen = following
            place -= chances[chosen]
        return chosen, chances[chosen] / total

    def planted(self, length: int, entropy_nats: float) -> Planted:
        """Return the first `length` characters."""
        hidden, nats = (np.array(values[:length]) for values in (self._hidden, self._nats))
        return Planted("".join(self._chars[:length]), hidden, nats, entropy_nats)


def make_alphabet(length: int, seed: int = 0) -> Planted:
    """Return lines of alphabets: most begin with a, the others with any letter. Hidden: where."""
    writer = _Writer(np.random.default_rng(seed))
    starts = dict.fromkeys(LETTERS, (1 - WHOLE) / len(LETTERS))
    starts["a"] += WHOLE
    while len(writer) < length:
        first, probability = writer.draw(starts)
        for number in range(LETTERS.index(first), len(LETTERS)):
            writer.say(LETTERS[number], number, probability)
            probability = 1.0
        writer.say("\n")
    sizes = {letter: len(LETTERS) - place + 1 for place, letter in enumerate(LETTERS)}
    mean_size = sum(starts[letter] * sizes[letter] for letter in LETTERS)
    return writer.planted(length, _entropy(starts.values()) / mean_size)


def make_quotes(length: int, seed: int = 0) -> Planted:
    """Return letters with quotations among them. Hidden: 1 inside, 0 outside."""
    writer = _Writer(np.random.default_rng(seed))
    letters = dict.fromkeys("abc", 0.25)
    chances = (letters | {'"': 0.1, " ": 0.15}, letters | {'"': 0.2, "!": 0.05})
    is_inside = 0
    while len(writer) < length:
        char, probability = writer.draw(chances[is_inside])
        is_inside ^= char == '"'
        writer.say(char, is_inside, probability)
    # Half of all toggles lead in, so the shares are as the other side's chance to toggle.
    shares = (0.2 / 0.3, 0.1 / 0.3)
    entropy = sum(s * _entropy(c.values()) for s, c in zip(shares, chances, strict=True))
    return writer.planted(length, entropy)


def make_counting(length: int, seed: int = 0) -> Planted:
    """Return lines aⁿXbⁿ. Hidden: how many b are owed."""
    random = np.random.default_rng(seed)
    writer = _Writer(random)
    while len(writer) < length:
        count = int(random.integers(1, LONGEST + 1))
        for number in range(1, count + 1):
            # The first a is certain; each further one says that the line is longer than so many.
            left = LONGEST - number + 1
            writer.say("a", number, left / (left + 1) if number > 1 else 1.0)
        writer.say("X", count, 1 / (LONGEST - count + 1))
        for number in range(1, count + 1):
            writer.say("b", count - number)
        writer.say("\n", 0)
    return writer.planted(length, math.log(LONGEST) / (LONGEST + 3))


def make_copy(length: int, seed: int = 0) -> Planted:
    """Return lines of a word, dots, and the word again. Hidden: the number of its first letter."""
    writer = _Writer(np.random.default_rng(seed))
    letters = dict.fromkeys("abcd", 0.25)
    while len(writer) < length:
        word = ""
        for _ in range(WORD):
            char, probability = writer.draw(letters)
            word += char
            writer.say(char, "abcd".index(word[0]), probability)
        writer.say("." * DELAY, "abcd".index(word[0]))
        writer.say(word)
        writer.say("\n")
    return writer.planted(length, WORD * math.log(4) / (2 * WORD + DELAY + 1))


def make_brackets(length: int, seed: int = 0) -> Planted:
    """Return brackets in one another, and the letter x. Hidden: how many are open.

    The deeper, the likelier one closes: of DEPTH places each is open half of the time (the urn of
    Ehrenfest), so the depth has a binomial distribution.
    """
    writer = _Writer(np.random.default_rng(seed))
    depth = 0
    while len(writer) < length:
        char, probability = writer.draw(_bracket_chances(depth))
        depth += {"(": 1, ")": -1, "x": 0}[char]
        writer.say(char, depth, probability)
    shares = [math.comb(DEPTH, each) / 2**DEPTH for each in range(DEPTH + 1)]
    costs = [_entropy(_bracket_chances(each).values()) for each in range(DEPTH + 1)]
    return writer.planted(length, sum(s * c for s, c in zip(shares, costs, strict=True)))


def _bracket_chances(depth: int) -> dict[str, float]:
    return {"(": 0.8 * (DEPTH - depth) / DEPTH, ")": 0.8 * depth / DEPTH, "x": 0.2}


def make_column(length: int, seed: int = 0) -> Planted:
    """Return lines of exactly WIDTH random letters. Hidden: how many of the line are read."""
    writer = _Writer(np.random.default_rng(seed))
    letters = dict.fromkeys("ab", 0.5)
    while len(writer) < length:
        for number in range(1, WIDTH + 1):
            char, probability = writer.draw(letters)
            writer.say(char, number, probability)
        writer.say("\n", 0)
    return writer.planted(length, WIDTH * math.log(2) / (WIDTH + 1))


def make_types(length: int, seed: int = 0) -> Planted:
    """Return lines that begin with A and end with X, or with B and Y. Hidden: 1 after B."""
    writer = _Writer(np.random.default_rng(seed))
    fillers = {"m": (1 - STOP) / 2, "n": (1 - STOP) / 2, ".": STOP}
    while len(writer) < length:
        kind, probability = writer.draw({"A": 0.5, "B": 0.5})
        is_b = float(kind == "B")
        writer.say(kind, is_b, probability)
        char = ""
        while char != ".":
            char, probability = writer.draw(fillers)
            writer.say(char, is_b, probability)
        writer.say("Y" if is_b else "X")
        writer.say("\n")
    per_line = math.log(2) + _entropy(fillers.values()) / STOP
    return writer.planted(length, per_line / (3 + 1 / STOP))


def make_parity(length: int, seed: int = 0) -> Planted:
    """Return lines of bits, and whether they have an even or odd number of 1. Hidden: 1 if odd."""
    writer = _Writer(np.random.default_rng(seed))
    stop = 1 / 4
    bits = {"0": (1 - stop) / 2, "1": (1 - stop) / 2, "=": stop}
    while len(writer) < length:
        char, probability = writer.draw({"0": 0.5, "1": 0.5})
        odd = float(char == "1")
        writer.say(char, odd, probability)
        while char != "=":
            char, probability = writer.draw(bits)
            odd = float(odd != (char == "1"))
            writer.say(char, odd, probability)
        writer.say("o" if odd else "e")
        writer.say("\n")
    per_line = math.log(2) + _entropy(bits.values()) / stop
    return writer.planted(length, per_line / (3 + 1 / stop))


def make_speaker(length: int, seed: int = 0) -> Planted:
    """Return speeches of two speakers with habits of their own. Hidden: 1 where Q speaks."""
    writer = _Writer(np.random.default_rng(seed))
    habits = [0.4, 0.3, 0.2, 0.1]
    speech = [
        dict(zip("abcd", (p * (1 - STOP) for p in order), strict=True)) | {"\n": STOP}
        for order in (habits, habits[::-1])
    ]
    while len(writer) < length:
        name, probability = writer.draw({"P": 0.5, "Q": 0.5})
        number = "PQ".index(name)
        writer.say(name, number, probability)
        writer.say(":", number)
        char = ""
        while char != "\n":
            char, probability = writer.draw(speech[number])
            writer.say(char, number if char != "\n" else math.nan, probability)
    per_line = math.log(2) + _entropy(speech[0].values()) / STOP
    return writer.planted(length, per_line / (2 + 1 / STOP))


def _entropy(chances: object) -> float:
    """Return −Σ p ln p."""
    return -sum(p * math.log(p) for p in chances if p > 0)  # type: ignore[attr-defined]
