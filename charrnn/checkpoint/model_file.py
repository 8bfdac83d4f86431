"""A model as one self-verifying safetensors file: weights, shape, vocabulary, training summary.

Bytes and digest are `signed`'s; here is what a model's arrays and document must be, every field of
which docs/file-format.md describes. Opened with numpy alone.

V = vocabulary, E = embedding size, H = hidden size, G = gates of the cell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.checkpoint.container import (
    OTHER_FILES,
    check_keys,
    check_types,
    pack_container,
    parse_header,
    read_whole,
    shown,
    verify_container,
    view_arrays,
)
from charrnn.checkpoint.container import Arrays as Arrays
from charrnn.config import ModelConfig, as_dict
from charrnn.errors import CheckpointError, ConfigError, VocabError
from charrnn.metrics import without_nan
from charrnn.text.vocab import Vocab

FORMAT = 1
_DOCUMENT = ("format", "config", "vocab", "summary", "progress")
_TRAINING = "training."
_LONGEST = 160  # characters of a reason in a message


@dataclass(frozen=True)
class ModelFile:
    """What a file holds. training and progress are there only where a run can go on from it.

    weights: float32 by public name, of the shapes that `weight_shapes` gives.
    """

    config: ModelConfig
    vocab: Vocab
    weights: Arrays = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    training: Arrays = field(default_factory=dict, repr=False)
    progress: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def parameters(self) -> int:
        """The number of learned weights; an initial state counts where it is learned."""
        return self.config.num_parameters


def describe_model(model: ModelFile) -> dict[str, Any]:
    """Give shape, vocabulary and training summary as one flat object, ready for JSON."""
    return model.summary | {
        **as_dict(model.config),
        "parameters": model.parameters,
        "alphabet": model.vocab.alphabet,
        "has_bytes": model.vocab.has_bytes,
        "can_resume": model.progress is not None,
    }


def pack_model(model: ModelFile) -> bytearray:
    """Give the file's bytes. Figures of the summary that are not finite become null."""
    document = {
        "format": FORMAT,
        "config": config_to_json(model.config),
        "vocab": model.vocab.to_json(),
        "summary": without_nan(model.summary),
        "progress": model.progress,
    }
    training = {_TRAINING + name: value for name, value in model.training.items()}
    return pack_container(model.weights | training, json.dumps(document, allow_nan=False))


def unpack_model(data: bytes | bytearray, name: str) -> ModelFile:
    """Read what `pack_model` gave; `name` stands in messages. Arrays share a bytearray's memory.

    Raises:
        CheckpointError: not a charrnn model, damaged, cut short, or of another version.
    """
    verify_container(data, name)
    with _refusing(f"{name} does not describe a model"):
        document, header = parse_header(data)
        _check_version(document, name)
        check_keys(document, _DOCUMENT, "its document")
        check_keys(document["config"], config_to_json(ModelConfig()), "config")
        check_keys(document["vocab"], ("alphabet", "bytes"), "vocab")
        config = _config_from_json(document["config"])
        vocab = Vocab.from_json(document["vocab"])
        arrays = view_arrays(data if isinstance(data, bytearray) else bytearray(data), header)
        weights = {n: a for n, a in arrays.items() if not n.startswith(_TRAINING)}
        _check_weights(weights, config, vocab)
    summary, progress = document["summary"], document["progress"]
    with _refusing(f"{name} is damaged: it does not say how it was trained"):
        check_types(summary, _SUMMARY, "summary")
        if progress is not None:
            check_types(progress, _PROGRESS, "progress")
    with _refusing(f"{name} is damaged"):
        _check_finite(arrays)
    training = {n.removeprefix(_TRAINING): a for n, a in arrays.items() if n not in weights}
    return ModelFile(config, vocab, weights, summary, training, progress)


def model_digest(model: ModelFile) -> bytes:
    """Return the SHA-256 (32 bytes) of all that decides on probabilities: the model's identity.

    Two files with the same shape, alphabet and weights have the same digest, whatever else they
    say. Compressed files and saved states are bound to it.
    """
    shape = {key: each for key, each in config_to_json(model.config).items() if key != "dropout"}
    digest = hashlib.sha256(json.dumps([shape, model.vocab.to_json()], sort_keys=True).encode())
    for name in model.config.weight_shapes():
        digest.update(np.ascontiguousarray(model.weights[name], "<f4").data)
    return digest.digest()


