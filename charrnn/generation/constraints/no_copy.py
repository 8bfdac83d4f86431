"""No run of the corpus beyond N tokens: `--max-copy` forbids what would make a copied run too long.

The last N tokens are looked up in the corpus, and every id that follows them there is forbidden.
The end of the prompt counts, so that a quotation in it is not continued. Where a vocabulary has
byte tokens, N counts bytes too, which is stricter; bytes that are not UTF-8 match nothing. A
cluster counts as one.

V = vocabulary, S = tokens of the prompt, K = forbidden ids.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.analysis.suffix_array import SuffixArray
from charrnn.text.vocab import Ids, Vocab


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
        self._followers = corpus.ids[max_copy:]  # what comes N tokens after each position
        # What is spelled by other ids than the corpus has for it would hide a copy: the last of
        # them is forbidden, by the packed ids before it.
        last_ids: defaultdict[bytes, list[int]] = defaultdict(list)
        for leads, token in _misspellings(vocab):
            last_ids[corpus.pack(leads)].append(token)
        self._last_ids = {leads: np.array(ids) for leads, ids in last_ids.items()}
        self._longest = max(map(len, self._last_ids), default=0) // self._token_bytes
        self._kept = max(max_copy, self._longest)

    def initial_state(self, prompt: Ids) -> bytes:
        """Return the packed end of `prompt` (S,)."""
        return self._corpus.pack(prompt[-self._kept :])

    def mask(self, state: bytes) -> NDArray[np.float32] | None:
        """Return −inf (V,) for each id that would make a copied run too long; None without any."""
        forbidden = [self._copies(state)]
        if self._last_ids:
            tails = {state[-n * self._token_bytes :] for n in range(1, self._longest + 1)} | {b""}
            forbidden += [self._last_ids[tail] for tail in tails if tail in self._last_ids]
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


def _misspellings(vocab: Vocab) -> Iterator[tuple[Ids, int]]:
    """Yield ids and one that never follows them in a corpus, as a text has other ids there."""
    for char in vocab.alphabet if vocab.has_bytes else "":
        ids = np.frombuffer(char.encode(), dtype=np.uint8) + np.uint32(len(vocab.alphabet))
        yield ids[:-1], int(ids[-1])
    # Where a cluster could stand: ids of its beginning, and one that begins with the rest of it.
    begun: defaultdict[str, list[int]] = defaultdict(list)
    for token, char in enumerate(vocab.alphabet):
        begun[char].append(token)
    for token, cluster in enumerate(vocab.clusters, vocab.first_cluster):
        for end in range(1, len(cluster) + 1):
            begun[cluster[:end]].append(token)
    for cluster in vocab.clusters:
        for cut in range(1, len(cluster)):
            leads = vocab.encode(cluster[:cut])
            yield from ((leads, token) for token in begun[cluster[cut:]])
