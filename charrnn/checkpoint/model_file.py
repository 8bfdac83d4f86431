"""A model as one self-verifying safetensors file: weights, shape, vocabulary, training summary.

container.py handles bytes and digest; this module packs, checks and reads what a model consists of.
docs/file-format.md describes every field. A model is opened with numpy alone.

V = vocabulary, E = embedding size, H = hidden size, G = gates of the cell.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.checkpoint.container import Arrays as Arrays
from charrnn.checkpoint.container import (
    Kind,
    pack_container,
    read_document,
    read_whole,
    unpack_container,
)
from charrnn.checkpoint.strict_json import check_keys, check_types, shown
from charrnn.config import ModelConfig, as_dict
from charrnn.config.model import BUCKET, MOST_EXACT, NOT_LEARNED
from charrnn.data.labels import NO_LABELS, Labels
from charrnn.errors import ConfigError
from charrnn.metrics import without_nan
from charrnn.text.ngrams import NO_CHECK
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.vocab import Vocab

# Format 2 is that of models of records or clusters, format 3 that of other tasks than text, and
# format 4 that of models with n-grams; all others are written in format 1, as they always were.
_KEYS = ("format", "config", "vocab", "summary", "progress")
_MODEL = Kind(
    name="model",
    formats={
        1: _KEYS,
        2: (*_KEYS, "labels"),
        3: (*_KEYS, "labels", "target_vocab"),
        4: (*_KEYS, "labels"),
    },
    expected="give a run's name, its folder or a model file (charrnn list shows the runs)",
    hint="use the run's other files, or fetch it again",
)
_TRAINING = "training."  # begins the names of arrays that only a resumed run needs

# Files have these two settings under other names than ModelConfig.
_FILE_KEYS = {"tie_embeddings": "tie_output", "residual": "skip"}
_CONFIG_KEYS = {file_key: key for key, file_key in _FILE_KEYS.items()}
_OF_RECORDS = ("has_end", "label_count", "label_size")  # the settings that format 1 lacks
_OF_TASKS = (  # and those that only format 3 has
    *("task", "bidirectional", "pooling", "head_size", "class_count", "transitions", "attention"),
    "target_size",
)
_OF_NGRAMS = ("ngram_order", "ngram_rows")  # only format 4


@dataclass(frozen=True)
class ModelFile:
    """The contents of a file; a run can resume from it if it has training arrays and progress.

    weights: float32 by public name, of the shapes that `ModelConfig.weight_shapes` returns. labels:
    what a label can be, if the network has any; of a network that decides, its classes or tags.
    target_vocab: what a source becomes, if that is another sequence.
    """

    config: ModelConfig
    vocab: Vocab
    weights: Arrays = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    training: Arrays = field(default_factory=dict, repr=False)
    progress: dict[str, Any] | None = field(default=None, repr=False)
    labels: Labels = field(default=NO_LABELS, repr=False)
    target_vocab: Vocab | None = None


def refuse_task(model: ModelFile) -> None:
    """Refuse a model that writes no text, where one is needed.

    Raises:
        ConfigError: it is one; says which commands are for it.
    """
    task = model.config.task
    if task != "text":
        raise ConfigError(
            f"this is a model for {task}, which writes no text of its own; charrnn predict uses it "
            "and charrnn eval measures it"
        )


def describe_model(model: ModelFile) -> dict[str, Any]:
    """Return shape, vocabulary and training summary as one flat object, ready for JSON."""
    return model.summary | {
        **as_dict(model.config),
        "parameters": model.config.num_parameters,
        **_describe_vocab(model.vocab),
        **({} if model.target_vocab is None else {"target": _describe_vocab(model.target_vocab)}),
        "labels": model.labels.counts,
        "can_resume": model.progress is not None,
        "weights_sha256": model_digest(model).hex(),
    }


def _describe_vocab(vocab: Vocab) -> dict[str, Any]:
    if isinstance(vocab, TokenVocab):
        return {"tokens": list(vocab.tokens)}
    clusters = {"clusters": list(vocab.clusters)} if vocab.clusters else {}
    return {"alphabet": vocab.alphabet, "has_bytes": vocab.has_bytes, **clusters}


def model_digest(model: ModelFile) -> bytes:
    """Return the SHA-256 (32 bytes) of all that decides on probabilities: the model's identity.

    Two files with the same shape, alphabet and weights have the same digest, whatever else they
    hold. Compressed files and saved states are bound to it.
    """
    # Dropout acts in training alone.
    shape = {key: each for key, each in config_to_json(model.config).items() if key != "dropout"}
    known = [shape, model.vocab.to_json()]
    if model.target_vocab is not None:
        known.append(model.target_vocab.to_json())
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for name in model.config.weight_shapes():  # the order of a dict's keys may differ
        digest.update(np.ascontiguousarray(model.weights[name], "<f4").data)
    return digest.digest()


def read_model(path: Path) -> ModelFile:
    """Read a model file, in about one and a quarter times its size of memory.

    Raises:
        CheckpointError: missing, unreadable, or as `unpack_model`.
    """
    return unpack_model(read_whole(path, _MODEL), str(path))


def read_model_header(path: Path) -> ModelFile:
    """Read a model file without its arrays, however large it is, and without checking its digest.

    Raises:
        CheckpointError: missing, unreadable, cut short, or it does not describe a model.
    """
    return _unpack_document(read_document(path, _MODEL), str(path))


def pack_model(model: ModelFile) -> bytearray:
    """Return the bytes of a file. Figures of the summary that are not finite become null."""
    form = _format_of(model.config, model.vocab)
    of_later: dict[str, Any] = {"labels": model.labels.to_json()} if form >= 2 else {}
    if form == 3:
        of_later["target_vocab"] = model.target_vocab and model.target_vocab.to_json()
    document = {
        "format": form,
        "config": config_to_json(model.config, form),
        "vocab": model.vocab.to_json(),
        "summary": without_nan(model.summary),
        "progress": model.progress,  # None in a model that is only sampled from
        **of_later,
    }
    training = {_TRAINING + name: value for name, value in model.training.items()}
    return pack_container(model.weights | training, json.dumps(document, allow_nan=False))


def unpack_model(data: bytes | bytearray, name: str) -> ModelFile:
    """Return the model that `pack_model` packed; `name` is the file's name in messages.

    The arrays share a bytearray's memory.

    Raises:
        CheckpointError: not a charrnn model, damaged, cut short, or of another version.
    """
    document, arrays = unpack_container(data, name, _MODEL)
    model = _unpack_document(document, name)
    with _MODEL.refusing(f"{name} does not describe a model"):
        weights = {n: a for n, a in arrays.items() if not n.startswith(_TRAINING)}
        _check_weights(weights, model.config)
    with _MODEL.refusing(f"{name} is damaged"):
        # Moments and averages too: training would only spread a NaN.
        for array_name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"array {shown(array_name)} holds numbers that are not finite")
        check_ngrams(weights)
    training = {n.removeprefix(_TRAINING): a for n, a in arrays.items() if n not in weights}
    return replace(model, weights=weights, training=training)


def _unpack_document(document: Any, name: str) -> ModelFile:
    """Return the model that a document describes, without arrays."""
    with _MODEL.refusing(f"{name} does not describe a model"):
        form = document["format"]
        check_keys(document["config"], config_to_json(ModelConfig(), form), "config")
        vocab = _read_vocab(document["vocab"], "vocab")
        target = document.get("target_vocab")
        target_vocab = None if target is None else _read_vocab(target, "target_vocab")
        shape = {_CONFIG_KEYS.get(key, key): value for key, value in document["config"].items()}
        config = ModelConfig(**shape)  # which checks every value
        if vocab.size != config.vocab_size:
            raise ValueError(f"{vocab.size} tokens, but a network for {config.vocab_size}")
        if vocab.has_end != config.has_end:
            raise ValueError("network and vocabulary do not agree on whether records end")
        if form != _format_of(config, vocab):
            raise ValueError(
                f"format {form} is not that of such a vocabulary, of such a task or of n-grams"
            )
        labels = Labels.from_json(document["labels"]) if form >= 2 else NO_LABELS
        _check_labels(labels, config)
        _check_targets(target_vocab, config)
    summary = document["summary"]
    progress = document["progress"]
    with _MODEL.refusing(f"{name} is damaged: it does not say how it was trained"):
        check_types(summary, _SUMMARY, "summary")
        by_source = summary.get("val_by_source_nats", {})
        check_types(by_source, dict.fromkeys(by_source, _REAL), "summary.val_by_source_nats")
        for column, figures in summary.get("classification", {}).items():
            check_types(figures, _CLASSIFICATION, f"summary.classification.{shown(column)}")
        scores = summary.get("scores", {})
        check_types(scores, dict.fromkeys(scores, _REAL), "summary.scores")
        if progress is not None:
            check_types(progress, _PROGRESS, "progress")
    return ModelFile(
        config, vocab, {}, summary, progress=progress, labels=labels, target_vocab=target_vocab
    )


def _read_vocab(values: Any, name: str) -> Vocab:
    """Return the vocabulary of a document: of characters, or of tokens between spaces."""
    check_types(values, {}, name)
    if "tokens" in values:
        flags = [key for key in ("end",) if key in values]
        check_keys(values, ("tokens", *flags), name)
        check_types(values, {"tokens": [str], "end": bool}, name)
        return TokenVocab.from_json(values)
    flags = [key for key in ("binary", "end", "clusters") if key in values]
    check_keys(values, ("alphabet", "bytes", *flags), name)
    return Vocab.from_json(values)


def _check_labels(labels: Labels, config: ModelConfig) -> None:
    """Refuse labels that the network has no rows for, or no classes."""
    if config.task in ("classification", "tagging"):
        if len(labels.columns) != 1 or len(labels) != config.class_count or config.label_count:
            raise ValueError(f"{len(labels)} labels, but a network for {config.class_count}")
    elif len(labels) != config.label_count or bool(labels) != bool(config.label_size):
        raise ValueError(f"{len(labels)} labels, but a network for {config.label_count}")


def _check_targets(vocab: Vocab | None, config: ModelConfig) -> None:
    """Refuse a vocabulary of targets that the network does not write."""
    size = 0 if vocab is None else vocab.size
    if size != config.target_size or (vocab is None) != (config.task != "seq2seq"):
        raise ValueError(f"{size} target tokens, but a network for {config.target_size}")
    if vocab is not None and not vocab.has_end:
        raise ValueError("the vocabulary of targets has no end")


def _format_of(config: ModelConfig, vocab: Vocab) -> int:
    """Return the format that a model needs."""
    return max(2 if vocab.clusters else 1, _least_format(config))


def _least_format(config: ModelConfig) -> int:
    """Return the least format that has all that differs from a plain network."""
    if config.task != "text":
        return 3
    return 4 if config.ngram_rows else 1 + config.has_end


def config_to_json(config: ModelConfig, form: int | None = None) -> dict[str, Any]:
    """Return a network's shape under the keys of a file.

    form: the file's format; None for the least that has all that differs from a plain network.
    """
    if form is None:
        form = _least_format(config)
    shape = {_FILE_KEYS.get(key, key): value for key, value in as_dict(config).items()}
    lacking = {*(_OF_RECORDS if form == 1 else ()), *(_OF_TASKS if form != 3 else ())}
    lacking |= set(_OF_NGRAMS if form != 4 else ())
    return {key: value for key, value in shape.items() if key not in lacking}


def _check_weights(weights: Arrays, config: ModelConfig) -> None:
    """Compare the weights' names, shapes and types with the shape that the file gives."""
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


