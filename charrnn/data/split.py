"""Which part of a text is held out: its tail, the tails of blocks, or records drawn by hash.

A running text holds out its tail, as nanoGPT does, so that figures compare. The tail of a sorted
list, or the last of several files, would represent nothing but itself. So of several files a tail
of each is held out, and of a list lines drawn by the hash of their content: equal lines never stand
on two sides, and a line stays on its side when others are added. The lines of a sorted list are
shuffled too: a network that carries its state would learn the order, and seem to know the lines.
Records are drawn in the same way, by hashes that were made of their texts or groups.

The part `val` chooses the best model. A part `test` chooses nothing, so it is drawn first: it is
what ends a tail, and the lowest hashes, however much goes to `val`.

Of several paths the split also knows whose each segment is: the training segments of a path with a
weight are read several times in an epoch, and the held-out text of each path can be scored alone.

S = tokens, R = segments (lines, files, or what comes before a tail, and the tail), G = paths given.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from charrnn.config import TextConfig
from charrnn.data.draw import (
    CHUNK_TOKENS,
    PARTS,
    TEST,
    TRAIN,
    VAL,
    Hashes,
    Ints,
    Parts,
    Shares,
    count_parts,
    draw,
    hash_segments,
    iter_chunks,
    mix_bits,
    percent,
    segment_sizes,
)
from charrnn.data.lists import LOOK_CHARS, is_list
from charrnn.errors import CorpusError, counted
from charrnn.text.vocab import Ids, Vocab

BLOCKS = 10  # of a single file
MIN_TAIL_TOKENS = 200  # a file with a shorter tail is held out as a whole or not at all

SORTED_SHARE = 0.9  # of lines that do not sort before the line above; by chance it is a half
SHUFFLED = "; most lines are in order, so all are shuffled"  # at the end of Split.held_out
_SORTED_BY = 3  # tokens that a line begins with
_MIN_SORTED_STEPS = 10

_FIRST = 1  # where the first record begins: before it stands an END

NOUNS = {"line": "lines", "file": "files", "document": "documents", "row": "rows"}
NOUNS |= {"speech": "speeches", "pair": "pairs", "block": "texts"}
"""What records of each kind are called."""


class Split(NamedTuple):
    """What is held out.

    first: where the first segment begins: records follow an END. ends: (R,) where each ends; parts:
    (R,) the part that it goes to. Both are None for the tail of the text: there `val` starts at
    cuts[0] and `test` at cuts[1]. order: (R,) of the segments; None is that of the text. times:
    (R,) how often each comes; None is once. names: of the parts that there are. held_out: in words,
    after "held out: ". is_unusual: a person should be told. given_ends: (G,) where the text of each
    path ends in `val`; None of one path, or where lines are shuffled.
    """

    method: str
    held_out: str
    names: tuple[str, ...]
    cuts: tuple[int, int]
    ends: Ints | None = None
    parts: Parts | None = None
    order: Ints | None = None
    times: Ints | None = None
    is_unusual: bool = True
    given_ends: Ints | None = None
    first: int = 0

    def cut(self, ids: Ids) -> dict[str, Ids]:
        """Return the parts of a text (S,) of which the tail is held out."""
        val, test = self.cuts
        return {"train": ids[:val], "val": ids[val:test]} | (
            {"test": ids[test:]} if "test" in self.names else {}
        )


def choose_split(ids: Ids, vocab: Vocab, file_ends: Ints, config: TextConfig) -> Split:
    """Choose what is held out of `ids` (S,); `file_ends` (F,): where each file ends.

    Raises:
        CorpusError: the text has fewer than two records to draw from.
    """
    shares = Shares(*config.held_out_fractions)
    names = PARTS if shares.test else PARTS[:2]
    whole = (len(ids), len(ids))
    method = choose_method(ids, vocab, file_ends, config)
    if method == "none":
        return Split(method, "nothing (val_fraction is 0)", names, whole)
    if method == "tail":
        val, test = (character_start(ids, cut, vocab) for cut in shares.cuts(len(ids)))
        held_out = shares.name(f"the last {percent(sum(shares))} of the text")
        return Split(method, held_out, names, (val, test))
    if method == "records":
        ends = line_ends(ids, vocab)
        parts = draw(hash_segments(ids, vocab, ends), ends, shares)
        counts = count_parts(parts)
        reason = ", as the text is a list" * (config.split == "auto")
        held_out = f"{sum(counts[VAL:]):,} of {len(ends):,} lines, drawn by hash{reason}"
        held_out = shares.name(held_out, [f"{count:,}" for count in counts[VAL:]])
        if not is_sorted(ids, ends):
            return Split(method, held_out, names, whole, ends, parts)
        held_out += SHUFFLED
        return Split(method, held_out, names, whole, ends, parts, _shuffled(ids, ends, vocab))
    held_out, ends, parts = _split_blocks(ids, vocab, file_ends, shares)
    return Split(method, held_out, names, whole, ends, parts)


def choose_records(ends: Ints, hashes: Hashes, file_ends: Ints, config: TextConfig) -> Split:
    """Choose which records are held out.

    ends: (R,) where each record ends, in tokens, of which one END is the first; hashes: (R,) of
    what equal records share; file_ends: (F,) where each file ends.

    Raises:
        CorpusError: there are fewer than two records to draw from.
    """
    shares = Shares(*config.held_out_fractions)
    names = PARTS if shares.test else PARTS[:2]
    whole = (int(ends[-1]), int(ends[-1]))
    what = NOUNS[str(config.record_kind)]
    if not any(shares):
        return Split("none", "nothing (val_fraction is 0)", names, whole, first=_FIRST)
    if config.split in ("tail", "blocks"):
        tokens = int(ends[-1]) - _FIRST
        file_ends = np.unique(file_ends[file_ends > _FIRST]) - _FIRST
        is_single = len(file_ends) < 2
        tenths = np.arange(1, BLOCKS + 1) * tokens // BLOCKS
        blocks = np.array([tokens])
        if config.split == "blocks":
            blocks = tenths if is_single else file_ends
        parts = _tails_of_records(ends, blocks, shares)
        drawn = f"the last {percent(sum(shares))} of "
        several = "each of ten parts of the text" if is_single else f"each of {len(blocks):,} files"
        drawn += "the text" if config.split == "tail" else several
    else:
        hint = "hold another file out with --val-file"
        parts = draw(hashes, ends, shares, hint, first=_FIRST)
        drawn = "drawn by hash" + f" of {config.group_column}" * (config.group_column is not None)
        drawn += " of the source" * (config.record_kind == "pair")
    counts = count_parts(parts)
    held_out = f"{sum(counts[VAL:]):,} of {len(ends):,} {what}, {drawn}"
    held_out = shares.name(held_out, [f"{count:,}" for count in counts[VAL:]])
    method = "records" if config.split == "auto" else config.split
    return Split(method, held_out, names, whole, ends, parts, first=_FIRST)


def _tails_of_records(ends: Ints, blocks: Ints, shares: Shares) -> Parts:
    """Return the part (R,) of each record, where the tail of each block is held out.

    A record is in the part that its middle is in: one that is nearly a block would else be held out
    for its end. Where that leaves a part empty, it has the last record that is free.

    blocks: (K,) where each ends, in tokens from where the first record begins.

    Raises:
        CorpusError: there are fewer records than parts.
    """
    wanted = [part for part, _ in shares.drawn]
    if len(ends) <= len(wanted):
        found = counted(len(ends), "record")
        raise CorpusError(
            f"the text has only {found} to hold out from; give more, or hold another file out with "
            "--val-file"
        )
    starts = np.concatenate([[0], blocks[:-1]])
    cuts = [shares.cuts(size) for size in (blocks - starts).tolist()]
    val_cuts, test_cuts = (starts + np.array(cut) for cut in zip(*cuts, strict=True))
    parts = np.zeros(len(ends), np.uint8)
    for chunk in iter_chunks(len(ends)):
        sizes = segment_sizes(ends, np.arange(chunk.start, chunk.stop), _FIRST)
        own_ends = ends[chunk] - _FIRST
        middles = own_ends - sizes / 2
        block = np.searchsorted(blocks, own_ends)
        parts[chunk][middles > val_cuts[block]] = VAL
        parts[chunk][middles > test_cuts[block]] = TEST
    parts[0] = TRAIN
    for part in wanted:
        if part not in parts:
            is_free = np.array(count_parts(parts))[parts] > 1
            is_free[0] = False
            parts[np.flatnonzero(is_free)[-1]] = part
    return parts


def choose_method(ids: Ids, vocab: Vocab, file_ends: Ints, config: TextConfig) -> str:
    """Return how the parts of `ids` are chosen: "none", or a choice of `split` other than auto."""
    if not any(config.held_out_fractions):
        return "none"
    if config.split != "auto":
        return config.split
    if is_list(vocab.decode(ids[:LOOK_CHARS])):
        return "records"
    return "blocks" if np.count_nonzero(np.diff(file_ends, prepend=0)) > 1 else "tail"


def find_given(split: Split, given_ends: Ints) -> Ints | None:
    """Return where the text of each path (G,) ends in `val`; None where lines are shuffled.

    given_ends: (G,) where it ends in the whole text, in tokens.
    """
    if split.ends is None:
        val, test = split.cuts
        return np.clip(given_ends, val, test) - val
    if split.order is not None:
        return None
    assert split.parts is not None
    found = np.zeros(len(given_ends), np.int64)
    before = 0  # tokens of `val`
    for chunk in iter_chunks(len(split.ends)):
        which = np.arange(chunk.start, chunk.stop)
        sizes = segment_sizes(split.ends, which, split.first)
        edges = np.append(split.ends[chunk][:1] - sizes[:1], split.ends[chunk])
        of_val = before + np.append(0, np.cumsum(sizes * (split.parts[chunk] == VAL)))
        is_here = given_ends >= edges[0]
        # Between two edges it grows with each token, or not at all: a line, on integers.
        found[is_here] = np.interp(given_ends[is_here], edges, of_val)
        before = int(of_val[-1])
    return found


def with_weights(
    split: Split, ids: Ids, vocab: Vocab, given_ends: Ints, weights: Sequence[int]
) -> Split:
    """Return a split in which the training segments of each path come as often as it weighs.

    ids: (S,). given_ends: (G,) where the text of each path ends, in tokens; weights: (G,).
    """
    if split.ends is None:
        split = split._replace(
            ends=np.array([*split.cuts, len(ids)], np.int64),
            parts=np.array([TRAIN, VAL, TEST], np.uint8),
            is_unusual="test" in split.names,
        )
    ends, parts, order = _cut_at(split, given_ends)
    times = np.array(weights)[np.searchsorted(given_ends, ends)]
    times[parts != TRAIN] = 1
    if split.method == "records" and not vocab.has_end and ids[-1] != vocab.newline:
        times[-1] = 1  # the line after it would stand in the same line
    return split._replace(ends=ends, parts=parts, order=order, times=times)


def iter_segments(split: Split) -> Iterator[Ints]:
    """Yield the segments in the order in which they stand in the parts, CHUNK_RECORDS at a time."""
    assert split.ends is not None
    if split.order is None and split.times is None:
        yield from (np.arange(c.start, c.stop) for c in iter_chunks(len(split.ends)))
        return
    for order in _iter_rounds(split):
        yield from (order[chunk] for chunk in iter_chunks(len(order)))


def _iter_rounds(split: Split) -> Iterator[Ints]:
    """Yield the segments of each round: in the last all, in those before it what comes again.

    So no line stands beside its copy, and the text ends as it does without copies.
    """
    assert split.ends is not None
    order = np.arange(len(split.ends)) if split.order is None else split.order
    times = np.ones(len(split.ends), np.int64) if split.times is None else split.times
    for left in range(int(times.max()), 0, -1):
        yield order[times[order] >= left]


def _cut_at(split: Split, positions: Ints) -> tuple[Ints, Parts, Ints]:
    """Return the ends, the parts and the order of segments that are also cut at positions."""
    assert split.ends is not None
    assert split.parts is not None
    ends = np.unique(np.concatenate([split.ends, positions]))
    ends = ends[ends > split.first]
    whole = np.searchsorted(split.ends, ends)  # the segment that each was cut from
    order = np.arange(len(ends))
    if split.order is not None:
        rank = np.empty(len(split.ends), np.int64)
        rank[split.order] = np.arange(len(split.order))
        order = np.argsort(rank[whole], kind="stable")
    return ends, split.parts[whole], order


def character_start(ids: Ids, position: int, vocab: Vocab) -> int:
    """Return `position`, or where the first character after it starts."""
    while vocab.has_bytes and position < len(ids) and not vocab.starts_character[ids[position]]:
        position += 1
    return position


def is_sorted(ids: Ids, ends: Ints) -> bool:
    """Return whether nearly all lines (R,) begin as in an alphabetical list, or in one backwards.

    Lines that begin as the line before does say nothing.
    """
    ends = ends[ends <= LOOK_CHARS]
    starts = np.concatenate([[0], ends[:-1]])
    starts = starts[ends - starts > _SORTED_BY]  # ids are in the order of their characters
    keys = [np.asarray(ids[starts + i]).astype(np.int64) << 20 * (2 - i) for i in range(_SORTED_BY)]
    steps = np.diff(sum(keys, start=np.zeros(len(starts), np.int64)))
    rises = np.count_nonzero(steps > 0)
    falls = np.count_nonzero(steps < 0)
    return bool(max(rises, falls) >= max(SORTED_SHARE * (rises + falls), _MIN_SORTED_STEPS))


def _shuffled(ids: Ids, ends: Ints, vocab: Vocab) -> Ints:
    """Return an order (R,) of lines that is the same each time."""
    order = np.argsort(mix_bits(np.arange(1, len(ends) + 1, dtype=np.uint64)))
    if ids[-1] != vocab.newline:  # the line after it would stand in the same line
        order = np.append(order[order != len(ends) - 1], len(ends) - 1)
    return order.astype(np.int64)


def line_ends(ids: Ids, vocab: Vocab) -> Ints:
    """Return where each line (R,) ends; the text's end is the last of them."""
    ends = _newlines(ids, vocab) + 1
    if not len(ends) or ends[-1] < len(ids):
        ends = np.append(ends, len(ids))
    return ends.astype(np.int64)


