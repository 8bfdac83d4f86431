"""Balanced brackets and quotes: what opens is closed, the innermost first, within the length.

Brackets that the prompt leaves open are open where the text begins. A bracket whose closer the
model cannot write never opens. Brackets that bytes spell count like any other. All other text is
free.

V = vocabulary, S = tokens of the prompt.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.generation.constraints.constraint import AllowedTokens, decode_token
from charrnn.text.vocab import END, Ids, Vocab

_PAIRS = ("()", "[]", "{}", "«»", "“”", "「」", "『』", "《》", "（）", "【】", '""')
_MARKS = frozenset("".join(_PAIRS))
_KEPT_MASKS = 256


class BracketState(NamedTuple):
    """The closers of the open brackets, the innermost last, and how many characters may still come.

    pending: bytes of a character that is not complete; they are counted already.
    """

    closers: str
    remaining: int
    pending: bytes


class BalancedBrackets:
    """A Constraint that ends a text of at most `length` characters with no bracket open."""

    reason = "length"

    def __init__(self, vocab: Vocab, length: int, is_allowed: AllowedTokens) -> None:
        self._vocab = vocab
        self._length = length
        self._is_allowed = is_allowed
        chars = vocab.alphabet + "".join(map(chr, range(0x80 * vocab.has_bytes)))
        written = {char for char, each in zip(chars, is_allowed, strict=False) if each}
        self._closer_of = {pair[0]: pair[1] for pair in _PAIRS if pair[1] in written}
        # A longer token may open more, and needs more room.
        self._most_spare = 2 * max(map(len, vocab.clusters), default=1)
        self._mask_of = lru_cache(_KEPT_MASKS)(self._make_mask)  # a few serve a whole text

    def initial_state(self, prompt: Ids) -> BracketState:
        """Return the state after `prompt` (S,).

        Raises:
            ConfigError: it leaves more open than the length can close.
        """
        closers = ""
        for char in self._vocab.decode(prompt).rpartition(END)[2]:
            closers = self._after(closers, char, is_lenient=True) or ""
        if len(closers) > self._length:
            raise ConfigError(
                f"the prompt leaves {len(closers):,} brackets open, and length is {self._length}; "
                "raise it"
            )
        return BracketState(closers, self._length, b"")

    def mask(self, state: BracketState) -> NDArray[np.float32]:
        """Return −inf for each id after which the text could not end balanced (V,)."""
        return self._mask_of(*self._essence(state))[0]

    def advance(self, token: int, state: BracketState) -> BracketState | None:
        """Return the state after one more id; None where it is forbidden."""
        text, pending = decode_token(self._vocab, state.pending, token)
        closers: str | None = state.closers
        for char in text:
            closers = None if closers is None else self._after(closers, char)
        count = len(text) + _count(pending) - _count(state.pending)  # the latter were counted
        if closers is None or len(closers) > state.remaining - count:
            return None
        return BracketState(closers, state.remaining - count, pending)

    def is_finished(self, state: BracketState) -> bool:
        """Return whether no id is allowed."""
        return not self._mask_of(*self._essence(state))[1]

    def _make_mask(
        self, innermost: str, spare: int, pending: bytes
    ) -> tuple[NDArray[np.float32], bool]:
        """Return the mask (V,) and whether any id is allowed."""
        state = BracketState(innermost, len(innermost) + spare, pending)
        is_allowed = [
            bool(allowed) and self.advance(token, state) is not None
            for token, allowed in enumerate(self._is_allowed)
        ]
        mask = np.where(is_allowed, np.float32(0), np.float32(-np.inf))
        mask.setflags(write=False)  # one array for all texts
        return mask, any(is_allowed)

    def _essence(self, state: BracketState) -> tuple[str, int, bytes]:
        """Return what the mask depends on: innermost closers, spare characters, pending bytes."""
        spare = min(state.remaining - len(state.closers), self._most_spare)  # more change nothing
        return state.closers[-self._most_spare // 2 :], spare, state.pending

    def _after(self, closers: str, char: str, is_lenient: bool = False) -> str | None:
        """Return the closers after a character; None where it is forbidden, if not is_lenient."""
        if char == END and closers:
            return None
        if closers.endswith(char):  # first: a quote that closes could open, too
            return closers[:-1]
        if char in self._closer_of:
            return closers + self._closer_of[char]
        return closers if is_lenient or char not in _MARKS else None  # lenient: of a prompt


def _count(pending: bytes) -> int:
    """Return the number of characters that bytes decode to if nothing completes them."""
    return len(pending.decode("utf-8", "replace"))
