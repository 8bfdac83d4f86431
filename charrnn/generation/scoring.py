"""What each character of a given text costs a model, in bits: its surprisal, −log₂ p.

p is what the model gives the character after all that comes before it, the first one after a
newline. States are read one by one, the output layer and its softmax for a block of them at once.
`Model.score` and `charrnn score` call this.

In a text of records END ends each, which begins at the initial state; nothing is given. The cost of
an end is that of the newline where records are lines, else it is told apart.

A character that the model never saw has a cost of its own and no place in its alphabet: the state
does not advance by it, and what follows is scored as if it were not there.

N = characters, S = their tokens (S ≥ N), V = vocabulary, H = hidden size.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from charrnn.errors import DivergedError
from charrnn.generation.cells import Vector
from charrnn.generation.filters import Floats
from charrnn.generation.network import Network
from charrnn.metrics import bits_per_char
from charrnn.state import State
from charrnn.text.vocab import END, Ids, Vocab

_SCALAR_VALUES = 0x110000 - 0x800  # Unicode's characters: code points without surrogates
_BLOCK_CHARS = 1024
_MAX_LOGITS = 1 << 21  # of a block, where a character is one token: 8 MiB
IGNORE_OVERFLOW = np.errstate(over="ignore", invalid="ignore")  # ends in a DivergedError
NOT_FINITE = (
    "the cost of a character is not a finite number: the model's weights are too large; "
    "train it again with --clip-grad-norm above 0"
)


@dataclass(frozen=True)
class Scores:
    """A text of N characters, the bits (N,) that each of them costs, and the seconds it took.

    unseen: where its characters are that the model never saw. ends: of each end of a record that no
    character shows, how many characters come before it, and its bits. given: how many characters
    are given, not predicted: 1, or 0 of a text of records.
    """

    text: str
    bits: Floats
    seconds: float = 0.0
    unseen: tuple[int, ...] = ()
    ends: tuple[tuple[int, float], ...] = ()
    given: int = 1

    @property
    def known_bits(self) -> Floats:
        """The bits of the characters that the model knows, (N − U,)."""
        return np.delete(self.bits, self.unseen)

    @property
    def unseen_bits(self) -> float:
        """What the characters that the model never saw cost together."""
        return float(self.bits[list(self.unseen)].sum())

    @property
    def bpc(self) -> float:
        """Bits per character that the model knows, without the first where that is given.

        An end counts as a character. NaN where nothing is left.
        """
        bits = self._predicted_bits
        return float(bits.mean()) if len(bits) else math.nan

    @property
    def bits_per_byte(self) -> float:
        """The same bits per UTF-8 byte of these characters; NaN where nothing is left."""
        known = without(self.text, self.unseen)
        size = utf8_bytes(known[self.given :]) + len(self.ends)
        return float(self._predicted_bits.sum()) / (size or math.nan)

    @property
    def bpc_with_unseen(self) -> float:
        """Bits per character with those that the model never saw."""
        bits = self._predicted_bits
        return bpc_with_unseen(float(bits.sum()), len(bits), self.unseen_bits, len(self.unseen))

    @property
    def _predicted_bits(self) -> Floats:
        """The bits of the characters that are known and not given, and then of the ends."""
        return np.append(self.known_bits[self.given :], [bits for _, bits in self.ends])


@dataclass(frozen=True)
class Line:
    """Line `number`, from 1, of a text: its characters (N) with the newline, and their bits.

    unseen: where its characters are that the model never saw. end_bits: of the end of a record that
    follows it and that no newline shows; None where none does.
    """

    number: int
    text: str
    bits: Floats
    unseen: tuple[int, ...] = ()
    end_bits: float | None = None

    @property
    def all_bits(self) -> Floats:
        """The bits of its characters, and of its end."""
        return self.bits if self.end_bits is None else np.append(self.bits, self.end_bits)

    @property
    def bpc(self) -> float:
        """Bits per character, with the first and with those that the model never saw."""
        return float(self.all_bits.mean())

    @property
    def bits_per_byte(self) -> float:
        """The same bits per UTF-8 byte."""
        size = utf8_bytes(self.text) + (self.end_bits is not None)
        return float(self.all_bits.sum()) / size


def utf8_bytes(text: str) -> int:
    """Return the bytes that a text takes in UTF-8; in one of a binary vocabulary each takes one.

    >>> utf8_bytes("é"), utf8_bytes(Vocab.of_bytes().spell("é"))
    (2, 2)
    """
    return len(text.encode("utf-8", "surrogateescape"))


def unseen_bits(vocab: Vocab, summary: dict[str, Any]) -> float:
    """Return what a character costs that the model never saw, in bits.

    After N characters a novel one has the probability 1/(N + 1), as if it had been counted once
    (escape method A of Cleary and Witten 1984), shared out evenly among the Unicode characters
    that the alphabet lacks. N: of the training text; of the alphabet where the file does not say.
    The others would then cost log₂(1 + 1/N) bits more each, which no decimal here shows.

    >>> unseen_bits(Vocab("ab"), {"corpus": {"train_chars": 1023}})
    30.084805793176105
    """
    chars = (summary.get("corpus") or {}).get("train_chars")  # from a file: anything may be there
    size = len(vocab.alphabet)
    seen = max(chars, size) if isinstance(chars, int) else size
    return math.log2((seen + 1) * (_SCALAR_VALUES - size))


def bpc_with_unseen(bits: float, chars: int, unseen_bits: float, unseen_chars: int) -> float:
    """Return the bits per character of a text with those characters that the model never saw."""
    whole = chars + unseen_chars
    return (bits + unseen_bits) / whole if whole else math.nan


def iter_scores(
    network: Network,
    vocab: Vocab,
    pieces: Iterable[str],
    bits_of_unseen: float,
    *,
    are_lines: bool = False,
) -> Iterator[Scores]:
    """Score a text that comes in pieces; yield a block of it at a time, with the state carried.

    bits_of_unseen: what each character costs that the model never saw. are_lines: a newline shows
    each END.

    Raises:
        DivergedError: what a character costs is not a finite number.
    """
    size = max(1, min(_BLOCK_CHARS, _MAX_LOGITS // vocab.size))
    # A newline predicts the first character, and is then forgotten: eval too begins with the text.
    features = network.features(line_start_state(network, vocab))
    state = network.initial_state()
    for piece in vocab.iter_settled(pieces):
        unseen = vocab.find_unknown(piece)
        known = np.delete(np.arange(len(piece)), unseen)
        ids = vocab.encode(without(piece, unseen.tolist()))
        # Where each known character begins: one written as bytes takes several tokens, and of a
        # cluster the first costs all.
        starts = vocab.token_starts(ids)
        for first in range(0, len(piece), size):
            began = time.perf_counter()
            text = piece[first : first + size]
            begin, end = np.searchsorted(known, (first, first + size))
            bits = np.full(len(text), bits_of_unseen)
            own = starts[begin : end + 1]
            has_token = own[1:] > own[:-1]
            bits[known[begin:end][~has_token] - first] = 0
            if has_token.any():
                nats, features, state = _read(network, ids[own[0] : own[-1]], features, state)
                costs = np.add.reduceat(nats, own[:-1][has_token] - own[0])
                bits[known[begin:end][has_token] - first] = bits_per_char(1) * costs
            lost = unseen[slice(*np.searchsorted(unseen, (first, first + size)))] - first
            block = Scores(
                text,
                bits,
                time.perf_counter() - began,
                tuple(lost.tolist()),
                given=1 - vocab.has_end,
            )
            # Typed into running text END ends nothing: it is a character that the model never saw.
            yield _show_ends(block, are_lines=are_lines) if vocab.has_end else block


def _show_ends(block: Scores, *, are_lines: bool) -> Scores:
    """Return a block with its ENDs as newlines, or beside its text."""
    at = [i for i, char in enumerate(block.text) if char == END]
    if not at or are_lines:
        return replace(block, text=block.text.replace(END, "\n"))
    return replace(
        block,
        text=block.text.replace(END, ""),
        bits=np.delete(block.bits, at),
        unseen=tuple(i - bisect_left(at, i) for i in block.unseen),
        ends=tuple((i - before, float(block.bits[i])) for before, i in enumerate(at)),
    )


def without(text: str, positions: Sequence[int]) -> str:
    """Return a text without the characters at these positions, which ascend.

    >>> without("abcd", [1, 2])
    'ad'
    """
    edges = [-1, *positions, len(text)]
    return "".join(text[a + 1 : b] for a, b in pairwise(edges))


def join_scores(blocks: Iterable[Scores]) -> Scores:
    """Return the scores of consecutive blocks as one.

    >>> join_scores([Scores("a", np.array([3.0])), Scores("b", np.array([1.0]))]).text
    'ab'
    """
    parts = list(blocks)
    starts = [*accumulate((len(part.text) for part in parts), initial=0)]
    placed = [*zip(starts, parts, strict=False)]
    return Scores(
        "".join(part.text for part in parts),
        np.concatenate([np.empty(0), *(part.bits for part in parts)]),
        sum(part.seconds for part in parts),
        tuple(start + at for start, part in placed for at in part.unseen),
        tuple((start + at, bits) for start, part in placed for at, bits in part.ends),
        parts[0].given if parts else 1,
    )


def iter_lines(blocks: Iterable[Scores]) -> Iterator[Line]:
    """Cut a scored text into its lines, each with the newline or the end that ends it."""
    number = 1
    parts: list[Scores] = []  # a line may reach over several blocks
    for block in blocks:
        start = 0
        for stop, end_bits in _line_ends(block):
            parts.append(_cut(block, start, stop))
            start = stop
            yield _make_line(number, parts, end_bits)
            number += 1
            parts.clear()
        if start < len(block.text):
            parts.append(_cut(block, start, len(block.text)))
    if parts:
        yield _make_line(number, parts)


def _line_ends(block: Scores) -> list[tuple[int, float | None]]:
    """Return where lines end, each with the bits of the record's end that follows there, if any."""
    newlines = (i + 1 for i, char in enumerate(block.text) if char == "\n")
    found: list[tuple[int, float | None]] = [(i, None) for i in newlines]
    return sorted([*found, *block.ends], key=lambda each: each[0])  # stable: newlines come first


