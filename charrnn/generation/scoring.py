"""What each character of a given text costs a model, in bits: its surprisal, −log₂ p.

p is what the model gives the character after all that comes before it, the first one after a
newline. States are read one by one, the output layer and its softmax for a block of them at once.
`Model.score` and `charrnn score` call this.

N = characters, S = their tokens (S ≥ N), V = vocabulary, H = hidden size.
"""

import math
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.errors import DivergedError
from charrnn.generation.cells import Vector
from charrnn.generation.filters import Floats
from charrnn.generation.network import Network
from charrnn.metrics import bits_per_char
from charrnn.state import State
from charrnn.text.vocab import Ids, Vocab

_BLOCK_CHARS = 1024
_MAX_LOGITS = 1 << 21  # of a block, where a character is one token: 8 MiB
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
IGNORE_OVERFLOW = np.errstate(over="ignore", invalid="ignore")  # ends in a DivergedError
NOT_FINITE = (
    "the cost of a character is not a finite number: the model's weights are too large; "
    "train it again with --clip-grad-norm above 0"
)


@dataclass(frozen=True)
class Scores:
    """A text of N characters, the bits (N,) that each of them costs, and the seconds it took."""

    text: str
    bits: Floats
    seconds: float = 0.0

    @property
    def bpc(self) -> float:
        """Floats per character without the first, which is given; NaN below two characters."""
        return float(self.bits[1:].mean()) if len(self.bits) > 1 else math.nan


@dataclass(frozen=True)
class Line:
    """Line `number`, from 1, of a text: its characters (N) with the newline, and their bits."""

    number: int
    text: str
    bits: Floats

    @property
    def bpc(self) -> float:
        """Floats per character, with the first."""
        return float(self.bits.mean())


def iter_scores(network: Network, vocab: Vocab, pieces: Iterable[str]) -> Iterator[Scores]:
    """Score a text that comes in pieces; yield a block of it at a time, with the state carried.

    Raises:
        VocabError: a piece has characters that the model does not know.
        DivergedError: what a character costs is not a finite number.
    """
    size = max(1, min(_BLOCK_CHARS, _MAX_LOGITS // vocab.size))
    # A newline predicts the first character, and is then forgotten: eval too begins with the text.
    features = network.features(line_start_state(network, vocab))
    state = network.initial_state()
    for piece in pieces:
        ids = vocab.encode(piece)
        # Where each character begins: one written as bytes takes several tokens.
        starts = np.append(np.flatnonzero(vocab.starts_character[ids]), len(ids))
        for first in range(0, len(piece), size):
            began = time.perf_counter()
            own = starts[first : first + size + 1]
            nats, features, state = _read(network, ids[own[0] : own[-1]], features, state)
            bits = bits_per_char(1) * np.add.reduceat(nats, own[:-1] - own[0])
            yield Scores(piece[first : first + size], bits, time.perf_counter() - began)


def join_scores(blocks: Iterable[Scores]) -> Scores:
    """Return the scores of consecutive blocks as one.

    >>> join_scores([Scores("a", np.array([3.0])), Scores("b", np.array([1.0]))]).text
    'ab'
    """
    parts = list(blocks)
    return Scores(
        "".join(part.text for part in parts),
        np.concatenate([np.empty(0), *(part.bits for part in parts)]),
        sum(part.seconds for part in parts),
    )


def iter_lines(blocks: Iterable[Scores]) -> Iterator[Line]:
    """Cut a scored text into its lines, each with the newline that ends it."""
    number = 1
    texts: list[str] = []  # a line may reach over several blocks
    bits: list[Floats] = []
    for block in blocks:
        for match in _LINE.finditer(block.text):
            texts.append(match[0])
            bits.append(block.bits[match.start() : match.end()])
            if match[0][-1] == "\n":
                yield Line(number, "".join(texts), np.concatenate(bits))
                number += 1
                texts.clear()
                bits.clear()
    if texts:
        yield Line(number, "".join(texts), np.concatenate(bits))


@IGNORE_OVERFLOW
def line_start_state(network: Network, vocab: Vocab) -> State:
    """Return the state after a newline; the initial state if the model has no newline."""
    newline = vocab.alphabet.find("\n")
    state = network.initial_state()
    return network.advance(newline, state) if newline >= 0 else state


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
