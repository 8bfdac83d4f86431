"""A model as it may leave this machine: without training state, and without the places of files.

What exports and the hub get is made here. The weights, the vocabulary and so the model's identity
(`model_digest`) stay; only the summary gets shorter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from charrnn.checkpoint.model_file import SUMMARY_KEYS, ModelFile
from charrnn.config import RENAMED, TextConfig, TrainConfig

HUB_SCHEME = "hf://"

_CORPUS_KEYS = [*("name", "sha256", "held_out", "record_kind", "is_utf8")]
_CORPUS_KEYS += ["train_chars", "val_chars", "test_chars"]
_SETTINGS = {item.name: item for cls in (TextConfig, TrainConfig) for item in fields(cls)}
# Settings in the user's own words that say how a text is read or how long training takes. Any
# other, such as a path or a prompt, stays here.
_KEPT_WORDS = {
    *("encoding", "document_end", "text_column", "label_prefix", "label_regex", "label_column"),
    *("group_column", "source_column", "target_column", "restore"),
    *("parameters", "budget", "length_history"),
}


def without_private(model: ModelFile) -> ModelFile:
    """Return a model without training state, and without paths in its summary.

    Only what training itself writes into a summary is kept. A corpus keeps its name, a file of a
    corpus its last part.
    """
    summary = {key: value for key, value in model.summary.items() if key in SUMMARY_KEYS}
    corpus: Mapping[str, Any] = summary.get("corpus") or {}
    settings: Mapping[str, Any] = summary.get("settings") or {}
    if corpus:
        kept = {key: corpus[key] for key in _CORPUS_KEYS if key in corpus}
        val_file = settings.get("val_file")
        if isinstance(val_file, str) and val_file:
            kept["held_out"] = str(kept.get("held_out", "")).replace(val_file, _file_name(val_file))
        kept["name"] = _file_name(str(kept.get("name", "")))
        summary["corpus"] = kept | {"paths": []}
    for key in ("settings", "resolved"):
        if isinstance(summary.get(key), dict):
            summary[key] = _public_settings(summary[key])
    if by_source := summary.get("val_by_source_nats"):
        summary["val_by_source_nats"] = _by_file_name(by_source)
    if isinstance(initial := model.summary.get("init_from"), dict):
        is_public = str(initial.get("name", "")).startswith(HUB_SCHEME)
        known = ("step", "corpus_sha256", "new_characters", *["name"] * is_public)
        summary["init_from"] = {key: initial[key] for key in known if key in initial}
    return replace(model, summary=summary, training={}, progress=None)


def _public_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without unknown ones; a path or a prompt among them is None."""
    known = {key: _SETTINGS.get(RENAMED.get(key, key)) for key in settings}
    return {
        key: settings[key] if _is_public(item) else None
        for key, item in known.items()
        if item is not None
    }


def _is_public(item: Field[Any]) -> bool:
    """Return whether a setting is a number, one of some words, or of those that are kept."""
    is_word = "str" in str(item.type)
    return not is_word or bool(item.metadata["choices"]) or item.name in _KEPT_WORDS


def _by_file_name(by_path: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by path under the last parts of the paths, a number after one used before."""
    named: dict[str, Any] = {}
    for path, value in by_path.items():
        name = _file_name(path)
        same = sum(each == name or each.startswith(f"{name} (") for each in named)
        named[f"{name} ({same + 1})" if same else name] = value
    return named


def _file_name(path: str) -> str:
    r"""Return the last part of a path of any system.

    >>> _file_name("/home/ada/book.txt"), _file_name("C:\\texts\\book.txt"), _file_name("book")
    ('book.txt', 'book.txt', 'book')
    """
    return PureWindowsPath(PurePosixPath(path).name).name
