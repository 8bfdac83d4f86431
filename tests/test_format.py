"""Holds the model file to its word: what was packed comes back, and nothing else is ever loaded.

golden/lstm-1x4-format1.safetensors was written once, by `pack_model(golden_model())`, and is never
written again: every later charrnn that reads format 1 must read that file.
"""

from __future__ import annotations

import hashlib
import json
import math
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

from charrnn.checkpoint.format import (
    ModelFile,
    describe_model,
    pack_model,
    read_model,
    unpack_model,
    weight_shapes,
)
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError
from charrnn.text.vocab import Vocab

GOLDEN = Path(__file__).parent / "golden" / "lstm-1x4-format1.safetensors"
GOLDEN_SHA256 = "4ddb98b49aa4e930f79f5d702a86811aff795f9614bfc0c148fae03640bc5515"
SHAPES = [
    {},
    {"cell": "rnn", "nonlinearity": "relu", "num_layers": 1},
    {"cell": "gru", "num_layers": 3, "skip": True, "dropout": 0.25},
    {"tie_output": True, "embedding_size": 4, "initial_state": "learned"},
    {"tie_output": True, "embedding_size": 3},
]

MakeModel = Callable[..., ModelFile]


@pytest.fixture(scope="module")
def tiny(make_model: MakeModel) -> bytes:
    """Give the bytes of a model file of about two thousand."""
    config = {"cell": "rnn", "embedding_size": 1, "hidden_size": 1, "num_layers": 1}
    return pack_model(make_model(**config))


def golden_model() -> ModelFile:
    """Give what the golden file holds: V = 5, E = 3, H = 4, every weight its place / 64 − 1/2."""
    config = ModelConfig(
        vocab_size=5, embedding_size=3, hidden_size=4, num_layers=1, initial_state="learned"
    )
    weights = {
        name: np.arange(math.prod(shape), dtype=np.float32).reshape(shape) / 64 - 0.5
        for name, shape in weight_shapes(config).items()
    }
    summary = {"step": 7, "val_nats": 1.5, "corpus": {"name": "book", "paths": ["bücher/a.txt"]}}
    training = {
        "order": np.array([2, 0, 1], dtype=np.int64),
        "moments": np.array([[0.5, -0.25]], dtype=np.float64),
        "random": np.array([0, 255], dtype=np.uint8),
    }
    progress = {"step": 7, "seconds": 1.25, "best": None, "split": [9, 1]}
    return ModelFile(config, Vocab("\n abé"), weights, summary, training, progress)


def assert_same(one: ModelFile, other: ModelFile) -> None:
    """Hold two files' contents to each other, to the last bit and type."""
    assert (one.config, one.vocab) == (other.config, other.vocab)
    assert (one.summary, one.progress) == (other.summary, other.progress)
    for ours, theirs in ((one.weights, other.weights), (one.training, other.training)):
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            assert (array.dtype, array.shape) == (theirs[name].dtype, theirs[name].shape), name
            assert array.tobytes() == theirs[name].tobytes(), name


def complaint(data: bytes) -> str:
    """Give the message of the CheckpointError that these bytes end in."""
    with pytest.raises(CheckpointError) as caught:
        unpack_model(data, "some.file")
    return str(caught.value)


