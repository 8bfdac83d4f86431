"""Draws docs/curve.svg, what each time to train reaches: python benchmarks/plot.py

The table has what `charrnn train tiny-shakespeare --budget B` said on two cores of an AMD EPYC with
AVX512-BF16, where nanoGPT's recipe was run too (benchmarks/peers.py).
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from chart import Chart, Point
from rows import TABLES, read_rows
from runs import one_line_errors

from charrnn.storage import write_atomically

PICTURE = Path(__file__).parents[1] / "docs" / "curve.svg"
OWN = "charrnn, state carried"
OWN_COLOR, THEIR_COLOR = "#06c", "#c50"
OTHERS = (("nanoGPT, 4×128, windows of 64", 91.3, 1.8857),)
RECORDS = (("nanoGPT, 3 minutes of an A100, windows of 256", 1.4697),)

TICKS = {3: "3 s", 5: "5 s", 10: "10 s", 30: "30 s", 60: "1 min", 300: "5 min", 1800: "30 min"}


def medians(path: Path) -> list[Point]:
    """Return the median loss of each budget in the table, the shortest first."""
    losses: dict[float, list[float]] = {}
    for row in read_rows(path):
        losses.setdefault(float(row["budget_seconds"]), []).append(float(row["val_nats"]))
    return sorted((seconds, statistics.median(found)) for seconds, found in losses.items())


def time_to(nats: float, points: Sequence[Point]) -> float:
    """Return the shortest measured budget that ends at `nats` or below; infinity if none does."""
    return min((seconds for seconds, loss in points if loss <= nats), default=math.inf)


def draw(points: Sequence[Point]) -> str:
    """Return the picture as SVG."""
    chart = Chart(
        across="time to train on two processor cores (logarithmic)",
        up="loss on held-out text (nats per character)",
        ticks=TICKS,
        low=1.3,
        high=2.1,
        step=0.1,
    )
    for name, nats in RECORDS:
        chart.mark_level(nats, f"{name}: {nats}", THEIR_COLOR)
    for name, seconds, nats in OTHERS:
        chart.mark_point((seconds, nats), f"{name}: {nats}", THEIR_COLOR)
    chart.draw_curve(points, OWN_COLOR, ".3f")
    chart.add_legend({OWN_COLOR: OWN})
    return chart.as_svg()


def main() -> None:
    """Draw, and print the times to the marks of others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=TABLES / "budgets.csv")
    options = parser.parse_args()
    with one_line_errors():
        points = medians(options.table)
        write_atomically(PICTURE, draw(points))
    for name, nats in (*RECORDS, *((name, nats) for name, _, nats in OTHERS)):
        seconds = time_to(nats, points)
        print(f"{name}: {nats} nats. {OWN}, gets there with a budget of {seconds:g} s")


if __name__ == "__main__":
    main()