def iter_parts(ids: Ids, split: Split) -> Iterator[list[Ids]]:
    """Yield, of one stretch of the text after the other, the ids of each of `split.names`."""
    assert split.ends is not None
    assert split.parts is not None
    if split.order is not None or split.times is not None:
        for order in _iter_rounds(split):
            yield from _iter_ordered(ids, split, order)
        return
    for begin in range(split.first, len(ids), CHUNK_TOKENS):
        end = min(begin + CHUNK_TOKENS, len(ids))
        first = int(np.searchsorted(split.ends, begin, side="right"))
        last = int(np.searchsorted(split.ends, end, side="left")) + 1
        sizes = np.diff(np.minimum(split.ends[first:last], end), prepend=begin)
        parts = np.repeat(split.parts[first:last], sizes)
        shown = np.asarray(ids[begin:end])
        yield [shown[parts == PARTS.index(name)] for name in split.names]


def _iter_ordered(ids: Ids, split: Split, order: Ints) -> Iterator[list[Ids]]:
    """Yield the ids of each part, of one stretch of segments in this order after the other."""
    ends = split.ends
    parts = split.parts
    names = split.names
    assert ends is not None
    assert parts is not None
    sizes = segment_sizes(ends, order, split.first)
    totals = np.cumsum(sizes)
    first = 0
    while first < len(order):
        if sizes[first] > CHUNK_TOKENS:  # one that is not copied as a whole
            stop = int(ends[order[first]])
            for begin in range(stop - int(sizes[first]), stop, CHUNK_TOKENS):
                shown = np.asarray(ids[begin : min(begin + CHUNK_TOKENS, stop)])
                here = PARTS[parts[order[first]]]
                yield [shown if name == here else shown[:0] for name in names]
            first += 1
            continue
        before = int(totals[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(totals, before + CHUNK_TOKENS, side="right")))
        chosen = order[first:last]
        # Where each token stands in the text: the start of its segment, and how far it is in it.
        within = np.arange(totals[last - 1] - before)
        within -= np.repeat(totals[first:last] - sizes[first:last] - before, sizes[first:last])
        shown = np.asarray(
            ids[np.repeat(ends[chosen] - sizes[first:last], sizes[first:last]) + within]
        )
        part = np.repeat(parts[chosen], sizes[first:last])
        yield [shown[part == PARTS.index(name)] for name in names]
        first = last