def forge(data: bytes, **changes: Any) -> bytes:
    """Give a file with fields of its document changed, signed as if it had been written so."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    document = json.loads(header["__metadata__"]["charrnn"]) | changes
    metadata = {"charrnn": json.dumps(document), "sha256": "0" * 64}
    unsigned = safetensors.numpy.save(safetensors.numpy.load(data), metadata)
    digest = hashlib.sha256(unsigned).hexdigest()
    return unsigned.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + digest.encode())


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
        "moments": np.array([[math.inf, math.nan]], dtype=np.float64),
        "none": np.empty((0, 3), dtype=np.float32),
        "embedding.weight": np.zeros(2, dtype=np.float16),
    }
    model = replace(make_model(), training=arrays)

    assert_same(unpack_model(pack_model(model), "name"), model)


def test_a_model_that_cannot_go_on_has_no_training_state(make_model: MakeModel) -> None:
    model = replace(make_model(), training={}, progress=None)
    loaded = unpack_model(pack_model(model), "name")

    assert (loaded.training, loaded.progress) == ({}, None)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=9,
    )
)
def test_any_summary_and_progress_come_back(make_model: MakeModel, value: Any) -> None:
    model = replace(make_model(), summary={"step": value}, progress={"sha256": value})
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

    assert make_model().parameters == V * E + first + second + V * H + V


def test_a_tied_output_is_counted_once_and_an_initial_state_where_it_is_learned(
    make_model: MakeModel,
) -> None:
    V, H = 5, 4
    shape = {"cell": "gru", "num_layers": 1, "embedding_size": H, "tie_output": True}
    parameters = V * H + 3 * H * (H + H + 2) + V

    assert make_model(**shape).parameters == parameters
    assert make_model(**shape, initial_state="learned").parameters == parameters + H


def test_a_tied_output_of_another_width_has_a_projection_to_count(make_model: MakeModel) -> None:
    V, E, H = 5, 3, 4
    model = make_model(cell="gru", num_layers=1, tie_output=True)

    assert model.weights["projection.weight"].shape == (E, H)
    assert model.parameters == V * E + 3 * H * (E + H + 2) + E * H + V


# Damage


def test_every_flipped_bit_is_refused(tiny: bytes) -> None:
    for place in range(len(tiny)):
        for bit in range(8):
            damaged = bytearray(tiny)
            damaged[place] ^= 1 << bit
            with pytest.raises(CheckpointError):
                unpack_model(bytes(damaged), "name")


def test_every_changed_byte_is_refused(tiny: bytes) -> None:
    for place, byte in enumerate(tiny):
        for other in {0, 0x20, 0x22, 0x30, 0x5C, 0x7B, 0xFF} - {byte}:
            with pytest.raises(CheckpointError):
                unpack_model(tiny[:place] + bytes([other]) + tiny[place + 1 :], "name")


def test_every_truncation_is_refused(tiny: bytes) -> None:
    for length in range(len(tiny)):
        with pytest.raises(CheckpointError):
            unpack_model(tiny[:length], "name")


@pytest.mark.parametrize("rest", [b"\0", b" ", b"\0" * 4096, b"{}"])
def test_an_extended_file_is_refused(tiny: bytes, rest: bytes) -> None:
    assert "is damaged" in complaint(tiny + rest)
    complaint(rest + tiny)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, 4096])
def test_an_empty_file_and_one_of_zeros_are_no_model(length: int) -> None:
    assert complaint(bytes(length)).startswith("some.file is not a charrnn model; give a run's")


def test_zeros_where_a_disk_lost_a_block_are_refused(tiny: bytes) -> None:
    for start in range(0, len(tiny), 64):
        block = tiny[start : start + 64]
        if any(block):
            complaint(tiny[:start] + bytes(len(block)) + tiny[start + 64 :])


@given(st.binary(max_size=300))
@example(b"\xff" * 8 + b"{}")
@example((100_000).to_bytes(8, "little") + b"[" * 100_000)
@example((5).to_bytes(8, "little") + b"99999")
def test_no_bytes_make_the_loader_crash_or_lie(data: bytes) -> None:
    complaint(data)
    complaint(len(data).to_bytes(8, "little") + data)


@given(st.data())
def test_no_header_without_the_right_digest_is_believed(tiny: bytes, data: st.DataObject) -> None:
    plain = st.text(st.characters(codec="utf-8"))
    values = plain | st.integers() | st.none() | st.lists(st.none()) | st.just("0" * 64)
    metadata = data.draw(
        values | st.fixed_dictionaries({}, optional={"sha256": values, "charrnn": values})
    )
    header = json.dumps({"__metadata__": metadata}).encode()
    complaint(len(header).to_bytes(8, "little") + header)


def test_another_tools_safetensors_file_is_no_model() -> None:
    arrays = {"weight": np.zeros((2, 3), dtype=np.float32)}

    for metadata in (None, {"format": "pt"}):
        message = complaint(safetensors.numpy.save(arrays, metadata))
        assert message.startswith("some.file is not a charrnn model")


def test_a_damaged_file_says_where_to_look_for_another(tiny: bytes) -> None:
    expected = (
        "some.file is damaged: its content does not have the SHA-256 written in it; "
        "fetch it again, or use the run's other file (best or last)"
    )
    assert complaint(tiny[:-1] + b"\x55") == expected


# Signed, but wrong


def test_a_forged_file_with_nothing_changed_is_believed(tiny: bytes) -> None:
    assert_same(unpack_model(forge(tiny), "name"), unpack_model(tiny, "name"))


@pytest.mark.parametrize("version", [0, 2, 99, "1", None])
def test_another_format_version_is_named_with_the_way_out(tiny: bytes, version: object) -> None:
    expected = (
        f"some.file has file format {version!r}, this charrnn reads format 1; "
        "install the version of charrnn that wrote it, or a newer one"
    )
    assert complaint(forge(tiny, format=version)) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": [1, 2]},
        {"config": {"hidden_size": 1, "colour": "red"}},
        {"config": {"hidden_size": 0}},
        {"config": {"cell": "transformer"}},
        {"config": {}},
        {"vocab": None},
        {"vocab": {"alphabet": "ba", "bytes": False}},
        {"vocab": {"alphabet": "ab", "bytes": False}},
        {"summary": None},
        {"summary": "text"},
        {"summary": 3},
    ],
)
def test_a_document_that_describes_no_model_is_refused(
    tiny: bytes, changes: dict[str, Any]
) -> None:
    assert complaint(forge(tiny, **changes)).startswith("some.file")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(
    make_model: MakeModel, value: float
) -> None:
    model = make_model()
    model.weights["layers.1.bias_hh"][2] = value

    message = complaint(pack_model(model))
    assert message == "some.file: weight layers.1.bias_hh holds numbers that are not finite"


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_weights_of_another_type_are_refused_by_name(make_model: MakeModel, dtype: type) -> None:
    model = make_model()
    model.weights["output.bias"] = model.weights["output.bias"].astype(dtype)

    assert f"output.bias is {np.dtype(dtype)}(5,), expected float32(5,)" in complaint(
        pack_model(model)
    )


def test_a_missing_projection_is_refused_by_name(make_model: MakeModel) -> None:
    model = make_model(tie_output=True)
    del model.weights["projection.weight"]

    assert "weight projection.weight is missing" in complaint(pack_model(model))


@pytest.mark.parametrize("name", weight_shapes(ModelConfig(num_layers=2)))
def test_a_missing_weight_is_refused_by_name(make_model: MakeModel, name: str) -> None:
    model = make_model()
    del model.weights[name]

    assert f"weight {name} is missing" in complaint(pack_model(model))


@pytest.mark.parametrize("name", weight_shapes(ModelConfig(num_layers=2)))
def test_a_weight_of_another_shape_is_refused_by_name(make_model: MakeModel, name: str) -> None:
    model = make_model()
    shape = model.weights[name].shape
    for wrong in ((*shape, 1), (shape[0] + 1, *shape[1:]), (0,)):
        weights = model.weights | {name: np.zeros(wrong, dtype=np.float32)}
        message = complaint(pack_model(replace(model, weights=weights)))
        assert message == f"some.file: weight {name} is float32{wrong}, expected float32{shape}"


def test_a_weight_that_does_not_belong_is_refused_by_name(make_model: MakeModel) -> None:
    model = make_model()
    model.weights["layers.2.weight_ih"] = np.zeros((16, 4), dtype=np.float32)

    assert "weight layers.2.weight_ih is missing or does not belong" in complaint(pack_model(model))


def test_a_vocabulary_of_another_size_than_the_network_is_refused(make_model: MakeModel) -> None:
    message = complaint(pack_model(replace(make_model(), vocab=Vocab("abc"))))

    assert message.startswith("some.file: 3 symbols")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.safetensors", tmp_path):
        with pytest.raises(CheckpointError) as caught:
            read_model(path)
        assert str(caught.value).startswith(f"cannot read {path}: ")


# For good


def test_the_golden_file_is_the_one_that_was_written_first() -> None:
    assert hashlib.sha256(GOLDEN.read_bytes()).hexdigest() == GOLDEN_SHA256


def test_the_golden_file_holds_what_was_put_into_it() -> None:
    assert_same(read_model(GOLDEN), golden_model())


def test_a_model_file_is_read_without_torch() -> None:
    code = (
        "import pathlib, sys; from charrnn.checkpoint.format import read_model; "
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


@pytest.mark.parametrize("name", ["cell", "hidden_size", "num_layers", "dropout", "skip"])
@pytest.mark.parametrize("value", [None, "1", [], {}])
def test_a_shape_of_the_wrong_type_is_refused(tiny, name: str, value: object) -> None:
    config = {"cell": "rnn", "vocab_size": 5, "embedding_size": 1, "hidden_size": 1}
    complaint(forge(tiny, config=config | {name: value}))


@pytest.mark.parametrize("changes", [{"progress": 5}, {"progress": "x"}, {"summary": [["a", 1]]}])
def test_summary_and_progress_are_objects(tiny, changes) -> None:
    complaint(forge(tiny, **changes))


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "", 5, None])
def test_a_signed_document_that_is_no_json_is_refused(text: object) -> None:
    header = {"__metadata__": {"charrnn": text, "sha256": "0" * 64}}
    raw = json.dumps(header, separators=(",", ":")).encode()
    data = len(raw).to_bytes(8, "little") + raw
    digest = hashlib.sha256(data).hexdigest().encode()
    complaint(data.replace(b"0" * 64, digest))


def test_a_digest_that_is_half_of_a_surrogate_pair_is_refused() -> None:
    raw = b'{"__metadata__":{"sha256":"\\ud800","charrnn":"{}"}}'
    complaint(len(raw).to_bytes(8, "little") + raw)
