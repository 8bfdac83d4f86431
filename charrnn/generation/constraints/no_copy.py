"""No run of the corpus beyond N tokens: what may not come next, lest a text copy what it is from.

The last N tokens are looked up in the corpus, and what stands after them anywhere there may not
come. The end of the prompt counts, so that a quotation does not go on as one. Where a vocabulary
writes rare characters as bytes, N counts bytes too, which is the stricter; bytes that are no UTF-8,
which a reader sees as U+FFFD, match nothing.

V = vocabulary, S = tokens of the prompt, K = ids that may not come.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from charrnn.analysis.suffix_array import SuffixArray
from charrnn.text.vocab import Ids, Vocab

_LONGEST_UTF8 = 4  # bytes of a character


class NoCopy:
    """A Guide whose place is the last tokens, packed. It ends no text.

    It knows no bans: where all that they leave would be a copy, nothing may come.
    """

    reason = "novel"

    def __init__(self, corpus: SuffixArray, vocab: Vocab, novel: int) -> None:
        """Take a corpus in ids of `vocab`, and how many tokens in a row may stand in it."""
        self._corpus, self._vocab_size = corpus, vocab.size
        self._width = corpus.token_bytes
        self._run_bytes = novel * self._width
        self._kept = max(novel, _LONGEST_UTF8 - 1)
        self._kept_bytes = self._kept * self._width
        self._followers = corpus.ids[novel:]
        self._respellings = _find_respellings(corpus, vocab) if vocab.has_bytes else {}

    def start(self, prompt: Ids) -> bytes:
        """Give the place after `prompt` (S,)."""
        return self._corpus.pack(prompt[-self._kept :])

    def bias(self, place: bytes) -> NDArray[np.float32] | None:
        """Give −inf (V,) for what would make a run too long; None where nothing would."""
        forbidden = [self._copies(place), *self._spellings(place)]
        if not any(map(len, forbidden)):
            return None
        bias = np.zeros(self._vocab_size, dtype=np.float32)
        for ids in forbidden:
            bias[ids] = -np.inf
        return bias

    def follow(self, place: bytes, token: int) -> bytes:
        """Give the place after one more id."""
        return (place + token.to_bytes(self._width, "big"))[-self._kept_bytes :]

    def is_over(self, place: bytes) -> bool:
        """Tell that the text may go on."""
        return False

    def _copies(self, place: bytes) -> Ids:
        """Give what stands after the last N tokens (K,), once for each time."""
        if len(place) < self._run_bytes:
            return self._followers[:0]
        starts = self._corpus.positions_of(place[-self._run_bytes :])
        return self._followers[starts[starts < len(self._followers)]]

    def _spellings(self, place: bytes) -> list[Ids]:
        """Give the bytes (K,) that would spell what has an id of its own, and so hide a copy."""
        if not self._respellings:
            return []
        tails = {place[-count * self._width :] for count in range(1, _LONGEST_UTF8)} | {b""}
        return [self._respellings[tail] for tail in tails if tail in self._respellings]


def _find_respellings(corpus: SuffixArray, vocab: Vocab) -> dict[bytes, Ids]:
    """Give the last byte of the alphabet's characters in UTF-8, as ids, by the bytes before it."""
    last_bytes: defaultdict[bytes, list[int]] = defaultdict(list)
    for char in vocab.alphabet:
        ids = np.frombuffer(char.encode(), dtype=np.uint8) + np.uint32(len(vocab.alphabet))
        last_bytes[corpus.pack(ids[:-1])].append(int(ids[-1]))
    return {leads: np.array(ids) for leads, ids in last_bytes.items()}
