"""Given text → what each of its characters costs a model, in bits: its surprisal, −log₂ p.

p is what `generate` gives the character after all that stands before it; the first one's is taken
where a line begins, as for an empty prompt. States are read one by one, the output layer and its
softmax for a block of them at once. It knows nothing of files or of the terminal.

N = characters, S = their tokens (S ≥ N), V = vocabulary, H = hidden size.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import DivergedError
from charrnn.generation.cells import Vector
from charrnn.generation.network import Network
from charrnn.metrics import bits_per_char, perplexity
from charrnn.state import State
from charrnn.text.vocab import Ids, Vocab

_BLOCK_CHARS = 1024
_LARGEST_LOGITS = 1 << 21  # numbers in a block's logits, where a character is one token: 8 MiB
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
QUIETLY = np.errstate(over="ignore", invalid="ignore")  # what is not finite is refused in words
NOT_FINITE = (
    "what a character costs this model is not a finite number: its weights are too large; "
    "train it again with --clip-grad-norm above 0"
)

Bits = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """A text of N characters and what each of them costs, bits (N,), which took `seconds`."""

    text: str
    bits: Bits
    seconds: float = 0.0

    @property
    def bpc(self) -> float:
        """Bits per character, as `charrnn eval` counts: the first is given; NaN below two."""
        return float(self.bits[1:].mean()) if len(self.bits) > 1 else math.nan


@dataclass(frozen=True)
class Line:
    """Line `number`, from 1, of a text: its characters (N), line end included, and their bits."""

    number: int
    text: str
    bits: Bits

    @property
    def bpc(self) -> float:
        """Bits per character, each one counted."""
        return float(self.bits.mean())


class ScoreTotals:
    """The figures of a whole text, counted as its blocks pass by. Its first character is given."""

    def __init__(self) -> None:
        self.chars, self.bits, self.seconds = 0, 0.0, 0.0

    def count(self, blocks: Iterable[Scores]) -> Iterator[Scores]:
        """Yield the blocks of one text as they come."""
        for index, block in enumerate(blocks):
            counted = block.bits[int(index == 0) :]
            self.chars += len(counted)
            self.bits += float(counted.sum())
            self.seconds += block.seconds
            yield block

    @property
    def bpc(self) -> float:
        """Bits per character, as `charrnn eval` counts; there must be two."""
        return self.bits / self.chars

    @property
    def perplexity(self) -> float:
        """2 to the bits per character; inf where that overflows a float."""
        return perplexity(self.bpc * math.log(2))

    @property
    def chars_per_second(self) -> float:
        """How fast the text was read."""
        return self.chars / self.seconds


def iter_scores(runtime: Network, vocab: Vocab, pieces: Iterable[str]) -> Iterator[Scores]:
    """Score a text that comes in pieces; yield a block of it at a time, the state carried.

    Raises:
        VocabError: a piece has characters that the model does not know.
        DivergedError: what a character costs is not a finite number.
    """
    size = max(1, min(_BLOCK_CHARS, _LARGEST_LOGITS // vocab.size))
    state, before = runtime.initial_state(), runtime.features(opening_state(runtime, vocab))
    for piece in pieces:
        ids = vocab.encode(piece)
        places = np.append(np.flatnonzero(vocab.starts_character[ids]), len(ids))
        for start in range(0, len(piece), size):
            began = time.perf_counter()
            own = places[start : start + size + 1]
            nats, before, state = _read(runtime, ids[own[0] : own[-1]], before, state)
            bits = bits_per_char(1) * np.add.reduceat(nats, own[:-1] - own[0])
            yield Scores(piece[start : start + size], bits, time.perf_counter() - began)


def join_scores(blocks: Iterable[Scores]) -> Scores:
    """Make one of the blocks of a text."""
    held = list(blocks)
    return Scores(
        "".join(block.text for block in held),
        np.concatenate([np.empty(0), *(block.bits for block in held)]),
        sum(block.seconds for block in held),
    )


def iter_lines(blocks: Iterable[Scores]) -> Iterator[Line]:
    """Cut a scored text into its lines, each of which ends with its newline."""
    number, held = 1, []
    for block in blocks:
        for match in _LINE.finditer(block.text):
            held.append(Scores(match[0], block.bits[match.start() : match.end()]))
            if match[0][-1] == "\n":
                yield _make_line(number, held)
                number, held = number + 1, []
    if held:
        yield _make_line(number, held)


def _make_line(number: int, parts: list[Scores]) -> Line:
    whole = join_scores(parts)
    return Line(number, whole.text, whole.bits)


@QUIETLY
def opening_state(runtime: Network, vocab: Vocab) -> State:
    """Give the state where a line begins; that before any text if the model has no newline."""
    line_end = vocab.alphabet.find("\n")
    before = runtime.initial_state()
    return runtime.advance(line_end, before) if line_end >= 0 else before


@QUIETLY
def _read(runtime: Network, ids: Ids, before: Vector, state: State) -> tuple[Bits, Vector, State]:
    """Read ids (S,); give −ln p (S,) of each, and the features and the state after them.

    before: (H,), the features that the first id is predicted from.
    """
    rows = [before]
    for token in ids.tolist():
        state = runtime.advance(token, state)
        rows.append(runtime.features(state))
    nats = _surprisal_nats(runtime.block_logits(np.stack(rows[:-1])), ids)
    if not np.isfinite(nats).all():
        raise DivergedError(NOT_FINITE)
    return nats, rows[-1], state


def _surprisal_nats(logits: Vector, ids: Ids) -> Bits:
    """Give −ln p (S,) = ln Σ exp(l) − l of ids (S,); it writes over the logits l (S, V)."""
    logits -= logits.max(1, keepdims=True)
    targets = logits[np.arange(len(ids)), ids].astype(np.float64)
    totals: Bits = np.exp(logits, out=logits).sum(1, dtype=np.float64)
    return np.log(totals) - targets
