"""The weights of a network as a text in a page, which charrnn/web/network.js decodes.

Small networks keep all their digits. Larger ones are stored in half of the space: for a 1×256 LSTM
that moves no probability by more than a hundredth of its value, and the likeliest token hardly ever
changes. Of the table of n-grams only the rows that have an n-gram are there. It may have 8 bits a
number, with a scale for each row, as any matrix may.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config.model import NOT_LEARNED

MAX_FLOAT32_BYTES = 4 * 2**20
"""Weights of up to this size are stored as float32."""

MAX_FLOAT16_BYTES = 16 * 2**20
"""Weights of up to this size as float16 are stored so; larger networks do not run in a page."""

NGRAM_TABLE = "ngrams.weight"

_LARGEST_INT8 = 127


@dataclass(frozen=True)
class PackedWeights:
    """Weights in a page.

    text: base64 of all numbers, little-endian, one array after the other. index: of each array
    {"name", "shape", "start"}, where start counts numbers, not bytes; or what `_append_int8` and
    `append_whole_numbers` add. dtype: "float32" or "float16".
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
    stored = without_empty_rows(weights)
    count = sum(array.size for array in stored.values())
    dtype = "float32" if 4 * count <= MAX_FLOAT32_BYTES else "float16"
    in_8_bits: list[str] = []
    if dtype == "float16" and 2 * count > MAX_FLOAT16_BYTES:
        in_8_bits = [NGRAM_TABLE]
        if 2 * count - table_size(stored) > MAX_FLOAT16_BYTES:
            return None
    return pack(weights, dtype, in_8_bits)


def pack(
    weights: Mapping[str, NDArray[np.floating]], dtype: str, in_8_bits: Collection[str] = ()
) -> PackedWeights | None:
    """Return the weights for a page; None if one of them is too large for the dtype.

    dtype: "float32" or "float16". in_8_bits: names of matrices that are stored as int8 instead.
    """
    stored = without_empty_rows(weights)
    index: list[dict[str, Any]] = []
    data = bytearray()
    size = 4 if dtype == "float32" else 2
    for name, array in stored.items():
        if name in NOT_LEARNED or name in in_8_bits:
            continue
        index.append({"name": name, "shape": list(array.shape), "start": len(data) // size})
        with np.errstate(over="ignore"):
            numbers = array.astype(f"<f{size}")
        if not np.isfinite(numbers).all():
            return None
        data += numbers.tobytes()
    # After the others, which start at whole numbers of theirs.
    for name, array in stored.items():
        if name in in_8_bits:
            _append_int8(name, array, data, index)
    append_whole_numbers(stored, data, index)
    return PackedWeights(base64.b64encode(data).decode("ascii"), index, dtype)


def without_empty_rows(
    weights: Mapping[str, NDArray[np.floating]],
) -> dict[str, NDArray[np.floating]]:
    """Return the weights, the table of n-grams with only those rows that have an n-gram.

    Nothing reads the others.
    """
    stored = dict(weights)
    if "ngrams.check" in weights:
        stored["ngrams.weight"] = weights["ngrams.weight"][weights["ngrams.check"] >= 0]
    return stored


def table_size(weights: Mapping[str, NDArray[np.floating]]) -> int:
    """Return how many numbers the table of n-grams has; 0 of a network without one."""
    return weights[NGRAM_TABLE].size if NGRAM_TABLE in weights else 0


def to_int8(matrix: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a matrix (rows, columns) as int8, and the scale (rows,) float32 of each row.

    >>> numbers, scales = to_int8(np.float32([[1, -0.5]]))
    >>> numbers.tolist(), float(scales[0] * 127)
    ([[127, -64]], 1.0)
    """
    largest = np.abs(matrix).max(axis=1)
    scales = (np.where(largest > 0, largest, 1) / _LARGEST_INT8).astype(np.float32)
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales


def _append_int8(
    name: str, matrix: NDArray[np.floating], data: bytearray, index: list[dict[str, Any]]
) -> None:
    """Append a matrix as int8 with a scale for each row, and its index entry.

    It has {"name", "shape", "scales", "start"}: `scales` is the byte where the float32 scales
    begin, `start` that of the int8 numbers.
    """
    numbers, scales = to_int8(matrix)
    start = len(data) + scales.nbytes
    index.append({"name": name, "shape": list(matrix.shape), "scales": len(data), "start": start})
    data += scales.astype("<f4").tobytes() + numbers.tobytes()


def append_whole_numbers(
    weights: Mapping[str, NDArray[np.floating]], data: bytearray, index: list[dict[str, Any]]
) -> None:
    """Append the weights that are whole numbers, in three bytes each, and their index entries.

    An entry has {"name", "shape", "whole"}: `whole` is the byte where the array begins. First comes
    a bit for each number, the lowest of a byte first: 0 stands for −1, which has no bytes.
    """
    for name in NOT_LEARNED:
        if name in weights:
            numbers = weights[name]
            is_there = numbers >= 0
            index.append({"name": name, "shape": list(numbers.shape), "whole": len(data)})
            data += np.packbits(is_there, bitorder="little").tobytes()
            data += numbers[is_there].astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def read_whole_numbers(data: bytes, start: int, count: int) -> NDArray[np.float32]:
    """Return numbers (count,) that `append_whole_numbers` packed, from byte `start` on."""
    stop = start + -(-count // 8)
    bits = np.frombuffer(data[start:stop], np.uint8)
    is_there = np.unpackbits(bits, count=count, bitorder="little").astype(bool)
    triples = np.frombuffer(data, np.uint8, 3 * int(is_there.sum()), stop).reshape(-1, 3)
    numbers = np.full(count, -1, np.float32)
    numbers[is_there] = triples @ np.array([1, 1 << 8, 1 << 16])
    return numbers
