"""The ONNX graph computes what numpy's network does, in onnxruntime."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile, model_digest
from charrnn.config.export import ExportConfig
from charrnn.config.model import POOLINGS
from charrnn.errors import ConfigError, ExportError
from charrnn.formats.onnx_builder import IR_VERSION, OPSET
from charrnn.formats.onnx_graph import make_onnx, verify_onnx
from charrnn.formats.precision import restored
from charrnn.formats.verified import MAX_LOGIT_ERROR, Verified, all_logits
from charrnn.generation.labels import with_labels
from charrnn.generation.network import Network
from tests.formats.models import ALPHABETS, CELLS, every_model, make_file, with_ngrams
from tests.generation.record_models import WHO, make_records_file
from tests.generation.task_models import make_task_file

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SHORT = ExportConfig(verify_chars=80)


def write(folder: Path, file: ModelFile, config: ExportConfig = SHORT) -> Path:
    path = folder / "a.onnx"
    path.write_bytes(make_onnx(file, "a", config)["a.onnx"])
    return path


def verify(folder: Path, file: ModelFile, config: ExportConfig = SHORT) -> Verified:
    return verify_onnx(folder, ["a.onnx"], file, config)


def run(path: Path, *pieces: list[int]) -> NDArray[np.float32]:
    """Return the logits (T, V) of a text that is read in pieces."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()[1:]
    state = {each.name: np.zeros((1, each.shape[1]), np.float32) for each in inputs}
    found = []
    for piece in pieces:
        logits, *after = session.run(None, {"ids": np.array([piece]), **state})
        state = dict(zip(state, after, strict=True))
        found.append(logits[0])
    return np.concatenate(found)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_every_kind_of_network_has_a_graph(cell: str, layers: int, tmp_path: Path) -> None:
    for name, file in every_model(cell, layers):
        write(tmp_path, file)
        found = verify(tmp_path, file)

        assert found.chars == 80, name
        assert found.max_logit_error is not None
        assert found.max_logit_error <= MAX_LOGIT_ERROR, name


@pytest.mark.parametrize("cell", CELLS)
def test_ngrams_are_part_of_the_graph(cell: str, tmp_path: Path) -> None:
    for k, (name, file) in enumerate(every_model(cell, layers=1 + (cell == "gru"))):
        file = with_ngrams(file, order=2 + k % 4, has_plain_keys=k % 3 == 0)
        write(tmp_path, file)
        found = verify(tmp_path, file)

        assert found.max_logit_error is not None
        assert found.max_logit_error <= 1e-5, name


def test_a_text_with_ngrams_can_be_read_in_any_pieces(tmp_path: Path) -> None:
    for file in (make_file(learned=True), make_records_file()):
        file = with_ngrams(file, order=4)
        ids = [0, 1, file.vocab.size - 1, 2, 1, 0, 3, 3, 0, 1, 2]
        path = write(tmp_path, file)

        pieces = run(path, ids[:1], ids[1:3], ids[3:4], ids[4:])

        expected = all_logits(Network(file.config, file.weights), np.array(ids))
        np.testing.assert_allclose(pieces, expected, atol=1e-5)
        np.testing.assert_allclose(run(path, ids), expected, atol=1e-5)


def test_the_last_tokens_are_one_more_state(tmp_path: Path) -> None:
    file = with_ngrams(make_file(num_layers=1), order=4)
    path = write(tmp_path, file)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    keys = file.weights["ngrams.key"]
    state = {"h0": (2, 5), "c0": (2, 5), "context": (2, 3)}
    zeros = {name: np.zeros(shape, np.float32) for name, shape in state.items()}

    assert [(each.name, each.shape) for each in session.get_inputs()[1:]] == [
        (name, ["batch", shape[1]]) for name, shape in state.items()
    ]
    after = session.run(["next_context"], {"ids": np.array([[2, 4], [3, 1]]), **zeros})[0]
    assert after.tolist() == [[keys[4], keys[2], 0], [keys[1], keys[3], 0]]
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert "context: those characters" in model.graph.doc_string


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_zeros_are_the_state_before_a_text(cell: str, tmp_path: Path) -> None:
    file = make_file(cell=cell, learned=True)
    network = Network(file.config, file.weights)

    found = run(write(tmp_path, file), [3, 1], [2])

    np.testing.assert_allclose(found, all_logits(network, np.array([3, 1, 2])), atol=1e-5)
    assert any(state.any() for layer in network.initial_state() for state in layer)


