"""What twice the time and twice the text bring: python benchmarks/curves.py [CORPUS]

Trains with default settings on all, the last half and the last quarter of a text's training part,
each scored on the same held-out tenth, and fits the curves of training/extrapolation.py to it. A
gain is the share of the held-out loss that goes with a doubling: that of time falls with a power of
the epochs, that of text rises with their logarithm. The runs are kept in tables/curves.csv; those
of tables/budgets.csv count too. Runs of two texts are never compared.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rows import TABLES, read_rows
from runs import one_line_errors, train
from table import Table

from charrnn.config import TextConfig
from charrnn.config.train import parse_duration
from charrnn.corpora.library import locate_texts
from charrnn.data.corpus import open_corpus
from charrnn.errors import ConfigError
from charrnn.training.plan import extrapolate

TABLE, BUDGETS = TABLES / "curves.csv", TABLES / "budgets.csv"
COLUMNS = ("corpus", "train_chars", "budget_seconds", "seed", "epochs", "val_nats")
SMALLEST_GAIN = 1e-4  # a doubling that gained nothing still has a logarithm

Row = dict[str, Any]
"""The name of the corpus, and numbers."""
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
            part_file.write_text(whole[len(whole) - len(whole) // part :], encoding="utf-8")
            for budget in budgets:
                settings = {"budget": budget, "seed": seed, "val_file": held_out}
                end = train(str(part_file), settings)["finished"]
                yield {
                    "corpus": text.name,
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
    """Return (a, b) of a · epochs^b by least squares of the logarithms."""
    epochs, gains = np.log([(x, max(y, SMALLEST_GAIN)) for x, y in points]).T
    slope, height = np.polyfit(epochs, gains, 1)
    return round(float(np.exp(height)), 4), round(float(slope), 3)


def fit_logarithm(points: Sequence[Point]) -> tuple[float, float]:
    """Return (a, b) of a + b log₂ epochs by least squares."""
    epochs, gains = np.array(points).T
    slope, height = np.polyfit(np.log2(epochs), gains, 1)
    return round(float(height), 4), round(float(slope), 4)


def read_runs(table: Table) -> list[Row]:
    """Return the runs of both tables, as far as they are there."""
    own = table.open() if table.path.exists() else []
    others = read_rows(BUDGETS) if BUDGETS.exists() else []
    return [*map(as_numbers, own), *map(as_run, others)]


def as_run(row: Mapping[str, str]) -> Row:
    """Return a row of `rows.py`'s tables as one of ours."""
    tokens = int(row["steps"]) * int(row["batch_size"]) * int(row["seq_len"])
    return as_numbers({**row, "epochs": tokens / int(row["train_chars"])})


def as_numbers(row: Mapping[str, Any]) -> Row:
    """Return our columns of a row, all but the name as numbers."""
    return {name: row[name] if name == "corpus" else float(row[name]) for name in COLUMNS}


def find_points(rows: Sequence[Row], of: str, alike: Sequence[str]) -> list[Point]:
    """Return the points of one curve, those of the fewest epochs first.

    Raises:
        ConfigError: there are too few to fit it to.
    """
    points = sorted(doublings(rows, of, ("corpus", *alike)))
    if len(points) < 2:
        raise ConfigError(
            f"{TABLE} and {BUDGETS.name} have {len(points)} pairs of runs that differ by a "
            f"doubling of {of}, and a curve needs 2; name a CORPUS to train on"
        )
    return points


def main() -> None:
    """Make the runs that are asked for, then print each curve with the points it goes through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?")
    parser.add_argument("--budgets", nargs="+", default=["10s", "40s"])
    parser.add_argument("--parts", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with one_line_errors():
        table = Table(TABLE, dict.fromkeys(COLUMNS, ""))
        if options.corpus is not None:
            table.open()
            for row in measure(options.corpus, options.budgets, options.parts, options.seed):
                table.add({name: str(row[name]) for name in COLUMNS})
                print(row, flush=True)
        rows = read_runs(table)
        by_time = find_points(rows, "budget_seconds", ("train_chars", "seed"))
        by_text = find_points(rows, "train_chars", ("budget_seconds", "seed"))
    print(f"TIME_CURVE = {fit_power(by_time)}\nTEXT_CURVE = {fit_logarithm(by_text)}")
    for name, points in (("time", by_time), ("text", by_text)):
        print(f"{name.upper()}_EPOCHS = {round(points[0][0], 2), round(points[-1][0], 2)}")
        for epochs, measured in points:
            fitted = getattr(extrapolate(epochs), f"twice_the_{name}")
            print(
                f"twice the {name}, {epochs:6.2f} epochs: {measured:7.4f}, the curve {fitted:.4f}"
            )


if __name__ == "__main__":
    main()
