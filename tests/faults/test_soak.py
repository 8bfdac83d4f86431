"""Hours of training: memory stays where it was, and no file stays open."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

TEXT_CHARS = 300_000
WORDS = ["the", "king", "shall", "come", "to", "day", "and", "night", "my", "love", "will", "go"]


def make_text() -> str:
    source = random.Random(4)
    lines = (" ".join(source.choices(WORDS, k=8)) for _ in range(TEXT_CHARS // 30))
    return "\n".join(lines)[:TEXT_CHARS]


def measure(process: int) -> tuple[int, int]:
    """Return a process's resident memory in bytes, and its open files."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path(f"/proc/{process}/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_long_run_takes_no_more_memory_and_files_than_a_short_one(
    tmp_path: Path,
    is_whole: bool,
    times: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    (tmp_path / "book.txt").write_text(make_text())
    seconds, size = times(5, 3600), times(16, 256)
    spacing = times(20, 150)
    command = [sys.executable, "-m", "charrnn", "train", "book.txt", "--budget", "3h", "--quiet"]
    command += ["--teachers", "0"]
    command += ["--hidden-size", str(size), "--eval-every", str(spacing), "--patience", "0"]
    command += ["--threads", "1", "--dropout", "0.1"]
    seen: list[tuple[float, int, int]] = []
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}) as run:
        saved = tmp_path / "checkpoints" / "book" / "best.safetensors"
        while not saved.exists():
            assert run.poll() is None
            time.sleep(0.1)
        began = time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds:
            seen.append((elapsed, *measure(run.pid)))
            time.sleep(seconds / 400)
        run.terminate()
        assert run.wait() == 143
    evaluations = (tmp_path / "checkpoints/book/metrics.jsonl").read_text().count('"evaluation"')
    memory, files = quarters(seen, 1), quarters(seen, 2)
    growth = memory[3] / memory[1] - 1
    figure(
        f"{seconds} s, {evaluations} evaluations and saves; memory by quarters "
        f"{', '.join(f'{each / 1e6:.1f}' for each in memory)} MB, the last {growth:+.2%} of the "
        f"second; open files {files}"
    )

    assert evaluations > 4
    assert abs(growth) < (0.02 if is_whole else 0.1)
    assert files[1] == files[2] == files[3]


def quarters(seen: list[tuple[float, int, int]], column: int) -> list[float]:
    """Return the median of a column in each quarter of the time."""
    size = len(seen) // 4
    return [median(row[column] for row in seen[i * size : (i + 1) * size]) for i in range(4)]