def test_the_end_of_a_record_sets_back_the_state_within_a_piece(tmp_path: Path) -> None:
    file = make_records_file()
    end = file.vocab.end
    path = write(tmp_path, file)

    whole = run(path, [0, 1, end, 2, 1])
    alone = run(path, [2, 1])

    np.testing.assert_allclose(whole[3:], alone, atol=1e-6)
    assert np.abs(whole[0] - alone[0]).max() > 0.01


def test_a_graph_has_fixed_labels_or_none(tmp_path: Path) -> None:
    file = make_records_file(labels=(WHO,))
    romeo = with_labels(file, ["ROMEO"])

    logits = []
    for each in (romeo, file):
        logits.append(run(write(tmp_path, each), [0, 1]))
        verify(tmp_path, each)

    expected = all_logits(Network(romeo.config, romeo.weights), np.array([0, 1]))
    np.testing.assert_allclose(logits[0], expected, atol=1e-5)
    assert np.abs(logits[0] - logits[1]).max() > 0.01


def test_the_graph_says_what_a_program_must_know(tmp_path: Path) -> None:
    file = make_records_file(has_bytes=True)
    model = onnx.load(str(write(tmp_path, file, ExportConfig(licence="CC0-1.0"))))
    known = {each.key: each.value for each in model.metadata_props}

    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (IR_VERSION, OPSET) == (10, 18)
    assert [each.name for each in model.graph.input] == ["ids", "h0", "c0", "h1", "c1"]
    assert [each.name for each in model.graph.output][:2] == ["logits", "next_h0"]
    assert {"embedding.weight", "layers.0.weight_hh", "output.bias"} <= {
        each.name for each in model.graph.initializer
    }
    assert known["alphabet"] == " abé"
    assert (known["first_byte"], known["end"]) == ("4", "260")
    assert known["weights_sha256"] == model_digest(file).hex()
    assert known["licence"] == "CC0-1.0"
    assert json.loads(known["config"])["cell"] == "lstm"
    assert (known["lowercase"], known["normalize"]) == ("false", "none")
    assert (known["end_text"], known["separator"]) == ("\n", "\n")
    lowered = replace(file, summary={"settings": {"lowercase": True, "normalize": "nfkc"}})
    model = onnx.load(str(write(tmp_path, lowered)))
    known |= {each.key: each.value for each in model.metadata_props}
    assert (known["lowercase"], known["normalize"]) == ("true", "nfkc")
    assert "licence" not in {
        each.key for each in onnx.load(str(write(tmp_path, file))).metadata_props
    }


@pytest.mark.parametrize("cell", CELLS)
def test_half_precision_is_that_of_the_weights_alone(cell: str, tmp_path: Path) -> None:
    file = make_file(num_layers=1, hidden_size=40, spread=0.2, **CELLS[cell])
    half = ExportConfig(dtype="fp16", verify_chars=80)
    whole_size = write(tmp_path, file).stat().st_size
    half_size = write(tmp_path, file, half).stat().st_size

    found = verify(tmp_path, file, half)

    assert half_size < 0.7 * whole_size
    assert "bits per character" in found.notes[-1]
    with pytest.raises(ExportError, match="differ"):
        verify(tmp_path, replace(file, weights=restored(file.weights, "int8")), half)


