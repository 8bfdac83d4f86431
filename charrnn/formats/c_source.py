"""The text of a model in C99, from the templates in `c_templates/`; c.py checks what it makes.

A template is C in which name_ and NAME_ stand for the model's own prefix, @key@ for a value, and
`//? condition`, `//? else` and `//? end` enclose lines that only some networks need. Names without
the prefix end in no word that follows it, so that no prefix makes one of them. Weights are
stored as the bits of floats, in the order in which the loops read them: compilers read whole
numbers faster than fractions, and no digit is lost.

V = vocabulary, E = embedding size, H = hidden size, G = gates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn._version import __version__
from charrnn.checkpoint.model_file import ModelFile, refuse_task
from charrnn.config import CELLS
from charrnn.config.export import DTYPES
from charrnn.config.model import BUCKET
from charrnn.errors import ConfigError
from charrnn.formats.precision import restored
from charrnn.generation.cells import LayerWeights, arrange_layer
from charrnn.generation.text_format import TextFormat, text_format_of
from charrnn.text.ngrams import STEP, TO_BUCKET, TO_CHECK
from charrnn.text.vocab import Vocab, code_points
from charrnn.web.weights import to_int8

_MAX_NUMBERS = 10_000_000  # of which gcc takes about 30 s and 2 GB
_LANES = 16  # rows are padded to a multiple: a compiler can do so many at once, without a rest
_LONGEST_PREFIX = 40  # characters
_WIDTH = 100  # characters of a line
_EXAMPLES = ("The ", "the ", "A", "a", "春")
_FILE_NAME = re.compile(r"[\w+ .-]+")
_C_HEADERS = {
    *("assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits"),
    *("locale", "math", "setjmp", "signal", "stdarg", "stdbool", "stddef", "stdint", "stdio"),
    *("stdlib", "string", "tgmath", "time", "wchar", "wctype"),
}

_Numbers = NDArray[Any]


@dataclass(frozen=True)
class CSource:
    """The C of a model without labels.

    name: of its files. dtype: what the weights are stored as. licence: of the model, if it is said.

    Raises:
        ConfigError: the model writes no text or is too large, fp16 cannot hold a weight, or the
            name cannot be that of C files.
    """

    file: ModelFile
    name: str
    dtype: str
    licence: str = ""

    def __post_init__(self) -> None:
        refuse_task(self.file)
        if not _FILE_NAME.fullmatch(self.name) or self.name in _C_HEADERS:
            raise ConfigError(
                f"{self.name!r} cannot be the name of C files; use letters, digits, - and _, and "
                "no name of a header of C"
            )
        count = sum(array.size for array in self._arrays.values())
        if count > _MAX_NUMBERS:
            less = ", or train with fewer --ngram-rows" * bool(self.file.config.ngram_rows)
            raise ConfigError(
                f"the model has {count:,} numbers, and C compilers manage {_MAX_NUMBERS:,}; export "
                f"it --to onnx{less}"
            )

    def render(self, template: str) -> str:
        """Return the text of a template for this model."""
        return _fill(_template(template), self._conditions, self._values, self.prefix)

    @cached_property
    def prefix(self) -> str:
        """What every name in C begins with."""
        return identifier(self.name)

    @cached_property
    def form(self) -> TextFormat:
        """The form of the model's text."""
        return text_format_of(self.file.summary, has_end=self.file.vocab.has_end)

    @cached_property
    def opening(self) -> str:
        """What a text without a prompt begins after; "" for the initial state."""
        vocab = self.file.vocab
        has_lines = "\n" in vocab.alphabet or self.form.is_utf8
        return "" if vocab.has_end or not has_lines else "\n"

    @cached_property
    def _weights(self) -> dict[str, NDArray[np.float32]]:
        return restored(self.file.weights, self.dtype)

    @cached_property
    def _layers(self) -> list[LayerWeights]:
        shape = self.file.config
        return [arrange_layer(shape, self._weights, depth) for depth in range(shape.num_layers)]

    @cached_property
    def _has_table(self) -> bool:
        """Whether the products of the first layer and each token are stored, not computed."""
        shape = self.file.config
        if shape.ngram_rows:  # they add to what is multiplied
            return False
        rows = len(self._layers[0].bias_ih)
        computed = (shape.vocab_size * (not shape.tie_embeddings) + rows) * shape.embedding_size
        return self.dtype == "fp32" and shape.vocab_size * rows <= 2 * computed

    @cached_property
    def _arrays(self) -> dict[str, _Numbers]:
        """All constants by their names in C: float32 as bits, others as they are."""
        shape = self.file.config
        weights = self._weights
        found: dict[str, _Numbers] = {}
        embedding = weights["embedding.weight"]
        scaled = np.float32(shape.embedding_scale) * embedding
        if self._has_table:
            products = self._layers[0].input_product(scaled)
            found["products"] = _padded(products)
        elif not shape.tie_embeddings:
            found |= self._matrix("embedding", scaled, by_columns=False)
        if shape.ngram_rows:
            found |= self._ngrams()
        for depth, layer in enumerate(self._layers):
            if depth or not self._has_table:
                found |= self._matrix(f"input_{depth}", layer.weight_ih)
                found[f"bias_{depth}"] = _padded(layer.bias_ih)
            found |= self._matrix(f"own_{depth}", layer.weight_hh)
            if shape.cell == "gru":
                own_bias = layer.bias_hh.copy()
                own_bias[: 2 * shape.hidden_size] = 0  # it is in `bias`
                found[f"own_bias_{depth}"] = _padded(own_bias)
        if shape.has_projection:
            found |= self._matrix("projection", weights["projection.weight"])
        found |= self._matrix(
            "output", embedding if shape.tie_embeddings else weights["output.weight"]
        )
        found["output_bias"] = _padded(weights["output.bias"])
        initial = np.stack([weights[f"layers.{i}.initial"] for i in range(shape.num_layers)], 1)
        if initial.any():
            for part, state in zip(("h", "c"), initial, strict=False):
                found[f"initial_{part}"] = state
        return found

    def _matrix(
        self, name: str, matrix: _Numbers, *, by_columns: bool = True
    ) -> dict[str, _Numbers]:
        """Return a matrix (rows, columns) as it is stored: by columns, each of them padded."""
        scales = {}
        if self.dtype == "fp16":
            matrix = matrix.astype(np.float16).view(np.uint16)
        if self.dtype == "int8":
            matrix, scale = to_int8(matrix)
            scales[f"{name}_scale"] = _padded(scale)
        return {name: _padded(matrix.T) if by_columns else matrix, **scales}

    def _ngrams(self) -> dict[str, _Numbers]:
        """Return the rows that n-grams have, with their checks, and where each bucket begins."""
        check = self._weights["ngrams.check"].astype(np.int32)
        is_used = check >= 0
        is_used[0] = True  # an array in C is not empty; no n-gram has check −1
        found = self._matrix("ngrams", self._weights["ngrams.weight"][is_used], by_columns=False)
        found["ngram_checks"] = check[is_used]
        counts = is_used.reshape(-1, BUCKET).sum(1)
        found["bucket_starts"] = np.cumsum([0, *counts]).astype(np.int32)
        keys = self._weights["ngrams.key"].astype(np.int32)
        if (keys != np.arange(1, len(keys) + 1)).any():
            found["ngram_keys"] = keys
        return found

    @cached_property
    def _conditions(self) -> dict[str, bool]:
        """What holds of this model, as the templates ask."""
        shape = self.file.config
        vocab = self.file.vocab
        form = self.form
        is_deep = shape.num_layers > 1
        is_residual = shape.residual and is_deep
        table = self._has_table
        return {
            **{each: each == shape.cell for each in CELLS},
            **{each: each == shape.nonlinearity for each in ("tanh", "relu", "logistic")},
            **{each: each == self.dtype for each in DTYPES},
            "uses_tanh": shape.nonlinearity != "relu",
            "has_initial": "initial_h" in self._arrays,
            "has_end": vocab.has_end,
            "newline_ends": vocab.has_end and form.has_lines and "\n" not in vocab.alphabet,
            "lowercase": form.lowercase,
            "licence": bool(self.licence),
            "normalized": form.normalize != "none",
            "table": table,
            "deep": is_deep,
            "residual": is_residual,
            "needs_x": is_deep or not table,
            "needs_input": is_deep or not table,
            "needs_features": is_residual or not table,
            "projection": shape.has_projection,
            "ngrams": bool(shape.ngram_rows),
            "characters": bool(vocab.alphabet),
            "bytes": vocab.has_bytes,
            "clusters": bool(vocab.clusters),
        }

    @cached_property
    def _rows(self) -> dict[str, int]:
        """The number of sums, padded, of each kind of product; 0 for one that there is not."""
        shape = self.file.config
        return {
            "gates": _room(len(self._layers[0].bias_ih)),
            "logits": _room(shape.vocab_size),
            "projection": _room(shape.embedding_size) if shape.has_projection else 0,
        }

    @cached_property
    def _values(self) -> dict[str, str]:
        """What stands for each @key@ of the templates."""
        return self._words() | self._sizes() | self._code()

    def _words(self) -> dict[str, str]:
        """Return what comments and texts say."""
        shape = self.file.config
        vocab = self.file.vocab
        layers = "1 layer" if shape.num_layers == 1 else f"{shape.num_layers} layers"
        kind = shape.cell if shape.nonlinearity == "tanh" else f"rnn ({shape.nonlinearity})"
        token = "a character"
        if vocab.has_bytes:
            token = "one byte" if vocab.is_binary else "a character, or a byte of a rarer one"
        if vocab.clusters:
            token += ", or several characters that belong together"
        ngrams = f", n-grams of up to {shape.ngram_order}" if shape.ngram_rows else ""
        example = next((each for each in _EXAMPLES if set(each) <= set(vocab.alphabet)), "")
        return {
            "file": self.name,
            "version": __version__,
            "origin": _plain((self.file.summary.get("corpus") or {}).get("name") or self.name),
            "shape": f"{kind}, {layers} of {shape.hidden_size} units, {vocab.size} tokens{ngrams}",
            "dtype": self.dtype,
            "licence": re.sub(r"[^\w .,:/+()-]", "", self.licence)[:200].strip(),  # ends no comment
            "token": token,
            "example": example,
            "example_bytes": str(len(example.encode())),
            "normalize": _plain(self.form.normalize.upper()),
            "opening": "\\n" if self.opening else "",
            "and_more": ", `c`" * (shape.cell == "lstm") + ", `keys`" * bool(shape.ngram_rows),
        }

    def _sizes(self) -> dict[str, str]:
        """Return all numbers."""
        shape = self.file.config
        vocab = self.file.vocab
        holds = self._conditions
        features = max(
            0 if self._has_table else shape.embedding_size,
            shape.hidden_size if holds["residual"] else 0,
        )
        in_state = [
            shape.num_layers * shape.state_parts * shape.hidden_size,
            self._rows["gates"] * (1 + holds["needs_input"]),
            self._rows["logits"] + 2 * vocab.size,
            self._rows["projection"] + features,
            shape.ngram_order - 1,
        ]
        sizes = {
            "state_kb": _kilobytes(4 * sum(in_state)),
            "constant_kb": _kilobytes(sum(array.nbytes for array in self._arrays.values())),
            "vocab": vocab.size,
            "end": vocab.end,
            "max_text": int(vocab.byte_widths.max()),
            "layers": shape.num_layers,
            "hidden": shape.hidden_size,
            "embedding": shape.embedding_size,
            "gate_rows": self._rows["gates"],
            "vocab_rows": self._rows["logits"],
            "projection_rows": self._rows["projection"],
            "feature_room": features,
            "recent": shape.ngram_order - 1,
            "buckets": shape.ngram_rows // BUCKET,
            "step": f"{STEP:#x}",
            "to_bucket": f"{TO_BUCKET:#x}",
            "to_check": f"{TO_CHECK:#x}",
        }
        return {key: str(value) for key, value in sizes.items()}

    def _code(self) -> dict[str, str]:
        """Return what differs from network to network in the code."""
        vocab = self.file.vocab
        is_int8 = self.dtype == "int8"
        functions = (self._format_multiply(what, n) for what, n in self._rows.items() if n)
        return {
            "arrays": "\n".join(self._format_arrays()),
            "layer_table": "\n".join(self._format_layers()),
            "multiply_functions": "\n".join(functions),
            "embedding_value": self._embedding_value(),
            "ngram_value": self._number("ngrams", "(size_t)row * INPUT + j", row="row"),
            "ngram_key": "ngram_keys[token]" if "ngram_keys" in self._arrays else "token + 1",
            "first_x": "state->features" if self._conditions["needs_features"] else "state->h[0]",
            "input_scale": ", of->input_scale" * is_int8,
            "own_scale": ", of->own_scale" * is_int8,
            "own_bias": "of->own_bias" if self.file.config.cell == "gru" else "0",
            "output_at": self._address("output"),
            "output_scale": ", output_scale.values" * is_int8,
            "projection_at": self._address("projection"),
            "projection_scale": ", projection_scale.values" * is_int8,
            "or_end": f" || token == {self.prefix.upper()}_END" * vocab.has_end,
            "minus_alphabet": " - ALPHABET" * bool(vocab.alphabet),
        }

    def _embedding_value(self) -> str:
        """Return the C of feature j of a token where the first layer reads it."""
        shape = self.file.config
        if not shape.tie_embeddings:
            return self._number("embedding", "(size_t)token * INPUT + j", row="token")
        value = self._number("output", "j * VOCAB_ROWS + (size_t)token", row="token")
        return f"{value} * {_literal(shape.embedding_scale)}"

    def _number(self, name: str, at: str, row: str) -> str:
        """Return the C of one number of a matrix as a float; at: its place, row: of its scale."""
        value = f"{self._address(name)}[{at}]"
        if self.dtype == "fp16":
            return f"wide({value})"
        if self.dtype == "int8":
            return f"(float){value} * {name}_scale.values[{row}]"
        return value

    def _address(self, name: str) -> str:
        """Return the C of the first number of a matrix."""
        return f"{name}.values" if self.dtype == "fp32" else name

    def _format_arrays(self) -> Iterator[str]:
        """Yield the constants, in C."""
        stored = {"fp32": "float", "fp16": "uint16_t", "int8": "int8_t"}[self.dtype]
        yield f"typedef {stored} weight;\n"
        for name, array in self._arrays.items():
            if array.dtype == np.float32:
                numbers = array.view(np.uint32)
                head = f"static const FLOATS({array.size}) {name} = {{{{"
                yield _format_numbers(head, numbers, "}};")
            elif array.dtype == np.int32:
                yield _format_numbers(
                    f"static const int32_t {name}[{array.size}] = {{", array, "};"
                )
            else:
                yield _format_numbers(f"static const weight {name}[{array.size}] = {{", array, "};")
        vocab = self.file.vocab
        if vocab.alphabet:
            codes = code_points(vocab.alphabet)
            yield f"enum {{ ALPHABET = {len(codes)} }};\n"
            head = "static const uint32_t alphabet[ALPHABET] = {"
            yield _format_numbers(head, codes, "};")
        if vocab.clusters:
            yield from _format_clusters(vocab)

    def _format_layers(self) -> Iterator[str]:
        """Yield the addresses of each layer's constants, in C."""
        is_int8 = self.dtype == "int8"
        for depth in range(self.file.config.num_layers):
            has_input = f"input_{depth}" in self._arrays
            parts = [self._address(f"input_{depth}") if has_input else "0"]
            parts.append(self._address(f"own_{depth}"))
            if is_int8:
                parts.append(f"input_{depth}_scale.values")
                parts.append(f"own_{depth}_scale.values")
            parts.append(f"bias_{depth}.values" if has_input else "0")
            if self.file.config.cell == "gru":
                parts.append(f"own_bias_{depth}.values")
            yield f"    {{{', '.join(parts)}}},"

    def _format_multiply(self, what: str, rows: int) -> str:
        """Return the function of products with so many rows, in C."""
        opening, closing = {"fp32": ("w", ""), "fp16": ("wide(w", ")"), "int8": ("(float)w", "")}[
            self.dtype
        ]
        values = {
            "what": what,
            "rows": str(rows),
            "indent": " " * len(what),
            "scale_parameter": "const float *scale, " if self.dtype == "int8" else "",
            "w": opening,
            "d": closing,
        }
        return _fill(_template("multiply.c"), self._conditions, values, self.prefix)