def _split_blocks(
    ids: Ids, vocab: Vocab, file_ends: Ints, shares: Shares
) -> tuple[str, Ints, Parts]:
    """Hold out the tail of each file, or of each tenth of a single one; small files by hash.

    Return what is held out in words, where each segment ends (R,), and its part (R,).
    """
    file_ends = np.unique(file_ends[file_ends > 0])
    is_single = len(file_ends) < 2
    blocks = np.arange(1, BLOCKS + 1) * len(ids) // BLOCKS if is_single else file_ends
    starts = np.concatenate([[0], blocks[:-1]])
    sizes = blocks - starts
    fraction = shares.test or shares.val  # the test part stays the same whatever goes to `val`
    is_large = sizes * fraction >= MIN_TAIL_TOKENS
    small = sizes[~is_large]
    if is_single or not len(small) or small.min() > fraction * len(ids):  # too few to draw from
        is_large[:] = True
    drawn = np.zeros(len(blocks), np.uint8)
    if not is_large.all():
        try:
            drawn = np.where(
                is_large, TRAIN, draw(hash_segments(ids, vocab, blocks), blocks, shares)
            )
        except CorpusError:  # too many files are alike
            is_large[:] = True
    ends: list[int] = []
    parts: list[int] = []
    for start, end, has_tail, part in zip(
        starts.tolist(), blocks.tolist(), is_large.tolist(), drawn.tolist(), strict=True
    ):
        if not has_tail:
            ends.append(end)
            parts.append(part)
            continue
        val, test = shares.cuts(end - start)
        test = _tail_start(ids, start + test, end, vocab)
        val = _tail_start(ids, start + val, test, vocab) if shares.val else test
        ends += [val, test, end]
        parts += [TRAIN, VAL, TEST]
    what = []
    if large := int(is_large.sum()):
        whole = "ten parts of the text" if is_single else counted(large, "file")
        each = "each of " if large > 1 else ""
        what.append(f"the last {percent(sum(shares))} of {each}{whole}")
    if large < len(blocks):
        small = counted(len(blocks) - large, "small file" if large else "file")
        what.append(f"{np.count_nonzero(drawn):,} of {small}, drawn by hash")
    counts = np.bincount(drawn, minlength=len(PARTS))[VAL:]
    sizes_named = [f"{count:,}" for count in counts] if not large else []
    held_out = shares.name(", and ".join(what), sizes_named)
    return held_out, np.array(ends, np.int64), np.array(parts, np.uint8)


def _tail_start(ids: Ids, position: int, end: int, vocab: Vocab) -> int:
    """Return where the next line starts if that is near, else where the next character does."""
    if position == end:  # there is no such tail
        return end
    near = np.asarray(ids[position : position + (end - position) // 10])
    found = np.flatnonzero(near == vocab.newline)
    if vocab.newline >= 0 and len(found):
        position += int(found[0]) + 1
    return character_start(ids, position, vocab)


def _newlines(ids: Ids, vocab: Vocab) -> Ints:
    """Return where the newlines of `ids` (S,) are."""
    parts = [np.empty(0, np.int64)]
    for begin in range(0, len(ids) if vocab.newline >= 0 else 0, CHUNK_TOKENS):
        parts.append(np.flatnonzero(ids[begin : begin + CHUNK_TOKENS] == vocab.newline) + begin)
    return np.concatenate(parts)
