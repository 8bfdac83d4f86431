"""A model that classifies or tags as an ONNX graph, of records that are read whole:

    ids (batch, time) int64  →  logits (batch, K) of the classes, or (batch, time, K) of the tags

Records of a batch have one length. The names of classes and tags are in the metadata.

H = hidden size, D = features of a position: of one direction or of both, K = classes or tags.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile
from charrnn.errors import ConfigError, ExportError
from charrnn.formats.onnx_builder import OPERATORS, GraphBuilder
from charrnn.formats.verified import MAX_LOGIT_ERROR
from charrnn.generation.classifier import Classifier
from charrnn.generation.filters import log_softmax
from charrnn.generation.tagger import Tagger
from charrnn.text.vocab import Ids

if TYPE_CHECKING:
    from onnx import ModelProto

TASKS = ("classification", "tagging")
"""The tasks, besides text, whose models have a graph."""

_DESCRIPTION = """\
A network of charrnn that reads whole records, which have one length in a batch. ids: places of
characters in the metadata's alphabet; where first_byte is not -1, a byte b is first_byte + b.
Where lowercase is true, a text is read in small letters, and where normalize is nfc or nfkc, then
in that Unicode normal form. logits: of what the metadata's labels name, in their order.
"""
_LENGTHS = (1, 2, 7, 30)  # of the records that are compared
_ROWS = 3


def refuse_task_graph(file: ModelFile) -> None:
    """Refuse a model that has no graph.

    Raises:
        ConfigError: it turns sequences into others, or chooses the tags of a record together.
    """
    config = file.config
    if config.task not in TASKS:
        raise ConfigError(
            f"this is a model for {config.task}, which --to onnx does not export; use it with "
            "charrnn predict"
        )
    if config.transitions:
        raise ConfigError(
            "this tagger chooses the tags of a record together (--transitions), which --to onnx "
            "does not export; use it with charrnn predict"
        )


class TaskGraph(GraphBuilder):
    """The graph of a model for classification or tagging."""

    def build(self, name: str, metadata: dict[str, str]) -> ModelProto:
        """Return the model."""
        self._directions = ("", "_reverse") if self.config.bidirectional else ("",)
        embedded = self._embed()
        features = self._read(embedded)
        is_tagger = self.config.task == "tagging"
        pooled = (
            self._add("Concat", [features, embedded], axis=2) if is_tagger else self._pool(features)
        )
        logits = self._classify(pooled)
        if is_tagger:
            logits = self._add("Transpose", [logits], perm=[1, 0, 2])
        self._nodes.append(self._helper.make_node("Identity", [logits], ["logits"]))
        shape = ("batch", "time") if is_tagger else ("batch",)
        ids = self._helper.make_tensor_value_info("ids", self._int64, ["batch", "time"])
        return self._finish(
            name,
            [ids],
            [self._value("logits", *shape, self.config.class_count)],
            _DESCRIPTION,
            metadata | {"labels": json.dumps(self.file.labels.columns[0].values)},
        )

    def _embed(self) -> str:
        """Add the embedding of the ids, (time, batch, E)."""
        self._add_weight("embedding.weight", self.weights["embedding.weight"])
        x = self._add("Gather", ["embedding.weight", "ids"])
        return self._add("Transpose", [x], perm=[1, 0, 2])

    def _read(self, x: str) -> str:
        """Add the layers; return the features (time, batch, D)."""
        config = self.config
        how = self._cell_options()
        count = len(self._directions)
        if count == 2:
            how["direction"] = "bidirectional"
            if "activations" in how:
                how["activations"] *= 2
        batch = self._add("Slice", [self._add("Shape", ["ids"]), *map(self._constant, ([0], [1]))])
        shape = self._add(
            "Concat",
            [self._constant([count]), batch, self._constant([config.hidden_size])],
            axis=0,
        )
        for depth in range(config.num_layers):
            names = self._add_layer_weights(depth, self._directions)
            initial = []
            for part, letter in enumerate(self._parts):
                name = f"layers.{depth}.initial_{letter}"
                rows = [self.weights[f"layers.{depth}.initial{e}"][part] for e in self._directions]
                self._add_weight(name, np.stack(rows)[:, None])
                initial.append(self._add("Expand", [name, shape]))
            made = f"layers.{depth}.features"
            self._nodes.append(
                self._helper.make_node(
                    OPERATORS[config.cell], [x, *names, "", *initial], [made], **how
                )
            )
            # (time, directions, batch, H) → (time, batch, D)
            turned = self._add("Transpose", [made], perm=[0, 2, 1, 3])
            features = self._add("Reshape", [turned, self._constant([0, 0, config.features])])
            x = self._add("Add", [features, x]) if config.residual and depth else features
        return x

    def _pool(self, features: str) -> str:
        """Add the pooling: from (time, batch, D) to (batch, P)."""
        pooling = self.config.pooling
        axis = self._constant([0])
        if pooling == "last":
            return self._last(features)
        if pooling == "attention":
            self._add_weight("attention.weight", self.weights["attention.weight"])
            scores = self._add("MatMul", [features, self._transposed("attention.weight")])
            shares = self._add("Softmax", [scores], axis=0)
            weighted = self._add("Mul", [shares, features])
            return self._add("ReduceSum", [weighted, axis], keepdims=0)
        mean = self._add("ReduceMean", [features, axis], keepdims=0)
        if pooling == "mean":
            return mean
        most = self._add("ReduceMax", [features, axis], keepdims=0)
        return most if pooling == "max" else self._add("Concat", [mean, most], axis=1)

    def _last(self, features: str) -> str:
        """Return the features (batch, D) of each direction's own last step."""
        last = self._add("Gather", [features, self._constant(-1)], axis=0)
        if len(self._directions) == 1:
            return last
        size = self.config.hidden_size
        first = self._add("Gather", [features, self._constant(0)], axis=0)
        halves = [
            self._add("Slice", [each, *map(self._constant, ([begin], [begin + size], [1]))])
            for each, begin in ((last, 0), (first, size))
        ]
        return self._add("Concat", halves, axis=1)

    def _classify(self, x: str) -> str:
        """Add the layers that decide."""
        for name in ("hidden", "output"):
            if f"{name}.weight" not in self.weights:
                continue
            for part in ("weight", "bias"):
                self._add_weight(f"{name}.{part}", self.weights[f"{name}.{part}"])
            x = self._add("MatMul", [x, self._transposed(f"{name}.weight")])
            x = self._add("Add", [x, f"{name}.bias"])
            x = self._add("Tanh", [x]) if name == "hidden" else x
        return x


