"""What a text is made of: its alphabet, its lines, its encoding problems, and its entropies.

One pass over the pieces, in bounded memory (0.5 GB at most). No figure depends on where one piece
ends and the next begins. `charrnn corpus stats` shows them.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from operator import le

import numpy as np
from numpy.typing import NDArray

from charrnn.text.reader import iter_blocks
from charrnn.text.trouble import count_trouble, look_for_trouble
from charrnn.text.vocab import CODE_POINTS

MAX_TRIGRAMS = 5_000_000  # different ones, 16 bytes each, and as much again for each merge
MAX_LINES = 1_000_000  # different ones, about 100 bytes each
MAX_LINE_CHARS = 1 << 20  # only so much of a line is compared

_BLOCK_CHARS = 1 << 20
_CODE_BITS = 21  # the largest code point is 0x10FFFF, so three of them fit into an int64

_NAMELESS = {"Cc": "control", "Co": "private use", "Cs": "surrogate", "Cn": "unassigned"}

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RareCharacter:
    """A character of the alphabet, its Unicode name (or category) and how often it occurs."""

    character: str
    code_point: str
    name: str
    count: int


@dataclass(frozen=True)
class CorpusStats:
    """What `measure_text` found.

    order0_bpc, order1_bpc, order2_bpc: empirical entropy of a character given none, one and two
    before it, in bits; the last two of the first `entropy_chars`. On a small text with a large
    alphabet they are far too low: most contexts are seen once, so the next looks certain.
    """

    characters: int
    utf8_bytes: int
    alphabet: tuple[tuple[str, int], ...]  # (character, count), in the order of code points
    lines: int  # newlines, and one more where text follows the last of them
    longest_line: int  # characters, without the newline
    duplicate_line_share: float  # of the first `compared_lines` non-empty ones: those seen before
    compared_lines: int
    ordered_line_share: float  # of the same: those that do not sort before the line above
    replacement_chars: int
    control_chars: int  # C0, DEL and C1, except newline and tab
    private_use_chars: int
    mojibake_pairs: int  # such as "Ã©" or "â€", which another codec makes of UTF-8
    decomposed_chars: int  # fewer in NFC
    order0_bpc: float
    order1_bpc: float
    order2_bpc: float
    entropy_chars: int

    def rarest(self, number: int) -> tuple[RareCharacter, ...]:
        """Return the `number` rarest characters, the rarest first, then by code point."""
        chosen = sorted(self.alphabet, key=lambda entry: entry[1])[:number]
        return tuple(RareCharacter(c, f"U+{ord(c):04X}", _name(c), count) for c, count in chosen)


def measure_text(pieces: Iterable[str]) -> CorpusStats:
    r"""Count characters, lines, encoding problems and entropies of a text that comes in pieces.

    >>> stats = measure_text(["ab\nab\n", "ab"])
    >>> stats.lines, stats.duplicate_line_share, stats.alphabet
    (3, 0.6666666666666666, (('\n', 2), ('a', 3), ('b', 3)))
    """
    counts = np.zeros(CODE_POINTS, np.int64)
    lines = _Lines()
    trigrams = _Trigrams()
    trouble: Counter[str] = Counter()
    last = ""
    for block in iter_blocks(pieces, _BLOCK_CHARS):
        codes = np.frombuffer(block.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)
        found = np.bincount(codes)
        counts[: len(found)] += found
        lines.update(block)
        trigrams.update(codes)
        if not block.isascii():
            trouble += look_for_trouble(last + block, found)
        last = block[-1]  # a pair may cross from block to block
    if last not in ("", "\n"):
        lines.update("\n")
    order1_bpc, order2_bpc = trigrams.entropies()
    return CorpusStats(
        characters=int(counts.sum()),
        # Each character has a byte, and one more from each of these code points on.
        utf8_bytes=sum(int(counts[start:].sum()) for start in (0, 0x80, 0x800, 0x10000)),
        alphabet=tuple((chr(code), int(counts[code])) for code in np.flatnonzero(counts)),
        lines=lines.number,
        longest_line=lines.longest,
        duplicate_line_share=lines.duplicates / max(1, lines.compared),
        compared_lines=lines.compared,
        ordered_line_share=lines.ordered / max(1, lines.compared - 1),
        **count_trouble(counts, trouble),
        order0_bpc=_entropy_bits(counts.sum(keepdims=True), counts),
        order1_bpc=order1_bpc,
        order2_bpc=order2_bpc,
        entropy_chars=trigrams.chars,
    )


class _Lines:
    """Counts lines; of those that are not empty it keeps an 8-byte hash, to find repeated ones."""

    def __init__(self) -> None:
        self.number = self.longest = self.duplicates = self.compared = self.ordered = 0
        self._last = ""  # of the lines that were compared
        self._seen: set[int] = set()
        self._open_line = ""  # the beginning of a line that has not ended
        self._open_chars = 0

    def update(self, block: str) -> None:
        first, *rest = block.split("\n")
        self._open_line = (self._open_line + first)[:MAX_LINE_CHARS]
        self._open_chars += len(first)
        if not rest:
            return
        lines = [self._open_line, *rest[:-1]]
        self.number += len(lines)
        self.longest = max(self.longest, self._open_chars, max(map(len, lines)))
        if len(self._seen) < MAX_LINES:
            filled = [line for line in lines if line]
            neighbours = [self._last, *filled] if self._last else filled
            self.ordered += sum(map(le, neighbours, neighbours[1:]))
            self._last = neighbours[-1] if neighbours else ""
            hashes = list(map(hash, filled))
            known = len(self._seen)
            self._seen.update(hashes)
            self.compared += len(hashes)
            self.duplicates += len(hashes) - (len(self._seen) - known)
        self._open_line = rest[-1]
        self._open_chars = len(rest[-1])


class _Trigrams:
    """Counts of trigrams, each packed into an int64 key; pairs and singles follow from them."""

    def __init__(self) -> None:
        self.chars = 0
        self._keys = np.empty(0, np.int64)  # sorted
        self._counts = np.empty(0, np.int64)
        self._edge = np.empty(0, np.int64)  # the two last codes: trigrams cross from block to block

    def update(self, codes: Ints) -> None:
        if len(self._keys) > MAX_TRIGRAMS:
            return
        self.chars += len(codes)
        codes = np.concatenate([self._edge, codes])
        self._edge = codes[-2:].copy()
        if len(codes) > 2:
            self._keys, self._counts = _merge(self._keys, self._counts, *_count_trigrams(codes))

    def entropies(self) -> tuple[float, float]:
        """Return the entropies of order 1 and 2, in bits per character."""
        if len(self._edge) < 2:
            return 0.0, 0.0
        pairs, pair_counts = _merge_runs(self._keys >> _CODE_BITS, self._counts)
        order2_bpc = _entropy_bits(pair_counts, self._counts)
        last_pair = self._edge[:1] << _CODE_BITS | self._edge[1:]  # it begins no trigram
        pairs, pair_counts = _merge(pairs, pair_counts, last_pair, np.ones(1, np.int64))
        _, single_counts = _merge_runs(pairs >> _CODE_BITS, pair_counts)
        return _entropy_bits(single_counts, pair_counts), order2_bpc


def _count_trigrams(codes: Ints) -> tuple[Ints, Ints]:
    """Return the packed trigrams of `codes` (n,), each once and in order, and their counts."""
    is_ascii = codes.max() < 128
    bits = 7 if is_ascii else _CODE_BITS
    keys = codes[:-2] << 2 * bits | codes[1:-1] << bits | codes[2:]
    if not is_ascii:
        return np.unique(keys, return_counts=True)
    # Characters of 7 bits make 2 M trigrams: a table of all of them is faster than a sort.
    table = np.bincount(keys)
    keys = np.flatnonzero(table)
    spread = keys >> 14 << 2 * _CODE_BITS | (keys >> 7 & 127) << _CODE_BITS | keys & 127
    return spread, table[keys]


def _merge(keys: Ints, counts: Ints, more_keys: Ints, more_counts: Ints) -> tuple[Ints, Ints]:
    """Add up two sorted tables of counts."""
    keys = np.concatenate([keys, more_keys])
    order = np.argsort(keys, kind="stable")  # merges two sorted runs in linear time
    return _merge_runs(keys[order], np.concatenate([counts, more_counts])[order])


def _merge_runs(keys: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Add up the counts of equal keys, which are side by side."""
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.add.reduceat(counts, starts)


def _entropy_bits(context_counts: Ints, counts: Ints) -> float:
    """Return H(next | context) in bits, from the counts N of contexts and n of continuations.

    (Σ N log₂ N − Σ n log₂ n) / Σ n
    """

    def sum_n_log_n(n: Ints) -> float:
        n = n[n > 0]
        return float(np.sum(n * np.log2(n)))

    bits = sum_n_log_n(context_counts) - sum_n_log_n(counts)
    return max(0.0, bits / max(1, int(counts.sum())))


def _name(character: str) -> str:
    category = unicodedata.category(character)
    return unicodedata.name(character, _NAMELESS.get(category, category))
