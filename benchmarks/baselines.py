"""What gzip, xz and n-grams need, and their time: python benchmarks/baselines.py TEXT...

Bound: one second of one core for a 5-gram of a million characters.
"""

from __future__ import annotations

import math
import sys
import time

from runs import one_line_errors

from charrnn.analysis.baselines import compressor_bpc, ngram_token_nats
from charrnn.data.corpus import Corpus, open_corpus

ORDERS = range(1, 9)


def measure_ngram(corpus: Corpus, order: int) -> tuple[float, float]:
    """Return the bits per character on the held-out text, and seconds of processor time."""
    began = time.process_time()
    nats = ngram_token_nats(corpus.train, corpus.val, corpus.vocab.size, order).sum()
    return float(nats) / corpus.val_chars / math.log(2), time.process_time() - began


def show_text(path: str) -> None:
    """Print the block of lines of one text, which is taken whole."""
    corpus = open_corpus([path])
    print(f"{corpus.name}: {corpus.train_chars:,} + {corpus.val_chars:,} characters", flush=True)
    began = time.process_time()
    bpc = compressor_bpc(*map(corpus.vocab.decode, (corpus.train, corpus.val)))
    seconds = time.process_time() - began
    print(f"  gzip {bpc['gzip']:.3f}, xz {bpc['xz']:.3f} bpc, {seconds:.2f} s", flush=True)
    for order in ORDERS:
        ngram_bpc, seconds = measure_ngram(corpus, order)
        print(f"  {order}-gram {ngram_bpc:.3f} bpc, {seconds:.2f} s", flush=True)


def main() -> None:
    """Print a block for each text."""
    with one_line_errors():
        for path in sys.argv[1:]:
            show_text(path)


if __name__ == "__main__":
    main()
