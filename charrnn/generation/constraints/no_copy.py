"""No run of the corpus beyond N tokens: `--max-copy` forbids what would make a copied run too long.

The last N tokens are looked up in the corpus, and every id that follows them there is forbidden.
The end of the prompt counts, so that a quotation in it is not continued. Where a vocabulary has
byte tokens, N counts bytes too, which is stricter; bytes that are not UTF-8 match nothing.

V = vocabulary, S = tokens of the prompt, K = forbidden ids.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from charrnn.analysis.suffix_array import SuffixArray
from charrnn.text.vocab import Ids, Vocab

_LONGEST_UTF8 = 4  # bytes of a character


class NoCopy:
    """A Constraint whose state is the last tokens, packed. It ends no text.

    It does not know the bans: together they may leave no id.
    """

    reason = "max-copy"

    def __init__(self, corpus: SuffixArray, vocab: Vocab, max_copy: int) -> None:
        """Take a corpus in ids of `vocab`, and N, 1 or more: how many tokens in a row are free."""
        self._corpus = corpus
        self._vocab_size = vocab.size
        self._end = vocab.end
        self._token_bytes = corpus.token_bytes
        self._run_bytes = max_copy * self._token_bytes
        self._kept = max(max_copy, _LONGEST_UTF8 - 1)
        self._followers = corpus.ids[max_copy:]  # what comes N tokens after each position
        # A character of the alphabet that bytes spell would hide a copy: its last byte is
        # forbidden, by the packed bytes before it.
        last_bytes: defaultdict[bytes, list[int]] = defaultdict(list)
        for char in vocab.alphabet if vocab.has_bytes else "":
            ids = np.frombuffer(char.encode(), dtype=np.uint8) + np.uint32(len(vocab.alphabet))
            last_bytes[corpus.pack(ids[:-1])].append(int(ids[-1]))
        self._last_bytes = {leads: np.array(ids) for leads, ids in last_bytes.items()}

    def initial_state(self, prompt: Ids) -> bytes:
        """Return the packed end of `prompt` (S,)."""
        return self._corpus.pack(prompt[-self._kept :])

    def mask(self, state: bytes) -> NDArray[np.float32] | None:
        """Return −inf (V,) for each id that would make a copied run too long; None without any."""
        forbidden = [self._copies(state)]
        if self._last_bytes:
            tails = {state[-n * self._token_bytes :] for n in range(1, _LONGEST_UTF8)} | {b""}
            forbidden += [self._last_bytes[tail] for tail in tails if tail in self._last_bytes]
        if not any(map(len, forbidden)):
            return None
        mask = np.zeros(self._vocab_size, dtype=np.float32)
        for ids in forbidden:
            mask[ids] = -np.inf
        if self._end >= 0:
            mask[self._end] = 0  # no character is copied by it
        return mask

    def advance(self, token: int, state: bytes) -> bytes:
        longer = state + token.to_bytes(self._token_bytes, "big")
        return longer[-self._kept * self._token_bytes :]

    def is_finished(self, state: bytes) -> bool:
        return False  # a text can always continue

    def _copies(self, state: bytes) -> Ids:
        """Return what follows the last N tokens in the corpus (K,), once for each occurrence."""
        if len(state) < self._run_bytes:
            return self._followers[:0]
        starts = self._corpus.positions_of(state[-self._run_bytes :])
        return self._followers[starts[starts < len(self._followers)]]
