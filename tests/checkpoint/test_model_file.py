"""Holds the model file to its word: what was packed comes back, and nothing else is ever loaded.

golden/lstm-1x4-format1.safetensors was written once, by `pack_model(golden_model())`, and is never
written again: every later charrnn that reads format 1 must read that file. The same is true of
golden/gru-1x4-format4.safetensors and `golden_ngrams()`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.checkpoint.model_file import (
    ModelFile,
    describe_model,
    pack_model,
    read_model,
    unpack_model,
)
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError
from charrnn.generation.network import NGrams
from charrnn.text.vocab import Vocab
from tests.test_storage import in_time

GOLDEN = Path(__file__).parents[1] / "golden" / "lstm-1x4-format1.safetensors"
GOLDEN_SHA256 = "4ddb98b49aa4e930f79f5d702a86811aff795f9614bfc0c148fae03640bc5515"
WRITTEN_SHA256 = "dd4ed43fef7786a608b0974c148c2514cceaf3d51bf297e2098962510bda0a22"
"""Of the same model as it has been written since its two strings changed places."""
GOLDEN_NGRAMS = GOLDEN.with_name("gru-1x4-format4.safetensors")
GOLDEN_NGRAMS_SHA256 = "6e15d60a377f914d8def9048c1133011d58071f5fde4539db4432704a1ed6f23"
TINY = {
    "cell": "rnn",
    "nonlinearity": "tanh",
    "vocab_size": 5,
    "embedding_size": 1,
    "hidden_size": 1,
    "num_layers": 1,
    "tie_output": False,
    "skip": False,
    "dropout": 0.0,
    "initial_state": "zero",
}
FILE_ONLY = {"tie_output": "tie_embeddings", "skip": "residual"}  # names of format 1 alone
SHAPES = [
    {},
    {"cell": "rnn", "nonlinearity": "relu", "num_layers": 1},
    {"cell": "gru", "num_layers": 3, "residual": True, "dropout": 0.25},
    {"tie_embeddings": True, "embedding_size": 4, "initial_state": "learned"},
    {"tie_embeddings": True, "embedding_size": 3},
    {"ngram_order": 4, "ngram_rows": 24},
]

FINITE = st.floats(allow_nan=False, allow_infinity=False)
HINT = "use the run's other files, or fetch it again"
EXPECTED = "give a run's name, its folder or a model file (charrnn list shows the runs)"
FOREIGN = f"some.file is not a charrnn model, or its first bytes are damaged; {EXPECTED}"

MakeModel = Callable[..., ModelFile]


@pytest.fixture(scope="module")
def tiny(make_model: MakeModel) -> bytes:
    """Return the bytes of a model file of about two thousand."""
    return bytes(pack_model(make_model(**{key: TINY[key] for key in TINY if key not in FILE_ONLY})))


def golden_model() -> ModelFile:
    """Return what the golden file holds: V = 5, E = 3, H = 4, every weight its index / 64 − 1/2."""
    config = ModelConfig(
        vocab_size=5, embedding_size=3, hidden_size=4, num_layers=1, initial_state="learned"
    )
    weights = {
        name: np.arange(math.prod(shape), dtype=np.float32).reshape(shape) / 64 - 0.5
        for name, shape in config.weight_shapes().items()
    }
    summary = {"step": 7, "val_nats": 1.5, "corpus": {"name": "book", "paths": ["bücher/a.txt"]}}
    training = {
        "order": np.array([2, 0, 1], dtype=np.int64),
        "moments": np.array([[0.5, -0.25]], dtype=np.float64),
        "random": np.array([0, 255], dtype=np.uint8),
    }
    progress = {"step": 7, "seconds": 1.25, "best": None, "split": [9, 1]}
    return ModelFile(config, Vocab("\n abé"), weights, summary, training, progress)


def golden_ngrams() -> ModelFile:
    """Return what the golden file of format 4 holds: two buckets, with rows of 6 n-grams."""
    sizes = {"vocab_size": 5, "embedding_size": 3, "hidden_size": 4, "num_layers": 1}
    config = ModelConfig(cell="gru", **sizes, ngram_order=3, ngram_rows=8)
    weights = {
        name: (np.arange(math.prod(shape), dtype=np.float32).reshape(shape) % 13) / 8 - 0.75
        for name, shape in config.weight_shapes().items()
    }
    ba, nl_a = 11818967, 3987734
    ab, space_ab, bab, a_é = 12921033, 15010224, 3453830, 1889258
    weights["ngrams.check"] = np.array([ba, nl_a, -1, -1, ab, space_ab, bab, a_é], np.float32)
    weights["ngrams.key"] = np.array([1, 2, 9, 4, 5], np.float32)
    return ModelFile(config, Vocab("\n abé"), weights, {"step": 7})


def assert_same(one: ModelFile, other: ModelFile) -> None:
    """Hold two files' contents to each other, to the last bit and type."""
    assert (one.config, one.vocab) == (other.config, other.vocab)
    assert (one.summary, one.progress) == (other.summary, other.progress)
    for ours, theirs in ((one.weights, other.weights), (one.training, other.training)):
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            assert (array.dtype, array.shape) == (theirs[name].dtype, theirs[name].shape), name
            assert array.tobytes() == theirs[name].tobytes(), name