def _cut(block: Scores, start: int, stop: int) -> Scores:
    """Return a part of a block, without its ends."""
    unseen = tuple(at - start for at in block.unseen if start <= at < stop)
    return Scores(block.text[start:stop], block.bits[start:stop], unseen=unseen)


def _make_line(number: int, parts: Iterable[Scores], end_bits: float | None = None) -> Line:
    whole = join_scores(parts)
    return Line(number, whole.text, whole.bits, whole.unseen, end_bits)


@IGNORE_OVERFLOW
def line_start_state(network: Network, vocab: Vocab) -> State:
    """Return the state after a newline, or after an end; else the initial state."""
    newline = vocab.alphabet.find("\n")
    state = network.initial_state()
    is_after_newline = newline >= 0 and not vocab.has_end
    return network.advance(newline, state) if is_after_newline else state


@IGNORE_OVERFLOW
def _read(
    network: Network, ids: Ids, features: Vector, state: State
) -> tuple[Floats, Vector, State]:
    """Read ids (S,); return −ln p (S,) of each, and the features and the state after them.

    features: (H,), those that the first id is predicted from.
    """
    rows = [features]
    for token in ids.tolist():
        state = network.advance(token, state)
        rows.append(network.features(state))
    # −ln p = ln Σ exp(l) − l, in place: log_softmax makes doubles of all V, three times the time.
    logits = network.block_logits(np.stack(rows[:-1]))  # one large product for the whole block
    logits -= logits.max(1, keepdims=True)
    targets = logits[np.arange(len(ids)), ids].astype(np.float64)
    nats: Floats = np.log(np.exp(logits, out=logits).sum(1, dtype=np.float64)) - targets
    if not np.isfinite(nats).all():
        raise DivergedError(NOT_FINITE)
    return nats, rows[-1], state
