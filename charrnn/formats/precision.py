"""Weights in fewer bits: how each precision stores them, and what it costs.

fp16 rounds each number. int8 has a scale for each row of a matrix, so that its largest number is
127; biases and initial states, which are few, stay as they are. So do the whole numbers by which
n-grams find their rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.model import NOT_LEARNED
from charrnn.errors import ConfigError
from charrnn.formats.verified import token_costs
from charrnn.generation.network import Network
from charrnn.metrics import bits_per_char
from charrnn.text.vocab import Ids
from charrnn.web.weights import to_int8

Arrays = Mapping[str, NDArray[Any]]


def is_stored_as_int8(name: str, array: NDArray[Any]) -> bool:
    """Return whether int8 stores this weight so: matrices, but no initial states."""
    return array.ndim == 2 and ".initial" not in name


def restored(weights: Arrays, dtype: str) -> dict[str, NDArray[np.float32]]:
    """Return the weights float32 that come back from a precision: "fp32", "fp16" or "int8".

    Raises:
        ConfigError: fp16 cannot hold one, as it is above 65,504.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for name, array in weights.items():
        found[name] = array
        if name in NOT_LEARNED:
            continue
        if dtype == "fp16":
            with np.errstate(over="ignore"):
                found[name] = array.astype(np.float16).astype(np.float32)
            if not np.isfinite(found[name]).all():
                raise ConfigError(
                    f"{name} holds a number above 65,504, which fp16 cannot; use --dtype fp32"
                )
        elif dtype == "int8" and is_stored_as_int8(name, array):
            numbers, scales = to_int8(array)
            found[name] = numbers.astype(np.float32) * scales[:, None]
    return found


def bits_lost(file: ModelFile, weights: Arrays, ids: Ids) -> float:
    """Return how many more bits a token of a text (T,) costs on average with other weights."""
    plain, other = (
        token_costs(Network(file.config, dict(each)), ids).mean()
        for each in (file.weights, weights)
    )
    return bits_per_char(float(other - plain))
