"""Ours beside nanoGPT's character model: its CPU recipe and charrnn in turn, by the clock.

python benchmarks/peers.py NANOGPT_FOLDER [--corpus FILE] [--rounds 3] [--tries 5] [--json]

NANOGPT_FOLDER is a checkout of github.com/karpathy/nanoGPT. It is copied, and its data are written
into the copy as its prepare.py would write them, but from FILE (tiny-shakespeare by default), so
nothing is fetched and the checkout stays as it is. Options that this script does not know go to
its train.py, such as --max_iters=100.

(a) How long each takes to nanoGPT's result, the best validation loss that it prints: the seconds of
its whole process divided by those of ours, start, evaluations and end included. Our budget is found
by bisection with one seed; then both run in turn, ours with another seed in each round.
(b) What ours reaches in nanoGPT's time.

Windows are counted as nanoGPT counts: each has 64 characters, starts from nothing, and all 64
count. nanoGPT scores 240 random ones of the held-out tenth at each of 9 evaluations, whose best
counts; ours are all of them, one after another, by the model that the run keeps. Our loss with the
state carried, and in windows of 256, is printed too: those are of another protocol.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from runs import RunFailedError, one_line_errors, train

from charrnn.bench.speeds import median_ratio
from charrnn.checkpoint.model_file import read_model
from charrnn.config import TextConfig
from charrnn.corpora.library import locate_texts
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.errors import ConfigError, CorpusError

WINDOW = 64
RECIPE = (
    "config/train_shakespeare_char.py",
    *("--device=cpu", "--compile=False", "--eval_iters=20", "--log_interval=1"),
    *(f"--block_size={WINDOW}", "--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128"),
    *("--max_iters=2000", "--lr_decay_iters=2000", "--dropout=0.0"),
)
_DATA = Path("data", "shakespeare_char")
_VAL_LOSS = re.compile(r"^step \d+: train loss \S+, val loss ([\d.]+)$", re.MULTILINE)
_LEAST_BUDGET = 1.0  # seconds
_MORE = 1.15  # where the median of the rounds misses what one seed reached
_MOST_REPEATS = 4


@dataclass(frozen=True)
class Theirs:
    """A run of nanoGPT: seconds of its process, its best validation loss in nats per character."""

    seconds: float
    loss_nats: float


@dataclass(frozen=True)
class Ours:
    """A run of charrnn: seconds of its process, and its loss on held-out text by each protocol.

    window_nats: in windows as nanoGPT counts. windowed_nats: in windows of 256. carried_nats: with
    the state carried through the text.
    """

    budget_seconds: float
    seed: int
    seconds: float
    window_nats: float
    windowed_nats: float
    carried_nats: float


Train = Callable[[float, int], Ours]
"""Trains for a budget in seconds, with a seed."""


# ── nanoGPT ──


def copy_peer(folder: Path, text: str, target: Path) -> None:
    """Copy a checkout of nanoGPT to `target`, with `text` as its data.

    Raises:
        ConfigError: `folder` is no such checkout.
    """
    for name in ("train.py", RECIPE[0]):
        if not (folder / name).is_file():
            raise ConfigError(f"{folder} has no {name}, so it is no checkout of nanoGPT")
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(".git", "out*", "*.bin"))
    write_data(text, target / _DATA)


def write_data(text: str, folder: Path) -> None:
    """Write train.bin, val.bin and meta.pkl as nanoGPT's prepare.py does."""
    chars = sorted(set(text))
    ids = {char: i for i, char in enumerate(chars)}
    cut = int(len(text) * 0.9)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train.bin", text[:cut]), ("val.bin", text[cut:])):
        np.array([ids[char] for char in part], np.uint16).tofile(folder / name)
    meta = {"vocab_size": len(chars), "itos": dict(enumerate(chars)), "stoi": ids}
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))


