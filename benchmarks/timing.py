"""How the benchmarks time whole processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence


def time_process(arguments: Sequence[str], until: bytes | None = None) -> float:
    """Return the seconds that `python ARGUMENTS` takes, or those until stdout shows `until`.

    An empty `until` waits for the first byte.
    """
    began = time.perf_counter()
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        seen = b""
        while until is not None and (not seen or until not in seen):
            byte = process.stdout.read(1)
            if not byte:
                raise RuntimeError(f"{' '.join(command)} ended without {until!r}")
            seen += byte
        reached = time.perf_counter() - began
        process.stdout.read()
    return time.perf_counter() - began if until is None else reached
