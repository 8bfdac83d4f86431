"""Whether --max-copy holds, and what it costs: python benchmarks/originality.py TEXT...

A writer that loves to copy writes a million characters freely, then through the constraint. What it
copied is counted by a set of every run of the text, which shares no code with the constraint.

Bounds: no run of 21 characters with --max-copy 20; 20 µs a character; 3 s to prepare a million.
"""

from __future__ import annotations

import random
import sys
import time
import tracemalloc

import numpy as np
from runs import one_line_errors

from charrnn.analysis.copies import find_copies
from charrnn.analysis.suffix_array import SuffixArray
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.generation.constraints.no_copy import NoCopy
from charrnn.text.vocab import Ids

MAX_COPY = 20
LENGTH = 1_000_000
CONTEXTS = (12, 6, 4, 2, 1, 0)  # characters that the writer looks back on, the first that helps
MOST_PLACES = 1000


def write_copies(
    corpus: SuffixArray, length: int, constraint: NoCopy | None, seed: int = 1
) -> list[int]:
    """Return ids, each of which follows in the corpus what was written last.

    That is the last 12 characters, or fewer where the constraint forbids all that follows them.
    """
    choose = random.Random(seed).randrange
    written = corpus.ids[: CONTEXTS[0]].tolist()
    state = constraint and constraint.initial_state(corpus.ids[: CONTEXTS[0]])
    while len(written) < length:
        mask = constraint and constraint.mask(state)
        following = (_following(corpus, written[len(written) - size :]) for size in CONTEXTS)
        allowed = (ids if mask is None else ids[mask[ids] == 0] for ids in following)
        ids = next(ids for ids in allowed if len(ids))
        written.append(int(ids[choose(len(ids))]))
        state = constraint and constraint.advance(written[-1], state)
    return written


def _following(corpus: SuffixArray, context: list[int]) -> Ids:
    """Return what follows a context in the corpus, at some of the places where it stands."""
    places = corpus.positions_of(corpus.pack(np.array(context, dtype=np.int64)))
    ends = places[:: 1 + len(places) // MOST_PLACES].astype(np.int64) + len(context)
    return corpus.ids[ends[ends < len(corpus.ids)]]


def count_copies(text: str, corpus: str, size: int) -> int:
    """Count the places of `text` from which `size` characters stand in the corpus."""
    runs = {corpus[i : i + size] for i in range(len(corpus) - size + 1)}
    return sum(text[i : i + size] in runs for i in range(len(text) - size + 1))


def time_constraint(constraint: NoCopy, ids: list[int]) -> float:
    """Return the seconds that the constraint takes for all of `ids`."""
    state = constraint.initial_state(np.array(ids[:0], dtype=np.int64))
    began = time.perf_counter()
    for token in ids:
        constraint.mask(state)
        state = constraint.advance(token, state)
    return time.perf_counter() - began


def prepare(corpus: Corpus) -> SuffixArray:
    """Sort the suffixes of the training part; print the seconds and the memory."""
    began = time.perf_counter()
    SuffixArray(corpus.train)
    seconds = time.perf_counter() - began
    tracemalloc.start()
    suffixes = SuffixArray(corpus.train)
    kept, peak = (each / len(corpus.train) for each in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    print(f"  {seconds:.2f} s, {kept:.1f} bytes a token, {peak:.1f} meanwhile", flush=True)
    return suffixes


def show_text(path: str) -> None:
    """Print the block of lines of one text."""
    corpus = open_corpus([path])
    print(f"{corpus.name}: {corpus.train_chars:,} characters to learn from", flush=True)
    suffixes, learned = prepare(corpus), corpus.vocab.decode(corpus.train)
    constraint = NoCopy(suffixes, corpus.vocab, MAX_COPY)
    for way, own_constraint in (("freely", None), (f"--max-copy {MAX_COPY}", constraint)):
        ids = write_copies(suffixes, LENGTH, own_constraint)
        text = corpus.vocab.decode(ids)
        counts = [
            f"{count_copies(text, learned, n):,} runs of {n}" for n in (MAX_COPY, MAX_COPY + 1)
        ]
        microseconds = time_constraint(constraint, ids) / LENGTH * 1e6
        began = time.perf_counter()
        found = find_copies(text, suffixes, corpus.vocab, MAX_COPY)
        seconds = time.perf_counter() - began
        print(f"  {way}: {', '.join(counts)}; constraint {microseconds:.1f} µs a character")
        print(f"    longest {len(found.longest):,}, found in {seconds:.1f} s", flush=True)


def main() -> None:
    """Print a block for each text."""
    with one_line_errors():
        for path in sys.argv[1:]:
            show_text(path)


if __name__ == "__main__":
    main()
