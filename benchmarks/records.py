"""What records cost: python benchmarks/records.py LIST [--hidden-size 256] [--rounds 7]

LIST has a record a line. The same text is read as running text and as records, by a trainer each,
whose steps are timed in turn. Printed are the tokens a second of both and the median of their
ratios. Records are packed without padding, so tokens are characters and ends.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace

import torch
from runs import one_line_errors

from charrnn.config import TextConfig, TrainConfig
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.training.plan import make_plan
from charrnn.training.trainer import Trainer

CELLS = ("lstm", "gru", "rnn")
LANES = 16
WINDOW = 64


def make_trainer(corpus: Corpus, cell: str, units: int) -> Trainer:
    """Return a trainer that reads as much in a step as a default run."""
    sizes = {"hidden_size": units, "batch_size": LANES, "seq_len": WINDOW}
    config = TrainConfig(steps=1000, cell=cell, dropout=0.2, **sizes)
    plan = make_plan(config, corpus.vocab.size, len(corpus.train), label_count=corpus.label_count)
    return Trainer(plan, config, corpus, torch.device("cpu"), torch.float32)


def tokens_per_second(trainer: Trainer, steps: int) -> float:
    """Return how fast it makes so many steps."""
    began = time.perf_counter()
    for _ in range(steps):
        trainer.advance(None)
    return steps * LANES * WINDOW / (time.perf_counter() - began)


@one_line_errors()
def main() -> None:
    """Print a line for each cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("list")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    config = TextConfig(lines=True)
    records = open_corpus([options.list], config)
    running = open_corpus([options.list], replace(config, lines=False))
    for cell in CELLS:
        both = [make_trainer(corpus, cell, options.hidden_size) for corpus in (records, running)]
        speeds: list[tuple[float, ...]] = []
        for _ in range(options.rounds + 1):
            speeds.append(tuple(tokens_per_second(each, options.steps) for each in both))
        of_records, of_text = (statistics.median(own) for own in zip(*speeds[1:], strict=True))
        ratio = statistics.median(a / b for a, b in speeds[1:])  # the first round is a warm-up
        print(
            f"{cell:5} records {of_records:,.0f} tokens/s, running text {of_text:,.0f}, "
            f"ratio {ratio:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