def identifier(name: str) -> str:
    """Return what the names in C begin with, for a model of this name.

    >>> identifier("shakes-2"), identifier("2 Cities"), identifier("春")
    ('shakes_2', 'model_2_cities', 'model')
    """
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower(), flags=re.ASCII).strip("_")[:_LONGEST_PREFIX]
    if not plain:
        return "model"
    return plain if plain[0].isalpha() else f"model_{plain}"


def _template(name: str) -> str:
    return files(__package__).joinpath("c_templates", f"{name}.in").read_text(encoding="utf-8")


def _fill(
    template: str, conditions: Mapping[str, bool], values: Mapping[str, str], prefix: str
) -> str:
    """Return a template's text: the lines whose conditions hold, with names and values."""
    kept = []
    holds = [True]  # of each condition that is open; a line is kept where all of them hold
    for line in template.splitlines():
        if not line.startswith("//? "):
            if all(holds):
                kept.append(line)
            continue
        match line.removeprefix("//? ").split():
            case ["end"]:
                holds.pop()
            case ["else"]:
                holds[-1] = not holds[-1]
            case ["not", condition]:
                holds.append(not conditions[condition])
            case [condition]:
                holds.append(conditions[condition])
    text = "\n".join(kept) + "\n"
    text = re.sub(r"\bname_(?=[a-z])", f"{prefix}_", text)
    text = re.sub(r"\bNAME_(?=[A-Z])", f"{prefix.upper()}_", text)
    return re.sub(r"@(\w+)@", lambda found: values[found[1]], text)