def error_of(data: bytes) -> str:
    """Return the message of the CheckpointError that these bytes end in."""
    with pytest.raises(CheckpointError) as caught:
        unpack_model(data, "some.file")
    return caught.value.message


def header_end(data: bytes) -> int:
    """Return where the header ends and the arrays begin."""
    return 8 + int.from_bytes(data[:8], "little")


def sign(header: str, rest: bytes = b"") -> bytes:
    """Return a file of this header, in which 64 zeros stand for the digest, and these arrays."""
    raw = header.encode()
    unsigned = len(raw).to_bytes(8, "little") + raw + rest
    digest = hashlib.sha256(unsigned).hexdigest().encode()
    return unsigned.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + digest)


def forge(
    data: bytes, edit: Callable[[dict[str, Any]], object] | None = None, **fields: Any
) -> bytes:
    """Return a file with an edited header, changed fields of its document and a new digest."""
    end = header_end(data)
    header = json.loads(data[8:end])
    document = json.loads(header["__metadata__"]["charrnn"]) | fields
    header["__metadata__"] = {"charrnn": json.dumps(document), "sha256": "0" * 64}
    if edit is not None:
        edit(header)
    return sign(json.dumps(header, separators=(",", ":")), data[end:])


def forge_text(data: bytes, old: str, new: str) -> bytes:
    """Return a file with a piece of its document's JSON replaced, with a new digest."""
    header = json.loads(data[8 : header_end(data)])
    text = header["__metadata__"]["charrnn"]
    assert old in text

    def edit(header: dict[str, Any]) -> None:
        header["__metadata__"]["charrnn"] = text.replace(old, new, 1)

    return forge(data, edit)


# There and back


@pytest.mark.parametrize("shape", SHAPES)
def test_every_part_of_a_model_comes_back(make_model: MakeModel, shape: dict[str, Any]) -> None:
    model = make_model(**shape)

    assert_same(unpack_model(pack_model(model), "name"), model)


def test_training_arrays_come_back_in_any_type_and_shape(make_model: MakeModel) -> None:
    arrays = {
        "ids": np.arange(7, dtype=np.uint16),
        "random": np.frombuffer(bytes(range(256)), dtype=np.uint8),
        "counter": np.array(2**63 - 1, dtype=np.int64),
        "moments": np.array([[-0.0, 5e-324, 1e308]], dtype=np.float64),
        "none": np.empty((0, 3), dtype=np.float32),
        "embedding.weight": np.zeros(2, dtype=np.float16),
    }
    model = replace(make_model(), training=arrays)

    assert_same(unpack_model(pack_model(model), "name"), model)


def test_a_model_that_cannot_resume_has_no_training_state(make_model: MakeModel) -> None:
    model = replace(make_model(), training={}, progress=None)
    loaded = unpack_model(pack_model(model), "name")

    assert (loaded.training, loaded.progress) == ({}, None)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | FINITE | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=9,
    )
)
def test_any_summary_and_progress_come_back(make_model: MakeModel, value: Any) -> None:
    model = replace(make_model(), summary={"note": value}, progress={"sha256": value})
    loaded = unpack_model(pack_model(model), "name")

    assert (loaded.summary, loaded.progress) == (model.summary, model.progress)


@given(st.text(min_size=1))
def test_any_alphabet_comes_back(make_model: MakeModel, text: str) -> None:
    vocab = Vocab.from_text(text)
    sizes = {"vocab_size": vocab.size, "embedding_size": 1, "hidden_size": 2, "num_layers": 1}
    model = replace(make_model(**sizes), vocab=vocab)

    assert unpack_model(pack_model(model), "name").vocab == vocab