def check_ngrams(weights: Arrays) -> None:
    """Refuse checks and keys of n-grams that are no whole numbers of 24 bits, and twins.

    Readers would find different rows for an n-gram that has two in its bucket.

    Raises:
        ValueError: says what was found, and what was expected.
    """
    for name, least in zip(NOT_LEARNED, (-1, 1), strict=True):
        array = weights.get(name)
        if array is None:
            continue
        is_right = (array >= least) & (array < MOST_EXACT) & (array == np.floor(array))
        if not is_right.all():
            found = np.format_float_positional(array[~is_right][0], trim="-")
            expected = f"whole numbers from {least} to {MOST_EXACT - 1}"
            raise ValueError(f"{name} holds {found}, expected {expected}")
    if NOT_LEARNED[0] in weights:
        in_buckets = np.sort(weights[NOT_LEARNED[0]].reshape(-1, BUCKET))
        is_twin = (in_buckets[:, 1:] == in_buckets[:, :-1]) & (in_buckets[:, 1:] != NO_CHECK)
        if is_twin.any():
            twin = int(in_buckets[:, 1:][is_twin][0])
            raise ValueError(
                f"{NOT_LEARNED[0]} holds {twin} twice in a bucket of {BUCKET}, expected once"
            )


# The known keys of the JSON objects, in the form that check_types takes. A file may lack some, and
# have others that a later version added.
_REAL = int | float
_LOSS = int | float | None
_SUMMARY = {
    "step": int,
    "chars_seen": int,
    "elapsed_seconds": _REAL,
    **dict.fromkeys(("train_nats", "train_eval_nats", "eval_nats", "val_nats", "val_bpc"), _LOSS),
    **dict.fromkeys(("val_windowed_nats", "val_windowed_bpc", "val_bits_per_byte"), _LOSS),
    **dict.fromkeys(("val_end_nats", "val_unlabelled_nats"), _LOSS),
    "val_by_source_nats": {},  # by path
    "corpus": {"name": str, "paths": [str], "sha256": str, "held_out": str, "record_kind": str}
    | {"is_utf8": bool}
    | dict.fromkeys(("train_chars", "val_chars", "test_chars"), int),
    "settings": {},
    "resolved": {},
    **dict.fromkeys(("device", "precision", "created"), str),
    "versions": {},
    "baselines_bpc": {},
    "classification": {},  # by column
    "scores": {},  # by name
    "target_bounds": (_REAL, _REAL, _REAL),
    "longest_tokens": int,
}
SUMMARY_KEYS = tuple(_SUMMARY)
"""The keys that training writes into a summary."""
_CLASSIFICATION = {
    **dict.fromkeys(("temperature", "error", "accuracy", "nats"), _REAL),
    "records": int,
}
_PROGRESS = {
    **dict.fromkeys(("step", "updates", "slices", "chars_seen", "stale"), int),
    **dict.fromkeys(("evaluated_step", "dropped", "rollbacks"), int),
    **dict.fromkeys(("elapsed_seconds", "last_val_nats", "last_learning_rate"), _REAL),
    "groups": {},  # by name
    "train_nats": _LOSS,
    "cursor": (int, int),
    "meters": ((_REAL, int), (_REAL, int)),
    "level": (_REAL, _REAL, int),
    "length": list,
    "plan": {
        **dict.fromkeys(("seq_len", "batch_size"), int),
        "learning_rate": _REAL,
        **dict.fromkeys(("total_steps", "eval_every"), int | None),
        "machine_speed": _LOSS,
    },
    "schedule": {
        **dict.fromkeys(("warmup_steps", "changed_at", "fading_steps"), int),
        "total_steps": int | None,
        "difference": _REAL,
    },
    "is_warned": bool,
    "length_history": str | None,
    "scaler": {},
    "logs": {},
    "is_finished": bool,
}
