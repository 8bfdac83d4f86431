"""An ONNX graph in the making: operators, weights by name, and constants that are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charrnn._version import __version__
from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import GATES
from charrnn.config.export import ExportConfig
from charrnn.config.model import BUCKET, NOT_LEARNED
from charrnn.formats.precision import restored
from charrnn.text.ngrams import MASK, STEP, TO_BUCKET, TO_CHECK

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

OPSET = 18
IR_VERSION = 10
"""What runtimes of the last years read; the newest that onnx can write they may refuse."""

OPERATORS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
_ORDERS = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
"""Our gates in ONNX's order: of an LSTM i o f c (ours: i f g o); of a GRU z r h (ours: r z n)."""
_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "logistic": "Sigmoid"}
_FAR = 2**31 - 1  # beyond the end of any axis


class GraphBuilder:
    """Collects the parts of a graph; a subclass adds them in the order of its network.

    Raises ImportError where onnx is not installed, and ConfigError for a weight that the precision
    cannot hold.
    """

    def __init__(self, file: ModelFile, config: ExportConfig) -> None:
        from onnx import TensorProto, helper

        self.file = file
        self.config = file.config
        self.weights = restored(file.weights, config.dtype or "fp32")
        self._is_half = config.dtype == "fp16"
        self._helper = helper
        self._nodes: list[NodeProto] = []
        self._initializers: list[TensorProto] = []
        self._float = TensorProto.FLOAT
        self._int64 = TensorProto.INT64
        self._count = 0

    def _finish(
        self,
        name: str,
        inputs: list[ValueInfoProto],
        outputs: list[ValueInfoProto],
        description: str,
        metadata: dict[str, str],
    ) -> ModelProto:
        """Return the model of all that was added."""
        graph = self._helper.make_graph(
            self._nodes, name, inputs, outputs, self._initializers, doc_string=description
        )
        opsets = [self._helper.make_opsetid("", OPSET)]
        model = self._helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        model.producer_name = "charrnn"
        model.producer_version = __version__
        self._helper.set_model_props(model, metadata)
        return model

    @property
    def _parts(self) -> str:
        """What a layer's state is made of."""
        return "hc"[: self.config.state_parts]

    def _cell_options(self) -> dict[str, Any]:
        """Return the attributes of a recurrent operator that reads in one direction."""
        how: dict[str, Any] = {"hidden_size": self.config.hidden_size}
        if self.config.cell == "gru":
            how["linear_before_reset"] = 1
        elif self.config.cell == "rnn":
            how["activations"] = [_ACTIVATIONS[self.config.nonlinearity]]
        return how

    def _add_layer_weights(self, depth: int, directions: tuple[str, ...] = ("",)) -> list[str]:
        """Add the weights of a layer, their gates in ONNX's order; return their names.

        directions: endings of their names in a model file, one direction after the other.
        """
        order = list(_ORDERS[self.config.cell])

        def gates(part: str, direction: str) -> NDArray[np.float32]:
            array = self.weights[f"layers.{depth}.{part}{direction}"]
            by_gate = array.reshape(GATES[self.config.cell], -1, *array.shape[1:])
            return by_gate[order].reshape(array.shape)

        names = [f"layers.{depth}.{part}" for part in ("weight_ih", "weight_hh", "bias")]
        for name in names[:2]:
            part = name.rpartition(".")[2]
            self._add_weight(name, np.stack([gates(part, each) for each in directions]))
        biases = [
            np.concatenate([gates("bias_ih", each), gates("bias_hh", each)]) for each in directions
        ]
        self._add_weight(names[2], np.stack(biases))
        return names

    def _add_ngrams(self, ids: str, context: str) -> tuple[str, str]:
        """Add what n-grams add to the embedding of ids (batch, time), and the context after them.

        context: keys of the tokens before, newest first, (batch, N − 1). Returns (time, batch, E)
        and (batch, N − 1). text/ngrams.py has the hash; its numbers stay below 2⁶³.
        """
        reach = self.config.ngram_order - 1
        before = self._slice(context, -1, -_FAR, step=-1)  # the oldest first
        text = self._add("Concat", [before, self._add("Gather", ["ngrams.key", ids])], axis=1)
        after = self._slice(text, -1, -reach - 1, step=-1)
        # (1, batch, time) of each place, so that the codes (N − 1, batch, time) are joined.
        keys = self._add("Cast", [text], to=self._int64)
        keys = self._add("Unsqueeze", [keys, self._constant([0])])
        code = self._slice(keys, reach, _FAR, axis=2)
        codes = []
        for back in range(1, reach + 1):
            older = self._slice(keys, reach - back, -back, axis=2)
            code = self._add("Add", [self._add("Mul", [code, self._constant(STEP)]), older])
            code = self._add("Mod", [code, self._constant(MASK + 1)])
            codes.append(code)
        code = self._add("Concat", codes, axis=0)
        buckets = self._constant(self.config.ngram_rows // BUCKET)
        bucket = self._add("Mul", [self._hash(code, TO_BUCKET), buckets])
        bucket = self._add("Div", [bucket, self._constant(MASK + 1)])
        check = self._add("Div", [self._hash(code, TO_CHECK), self._constant(1 << 8)])
        check = self._add("Cast", [check], to=self._float)
        check = self._add("Unsqueeze", [check, self._constant([3])])
        # (N − 1, batch, time, rows of a bucket): 1 where the row is the n-gram's own.
        is_own = self._add("Equal", [self._add("Gather", ["ngrams.check", bucket]), check])
        is_own = self._add("Cast", [is_own], to=self._float)
        row = self._add("Mul", [bucket, self._constant(BUCKET)])
        row = self._add("Add", [row, self._add("ArgMax", [is_own], axis=3, keepdims=0)])
        is_known = self._add("ReduceMax", [is_own, self._constant([3])], keepdims=1)
        found = self._add("Mul", [self._add("Gather", ["ngrams.weight", row]), is_known])
        summed = self._add("ReduceSum", [found, self._constant([0])], keepdims=0)
        return self._add("Transpose", [summed], perm=[1, 0, 2]), after

    def _hash(self, code: str, factor: int) -> str:
        product = self._add("Mul", [code, self._constant(factor)])
        return self._add("Mod", [product, self._constant(MASK + 1)])

    def _slice(self, name: str, begin: int, end: int, axis: int = 1, step: int = 1) -> str:
        limits = [self._constant([each]) for each in (begin, end, axis, step)]
        return self._add("Slice", [name, *limits])

    def _add_weight(self, name: str, array: NDArray[np.float32]) -> None:
        """Add a weight; one that is stored in half precision is made float32 when it is read."""
        from onnx import numpy_helper

        if not self._is_half or name in NOT_LEARNED:
            self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
            return
        half = numpy_helper.from_array(array.astype(np.float16), f"{name}.fp16")
        self._initializers.append(half)
        self._nodes.append(self._helper.make_node("Cast", [half.name], [name], to=self._float))

    def _transposed(self, name: str) -> str:
        return self._add("Transpose", [name], perm=[1, 0])

    def _constant(self, value: Any) -> str:
        """Return the name of a constant: of whole numbers, or of what numpy has."""
        from onnx import numpy_helper

        array = np.asarray(value, None if isinstance(value, np.generic) else np.int64)
        name = f"constant.{array.dtype}.{'x'.join(map(str, array.shape))}.{array.tolist()}"
        if all(each.name != name for each in self._initializers):
            self._initializers.append(numpy_helper.from_array(array, name))
        return name

    def _add(self, operator: str, inputs: list[str], **how: Any) -> str:
        """Add an operator with one output; return the output's name."""
        self._count += 1
        output = f"{operator.lower()}.{self._count}"
        self._nodes.append(self._helper.make_node(operator, inputs, [output], **how))
        return output

    def _value(self, name: str, *shape: str | int) -> ValueInfoProto:
        return self._helper.make_tensor_value_info(name, self._float, list(shape))