def test_a_file_on_disk_is_read_whole(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(cell="gru")
    (tmp_path / "a.safetensors").write_bytes(pack_model(model))

    assert_same(read_model(tmp_path / "a.safetensors"), model)


def test_any_reader_of_safetensors_finds_the_weights_by_name(tiny: bytes) -> None:
    arrays = safetensors.numpy.load(tiny)

    assert arrays["layers.0.weight_hh"].shape == (1, 1)
    assert arrays["training.moments"].shape == (2, 3)


# What it says of itself


def test_a_description_gives_shape_figures_and_vocabulary(make_model: MakeModel) -> None:
    description = describe_model(make_model(cell="gru", step=3, val_nats=math.log(2)))
    expected = {
        "cell": "gru",
        "vocab_size": 5,
        "embedding_size": 3,
        "hidden_size": 4,
        "num_layers": 2,
        "alphabet": "\n abé",
        "has_bytes": False,
        "can_resume": True,
        "weights_sha256": description["weights_sha256"],
        "step": 3,
        "val_nats": math.log(2),
        "val_bpc": 1.0,
        "val_windowed_nats": None,
        "chars_seen": 42,
    }

    assert description.items() >= expected.items()
    assert json.loads(json.dumps(description)) == description


def test_parameters_are_counted_as_the_equations_have_them(make_model: MakeModel) -> None:
    V, E, H = 5, 3, 4
    first, second = 4 * H * (E + H + 2), 4 * H * (H + H + 2)

    assert make_model().config.num_parameters == V * E + first + second + V * H + V


def test_a_tied_output_is_counted_once_and_an_initial_state_where_it_is_learned(
    make_model: MakeModel,
) -> None:
    V, H = 5, 4
    shape = {"cell": "gru", "num_layers": 1, "embedding_size": H, "tie_embeddings": True}
    parameters = V * H + 3 * H * (H + H + 2) + V

    assert make_model(**shape).config.num_parameters == parameters
    assert make_model(**shape, initial_state="learned").config.num_parameters == parameters + H


def test_a_tied_output_of_another_width_has_a_projection_to_count(make_model: MakeModel) -> None:
    V, E, H = 5, 3, 4
    model = make_model(cell="gru", num_layers=1, tie_embeddings=True)

    assert model.weights["projection.weight"].shape == (E, H)
    assert model.config.num_parameters == V * E + 3 * H * (E + H + 2) + E * H + V


# Damage


def test_every_flipped_bit_is_refused(tiny: bytes) -> None:
    for index in range(len(tiny)):
        for bit in range(8):
            damaged = bytearray(tiny)
            damaged[index] ^= 1 << bit
            with pytest.raises(CheckpointError):
                unpack_model(bytes(damaged), "name")


def test_every_changed_byte_is_refused(tiny: bytes) -> None:
    for index, byte in enumerate(tiny):
        for other in {0, 0x20, 0x22, 0x30, 0x5C, 0x7B, 0xFF} - {byte}:
            with pytest.raises(CheckpointError):
                unpack_model(tiny[:index] + bytes([other]) + tiny[index + 1 :], "name")


def test_every_truncation_is_refused(tiny: bytes) -> None:
    for length in range(len(tiny)):
        with pytest.raises(CheckpointError):
            unpack_model(tiny[:length], "name")


@pytest.mark.parametrize("rest", [b"\0", b" ", b"\0" * 4096, b"{}"])
def test_an_extended_file_is_refused_with_the_bytes_too_many(tiny: bytes, rest: bytes) -> None:
    many = f"some.file is damaged: it has {len(rest):,} bytes after its end; {HINT}"
    assert error_of(tiny + rest) == many
    error_of(rest + tiny)


def test_a_file_cut_short_says_how_many_bytes_are_left(tiny: bytes) -> None:
    end = header_end(tiny)
    cases = {
        len(tiny) - 1: f"{len(tiny) - 1:,} of {len(tiny):,} bytes",
        end: f"{end:,} of {len(tiny):,} bytes",
        end - 1: f"{end - 1:,} of more than {end:,} bytes",
        9: f"9 of more than {end:,} bytes",
    }
    for length, left in cases.items():
        message = error_of(tiny[:length])
        assert message == f"some.file is damaged: it is cut short, {left}; {HINT}"


def test_an_empty_file_is_called_empty() -> None:
    assert error_of(b"") == f"some.file is damaged: it is empty; {HINT}"


@pytest.mark.parametrize("length", [1, 7, 8, 9, 100, 4096])
def test_a_file_of_zeros_is_not_a_model(length: int) -> None:
    assert error_of(bytes(length)) == FOREIGN


@pytest.mark.parametrize("length", [2**23 + 1, 2**32, 10**10, 2**60, 2**64 - 1])
def test_a_header_of_absurd_length_is_refused(tiny: bytes, length: int) -> None:
    message = error_of(length.to_bytes(8, "little") + tiny[8:])
    expected = f"its header would have {length:,} bytes, of 8,388,608 allowed"
    assert message == f"some.file is damaged: {expected}; {HINT}"


def test_zeros_where_a_disk_lost_a_block_are_refused(tiny: bytes) -> None:
    for start in range(0, len(tiny), 64):
        block = tiny[start : start + 64]
        if any(block):
            error_of(tiny[:start] + bytes(len(block)) + tiny[start + 64 :])


@given(st.binary(max_size=300))
@example(b"\xff" * 8 + b"{}")
@example((100_000).to_bytes(8, "little") + b"[" * 100_000)
@example((5).to_bytes(8, "little") + b"99999")
def test_no_bytes_make_the_loader_crash_or_lie(data: bytes) -> None:
    error_of(data)
    error_of(len(data).to_bytes(8, "little") + data)


@given(st.data())
def test_no_header_without_the_right_digest_is_believed(tiny: bytes, data: st.DataObject) -> None:
    plain = st.text(st.characters(codec="utf-8"))
    values = plain | st.integers() | st.none() | st.lists(st.none()) | st.just("0" * 64)
    metadata = data.draw(
        values | st.fixed_dictionaries({}, optional={"sha256": values, "charrnn": values})
    )
    header = json.dumps({"__metadata__": metadata}).encode()
    error_of(len(header).to_bytes(8, "little") + header)


def test_another_programs_safetensors_file_is_not_a_model() -> None:
    arrays = {"weight": np.zeros((2, 3), dtype=np.float32)}

    for metadata in (None, {"format": "pt"}):
        message = error_of(safetensors.numpy.save(arrays, metadata))
        assert message == FOREIGN


def test_a_damaged_file_says_where_to_look_for_another(tiny: bytes) -> None:
    what = "its content does not have the SHA-256 written in it"
    assert error_of(tiny[:-1] + b"\x55") == f"some.file is damaged: {what}; {HINT}"


# Signed, but wrong


def test_a_forged_file_with_nothing_changed_is_believed(tiny: bytes) -> None:
    assert_same(unpack_model(forge(tiny), "name"), unpack_model(tiny, "name"))


@pytest.mark.parametrize("version", [0, 5, 99, "1", None, 1.0, True, [1]])
def test_another_format_version_is_named_with_a_hint(tiny: bytes, version: object) -> None:
    expected = (
        f"some.file has model format {version!r}, this charrnn reads format 1, 2, 3 and 4; "
        "install the version of charrnn that wrote it, or a newer one"
    )
    assert error_of(forge(tiny, format=version)) == expected


def test_a_version_named_to_do_harm_cannot_write_on_the_terminal(tiny: bytes) -> None:
    message = error_of(forge(tiny, format="\n\x1b[2J" * 9999))

    assert message.isprintable()
    assert len(message) < 250


def test_a_later_format_is_named_whatever_its_arrays_are(tiny: bytes) -> None:
    def edit(header: dict[str, Any]) -> None:
        header["output.bias"]["dtype"] = "BF16"
        header["output.bias"]["shape"] = [10]

    assert error_of(forge(tiny, edit, format=5)).startswith("some.file has model format 5, this")


def nested(depth: int) -> list[Any]:
    """Return lists in lists."""
    return [nested(depth - 1)] if depth else []


REASONS = [
    ({"config": None}, "config is None, expected dict"),
    ({"config": [1, 2]}, "config is [1, 2], expected dict"),
    ({"config": {}}, "config has no cell"),
    ({"config": TINY | {"colour": "red"}}, "config has an unknown key 'colour'"),
    ({"config": TINY | {"a\n\x1b[1m": 1}}, r"config has an unknown key 'a\n\x1b[1m'"),
    ({"config": TINY | {"hidden_size": 0}}, "hidden_size is 0; it must be at least 1"),
    ({"config": TINY | {"hidden_size": True}}, "hidden_size is True; it must be a whole number"),
    ({"config": TINY | {"cell": "a\n"}}, r"cell is 'a\n'; choose from rnn, lstm, gru"),
    ({"vocab": None}, "vocab is None, expected dict"),
    ({"vocab": {"alphabet": "ab"}}, "vocab has no bytes"),
    ({"vocab": {"alphabet": "ba", "bytes": False}}, "alphabet is not sorted, or holds a char"),
    ({"vocab": {"alphabet": 5, "bytes": False}}, "vocabulary is not an alphabet with a byte flag"),
    ({"vocab": {"alphabet": "ab", "bytes": 0}}, "vocabulary is not an alphabet with a byte flag"),
    ({"vocab": {"alphabet": "ab", "bytes": False}}, "2 tokens, but a network for 5"),
    ({"colour": "red"}, "its document has an unknown key 'colour'"),
    ({"summary": {"note": 10**301}}, "a number in it has 302 digits"),
    ({"summary": {"note": math.nan}}, "a number in it is nan, which is not finite"),
    ({"summary": {"note": -math.inf}}, "a number in it is -inf, which is not finite"),
    ({"summary": {"note": "\udc80"}}, "a text in it holds half of a surrogate pair"),
    ({"progress": {"\ud800": 1}}, "a text in it holds half of a surrogate pair"),
    ({"summary": {"note": nested(40)}}, "it is nested more than 32 deep"),
    ({"summary": {"note": [0] * 300_000}}, "it lists more than 262,144 values"),
]


@pytest.mark.parametrize(("fields", "reason"), REASONS)
def test_a_document_that_is_not_a_models_is_refused_with_the_reason(
    tiny: bytes, fields: dict[str, Any], reason: str
) -> None:
    message = error_of(forge(tiny, **fields))

    assert message.startswith("some.file does not describe a model (")
    assert reason in message
    assert message.endswith(f"); {HINT}")
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"step": 7', '"step": 7, "step": 8', "the key 'step' occurs twice"),
        ('"step": 7', '"step": 1e999', "a number in it is inf, which is not finite"),
        ('"step": 7', '"step": ' + "9" * 5000, "a number in it has 5,000 digits"),
        ('"step": 7', '"step": ' + "[" * 5000, "it is nested more than 32 deep"),
        ('"step": 7', '"step": 07', "Expecting ',' delimiter"),
        ('"format"', "format", "Expecting property name enclosed in double quotes"),
    ],
)
def test_json_that_readers_would_understand_differently_is_refused(
    tiny: bytes, old: str, new: str, reason: str
) -> None:
    message = error_of(forge_text(tiny, old, new))

    assert message.startswith(f"some.file does not describe a model ({reason}")


