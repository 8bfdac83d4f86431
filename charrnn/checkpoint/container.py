"""Arrays and a JSON document as one checksummed safetensors file: the container of our files.

The header's metadata holds the document and the SHA-256 of the whole file, computed with the
digest's own 64 characters as zeros. Size and digest are checked on the raw bytes; nothing is parsed
before that. What document and arrays must hold is checked by model_file.py and state_file.py.
"""

import errno
import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from charrnn.checkpoint.strict_json import check_keys, check_types, parse_json, shown
from charrnn.errors import CheckpointError, ConfigError, VocabError
from charrnn.storage import open_plain

Arrays = dict[str, NDArray[Any]]

# Parsed, such a header takes 64 MB at most. The largest alphabet learned from a text takes 1.4 MB
# of it, and nothing else in it is long.
_MAX_HEADER_BYTES = 1 << 23
_MAX_REASON_CHARS = 160  # in a message
_MAX_AXES = 32

_OPENING = b'{"__metadata__":{"'
_DOCUMENT = re.compile(rb'"charrnn":"')
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_SWAPPED = re.compile(
    rb'({"__metadata__":{)("sha256":"0{64}"),("charrnn":"(?:[^"\\]++|\\.)*+")', re.DOTALL
)
_OFFSETS = re.compile(rb'"data_offsets":\[[0-9]{1,20},([0-9]{1,20})\]')
_NO_DIGEST = b"0" * 64
_DTYPES = {f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}
_DTYPES |= {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name, its document's keys in each format, and hints for messages.

    expected: which file to name instead. hint: what to do about a damaged one.
    """

    name: str
    formats: Mapping[int, tuple[str, ...]]
    expected: str
    hint: str

    @contextmanager
    def refusing(self, words: str) -> Iterator[None]:
        """Turn an error in a verified file's content into one that begins with `words`."""
        try:
            yield
        except (ValueError, ConfigError, VocabError) as error:
            reason = str(error)[:_MAX_REASON_CHARS]
            raise CheckpointError(f"{words} ({reason}); {self.hint}") from error

    def damaged(self, name: str, what: str) -> CheckpointError:
        """Return the error of a file that is ours, but not as it was written."""
        return CheckpointError(f"{name} is damaged: {what}; {self.hint}")

    def foreign(self, name: str) -> CheckpointError:
        """Return the error of a file that does not begin as ours do."""
        return CheckpointError(
            f"{name} is not a charrnn {self.name}, or its first bytes are damaged; {self.expected}"
        )


def pack_container(arrays: Arrays, document: str) -> bytearray:
    """Return the bytes of a file of the arrays and the JSON document."""
    # safetensors takes an array's bytes in the order of memory, whatever its strides.
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {"charrnn": document, "sha256": _NO_DIGEST.decode()}
    data = bytearray(safetensors.numpy.save(ordered, metadata))
    _put_in_order(data)
    found = _DIGEST.search(data)
    assert found is not None
    span = slice(*found.span(1))
    del found  # a match exports the bytearray's buffer, which cannot be written meanwhile
    data[span] = hashlib.sha256(data).hexdigest().encode()
    return data


def _put_in_order(data: bytearray) -> None:
    """Let the metadata begin with the document: safetensors writes its keys in any order.

    So the same content gives the same bytes, and a hub need not take them twice.
    """
    found = _SWAPPED.match(data, 8)
    if found is not None:
        span = slice(*found.span())
        swapped = found[1] + found[3] + b"," + found[2]
        del found  # it exports the buffer, as below
        data[span] = swapped


def read_whole(path: Path, kind: Kind) -> bytearray:
    """Read a file whose header promises as many bytes as it has.

    Raises:
        CheckpointError: missing, unreadable, not a file, not ours, cut short, or too long.
    """
    with _open(path, kind) as file:
        # The header is checked before memory is taken for the rest.
        _, size = _read_header(file, str(path), kind)
        _check_memory(size, str(path))
        file.seek(0)
        data = bytearray(size)
        file.readinto(data)  # if the file shrank since, zeros remain, and the digest fails
        return data


def read_document(path: Path, kind: Kind) -> Any:
    """Return a file's document alone: the header is read, not the arrays, and no digest is checked.

    Raises:
        CheckpointError: as `read_whole`, or of another kind or version.
    """
    with _open(path, kind) as file:
        start, _ = _read_header(file, str(path), kind)
    return _parse_header(start, len(start), str(path), kind)[0]


@contextmanager
def _open(path: Path, kind: Kind) -> Iterator[BufferedRandom]:
    """Open a file to read it; what goes wrong with that is a CheckpointError."""
    try:
        with open_plain(path) as file:
            yield file
    except OSError as error:
        hint = f"; {kind.expected}" if error.errno == errno.EINVAL else ""  # it is not a file
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}{hint}") from error


def _read_header(file: BufferedRandom, name: str, kind: Kind) -> tuple[bytes, int]:
    """Return a file up to the end of its header, and its size, which is as the header says."""
    size = os.fstat(file.fileno()).st_size
    end = _header_end(file.read(8 + len(_OPENING)), size, name, kind)
    file.seek(0)
    start = file.read(end)
    _check_size(start, end, size, name, kind)
    return start, size


def unpack_container(data: bytes | bytearray, name: str, kind: Kind) -> tuple[Any, Arrays]:
    """Verify a file's bytes; return its document and its arrays, which share a bytearray's memory.

    Raises:
        CheckpointError: not ours, of another kind or version, cut short, too long, or damaged.
    """
    end = _header_end(data, len(data), name, kind)
    _check_size(data, end, len(data), name, kind)
    _check_digest(data, end, name, kind)
    document, header = _parse_header(data, end, name, kind)
    with kind.refusing(f"{name} does not describe a {kind.name}"):
        return document, _view_arrays(data, header, end)


