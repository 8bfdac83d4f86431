"""Text to ids: rates for 100 MB, peak memory for 1 GB: python benchmarks/build_ids.py

Bounds: ASCII 150 MB/s, Chinese 60 MB/s, peak memory of the process 400 MB for a 1 GB file.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 3
MEGABYTE = 1_000_000

# Opens a corpus in a process of its own; prints seconds and peak memory in MB.
BUILD = """
import resource, sys, time
from pathlib import Path
from charrnn.text.corpus import open_corpus
began = time.perf_counter()
open_corpus([sys.argv[1]], cache=Path(sys.argv[2]))
seconds = time.perf_counter() - began
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
"""


def write_text(path: Path, line: str, size_bytes: int) -> None:
    """Fill a file with changing lines."""
    block = "".join(f"{i:05} {line}\n" for i in range(10_000)).encode()
    with path.open("wb") as file:
        for start in range(0, size_bytes, len(block)):
            file.write(block[: size_bytes - start] if line.isascii() else block)


def build(text: Path) -> tuple[float, float]:
    """Build the ids of `text` in a fresh cache: seconds, and peak memory in MB."""
    with tempfile.TemporaryDirectory(dir=text.parent) as cache:
        command = [sys.executable, "-c", BUILD, str(text), cache]
        seconds, memory = subprocess.check_output(command, text=True).split()
    return float(seconds), float(memory)


def main() -> None:
    """Print rates and memory."""
    with tempfile.TemporaryDirectory() as folder:
        lines = {
            "ASCII": "It was the best of times, it was the worst of times.",
            "Chinese": "床前明月光,疑是地上霜。举头望明月,低头思故乡。白日依山尽,黄河入海流。",
        }
        for name, line in lines.items():
            path = Path(folder) / f"{name}.txt"
            write_text(path, line, 100 * MEGABYTE)
            size = path.stat().st_size
            runs = [build(path) for _ in range(ROUNDS)]
            rate = size / MEGABYTE / statistics.median(seconds for seconds, _ in runs)
            print(f"100 MB {name:8} {rate:6.0f} MB/s, peak {runs[0][1]:.0f} MB", flush=True)
            path.unlink()
        path = Path(folder) / "large.txt"
        write_text(path, lines["ASCII"], 1000 * MEGABYTE)
        seconds, memory = build(path)
        print(f"1 GB ASCII     {1000 / seconds:6.0f} MB/s, peak {memory:.0f} MB")


if __name__ == "__main__":
    main()
