"""How the benchmarks time whole processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence


def time_process(arguments: Sequence[str], first_byte_only: bool = False) -> float:
    """Give the seconds that `python ARGUMENTS` takes, whole or to its first byte on stdout."""
    began = time.perf_counter()
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        first = time.perf_counter() - began
        process.stdout.read()
    return first if first_byte_only else time.perf_counter() - began
