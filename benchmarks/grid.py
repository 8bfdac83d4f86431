"""What each combination of settings reaches: the table that the recipe of
charrnn/training/plan.py is fitted to.

python benchmarks/grid.py CORPUS... [--budgets 60s 5m] [--hidden-size 128 256] [--dropout 0 0.2],
or `make grid`

CORPUS is a file or a name of `charrnn corpus list`; every setting of the model and the optimizer is
an axis under its name in `charrnn train`, and those without values are left to the recipe. Each run
is a row of the table, the shortest ones first, and the same command goes on after a stop.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from rows import SETTINGS, TABLES, Run, complete, identity, make_run, open_texts, task
from runs import as_options, one_line_errors
from table import Row

from charrnn.config.train import parse_duration
from charrnn.data.corpus import Corpus

AXES: dict[str, list[Any]] = {
    "cell": ["lstm"],
    "hidden_size": [128, 256, 384, 512],
    "dropout": [0.0, 0.1, 0.25, 0.4],
}
BUDGETS = ["15s", "60s", "5m"]


def flag(text: str) -> bool:
    """Read the value of a setting that is on or off."""
    return bool(("false", "true").index(text))


KINDS: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str, "bool": flag}


def plan_runs(
    texts: Mapping[str, Corpus],
    budgets: Sequence[str],
    seeds: Sequence[int],
    axes: Mapping[str, Any],
) -> Iterator[Run]:
    """Yield every combination, the runs of the shortest budget first."""
    used = {name: values for name, values in axes.items() if values}
    budgets = sorted(budgets, key=parse_duration)
    points = product(budgets, texts.items(), seeds, *used.values())
    for index, (budget, text, seed, *values) in enumerate(points, start=1):
        settings = dict(zip(used, values, strict=True))
        yield make_run(text, "grid", index, budget=budget, seed=seed, **settings)


def format_best(runs: Sequence[Run], rows: Sequence[Row]) -> str:
    """Name the best run of each text and budget, one a line."""
    wanted = {identity(run.row): run for run in runs}
    best: dict[tuple[str, ...], Row] = {}
    for row in rows:
        if identity(row) in wanted and not row["error"]:
            rival = best.setdefault(task(row), row)
            best[task(row)] = min(row, rival, key=lambda each: float(each["val_nats"]))
    lines = (
        f"{row['corpus']} {float(row['budget_seconds']):g}s: best {row['val_nats']} nats with "
        + " ".join(as_options(wanted[identity(row)].settings))
        for row in best.values()
    )
    return "\n".join(lines)


def read_options() -> argparse.Namespace:
    """Read the command line, with an axis for every setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpora", nargs="+", metavar="CORPUS")
    parser.add_argument("--budgets", nargs="+", default=BUDGETS, metavar="TIME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--table", type=Path, default=TABLES / "grid.csv")
    axes = parser.add_argument_group("axes")
    for name, item in SETTINGS.items():
        axes.add_argument(
            f"--{name.replace('_', '-')}",
            nargs="*",
            type=KINDS[str(item.type).partition(" ")[0]],
            default=AXES.get(name, []),
            metavar="VALUE",
        )
    return parser.parse_args()


def main() -> None:
    """Make the runs that the table lacks, then print the best of each text and budget."""
    options = read_options()
    axes = {name: getattr(options, name) for name in SETTINGS}
    with one_line_errors():
        texts = open_texts(options.corpora)
        runs = list(plan_runs(texts, options.budgets, options.seeds, axes))
        print(format_best(runs, complete(options.table, runs)))


if __name__ == "__main__":
    main()