# Format 1 has these two settings under other names than ModelConfig.
_FILE_KEYS = {"tie_embeddings": "tie_output", "residual": "skip"}
_CONFIG_KEYS = {file_key: key for key, file_key in _FILE_KEYS.items()}


def config_to_json(config: ModelConfig) -> dict[str, Any]:
    """Return a network's shape by the keys of a file."""
    return {_FILE_KEYS.get(key, key): value for key, value in as_dict(config).items()}


def _config_from_json(values: dict[str, Any]) -> ModelConfig:
    return ModelConfig(**{_CONFIG_KEYS.get(key, key): value for key, value in values.items()})


def read_model(path: Path) -> ModelFile:
    """Read a model file, into about one and a quarter times its size of memory.

    Raises:
        CheckpointError: it is missing or unreadable, or as for `unpack_model`.
    """
    return unpack_model(read_whole(path), str(path))


@contextmanager
def _refusing(words: str) -> Iterator[None]:
    """Turn what is wrong with a signed file's content into the error that begins with `words`."""
    try:
        yield
    except (ValueError, ConfigError, VocabError) as error:
        raise CheckpointError(f"{words} ({str(error)[:_LONGEST]}); {OTHER_FILES}") from error


def _check_version(document: Any, name: str) -> None:
    version = document.get("format") if isinstance(document, dict) else None
    if type(version) is not int or version != FORMAT:
        raise CheckpointError(
            f"{name} has file format {shown(version)}, this charrnn reads format {FORMAT}; "
            "install the version of charrnn that wrote it, or a newer one"
        )


def _check_weights(weights: Arrays, config: ModelConfig, vocab: Vocab) -> None:
    """Hold the weights to the shape that the file itself gives."""
    if vocab.size != config.vocab_size:
        raise ValueError(f"{vocab.size} tokens, but a network for {config.vocab_size}")
    shapes = config.weight_shapes()
    if foreign := weights.keys() - shapes.keys():
        raise ValueError(f"weight {shown(min(foreign))} does not belong there")
    for name, shape in shapes.items():
        if name not in weights:
            raise ValueError(f"weight {name} is missing")
        array = weights[name]
        if array.shape != shape or array.dtype != np.float32:
            found = f"{array.dtype}{shown(array.shape)}"
            raise ValueError(f"weight {name} is {found}, expected float32{shape}")


def _check_finite(arrays: Arrays) -> None:
    """Refuse NaN and infinity, in moments and averages too: training would only spread them."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"array {shown(name)} holds numbers that are not finite")


# The known keys of the JSON objects. A file may lack some, and have others.
_REAL = int | float
_LOSS = int | float | None
_SUMMARY = {
    "step": int,
    "chars_seen": int,
    "elapsed_seconds": _REAL,
    **dict.fromkeys(("train_nats", "eval_nats", "val_nats", "val_bpc"), _LOSS),
    **dict.fromkeys(("val_windowed_nats", "val_windowed_bpc"), _LOSS),
    "corpus": {"name": str, "paths": [str], "sha256": str, "train_chars": int, "val_chars": int},
    "settings": {},
    **dict.fromkeys(("device", "precision", "created"), str),
    "versions": {},
    "baselines_bpc": {},
}
_PROGRESS = {
    **dict.fromkeys(("step", "updates", "slices", "chars_seen", "stale"), int),
    **dict.fromkeys(("evaluated_step", "dropped", "rollbacks"), int),
    **dict.fromkeys(("elapsed_seconds", "last_val_nats"), _REAL),
    "train_nats": _LOSS,
    "cursor": (int, int),
    "meters": ((_REAL, int), (_REAL, int)),
    "level": (_REAL, _REAL, int),
    "length": list,
    "plan": {
        **dict.fromkeys(("seq_len", "batch_size"), int),
        "learning_rate": _REAL,
        **dict.fromkeys(("total_steps", "eval_every"), int | None),
    },
    "scaler": {},
    "logs": {},
    "is_finished": bool,
}
