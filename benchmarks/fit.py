"""Fits the curves of charrnn/training/outlook.py to a table of runs: python benchmarks/fit.py

The table is made by: python benchmarks/grid.py WHOLE HALF QUARTER --budgets 10s 20s 40s 80s
--hidden-size --dropout --table benchmarks/tables/curves.csv, where HALF is the first half of the
text WHOLE, and so on: default settings throughout. A gain is the share of the held-out loss that
goes when the time, or the text, is doubled; the fit is a line through the logarithms.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rows import read_rows
from table import Row

CURVES = Path(__file__).parent / "tables" / "curves.csv"
SMALLEST_GAIN = 1e-4  # a doubling that gained nothing still has a logarithm

Point = tuple[float, float]
"""How often the text was read, and the gain of a doubling."""


def epochs_of(row: Row) -> float:
    """Give how often the run read its text."""
    symbols = int(row["batch_size"]) * int(row["seq_len"])
    return int(row["steps"]) * symbols / int(row["train_chars"])


def doublings(rows: list[Row], of: str, alike: tuple[str, ...]) -> Iterator[Point]:
    """Yield a point for each pair of runs that differ by about twice in `of` alone."""
    for less in rows:
        for more in rows:
            is_alike = all(less[name] == more[name] for name in alike)
            ratio = float(more[of]) / float(less[of])
            if is_alike and 1.5 < ratio < 4.5:
                gain = 1 - float(more["val_nats"]) / float(less["val_nats"])
                yield epochs_of(less), gain / math.log2(ratio)


def fit(points: list[Point]) -> tuple[float, float]:
    """Give (a, b) of a · epochs^b by least squares of the logarithms."""
    epochs, gains = np.log([(x, max(y, SMALLEST_GAIN)) for x, y in points]).T
    slope, height = np.polyfit(epochs, gains, 1)
    return round(float(np.exp(height)), 4), round(float(slope), 3)


def main() -> None:
    """Print each curve with the points it goes through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=CURVES)
    rows = read_rows(parser.parse_args().table)
    for name, of, alike in (
        ("TIME_CURVE", "budget_seconds", ("corpus", "seed")),
        ("TEXT_CURVE", "train_chars", ("budget_seconds", "seed")),
    ):
        points = list(doublings(rows, of, alike))
        a, b = fit(points)
        print(f"{name} = ({a}, {b})")
        for epochs, gain in sorted(points):
            print(f"  {epochs:6.2f} epochs: measured {gain:7.4f}, fitted {a * epochs**b:7.4f}")


if __name__ == "__main__":
    main()
