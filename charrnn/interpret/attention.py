"""Where an encoder–decoder looks while it writes: the weights of its attention.

T = tokens of the source, U = tokens of the target, its end too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.generation.cells import Vector
from charrnn.generation.filters import Floats
from charrnn.generation.seq2seq import Seq2Seq
from charrnn.text.vocab import Ids, Vocab


@dataclass(frozen=True, eq=False)
class AttentionReport:
    """One source and what it became.

    source, target: what stands for each token. weights: (U, T), how much of each source token goes
    into writing each target token; each row sums to 1. Without attention (U, 0). bits: (U,), the
    surprise of each target token, −log₂ p.
    """

    source: list[str]
    target: list[str]
    weights: Vector
    bits: Floats

    def table(self) -> tuple[list[str], list[list[object]]]:
        """Return the columns and rows of a CSV file: a row for each target token."""
        columns = ["target", "bits", *(f"{n}:{symbol}" for n, symbol in enumerate(self.source))]
        figures = zip(self.target, self.bits.tolist(), self.weights.tolist(), strict=True)
        return columns, [[symbol, bits, *row] for symbol, bits, row in figures]


def inspect_attention(
    network: Seq2Seq, source: Ids, target: Ids, vocab: Vocab, target_vocab: Vocab
) -> AttentionReport:
    """Return how a source (T,) is looked at while a target is written; target: without the end."""
    whole = np.append(target, target_vocab.end).astype(np.int64)
    weights, nats = network.attention(source, whole)
    names = [target_vocab.name_of(token) for token in target.tolist()]
    return AttentionReport(
        [vocab.name_of(token) for token in source.tolist()],
        [*names, "∎"],
        weights,
        nats / np.log(2),
    )