def run_peer(folder: Path, options: Sequence[str]) -> Theirs:
    """Train nanoGPT in its copy by the recipe; `options` come after it and count more.

    Raises:
        RunFailedError: it ended with an error, or printed no validation loss.
    """
    command = [sys.executable, "train.py", *RECIPE, *options]
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RunFailedError(f"nanoGPT: exit {done.returncode}: {said[-1]}")
    return Theirs(seconds, best_loss(done.stdout))


def best_loss(printed: str) -> float:
    """Return the lowest validation loss that nanoGPT printed.

    Raises:
        RunFailedError: it printed none.
    """
    losses = [float(loss) for loss in _VAL_LOSS.findall(printed)]
    if not losses:
        raise RunFailedError("nanoGPT printed no validation loss")
    return min(losses)


# ── charrnn ──


def run_ours(path: str, corpus: Corpus, budget: float, seed: int) -> Ours:
    """Train charrnn on the text at `path`, and score the model that it keeps.

    Raises:
        RunFailedError: it ended with an error.
        ConfigError: the text is a list.
    """
    settings = {"budget": f"{budget:.2f}s", "seed": seed, "split": "tail"}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        finished = train(path, settings, folder=folder)["finished"]
        seconds = time.perf_counter() - began
        nats = score_windows(Path(finished["model"]), corpus)
    windowed = finished["best_val_windowed_nats"]
    if windowed is None:
        raise ConfigError(f"{path} is no running text, so it has no windows; give another --corpus")
    return Ours(budget, seed, seconds, nats, windowed, finished["best_val_nats"])


def score_windows(model: Path, corpus: Corpus, window: int = WINDOW) -> float:
    """Return the nats per character of the held-out text in windows, each from the zero state."""
    from charrnn.tasks.evaluate import load_networks
    from charrnn.training.evaluation import Stretch, compare_windowed

    networks = load_networks([read_model(model)])
    score, _ = compare_windowed(networks, Stretch(corpus.val), corpus.vocab, window=window)
    return score.loss_nats


def search_budget(train_for: Train, target_nats: float, most: float, tries: int) -> list[Ours]:
    """Bisect the budget between a second and `most` seconds, on a scale of ratios.

    Returns all runs; the shortest budget that reached the target is among them, if any did.
    """
    low = min(_LEAST_BUDGET, most)
    high = most
    runs = []
    for _ in range(tries):
        runs.append(train_for(math.sqrt(low * high), 1))
        if runs[-1].window_nats <= target_nats:
            high = runs[-1].budget_seconds
        else:
            low = runs[-1].budget_seconds
    return runs


def shortest_budget(runs: Sequence[Ours], target_nats: float) -> float:
    """Return the shortest budget that reached the target.

    Raises:
        RunFailedError: none did.
    """
    reached = [run.budget_seconds for run in runs if run.window_nats <= target_nats]
    if not reached:
        best = min(run.window_nats for run in runs)
        raise RunFailedError(
            f"no run reached {target_nats:.4f} nats; the best had {best:.4f}; give more --tries"
        )
    return min(reached)


# ── both ──


@dataclass(frozen=True)
class Comparison:
    """All runs: theirs, the search, and ours to their result and in their time, round by round."""

    theirs: list[Theirs]
    search: list[Ours]
    to_result: list[Ours]
    in_time: list[Ours]

    @property
    def target_nats(self) -> float:
        """The result of nanoGPT, whose seed is always the same."""
        return self.theirs[0].loss_nats

    @property
    def time_ratio(self) -> float:
        """Its seconds to its result divided by ours, round by round."""
        return median_ratio(
            [run.seconds for run in self.theirs], [run.seconds for run in self.to_result]
        )


