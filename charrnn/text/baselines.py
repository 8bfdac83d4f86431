"""What simpler models make of a held-out text: gzip, xz and a smoothed 5-gram, beside a network."""

from __future__ import annotations

from charrnn.metrics import bits_per_char
from charrnn.text import ngram
from charrnn.text.compressors import held_out_bpc
from charrnn.text.vocab import Ids, Vocab

HELD_OUT_SYMBOLS = 1 << 18
COMPRESSED_SYMBOLS = 1 << 20
FEWEST_CHARS = 1000


def score_baselines(train: Ids, val: Ids, vocab: Vocab) -> dict[str, float]:
    """Give the bits per character of `val` (S,) after `train` (N,), by baseline.

    All of them score the first HELD_OUT_SYMBOLS of `val`. The compressors have read the last
    COMPRESSED_SYMBOLS of `train`, the 5-gram more. Fewer than FEWEST_CHARS say nothing: {}.
    """
    held_out = val[:HELD_OUT_SYMBOLS]
    if vocab.count_characters(held_out) < FEWEST_CHARS:
        return {}
    before = vocab.decode(train[-COMPRESSED_SYMBOLS:])
    compressors = held_out_bpc(before, vocab.decode(held_out))
    nats = ngram.held_out_nats(train, held_out, vocab)
    return compressors | {ngram.NAME: bits_per_char(nats)}
