"""Arrays and a JSON document as one signed safetensors file, nothing of it believed unchecked.

The header's metadata holds the document and the SHA-256 of the whole file, computed with the
digest's own 64 characters taken as zeros. Size and digest are checked on the bare bytes; only what
carries the right digest is parsed. What it holds is another's to know: a model's or a state's.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import reprlib
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from charrnn.errors import CheckpointError

Arrays = dict[str, NDArray[Any]]

HEADER_LIMIT = 1 << 23
"""Bytes a header may have: parsed, it takes 64 MB at most. Of these, the largest alphabet that is
learned from a text takes 1.4 MB, and nothing else is long."""
OTHER_FILES = "use the run's other files, or fetch it again"


@dataclass(frozen=True)
class Kind:
    """How messages name a kind of file, ask for one, and say what to do about a damaged one."""

    words: str
    named: str
    found: str
    hint: str


MODEL = Kind(
    words="model",
    named="name a model's file",
    found="give a run's name, its folder or its best.safetensors (charrnn list shows the runs)",
    hint=OTHER_FILES,
)

_OPENING = b'{"__metadata__":{"'
_DOCUMENT = re.compile(rb'"charrnn":"')
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_OFFSETS = re.compile(rb'"data_offsets":\[[0-9]{1,20},([0-9]{1,20})\]')
_UNSIGNED = b"0" * 64
_DTYPES = {f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}
_DTYPES |= {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_MOST_AXES = 32


def pack_container(arrays: Arrays, document: str) -> bytearray:
    """Give the bytes of a file that holds both."""
    # safetensors takes an array's bytes in the order of memory, whatever its strides.
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {"charrnn": document, "sha256": _UNSIGNED.decode()}
    data = bytearray(safetensors.numpy.save(ordered, metadata))
    found = _DIGEST.search(data)
    assert found is not None
    place = slice(*found.span(1))
    del found  # which keeps the bytes from being written
    data[place] = hashlib.sha256(data).hexdigest().encode()
    return data


def read_whole(path: Path, sought: Kind = MODEL) -> bytearray:
    """Read a file whose first bytes promise as many as it has.

    Raises:
        CheckpointError: it is missing, unreadable, no file, not ours, cut short, or too long.
    """
    try:
        mode = path.stat().st_mode  # before it is opened: opening a pipe waits for its writer
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
            raise CheckpointError(f"cannot read {path}: it is {kind}; {sought.named}")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            end = _header_end(file.read(8 + len(_OPENING)), size, str(path), sought)
            file.seek(0)
            _check_size(file.read(end), end, size, str(path), sought)
            file.seek(0)
            _check_memory(size, str(path))
            data = bytearray(size)
            file.readinto(data)  # what was cut off since leaves zeros, which the digest shows
            return data
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def verify_container(data: bytes | bytearray, name: str, sought: Kind = MODEL) -> None:
    """Hold a file's bytes to the size and the digest that its header gives.

    Raises:
        CheckpointError: not ours, cut short, too long, or damaged.
    """
    end = _header_end(data, len(data), name, sought)
    _check_size(data, end, len(data), name, sought)
    found = _DIGEST.search(data, 8, end)
    if found is not None:
        with memoryview(data) as view:
            seen = hashlib.sha256(view[: found.start(1)])
            seen.update(_UNSIGNED)
            seen.update(view[found.end(1) :])
    if found is None or seen.hexdigest().encode() != found[1]:
        raise _damaged(name, "its content does not have the SHA-256 written in it", sought)


def parse_header(data: bytes | bytearray) -> tuple[Any, dict[str, Any]]:
    """Give the document, and the header it stands in, of bytes that `verify` let pass.

    Raises:
        ValueError: the header, or the document in it, is not strict JSON.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = parse_json(str(memoryview(data)[8:end], "ascii"))
    check_types(header, {"__metadata__": {"charrnn": str}}, "its header")
    check_keys(header["__metadata__"], ("charrnn", "sha256"), "its metadata")
    return parse_json(header["__metadata__"]["charrnn"]), header


def view_arrays(data: bytes | bytearray, header: Mapping[str, Any]) -> Arrays:
    """Give the arrays that the header lists: views of `data`, read-only where that is `bytes`.

    Raises:
        ValueError: they are not one behind the other, or of a type that is not written.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    places = {n: _place(n, entry) for n, entry in header.items() if n != "__metadata__"}
    arrays, reached = {}, 0
    for name, (begin, end, dtype, shape) in sorted(places.items(), key=lambda item: item[1][:2]):
        if begin != reached:
            raise ValueError(f"array {shown(name)} does not begin where the one before it ends")
        count = math.prod(shape)
        arrays[name] = np.frombuffer(data, dtype, count, start + begin).reshape(shape)
        reached = end
    return arrays


def _header_end(start: bytes | bytearray, size: int, name: str, sought: Kind) -> int:
    """Give where the header ends, from the first bytes of a file of `size` bytes."""
    if not size:
        raise _damaged(name, "it is empty", sought)
    if size <= 8 or not _OPENING.startswith(bytes(start[8 : 8 + len(_OPENING)])):
        raise _foreign(name, sought)
    length = int.from_bytes(start[:8], "little")
    if length > HEADER_LIMIT:
        long = f"its header would have {length:,} bytes, of {HEADER_LIMIT:,} allowed"
        raise _damaged(name, long, sought)
    if 8 + length > size:
        raise _damaged(name, f"it is cut short, {size:,} of more than {8 + length:,} bytes", sought)
    return 8 + length


def _check_size(start: bytes | bytearray, end: int, size: int, name: str, sought: Kind) -> None:
    """Hold the size to what the header, `start[8:end]`, says of the arrays."""
    if not (_DOCUMENT.search(start, 8, end) or _DIGEST.search(start, 8, end)):
        raise _foreign(name, sought)
    promised = end + max((int(each[1]) for each in _OFFSETS.finditer(start, 8, end)), default=0)
    if size < promised:
        raise _damaged(name, f"it is cut short, {size:,} of {promised:,} bytes", sought)
    if size > promised:
        raise _damaged(name, f"it has {size - promised:,} bytes after its end", sought)


def _check_memory(size: int, name: str) -> None:
    """Refuse a file that does not fit into the machine, some of which promise any memory."""
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if size > memory:
            raise CheckpointError(
                f"{name} has {size:,} bytes, this machine's memory {memory:,}; "
                "open it on a larger machine"
            )


def _place(name: str, entry: Any) -> tuple[int, int, str, list[int]]:
    """Give begin, end, type and shape of an array from its entry in the header."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            is_whole = all(type(each) is int and each >= 0 for each in (begin, end, *shape))
            if len(entry) == 3 and dtype in _DTYPES and is_whole and len(shape) <= _MOST_AXES:
                size = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
                if size == end - begin:
                    return begin, end, _DTYPES[dtype], shape
    raise ValueError(f"array {shown(name)} has no type, shape and place that go together")


