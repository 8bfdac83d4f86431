"""What a sweep by halving finds, and at what cost, against every trial trained to its end.

python benchmarks/sweep.py CORPUS [--budget 90s] [--over hidden_size=64,128,256 ...] [--folder DIR]

Halving goes first, with the budget. Then the trials that it left are resumed to their ends: as a
resumed run is that of an uninterrupted one, bit for bit, that is the grid, and its cost is the time
of all runs from their first steps on. The same command goes on after a stop. The target: within
0.01 nats of the grid's best in at most 35 % of its time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from runs import one_line_errors

import charrnn
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.run_store import read_last_state
from charrnn.tasks.sweep import SweepFinished
from charrnn.tasks.sweep_trials import count_at_rungs, read_sweep, shares_of, whole_runs

OVER = ["hidden_size=64,128,256", "learning_rate=0.001..0.016:log:3"]
_MOST_NATS = 0.01
_MOST_SHARE = 0.35


def run_halving(corpus: str, folder: Path, options: argparse.Namespace) -> SweepFinished:
    """Sweep, and print each trial that comes to a rung."""

    def show(report: Any) -> None:
        if type(report).__name__ == "TrialEnded":
            score = report.trial.score_at(report.rung)
            print(f"{report.trial.name} rung {report.rung + 1}: {score} nats", flush=True)

    return charrnn.sweep(
        corpus,
        options.over,
        budget=options.budget,
        eta=options.eta,
        threads=options.threads,
        patience=0,
        name="sweep",
        **dict(options.set),
        checkpoints=str(folder),
        on_report=show,
    )


def run_grid(corpus: str, folder: Path, found: SweepFinished) -> dict[str, tuple[float, float]]:
    """Train every trial to its end; return nats and seconds of each by name."""
    results = {}
    for trial in sorted(found.trials, key=lambda each: each.number):
        run = RunFolder(folder / trial.name)
        last = read_last_state(run)
        assert last is not None
        if not (last.progress or {}).get("is_finished"):
            charrnn.fit(corpus, resume=trial.name, checkpoints=str(folder))
        last = read_last_state(run)
        assert last is not None
        model = charrnn.describe(trial.name, checkpoints=folder)
        results[trial.name] = (float(model["val_nats"]), float(last.summary["elapsed_seconds"]))
        print(f"{trial.name} {trial.settings}: {results[trial.name]}", flush=True)
    return results


def whole_number(text: str) -> tuple[str, int]:
    """Read NAME=N, a setting of all trials."""
    name, _, value = text.partition("=")
    return name, int(value)


def trained_share(found: SweepFinished, grid: dict[str, tuple[float, float]]) -> float:
    """Return the share of the grid's time that halving trained, by steps of each trial.

    Both count a trial's steps at the speed of its whole run, so a machine that was busier in one of
    the two does not show.
    """
    spent = 0.0
    for trial in found.trials:
        reached = trial.steps if trial.is_finished else trial.rung_steps[len(trial.scores) - 1]
        spent += (reached or 0) / (trial.steps or 1) * grid[trial.name][1]
    return spent / sum(seconds for _, seconds in grid.values())


def main() -> None:
    """Sweep, train the rest, and print the gap and the share of the time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus")
    parser.add_argument("--budget", default="90s", metavar="TIME")
    parser.add_argument("--over", nargs="+", default=OVER, metavar="NAME=VALUES")
    parser.add_argument("--set", nargs="+", type=whole_number, default=[], metavar="NAME=N")
    parser.add_argument("--eta", type=int, default=3, metavar="N")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the runs there")
    options = parser.parse_args()
    with one_line_errors(), tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        began = time.perf_counter()
        found = run_halving(options.corpus, folder, options)
        wall_seconds = time.perf_counter() - began
        grid = run_grid(options.corpus, folder, found)
        best = min(grid.values())[0]
        own = grid[found.best.name][0]
        seconds = sum(each for _, each in grid.values())
        state = read_sweep(folder / "sweep")
        assert state is not None
        counts = count_at_rungs(len(grid), options.eta, None)
        planned = whole_runs(counts, options.eta) / len(grid)
        shares = ", ".join(f"{share:.2f}" for share in shares_of(len(counts), options.eta))
        print(
            f"{len(grid)} trials, {counts} up to {shares} of a run\n"
            f"halving: {found.best.settings}, {own:.4f} nats, {found.seconds:.1f} s of training, "
            f"{wall_seconds:.1f} s in all where it ran without a stop\n"
            f"grid: {best:.4f} nats, {seconds:.1f} s of training\n"
            f"gap {own - best:.4f} nats (at most {_MOST_NATS}), share of the time "
            f"{found.seconds / seconds:.1%} (at most {_MOST_SHARE:.0%}; planned {planned:.1%}, by "
            f"steps {trained_share(found, grid):.1%})"
        )


if __name__ == "__main__":
    main()