def _room(count: int) -> int:
    """Return a number of rows with those that fill it up."""
    return -(-count // _LANES) * _LANES


def _padded(array: _Numbers) -> _Numbers:
    """Return an array (…, rows), with zeros so that compilers can work on several at once."""
    missing = _room(array.shape[-1]) - array.shape[-1]
    return np.ascontiguousarray(np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)]))


def _format_numbers(head: str, numbers: _Numbers, tail: str) -> str:
    """Return an array in C, as many numbers in a line as fit."""
    flat = numbers.ravel().tolist()
    words = [str(each) if each < 1000 else f"{each:#x}" for each in flat]  # -5, 7, 0x3f800000
    longest = max(map(len, words)) + 2
    count = max((_WIDTH - 4) // longest, 1)
    lines = (", ".join(words[i : i + count]) for i in range(0, len(words), count))
    return f"{head}\n    " + ",\n    ".join(lines) + f"\n{tail}\n"


def _format_clusters(vocab: Vocab) -> Iterator[str]:
    """Yield the clusters: the code points of all, and where each begins."""
    lengths = [len(each) for each in vocab.clusters]
    yield (
        f"enum {{ CLUSTERS = {len(lengths)}, LONGEST_CLUSTER = {max(lengths)}, "
        f"FIRST_CLUSTER = {vocab.first_cluster} }};\n"
    )
    starts = np.cumsum([0, *lengths])
    yield _format_numbers("static const size_t cluster_starts[CLUSTERS + 1] = {", starts, "};")
    codes = code_points("".join(vocab.clusters))
    yield _format_numbers(f"static const uint32_t cluster_codes[{len(codes)}] = {{", codes, "};")


def _literal(number: float) -> str:
    """Return a float32 in C, with all of its digits."""
    text = f"{np.float32(number):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _kilobytes(count: int) -> str:
    return f"{max(round(count / 1000), 1):,}"


def _plain(text: str) -> str:
    """Return a text that can stand in a comment of C."""
    return re.sub(r"[^\w .,-]", "", text)[:80] or "a text"
