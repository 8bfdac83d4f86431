"""States after texts that were read before, so that going on with a text costs nothing.

A state is a few kilobytes, however long its text. It is found by a digest of the ids before it,
made of 1,024 ids at a time: of a long text only what is new has to be looked up and read.

Only states are kept that reading the text from its start would give, bit for bit: those that
`iter_prefill` comes through. So a text is the same whatever the cache holds. In a text of several
blocks these are the ends of its blocks and any place after the last; the states of a batch, which
rounds otherwise, never come here.

S = ids of a text.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

from charrnn.generation.network import LanguageModel
from charrnn.generation.prefill import block_ends, iter_prefill
from charrnn.state import State, iter_arrays, map_state
from charrnn.text.vocab import Ids

CHUNK_IDS = 1024
_ENTRY_BYTES = 600  # of Python's objects around a state


class TextKeys:
    """The keys of all beginnings of a text."""

    def __init__(self, root: bytes, ids: Ids) -> None:
        """Digest a text (S,); root: of what comes before every text, and of the model."""
        self.count = len(ids)
        self._ids = np.ascontiguousarray(ids, np.uint32)
        self.digests = [root]  # of 0, 1,024, 2,048 … ids
        for begin in range(0, self.count - CHUNK_IDS + 1, CHUNK_IDS):
            self.digests.append(self._digest(begin, begin + CHUNK_IDS))

    def place(self, count: int) -> tuple[bytes, int]:
        """Return the digest of the whole chunks of the first `count` ids, and how many are left."""
        chunks, rest = divmod(count, CHUNK_IDS)
        return self.digests[chunks], rest

    def key(self, count: int) -> bytes:
        """Return the key of the first `count` ids."""
        digest, rest = self.place(count)
        return self._digest(count - rest, count) if rest else digest

    def _digest(self, begin: int, end: int) -> bytes:
        before = self.digests[begin // CHUNK_IDS]
        return blake2b(before + self._ids[begin:end].tobytes(), digest_size=16).digest()


class StateCache:
    """The states that were used last, of at most `max_bytes` together."""

    def __init__(self, max_bytes: int) -> None:
        self.hits = 0
        self.misses = 0
        self.bytes = 0
        self._max_bytes = max_bytes
        # By key; a state's place says where it is listed below.
        self._entries: OrderedDict[bytes, tuple[State, int, tuple[bytes, int]]] = OrderedDict()
        # How many states there are after so many further ids, by the digest of the chunks before.
        self._rests: dict[bytes, dict[int, int]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, keys: TextKeys, count: int, state: State) -> None:
        """Keep the state after the first `count` ids of a text."""
        key = keys.key(count)
        if key in self._entries:
            self._entries.move_to_end(key)
            return
        size = sum(array.nbytes for array in iter_arrays(state)) + _ENTRY_BYTES
        if size > self._max_bytes:
            return
        place = keys.place(count)
        # A copy: the state may be a row of a much larger array.
        self._entries[key] = (map_state(np.copy, state), size, place)
        rests = self._rests.setdefault(place[0], {})
        rests[place[1]] = rests.get(place[1], 0) + 1
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._forget_oldest()

    def find(self, keys: TextKeys) -> tuple[int, State] | None:
        """Return how long the longest beginning of a text is that reading can go on from.

        Its state comes with it.
        """
        ends = block_ends(keys.count)
        found = self._find_from(keys, ends[-1] if ends else 0)
        while found is None and ends:
            found = self._get(keys, ends.pop())
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    def _find_from(self, keys: TextKeys, least: int) -> tuple[int, State] | None:
        """Return the longest beginning of `least` ids or more."""
        last = keys.count // CHUNK_IDS
        for chunks in range(last, least // CHUNK_IDS - 1, -1):
            room = keys.count - chunks * CHUNK_IDS
            for rest in sorted(self._rests.get(keys.digests[chunks], ()), reverse=True):
                count = chunks * CHUNK_IDS + rest
                if rest <= room and count >= max(least, 1):
                    found = self._get(keys, count)
                    if found is not None:
                        return found
        return None

    def _get(self, keys: TextKeys, count: int) -> tuple[int, State] | None:
        key = keys.key(count)
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return count, entry[0]

    def _forget_oldest(self) -> None:
        _, (_, size, (digest, rest)) = self._entries.popitem(last=False)
        self.bytes -= size
        rests = self._rests[digest]
        rests[rest] -= 1
        if not rests[rest]:
            del rests[rest]
        if not rests:
            del self._rests[digest]


def iter_read(
    model: LanguageModel, keys: TextKeys, ids: Ids, start: State, cache: StateCache
) -> Iterator[tuple[int, State | None]]:
    """Read ids (S,) after `start` from where the cache knows them; keep what may be of use.

    Yields every few milliseconds how many ids are read; the last is all, with the state after them.
    """
    begin, state = cache.find(keys) or (0, start)
    yield begin, state
    kept = {*block_ends(len(ids)), len(ids)}
    for read, after in iter_prefill(model, ids, state, begin):
        if after is not None and (read in kept or read % CHUNK_IDS == 0):
            cache.put(keys, read, after)
        yield read, after