def test_half_precision_leaves_the_checks_and_keys_of_ngrams_whole(tmp_path: Path) -> None:
    file = with_ngrams(make_file(), order=3)
    half = ExportConfig(dtype="fp16", verify_chars=80)
    write(tmp_path, file, half)

    found = verify(tmp_path, file, half)

    assert file.weights["ngrams.check"].max() > 65_504
    assert found.max_logit_error is not None
    assert found.max_logit_error <= 1e-5


@pytest.mark.parametrize("name", ["layers.1.weight_hh", "output.bias", "layers.0.initial"])
def test_another_models_graph_is_found_out(name: str, tmp_path: Path) -> None:
    file = make_file(learned=True)
    other = file.weights[name].copy()
    other.flat[-2] += 0.1
    write(tmp_path, replace(file, weights=file.weights | {name: other}))

    with pytest.raises(ExportError, match=r"differ from the model's by up to 0\.\d+, most after"):
        verify(tmp_path, file)


@pytest.mark.parametrize("kind", ["characters", "bytes"])
@pytest.mark.parametrize("part", ["weight", "check", "key"])
def test_another_models_ngrams_are_found_out(part: str, kind: str, tmp_path: Path) -> None:
    file = with_ngrams(make_file(ALPHABETS[kind]), order=3)
    name = f"ngrams.{part}"
    write(tmp_path, replace(file, weights=file.weights | {name: file.weights[name] + 1}))

    with pytest.raises(ExportError, match="differ from the model's by"):
        verify(tmp_path, file)


def test_a_graph_cut_short_is_found_out(tmp_path: Path) -> None:
    file = make_file()
    path = write(tmp_path, file)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(ExportError, match="onnxruntime cannot load the graph"):
        verify(tmp_path, file)


def test_what_has_no_graph_is_refused() -> None:
    with pytest.raises(ConfigError, match="a model for seq2seq, which to="):
        make_onnx(make_task_file("seq2seq"), "a", SHORT)
    with pytest.raises(ConfigError, match="chooses the tags of a record together"):
        make_onnx(make_task_file("transitions"), "a", SHORT)
    with pytest.raises(ConfigError, match='no dtype="int8"'):
        make_onnx(make_file(), "a", ExportConfig(dtype="int8"))
    large = make_file()
    large.weights["output.bias"][0] = 1e6
    with pytest.raises(ConfigError, match=r"output\.bias holds a number above 65,504"):
        make_onnx(large, "a", ExportConfig(dtype="fp16"))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_file()
    write(tmp_path, file)

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"needs onnxruntime; install it by .*or leave"):
        verify(tmp_path, file)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match="needs onnx; install it by pip install onnx onnxruntime"):
        make_onnx(file, "a", SHORT)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("is_both", [False, True], ids=["one way", "both ways"])
def test_networks_that_decide_have_a_graph(cell: str, is_both: bool, tmp_path: Path) -> None:
    shape = CELLS[cell] | {"bidirectional": is_both, "num_layers": 2, "spread": 0.5}
    files = [
        make_task_file("tagging", residual=True, **shape),
        make_task_file("tagging", head_size=6, initial_state="learned", **shape),
        *(make_task_file("classification", pooling=each, **shape) for each in POOLINGS),
    ]
    for file in files:
        path = write(tmp_path, file)
        found = verify(tmp_path, file)

        assert found.chars >= 80
        assert found.max_logit_error is not None
        assert found.max_logit_error <= MAX_LOGIT_ERROR
        known = {each.key: each.value for each in onnx.load(str(path)).metadata_props}
        assert tuple(json.loads(known["labels"])) == file.labels.columns[0].values


def test_another_networks_decisions_are_found_out(tmp_path: Path) -> None:
    file = make_task_file("classification")
    bias = file.weights["output.bias"] + np.float32([0.1, 0, 0])
    write(tmp_path, replace(file, weights=file.weights | {"output.bias": bias}))

    with pytest.raises(ExportError, match=r"probabilities differ from the model's by up to 0\.0"):
        verify(tmp_path, file)
