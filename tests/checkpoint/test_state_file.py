"""A saved state comes back to the last bit, for its own model alone, and from a whole file only."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.checkpoint.container import pack_container, unpack_container
from charrnn.checkpoint.model_file import ModelFile, pack_model, unpack_model
from charrnn.checkpoint.state_file import (
    _STATE,
    MAX_LAST_IDS,
    Owner,
    SavedState,
    pack_state,
    read_state,
    unpack_state,
    write_state,
)
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError, StorageError
from tests.generation.random_models import NGRAMS

H = 4
DIGEST = hashlib.sha256(b"these weights").digest()
CONFIGS = [
    ModelConfig(cell="rnn", vocab_size=5, hidden_size=H, num_layers=1),
    ModelConfig(cell="lstm", vocab_size=5, hidden_size=H, num_layers=3),
    ModelConfig(cell="gru", vocab_size=70_000, hidden_size=H, num_layers=2, residual=True),
    ModelConfig(cell="lstm", vocab_size=5, hidden_size=H, num_layers=2, **NGRAMS),
]
LSTM = Owner("book", DIGEST, CONFIGS[1])
WITH_NGRAMS = Owner("book", DIGEST, CONFIGS[3])
AGAIN = "save it again with --save-state"


def make_saved(config: ModelConfig, ids: int = 7) -> SavedState:
    random = np.random.default_rng(2)
    shape = (config.num_layers, 2 if config.cell == "lstm" else 1, H)
    layers = tuple(map(tuple, random.normal(size=shape).astype(np.float32)))
    if config.ngram_rows:
        layers += ((np.array([config.vocab_size, 0], np.float32),),)
    last_ids = random.integers(0, config.vocab_size, ids)
    return SavedState(layers, last_ids, chars_read=123_456)


def assert_same(one: SavedState, other: SavedState) -> None:
    assert one.chars_read == other.chars_read
    assert one.last_ids.tolist() == other.last_ids.tolist()
    assert [len(layer) for layer in one.layers] == [len(layer) for layer in other.layers]
    for ours, theirs in zip(one.layers, other.layers, strict=True):
        for part, same in zip(ours, theirs, strict=True):
            assert (part.dtype, part.shape) == (same.dtype, same.shape)
            assert part.tobytes() == same.tobytes()


def error_of(data: bytes, owner: Owner = LSTM) -> str:
    """Return the message of the CheckpointError that these bytes end in."""
    with pytest.raises(CheckpointError) as caught:
        unpack_state(bytearray(data), "some.state", owner)
    return caught.value.message


def forge(edit: Callable[[dict[str, Any], dict[str, Any]], object]) -> bytes:
    """Return a state whose document and arrays were edited, rightly signed."""
    saved = make_saved(LSTM.config)
    layers = enumerate(saved.layers)
    arrays: dict[str, Any] = {
        f"layers.{depth}.{part}": array
        for depth, layer in layers
        for part, array in zip(("hidden", "cell"), layer, strict=True)
    }
    arrays["last_ids"] = saved.last_ids.astype(np.uint32)
    model = {"name": "book", "sha256": DIGEST.hex()}
    document = {"kind": "state", "format": 1, "model": model, "chars_read": 9}
    edit(document, arrays)
    return bytes(pack_container(arrays, json.dumps(document)))


# ── there and back ──


@pytest.mark.parametrize("config", CONFIGS, ids=["rnn", "lstm", "gru", "n-grams"])
def test_a_state_comes_back_to_the_last_bit(config: ModelConfig, tmp_path: Path) -> None:
    saved, owner = make_saved(config), Owner("book", DIGEST, config)

    write_state(tmp_path / "a.state", saved, owner)

    assert_same(read_state(tmp_path / "a.state", owner), saved)


def test_the_same_model_under_another_name_may_read_it(tmp_path: Path) -> None:
    saved = make_saved(LSTM.config)
    write_state(tmp_path / "a.state", saved, LSTM)

    assert_same(read_state(tmp_path / "a.state", replace(LSTM, name="moved")), saved)


def test_only_the_last_ten_thousand_ids_are_kept() -> None:
    saved = make_saved(LSTM.config, ids=MAX_LAST_IDS + 3)

    kept = unpack_state(pack_state(saved, LSTM), "name", LSTM).last_ids

    assert kept.tolist() == saved.last_ids[3:].tolist()


def test_a_state_before_any_text_has_no_ids() -> None:
    saved = replace(make_saved(LSTM.config, ids=0), chars_read=0)

    assert_same(unpack_state(pack_state(saved, LSTM), "name", LSTM), saved)


@given(st.text())
@example("caf\udce9")  # of a folder in another encoding
def test_a_model_may_have_any_name(name: str) -> None:
    owner = replace(LSTM, name=name)

    assert unpack_state(pack_state(make_saved(LSTM.config), owner), "name", LSTM).chars_read


def test_a_state_is_not_much_longer_than_its_numbers() -> None:
    saved = make_saved(LSTM.config, ids=0)

    assert len(pack_state(saved, LSTM)) < 3 * 2 * H * 4 + 1000


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(StorageError, match=r"^cannot write .*file.a\.state: "):
        write_state(tmp_path / "file" / "a.state", make_saved(LSTM.config), LSTM)


# ── another model's ──


def test_a_state_of_another_model_is_refused_by_both_names() -> None:
    other = replace(LSTM, name="tale", digest=hashlib.sha256(b"others").digest())

    message = error_of(pack_state(make_saved(LSTM.config), LSTM), other)

    assert message == (
        f"some.state is a state of another model, 'book' (SHA-256 '{DIGEST.hex()[:16]}'…), than "
        f"tale ({other.digest.hex()[:16]}…); name that model, or save a state of this one"
    )


def test_the_model_is_checked_before_its_shape() -> None:
    other = Owner("tale", bytes(32), CONFIGS[0])

    assert "another model" in error_of(pack_state(make_saved(LSTM.config), LSTM), other)


def test_a_model_is_not_a_state_and_a_state_not_a_model(
    make_model: Callable[..., ModelFile],
) -> None:
    assert error_of(pack_model(make_model())) == (
        "some.state is a charrnn file, but not a state; give a file that --save-state wrote"
    )
    with pytest.raises(CheckpointError, match="is a charrnn file, but not a model; give"):
        unpack_model(pack_state(make_saved(LSTM.config), LSTM), "some.state")


# ── damage ──


@pytest.fixture(scope="module")
def packed() -> bytes:
    return bytes(pack_state(make_saved(LSTM.config), LSTM))


def test_every_flipped_bit_is_refused(packed: bytes) -> None:
    for index in range(len(packed)):
        damaged = bytearray(packed)
        damaged[index] ^= 1 << index % 8
        with pytest.raises(CheckpointError):
            unpack_state(damaged, "name", LSTM)


def test_every_truncation_is_refused_and_so_is_a_longer_file(packed: bytes) -> None:
    for length in range(len(packed)):
        with pytest.raises(CheckpointError):
            unpack_state(bytearray(packed[:length]), "name", LSTM)
    assert error_of(packed + b"ab") == (
        f"some.state is damaged: it has 2 bytes after its end; {AGAIN}"
    )


def test_a_foreign_file_is_refused_as_foreign(tmp_path: Path) -> None:
    assert error_of(b"plain text, and no state at all") == (
        "some.state is not a charrnn state, or its first bytes are damaged; "
        "give a file that --save-state wrote"
    )
    with pytest.raises(CheckpointError, match="is a folder; give a file that save_state wrote"):
        read_state(tmp_path, LSTM)
    with pytest.raises(CheckpointError, match="No such file"):
        read_state(tmp_path / "none", LSTM)


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(CheckpointError, match="it is a pipe"):
        read_state(tmp_path / "pipe", LSTM)


# ── forged ──


def set_to(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], object]:
    return lambda document, _: document.update({key: value})


def array_to(name: str, array: Any) -> Callable[[dict[str, Any], dict[str, Any]], object]:
    return lambda _, arrays: arrays.update({name: np.asarray(array)})


MODEL = {"name": "book", "sha256": DIGEST.hex()}
F32 = np.float32
FORGED = {
    "no list": (set_to("chars_read", "many"), "chars_read is 'many', expected int"),
    "negative": (set_to("chars_read", -1), "chars_read is -1, expected int from 0"),
    "a truth": (set_to("chars_read", True), "chars_read is True, expected int"),
    "unknown key": (set_to("more", 1), "its document has an unknown key 'more'"),
    "no model": (set_to("model", None), "model is None, expected dict"),
    "no digest": (set_to("model", {"name": "book"}), "model has no sha256"),
    "a number": (set_to("model", MODEL | {"sha256": 7}), "model.sha256 is 7, expected str"),
    "more": (set_to("model", MODEL | {"x": 7}), "model has an unknown key 'x'"),
    "shape": (
        array_to("layers.1.cell", np.zeros(H + 1, F32)),
        "layers.1.cell is float32(5,), expected float32(4,)",
    ),
    "type": (
        array_to("layers.1.cell", np.zeros(H)),
        "layers.1.cell is float64(4,), expected float32(4,)",
    ),
    "NaN": (
        array_to("layers.0.hidden", np.full(H, math.nan, F32)),
        "layers.0.hidden holds numbers that are not finite",
    ),
    "infinite": (
        array_to("layers.2.cell", np.full(H, -math.inf, F32)),
        "layers.2.cell holds numbers that are not finite",
    ),
    "a layer more": (
        array_to("layers.3.cell", np.zeros(H, F32)),
        "the state has an unknown key 'layers.3.cell'",
    ),
    "a layer less": (lambda _, arrays: arrays.pop("layers.2.hidden"), "no layers.2.hidden"),
    "no ids": (lambda _, arrays: arrays.pop("last_ids"), "the state has no last_ids"),
    "unknown id": (
        array_to("last_ids", np.array([4, 5], np.uint32)),
        "last_ids has ids that the model does not have",
    ),
    "signed ids": (
        array_to("last_ids", np.zeros(3, np.int32)),
        "last_ids is int32(3,), expected uint32, at most 10,000",
    ),
    "many ids": (
        array_to("last_ids", np.zeros(MAX_LAST_IDS + 1, np.uint32)),
        "last_ids is uint32(10001,), expected uint32, at most 10,000",
    ),
    "a table of ids": (
        array_to("last_ids", np.zeros((1, 2), np.uint32)),
        "last_ids is uint32(1, 2), expected uint32, at most 10,000",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_state_is_refused_with_what_is_wrong(name: str) -> None:
    edit, wrong = FORGED[name]

    assert re.fullmatch(
        rf"some\.state does not describe a state \(.*{re.escape(wrong)}\); {AGAIN}",
        error_of(forge(edit)),
    )


BAD_CONTEXTS = {
    "no context": (None, "the state has no ngrams.context"),
    "shape": (np.zeros(3, F32), "ngrams.context is float32(3,), expected float32(2,)"),
    "type": (np.zeros(2, np.int64), "ngrams.context is int64(2,), expected float32(2,)"),
    "NaN": (np.float32([1, math.nan]), "ngrams.context holds numbers that are not finite"),
    "half": (np.float32([1, 0.5]), "ngrams.context holds numbers that are no keys of tokens"),
    "negative": (np.float32([-1, 0]), "ngrams.context holds numbers that are no keys of tokens"),
    "huge": (np.float32([2**25, 0]), "ngrams.context holds numbers that are no keys of tokens"),
}


@pytest.mark.parametrize("name", BAD_CONTEXTS)
def test_last_tokens_that_are_none_are_refused(name: str) -> None:
    array, wrong = BAD_CONTEXTS[name]
    packed = pack_state(make_saved(WITH_NGRAMS.config), WITH_NGRAMS)
    document, arrays = unpack_container(packed, "some.state", _STATE)
    del arrays["ngrams.context"]
    if array is not None:
        arrays["ngrams.context"] = array

    message = error_of(bytes(pack_container(arrays, json.dumps(document))), WITH_NGRAMS)

    assert message == f"some.state does not describe a state ({wrong}); {AGAIN}"


def test_last_tokens_of_a_model_without_n_grams_are_refused() -> None:
    edit = array_to("ngrams.context", np.zeros(2, F32))

    assert "the state has an unknown key 'ngrams.context'" in error_of(forge(edit))


def test_an_honest_forgery_is_read() -> None:
    assert unpack_state(bytearray(forge(lambda *_: None)), "name", LSTM).chars_read == 9


@pytest.mark.parametrize("version", [0, 2, True, 1.0, "1", None])
def test_another_version_is_refused_by_name(version: object) -> None:
    assert error_of(forge(set_to("format", version))) == (
        f"some.state has state format {version!r}, this charrnn reads format 1; "
        "install the version of charrnn that wrote it, or a newer one"
    )


def test_a_hostile_name_cannot_reach_the_terminal() -> None:
    hostile = {"name": "\x1b[31m\n" + "x" * 10_000, "sha256": "\x1b]0;\x07"}

    message = error_of(forge(set_to("model", hostile)))

    assert message.isprintable()
    assert len(message) < 400


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=3))
def test_no_document_makes_the_reader_crash(value: Any) -> None:
    error_of(bytes(pack_container({"a": np.zeros(1, F32)}, json.dumps(value))))
    for key in ("kind", "format", "model"):
        error_of(forge(set_to(key, [value])))