@pytest.mark.parametrize("name", TINY)
def test_a_shape_that_lacks_a_field_is_refused_by_name(tiny: bytes, name: str) -> None:
    config = {key: value for key, value in TINY.items() if key != name}

    assert f"(config has no {name});" in error_of(forge(tiny, config=config))


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("value", [None, "1", [], {}, -1, 10**30])
def test_a_shape_of_the_wrong_type_is_refused_by_field(
    tiny: bytes, name: str, value: object
) -> None:
    assert f" ({FILE_ONLY.get(name, name)} is " in error_of(
        forge(tiny, config=TINY | {name: value})
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"summary": None}, "summary is None, expected dict"),
        ({"summary": [["a", 1]]}, "summary is [['a', 1]], expected dict"),
        ({"summary": {"step": -1}}, "summary.step is -1, expected int from 0"),
        ({"summary": {"step": 1.0}}, "summary.step is 1.0, expected int"),
        ({"summary": {"step": True}}, "summary.step is True, expected int"),
        ({"summary": {"val_bpc": "x\n"}}, r"summary.val_bpc is 'x\n', expected int | float | None"),
        (
            {"summary": {"val_by_source_nats": {"a.txt": "low"}}},
            "summary.val_by_source_nats.a.txt is 'low', expected int | float",
        ),
        ({"summary": {"settings": []}}, "summary.settings is [], expected dict"),
        ({"summary": {"corpus": {"paths": "a"}}}, "summary.corpus.paths is 'a', expected list"),
        ({"summary": {"corpus": {"paths": ["a", 5]}}}, "summary.corpus.paths.1 is 5, expected str"),
        ({"progress": 5}, "progress is 5, expected dict"),
        ({"progress": {"cursor": [1]}}, "progress.cursor is [1], expected list of 2"),
        ({"progress": {"cursor": [1, -2]}}, "progress.cursor.1 is -2, expected int from 0"),
        ({"progress": {"meters": [[0.5, 1], 2]}}, "progress.meters.1 is 2, expected list of 2"),
        ({"progress": {"is_finished": 1}}, "progress.is_finished is 1, expected bool"),
        ({"progress": {"plan": {"seq_len": "8"}}}, "progress.plan.seq_len is '8', expected int"),
        (
            {"progress": {"plan": {"total_steps": -1}}},
            "progress.plan.total_steps is -1, expected int | None from 0",
        ),
    ],
)
def test_summary_and_progress_of_the_wrong_types_are_refused_by_path(
    tiny: bytes, fields: dict[str, Any], reason: str
) -> None:
    damage = f"it does not say how it was trained ({reason}); {HINT}"

    assert error_of(forge(tiny, **fields)) == f"some.file is damaged: {damage}"


