"""Which part of a text is held out: its tail, the tails of blocks, or records drawn by hash.

A running text holds out its tail, as nanoGPT does, so that figures compare. The tail of a sorted
list, or the last of several files, would represent nothing but itself. So of several files a tail
of each is held out, and of a list lines drawn by the hash of their content: equal lines never stand
on both sides, and a line stays on its side when others are added.

S = tokens, R = segments (lines, files, or what comes before a tail, and the tail).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.text.vocab import Ids, Vocab, code_points

BLOCKS = 10  # of a single file
MIN_TAIL_TOKENS = 200  # a file with a shorter tail is held out as a whole or not at all

# A list: nearly no blank line, short lines, and few that end as a sentence or a verse does.
MIN_LIST_LINES = 50
MAX_BLANK_SHARE = 0.02
MAX_MEAN_CHARS = 40
MAX_LONG_SHARE = 0.05  # of lines with more than twice as many
MAX_PUNCTUATED_SHARE = 0.1
SORTED_SHARE = 0.9  # of lines that do not sort before the line above; by chance it is a half
_SENTENCE_ENDS = ".,;:!?…-—)]}'\"’”»。，、；：！？」』）"
_LOOK_TOKENS = 1 << 20  # from the start of a text, to see whether it is a list

_CHUNK_TOKENS = 1 << 22  # hashed at a time
_FIRST_BYTE = 0x110000  # byte 0 in hashes: after all code points
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no power is 0 modulo 2^64

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Split(NamedTuple):
    """What is held out.

    ends: (R,) where each segment ends; is_held_out: (R,). Both are None for the tail of the text,
    which starts at `position`. held_out: in words, after "held out: ".
    """

    method: str
    held_out: str
    position: int
    ends: Ints | None = None
    is_held_out: Bools | None = None


def choose_split(ids: Ids, vocab: Vocab, file_ends: Ints, config: TextConfig) -> Split:
    """Choose what is held out of `ids` (S,); `file_ends` (F,): where each file ends.

    Raises:
        CorpusError: the text has fewer than two records to draw from.
    """
    fraction = config.val_fraction
    percent = f"{fraction:.2%}".replace(".00%", "%")
    if not fraction:
        return Split("none", "nothing (val_fraction is 0)", len(ids))
    method = config.split
    reason = ""
    if method == "auto":
        several = np.count_nonzero(np.diff(file_ends, prepend=0)) > 1
        method = "blocks" if several else "tail"
        if config.document_end is None and is_list(ids, vocab):
            method = "records"
            reason = ", as the text is a list"
    if method == "tail":
        position = character_start(ids, split_position(len(ids), fraction), vocab)
        return Split(method, f"the last {percent} of the text", position)
    if method == "records":
        ends = record_ends(ids, vocab, config.document_end)
        what = "lines" if config.document_end is None else "documents"
        is_held_out = draw(ids, vocab, ends, fraction)
        count = np.count_nonzero(is_held_out)
        held_out = f"{count:,} of {len(ends):,} {what}, drawn by hash{reason}"
        return Split(method, held_out, len(ids), ends, is_held_out)
    return _split_blocks(ids, vocab, file_ends, fraction, percent)


def split_position(tokens: int, val_fraction: float) -> int:
    """Return how many of `tokens` come before the held-out tail, as nanoGPT counts them."""
    return int(tokens * (1 - val_fraction))


def character_start(ids: Ids, position: int, vocab: Vocab) -> int:
    """Return `position`, or where the first character after it starts."""
    while vocab.has_bytes and position < len(ids) and not vocab.starts_character[ids[position]]:
        position += 1
    return position


def is_list(ids: Ids, vocab: Vocab) -> bool:
    """Return whether a text is a list: short lines of many kinds that are no sentences."""
    shown = np.asarray(ids[:_LOOK_TOKENS])
    ends = _newlines(shown, vocab)
    sizes = np.diff(ends, prepend=-1) - 1
    filled = sizes > 0
    if np.count_nonzero(filled) < MIN_LIST_LINES or (~filled).mean() > MAX_BLANK_SHARE:
        return False
    is_sentence_end = np.zeros(vocab.size, np.bool_)
    is_sentence_end[[i for i, c in enumerate(vocab.alphabet) if c in _SENTENCE_ENDS]] = True
    if vocab.has_bytes:  # of ASCII; a CJK full stop ends in a byte of many characters
        signs = [ord(sign) for sign in _SENTENCE_ENDS if sign.isascii()]
        is_sentence_end[len(vocab.alphabet) + np.array(signs)] = True
    punctuated = is_sentence_end[shown[ends[filled] - 1]].mean()
    return bool(
        sizes.mean() <= MAX_MEAN_CHARS
        and (sizes > 2 * MAX_MEAN_CHARS).mean() <= MAX_LONG_SHARE
        and punctuated <= MAX_PUNCTUATED_SHARE
        and len(np.unique(hash_segments(shown, vocab, ends + 1))) >= MIN_LIST_LINES
    )


def record_ends(ids: Ids, vocab: Vocab, document_end: str | None) -> Ints:
    """Return where each line (R,) ends, or each document; the text's end is the last of them."""
    if document_end is None:
        ends = _newlines(ids, vocab) + 1
    elif vocab.has_bytes or set(document_end) <= set(vocab.alphabet):
        ends = _occurrences(ids, vocab.encode(document_end))
    else:  # no document ends in this text
        ends = np.empty(0, np.int64)
    if not len(ends) or ends[-1] < len(ids):
        ends = np.append(ends, len(ids))
    return ends.astype(np.int64)


