"""What each cell reaches in a minute: python benchmarks/train_cells.py CORPUS [--budget 60s]

CORPUS is a file or a name of `charrnn corpus list`; the figures in the README are of
tiny-shakespeare. Bounds for 60 s on two cores: lstm 1.55, gru 1.58, rnn 1.66 nats per character.
"""

from __future__ import annotations

import argparse
import statistics

from runs import one_line_errors, train

CELLS = ("lstm", "gru", "rnn")


def measure(corpus: str, cell: str, budget: str, seed: int) -> float:
    """Train, print what was reached, and give the held-out nats."""
    end = train(corpus, {"cell": cell, "budget": budget, "seed": seed})["finished"]
    print(
        f"{cell:5} seed {seed}: val {end['best_val_nats']:.4f} nats, "
        f"windowed {end['best_val_windowed_nats']:.4f}, train {end['train_nats']:.4f}, "
        f"{end['step']} steps, {end['elapsed_seconds']:.1f} s",
        flush=True,
    )
    return float(end["best_val_nats"])


def main() -> None:
    """Print a line for each cell and seed, and each cell's median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--cells", nargs="+", default=CELLS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    options = parser.parse_args()
    with one_line_errors():
        for cell in options.cells:
            losses = [measure(options.corpus, cell, options.budget, s) for s in options.seeds]
            print(f"{cell:5} median {statistics.median(losses):.4f} nats")


if __name__ == "__main__":
    main()
