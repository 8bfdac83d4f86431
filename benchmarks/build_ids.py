"""Text to ids: rates of one process and of two, memory, and opening: python benchmarks/build_ids.py

Where the disk is slower than two processes, TMPDIR=/dev/shm measures them without it. One process
and two take turns; a rate is the median of ROUNDS. Bounds, for one process: ASCII 150 MB/s, Chinese
60 MB/s; 500 MB of memory for all; built ids open in 0.1 s whatever their size.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from charrnn.data.fingerprint import SETTLED_SECONDS

ROUNDS = 3
FILES = 1000
MEGABYTE = 1_000_000
LINES = {
    "ASCII": "It was the best of times, it was the worst of times.",
    "Chinese": "床前明月光,疑是地上霜。举头望明月,低头思故乡。白日依山尽,黄河入海流。",
}

# Opens a corpus in a process of its own; prints seconds, and the peak memory in MB of that process
# and, each at most, of those that it started.
OPEN = """
import resource, sys, time
from pathlib import Path
from charrnn.data.corpus import open_corpus
began = time.perf_counter()
open_corpus([sys.argv[1]], cache=Path(sys.argv[2]))
seconds = time.perf_counter() - began
peaks = [resource.getrusage(who).ru_maxrss / 1000
         for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(seconds, *peaks)
"""


def write_text(path: Path, line: str, size_bytes: int) -> None:
    """Fill a file with changing lines, and wait until it no longer counts as just written."""
    block = "".join(f"{i:05} {line}\n" for i in range(10_000)).encode()
    with path.open("wb") as file:
        for start in range(0, size_bytes, len(block)):
            file.write(block[: size_bytes - start] if line.isascii() else block)
    time.sleep(SETTLED_SECONDS + 0.1)


def open_once(text: Path, cache: Path | str, workers: int) -> tuple[float, float]:
    """Open a text with built ids or without: seconds, and peak memory in MB of all processes."""
    command = [sys.executable, "-c", OPEN, str(text), str(cache)]
    environment = os.environ | {"CHARRNN_WORKERS": str(workers)}
    printed = subprocess.check_output(command, text=True, env=environment)
    seconds, own, each = map(float, printed.split())
    return seconds, own + workers * each


def compare(name: str, text: Path) -> None:
    """Print the rates and memory of one process and of two, which take turns."""
    runs: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for workers, done in runs.items():
            with tempfile.TemporaryDirectory(dir=text.parent) as cache:
                done.append(open_once(text, cache, workers))
    size = text.stat().st_size / MEGABYTE
    seconds = {workers: statistics.median(run[0] for run in done) for workers, done in runs.items()}
    for workers, done in runs.items():
        rates = ", ".join(f"{size / run[0]:.0f}" for run in done)
        memory = max(run[1] for run in done)
        print(
            f"{size:5,.0f} MB {name:8} {workers} process{'es' * (workers > 1)}: "
            f"{size / seconds[workers]:4.0f} MB/s ({rates}), peak {memory:.0f} MB"
        )
    print(f"{'':18} two are {seconds[1] / seconds[2]:.2f} times as fast as one", flush=True)


def measure_opening(text: Path) -> None:
    """Print how long it takes to open ids that are built."""
    with tempfile.TemporaryDirectory(dir=text.parent) as cache:
        open_once(text, cache, 2)
        opened = [open_once(text, cache, 2) for _ in range(ROUNDS)]
    milliseconds = 1000 * statistics.median(seconds for seconds, _ in opened)
    size = text.stat().st_size / MEGABYTE
    print(f"{size:5,.0f} MB of text, built: opens in {milliseconds:.1f} ms", flush=True)


def measure_folder(folder: Path) -> None:
    """Print how long a folder of small files takes to build and to open."""
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number}.txt").write_text(f"{number} {LINES['ASCII']}\n" * 40)
    builds, opens = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as cache:
            builds.append(open_once(folder, cache, 1)[0])
            opens.append(open_once(folder, cache, 1)[0])
    each = [1000 * statistics.median(seconds) for seconds in (builds, opens)]
    print(f"{FILES:,} files of 2 kB: built in {each[0]:.0f} ms, open in {each[1]:.0f} ms")


def main() -> None:
    """Print rates, memory and opening times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure_folder(folder / "files")
        for size, script in ((500, "ASCII"), (500, "Chinese"), (2000, "ASCII")):
            text = folder / "text.txt"
            write_text(text, LINES[script], size * MEGABYTE)
            compare(script, text)
            if script == "ASCII":
                measure_opening(text)
            text.unlink()


if __name__ == "__main__":
    main()
