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
from charrnn.checkpoint.model_file import check_ngrams
from charrnn.checkpoint.strict_json import check_types
from charrnn.config.model import NOT_LEARNED

_SNAPSHOT = Kind(
    name="snapshot",
    formats={1: ("kind", "format", "step"), 2: ("kind", "format", "step")},  # 2: with n-grams
    expected="give a file of a run's snapshots folder",
    hint="remove the file; the run's other snapshots can be read without it",
)
_LARGEST = float(np.finfo(np.float16).max)


def pack_snapshot(step: int, weights: Arrays) -> bytearray:
    """Return the bytes of a file. weights: float32, by the names of a model file.

    Which n-grams have a row is kept in float32: such whole numbers would be others in float16.
    """
    arrays = {
        name: array
        if name in NOT_LEARNED
        else np.clip(array, -_LARGEST, _LARGEST).astype(np.float16)
        for name, array in weights.items()
    }
    form = 2 if any(name in weights for name in NOT_LEARNED) else 1
    return pack_container(arrays, json.dumps({"kind": "snapshot", "format": form, "step": step}))


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
            expected = np.float32 if name in NOT_LEARNED else np.float16
            if array.dtype != expected or not np.isfinite(array).all():
                raise ValueError(f"{name} is not of finite numbers in {np.dtype(expected)}")
        check_ngrams(arrays)
    return step, {name: array.astype(np.float32) for name, array in arrays.items()}