def _parse_header(data: bytes | bytearray, end: int, name: str, kind: Kind) -> tuple[Any, Any]:
    """Return the document in the header, `data[8:end]`, and the entries of the arrays."""
    with kind.refusing(f"{name} does not describe a {kind.name}"):
        header = parse_json(str(memoryview(data)[8:end], "ascii"))
        check_types(header, {"__metadata__": {"charrnn": str}}, "its header")
        metadata = header.pop("__metadata__")
        check_keys(metadata, ("charrnn", "sha256"), "its metadata")
        document = parse_json(metadata["charrnn"])
        # The version first: a later format may have other keys and types of arrays.
        _check_kind(document, name, kind)
        check_keys(document, kind.formats[document["format"]], "its document")
        return document, header


def _header_end(start: bytes | bytearray, size: int, name: str, kind: Kind) -> int:
    """Return where the header ends, from the first bytes of a file of `size` bytes."""
    if not size:
        raise kind.damaged(name, "it is empty")
    if size <= 8 or not _OPENING.startswith(bytes(start[8 : 8 + len(_OPENING)])):
        raise kind.foreign(name)
    length = int.from_bytes(start[:8], "little")
    if length > _MAX_HEADER_BYTES:
        long = f"its header would have {length:,} bytes, of {_MAX_HEADER_BYTES:,} allowed"
        raise kind.damaged(name, long)
    if 8 + length > size:
        raise kind.damaged(name, f"it is cut short, {size:,} of more than {8 + length:,} bytes")
    return 8 + length


def _check_size(start: bytes | bytearray, end: int, size: int, name: str, kind: Kind) -> None:
    """Compare the size with what the header, `start[8:end]`, says of the arrays."""
    if not (_DOCUMENT.search(start, 8, end) or _DIGEST.search(start, 8, end)):
        raise kind.foreign(name)
    promised = end + max((int(each[1]) for each in _OFFSETS.finditer(start, 8, end)), default=0)
    if size < promised:
        raise kind.damaged(name, f"it is cut short, {size:,} of {promised:,} bytes")
    if size > promised:
        raise kind.damaged(name, f"it has {size - promised:,} bytes after its end")


def _check_memory(size: int, name: str) -> None:
    """Refuse a file larger than this machine's memory: a sparse one can promise any size."""
    if hasattr(os, "sysconf"):  # not on Windows
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if size > memory:
            raise CheckpointError(
                f"{name} has {size:,} bytes, this machine's memory {memory:,}; "
                "open it on a larger machine"
            )


def _check_digest(data: bytes | bytearray, end: int, name: str, kind: Kind) -> None:
    found = _DIGEST.search(data, 8, end)
    if found is not None:
        with memoryview(data) as view:  # slices of it are not copies
            seen = hashlib.sha256(view[: found.start(1)])
            seen.update(_NO_DIGEST)
            seen.update(view[found.end(1) :])
    if found is None or seen.hexdigest().encode() != found[1]:
        raise kind.damaged(name, "its content does not have the SHA-256 written in it")


def _check_kind(document: Any, name: str, kind: Kind) -> None:
    found = document if isinstance(document, dict) else {}
    if found.get("kind", "model") != kind.name:  # only other kinds than models name theirs
        raise CheckpointError(f"{name} is a charrnn file, but not a {kind.name}; {kind.expected}")
    version = found.get("format")
    if type(version) is not int or version not in kind.formats:
        *firsts, last = map(str, kind.formats)
        known = f"{', '.join(firsts)} and {last}" if firsts else last
        raise CheckpointError(
            f"{name} has {kind.name} format {shown(version)}, this charrnn reads format "
            f"{known}; install the version of charrnn that wrote it, or a newer one"
        )


def _view_arrays(data: bytes | bytearray, header: Mapping[str, Any], start: int) -> Arrays:
    """Return the arrays that the header lists, as views of `data` from byte `start` on.

    safetensors.numpy.load would copy each array out of the file's bytes: of a model of 43 MB it
    takes 89 MB and 146 ms, these views 49 MB and 102 ms. safe_open takes 82 MB and 127 ms, and it
    opens the path again, where another file than the verified one may be by then.

    Raises:
        ValueError: they overlap, leave a gap, or are of a type that we do not write.
    """
    if not isinstance(data, bytearray):
        data = bytearray(data)  # so that the arrays can be written to
    entries = [(*_read_entry(name, entry), name) for name, entry in header.items()]
    arrays: Arrays = {}
    expected = 0
    for begin, end, dtype, shape, name in sorted(entries, key=lambda entry: entry[:2]):
        if begin != expected:
            raise ValueError(f"array {shown(name)} does not begin where the one before it ends")
        arrays[name] = np.frombuffer(data, dtype, math.prod(shape), start + begin).reshape(shape)
        expected = end
    return arrays


def _read_entry(name: str, entry: Any) -> tuple[int, int, str, list[int]]:
    """Return begin, end, numpy's dtype and shape of an array from its entry in the header."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            is_whole = all(type(each) is int and each >= 0 for each in (begin, end, *shape))
            if len(entry) == 3 and dtype in _DTYPES and is_whole and len(shape) <= _MAX_AXES:
                size = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
                if size == end - begin:
                    return begin, end, _DTYPES[dtype], shape
    raise ValueError(f"array {shown(name)} has no type, shape and offsets that agree")
