"""A model as an ONNX graph, which onnxruntime and many other programs run.

The graph is built operator by operator with onnx.helper, so torch is not needed. ids go in with the
states of the layers, logits come out with the next states:

    ids (batch, time) int64, h0 (batch, H), c0 (batch, H), …  →  logits (batch, time, V),
    next_h0 (batch, H), next_c0 (batch, H), …

A model with n-grams has one more state: context and next_context (batch, N − 1), the last tokens.
Zeros are the state before any text: where a model has an initial state of its own, states count
from that one. Other languages thus need nothing but the alphabet, which is in the metadata.

H = hidden size, G = gates, E = embedding size, V = vocabulary, N = the longest n-gram.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charrnn._version import __version__
from charrnn.checkpoint.model_file import ModelFile, config_to_json, model_digest
from charrnn.config.export import ExportConfig
from charrnn.config.model import BUCKET
from charrnn.errors import ConfigError, ExportError, missing_extra
from charrnn.formats.onnx_builder import OPERATORS, GraphBuilder
from charrnn.formats.onnx_tasks import TaskGraph, check_task, refuse_task_graph
from charrnn.formats.precision import bits_lost, restored
from charrnn.formats.verified import (
    Verified,
    all_logits,
    check_greedy,
    check_logits,
    opening_id,
    sampled_ids,
)
from charrnn.generation.labels import with_labels
from charrnn.generation.network import Network
from charrnn.generation.text_format import text_format_of
from charrnn.text.vocab import Ids

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

_MAX_BYTES = 2**31 - 2**20  # protobuf's limit is 2 GiB
_CONTEXT = "context"  # the state that n-grams need
_PIECES = (1, 7, 64)  # tokens that are read at once
_MAX_GREEDY = 1000  # characters; soon a greedy text repeats itself
_PROVIDERS = ["CPUExecutionProvider"]


def make_onnx(file: ModelFile, name: str, config: ExportConfig) -> dict[str, bytes]:
    """Return the graph of a model as the file NAME.onnx.

    Labels that are not fixed are left out: the graph is of texts of which nothing is known.

    Raises:
        ConfigError: the model has no graph, is too large, or dtype is int8; or onnx is missing.
    """
    file = _prepare(file, config)
    kind = _TextGraph if file.config.task == "text" else TaskGraph
    try:
        graph = kind(file, config).build(_as_unicode(name), _metadata(file, config))
    except ImportError as error:
        raise missing_extra("charrnn export --to onnx", "onnx", "export") from error
    return {f"{name}.onnx": graph.SerializeToString()}


def _prepare(file: ModelFile, config: ExportConfig) -> ModelFile:
    """Return the model without labels; refuse one that has no graph."""
    if file.config.task != "text":
        refuse_task_graph(file)
    if config.dtype == "int8":
        raise ConfigError("--to onnx has no --dtype int8; choose fp32 or fp16")
    if sum(array.nbytes for array in file.weights.values()) > _MAX_BYTES:
        raise ConfigError(
            "the model has more than 2 GB of weights, which one ONNX file cannot hold"
        )
    return with_labels(file) if file.config.task == "text" else file


class _TextGraph(GraphBuilder):
    """The graph of a model that writes text."""

    def build(self, name: str, metadata: dict[str, str]) -> ModelProto:
        """Return the model."""
        names = [f"{part}{k}" for k in range(self.config.num_layers) for part in self._parts]
        if self.config.ngram_rows:
            names.append(_CONTEXT)
        self._add_weights()
        states = [self._from_start(each) for each in names]
        features, after = self._scan(states) if self.config.has_end else self._read(states)
        for each, state in zip(names, after, strict=True):
            self._to_start(state, each)
        self._add_output(features)
        ids = self._helper.make_tensor_value_info("ids", self._int64, ["batch", "time"])
        logits = self._value("logits", "batch", "time", self.config.vocab_size)
        return self._finish(
            name,
            [ids, *self._describe(names)],
            [logits, *self._describe([f"next_{each}" for each in names])],
            _DESCRIPTION + _OF_NGRAMS * bool(self.config.ngram_rows),
            metadata,
        )

    # The parts of the graph, in the order in which a token passes through them.

    def _read(self, states: list[str]) -> tuple[str, list[str]]:
        """Add the layers, each of which reads all ids; return features (time, batch, H), states."""
        x = self._add("Transpose", [self._embed("ids")], perm=[1, 0, 2])
        context: list[str] = []
        if self.config.ngram_rows:
            summed, recent = self._add_ngrams("ids", states[-1])
            x = self._add("Add", [x, summed])
            context = [recent]
        after: list[str] = []
        for depth in range(self.config.num_layers):
            rows, last = self._layer(depth, x, self._states_of(depth, states))
            rows = self._add("Squeeze", [rows, self._constant([1])])
            is_added = self.config.residual and depth
            x = self._add("Add", [rows, x]) if is_added else rows
            after += last
        return x, after + context

    def _scan(self, states: list[str]) -> tuple[str, list[str]]:
        """Add a loop over the ids, as the end of a record sets back the states."""
        outer = self._nodes
        self._nodes = []
        names = [f"{state}_step" for state in states]
        is_end = self._add("Equal", ["id", self._constant(self.config.vocab_size - 1)])
        is_end = self._add("Unsqueeze", [is_end, self._constant([1])])
        x = self._add("Unsqueeze", [self._embed("id"), self._constant([0])])
        context: list[str] = []
        if self.config.ngram_rows:
            column = self._add("Unsqueeze", ["id", self._constant([1])])
            summed, recent = self._add_ngrams(column, names[-1])
            x = self._add("Add", [x, summed])
            context = [self._add("Where", [is_end, self._constant(np.float32(0)), recent])]
        after: list[str] = []
        for depth in range(self.config.num_layers):
            _, last = self._layer(depth, x, self._states_of(depth, names))
            x_of_layer = self._add("Unsqueeze", [last[0], self._constant([0])])
            is_added = self.config.residual and depth
            x = self._add("Add", [x_of_layer, x]) if is_added else x_of_layer
            for part, state in enumerate(last):
                after.append(self._add("Where", [is_end, self._initial(depth, part), state]))
        tops = after[:: len(self._parts)]
        features = tops[-1]
        if self.config.residual:
            features = tops[0]
            for top in tops[1:]:
                features = self._add("Add", [features, top])
        # Outputs must be distinct, so what is a state too gets another name.
        features = self._add("Identity", [features])
        ids = self._helper.make_tensor_value_info("id", self._int64, ["batch"])
        after += context
        body = self._helper.make_graph(
            self._nodes,
            "step",
            [*self._describe(names), ids],
            [*self._describe(after), self._value(features, "batch", self.config.hidden_size)],
        )
        self._nodes = outer
        by_time = self._add("Transpose", ["ids"], perm=[1, 0])
        last_states = [f"{state}_last" for state in states]
        rows = "features"
        self._nodes.append(
            self._helper.make_node(
                "Scan", [*states, by_time], [*last_states, rows], body=body, num_scan_inputs=1
            )
        )
        return rows, last_states

    def _embed(self, ids: str) -> str:
        """Add the embedding of ids."""
        x = self._add("Gather", ["embedding.weight", ids])
        if self.config.tie_embeddings:
            x = self._add("Mul", [x, self._constant(np.float32(self.config.embedding_scale))])
        return x

    def _layer(self, depth: int, x: str, states: list[str]) -> tuple[str, list[str]]:
        """Add a layer that reads x (time, batch, I).

        Return its features (time, 1, batch, H), and the arrays (batch, H) of its next state.
        """
        initial = [self._add("Unsqueeze", [each, self._constant([0])]) for each in states]
        weights = [f"layers.{depth}.{part}" for part in ("weight_ih", "weight_hh", "bias")]
        outputs = [f"layers.{depth}.{each}" for each in ("features", "h", "c")[: 1 + len(states)]]
        operator = OPERATORS[self.config.cell]
        how = self._cell_options()
        inputs = [x, *weights, "", *initial]
        self._nodes.append(self._helper.make_node(operator, inputs, outputs, **how))
        last = [self._add("Squeeze", [each, self._constant([0])]) for each in outputs[1:]]
        return outputs[0], last

    def _add_output(self, features: str) -> None:
        """Add the output layer, to which features (time, batch, H) go."""
        x = self._add("Transpose", [features], perm=[1, 0, 2])
        if self.config.has_projection:
            x = self._add("MatMul", [x, self._transposed("projection.weight")])
        name = "embedding.weight" if self.config.tie_embeddings else "output.weight"
        x = self._add("MatMul", [x, self._transposed(name)])
        self._nodes.append(self._helper.make_node("Add", [x, "output.bias"], ["logits"]))

    def _describe(self, states: Sequence[str]) -> list[ValueInfoProto]:
        """Return the names of all states, in their order, with their shapes (batch, size)."""
        sizes = [self.config.hidden_size] * self.config.num_layers * len(self._parts)
        if self.config.ngram_rows:
            sizes.append(self.config.ngram_order - 1)
        return [self._value(each, "batch", n) for each, n in zip(states, sizes, strict=True)]

    # States that count from the initial one.

    def _from_start(self, name: str) -> str:
        initial = self._own_initial(name)
        return self._add("Add", [name, initial]) if initial else name

    def _to_start(self, state: str, name: str) -> None:
        initial = self._own_initial(name)
        inputs = [state, initial] if initial else [state]
        operator = "Sub" if initial else "Identity"
        self._nodes.append(self._helper.make_node(operator, inputs, [f"next_{name}"]))

    def _own_initial(self, name: str) -> str:
        """Return the name of the initial value of h0, c0 and so on; "" where it is zero."""
        if name == _CONTEXT:
            return ""
        part = self._parts.index(name[0])
        depth = int(name[1:])
        is_zero = not self.weights[f"layers.{depth}.initial"][part].any()
        return "" if is_zero else self._initial(depth, part)

    def _initial(self, depth: int, part: int) -> str:
        return f"layers.{depth}.initial_{self._parts[part]}"

    def _states_of(self, depth: int, states: list[str]) -> list[str]:
        count = len(self._parts)
        return states[depth * count : (depth + 1) * count]

    def _add_weights(self) -> None:
        """Add the weights by their names in a model file."""
        for name in ("embedding.weight", "projection.weight", "output.weight", "output.bias"):
            if name in self.weights:
                self._add_weight(name, self.weights[name])
        if self.config.ngram_rows:
            self._add_weight("ngrams.weight", self.weights["ngrams.weight"])
            self._add_weight("ngrams.check", self.weights["ngrams.check"].reshape(-1, BUCKET))
            self._add_weight("ngrams.key", self.weights["ngrams.key"])
        for depth in range(self.config.num_layers):
            self._add_layer_weights(depth)
            for part, initial in enumerate(self.weights[f"layers.{depth}.initial"]):
                if initial.any() or self.config.has_end:
                    self._add_weight(self._initial(depth, part), initial)


def _metadata(file: ModelFile, config: ExportConfig) -> dict[str, str]:
    """Return what a program needs to know besides the graph, as texts."""
    vocab = file.vocab
    form = text_format_of(file.summary, has_end=vocab.has_end)
    known = {
        "charrnn_version": __version__,
        "weights_sha256": model_digest(file).hex(),
        "config": json.dumps(config_to_json(file.config)),
        "vocab": json.dumps(vocab.to_json()),
        "alphabet": vocab.alphabet,
        "first_byte": str(len(vocab.alphabet) if vocab.has_bytes else -1),
        "end": str(vocab.end),
        "lowercase": json.dumps(form.lowercase),
        "normalize": form.normalize,
        "end_text": form.mark or "",
        "separator": form.separator or "",
        "corpus": str((file.summary.get("corpus") or {}).get("name", "")),
        "licence": config.licence or "",
    }
    return {key: _as_unicode(value) for key, value in known.items() if value}


def _as_unicode(text: str) -> str:
    """Return a text that has a UTF-8 form, as a name of a file may have none."""
    return text.encode("utf-8", "replace").decode()


_DESCRIPTION = """\
A character-level language model of charrnn. ids: numbers of characters, which are their places in
the metadata's alphabet; where first_byte is not -1, a byte b is first_byte + b. Where end is not
-1, it ends a record and sets back the states: end_text is what it stands for in a text, and
separator what is shown for it. Where lowercase is true, a text is read in small letters, and where
normalize is nfc or nfkc, then in that Unicode normal form. h0, c0 and so on: the states of the
layers, zeros before any text. logits: of the character after each id. Feed next_h0 as h0, and so
on, to go on.
"""
_OF_NGRAMS = """\
n-grams, the last few characters together, have embeddings of their own. context: those characters,
zeros before any text. Feed next_context as context.
"""


def verify_onnx(
    folder: Path, names: Sequence[str], file: ModelFile, config: ExportConfig
) -> Verified:
    """Run the graph in onnxruntime, and compare logits and a greedy text with the model's.

    Raises:
        ExportError: they differ.
        ConfigError: onnxruntime is missing.
    """
    file = _prepare(file, config)
    weights = restored(file.weights, config.dtype or "fp32")
    session = _Session((folder / names[0]).read_bytes())
    if file.config.task != "text":
        stored = replace(file, weights=weights)
        chars, worst = check_task(stored, session.decide, config.verify_chars)
        return Verified(chars, worst, ("its probabilities were compared on random records",))
    network = Network(file.config, weights)
    sampled = sampled_ids(network, config.verify_chars)
    ids = sampled.copy()
    random = np.random.default_rng(0)
    ids[::11] = random.integers(file.vocab.size, size=len(ids[::11]))  # of the whole vocabulary
    error = check_logits(all_logits(network, ids), session.logits(ids))
    first = opening_id(file.vocab)
    greedy = session.greedy(first, min(config.verify_chars, _MAX_GREEDY))
    start = network.advance(first, network.initial_state())
    ties = check_greedy(network, file.vocab, greedy, start)
    notes = []
    if ties:
        notes.append(f"{ties} times two characters were equally likely but for rounding")
    if config.dtype == "fp16":
        lost = bits_lost(file, weights, sampled)
        notes.append(f"fp16 costs {lost:+.4f} bits per character on a text of the model's own")
    return Verified(len(ids), error, tuple(notes))


class _Session:
    """The graph in onnxruntime, on one thread."""

    def __init__(self, graph: bytes) -> None:
        # By default onnxruntime tells its maker of each session, and keeps an id of the machine.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime  # type: ignore[import-untyped]
        except ImportError as error:
            raise ConfigError(
                f"{missing_extra('to verify an ONNX file', 'onnxruntime', 'export').message}, or "
                "leave that out by --no-verify"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(graph, options, _PROVIDERS)
        except Exception as error:  # of onnxruntime's own kinds, which have no common base
            raise ExportError(f"onnxruntime cannot load the graph: {error}") from error
        self._sizes = {each.name: each.shape[1] for each in self._session.get_inputs()[1:]}

    def logits(self, ids: Ids) -> NDArray[np.float32]:
        """Return the logits (T, V) after each id, read in pieces of several lengths."""
        state = self._start(rows=2)
        found: list[NDArray[np.float32]] = []
        at = 0
        for length in itertools.cycle(_PIECES):
            piece = ids[at : at + length]
            if not len(piece):
                return np.concatenate(found)
            # Two rows, of which the second reads the same text backwards in its pieces.
            logits, state = self._step(np.stack([piece, piece[::-1]]), state)
            found.append(logits[0])
            at += length
        raise AssertionError("the cycle has no end")

    def greedy(self, first: int, count: int) -> list[int]:
        """Return `count` ids after a first one, each the likeliest."""
        state = self._start()
        token = first
        ids = []
        for _ in range(count):
            logits, state = self._step(np.array([[token]]), state)
            token = int(logits[0, 0].argmax())
            ids.append(token)
        return ids

    def decide(self, ids: Ids) -> NDArray[np.float32]:
        """Return the logits of records (B, T) that are read whole."""
        logits: NDArray[np.float32] = self._session.run(None, {"ids": ids.astype(np.int64)})[0]
        return logits

    def _start(self, rows: int = 1) -> dict[str, NDArray[np.float32]]:
        return {name: np.zeros((rows, n), np.float32) for name, n in self._sizes.items()}

    def _step(
        self, ids: Ids, state: dict[str, NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        logits, *after = self._session.run(None, {"ids": ids.astype(np.int64), **state})
        return logits, dict(zip(self._sizes, after, strict=True))