def _occurrences(ids: Ids, mark: Ids) -> Ints:
    """Return where each `mark` in `ids` (S,) ends; of those that overlap the first counts."""
    ends = [0]
    for begin in range(0, len(ids), _CHUNK_TOKENS):
        shown = np.asarray(ids[begin : begin + _CHUNK_TOKENS + len(mark) - 1])
        is_here = np.ones(max(0, len(shown) - len(mark) + 1), np.bool_)
        for i, token in enumerate(mark.tolist()):
            is_here &= shown[i : i + len(is_here)] == token
        for end in (np.flatnonzero(is_here) + begin + len(mark)).tolist():
            if end - ends[-1] >= len(mark):
                ends.append(end)
    return np.array(ends[1:], np.int64)


def draw(ids: Ids, vocab: Vocab, ends: Ints, fraction: float) -> Bools:
    """Return which records (R,) are held out: those of the lowest hashes, one kind at least.

    A record that with its equals is more than `fraction` of the text is never held out, unless all
    are, and it is of the shortest.

    Raises:
        CorpusError: all records are alike, so that none can be held out.
    """
    kinds, kind = np.unique(hash_segments(ids, vocab, ends), return_inverse=True)
    if len(kinds) < 2:
        raise CorpusError(
            "the text has only one record to draw from; give more, or hold a part of the text out "
            "with --split tail"
        )
    tokens = np.bincount(kind, np.diff(ends, prepend=0))
    is_small = tokens <= max(fraction * len(ids), tokens.min())
    limit = max(kinds[is_small][0], np.uint64(fraction * 2.0**64))
    is_held_out = is_small & (kinds <= limit)
    if is_held_out.all():  # one stays
        is_held_out[-1] = False
    drawn: Bools = is_held_out[kind]
    return drawn


def hash_segments(ids: Ids, vocab: Vocab, ends: Ints) -> NDArray[np.uint64]:
    """Return a hash (R,) of the tokens of each segment, the same in a larger alphabet too.

    Newlines do not count: the last line of a text may lack one, and a file may begin with that of
    the file before.
    """
    codes = code_points(vocab.alphabet).astype(np.uint64)
    bytes_after = np.arange(256 * vocab.has_bytes, dtype=np.uint64) + np.uint64(_FIRST_BYTE)
    values = np.concatenate([codes, bytes_after]) + np.uint64(1)
    counts = np.ones(vocab.size, np.int64)
    if vocab.newline >= 0:
        values[vocab.newline] = counts[vocab.newline] = 0
    hashes = np.empty(len(ends), np.uint64)
    starts = np.concatenate([[0], ends[:-1]])
    # Whole segments, of _CHUNK_TOKENS together; a longer one is taken alone.
    first = 0
    while first < len(ends):
        last = int(np.searchsorted(ends, starts[first] + _CHUNK_TOKENS, side="right"))
        last = max(last, first + 1)
        begin = int(starts[first])
        end = min(int(ends[last - 1]), begin + _CHUNK_TOKENS)  # of a longer one the start counts
        shown = np.asarray(ids[begin:end])
        edges = np.append(starts[first:last] - begin, end - begin)
        # Σ (code + 1) f^i modulo 2^64, where i counts the tokens of a segment that are no newlines
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[shown])])
        within = before[:-1] - np.repeat(before[edges[:-1]], np.diff(edges))
        powers = np.cumprod(np.full(int(within.max(initial=0)) + 1, _FACTOR), dtype=np.uint64)
        terms = values[shown] * powers[within]
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
        hashes[first:last] = np.diff(sums[edges])
        first = last
    return _mix(hashes)