def test_what_a_later_version_may_add_to_summary_and_progress_is_kept(tiny: bytes) -> None:
    later = {"summary": {"mood": [1, None]}, "progress": {"step": 1, "colour": "red"}}
    loaded = unpack_model(forge(tiny, **later), "name")

    assert {"summary": loaded.summary, "progress": loaded.progress} == later


ENTRY = "training.moments"
NO_ENTRY = f"array '{ENTRY}' has no type, shape and offsets that agree"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (None, NO_ENTRY),
        ({"colour": "red"}, NO_ENTRY),
        ({"dtype": "BOOL"}, NO_ENTRY),
        ({"dtype": ["F64"]}, NO_ENTRY),
        ({"dtype": "F32"}, NO_ENTRY),
        ({"shape": 6}, NO_ENTRY),
        ({"shape": [2, 2]}, NO_ENTRY),
        ({"shape": [-2, -3]}, NO_ENTRY),
        ({"shape": [2.0, 3]}, NO_ENTRY),
        ({"shape": [True, 6]}, NO_ENTRY),
        ({"shape": [2**32, 2**32]}, NO_ENTRY),
        ({"shape": [2**63, 2, 3]}, NO_ENTRY),
        ({"shape": [10**290] * 9}, NO_ENTRY),
        ({"shape": [1] * 33 + [6]}, NO_ENTRY),
        ({"data_offsets": [0, 47]}, NO_ENTRY),
        ({"data_offsets": [48, 0]}, NO_ENTRY),
        ({"data_offsets": [False, 48]}, NO_ENTRY),
        ({"data_offsets": [0, 48, 96]}, NO_ENTRY),
        ({"shape": [0, 3], "data_offsets": [0, 0]}, "does not begin where the one before it ends"),
    ],
)
def test_an_array_that_is_not_described_as_safetensors_does_is_refused(
    tiny: bytes, entry: dict[str, Any] | None, reason: str
) -> None:
    def edit(header: dict[str, Any]) -> None:
        header[ENTRY] = entry and header[ENTRY] | entry

    assert reason in error_of(forge(tiny, edit))


