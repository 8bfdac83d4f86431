"""Draws docs/pictures/, what `charrnn inspect` shows of real models: make_inspect_pictures.py

It trains three cells for five minutes each on tiny-shakespeare, if checkpoints/ of the current
folder lacks them. Of other tasks it draws the runs that are there: fre (`charrnn train
fre_train.tsv --pairs --name fre --budget 60s`, a table of SIGMORPHON 2020), langs (names by
language, `--label file --lines --task classification --name langs --budget 40s`) and case
(tiny-shakespeare, `--restore case --name case --budget 40s`). Machines of another speed train
other models, so their pictures differ.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PICTURES = Path(__file__).with_name("pictures")
CELLS = ("rnn", "lstm", "gru")
RUNS = [f"plays-{cell}" for cell in CELLS]
TEXT = """PETRUCHIO:
And you, good sir! Pray, have you not a daughter
Call'd Katharina, fair and virtuous?

BAPTISTA:
I have a daughter, sir, called Katharina.

GREMIO:
You are too blunt: go to it orderly.
"""
ONE = ("text", "guesses", "gates", "neurons", "neuron", "step", "unrolled")
"""Views of the LSTM alone."""
ALL = ("memory", "gradients", "links", "training", "errors")
"""Views of all three cells."""
OTHERS = {"fre": "chateaux", "langs": "Yamamoto", "case": "to be, or not to be: romeo said it"}
"""Runs of other tasks, and the texts that they look at."""


def run(*arguments: str) -> None:
    """Run charrnn, and end where it fails."""
    subprocess.run([sys.executable, "-m", "charrnn", *arguments], check=True)


def is_trained(name: str) -> bool:
    """Return whether a run is there."""
    return Path("checkpoints", name, "best.safetensors").exists()


def train(corpus: str) -> None:
    """Train the three cells, if they are not there."""
    if not all(map(is_trained, RUNS)):
        given = ("--cells", ",".join(CELLS), "--budget", "5m", "--snapshots", "24")
        run("train", corpus, "--name", "plays", *given)


def draw(views: Sequence[str], runs: Sequence[str]) -> None:
    """Draw views of models that read TEXT."""
    for view in views:
        run("inspect", view, *runs, "--text", TEXT, "--svg", str(PICTURES))


def main() -> None:
    """Train what is missing, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", default="tiny-shakespeare")
    options = parser.parse_args()
    train(options.corpus)
    draw(ONE, ["plays-lstm"])
    draw(ALL, RUNS)
    for name, text in OTHERS.items():
        if is_trained(name):
            run("inspect", name, "--text", text, "--svg", str(PICTURES))


if __name__ == "__main__":
    main()
