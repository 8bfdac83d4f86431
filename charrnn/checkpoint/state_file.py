"""The state after a text as one small self-verifying file, bound to the model that read it.

Bytes and digest are `signed`'s; docs/file-format.md describes every field. The model is known by
the SHA-256 of what decides on its probabilities, so that `best` and `step-<n>` with the same
weights are the same model. It does not know how states come about.

H = hidden size, N = ids kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.container import (
    Arrays,
    Kind,
    check_keys,
    check_types,
    pack_container,
    parse_header,
    read_whole,
    shown,
    verify_container,
    view_arrays,
)
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError
from charrnn.storage import write_atomically
from charrnn.text.vocab import Ids

FORMAT = 1
MOST_LAST_IDS = 10_000
"""Ids that are kept, of those read last: as many as a penalty looks back on."""

_STATE = Kind(
    words="state",
    named="name a file that --save-state wrote",
    found="give a file that --save-state wrote",
    hint="save it again with --save-state",
)
_LAST_IDS = "last_ids"
_DOCUMENT = ("kind", "format", "model", "chars_read")
_LONGEST = 160  # characters of a reason in a message
_SHOWN_DIGEST = 16  # of its 64 digits


@dataclass(frozen=True)
class Owner:
    """The model that a state belongs to. name: for messages. digest: SHA-256 (32 bytes)."""

    name: str
    digest: bytes
    config: ModelConfig


@dataclass(frozen=True)
class SavedState:
    """The state after a text.

    layers: a layer's (h,) or, for an LSTM, (h, c), each (H,) float32; the lowest first. last_ids:
    (N,), the ids read last, in their order. chars_read: how many characters there were in all.
    """

    layers: tuple[tuple[NDArray[np.float32], ...], ...] = field(repr=False)
    last_ids: Ids = field(repr=False)
    chars_read: int


def write_state(path: Path, saved: SavedState, owner: Owner) -> None:
    """Write the state that a model came to, with the last 10,000 of its ids.

    Raises:
        StorageError: the disk is full, read-only, or the folder may not be written.
    """
    write_atomically(path, pack_state(saved, owner))


def read_state(path: Path, owner: Owner) -> SavedState:
    """Read what `write_state` wrote with the same model.

    Raises:
        CheckpointError: missing, not a state, damaged, of another version, or another model's.
    """
    return unpack_state(read_whole(path, _STATE), str(path), owner)


def pack_state(saved: SavedState, owner: Owner) -> bytearray:
    """Give the file's bytes."""
    names = _part_names(owner.config)
    parts = [part for layer in saved.layers for part in layer]
    arrays: Arrays = {name: np.asarray(part) for name, part in zip(names, parts, strict=True)}
    arrays[_LAST_IDS] = np.asarray(saved.last_ids[-MOST_LAST_IDS:], "<u4")
    model = {
        "name": owner.name.encode("utf-8", "replace").decode(),  # no half of a surrogate pair
        "sha256": owner.digest.hex(),
    }
    document = {
        "kind": "state",
        "format": FORMAT,
        "model": model,
        "chars_read": saved.chars_read,
    }
    return pack_container(arrays, json.dumps(document))


def unpack_state(data: bytearray, name: str, owner: Owner) -> SavedState:
    """Read what `pack_state` gave; `name` stands in messages. Arrays share the bytes' memory.

    Raises:
        CheckpointError: as `read_state`.
    """
    verify_container(data, name, _STATE)
    with _refusing(name):
        document, header = parse_header(data)
        _check_kind(document, name)
        check_keys(document, _DOCUMENT, "its document")
        check_types(document["model"], {"name": str, "sha256": str}, "model")
        check_keys(document["model"], ("name", "sha256"), "model")
        check_types(document["chars_read"], int, "chars_read")
        _check_owner(document["model"], name, owner)
        arrays = view_arrays(data, header)
        _check_arrays(arrays, owner.config)
    parts = iter([arrays[each] for each in _part_names(owner.config)])
    layers = zip(*[parts] * _parts_per_layer(owner.config), strict=True)
    return SavedState(tuple(layers), arrays[_LAST_IDS], document["chars_read"])


def _parts_per_layer(config: ModelConfig) -> int:
    return 2 if config.cell == "lstm" else 1


def _part_names(config: ModelConfig) -> list[str]:
    """Give the names of a state's arrays, in its order."""
    parts = ("hidden", "cell")[: _parts_per_layer(config)]
    return [f"layers.{depth}.{part}" for depth in range(config.num_layers) for part in parts]


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        reason = str(error)[:_LONGEST]
        raise CheckpointError(
            f"{name} does not describe a state ({reason}); {_STATE.hint}"
        ) from error


def _check_kind(document: Any, name: str) -> None:
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind != "state":
        raise CheckpointError(f"{name} is a charrnn file, but not of a state; {_STATE.found}")
    version = document.get("format")
    if type(version) is not int or version != FORMAT:
        raise CheckpointError(
            f"{name} has state format {shown(version)}, this charrnn reads format {FORMAT}; "
            "install the version of charrnn that wrote it, or a newer one"
        )


def _check_owner(model: dict[str, str], name: str, owner: Owner) -> None:
    digest = owner.digest.hex()
    if model["sha256"] != digest:
        raise CheckpointError(
            f"{name} is a state of another model, {shown(model['name'])} (SHA-256 "
            f"{shown(model['sha256'][:_SHOWN_DIGEST])}…), than {owner.name} "
            f"({digest[:_SHOWN_DIGEST]}…); name that model, or save a state of this one"
        )


def _check_arrays(arrays: Arrays, config: ModelConfig) -> None:
    """Hold the arrays to the model's shape and vocabulary."""
    names = _part_names(config)
    check_keys(arrays, (*names, _LAST_IDS), "the state")
    for name in names:
        array = arrays[name]
        if array.dtype != np.float32 or array.shape != (config.hidden_size,):
            found = f"{array.dtype}{shown(array.shape)}"
            raise ValueError(f"{name} is {found}, expected float32({config.hidden_size},)")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    ids = arrays[_LAST_IDS]
    if ids.dtype != np.uint32 or ids.ndim != 1 or len(ids) > MOST_LAST_IDS:
        found = f"{ids.dtype}{shown(ids.shape)}"
        raise ValueError(f"{_LAST_IDS} is {found}, expected uint32, at most {MOST_LAST_IDS:,}")
    if (ids >= config.vocab_size).any():
        raise ValueError(f"{_LAST_IDS} has ids that the model does not have")