def test_arrays_that_share_bytes_are_refused(tiny: bytes) -> None:
    def edit(header: dict[str, Any]) -> None:
        header["training.twin"] = header["output.bias"]

    reason = "array 'training.twin' does not begin where the one before it ends"
    assert error_of(forge(tiny, edit)) == f"some.file does not describe a model ({reason}); {HINT}"


def test_an_array_named_to_do_harm_cannot_write_on_the_terminal(tiny: bytes) -> None:
    def edit(header: dict[str, Any]) -> None:
        header["../\n\x1b[2J\u2028" + "x" * 9999] = header.pop("output.bias")

    message = error_of(forge(tiny, edit))

    assert message.isprintable()
    assert len(message) < 300
    assert r"weight '../\n\x1b[2J\u2028xxx" in message
    assert "does not belong there" in message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(
    make_model: MakeModel, value: float
) -> None:
    model = make_model()
    model.weights["layers.1.bias_hh"][2] = value

    reason = "array 'layers.1.bias_hh' holds numbers that are not finite"
    assert error_of(pack_model(model)) == f"some.file is damaged ({reason}); {HINT}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_training_arrays_that_are_not_finite_are_refused_by_name(
    make_model: MakeModel, value: float, dtype: type
) -> None:
    training = {"second_moment.output.bias": np.array([0, value], dtype=dtype)}

    reason = "array 'training.second_moment.output.bias' holds numbers that are not finite"
    message = error_of(pack_model(replace(make_model(), training=training)))
    assert message == f"some.file is damaged ({reason}); {HINT}"


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_weights_of_another_type_are_refused_by_name(make_model: MakeModel, dtype: type) -> None:
    model = make_model()
    model.weights["output.bias"] = model.weights["output.bias"].astype(dtype)

    assert f"output.bias is {np.dtype(dtype)}(5,), expected float32(5,)" in error_of(
        pack_model(model)
    )


def test_a_missing_projection_is_refused_by_name(make_model: MakeModel) -> None:
    model = make_model(tie_embeddings=True)
    del model.weights["projection.weight"]

    assert "weight projection.weight is missing" in error_of(pack_model(model))


@pytest.mark.parametrize("name", ModelConfig(num_layers=2).weight_shapes())
def test_a_missing_weight_is_refused_by_name(make_model: MakeModel, name: str) -> None:
    model = make_model()
    del model.weights[name]

    assert f"weight {name} is missing" in error_of(pack_model(model))


@pytest.mark.parametrize("name", ModelConfig(num_layers=2).weight_shapes())
def test_a_weight_of_another_shape_is_refused_by_name(make_model: MakeModel, name: str) -> None:
    model = make_model()
    shape = model.weights[name].shape
    for wrong in ((*shape, 1), (shape[0] + 1, *shape[1:]), (0,)):
        weights = model.weights | {name: np.zeros(wrong, dtype=np.float32)}
        message = error_of(pack_model(replace(model, weights=weights)))
        assert f"(weight {name} is float32{wrong}, expected float32{shape}); " in message


