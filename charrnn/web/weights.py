"""The weights of a network as a text in a page, which charrnn/web/network.js decodes.

Small networks keep all their digits. Larger ones are stored in half of the space: for a 1×256 LSTM
that moves no probability by more than a hundredth of its value, and the likeliest token hardly ever
changes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_FLOAT32_BYTES = 4 * 2**20
"""Weights of up to this size are stored as float32."""

MAX_FLOAT16_BYTES = 16 * 2**20
"""Weights of up to this size as float16 are stored so; larger networks do not run in a page."""


@dataclass(frozen=True)
class PackedWeights:
    """Weights in a page.

    text: base64 of all numbers, little-endian, one array after the other. index: of each array
    {"name", "shape", "start"}, where start counts numbers, not bytes. dtype: "float32" or
    "float16".
    """

    text: str
    index: list[dict[str, Any]]
    dtype: str


def pack_weights(weights: Mapping[str, NDArray[np.floating]]) -> PackedWeights | None:
    """Return the weights for a page; None for a network that is too large for one.

    A network too large for float32, with a weight that float16 cannot hold (above 65,504), is too
    large as well.

    >>> pack_weights({"output.bias": np.float32([1, -2])}).text
    'AACAPwAAAMA='
    """
    count = sum(array.size for array in weights.values())
    dtype = "float32" if 4 * count <= MAX_FLOAT32_BYTES else "float16"
    if dtype == "float16" and 2 * count > MAX_FLOAT16_BYTES:
        return None
    index = []
    parts = []
    start = 0
    for name, array in weights.items():
        index.append({"name": name, "shape": list(array.shape), "start": start})
        with np.errstate(over="ignore"):
            parts.append(array.astype(f"<f{4 if dtype == 'float32' else 2}").ravel())
        if not np.isfinite(parts[-1]).all():
            return None
        start += array.size
    data = b"".join(part.tobytes() for part in parts)
    return PackedWeights(base64.b64encode(data).decode("ascii"), index, dtype)
