"""The interface of what restricts the next token: a pattern, brackets, words, no copying.

`generator.py` makes one for a text; `sampler.py` and `batch.py` add its mask to the logits.

V = vocabulary, S = tokens of the prompt.
"""

import codecs
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.text.vocab import Ids, Vocab

AllowedTokens = NDArray[np.bool_]  # (V,): the ids that are not banned


class Constraint(Protocol):
    """An automaton over ids. Its state is an argument and a result, never kept inside.

    The end of a record is allowed where the text may end, and nowhere else.

    reason: why a text has ended, where the constraint ended it.
    """

    reason: str

    def initial_state(self, prompt: Ids) -> Any:
        """Return the state where a text begins that follows `prompt` (S,)."""

    def mask(self, state: Any) -> NDArray[np.float32] | None:
        """Return what to add to the logits (V,): −inf for a forbidden id, else 0; None for all 0.

        Unless the state is finished, an id is allowed.
        """

    def advance(self, token: int, state: Any) -> Any | None:
        """Return the state after one more id; None where the text ends before it."""

    def is_finished(self, state: Any) -> bool:
        """Return whether the text ends here, whatever the model would write."""


def decode_token(vocab: Vocab, pending: bytes, token: int) -> tuple[str, bytes]:
    """Return the characters that an id completes after pending bytes, and those pending then.

    >>> decode_token(Vocab("ab", has_bytes=True), bytes([0xC3]), 2 + 0xA9)
    ('é', b'')
    """
    if text := vocab.text_of(token):
        return pending.decode("utf-8", "replace") + text, b""
    byte = token - len(vocab.alphabet)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(pending + bytes([byte]))
    return text, decoder.getstate()[0]