def test_a_weight_that_does_not_belong_is_refused_by_name(make_model: MakeModel) -> None:
    model = make_model()
    model.weights["layers.2.weight_ih"] = np.zeros((16, 4), dtype=np.float32)

    assert "weight 'layers.2.weight_ih' does not belong there" in error_of(pack_model(model))


def test_a_vocabulary_of_another_size_than_the_network_is_refused(make_model: MakeModel) -> None:
    message = error_of(pack_model(replace(make_model(), vocab=Vocab("abc"))))

    assert "(3 tokens, but a network for 5); " in message


# On disk


def refusal(path: Path) -> str:
    """Return the message with which this file is not read, its path as "some.file"."""
    with pytest.raises(CheckpointError) as caught:
        read_model(path)
    return caught.value.message.replace(str(path), "some.file")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone") == "cannot read some.file: No such file or directory"


def test_a_folder_is_not_a_model_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"cannot read some.file: it is a folder; {EXPECTED}"


def test_a_pipe_a_device_and_a_socket_are_refused_without_waiting_for_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero")):
            expected = f"it is a pipe, socket or device; {EXPECTED}"
            assert refusal(path) == f"cannot read some.file: {expected}"


def test_a_file_that_becomes_a_pipe_after_a_look_at_it_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    seen = GOLDEN.stat()
    monkeypatch.setattr(Path, "stat", lambda _: seen)
    with in_time():
        assert "it is a pipe, socket or device" in refusal(tmp_path / "pipe")


def test_a_file_on_disk_is_refused_in_the_words_for_its_bytes(tmp_path: Path, tiny: bytes) -> None:
    path = tmp_path / "model"
    end = header_end(tiny)
    changed = tiny[:-1] + b"\x55"
    for data in (b"", b"\0" * 99, tiny[:9], tiny[:end], tiny[:-1], tiny + b"\0", changed):
        path.write_bytes(data)
        assert refusal(path) == error_of(data)


def test_a_link_to_a_model_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(GOLDEN)

    assert_same(read_model(tmp_path / "link"), golden_model())


def test_a_file_larger_than_the_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    size = 1 << 43
    entry = f'"a":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}'
    metadata = '"charrnn":"{}","sha256":"' + "0" * 64 + '"'
    path = tmp_path / "model"
    path.write_bytes(sign(f'{{"__metadata__":{{{metadata}}},{entry}}}'))
    try:
        os.truncate(path, path.stat().st_size + size)
    except OSError:
        pytest.skip("this file system has no files of 8 terabytes")

    assert re.fullmatch(
        r"some.file has 8,796,093,022,\d{3} bytes, this machine's memory [\d,]+; "
        "open it on a larger machine",
        refusal(path),
    )


# For good


def test_the_golden_file_is_the_one_that_was_written_first() -> None:
    assert hashlib.sha256(GOLDEN.read_bytes()).hexdigest() == GOLDEN_SHA256


def test_the_golden_file_holds_what_was_put_into_it() -> None:
    assert_same(read_model(GOLDEN), golden_model())


def test_the_golden_file_with_n_grams_is_the_one_that_was_written_first() -> None:
    assert hashlib.sha256(GOLDEN_NGRAMS.read_bytes()).hexdigest() == GOLDEN_NGRAMS_SHA256


def test_the_golden_file_with_n_grams_holds_what_was_put_into_it() -> None:
    assert_same(read_model(GOLDEN_NGRAMS), golden_ngrams())


def test_the_n_grams_of_a_text_are_found_in_the_rows_where_they_always_were() -> None:
    model = read_model(GOLDEN_NGRAMS)
    ngrams = NGrams(model.config, model.weights)
    table = model.weights["ngrams.weight"]
    (context,) = ngrams.initial_context
    found = []
    for token in model.vocab.encode("\nab bab").tolist():
        summed, context = ngrams.read(token, context)
        found.append(summed.tolist())

    nothing = np.zeros(3, np.float32)
    rows = [nothing, table[1], table[4], nothing, nothing, table[0], table[4] + table[6]]
    assert found == [each.tolist() for each in rows]


def test_a_model_without_n_grams_is_written_in_the_format_it_always_had(
    make_model: MakeModel,
) -> None:
    assert hashlib.sha256(pack_model(golden_model())).hexdigest() == WRITTEN_SHA256
    assert b"ngram" not in bytes(pack_model(make_model()))


CHECKS = "whole numbers from -1 to 16777215"
KEYS = "whole numbers from 1 to 16777215"


