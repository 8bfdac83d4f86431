"""Two ways to a label, by the number of examples: python benchmarks/bayes_and_head.py FOLDER

Each file of the folder is a language, with a name a line (classify_names.py says which rows are
tested). From the others, as many names of each language are drawn as --counts says, or all that a
language has; 0 stands for all of all. A labelled language model with Bayes' rule learns to write
the names, and a network that decides learns to tell them apart, each in the same seconds. Writes
tables/bayes_and_head.csv, and docs/bayes_and_head.svg from it; --draw-only draws it anew.

Further options go to both trainings.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
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
COLUMNS = ("task", "count", "rows", "accuracy", "macro_f1", "log_loss", "seconds")


def draw_rows(pairs: Pairs, count: int, seed: int) -> Pairs:
    """Return `count` names of each language, or all that it has; more of a seed contain fewer."""
    drawn: Pairs = []
    for language in sorted({language for _, language in pairs}):
        own = [pair for pair in pairs if pair[1] == language]
        order = np.random.default_rng([seed, language]).permutation(len(own))
        drawn += [own[i] for i in order[: count or None]]
    return drawn


def draw_chart(table: Path) -> str:
    """Return macro-F1 by the rows of a table, as SVG."""
    rows = [*csv.DictReader(table.read_text(encoding="utf-8").splitlines())]
    ticks = {int(row["rows"]): f"{int(row['rows']):,}" for row in rows}
    chart = Chart(
        across="names to learn from, of 18 languages (logarithmic)",
        up="macro-F1 on names of the same languages",
        ticks=ticks,
        low=0.0,
        high=0.7,
        step=0.1,
    )
    for task, color in COLORS.items():
        own = [row for row in rows if row["task"] == task]
        points = [(float(row["rows"]), float(row["macro_f1"])) for row in own]
        chart.draw_curve(points, color, ".2f", below=0 if task == "text" else 20)
    chart.add_legend({COLORS[task]: name for task, name in WAYS.items()})
    return chart.as_svg()


@one_line_errors()
def main() -> None:
    """Measure both ways at each count, write the table and draw it."""
    parser = make_parser(__doc__, "20s", "FOLDER")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--draw-only", action="store_true")
    options, settings = read_options(parser)
    if not options.draw_only:
        languages, pairs = read_pairs(options.folder)
        own, others = split(pairs)
        texts = [text for text, _ in others]
        truth = np.array([language for _, language in others])
        made: list[list[object]] = []
        print_header("accuracy", "macro-F1", "log loss")
        for count in options.counts:
            rows = draw_rows(own, count, options.seed)
            for task, name in SHORT.items():
                with tempfile.TemporaryDirectory() as folder:
                    given = settings | {"task": task}
                    probs, seconds = classify(rows, texts, languages, Path(folder), given)
                figures = class_figures(probs[None], truth)
                print_row(f"{len(rows):,} names, {name}", figures, seconds)
                values = [f"{figure.value:.4f}" for figure in figures]
                made.append([task, count, len(rows), *values, f"{seconds:.1f}"])
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *made])
    write_atomically(PICTURE, draw_chart(TABLE))


if __name__ == "__main__":
    sys.exit(main())
