"""Holds a text to balanced brackets and quotes: what opens closes, the innermost first.

Those that the prompt leaves open are open where the text begins. The rest is free, as long as the
length leaves room to close all that is open. A bracket whose closer the model cannot write never
opens. Brackets that bytes spell count like any other.

V = vocabulary.
"""

from __future__ import annotations

import codecs
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.generation.constraints.automaton import AllowedTokens
from charrnn.text.vocab import Ids, Vocab

_PAIRS = ("()", "[]", "{}", "«»", "“”", "「」", "『』", "《》", "（）", "【】", '""')
_MARKS = frozenset("".join(_PAIRS))
_KEPT = 256  # biases that are remembered


class BracketState(NamedTuple):
    """What closes each open bracket, the innermost last; the characters that may still come.

    unfinished: bytes of a character that is not complete, though they are counted.
    """

    open: str
    remaining: int
    unfinished: bytes


class BalancedBrackets:
    """A guide that ends a text of at most `length` characters with no bracket open."""

    reason = "length"

    def __init__(self, vocab: Vocab, length: int, is_left: AllowedTokens) -> None:
        self._vocab = vocab
        self._length = length
        self._is_left = is_left
        ascii_bytes = map(chr, range(0x80 * vocab.has_bytes))
        written = {char for char, each in zip(vocab.alphabet, is_left, strict=False) if each}
        first_byte = len(vocab.alphabet)
        written |= {char for char in ascii_bytes if is_left[first_byte + ord(char)]}
        self._closer_of = {pair[0]: pair[1] for pair in _PAIRS if pair[1] in written}
        self._known_bias = lru_cache(_KEPT)(self._make_bias)

    def start(self, prompt: Ids) -> BracketState:
        """Give the place after `prompt` (S,).

        Raises:
            ConfigError: it leaves more open than the length can close.
        """
        opened = ""
        for char in self._vocab.decode(prompt):
            opened = self._after(opened, char, is_lenient=True) or ""
        if len(opened) > self._length:
            raise ConfigError(
                f"the prompt leaves {len(opened):,} brackets open, and length is {self._length}; "
                "raise it"
            )
        return BracketState(opened, self._length, b"")

    def bias(self, place: BracketState) -> NDArray[np.float32]:
        """Give −inf for each id that could not end balanced (V,)."""
        spare = min(place.remaining - len(place.open), 2)  # more makes no difference
        return self._known_bias(place.open[-1:], spare, place.unfinished)[0]

    def follow(self, place: BracketState, token: int) -> BracketState | None:
        """Give the place after one more id; None where it cannot come."""
        text, unfinished = self._read(place.unfinished, token)
        opened: str | None = place.open
        for char in text:
            opened = None if opened is None else self._after(opened, char)
        count = len(text) + _count(unfinished) - _count(place.unfinished)
        if opened is None or len(opened) > place.remaining - count:
            return None
        return BracketState(opened, place.remaining - count, unfinished)

    def is_over(self, place: BracketState) -> bool:
        """Tell whether nothing may come."""
        spare = min(place.remaining - len(place.open), 2)
        return not self._known_bias(place.open[-1:], spare, place.unfinished)[1]

    def _make_bias(
        self, innermost: str, spare: int, unfinished: bytes
    ) -> tuple[NDArray[np.float32], bool]:
        """Give the bias (V,) and whether anything may come; spare: characters not for closing."""
        place = BracketState(innermost, len(innermost) + spare, unfinished)
        may_come = [
            bool(left) and self.follow(place, token) is not None
            for token, left in enumerate(self._is_left)
        ]
        bias = np.where(may_come, np.float32(0), np.float32(-np.inf))
        bias.setflags(write=False)
        return bias, any(may_come)

    def _after(self, opened: str, char: str, is_lenient: bool = False) -> str | None:
        """Give what is open after a character; None where a bracket may not come.

        is_lenient: let any come, and count those that can be closed.
        """
        if opened.endswith(char):
            return opened[:-1]
        if char in self._closer_of:
            return opened + self._closer_of[char]
        return opened if is_lenient or char not in _MARKS else None

    def _read(self, unfinished: bytes, token: int) -> tuple[str, bytes]:
        """Give the characters that an id completes, and what is unfinished after it."""
        byte = token - len(self._vocab.alphabet)
        if byte < 0:
            char = self._vocab.alphabet[token]
            return unfinished.decode("utf-8", "replace") + char, b""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(unfinished + bytes([byte]))
        return text, decoder.getstate()[0]


def _count(unfinished: bytes) -> int:
    """Count the characters that bytes come to if none completes them."""
    return len(unfinished.decode("utf-8", "replace"))
