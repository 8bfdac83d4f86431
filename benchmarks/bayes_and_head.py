"""Two ways to a label, by the number of examples: python benchmarks/bayes_and_head.py FOLDER

Each file of the folder is a language, with a name a line (classify_names.py says which rows are
tested). From the others, as many names of each language are drawn as --counts says, or all that a
language has; 0 stands for all of all. A labelled language model with Bayes' rule learns to write
the names, and a network that decides learns to tell them apart, each in the same seconds. Writes
tables/bayes_and_head.csv, and draws docs/bayes_and_head.svg of it.

Further options go to both trainings.
"""

from __future__ import annotations

import csv
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch  # noqa: F401  (or the first training would take its import, too)
from chart import Chart
from classify_names import Pairs, read_pairs, split
from rows import TABLES
from runs import one_line_errors
from task_scores import class_figures, classify, make_parser, print_header, print_row, read_options

from charrnn.storage import write_atomically

TABLE = TABLES / "bayes_and_head.csv"
PICTURE = Path(__file__).parents[1] / "docs" / "bayes_and_head.svg"
WAYS = {"text": "a labelled language model, by Bayes", "classification": "a network that decides"}
SHORT = {"text": "Bayes", "classification": "network"}
COLORS = {"text": "#c50", "classification": "#06c"}
COUNTS = (3, 10, 30, 100, 0)
COLUMNS = ("task", "languages", "count", "rows", "accuracy", "macro_f1", "log_loss", "seconds")


def draw_rows(pairs: Pairs, count: int, seed: int) -> Pairs:
    """Return `count` names of each language, or all that it has; 0: all of all.

    With one seed, a larger count has the names of a smaller one.
    """
    drawn: Pairs = []
    for language in sorted({language for _, language in pairs}):
        own = [pair for pair in pairs if pair[1] == language]
        order = np.random.default_rng([seed, language]).permutation(len(own))
        drawn += [own[i] for i in order[: count or None]]
    return drawn


def draw_chart(rows: Sequence[Mapping[str, str]]) -> str:
    """Return macro-F1 by the number of names, as SVG."""
    best = max(float(row["macro_f1"]) for row in rows)
    chart = Chart(
        across=f"names to learn from, of {rows[0]['languages']} languages (logarithmic)",
        up="macro-F1 on other names of the same languages",
        ticks={int(row["rows"]): f"{int(row['rows']):,}" for row in rows},
        low=0.0,
        high=math.ceil(10 * best) / 10,
        step=0.1,
    )
    for task, color in COLORS.items():
        own = [row for row in rows if row["task"] == task]
        points = [(float(row["rows"]), float(row["macro_f1"])) for row in own]
        chart.draw_curve(points, color)
    chart.add_legend({COLORS[task]: name for task, name in WAYS.items()})
    return chart.as_svg()


@one_line_errors()
def main() -> None:
    """Measure both ways at each count, write the table and draw it."""
    parser = make_parser(__doc__, "20s", "FOLDER", has_anchors=False)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    options, settings = read_options(parser)
    languages, pairs = read_pairs(options.folder)
    own, others = split(pairs)
    texts = [text for text, _ in others]
    truth = np.array([language for _, language in others])
    print_header("accuracy", "macro-F1", "log loss")
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for count in options.counts:
            rows = draw_rows(own, count, options.seed)
            for task, name in SHORT.items():
                with tempfile.TemporaryDirectory() as folder:
                    given = settings | {"task": task}
                    probs, seconds = classify(rows, texts, languages, Path(folder), given)
                figures = class_figures(probs[None], truth)
                print_row(f"{len(rows):,} names, {name}", figures, seconds)
                values = [f"{figure.value:.4f}" for figure in figures]
                row = (task, len(languages), count, len(rows), *values, f"{seconds:.1f}")
                table.writerow(dict(zip(COLUMNS, row, strict=True)))
                file.flush()
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    write_atomically(PICTURE, draw_chart([*csv.DictReader(lines)]))


if __name__ == "__main__":
    sys.exit(main())
