"""The weights of a run at one of its steps, in half precision, as one self-verifying file.

`charrnn train --snapshots` keeps some along the way, for `charrnn inspect` to show how a network
became what it is. Nothing can be resumed from one. container.py handles bytes and digest.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from charrnn.checkpoint.container import Arrays as Arrays
from charrnn.checkpoint.container import Kind, pack_container, read_whole, unpack_container
from charrnn.checkpoint.strict_json import check_types

_SNAPSHOT = Kind(
    name="snapshot",
    formats={1: ("kind", "format", "step")},
    expected="give a file of a run's snapshots folder",
    hint="remove the file; the run's other snapshots can be read without it",
)
_LARGEST = float(np.finfo(np.float16).max)


def pack_snapshot(step: int, weights: Arrays) -> bytearray:
    """Return the bytes of a file. weights: float32, by the names of a model file."""
    halves = {
        name: np.clip(array, -_LARGEST, _LARGEST).astype(np.float16)
        for name, array in weights.items()
    }
    return pack_container(halves, json.dumps({"kind": "snapshot", "format": 1, "step": step}))


def read_snapshot(path: Path) -> tuple[int, Arrays]:
    """Return the step and the weights as float32.

    Raises:
        CheckpointError: missing, not a snapshot, damaged, or of another version.
    """
    document, arrays = unpack_container(read_whole(path, _SNAPSHOT), str(path), _SNAPSHOT)
    with _SNAPSHOT.refusing(f"{path} does not describe a snapshot"):
        step = document["step"]
        check_types(step, int, "step")
        for name, array in arrays.items():
            if array.dtype != np.float16 or not np.isfinite(array).all():
                raise ValueError(f"{name} is not of finite numbers in float16")
    return step, {name: array.astype(np.float32) for name, array in arrays.items()}
