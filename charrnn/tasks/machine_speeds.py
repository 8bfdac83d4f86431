"""The highest speeds that were measured on this machine, kept beside the built ids.

A budget's sizes follow from the machine's speed. A busy machine measures less than it can do, so
the highest figure counts, and the same command chooses the same sizes. calibration.py measures.
"""

import json
import os
import platform
from contextlib import suppress
from importlib.metadata import version
from math import isfinite
from pathlib import Path

from charrnn.data.corpus import cache_folder
from charrnn.errors import StorageError
from charrnn.storage import make_folder, read_note, write_atomically

_FILE = "speeds.json"


def read_speeds() -> dict[str, float]:
    """Return the speeds by what was measured; {} on a machine or a torch that is new."""
    return dict(_read_all().get(_machine(), {}))


def save_speeds(speeds: dict[str, float]) -> None:
    """Keep these speeds; where they cannot be kept, the next run measures its own."""
    kept = read_speeds()  # again: another run may have measured meanwhile
    highest = {what: max(speeds.get(what, 0.0), kept.get(what, 0.0)) for what in speeds | kept}
    if highest == kept:
        return
    with suppress(OSError, StorageError):
        make_folder(cache_folder())
        document = json.dumps(_read_all() | {_machine(): highest}, indent=1)
        write_atomically(cache_folder() / _FILE, document + "\n")


def _read_all() -> dict[str, dict[str, float]]:
    """Return what the file holds of well-formed entries; anybody may have edited it."""
    found: dict[str, dict[str, float]] = {}
    with suppress(OSError, ValueError, RecursionError):
        document = json.loads(read_note(cache_folder() / _FILE))
        for machine, speeds in document.items() if isinstance(document, dict) else ():
            if isinstance(speeds, dict) and all(map(_is_speed, speeds.values())):
                found[machine] = speeds
    return found


def _is_speed(value: object) -> bool:
    return isinstance(value, float) and isfinite(value) and value > 0


def _machine() -> str:
    """Return a name for the processor and the torch that trains on it."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
        return f"{model}, {os.cpu_count()} cores, torch {version('torch')}"
    return f"{platform.processor()}, {os.cpu_count()} cores, torch {version('torch')}"