def check_task(
    file: ModelFile, run: Callable[[Ids], NDArray[np.float32]], chars: int
) -> tuple[int, float]:
    """Compare what a graph decides on random records with the model.

    run: from ids (B, T) to logits. Returns the characters compared, and the largest difference of a
    log-probability.

    Raises:
        ExportError: it is above rounding.
    """
    random = np.random.default_rng(0)
    compared = 0
    worst = 0.0
    while compared < chars:
        for length in _LENGTHS:
            # The last token of a vocabulary of records is their end, which no record holds.
            ids = random.integers(file.vocab.size - file.vocab.has_end, size=(_ROWS, length))
            found = log_softmax(run(ids).astype(np.float64))
            worst = max(worst, float(np.abs(np.exp(found) - _expected(file, ids)).max()))
            compared += ids.size
    if not worst <= MAX_LOGIT_ERROR:  # NaN compares as False
        raise ExportError(
            f"the export's probabilities differ from the model's by up to {worst:.2g}; at most "
            f"{MAX_LOGIT_ERROR:g} is rounding"
        )
    return compared, worst


def _expected(file: ModelFile, ids: Ids) -> NDArray[np.float64]:
    """Return the model's probabilities (B, K) or (B, T, K)."""
    if file.config.task == "classification":
        return np.exp(Classifier(file.config, file.weights).log_probs(list(ids)))
    tagger = Tagger(file.config, file.weights)
    return np.stack([probabilities for _, probabilities in tagger.probable_tags(list(ids))])
