"""What a text is made of: its alphabet, its lines, what looks like trouble, and its entropies.

One pass over the pieces, in bounded memory (about 0.5 GB at the very most). No figure depends on
where one piece ends and the next begins. What reads the text or shows the figures is not known
here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_TRIGRAMS = 5_000_000  # different ones, 16 bytes each, and as much again for each merge
MAX_LINES = 1_000_000  # different ones, about 100 bytes each
MAX_LINE_CHARS = 1 << 20  # lines are compared by no more than their first so many

_BLOCK_CHARS = 1 << 20
_CODE_BITS = 21  # the largest code point is 0x10FFFF, so three of them fit into an int64

# UTF-8 that was decoded as Windows-1252 or Latin-1: a leading byte as a letter (Â and Ã for
# Latin, Ð and Ñ for Cyrillic), then the next byte, 0x80 to 0xBF, as whatever those codecs make
# of it. "â€" begins what became of curly quotes and dashes.
_MOJIBAKE = re.compile("[ÂÃÐÑ][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€")

_NAMELESS = {"Cc": "control", "Co": "private use", "Cs": "surrogate", "Cn": "unassigned"}

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RareCharacter:
    """A character of the alphabet, its Unicode name (or category) and how often it stands."""

    character: str
    code_point: str
    name: str
    count: int


@dataclass(frozen=True)
class CorpusStats:
    """What `measure_text` found.

    alphabet: (character, count), in the order of code points.
    lines: ends of line, and one more where text follows the last of them.
    longest_line: characters, the end of line not counted.
    duplicate_line_share: of the first `compared_lines` non-empty lines, those that stood before.
    control_chars: C0, DEL and C1, but for newline and tab.
    mojibake_pairs: such as "Ã©" or "â€", which UTF-8 becomes in the hands of another codec.
    order0_bpc, order1_bpc, order2_bpc: empirical entropy of a character given none, one and two
        before it, in bits. The last two hold for the first `entropy_chars` characters. On a small
        text with a large alphabet, order 2 (and then order 1) is far too low: most contexts are
        seen once, and what follows them looks certain.
    """

    characters: int
    utf8_bytes: int
    alphabet: tuple[tuple[str, int], ...]
    lines: int
    longest_line: int
    duplicate_line_share: float
    compared_lines: int
    replacement_chars: int
    control_chars: int
    private_use_chars: int
    mojibake_pairs: int
    order0_bpc: float
    order1_bpc: float
    order2_bpc: float
    entropy_chars: int

    def rarest(self, number: int) -> tuple[RareCharacter, ...]:
        """Give the `number` rarest characters, the rarest first, then by code point."""
        chosen = sorted(self.alphabet, key=lambda entry: entry[1])[:number]
        return tuple(RareCharacter(c, f"U+{ord(c):04X}", _name(c), count) for c, count in chosen)


def measure_text(pieces: Iterable[str]) -> CorpusStats:
    """Count characters, lines, trouble and entropies of a text that comes in pieces."""
    counts = np.zeros(0x110000, np.int64)
    lines, trigrams, mojibake_pairs, last = _Lines(), _Trigrams(), 0, ""
    for block in _blocks(pieces):
        codes = np.frombuffer(block.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)
        found = np.bincount(codes)
        counts[: len(found)] += found
        lines.feed(block)
        trigrams.feed(codes)
        if not block.isascii():
            mojibake_pairs += len(_MOJIBAKE.findall(last + block))
        last = block[-1]
    lines.finish()
    return _sum_up(counts, lines, trigrams, mojibake_pairs)


def _sum_up(counts: Ints, lines: _Lines, trigrams: _Trigrams, mojibake_pairs: int) -> CorpusStats:
    """Turn counters into figures; `counts` (0x110000,) has one entry for each code point."""
    order1_bpc, order2_bpc = trigrams.entropies()
    return CorpusStats(
        characters=int(counts.sum()),
        utf8_bytes=sum(int(counts[start:].sum()) for start in (0, 0x80, 0x800, 0x10000)),
        alphabet=tuple((chr(code), int(counts[code])) for code in np.flatnonzero(counts)),
        lines=lines.number,
        longest_line=lines.longest,
        duplicate_line_share=lines.duplicates / max(1, lines.compared),
        compared_lines=lines.compared,
        replacement_chars=int(counts[0xFFFD]),
        control_chars=int(counts[:0x20].sum() + counts[0x7F:0xA0].sum() - counts[[9, 10]].sum()),
        private_use_chars=int(counts[0xE000:0xF900].sum() + counts[0xF0000:].sum()),
        mojibake_pairs=mojibake_pairs,
        order0_bpc=_entropy_bits(counts.sum(keepdims=True), counts),
        order1_bpc=order1_bpc,
        order2_bpc=order2_bpc,
        entropy_chars=trigrams.chars,
    )


def _blocks(pieces: Iterable[str]) -> Iterator[str]:
    """Cut the text anew into blocks of _BLOCK_CHARS characters; the last may be shorter."""
    held: list[str] = []
    room = _BLOCK_CHARS
    for piece in pieces:
        start = 0
        while len(piece) - start >= room:
            yield "".join([*held, piece[start : start + room]])
            held, start, room = [], start + room, _BLOCK_CHARS
        held.append(piece[start:])
        room -= len(piece) - start
    if room < _BLOCK_CHARS:
        yield "".join(held)


class _Lines:
    """Counts lines; of those that are not empty it keeps an 8-byte hash, to know them again."""

    def __init__(self) -> None:
        self.number = self.longest = self.duplicates = self.compared = 0
        self._seen: set[int] = set()
        self._open_line, self._open_chars = "", 0

    def feed(self, block: str) -> None:
        first, *rest = block.split("\n")
        self._open_line = (self._open_line + first)[:MAX_LINE_CHARS]
        self._open_chars += len(first)
        if rest:
            *whole, last = rest
            self._close([self._open_line, *whole])
            self._open_line, self._open_chars = last, len(last)

    def finish(self) -> None:
        if self._open_chars:
            self._close([self._open_line])

    def _close(self, lines: list[str]) -> None:
        self.number += len(lines)
        self.longest = max(self.longest, self._open_chars, max(map(len, lines)))
        if len(self._seen) < MAX_LINES:
            hashes = [hash(line) for line in lines if line]
            known = len(self._seen)
            self._seen.update(hashes)
            self.compared += len(hashes)
            self.duplicates += len(hashes) - (len(self._seen) - known)


class _Trigrams:
    """Counts what three characters stand side by side; pairs and singles follow from it."""

    def __init__(self) -> None:
        self.chars = 0
        self._keys, self._counts = np.empty(0, np.int64), np.empty(0, np.int64)
        self._edge = np.empty(0, np.int64)  # the two last codes: trigrams cross from block to block

    def feed(self, codes: Ints) -> None:
        if len(self._keys) > MAX_TRIGRAMS:
            return
        self.chars += len(codes)
        codes = np.concatenate([self._edge, codes])
        self._edge = codes[-2:].copy()
        if len(codes) > 2:
            keys, counts = _count_trigrams(codes)
            self._keys, self._counts = _merge(self._keys, self._counts, keys, counts)

    def entropies(self) -> tuple[float, float]:
        """Give the entropies of order 1 and 2, in bits per character."""
        if len(self._edge) < 2:
            return 0.0, 0.0
        pairs, pair_counts = _merge_runs(self._keys >> _CODE_BITS, self._counts)
        order2_bpc = _entropy_bits(pair_counts, self._counts)
        last_pair = self._edge[:1] << _CODE_BITS | self._edge[1:]  # it begins no trigram
        pairs, pair_counts = _merge(pairs, pair_counts, last_pair, np.ones(1, np.int64))
        _, single_counts = _merge_runs(pairs >> _CODE_BITS, pair_counts)
        return _entropy_bits(single_counts, pair_counts), order2_bpc


def _count_trigrams(codes: Ints) -> tuple[Ints, Ints]:
    """Give the packed trigrams of `codes` (n,), each once and in order, and their counts."""
    is_ascii = codes.max() < 128
    bits = 7 if is_ascii else _CODE_BITS
    keys = codes[:-2] << 2 * bits | codes[1:-1] << bits | codes[2:]
    if not is_ascii:
        return np.unique(keys, return_counts=True)
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
    """Add up the counts of equal keys, which stand side by side."""
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.add.reduceat(counts, starts)


def _entropy_bits(context_counts: Ints, counts: Ints) -> float:
    """Give H(what follows | context) in bits, from how often each context and continuation stands.

    sum over contexts of N log2 N, less sum over continuations of n log2 n, over the sum of n.
    """
    bits = _sum_n_log_n(context_counts) - _sum_n_log_n(counts)
    return max(0.0, bits / max(1, int(counts.sum())))


def _sum_n_log_n(counts: Ints) -> float:
    counts = counts[counts > 0]
    return float(np.sum(counts * np.log2(counts)))


def _name(character: str) -> str:
    category = unicodedata.category(character)
    return unicodedata.name(character, _NAMELESS.get(category, category))
