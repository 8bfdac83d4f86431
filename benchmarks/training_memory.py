"""What training takes of memory, by the size of its text: python benchmarks/training_memory.py

The same steps of the same network each time; ids are built by a process before. Linux only, as it
reads /proc. Bound: the memory that is the program's own does not grow with the text.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from build_ids import LINES, MEGABYTE, open_once, write_text

SIZES = (10, 100, 1000, 2000)  # MB
STEPS = 100

# Trains in a process of its own and prints, in MB, the most memory that was its own at any report,
# and the most that it had in use at all, with the pages of the ids that it had looked at.
TRAIN = f"""
import sys
import charrnn

def memory(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(name))

text, checkpoints = sys.argv[1:]
settings = dict(hidden_size=128, batch_size=64, seq_len=64, steps={STEPS}, eval_every=50, threads=1)
settings |= dict(val_fraction=1e-4)
reports = charrnn.train(text, checkpoints=checkpoints, eval_chars=100_000, **settings)
print(max(memory("RssAnon") for _ in reports), memory("VmHWM"))
"""


def train_once(text: Path, cache: Path) -> tuple[float, float]:
    """Train on a text whose ids are built; MB of its own, and of all that was in use."""
    with tempfile.TemporaryDirectory() as checkpoints:
        command = [sys.executable, "-c", TRAIN, str(text), checkpoints]
        environment = {"CHARRNN_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        printed = subprocess.check_output(command, text=True, env=environment)
    own, whole = map(float, printed.split())
    return own, whole


def main() -> None:
    """Print the memory for each size of text."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, cache = folder / "text.txt", folder / "cache"
        for size in SIZES:
            write_text(text, LINES["ASCII"], size * MEGABYTE)
            open_once(text, cache, 2)
            own, whole = train_once(text, cache)
            print(
                f"{size:5,} MB of text: {own:4.0f} MB its own, {whole:4.0f} MB in use", flush=True
            )


if __name__ == "__main__":
    main()