def compare(
    train_theirs: Callable[[], Theirs], train_ours: Train, rounds: int, tries: int
) -> Comparison:
    """Measure both in turn: theirs, the search for our budget, then round by round.

    Raises:
        RunFailedError: a run failed, or ours never reached the target.
    """
    theirs = [train_theirs()]
    target = theirs[0].loss_nats
    search = search_budget(train_ours, target, theirs[0].seconds, tries)
    budget = shortest_budget(search, target)
    outside = statistics.median(run.seconds - run.budget_seconds for run in search)
    to_result: list[Ours] = []
    in_time: list[Ours] = []
    for seed in range(1, rounds + 1):
        if seed > 1:
            theirs.append(train_theirs())
        to_result.append(train_ours(budget, seed))
        whole = max(theirs[-1].seconds - outside, _LEAST_BUDGET)
        in_time.append(train_ours(whole, seed))
    for _ in range(_MOST_REPEATS):
        if median_of(to_result, "window_nats") <= target:
            return Comparison(theirs, search, to_result, in_time)
        budget *= _MORE  # the seed of the search was a lucky one
        to_result = [train_ours(budget, seed) for seed in range(1, rounds + 1)]
    raise RunFailedError(f"the median of {rounds} seeds never reached {target:.4f} nats")


def median_of(runs: Sequence[Any], name: str) -> float:
    """Return the median of a figure."""
    return statistics.median(getattr(run, name) for run in runs)


def format_table(found: Comparison) -> str:
    """Return a table of medians, and the two comparisons below it."""
    rows: list[tuple[str, ...]] = [
        ("", "seconds", "nats, windows of 64", "windows of 256", "carried"),
        (
            "nanoGPT, its CPU recipe",
            f"{median_of(found.theirs, 'seconds'):.1f}",
            f"{found.target_nats:.4f}",
            "",
            "",
        ),
    ]
    for what, runs in (
        ("charrnn to that loss", found.to_result),
        ("charrnn in that time", found.in_time),
    ):
        names = ("window_nats", "windowed_nats", "carried_nats")
        nats = (f"{median_of(runs, name):.4f}" for name in names)
        rows.append((what, f"{median_of(runs, 'seconds'):.1f}", *nats))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:{'<' if i == 0 else '>'}{widths[i]}}" for i, cell in enumerate(row))
        for row in rows
    ]
    gain = found.target_nats - median_of(found.in_time, "window_nats")
    lines += [
        "",
        f"time to nanoGPT's CPU result ({found.target_nats:.4f}): its seconds / ours = "
        f"{found.time_ratio:.2f}, in windows of {WINDOW} as it counts",
        f"in nanoGPT's time: {gain:.4f} nats less in windows of {WINDOW}",
    ]
    return "\n".join(lines)


def as_json(found: Comparison) -> dict[str, Any]:
    """Return the figures and every run."""
    names = ("window_nats", "windowed_nats", "carried_nats", "seconds")
    return {
        "target_nats": found.target_nats,
        "window": WINDOW,
        "time_ratio": found.time_ratio,
        "in_time": {name: median_of(found.in_time, name) for name in names},
        "to_result": {name: median_of(found.to_result, name) for name in names},
        "runs": asdict(found),
    }


def main() -> None:
    """Compare, and print one table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--corpus", default="tiny-shakespeare", help="a UTF-8 text, or its name")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tries", type=int, default=5, help="runs that look for our budget")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options, theirs = parser.parse_known_args()
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        (path,) = locate_texts([options.corpus])
        corpus = open_corpus([path], TextConfig(split="tail"))
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeError as error:
            raise CorpusError(f"{path} is not UTF-8, which nanoGPT needs: {error}") from error
        copy = Path(folder) / "nanoGPT"
        copy_peer(options.folder, text, copy)

        def train_theirs() -> Theirs:
            run = run_peer(copy, theirs)
            note(f"nanoGPT: {run.loss_nats:.4f} nats after {run.seconds:.1f} s")
            return run

        def train_ours(budget: float, seed: int) -> Ours:
            run = run_ours(path, corpus, budget, seed)
            note(
                f"charrnn, budget {budget:.1f} s, seed {seed}: {run.window_nats:.4f} nats "
                f"after {run.seconds:.1f} s"
            )
            return run

        found = compare(train_theirs, train_ours, options.rounds, options.tries)
    print(json.dumps(as_json(found), indent=2) if options.json else format_table(found))


def note(line: str) -> None:
    """Say on stderr what a run reached, for the minutes that all take."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
