"""What twice the time and twice the text bring: python benchmarks/curves.py [CORPUS]

Trains with default settings on all, the last half and the last quarter of a text's training part,
each scored on the same held-out tenth, and fits the curves of charrnn/training/outlook.py to it. A
gain is the share of the held-out loss that goes with a doubling: that of time falls with a power of
the epochs, that of text rises with their logarithm. The runs are kept in tables/curves.csv; those
of tables/budgets.csv count too.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from rows import TABLES, read_rows
from runs import one_line_errors, train

from charrnn.config import TextConfig, parse_duration
from charrnn.runs.request import locate_texts
from charrnn.storage import append_text
from charrnn.text.corpus import open_corpus
from charrnn.training.outlook import expected_gains

TABLE, BUDGETS = TABLES / "curves.csv", TABLES / "budgets.csv"
COLUMNS = ("train_chars", "budget_seconds", "seed", "epochs", "val_nats")
SMALLEST_GAIN = 1e-4  # a doubling that gained nothing still has a logarithm

Row = dict[str, float]
Point = tuple[float, float]
"""How often the text was read, and the gain of a doubling."""


def measure(corpus: str, budgets: Sequence[str], parts: Sequence[int], seed: int) -> Iterator[Row]:
    """Train on a 1/part of the text for each budget and yield what came of it."""
    text = open_corpus(locate_texts([corpus]), TextConfig())
    whole = text.vocab.decode(text.train)
    with tempfile.TemporaryDirectory() as folder:
        held_out, part_file = Path(folder, "held-out.txt"), Path(folder, "part.txt")
        held_out.write_text(text.vocab.decode(text.val), encoding="utf-8")
        for part in parts:
            part_file.write_text(whole[-len(whole) // part :], encoding="utf-8")
            for budget in budgets:
                settings = {"budget": budget, "seed": seed, "val_file": held_out}
                end = train(str(part_file), settings)["finished"]
                yield {
                    "train_chars": len(whole) // part,
                    "budget_seconds": parse_duration(budget),
                    "seed": seed,
                    "epochs": round(end["epochs"], 3),
                    "val_nats": round(end["best_val_nats"], 5),
                }


def doublings(rows: Sequence[Row], of: str, alike: Sequence[str]) -> Iterator[Point]:
    """Yield a point for each pair of runs that differ by about twice or four times in `of`."""
    for less in rows:
        for more in rows:
            ratio = more[of] / less[of]
            if all(less[name] == more[name] for name in alike) and 1.5 < ratio < 4.5:
                gain = 1 - more["val_nats"] / less["val_nats"]
                yield less["epochs"], gain / math.log2(ratio)


def fit_power(points: Sequence[Point]) -> tuple[float, float]:
    """Give (a, b) of a · epochs^b by least squares of the logarithms."""
    epochs, gains = np.log([(x, max(y, SMALLEST_GAIN)) for x, y in points]).T
    slope, height = np.polyfit(epochs, gains, 1)
    return round(float(np.exp(height)), 4), round(float(slope), 3)


def fit_logarithm(points: Sequence[Point]) -> tuple[float, float]:
    """Give (a, b) of a + b log₂ epochs by least squares."""
    epochs, gains = np.array(points).T
    slope, height = np.polyfit(np.log2(epochs), gains, 1)
    return round(float(height), 4), round(float(slope), 4)


def read_runs() -> list[Row]:
    """Give the runs of both tables."""
    with TABLE.open(encoding="utf-8", newline="") as lines:
        own = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(lines)]
    others = read_rows(BUDGETS) if BUDGETS.exists() else []
    return own + [as_run(row) for row in others]


def as_run(row: Mapping[str, str]) -> Row:
    """Give a row of `rows.py`'s tables as one of ours."""
    run = {name: float(row[name]) for name in COLUMNS if name != "epochs"}
    symbols = int(row["steps"]) * int(row["batch_size"]) * int(row["seq_len"])
    return run | {"epochs": symbols / int(row["train_chars"])}


def main() -> None:
    """Make the runs that are asked for, then print each curve with the points it goes through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?")
    parser.add_argument("--budgets", nargs="+", default=["10s", "40s"])
    parser.add_argument("--parts", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with one_line_errors():
        if options.corpus is not None:
            if not TABLE.exists():
                append_text(TABLE, ",".join(COLUMNS) + "\n")
            for row in measure(options.corpus, options.budgets, options.parts, options.seed):
                append_text(TABLE, ",".join(str(row[name]) for name in COLUMNS) + "\n")
                print(row, flush=True)
    rows = read_runs()
    by_time = sorted(doublings(rows, "budget_seconds", ("train_chars", "seed")))
    by_text = sorted(doublings(rows, "train_chars", ("budget_seconds", "seed")))
    print(f"TIME_CURVE = {fit_power(by_time)}\nTEXT_CURVE = {fit_logarithm(by_text)}")
    for name, points in (("time", by_time), ("text", by_text)):
        for epochs, measured in points:
            fitted = getattr(expected_gains(epochs), f"twice_the_{name}")
            print(
                f"twice the {name}, {epochs:6.2f} epochs: {measured:7.4f}, the curve {fitted:.4f}"
            )


if __name__ == "__main__":
    main()
