"""A model as one self-verifying safetensors file: weights, shape, vocabulary, training summary.

The header's metadata holds one JSON document and the SHA-256 of the whole file, computed with the
digest's own 64 characters taken as zeros; it is checked on every load. Opened with numpy alone.
docs/file-format.md describes every field.

V = vocabulary, E = embedding size, H = hidden size, G = gates of the cell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from charrnn.config import GATES, ModelConfig, as_dict
from charrnn.errors import CheckpointError, ConfigError, VocabError
from charrnn.text.vocab import Vocab

FORMAT = 1
_UNSIGNED = "0" * 64
_DIGEST_KEY = b'"sha256":"'
_TRAINING = "training."

Arrays = dict[str, NDArray[Any]]


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
        """The number of learned numbers; an initial state counts where it was learned."""
        is_learned = self.config.initial_state == "learned"
        sizes = {n: w.size for n, w in self.weights.items() if is_learned or ".initial" not in n}
        return sum(sizes.values())


def describe_model(model: ModelFile) -> dict[str, Any]:
    """Give shape, vocabulary and training summary as one flat object, ready for JSON."""
    return model.summary | {
        **as_dict(model.config),
        "parameters": model.parameters,
        "alphabet": model.vocab.alphabet,
        "has_bytes": model.vocab.has_bytes,
        "can_resume": model.progress is not None,
    }


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Give the name and shape of every weight of a network of this shape."""
    hidden, rows = config.hidden_size, GATES[config.cell] * config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (config.vocab_size, config.embedding_size)
    }
    for depth in range(config.num_layers):
        inputs = hidden if depth else config.embedding_size
        shapes |= {
            f"layers.{depth}.initial": (2 if config.cell == "lstm" else 1, hidden),
            f"layers.{depth}.weight_ih": (rows, inputs),
            f"layers.{depth}.weight_hh": (rows, hidden),
            f"layers.{depth}.bias_ih": (rows,),
            f"layers.{depth}.bias_hh": (rows,),
        }
    if config.has_projection:
        shapes["projection.weight"] = (config.embedding_size, hidden)
    if not config.tie_output:
        shapes["output.weight"] = (config.vocab_size, hidden)
    return shapes | {"output.bias": (config.vocab_size,)}


def pack_model(model: ModelFile) -> bytes:
    """Give the file's bytes."""
    document = {
        "format": FORMAT,
        "config": as_dict(model.config),
        "vocab": model.vocab.to_json(),
        "summary": model.summary,
        "progress": model.progress,
    }
    training = {_TRAINING + name: value for name, value in model.training.items()}
    metadata = {"charrnn": json.dumps(document), "sha256": _UNSIGNED}
    # safetensors takes an array's bytes in the order of memory, whatever its strides.
    arrays = {n: np.asarray(a, order="C") for n, a in (model.weights | training).items()}
    unsigned = safetensors.numpy.save(arrays, metadata)
    signature = hashlib.sha256(unsigned).hexdigest().encode()
    place = unsigned.index(_DIGEST_KEY + _UNSIGNED.encode()) + len(_DIGEST_KEY)
    return unsigned[:place] + signature + unsigned[place + len(signature) :]


def unpack_model(data: bytes, name: str) -> ModelFile:
    """Read what `pack_model` gave; `name` stands in messages.

    Raises:
        CheckpointError: not a charrnn model, damaged, cut short, or of another version.
    """
    document = _verified_document(data, name)
    try:
        config = ModelConfig(**document["config"])
        vocab = Vocab.from_json(document["vocab"])
        summary, progress = document["summary"], document["progress"]
        if not isinstance(summary, dict) or not isinstance(progress, dict | None):
            raise TypeError("summary and progress are not objects")
        if not all(isinstance(summary.get(key, {}), dict) for key in ("corpus", "settings")):
            raise TypeError("corpus and settings are not objects")
        arrays = safetensors.numpy.load(data)
    except (KeyError, TypeError, ValueError, ConfigError, VocabError) as error:
        raise CheckpointError(f"{name} does not describe a model: {error}") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{name} is damaged: {error}") from error
    weights = {n: a for n, a in arrays.items() if not n.startswith(_TRAINING)}
    training = {n.removeprefix(_TRAINING): a for n, a in arrays.items() if n not in weights}
    _check_weights(weights, config, vocab, name)
    return ModelFile(config, vocab, weights, summary, training, progress)


def read_model(path: Path) -> ModelFile:
    """Read a model file.

    Raises:
        CheckpointError: it is missing or unreadable, or as for `unpack_model`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    return unpack_model(data, str(path))


def _verified_document(data: bytes, name: str) -> Mapping[str, Any]:
    """Check the digest and the version, and give the JSON document of the header."""
    try:
        header_end = 8 + int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8:header_end])["__metadata__"]
        digest, text = str(metadata["sha256"]).encode("ascii"), str(metadata["charrnn"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{name} is not a charrnn model; give a run's name, its folder or its "
            "best.safetensors (charrnn list shows the runs)"
        ) from error
    place = data.find(_DIGEST_KEY + digest, 0, header_end) + len(_DIGEST_KEY)
    seen = hashlib.sha256(data[:place])
    seen.update(_UNSIGNED.encode())
    seen.update(memoryview(data)[place + len(_UNSIGNED) :])
    if place < len(_DIGEST_KEY) or seen.hexdigest().encode() != digest:
        raise CheckpointError(
            f"{name} is damaged: its content does not have the SHA-256 written in it; "
            "fetch it again, or use the run's other file (best or last)"
        )
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name} does not describe a model: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        version = document.get("format") if isinstance(document, dict) else None
        raise CheckpointError(
            f"{name} has file format {version!r}, this charrnn reads format {FORMAT}; "
            "install the version of charrnn that wrote it, or a newer one"
        )
    return document


def _check_weights(weights: Arrays, config: ModelConfig, vocab: Vocab, name: str) -> None:
    """Hold the weights to the shape that the file itself gives."""
    if vocab.size != config.vocab_size:
        raise CheckpointError(f"{name}: {vocab.size} symbols, but a network for another number")
    shapes = weight_shapes(config)
    if wrong := sorted(set(shapes) ^ set(weights)):
        raise CheckpointError(f"{name}: weight {wrong[0]} is missing or does not belong there")
    for weight, shape in shapes.items():
        array = weights[weight]
        if array.shape != shape or array.dtype != np.float32:
            raise CheckpointError(
                f"{name}: weight {weight} is {array.dtype}{array.shape}, expected float32{shape}"
            )
        if not np.isfinite(array).all():
            raise CheckpointError(f"{name}: weight {weight} holds numbers that are not finite")
