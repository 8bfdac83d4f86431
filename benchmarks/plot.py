"""Draws docs/curve.svg, what each time to train reaches: python benchmarks/plot.py

The table's rows up to 40 s were made by: python benchmarks/grid.py tiny-shakespeare --hidden-size
--dropout --budgets 5s 10s --seeds 1 2 3 --table benchmarks/tables/budgets.csv, then by the same
with --budgets 3s 20s 40s and one seed. Those of 90 s (three seeds) and 5 min are of `charrnn train
tiny-shakespeare --budget B --seed S --json`, entered from what it said.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from rows import TABLES, read_rows
from runs import one_line_errors

from charrnn.storage import write_atomically

PICTURE = Path(__file__).parents[1] / "docs" / "curve.svg"
OWN = "charrnn, state carried"
OTHERS = (("nanoGPT, 4×128, other cores, windows of 64", 91.0, 1.8857),)
RECORDS = (("nanoGPT, 3 minutes of an A100, windows of 256", 1.4697),)

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 450, 72, 24, 16, 60
LOW_NATS, HIGH_NATS, STEP_NATS = 1.3, 2.1, 0.1
TICKS = {3: "3 s", 5: "5 s", 10: "10 s", 30: "30 s", 60: "1 min", 300: "5 min", 1800: "30 min"}
SHORTEST, LONGEST = min(TICKS), max(TICKS)

Point = tuple[float, float]
"""Seconds, and nats per character."""


def medians(path: Path) -> list[Point]:
    """Return the median loss of each budget in the table, the shortest first."""
    losses: dict[float, list[float]] = {}
    for row in read_rows(path):
        losses.setdefault(float(row["budget_seconds"]), []).append(float(row["val_nats"]))
    return sorted((seconds, statistics.median(found)) for seconds, found in losses.items())


def time_to(nats: float, points: Sequence[Point]) -> float:
    """Return the shortest measured budget that ends at `nats` or below; infinity if none does."""
    return min((seconds for seconds, loss in points if loss <= nats), default=math.inf)


def place(point: Point) -> Point:
    """Return a point's place in the picture: the logarithm of time to the right, loss up."""
    across = math.log(point[0] / SHORTEST) / math.log(LONGEST / SHORTEST)
    up = (min(point[1], HIGH_NATS) - LOW_NATS) / (HIGH_NATS - LOW_NATS)
    return (
        LEFT + across * (WIDTH - LEFT - RIGHT),
        HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
    )


def draw(points: Sequence[Point]) -> str:
    """Return the picture as SVG."""
    shapes = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for number in range(round((HIGH_NATS - LOW_NATS) / STEP_NATS) + 1):
        nats = LOW_NATS + number * STEP_NATS
        _, y = place((SHORTEST, nats))
        shapes.append(line(LEFT, y, WIDTH - RIGHT, y, "#ddd"))
        shapes.append(text(LEFT - 8, y + 4, f"{nats:.1f}", "end"))
    for seconds, name in TICKS.items():
        x, _ = place((seconds, LOW_NATS))
        shapes.append(text(x, HEIGHT - BOTTOM + 18, name, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    title = "loss on held-out text (nats per character)"
    upwards = f'transform="rotate(-90 20 {middle})"'
    shapes.append(text(20, middle, title, "middle", more=upwards))
    across = "time to train on two processor cores (logarithmic)"
    shapes.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, across, "middle"))
    for name, nats in RECORDS:
        _, y = place((SHORTEST, nats))
        shapes.append(line(LEFT, y, WIDTH - RIGHT, y, "#c50", 'stroke-dasharray="6 4"'))
        shapes.append(text(WIDTH - RIGHT, y - 6, f"{name}: {nats}", "end", "#c50"))
    for name, seconds, nats in OTHERS:
        x, y = place((seconds, nats))
        shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#c50"/>')
        shapes.append(text(x + 8, y + 4, f"{name}: {nats}", "start", "#c50"))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, points))
    shapes.append(f'<polyline points="{path}" fill="none" stroke="#06c" stroke-width="2"/>')
    for x, y, nats in ((*place(point), point[1]) for point in points):
        shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#06c"/>')
        shapes.append(text(x + 6, y - 5, f"{nats:.3f}", "start", "#06c"))
    shapes.append(text(WIDTH - RIGHT, TOP + 16, OWN, "end", "#06c"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
    style = 'font-family="sans-serif" font-size="12"'
    return "\n".join([f"{head} {style}>", *shapes, "</svg>", ""])


def line(x1: float, y1: float, x2: float, y2: float, color: str, more: str = "") -> str:
    """Return a straight line."""
    return f'<line x1="{x1}" y1="{y1:.1f}" x2="{x2}" y2="{y2:.1f}" stroke="{color}" {more}/>'


def text(x: float, y: float, words: str, anchor: str, color: str = "#444", more: str = "") -> str:
    """Return a line of text that starts, ends or has its middle at x."""
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} fill="{color}" {more}>{words}</text>'


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