def iter_parts(ids: Ids, split: Split) -> Iterator[tuple[Ids, Ids]]:
    """Yield (trained, held out) ids of one stretch of the text after the other."""
    assert split.ends is not None
    assert split.is_held_out is not None
    for begin in range(0, len(ids), _CHUNK_TOKENS):
        end = min(begin + _CHUNK_TOKENS, len(ids))
        first = int(np.searchsorted(split.ends, begin, side="right"))
        last = int(np.searchsorted(split.ends, end, side="left")) + 1
        sizes = np.diff(np.minimum(split.ends[first:last], end), prepend=begin)
        mask = np.repeat(split.is_held_out[first:last], sizes)
        part = np.asarray(ids[begin:end])
        yield part[~mask], part[mask]


def _split_blocks(ids: Ids, vocab: Vocab, file_ends: Ints, fraction: float, percent: str) -> Split:
    """Hold out the tail of each file, or of each tenth of a single one; small files by hash."""
    file_ends = np.unique(file_ends[file_ends > 0])
    is_single = len(file_ends) < 2
    blocks = np.arange(1, BLOCKS + 1) * len(ids) // BLOCKS if is_single else file_ends
    starts = np.concatenate([[0], blocks[:-1]])
    sizes = blocks - starts
    is_large = sizes * fraction >= MIN_TAIL_TOKENS
    small = sizes[~is_large]
    if is_single or not len(small) or small.min() > fraction * len(ids):  # too few to draw from
        is_large[:] = True
    is_drawn = np.zeros(len(blocks), np.bool_)
    if not is_large.all():
        try:
            is_drawn = draw(ids, vocab, blocks, fraction) & ~is_large
        except CorpusError:  # all files are alike
            is_large[:] = True
    ends: list[int] = []
    is_held_out: list[bool] = []
    for start, end, has_tail, drawn in zip(
        starts.tolist(), blocks.tolist(), is_large.tolist(), is_drawn.tolist(), strict=True
    ):
        if has_tail:
            position = start + split_position(end - start, fraction)
            position = _line_start(ids, position, end, vocab.newline)
            ends.append(character_start(ids, position, vocab))
            is_held_out.append(False)
        ends.append(end)
        is_held_out.append(has_tail or drawn)
    parts = []
    if large := int(is_large.sum()):
        whole = "ten parts of the text" if is_single else f"{large:,} files"
        parts.append(f"the last {percent} of each of {whole}")
    if large < len(blocks):
        small = f"{len(blocks) - large:,} {'small ' * (large > 0)}files"
        parts.append(f"{int(is_drawn.sum()):,} of {small}, drawn by hash")
    split = (np.array(ends, np.int64), np.array(is_held_out, np.bool_))
    return Split("blocks", ", and ".join(parts), len(ids), *split)


def _line_start(ids: Ids, position: int, end: int, newline: int) -> int:
    """Return where the next line starts if that is near, so that a tail begins as a line does."""
    near = np.asarray(ids[position : position + (end - position) // 10])
    found = np.flatnonzero(near == newline)
    return position + int(found[0]) + 1 if newline >= 0 and len(found) else position


def _newlines(ids: Ids, vocab: Vocab) -> Ints:
    """Return where the newlines of `ids` (S,) are."""
    parts = [np.empty(0, np.int64)]
    for begin in range(0, len(ids) if vocab.newline >= 0 else 0, _CHUNK_TOKENS):
        parts.append(np.flatnonzero(ids[begin : begin + _CHUNK_TOKENS] == vocab.newline) + begin)
    return np.concatenate(parts)


def _mix(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return hashes with every bit of the input in every bit (splitmix64's last steps)."""
    # Sums of powers alone are far from even in their high bits, which the draw looks at.
    mixed: NDArray[Any] = hashes.copy()
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed
