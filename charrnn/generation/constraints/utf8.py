"""Valid UTF-8 from a model of bytes, where all that it learned from was valid.

`generator.py` makes one for a binary vocabulary, unless another constraint is asked for. The table
of well-formed bytes is Unicode's (version 16, table 3-7).

V = vocabulary, S = tokens of the prompt.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.text.vocab import Ids, Vocab

_LONGEST = 4  # bytes of a character
# The first bytes of characters of two bytes and more, and what the second byte may be.
_SECONDS = (
    *((range(0xC2, 0xE0), (0x80, 0xBF), 2), (range(0xE0, 0xE1), (0xA0, 0xBF), 3)),
    *((range(0xE1, 0xED), (0x80, 0xBF), 3), (range(0xED, 0xEE), (0x80, 0x9F), 3)),
    *((range(0xEE, 0xF0), (0x80, 0xBF), 3), (range(0xF0, 0xF1), (0x90, 0xBF), 4)),
    *((range(0xF1, 0xF4), (0x80, 0xBF), 4), (range(0xF4, 0xF5), (0x80, 0x8F), 4)),
)


class Utf8State(NamedTuple):
    """How many bytes the character still needs, between which the next one must be, and how many
    bytes may still come.
    """

    needed: int
    low: int
    high: int
    remaining: int


class ValidUtf8:
    """A Constraint by which a text of at most `length` bytes ends with a whole character."""

    reason = "length"

    def __init__(self, vocab: Vocab, length: int) -> None:
        """Take a binary vocabulary, whose ids are bytes."""
        self._vocab = vocab
        self._length = length
        self._mask_of = lru_cache(None)(self._make_mask)  # there are about fifty

    def initial_state(self, prompt: Ids) -> Utf8State:
        """Return the state after `prompt` (S,), which may end inside a character."""
        state = Utf8State(0, 0, 0, _LONGEST)
        for token in prompt[-_LONGEST + 1 :].tolist():
            state = self.advance(token, state)._replace(remaining=_LONGEST)
        return state._replace(remaining=self._length)

    def mask(self, state: Utf8State) -> NDArray[np.float32]:
        """Return −inf (V,) for each byte that is not valid here, or begins what has no room."""
        return self._mask_of(state._replace(remaining=min(state.remaining, _LONGEST)))

    def advance(self, token: int, state: Utf8State) -> Utf8State:
        """Return the state after one more id; one that is not valid resets it."""
        remaining = state.remaining - 1
        if state.needed and state.low <= token <= state.high:
            return Utf8State(state.needed - 1, 0x80, 0xBF, remaining)
        for firsts, (low, high), size in _SECONDS:
            if token in firsts:
                return Utf8State(size - 1, low, high, remaining)
        return Utf8State(0, 0, 0, remaining)

    def is_finished(self, state: Utf8State) -> bool:
        """Return False: the length ends the text."""
        return False

    def _make_mask(self, state: Utf8State) -> NDArray[np.float32]:
        is_allowed = np.zeros(self._vocab.size, np.bool_)
        if state.needed:
            is_allowed[state.low : state.high + 1] = True
        else:
            is_allowed[:0x80] = True
            for firsts, _, size in _SECONDS:
                is_allowed[firsts.start : firsts.stop] = size <= state.remaining
            if self._vocab.has_end:
                is_allowed[self._vocab.end] = True
        mask = np.where(is_allowed, np.float32(0), np.float32(-np.inf))
        mask.setflags(write=False)  # one array for all texts
        return mask
