"""How far the default settings are from the best that a search finds.

python benchmarks/search.py CORPUS... [--budget 60s] [--runs 20], or `make search`

CORPUS is a file or a name of `charrnn corpus list`. Each run is a row of the table, and the same
command goes on after a stop. Bound: the median of the defaults is within 0.02 nats of the best
drawn run, which has had the luck of being the best of many.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rows import TABLES, Run, complete, identity, make_run, open_texts, task
from runs import as_options, one_line_errors
from table import Row

from charrnn.config.train import parse_duration
from charrnn.data.corpus import Corpus

WITHIN_NATS = 0.02
SHORT_SECONDS = 120.0  # up to here a default run is cheap enough to be made three times

Draw = Callable[[random.Random], Any]


def one_of(*values: Any) -> Draw:
    """Draw one of the values; one that is named twice comes twice as often."""
    return lambda chance: chance.choice(values)


def uniform(low: float, high: float) -> Draw:
    """Draw a number in hundredths."""
    return lambda chance: round(chance.uniform(low, high), 2)


def log_uniform(low: float, high: float) -> Draw:
    """Draw a number of three digits: as often between 1 and 2 as between 2 and 4."""
    return lambda chance: float(f"{low * (high / low) ** chance.random():.3g}")


def log_steps(low: int, high: int, step: int) -> Draw:
    """Draw a multiple of `step`, about log-uniform."""
    return lambda chance: step * round(low / step * (high / low) ** chance.random())


RANGES: dict[str, Draw] = {
    "cell": one_of(*["lstm"] * 8, "gru", "rnn"),
    "hidden_size": log_steps(64, 768, 32),
    "num_layers": one_of(1, 1, 1, 2),
    "embedding_size": log_steps(16, 256, 16),
    "residual": one_of(False, True),
    "initial_state": one_of("zero", "zero", "learned"),
    "dropout": uniform(0, 0.5),
    "batch_size": log_steps(8, 64, 8),
    "seq_len": log_steps(32, 256, 16),
    "optimizer": one_of("muon", "muon", "muon", "adamw"),
    "learning_rate": log_uniform(1e-3, 1.2e-2),
    "lr_schedule": one_of("linear", "cosine"),
    "warmup_steps": log_steps(20, 400, 10),
    "clip_grad_norm": log_uniform(0.25, 4),
    "weight_decay_input": log_uniform(1e-3, 0.15),
    "weight_decay_recurrent": log_uniform(1e-3, 0.15),
    "weight_decay_output": log_uniform(1e-3, 0.3),
    "weight_decay_embedding": one_of(0.0, 0.0, 0.01, 0.1),
    "ema_decay": one_of(0.0, 0.98, 0.99, 0.995, 0.998, 0.999),
}


def draw_settings(corpus: str, seed: int, index: int) -> dict[str, Any]:
    """Draw the settings of run `index` of a corpus by its name: the same ones every time.

    Each setting has a stream of its own, so that a range can change and leave the others alone.
    """
    return {
        name: draw(random.Random(f"{corpus} {seed} {index} {name}"))
        for name, draw in RANGES.items()
    }


def plan_runs(text: tuple[str, Corpus], options: argparse.Namespace) -> list[Run]:
    """Return the runs of one text: the defaults by seed, then the drawn ones."""
    budget, first, name = options.budget, options.seed, text[1].name
    count = options.defaults or (3 if parse_duration(budget) <= SHORT_SECONDS else 1)
    defaults = [
        make_run(text, "default", index, budget=budget, seed=first + index - 1)
        for index in range(1, count + 1)
    ]
    drawn = [
        make_run(text, "drawn", i, budget=budget, seed=first, **draw_settings(name, first, i))
        for i in range(1, options.runs + 1)
    ]
    return defaults + drawn


def format_verdict(runs: Sequence[Run], rows: Sequence[Row]) -> str:
    """Print how the defaults of one text stand to the best of all its drawn runs in the table."""
    own = {identity(run.row) for run in runs if run.row["kind"] == "default"}
    alike = [row for row in rows if task(row) == task(runs[0].row) and not row["error"]]
    defaults = [float(row["val_nats"]) for row in alike if identity(row) in own]
    drawn = [row for row in alike if row["kind"] == "drawn"]
    title = f"{runs[0].row['corpus']}, {float(runs[0].row['budget_seconds']):g} s"
    if not defaults or not drawn:
        return f"{title}: no {'drawn' if defaults else 'default'} run ended well; see the table"
    best = min(drawn, key=lambda row: float(row["val_nats"]))
    median, lowest = statistics.median(defaults), float(best["val_nats"])
    is_near = median - lowest <= WITHIN_NATS
    settings = " ".join(as_options({name: best[name] for name in RANGES}))
    return (
        f"{title}\n"
        f"  defaults    {median:.4f} nats, median of {len(defaults)} "
        f"({min(defaults):.4f} to {max(defaults):.4f})\n"
        f"  best drawn  {lowest:.4f} nats, run {best['index']} of seed {best['seed']}, "
        f"the best of {len(drawn)}\n"
        f"  difference  {median - lowest:+.4f} nats\n"
        f"  defaults within {WITHIN_NATS} nats of the best found: {'yes' if is_near else 'no'}\n"
        f"  best settings: {settings}"
    )


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpora", nargs="+", metavar="CORPUS")
    parser.add_argument("--runs", type=_count, default=20, help="drawn runs of each corpus")
    parser.add_argument(
        "--defaults", type=_count, help="default runs, a seed each; 3, or 1 above two minutes"
    )
    parser.add_argument("--budget", default="60s", help="time of a run")
    parser.add_argument("--seed", type=int, default=1, help="of the draws and of training")
    parser.add_argument("--table", type=Path, default=TABLES / "search.csv")
    return parser.parse_args()


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def main() -> None:
    """Make the runs that the table lacks, then print a verdict for each corpus."""
    options = read_options()
    with one_line_errors():
        texts = open_texts(options.corpora)
        plans = [plan_runs(text, options) for text in texts.items()]
        rows = complete(options.table, [run for runs in plans for run in runs])
        for runs in plans:
            print(f"\n{format_verdict(runs, rows)}")


if __name__ == "__main__":
    main()
