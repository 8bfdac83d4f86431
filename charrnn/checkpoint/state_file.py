"""The state after a text as one small self-verifying file, bound to the model that read the text.

container.py handles bytes and digest; docs/file-format.md describes every field. The model is known
by its `model_digest`, so a run's `best` and `step-<n>` with the same weights are the same model.

H = hidden size, S = ids kept, N = the longest n-gram.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.container import Arrays, Kind, pack_container, read_whole, unpack_container
from charrnn.checkpoint.strict_json import check_keys, check_types, shown
from charrnn.config import ModelConfig
from charrnn.config.model import MOST_EXACT
from charrnn.errors import CheckpointError
from charrnn.storage import write_atomically
from charrnn.text.vocab import Ids

MAX_LAST_IDS = 10_000
"""How many of the ids read last are kept: the largest penalty_window."""

_STATE = Kind(
    name="state",
    formats={1: ("kind", "format", "model", "chars_read")},
    expected="give a file that --save-state wrote",
    hint="save it again with --save-state",
)
_LAST_IDS = "last_ids"  # an array beside those of the layers
_CONTEXT = "ngrams.context"
_SHOWN_DIGITS = 16  # of a digest's 64 in a message


@dataclass(frozen=True)
class Owner:
    """The model that a state belongs to. name: for messages. digest: SHA-256 (32 bytes)."""

    name: str
    digest: bytes
    config: ModelConfig


@dataclass(frozen=True)
class SavedState:
    """The state after a text.

    layers: (h,) or, for an LSTM, (h, c) of each layer, lowest first, each (H,) float32; with
        n-grams one more, the keys of the last tokens (N − 1,) float32, newest first.
    last_ids: (S,), the ids read last, in their order. chars_read: characters read in all.
    """

    layers: tuple[tuple[NDArray[np.float32], ...], ...] = field(repr=False)
    last_ids: Ids = field(repr=False)
    chars_read: int


def write_state(path: Path, saved: SavedState, owner: Owner) -> None:
    """Write the state to a file, replacing an old one only when all of it is safe.

    Raises:
        StorageError: the disk is full, or the folder may not be written.
    """
    write_atomically(path, pack_state(saved, owner))


def read_state(path: Path, owner: Owner) -> SavedState:
    """Read what `write_state` wrote with the same model.

    Raises:
        CheckpointError: missing, not a state, damaged, of another version, or another model's.
    """
    return unpack_state(read_whole(path, _STATE), str(path), owner)


def pack_state(saved: SavedState, owner: Owner) -> bytearray:
    """Return the bytes of a file."""
    parts = [part for layer in saved.layers for part in layer]
    names = _part_names(owner.config)
    arrays: Arrays = {name: np.asarray(part) for name, part in zip(names, parts, strict=True)}
    arrays[_LAST_IDS] = np.asarray(saved.last_ids[-MAX_LAST_IDS:], "<u4")
    # A folder's name in another encoding holds half surrogate pairs, which JSON's readers refuse.
    name = owner.name.encode("utf-8", "replace").decode()
    document = {
        "kind": _STATE.name,
        "format": 1,
        "model": {"name": name, "sha256": owner.digest.hex()},
        "chars_read": saved.chars_read,
    }
    return pack_container(arrays, json.dumps(document))


def unpack_state(data: bytearray, name: str, owner: Owner) -> SavedState:
    """Return what `pack_state` packed; `name` is for messages. Arrays share the bytes' memory.

    Raises:
        CheckpointError: as `read_state`.
    """
    document, arrays = unpack_container(data, name, _STATE)
    names = _part_names(owner.config)
    with _STATE.refusing(f"{name} does not describe a state"):
        model = document["model"]
        check_types(model, {"name": str, "sha256": str}, "model")
        check_keys(model, ("name", "sha256"), "model")
        check_types(document["chars_read"], int, "chars_read")
        # The model before the arrays: another model's would have other shapes.
        digest = owner.digest.hex()
        if model["sha256"] != digest:
            with_label = ", with its --label if it had one" * owner.config.has_end
            raise CheckpointError(
                f"{name} is a state of another model, {shown(model['name'])} (SHA-256 "
                f"{shown(model['sha256'][:_SHOWN_DIGITS])}…), than {owner.name} "
                f"({digest[:_SHOWN_DIGITS]}…); name that model{with_label}, or save a state of "
                "this one"
            )
        check_keys(arrays, (*names, _LAST_IDS), "the state")
        for each in names:
            _check_part(arrays[each], each, owner.config)
        _check_ids(arrays[_LAST_IDS], owner.config.vocab_size)
    # One iterator, taken once for each part of a layer.
    parts = iter([arrays[each] for each in names if each != _CONTEXT])
    layers = [*zip(*[parts] * owner.config.state_parts, strict=True)]
    if _CONTEXT in arrays:
        layers.append((arrays[_CONTEXT],))
    return SavedState(tuple(layers), arrays[_LAST_IDS], document["chars_read"])


def _part_names(config: ModelConfig) -> list[str]:
    """Return the names of a state's arrays, in its order."""
    # h, and of an LSTM c: the names of torch's documentation.
    parts = ("hidden", "cell")[: config.state_parts]
    names = [f"layers.{depth}.{part}" for depth in range(config.num_layers) for part in parts]
    return [*names, _CONTEXT] if config.ngram_rows else names


def _check_part(array: NDArray[np.float32], name: str, config: ModelConfig) -> None:
    size = config.ngram_order - 1 if name == _CONTEXT else config.hidden_size
    if array.dtype != np.float32 or array.shape != (size,):
        found = f"{array.dtype}{shown(array.shape)}"
        raise ValueError(f"{name} is {found}, expected float32({size},)")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    if name == _CONTEXT and ((array < 0) | (array > MOST_EXACT) | (array != np.rint(array))).any():
        raise ValueError(f"{name} holds numbers that are no keys of tokens")


def _check_ids(ids: Ids, vocab_size: int) -> None:
    if ids.dtype != np.uint32 or ids.ndim != 1 or len(ids) > MAX_LAST_IDS:
        found = f"{ids.dtype}{shown(ids.shape)}"
        raise ValueError(f"{_LAST_IDS} is {found}, expected uint32, at most {MAX_LAST_IDS:,}")
    if (ids >= vocab_size).any():
        raise ValueError(f"{_LAST_IDS} has ids that the model does not have")