def _damaged(name: str, what: str, sought: Kind) -> CheckpointError:
    return CheckpointError(f"{name} is damaged: {what}; {sought.hint}")


def _foreign(name: str, sought: Kind) -> CheckpointError:
    return CheckpointError(
        f"{name} is not a charrnn {sought.words}, or its first bytes are damaged; {sought.found}"
    )


_MOST_VALUES = 1 << 18  # keeps what is parsed below 64 MB; 256 layers with moments take 42,000
_DEEPEST = 32
_MOST_DIGITS = 300  # a float holds them, and Python's limit of 4300 digits is never met
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_MESSAGES = reprlib.Repr()
_MESSAGES.maxstring = _MESSAGES.maxother = 80


def parse_json(text: str) -> Any:
    """Read JSON without the freedoms that Python takes.

    Raises:
        ValueError: not JSON, a key twice, a number that is not finite or has more than 300 digits,
            half of a surrogate pair, nested more than 32 deep, or more than 262,144 values.
    """
    if sum(map(text.count, ",[{")) > _MOST_VALUES:
        raise ValueError(f"it lists more than {_MOST_VALUES:,} values")
    try:
        value = json.loads(text, object_pairs_hook=_distinct, parse_int=_whole_number)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {_DEEPEST} deep") from error
    _check_plain(value, 0)
    return value


def check_keys(value: Any, keys: Collection[str], where: str) -> None:
    """Hold an object to exactly these keys.

    Raises:
        ValueError: names the key that is missing or unknown.
    """
    check_types(value, {}, where)
    for key in keys:
        if key not in value:
            raise ValueError(f"{where} has no {key}")
    if unknown := value.keys() - set(keys):
        raise ValueError(f"{where} has an unknown key {shown(min(unknown))}")


def check_types(value: Any, kind: Any, where: str) -> None:
    """Hold a value to a type, and what is in it to theirs.

    kind: a type, or a union of types; int stands for counts, whole numbers from 0. {key: kind}: an
        object that may lack keys and have others. [kind]: a list. (kind, kind): a list of two.

    Raises:
        ValueError: names the place, its value and what was expected.
    """
    is_list = isinstance(kind, list | tuple)
    outer: Any = list if is_list else dict if isinstance(kind, dict) else kind
    is_fit = isinstance(value, outer) and isinstance(value, bool) == (kind is bool)
    is_below = isinstance(value, int) and value < 0 and kind in (int, int | None)
    if not is_fit or is_below or (isinstance(kind, tuple) and len(value) != len(kind)):
        length = f" of {len(kind)}" if isinstance(kind, tuple) else " from 0" * is_below
        expected = getattr(outer, "__name__", outer)
        raise ValueError(f"{where} is {shown(value)}, expected {expected}{length}")
    for key, inner in _parts(value, kind):
        check_types(value[key], inner, f"{where}.{key}")


def shown(value: object) -> str:
    """Give a value as a message may hold it: one short line of printable characters."""
    return _MESSAGES.repr(value)[:100]


def _parts(value: Any, kind: Any) -> list[tuple[Any, Any]]:
    """Give the keys or places in `value` that `kind` speaks of, with the kind of each."""
    if isinstance(kind, dict):
        return [(key, kind[key]) for key in kind if key in value]
    if isinstance(kind, list):
        return [(place, kind[0]) for place in range(len(value))]
    return list(enumerate(kind)) if isinstance(kind, tuple) else []


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict, unless a key stands twice, of which readers would take different ones."""
    values = dict(pairs)
    if len(values) < len(pairs):
        for key, _ in pairs:
            if values.pop(key, pairs) is pairs:
                raise ValueError(f"the key {shown(key)} stands twice")
    return values


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number in it has {len(digits):,} digits")
    return int(digits)


def _check_plain(value: Any, depth: int) -> None:
    """Refuse what Python's parser lets through and other parts of the program would trip over."""
    if depth > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    if isinstance(value, str):
        if _HALF_PAIR.search(value):
            raise ValueError("a text in it holds half of a surrogate pair")
    elif isinstance(value, dict | list):
        for each in value:
            _check_plain(each, depth + 1)
        for each in value.values() if isinstance(value, dict) else ():
            _check_plain(each, depth + 1)
    elif isinstance(value, int | float) and not math.isfinite(value):
        raise ValueError(f"a number in it is {value}, which is not finite")
