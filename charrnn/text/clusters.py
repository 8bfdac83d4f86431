"""Where the clusters of a vocabulary stand in a text: cut from the left, the longest that fits.

`Vocab.encode` finds them in the ids of the characters, by numpy alone, so a model needs nothing
that knows Unicode's rules once its clusters are known.

N = characters of a text, M = places in it, K = nodes of the trie.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_CLUSTER = 32  # characters; the longest emoji have 10


class Found(NamedTuple):
    """Clusters in a text of N characters: where each (M,) starts and ends, and its number."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def cover(self, size: int) -> NDArray[np.bool_]:
        """Return (size,): whether a character is the second or a later one of a cluster."""
        edges = np.zeros(size + 1, np.int8)
        edges[self.starts + 1] += 1
        edges[self.ends] -= 1
        covered: NDArray[np.bool_] = np.cumsum(edges[:-1], dtype=np.int8) > 0
        return covered


class ClusterTable:
    """The clusters as a trie, which all places of a text descend together.

    A node is a beginning of a cluster. Its key is its parent times `size` plus the id of its last
    character. K = nodes, M = places of a text.
    """

    def __init__(self, clusters: Sequence[Sequence[int]], size: int) -> None:
        """Index clusters by the ids of their characters, which are below `size`."""
        self.longest = max(map(len, clusters))
        self._size = size
        nodes: dict[int, int] = {}
        number_of = [-1]
        for number, ids in enumerate(clusters):
            node = 0
            for token in ids:
                key = node * size + token
                if key not in nodes:
                    nodes[key] = len(number_of)
                    number_of.append(-1)
                node = nodes[key]
            number_of[node] = number
        keys = np.array(list(nodes), np.int64)  # (K,)
        order = np.argsort(keys)
        self._keys = keys[order]
        self._nodes = np.arange(1, len(keys) + 1)[order]
        self._number_of = np.array(number_of)
        self._firsts = np.zeros(size + 1, np.int64)  # the node of each character that begins one
        is_first = self._keys < size
        self._firsts[self._keys[is_first]] = self._nodes[is_first]

    def find(self, ids: NDArray[np.uint32]) -> Found:
        """Return the clusters of a text, the longest at each place, from left to right.

        ids: (N,) of its characters; `size` where one has none.
        """
        nodes = self._firsts[ids]
        places = np.flatnonzero(nodes)
        nodes = nodes[places]
        ends = np.zeros(len(ids), np.int64)
        numbers = np.zeros(len(ids), np.int64)
        for depth in range(1, self.longest):
            is_inside = places + depth < len(ids)
            places = places[is_inside]
            nodes = self._step(nodes[is_inside], ids[places + depth])
            places = places[nodes > 0]
            nodes = nodes[nodes > 0]
            found = self._number_of[nodes]
            is_whole = found >= 0
            ends[places[is_whole]] = places[is_whole] + depth + 1
            numbers[places[is_whole]] = found[is_whole]
        starts = np.flatnonzero(ends)
        starts = starts[_first_come(starts, ends[starts])]
        return Found(starts, ends[starts], numbers[starts])

    def _step(self, nodes: NDArray[np.int64], ids: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return the node (M,) below each for the id of the next character; 0 for none."""
        keys = nodes * self._size + ids
        keys[ids == self._size] = -1
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[at] == keys, self._nodes[at], 0)


def _first_come(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of these stretches (M,), by their starts, are left if no two may overlap."""
    reached = np.maximum.accumulate(ends)
    is_left = np.ones(len(starts), np.bool_)
    is_left[1:] = starts[1:] >= reached[:-1]
    if is_left.all():
        return is_left
    end = 0
    for i, (start, own) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        is_left[i] = start >= end
        end = own if start >= end else end
    return is_left