@pytest.mark.parametrize(
    ("name", "place", "value", "reason"),
    [
        ("ngrams.check", 2, 0.5, f"ngrams.check holds 0.5, expected {CHECKS}"),
        ("ngrams.check", 2, -2, f"ngrams.check holds -2, expected {CHECKS}"),
        ("ngrams.check", 0, 2**24, f"ngrams.check holds 16777216, expected {CHECKS}"),
        ("ngrams.check", 0, 4194304.5, f"ngrams.check holds 4194304.5, expected {CHECKS}"),
        (
            "ngrams.check",
            7,
            3453830,
            "ngrams.check holds 3453830 twice in a bucket of 4, expected once",
        ),
        ("ngrams.key", 1, 0, f"ngrams.key holds 0, expected {KEYS}"),
        ("ngrams.key", 1, 1.5, f"ngrams.key holds 1.5, expected {KEYS}"),
    ],
)
def test_n_grams_that_no_run_writes_are_refused(
    name: str, place: int, value: float, reason: str
) -> None:
    model = golden_ngrams()
    model.weights[name][place] = value

    assert error_of(pack_model(model)) == f"some.file is damaged ({reason}); {HINT}"


def test_a_file_of_n_grams_lacks_none_of_their_weights_and_settings() -> None:
    model = golden_ngrams()
    data = bytes(pack_model(model))
    config = json.loads(json.loads(data[8 : header_end(data)])["__metadata__"]["charrnn"])["config"]
    del model.weights["ngrams.key"]

    assert (config["ngram_order"], config["ngram_rows"]) == (3, 8)
    assert "task" not in config
    assert "weight ngrams.key is missing" in error_of(pack_model(model))
    of_plain = {k: v for k, v in config.items() if not k.startswith("ngram")}
    assert "config has no ngram_order" in error_of(forge(data, config=of_plain))
    assert "ngram_rows is 6; give a multiple of 4" in error_of(
        forge(data, config=config | {"ngram_rows": 6})
    )
    none = config | {"ngram_order": 1, "ngram_rows": 0}
    assert "format 4 is not that of" in error_of(forge(data, config=none))


def test_a_model_file_is_read_without_torch() -> None:
    code = (
        "import pathlib, sys; from charrnn.checkpoint.model_file import read_model; "
        "model = read_model(pathlib.Path(sys.argv[1])); "
        "sys.stdout.write(f'{model.config.hidden_size} {sys.modules.keys() & {\"torch\"}}')"
    )
    command = [sys.executable, "-c", code, str(GOLDEN)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "4 set()"


def test_arrays_come_back_whatever_their_order_in_memory(make_model) -> None:
    grid = np.arange(24, dtype=np.float32).reshape(4, 6)
    arrays = {"turned": grid.T, "backwards": grid[::-1], "columns": grid[:, ::2]}
    loaded = unpack_model(pack_model(replace(make_model(), training=arrays)), "name")

    for name, array in arrays.items():
        assert loaded.training[name].tolist() == array.tolist()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[" * 100_000, "it is nested more than 32 deep"),
        ("", "Expecting value: line 1 column 1 (char 0)"),
        (5, "its header.__metadata__.charrnn is 5, expected str"),
        (None, "its header.__metadata__.charrnn is None, expected str"),
    ],
)
def test_a_document_that_is_not_json_is_refused(text: object, reason: str) -> None:
    header = {"__metadata__": {"charrnn": text, "sha256": "0" * 64}}
    message = error_of(sign(json.dumps(header, separators=(",", ":"))))

    assert message == f"some.file does not describe a model ({reason}); {HINT}"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ('{"__metadata__":{"sha256":"%s"}}', "its metadata has no charrnn"),
        ('{"__metadata__":{"sha256":"%s","charrnn":"{}","a":"b"}}', "has an unknown key 'a'"),
        ('{"__metadata__":{"sha256":"%s","charrnn":"é"}}', "'ascii' codec can't decode byte"),
        ('{"__metadata__":{"sha256":"%s","charrnn":"{}"}', "Expecting ',' delimiter"),
        ('{"__metadata__":{"sha256":"%s","charrnn":"{}"},"a":1,"a":2}', "the key 'a' occurs twice"),
        ('{"__metadata__":{"sha256":"%s","charrnn":"{}"},"__metadata__":{}}', "occurs twice"),
    ],
)
def test_a_header_that_we_do_not_write_is_refused(header: str, reason: str) -> None:
    assert reason in error_of(sign(header % ("0" * 64)))


def test_an_invalid_digest_is_damage(tiny: bytes) -> None:
    raw = b'{"__metadata__":{"sha256":"\\ud800","charrnn":"{}"}}'
    what = "its content does not have the SHA-256 written in it"
    assert what in error_of(len(raw).to_bytes(8, "little") + raw)


def test_the_same_model_has_the_same_bytes(make_model: Callable[..., ModelFile]) -> None:
    packed = {bytes(pack_model(make_model(val_nats=1.25))) for _ in range(12)}

    assert len(packed) == 1
