"""What each unit of text reaches in the same time: python benchmarks/units.py TEXT...

Trains with default settings by characters, by graphemes (which need the package regex) and by
bytes, and scores the best model on the held-out part of the text. Bits per byte compare: all units
are scored on the same bytes but for the few where the held-out part begins. Bits per character do
not where a unit is the byte, as a character is a byte there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runs import RunFailedError, as_options, one_line_errors

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.config.text import UNITS

COLUMNS = ("text", "unit", "tokens", "ids", "clusters", "steps", "bpc", "bits/byte")


def measure(path: str, units: Sequence[str], budget: str, seed: int) -> Iterator[tuple[Any, ...]]:
    """Train on a text by each unit and yield a row of COLUMNS."""
    for unit in units:
        with tempfile.TemporaryDirectory() as folder:
            model = train(path, unit, folder, budget, seed)
        vocab = model.vocab
        summary = model.summary
        chars = summary["corpus"]["train_chars"]
        tokens = round(chars * tokens_per_char(model, path))
        figures = (f"{summary['val_bpc']:.4f}", f"{summary['val_bits_per_byte']:.4f}")
        counts = (tokens, vocab.size, len(vocab.clusters), summary["step"])
        yield (Path(path).name, unit, *counts, *figures)


def train(path: str, unit: str, folder: str, budget: str, seed: int) -> ModelFile:
    """Return the best model of a run in a process of its own.

    Raises:
        RunFailedError: it ended with an error.
    """
    settings = {"unit": unit, "budget": budget, "seed": seed, "name": "run", "lines": False}
    command = [sys.executable, "-m", "charrnn", "train", *as_options(settings), "--quiet"]
    done = subprocess.run(
        [*command, "--checkpoints", folder, "--", path], capture_output=True, text=True
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RunFailedError(f"exit {done.returncode}: {said[-1]}")
    return read_model(Path(folder, "run", "best.safetensors"))


def tokens_per_char(model: ModelFile, path: str) -> float:
    """Return how many tokens a character of the text takes, by its first megabyte."""
    with Path(path).open("rb") as file:
        raw = file.read(1 << 20)
    if model.vocab.is_binary:
        return 1.0
    text = raw.decode("utf-8", "ignore").replace("\r\n", "\n").replace("\r", "\n")
    known = "".join(char for char in text if not len(model.vocab.find_unknown(char)))
    return len(model.vocab.encode(known)) / max(len(known), 1)


def main() -> None:
    """Measure every text by every unit, and print a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--units", nargs="+", choices=UNITS, default=list(UNITS))
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print an object a line")
    options = parser.parse_args()
    with one_line_errors():
        if not options.json:
            print_row(COLUMNS)
        for path in options.texts:
            for row in measure(path, options.units, options.budget, options.seed):
                if options.json:
                    print(json.dumps(dict(zip(COLUMNS, row, strict=True))), flush=True)
                else:
                    print_row(row)


def print_row(row: Sequence[Any]) -> None:
    """Print a row in columns; numbers have commas."""
    cells = [f"{each:,}" if isinstance(each, int) else str(each) for each in row]
    print(
        f"{cells[0]:<20} {cells[1]:<9}" + "".join(f"{each:>12}" for each in cells[2:]), flush=True
    )


if __name__ == "__main__":
    main()
